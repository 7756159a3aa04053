"""The read-noise experiment: devices brought to levels, left alone for a while, then read again and again.

The time series show the 1/f noise, its white part and telegraph noise. Every sample has its own true time: the pace
is a plan, not a measurement.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hwloop.calibration.experiments.base import Sink, Spending
from hwloop.calibration.experiments.bench import Bench
from hwloop.calibration.experiments.cells import Levels, ListedLevels
from hwloop.calibration.experiments.target_programming import ProgrammedDevices, TargetExperiment
from hwloop.chip.checks import REQUESTS
from hwloop.files.measurements import Attributes, Experiment, Reads
from hwloop.typing import AnyArray, IndexArray, State


@dataclass(frozen=True)
class ReadNoiseExperiment(TargetExperiment):
    """Devices at levels, read continuously at an even pace."""

    kind: ClassVar[Experiment] = Experiment.READ_NOISE

    cells: int = 64
    """Number of devices."""
    levels: Levels | ListedLevels = Levels(8)
    """Target conductances."""
    samples: int = 4096
    """Reads of every device."""
    interval: float = 1e-3
    """Seconds from one read to the next; a chip that reads more slowly goes at its own pace."""
    start: float = 10.0
    """Seconds of rest after programming before the first sample, so that drift within the series is small."""
    sample_averages: int = 1
    """Reads that are averaged for each sample; averaging removes the white part that is to be measured."""
    samples_per_step: int = 64
    """Samples of every device in one step; a measurement can be stopped between steps."""

    def __post_init__(self) -> None:
        """Raise BadInputError for settings that no chip could follow."""
        super().__post_init__()
        self._require("samples", 2, 1e9)
        self._require("interval", 0, 1e6)
        self._require("start", 0, 1e9)
        self._require("sample_averages", 1, REQUESTS.averages)
        self._require("samples_per_step", 1, 1e9)

    def begin(self, bench: Bench, seed: int) -> _ReadNoise:
        """Choose devices and levels with `seed`; see `DeviceExperiment.begin`."""
        return _ReadNoise(bench, self, seed)


class _ReadNoise(ProgrammedDevices):
    """Devices at levels, read continuously."""

    plan: ReadNoiseExperiment

    def __init__(self, bench: Bench, plan: ReadNoiseExperiment, seed: int) -> None:
        super().__init__(bench, plan, seed)
        self._next = 0.0
        """Clock at which the next sample is due, seconds."""

    @property
    def steps_after_programming(self) -> int:
        """One for each block of samples."""
        return -(-self.plan.samples // self.plan.samples_per_step)

    def spending(self) -> Spending:
        """Say what it will cost at most."""
        plan, count = self.plan, len(self.chosen)
        return Spending(
            pulses=count * plan.max_pulses_per_device,
            pulses_per_device=plan.max_pulses_per_device,
            device_reads=self._verifying_reads() + count * plan.samples * plan.sample_averages,
            chip_seconds=plan.max_pulses_per_device * plan.settle + plan.start + plan.samples * plan.interval,
        )

    def attributes(self) -> Attributes:
        """Return the plan of programming and of sampling."""
        plan = self.plan
        sampling = {"samples": plan.samples, "interval": plan.interval, "sample_averages": plan.sample_averages}
        return {**super().attributes(), **sampling}

    def _measure(self, sink: Sink) -> Iterator[str]:
        plan, usable = self.plan, np.flatnonzero(self.programming.usable)
        while self.done < self.total:
            taken = (self.done - self._programmed_after) * plan.samples_per_step
            self._sample(sink, usable, min(plan.samples_per_step, plan.samples - taken))
            self.done += 1
            self._until = 0.0
            yield "sample"

    def _sample(self, sink: Sink, usable: IndexArray, count: int) -> None:
        clock, interval = self.bench.clock, self.plan.interval
        conductance, when = np.empty((count, len(self.chosen))), np.empty((count, len(self.chosen)))
        self._next = max(self._next, clock.now())
        for sample in range(count):  # one after the other in time: this is what is measured
            clock.rest_until(self._next)
            self._next += interval
            # All devices of a sample in as few reads as the pace allows.
            values = self.bench.read(self.chosen, self.plan.sample_averages, max(interval / 2, 1e-9))
            conductance[sample], when[sample] = values
        age = when - self.programming.born
        sink.append(
            Reads(
                cell=np.tile(usable.astype(np.int32), count),
                time=age[:, usable].reshape(-1),
                conductance=conductance[:, usable].reshape(-1),
                temperature=np.full(count * usable.size, self.bench.temperature()),
            )
        )

    def _next_moment(self, moment: float) -> float:
        return moment + self.plan.start if self._programmed_after >= 0 else moment

    def _own_state(self) -> dict[str, AnyArray]:
        return super()._own_state() | {"next": np.array(self._next)}

    def _restore(self, state: State) -> None:
        super()._restore(state)
        self._next = float(state["next"])
