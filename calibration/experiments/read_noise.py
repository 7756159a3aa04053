"""Read noise: devices brought to levels, left alone for a while, then read again and again at an even pace.

The time series show the 1/f noise, its white part and telegraph noise. Every sample has its own true time: the pace
is a plan, not a measurement.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hwloop.calibration.experiments.base import Bench, Sink, Spending, Step
from hwloop.calibration.experiments.scheduled import Placed, PlacedSettings
from hwloop.files.measurements import Experiment, Reads

BLOCK = 64
"""Samples of every device in one step."""


@dataclass(frozen=True)
class ReadNoiseSettings(PlacedSettings):
    """Settings of a read-noise measurement."""

    samples: int = 4096
    """Reads of every device."""
    interval: float = 1e-3
    """Seconds from one read to the next; a chip that reads more slowly goes at its own pace."""
    start: float = 10.0
    """Seconds of rest after programming before the first sample, so that drift within the series is small."""
    sample_averages: int = 1
    """Reads that are averaged for each sample; averaging removes the white part that is to be measured."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("samples", 2, 1e9)
        self._require("interval", 0, 1e6)
        self._require("start", 0, 1e9)
        self._require("sample_averages", 1, 100_000)


class ReadNoise(Placed):
    """Devices at levels, read continuously."""

    experiment: ClassVar[Experiment] = Experiment.READ_NOISE

    def __init__(self, bench: Bench, settings: ReadNoiseSettings, seed: int) -> None:
        """Choose devices and levels with `seed`; nothing is sent yet."""
        super().__init__(bench, settings, seed)
        self.settings = settings
        self._next = 0.0
        """Clock at which the next sample is due."""

    def spending(self) -> Spending:
        """What it will cost at most."""
        s, count = self.settings, len(self.chosen)
        return Spending(
            pulses=count * s.max_pulses_per_device,
            pulses_per_device=s.max_pulses_per_device,
            device_reads=self._placing_reads() + count * s.samples * s.sample_averages,
            chip_seconds=s.max_pulses_per_device * s.settle + s.start + s.samples * s.interval,
        )

    def describe(self) -> dict[str, str | int | float | bool]:
        """The plan of programming and of sampling."""
        s = self.settings
        return super().describe() | {"samples": s.samples, "interval": s.interval, "sample_averages": s.sample_averages}

    def steps(self, sink: Sink) -> Iterator[Step]:
        """Programming, then one step per block of samples."""
        blocks = -(-self.settings.samples // BLOCK)
        yield from self._program(sink, self.rounds + blocks)
        total = self._placed_after + blocks
        usable = np.flatnonzero(self.placement.usable)
        while self.done < total:
            k = self.done - self._placed_after
            self._sample(sink, usable, min(BLOCK, self.settings.samples - k * BLOCK))
            self.done += 1
            yield Step(self.done, total)

    def _sample(self, sink: Sink, usable: NDArray[np.intp], count: int) -> None:
        clock, interval = self.bench.clock, self.settings.interval
        conductance, when = np.empty((count, len(self.chosen))), np.empty((count, len(self.chosen)))
        self._next = max(self._next, clock.now())
        for sample in range(count):  # one after the other in time: this is what is measured
            clock.rest_until(self._next, lambda: None)
            self._next += interval
            # All devices of a sample in as few reads as the pace allows.
            values = self.bench.read(self.chosen, self.settings.sample_averages, max(interval / 2, 1e-9))
            conductance[sample], when[sample] = values
        age = when - self.placement.born
        sink.append(
            Reads(
                cell=np.tile(usable.astype(np.int32), count),
                time=age[:, usable].reshape(-1),
                conductance=conductance[:, usable].reshape(-1),
                temperature=np.full(count * usable.size, self.bench.temperature()),
            )
        )

    def _next_moment(self, moment: float) -> float:
        return moment + self.settings.start if self._placed_after >= 0 else moment

    def export(self) -> dict[str, NDArray[Any]]:
        """Where the measurement stands."""
        return super().export() | {"next": np.array(self._next)}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `export` gave."""
        super().restore(state)
        self._next = float(state["next"])
