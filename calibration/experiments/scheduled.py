"""Drift and programming: devices brought to levels once, then left alone and read at planned ages.

Both are the same procedure with other plans. The accepted verify read of a device stays apart from its later reads: it
was accepted for being near the target, so it says little about where the device is. A target holds at an age of each
device, not at a moment: on a chip that programs its devices one by one over hours no moment would suit them all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hwloop.calibration.experiments.base import Bench, Routine, Sink, Spending, Step
from hwloop.calibration.experiments.cells import Levels, ListedLevels, choose_cells, spread_levels
from hwloop.calibration.experiments.clock import AGE_RESOLUTION
from hwloop.calibration.experiments.target_programming import Placement, PlacingSettings
from hwloop.calibration.settings import Settings
from hwloop.errors import BadInputError
from hwloop.files.measurements import Cells, Experiment, Reads
from hwloop.typing import FloatArray


def log_ages(first: float, last: float, per_decade: int) -> tuple[float, ...]:
    """Ages in seconds from first to last, evenly spaced in log time. Raises BadInputError unless 0 < first < last."""
    if not 0 < first < last < math.inf:
        raise BadInputError(f"ages from {first:g} s to {last:g} s: the first must be positive and before the last")
    if per_decade < 1:
        raise BadInputError(f"per-decade={per_decade}: expected at least 1")
    count = math.ceil(per_decade * math.log10(last / first) - 1e-9) + 1
    return tuple(np.geomspace(first, last, max(count, 2)).tolist())


@dataclass(frozen=True)
class PlacedSettings(Settings):
    """Which devices, at which levels, how they get there, and how they are read."""

    cells: int
    """Number of devices."""
    levels: Levels | ListedLevels
    """Target conductances."""
    cores: tuple[int, ...] = ()
    """Cores to spread the devices over; none: as few as hold them."""
    averages: int = 16
    """Reads that are averaged for each verification and each value on file."""
    tolerance: float = 0.0
    """Half width of the acceptance window, uS; 0 chooses 2.5 % of g_max, or the read noise where that is larger."""
    gain: float = 0.4
    """Fraction of the error, expressed on the programming curve, that one step corrects."""
    max_pulses_per_device: int = 15
    """Pulses one device may receive."""
    settle: float = 0.1
    """Rest between pulse and verification, seconds."""
    age: float = 0.0
    """Age of a device, seconds, at which its target holds; 0 chooses the drift model's t0."""

    def __post_init__(self) -> None:
        self._require("averages", 1, 100_000)
        self._require("tolerance", 0, 1000)
        self._require("gain", 0.01, 2)
        self._require("max_pulses_per_device", 1, 1_000_000)
        self._require("settle", 0, 1e6)
        self._require("age", 0, 1e9)


