"""Reads at planned ages of devices that were brought to levels once and are then left alone.

Drift and programming are this procedure with other plans. The accepted verify read of a device stays apart from its
later reads: it was accepted for being near the target, so it says little about where the device is. A target counts at
an age of each device, not at a moment: on a chip that programs its devices one by one over hours no moment would suit
them all.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np

from hwloop.calibration.experiments.base import Sink, Spending
from hwloop.calibration.experiments.bench import Bench
from hwloop.calibration.experiments.target_programming import ProgrammedDevices, TargetExperiment
from hwloop.errors import BadInputError
from hwloop.files.measurements import Attributes, Reads
from hwloop.typing import IndexArray


def log_ages(first: float, last: float, per_decade: int) -> tuple[float, ...]:
    """Return ages in seconds from first to last, evenly spaced in log time.

    Raises
    ------
    BadInputError
        Unless 0 < first < last, and for less than one age per decade.
    """
    if not 0 < first < last < math.inf:
        raise BadInputError(f"ages from {first:g} s to {last:g} s: the first must be positive and before the last")
    if per_decade < 1:
        raise BadInputError(f"per-decade={per_decade}: expected at least 1")
    count = math.ceil(per_decade * math.log10(last / first) - 1e-9) + 1
    return tuple(np.geomspace(first, last, max(count, 2)).tolist())


def check_ages(ages: tuple[float, ...]) -> None:
    """Raise BadInputError unless ages (seconds) are positive and rise."""
    if not ages or any(not 0 < age < math.inf for age in ages):
        raise BadInputError("ages: expected at least one, all of them positive")
    if any(later <= earlier for earlier, later in itertools.pairwise(ages)):
        raise BadInputError(f"ages {', '.join(f'{age:g}' for age in ages)} s: expected rising ages")


class ScheduledReads(ProgrammedDevices):
    """Devices at levels, read at planned ages."""

    def __init__(self, bench: Bench, plan: TargetExperiment, ages: tuple[float, ...], seed: int) -> None:
        """Choose devices and levels with `seed`; `ages` count from the end of programming, in seconds."""
        super().__init__(bench, plan, seed)
        self._ages = ages

    @property
    def steps_after_programming(self) -> int:
        """One for each age."""
        return len(self._ages)

    def spending(self) -> Spending:
        """Say what it will cost at most."""
        plan, count = self.plan, len(self.chosen)
        return Spending(
            pulses=count * plan.max_pulses_per_device,
            pulses_per_device=plan.max_pulses_per_device,
            device_reads=self._verifying_reads() + count * plan.averages * len(self._ages),
            chip_seconds=plan.max_pulses_per_device * plan.settle + self._ages[-1],
        )

    def attributes(self) -> Attributes:
        """Return the plan of programming and of reading."""
        return {**super().attributes(), "ages": ",".join(f"{age:.6g}" for age in self._ages)}

    def _measure(self, sink: Sink) -> Iterator[str]:
        usable = np.flatnonzero(self.programming.usable)
        while self.done < self.total:
            self._read(sink, usable, self._ages[self.done - self._programmed_after])
            self.done += 1
            self._until = self._next_moment(0.0)
            yield self._next_stage()

    def _read(self, sink: Sink, usable: IndexArray, age: float) -> None:
        values, times = self.bench.read(self.chosen, self.plan.averages, self.plan.age_resolution * age)
        sink.append(
            Reads(
                cell=usable.astype(np.int32),
                time=(times - self.programming.born)[usable],
                conductance=values[usable],
                temperature=np.full(usable.size, self.bench.temperature()),
                nominal=np.full(usable.size, age),
            )
        )

    def _next_moment(self, moment: float) -> float:
        k = self.done - self._programmed_after
        if self._programmed_after < 0 or k >= len(self._ages):
            return moment
        return max(moment, self._begun + self._ages[k])

    def _next_stage(self) -> str:
        k = self.done - self._programmed_after
        return f"read at {self._ages[k]:.3g} s" if k < len(self._ages) else ""
