"""The pulse response of devices that step: ramps of pulses up and then down, read every few pulses.

Ramps begin with as many pulses down as one has, so that the first one up starts from below. Reads stand in the file in
the order in which they were taken; the attributes `pulses`, `read_every` and `cycles` tell which pulses lie between.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hwloop.calibration.experiments.base import DeviceExperiment, RunningExperiment, Sink, Spending
from hwloop.calibration.experiments.bench import Bench
from hwloop.calibration.experiments.cells import choose_cells
from hwloop.chip.info import Capability
from hwloop.chip.pulses import PulseKind
from hwloop.chip.updates import SteppingDevices
from hwloop.errors import BadInputError
from hwloop.files.measurements import Attributes, Cells, Experiment, Reads
from hwloop.typing import AnyArray, FloatArray, State


@dataclass(frozen=True)
class PulseResponseExperiment(DeviceExperiment):
    """Ramps of single pulses up and down."""

    kind: ClassVar[Experiment] = Experiment.PULSE_RESPONSE

    cells: int = 400
    """Number of devices."""
    pulses: int = 1000
    """Pulses of each ramp."""
    read_every: int = 10
    """Pulses between two reads."""
    cycles: int = 1
    """Ramps up, each followed by one down."""
    averages: int = 4
    """Reads that are averaged for each value on file."""

    def __post_init__(self) -> None:
        """Raise BadInputError for settings that no chip could follow."""
        super().__post_init__()
        self._require("pulses", 10, 10_000_000)
        self._require("read_every", 1, 1_000_000)
        self._require("cycles", 1, 10_000)
        if self.pulses % self.read_every or self.pulses < 10 * self.read_every:
            raise BadInputError(
                f"pulses={self.pulses}, read_every={self.read_every}: a ramp must be a whole number of reads, at least "
                "ten of them"
            )

    def begin(self, bench: Bench, seed: int) -> _Ramps:
        """Choose devices with `seed`; see `DeviceExperiment.begin`."""
        return _Ramps(bench, self, seed)


class _Ramps(RunningExperiment):
    """Ramps of pulses, a step for each read."""

    unhurried: ClassVar[float] = 1e3
    """Seconds within which moments need to be known: steps do not age."""

    def __init__(self, bench: Bench, plan: PulseResponseExperiment, seed: int) -> None:
        super().__init__(bench, plan.kind)
        bench.backend.require(Capability.UPDATE, "measuring the response to single pulses up and down")
        stepping = bench.info.stepping
        if stepping is None or stepping.pair:
            raise BadInputError(f"{bench.info.name}: its devices step up alone, so there is no ramp down to measure")
        self._plan, self._stepping = plan, stepping
        self.chosen = choose_cells(bench.info, plan.cells, plan.cores, np.random.default_rng(seed))
        self._check_budget(self._per_device)
        self._born = np.zeros(len(self.chosen))

    _stepping: SteppingDevices

    @property
    def _per_device(self) -> int:
        return (2 * self._plan.cycles + 1) * self._plan.pulses

    @property
    def total(self) -> int:
        """Steps in all: the way down, and a read after each part of a ramp."""
        return 1 + 2 * self._plan.cycles * (self._plan.pulses // self._plan.read_every)

    def cells(self) -> Cells:
        """Return the devices; there are no targets."""
        return self.chosen.as_cells()

    def spending(self) -> Spending:
        """Say what it will cost."""
        count = len(self.chosen)
        reads = count * self.total * self._plan.averages
        return Spending(count * self._per_device, self._per_device, reads, 0.0)

    def attributes(self) -> Attributes:
        """Return which pulses lie between the reads."""
        plan = self._plan
        return {
            "pulses": plan.pulses,
            "read_every": plan.read_every,
            "cycles": plan.cycles,
            "averages": plan.averages,
            "half_range": self._stepping.half_range,
        }

    def _steps(self, sink: Sink) -> Iterator[str]:
        """Go down first; then pulse and read."""
        ramp = self._plan.pulses // self._plan.read_every
        while self.done < self.total:
            first = self.done == 0
            up = not first and ((self.done - 1) // ramp) % 2 == 0
            self._pulse(PulseKind.SET if up else PulseKind.RESET, self._plan.pulses if first else self._plan.read_every)
            self._read(sink)
            self.done += 1
            yield "pulses up" if up else "pulses down"

    def _pulse(self, kind: PulseKind, count: int) -> None:
        for core, here in self.chosen.cores():
            region, devices = self.bench.region(core), self.chosen.device[here]
            amplitude = np.full(devices.size, self._stepping.amplitude)
            for _ in range(count):
                self._born[here] = region.pulse(kind, devices, amplitude, self._stepping.width, self.unhurried)

    def _read(self, sink: Sink) -> None:
        values, times = self.bench.read(self.chosen, self._plan.averages, self.unhurried)
        self._send(sink, values, times - self._born)

    def _send(self, sink: Sink, values: FloatArray, ages: FloatArray) -> None:
        size = len(self.chosen)
        sink.append(
            Reads(
                cell=np.arange(size, dtype=np.int32),
                time=ages,
                conductance=values,
                temperature=np.full(size, self.bench.temperature()),
                amplitude=np.full(size, self._stepping.amplitude),
                width=np.full(size, self._stepping.width),
            )
        )

    def _own_state(self) -> dict[str, AnyArray]:
        return {"born": self._born}

    def _restore(self, state: State) -> None:
        self._born = np.array(state["born"])
