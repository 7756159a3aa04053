"""Claims to cells of an open chip, so that what was programmed over is not taken for what it was."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

from hwloop.chip.backend import Backend
from hwloop.chip.region import Place
from hwloop.errors import BadInputError


class Claim:
    """A claim to cells of a chip, good from now on until something else is programmed there."""

    def __init__(self, backend: Backend, places: Sequence[Place]) -> None:
        """Claim the cells of places."""
        self._places = tuple(places)
        self._lost_to = ""
        _CLAIMS.setdefault(backend, weakref.WeakSet()).add(self)

    def check(self) -> None:
        """Raise BadInputError once any of the cells were programmed over."""
        if self._lost_to:
            raise BadInputError(
                f"the cells of this network were programmed over, by {self._lost_to}; deploy it again, and open a "
                "chip for each network"
            )

    def lose(self, places: Sequence[Place], to: str) -> None:
        """Take note that `to` is programmed at places."""
        if not self._lost_to and any(_overlap(one, other) for one in self._places for other in places):
            self._lost_to = to


_CLAIMS: weakref.WeakKeyDictionary[Backend, weakref.WeakSet[Claim]] = weakref.WeakKeyDictionary()


def programmed_over(backend: Backend, places: Sequence[Place], by: str) -> None:
    """End the claims to cells that are about to hold something else.

    Parameters
    ----------
    backend
        The chip.
    places
        What is programmed.
    by
        What is programmed there, for messages.
    """
    for claim in list(_CLAIMS.get(backend, ())):
        claim.lose(places, by)


def _overlap(one: Place, other: Place) -> bool:
    return (
        one.core == other.core
        and one.row < other.row + other.rows
        and other.row < one.row + one.rows
        and one.column < other.column + other.columns
        and other.column < one.column + one.columns
    )
