"""Tokens: who may use the pages, and by which name the log knows them."""

from __future__ import annotations

import hmac
import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from hwloop.errors import BadInputError
from hwloop.scpi.token import LIMITS


@dataclass(frozen=True)
class Tokens:
    """The tokens that are let in.

    Parameters
    ----------
    known
        Tokens by the names of who has them.
    """

    known: tuple[tuple[str, str], ...]

    def name_of(self, given: str) -> str | None:
        """Return whose token it is, in a time that does not depend on how wrong it is; None for nobody's."""
        return self._matching(given, [token for _, token in self.known])

    def name_of_cookie(self, given: str) -> str | None:
        """Return whose cookie it is; None for nobody's."""
        return self._matching(given, [cookie_of(token) for _, token in self.known])

    def _matching(self, given: str, right: list[str]) -> str | None:
        found = None
        told = given.encode("utf-8", "replace")
        for (name, _), one in zip(self.known, right, strict=True):
            if hmac.compare_digest(told, one.encode()):
                found = name
        return found


def cookie_of(token: str) -> str:
    """Return what a browser keeps instead of a token, which it does not tell."""
    return hmac.digest(token.encode(), b"cookie of hwloop web", "sha256").hex()


def kept_token(path: Path) -> Tokens:
    """Return the token of a data folder, made at random the first time: pages that are open stay so over a restart.

    One that others can read, or that is too short, is replaced by another.
    """
    try:
        told = "" if _is_open_to_others(path) else path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        told = ""
    if len(told) < LIMITS.shortest:
        told = secrets.token_urlsafe(32)
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(f"{told}\n")
    return Tokens((("owner", told),))


def tokens_from(path: Path) -> Tokens:
    """Read tokens from a file that nobody else can read: a line for each, `TOKEN` or `NAME TOKEN`.

    Raises
    ------
    BadInputError
        For a file that cannot be read, that others can read, and for a token that is too short or too long.
    """
    try:
        if not path.is_file():
            raise BadInputError(f"token file {path}: no such file")
        if _is_open_to_others(path):
            raise BadInputError(f"token file {path} can be read by others; chmod 600 it, and choose other tokens")
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"token file {path} cannot be read ({error})") from None
    known = []
    for number, words in enumerate((line.split() for line in lines if line.strip()), 1):
        token = words[-1]
        if len(words) > 2 or not LIMITS.shortest <= len(token) <= LIMITS.longest:
            raise BadInputError(
                f"token file {path}, line {number}: expected TOKEN or NAME TOKEN, of {LIMITS.shortest} to "
                f"{LIMITS.longest} characters; make one with: python -c 'import secrets; print(secrets.token_hex())'"
            )
        known.append((words[0] if len(words) == 2 else f"token {number}", token))
    if not known:
        raise BadInputError(f"token file {path} holds no token")
    return Tokens(tuple(known))


def _is_open_to_others(path: Path) -> bool:
    """Tell whether somebody else can read or write a file."""
    return os.name == "posix" and bool(path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))
