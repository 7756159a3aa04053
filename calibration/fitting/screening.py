"""Which cells of a measurement a fit leaves out, and why."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwloop.files.measurements import Experiment, Mark, Measurement
from hwloop.files.models import CellCount
from hwloop.typing import BoolArray

MOST_ADDRESSES = 10_000
"""Addresses of stuck cells and of outliers that a model file lists; their numbers are always whole."""
STUCK, OUTLIER = "stuck", "outlier"
SPARE = "not needed: a random part is fitted"
"""Reason of cells with which there is nothing wrong."""


@dataclass
class Screening:
    """Why each measured cell is left out; an empty reason means that it is used."""

    reason: NDArray[np.str_]
    """(cells,)"""

    @classmethod
    def of(cls, measurement: Measurement) -> Screening:
        """Start with the marks of the measurement itself.

        A cell that missed its target is one whose conductance is known from its reads: only statistics about targets
        leave it out.
        """
        reason = np.full(len(measurement.cells), "", dtype="U48")
        names = {Mark.STUCK_SET: STUCK, Mark.STUCK_RESET: STUCK, Mark.OUTLIER: OUTLIER}
        harmless = {Mark.GOOD} if measurement.experiment is Experiment.PROGRAMMING else {Mark.GOOD, Mark.UNCONVERGED}
        for mark in Mark:
            if mark not in harmless:
                reason[measurement.cells.mark == mark] = names.get(mark, f"marked {mark.name.lower()}")
        return cls(reason)

    @property
    def kept(self) -> BoolArray:
        """(cells,) cells still in use."""
        kept: BoolArray = self.reason == ""
        return kept

    def drop(self, cells: BoolArray, reason: str) -> None:
        """Leave cells (cells,) out, unless they already are for another reason."""
        self.reason[cells & self.kept] = reason

    def why(self) -> str:
        """Say how many cells are left out for which reason."""
        names, numbers = np.unique(self.reason[~self.kept], return_counts=True)
        said = ", ".join(f"{name}: {number}" for name, number in zip(names, numbers, strict=True))
        return said or "none was measured"

    def count(self, measurement: Measurement) -> CellCount:
        """Count what became of all cells."""
        names, numbers = np.unique(self.reason, return_counts=True)
        by_reason = {str(name): int(number) for name, number in zip(names, numbers, strict=True)}
        used, stuck, outliers = (by_reason.pop(name, 0) for name in ("", STUCK, OUTLIER))
        address = measurement.cells.address

        def named(reason: str) -> tuple[int, ...]:
            return tuple(int(a) for a in address[self.reason == reason][:MOST_ADDRESSES])

        return CellCount(len(measurement.cells), used, stuck, outliers, by_reason, named(STUCK), named(OUTLIER))
