"""Backends by URI: `connect("sim:hermes-core?seed=1")`.

A backend is found through the entry-point group `hwloop.backends`: the entry point's name is the URI's scheme, its
object a `Scheme`. A third party's chip is thus a package of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from urllib.parse import parse_qsl

from hwloop.chip.backend import Backend
from hwloop.errors import BadInputError

GROUP = "hwloop.backends"
SIMULATED = "sim"
"""The one scheme whose presets are opened because a file names them: they touch nothing outside this process."""

Opener = Callable[[str, Mapping[str, str]], Backend]
"""Opens the chip for a URI's target and its options, all of them text."""


@dataclass(frozen=True)
class Scheme:
    """One kind of chip.

    open     makes the backend; raises BadInputError for an unknown target or option
    summary  one line for `hwloop backends`
    targets  the targets that have names, if any
    """

    open: Opener
    summary: str
    targets: tuple[str, ...] = ()


def schemes() -> dict[str, EntryPoint]:
    """Installed backends by URI scheme."""
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def split_uri(uri: str) -> tuple[str, str, dict[str, str]]:
    """Scheme, target and query of a backend URI. Raises BadInputError when it is not one."""
    scheme, colon, rest = uri.partition(":")
    if not colon or not scheme:
        raise BadInputError(f"'{uri}' is not a backend URI; expected SCHEME:TARGET, for example sim:hermes-core?seed=1")
    target, _, text = rest.partition("?")
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text))
    except ValueError:
        raise BadInputError(f"'{uri}': the query '{text}' is not of the form name=value&name=value") from None
    query = dict(pairs)
    if len(query) < len(pairs):
        raise BadInputError(f"'{uri}': an option is given twice")
    return scheme, target, query


def connect(uri: str) -> Backend:
    """Open the chip that a URI names; close it with `close()` or use it with `with`.

    Raises BadInputError for an unknown scheme, target or option.
    """
    scheme, target, query = split_uri(uri)
    return _scheme(scheme).open(target, query)


def connect_recorded(uri: str, path: str | Path) -> Backend:
    """Open the chip that the file `path` names, if it is a simulated preset.

    Any other URI can load a library, connect to a host, or read or write a file. A file that came from elsewhere must
    not make hwloop do that, so it takes a user who names the chip. Raises BadInputError where one must.
    """
    try:
        scheme, target, query = split_uri(uri)
        harmless = scheme == SIMULATED and target in _scheme(scheme).targets
    except BadInputError:
        harmless = False
    if not harmless:
        raise BadInputError(
            f"{path} names the chip {uri!r}; from a file alone only simulated presets are opened: "
            "if you trust it, name the chip with --backend"
        )
    return _scheme(scheme).open(target, query)


def _scheme(name: str) -> Scheme:
    """The installed scheme of this name. Raises BadInputError where there is none."""
    known = schemes()
    if name not in known:
        raise BadInputError(f"no backend for '{name}:'; installed: {', '.join(sorted(known)) or 'none'}")
    scheme: Scheme = known[name].load()
    return scheme
