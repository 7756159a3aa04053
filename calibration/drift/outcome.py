"""What a compensation reached at one age, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass

from hwloop.calibration.drift.compensation import Compensation
from hwloop.calibration.drift.programmed_tile import ProgrammedTile
from hwloop.typing import Json
from hwloop.units import finite


@dataclass(frozen=True, repr=False)
class CompensationOutcome:
    """One compensation at one age, on all tiles of a chip."""

    mvm_error: float
    """Relative MVM error over all tensors, on fresh inputs."""
    tile_errors: tuple[float, ...]
    """The same of each tile."""
    age: float
    """Seconds after the end of programming at which the error was measured."""
    made: tuple[Compensation, ...]
    """The compensation of each tile."""
    tiles: tuple[ProgrammedTile, ...]
    """The tiles as they were then; copies where the compensation changed their cells."""
    columns_alone: CompensationOutcome | None = None
    """Of what changes cells: what calibrated columns reached just before."""

    def __repr__(self) -> str:
        return f"<CompensationOutcome: MVM error {self.mvm_error:.4f} at {self.age:g} s, {self.pulses} pulses>"

    accuracy: tuple[float, float, float] | None = None
    """Share of right answers of the network on the chip, and its 95 % interval; None where no network was measured."""

    adaptation_mvms: int = 0
    """Input vectors spent on what belongs to no tile: the statistics of batch norms."""

    @property
    def pulses(self) -> int:
        """Pulses spent on all tiles."""
        return sum(made.pulses for made in self.made)

    @property
    def mvms(self) -> int:
        """Input vectors spent, those of the evaluation not counted."""
        return sum(made.mvms for made in self.made) + self.adaptation_mvms

    @property
    def valid_until(self) -> float:
        """Age in seconds until which it should be valid on all tiles."""
        return min(made.valid_until for made in self.made)

    def to_json(self) -> dict[str, Json]:
        """Give the figures by the names that the command writes; None stands for no number and for infinity."""
        return {
            "mvm_error": finite(self.mvm_error),
            "tile_errors": [finite(error) for error in self.tile_errors],
            "measured_at_s": self.age,
            "pulses": self.pulses,
            "mvms": self.mvms,
            "holds_until_s": finite(self.valid_until),
        }
