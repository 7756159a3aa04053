"""The programming experiment: targets over the whole range, and few ages, among them the target age."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hwloop.calibration.experiments.bench import Bench
from hwloop.calibration.experiments.cells import Levels, ListedLevels
from hwloop.calibration.experiments.scheduled_reads import ScheduledReads, check_ages
from hwloop.calibration.experiments.target_programming import TargetExperiment
from hwloop.files.measurements import Experiment


@dataclass(frozen=True)
class ProgrammingExperiment(TargetExperiment):
    """Devices brought to targets by program-and-verify and read again when they have relaxed."""

    kind: ClassVar[Experiment] = Experiment.PROGRAMMING

    levels: Levels | ListedLevels = Levels(32)
    """Target conductances."""
    settle: float = 1.0
    """Rest between pulse and verification, seconds."""
    ages: tuple[float, ...] = (2.0, 20.0, 200.0, 2000.0)
    """Seconds after programming at which all devices are read, rising."""

    def __post_init__(self) -> None:
        """Raise BadInputError for settings that no chip could follow."""
        super().__post_init__()
        check_ages(self.ages)

    def begin(self, bench: Bench, seed: int) -> ScheduledReads:
        """Choose devices and levels with `seed`; see `DeviceExperiment.begin`."""
        return ScheduledReads(bench, self, self.ages, seed)
