"""Implementations by name, found through entry points, so that a third party's are packages of their own."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from hwloop.errors import BadInputError

T = TypeVar("T")


def suggest(name: str, known: Sequence[str]) -> str:
    """Say which known names there are and, where one is close to `name`, that it may be meant.

    Of several that are equally close, the one of the same letters is meant: two of them were typed in the wrong order.
    """
    close = difflib.get_close_matches(name, known, n=max(len(known), 1))
    letters = sorted(name)
    best = max(close, key=lambda one: (_closeness(name, one), sorted(one) == letters), default=None)
    meant = f"did you mean '{best}'? " if best is not None else ""
    return f"{meant}known: {', '.join(known) or 'none'}"


def _closeness(name: str, known: str) -> float:
    """Compare as `difflib.get_close_matches` does."""
    return difflib.SequenceMatcher(None, known, name).ratio()


class Registry(Generic[T]):
    """Classes of one kind by name, such as programming methods.

    Nothing is imported before a class is asked for by its name.
    """

    def __init__(self, group: str, what: str, kind: type[T]) -> None:
        """Describe where the classes are found.

        Parameters
        ----------
        group
            Entry-point group, such as ``hwloop.methods``; the name of an entry point is the name of its class.
        what
            What one of them is, for messages, such as ``"method"``.
        kind
            Base that every class must have.
        """
        self.group, self.what, self._kind = group, what, kind

    def names(self) -> list[str]:
        """List the names of all that are installed, in alphabetical order."""
        return sorted(_installed(self.group))

    def find(self, name: str) -> type[T]:
        """Load the class of this name.

        Raises
        ------
        BadInputError
            For an unknown name, with the known ones, and for an entry point that holds something else.
        """
        installed = _installed(self.group)
        if name not in installed:
            raise BadInputError(f"unknown {self.what} '{name}'; {suggest(name, self.names())}")
        found = installed[name].load()
        if not (isinstance(found, type) and issubclass(found, self._kind)):
            raise BadInputError(
                f"{self.what} '{name}': {installed[name].value} is no {self._kind.__name__}; "
                f"mend or remove the package {_package(installed[name])}"
            )
        return found


@functools.cache
def _installed(group: str) -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=group)}


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else "that installed it"
