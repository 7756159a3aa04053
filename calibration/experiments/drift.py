"""The drift experiment: many ages, from as early as programming allows.

Targets only spread devices over the range. Program-and-verify finds an amplitude for each, and that pulse is then
repeated without a verification: the drift of devices that were accepted early for being near their target is not the
drift of all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hwloop.calibration.experiments.bench import Bench
from hwloop.calibration.experiments.scheduled_reads import ScheduledReads, log_ages
from hwloop.calibration.experiments.target_programming import TargetExperiment
from hwloop.files.measurements import Experiment
from hwloop.typing import Json


@dataclass(frozen=True)
class DriftExperiment(TargetExperiment):
    """Devices brought to levels, left alone, and read at ages that are evenly spaced in log time."""

    kind: ClassVar[Experiment] = Experiment.DRIFT
    repeats_last_pulse: ClassVar[bool] = True

    first: float = 1.0
    """First age at which all devices are read, seconds after programming."""
    until: float = 86_400.0
    """Last age, seconds after programming."""
    per_decade: int = 4
    """Ages per decade of time."""

    def __post_init__(self) -> None:
        """Raise BadInputError for settings that no chip could follow."""
        super().__post_init__()
        log_ages(self.first, self.until, self.per_decade)

    @property
    def ages(self) -> tuple[float, ...]:
        """Seconds after programming at which all devices are read, rising."""
        return log_ages(self.first, self.until, self.per_decade)

    def begin(self, bench: Bench, seed: int) -> ScheduledReads:
        """Choose devices and levels with `seed`; see `DeviceExperiment.begin`."""
        return ScheduledReads(bench, self, self.ages, seed)

    def stored(self) -> dict[str, Json]:
        """Return the settings by the names that measurement files have for them: the ages one by one."""
        values = super().stored()
        for name in ("first", "until", "per_decade"):
            del values[name]
        return values | {"ages": list(self.ages)}
