"""The token that an instrument asks of clients from other machines: it is proved to be known, and never sent.

The instrument gives a challenge, a random number of which each is good for one answer; the client answers with the
HMAC-SHA256 of it under the token. Neither the wire nor a log of it tells the token. What is said afterwards is not
encrypted: whoever can change what goes over the network can still take over the connection.
"""

from __future__ import annotations

import hmac
import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from hwloop.errors import BadInputError

VARIABLE = "HWLOOP_TOKEN"
"""Environment variable from which `hwloop serve` takes a token."""


@dataclass(frozen=True)
class TokenLimits:
    """What a token may be."""

    shortest: int = 16
    """Characters at least: a short one could be guessed from a challenge and its answer."""
    longest: int = 1024
    """Characters at most."""
    challenge: int = 16
    """Bytes of a challenge."""


LIMITS = TokenLimits()
"""The limits of every token."""


def token_from_file(path: str | Path) -> bytes:
    """Read a token from the first line of a file that nobody else can read.

    Raises
    ------
    BadInputError
        For a file that cannot be read, that others can read, or whose token is too short or too long.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise BadInputError(f"token file {path}: no such file")
        if os.name == "posix" and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise BadInputError(f"token file {path} can be read by others; chmod 600 it, and choose another token")
        with path.open("rb") as stream:
            line = stream.readline(LIMITS.longest + 2)
    except OSError as error:
        raise BadInputError(f"token file {path} cannot be read ({error.strerror})") from None
    return _checked(line, f"token file {path}")


def token_from_environment(name: str) -> bytes:
    """Read a token from an environment variable. Raises BadInputError where it is not set, or no token."""
    if name not in os.environ:
        raise BadInputError(f"the environment variable {name}, which should hold a token, is not set")
    return _checked(os.environ[name].encode(), f"the environment variable {name}")


def _checked(text: bytes, where: str) -> bytes:
    token = text.strip()
    if not LIMITS.shortest <= len(token) <= LIMITS.longest:
        raise BadInputError(
            f"{where} holds no token of {LIMITS.shortest} to {LIMITS.longest} characters; make one with: "
            "python -c 'import secrets; print(secrets.token_hex())'"
        )
    return token


def challenge() -> str:
    """Make a challenge."""
    return secrets.token_hex(LIMITS.challenge)


def answer(token: bytes, challenge: str) -> str:
    """Answer a challenge."""
    return hmac.digest(token, challenge.encode("ascii", "replace"), "sha256").hex()


def is_answer(given: str, token: bytes, challenge: str) -> bool:
    """Tell whether an answer is right, in a time that does not depend on how wrong it is."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), answer(token, challenge).encode())