class Placed(Routine):
    """Base of the experiments that begin by bringing devices to levels."""

    unseen: ClassVar[bool] = False
    """Whether the last pulse of every device is one that no read has accepted."""

    def __init__(self, bench: Bench, settings: PlacedSettings, seed: int) -> None:
        """Choose devices and levels with `seed`; nothing is sent yet."""
        super().__init__(bench)
        self._placed = settings
        rng = np.random.default_rng(seed)
        self.chosen = choose_cells(bench.info, settings.cells, settings.cores, rng)
        targets = settings.levels.targets(bench.info)
        self.level = spread_levels(len(self.chosen), settings.levels.count, rng)
        self.target: FloatArray = targets[self.level]
        self.age = settings.age or bench.info.reference_age
        self._check_budget(settings.max_pulses_per_device)
        placing = PlacingSettings(
            settings.averages,
            settings.tolerance,
            settings.gain,
            settings.max_pulses_per_device,
            settings.settle,
            self.age,
            self.unseen,
        )
        self.placement = Placement(bench, self.chosen, self.target, placing)
        self._begun = 0.0
        """Clock at the end of programming; ages on the plan count from here."""
        self._placed_after = -1
        """Number of steps that programming took; -1 while it goes on."""

    @property
    def rounds(self) -> int:
        """Steps that programming takes at most."""
        return self._placed.max_pulses_per_device + 1

    def cells(self) -> Cells:
        """Targets and levels; nothing verified yet."""
        return self.chosen.as_cells(self.target, self.level)

    def describe(self) -> dict[str, str | int | float | bool]:
        """The plan of programming."""
        return {
            "target_age": self.age,
            "verify_tolerance": self.placement.tolerance,
            "averages": self._placed.averages,
            "levels": self._placed.levels.count,
        }

    def _program(self, sink: Sink, total: int) -> Iterator[Step]:
        """Programming, one round of pulses per step."""
        while self._placed_after < 0:
            pulses = self.placement.first_pulses() if self.done == 0 else self.placement.correct()
            self.done += 1
            if not pulses:
                verify, mark = self.placement.finish()
                sink.update_cells(verify=verify, mark=mark)
                self._begun, self._placed_after = self.bench.clock.now(), self.done
            now = self.bench.clock.now()
            yield Step(self.done, total, self._next_moment(now + self._placed.settle if pulses else now))

    def _next_moment(self, moment: float) -> float:
        """When the step after this one may begin, at the earliest at `moment`."""
        return moment

    def _placing_reads(self) -> int:
        return 2 * self._placed.max_pulses_per_device * self._placed.averages * len(self.chosen)

    def export(self) -> dict[str, NDArray[Any]]:
        """Where the measurement stands."""
        progress = np.array([self._begun, self._placed_after])
        return super().export() | self.placement.export() | {"placed": progress}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `export` gave."""
        super().restore(state)
        self.placement.restore(state)
        self._begun, self._placed_after = float(state["placed"][0]), int(state["placed"][1])


@dataclass(frozen=True)
class ScheduledSettings(PlacedSettings):
    """Settings of drift and programming."""

    ages: tuple[float, ...] = ()
    """Seconds after programming at which all devices are read, rising."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.ages or any(not 0 < age < math.inf for age in self.ages):
            raise BadInputError("ages: expected at least one, all of them positive")
        if any(later <= earlier for earlier, later in zip(self.ages, self.ages[1:], strict=False)):
            raise BadInputError(f"ages {', '.join(f'{age:g}' for age in self.ages)} s: expected rising ages")


class Scheduled(Placed):
    """Devices at levels, read at planned ages."""

    settings: ScheduledSettings

    def __init__(self, bench: Bench, settings: ScheduledSettings, seed: int) -> None:
        """Choose devices and levels with `seed`; nothing is sent yet."""
        super().__init__(bench, settings, seed)
        self.settings = settings

    def spending(self) -> Spending:
        """What it will cost at most."""
        s, count = self.settings, len(self.chosen)
        return Spending(
            pulses=count * s.max_pulses_per_device,
            pulses_per_device=s.max_pulses_per_device,
            device_reads=self._placing_reads() + count * s.averages * len(s.ages),
            chip_seconds=s.max_pulses_per_device * s.settle + s.ages[-1],
        )

    def describe(self) -> dict[str, str | int | float | bool]:
        """The plan of programming and of reading."""
        return super().describe() | {"ages": ",".join(f"{age:.6g}" for age in self.settings.ages)}

    def steps(self, sink: Sink) -> Iterator[Step]:
        """Programming, then one step per age."""
        total = self.rounds + len(self.settings.ages)
        yield from self._program(sink, total)
        total = self._placed_after + len(self.settings.ages)
        usable = np.flatnonzero(self.placement.usable)
        while self.done < total:
            k = self.done - self._placed_after
            self._read(sink, usable, self.settings.ages[k])
            self.done += 1
            yield Step(self.done, total, self._next_moment(0.0))

    def _read(self, sink: Sink, usable: NDArray[np.intp], age: float) -> None:
        values, times = self.bench.read(self.chosen, self.settings.averages, AGE_RESOLUTION * age)
        sink.append(
            Reads(
                cell=usable.astype(np.int32),
                time=(times - self.placement.born)[usable],
                conductance=values[usable],
                temperature=np.full(usable.size, self.bench.temperature()),
                nominal=np.full(usable.size, age),
            )
        )

    def _next_moment(self, moment: float) -> float:
        k = self.done - self._placed_after
        if self._placed_after < 0 or k >= len(self.settings.ages):
            return moment
        return max(moment, self._begun + self.settings.ages[k])


class Drift(Scheduled):
    """Many ages, from as early as programming allows.

    Targets only spread devices over the range. Program-and-verify finds an amplitude for each, and that pulse is then
    repeated unseen: the drift of devices that were accepted early for being near their target is not the drift of all.
    """

    experiment: ClassVar[Experiment] = Experiment.DRIFT
    unseen: ClassVar[bool] = True


class Programming(Scheduled):
    """Targets over the whole range and few ages, among them the one at which the targets hold."""

    experiment: ClassVar[Experiment] = Experiment.PROGRAMMING
