"""Gives out the cells of a chip, rectangle by rectangle, as a training asks for arrays."""

from __future__ import annotations

import math
from collections.abc import Collection

from hwloop.chip.backend import Backend
from hwloop.chip.claims import Claim, programmed_over
from hwloop.chip.region import Place
from hwloop.errors import BadInputError


class Cells:
    """The cells of a chip that are still free.

    A shelf is a band of rows of one core, filled from the left; a rectangle goes on the first shelf with room, else on
    a new shelf of the first core with room.
    """

    def __init__(self, chip: Backend) -> None:
        """Begin with all cells of a chip, which ends the claims of others to those that are taken."""
        self.chip = chip
        self._shelves: list[Place] = []
        self._free_row = [0] * chip.info.cores
        self._claims: list[Claim] = []
        self.taken = 0
        """Cells that were given out."""

    def take(self, rows: int, columns: int, purpose: str, avoid: Collection[int] = ()) -> Place:
        """Give out a rectangle that is no larger than a core, on none of the cores to avoid while others have room.

        `purpose` says in messages what it is for.

        Raises
        ------
        BadInputError
            When no core has room for it.
        """
        info = self.chip.info
        number = next(
            (
                k
                for k, shelf in enumerate(self._shelves)
                if shelf.rows >= rows and shelf.columns >= columns and shelf.core not in avoid
            ),
            None,
        )
        if number is None:
            with_room = (c for c in range(info.cores) if self._free_row[c] + rows <= info.rows and c not in avoid)
            core = next(with_room, None)
            if core is None and avoid:
                return self.take(rows, columns, purpose)
            if core is None or columns > info.columns:
                raise BadInputError(
                    f"{purpose} ({rows} x {columns} cells) does not fit on {info.name} beside the {self.taken} cells "
                    f"that are taken; it has {info.cores} core(s) of {info.rows} x {info.columns} cells: take a chip "
                    f"with more (sim:...?cores={info.cores + 1}), or an algorithm with fewer arrays"
                )
            self._shelves.append(Place(core, self._free_row[core], 0, rows, info.columns))
            self._free_row[core] += rows
            number = len(self._shelves) - 1
        shelf = self._shelves[number]
        place = Place(shelf.core, shelf.row, shelf.column, rows, columns)
        self._shelves[number] = Place(
            shelf.core, shelf.row, shelf.column + columns, shelf.rows, shelf.columns - columns
        )
        programmed_over(self.chip, [place], "a training")
        self._claims.append(Claim(self.chip, [place]))
        self.taken += math.prod((rows, columns))
        return place

    def check(self) -> None:
        """Raise BadInputError once any of the cells that were given out hold something else."""
        for claim in self._claims:
            claim.check()
