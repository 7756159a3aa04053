"""Backends by URI: `connect("sim:hermes-core?seed=1")`.

A backend is found through the entry-point group `hwloop.backends`: the entry point's name is the URI's scheme, its
object a `Scheme`. A third party's chip is thus a package of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from urllib.parse import parse_qsl

from hwloop.contract import Backend
from hwloop.errors import BadInputError

GROUP = "hwloop.backends"

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
    known = schemes()
    if scheme not in known:
        raise BadInputError(f"no backend for '{scheme}:'; installed: {', '.join(sorted(known)) or 'none'}")
    kind: Scheme = known[scheme].load()
    return kind.open(target, query)
