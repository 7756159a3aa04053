"""The programming curve: what single RESET pulses of rising amplitude leave.

Each sweep begins with a long SET pulse and then sends one RESET pulse of each amplitude, from just above melting
upwards. A rising sweep needs one pulse per point where a SET before each would need two: a pulse of more current melts
all that the one before has melted, so on the right flank of the curve history hardly matters (it does when amplitudes
fall). Sweeps are repeated: what differs between sweeps of a device is the noise of the pulse, what differs between
devices in all sweeps is their spread. Every pulse is read twice, at ages ten times apart: 1/f noise has hardly anything
in common then, so that what the two reads share is what the pulse has left.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hwloop.calibration.experiments.base import DeviceExperiment, RunningExperiment, Sink, Spending
from hwloop.calibration.experiments.bench import Bench
from hwloop.calibration.experiments.cells import choose_cells
from hwloop.calibration.programming.base import RESET_MARGIN
from hwloop.chip.pulses import PulseKind
from hwloop.errors import BadInputError
from hwloop.files.measurements import Attributes, Cells, Experiment, Mark, MarkArray, Reads
from hwloop.typing import AnyArray, FloatArray, IndexArray, State


@dataclass(frozen=True)
class ProgrammingCurveExperiment(DeviceExperiment):
    """Sweeps of RESET pulses of rising amplitude; where 0 chooses, it takes the chip's nominal programming curve."""

    kind: ClassVar[Experiment] = Experiment.PROGRAMMING_CURVE

    cells: int = 1000
    """Number of devices."""
    points: int = 24
    """Amplitudes per sweep."""
    repeats: int = 4
    """Sweeps."""
    low: float = 0.0
    """Smallest amplitude, uA; 0 chooses `low_over_melt` times the melting current."""
    high: float = 0.0
    """Largest amplitude, uA; 0 chooses the one that RESETs a device fully."""
    width: float = 0.0
    """Width of the RESET pulses, ns; 0 chooses the width that the nominal curve is for."""
    set_amplitude: float = 0.0
    """Amplitude of the SET pulse, uA; 0 chooses `set_over_melt` times the melting current."""
    set_width: float = 0.0
    """Width of the SET pulse, ns; 0 chooses the longest pulse of the chip."""
    settle: float = 1.0
    """Rest between pulse and read, seconds."""
    early: float = 0.1
    """Rest between pulse and a first read, seconds: it tells the noise of pulses from that of reads. 0: none."""
    low_over_melt: float = 1.01
    """First amplitude over that of melting: a weaker pulse leaves the SET state as it is, which is not on the curve."""
    set_over_melt: float = 0.6
    """Amplitude of the SET pulse over that of melting: enough to crystallise, not enough to melt."""
    stuck_share: float = 0.25
    """A device is stuck when its conductance at the two ends of the sweeps differs by less than this share of g_max, on
    average: in a single sweep read noise alone may do that."""

    def __post_init__(self) -> None:
        """Raise BadInputError for settings that no chip could follow."""
        super().__post_init__()
        self._require("points", 2, 10_000)
        self._require("repeats", 1, 10_000)
        self._require("settle", 0, 1e6)
        self._require("early", 0, 1e6)
        self._require("low_over_melt", 0, 100)
        self._require("set_over_melt", 0, 100)
        self._require("stuck_share", 0, 1)
        if self.early and not self.early <= self.settle / 2:
            raise BadInputError(
                f"early={self.early:g} s: expected at most half of settle={self.settle:g} s, or 0 for a single read"
            )

    @property
    def read_ages(self) -> tuple[float, ...]:
        """Seconds after a pulse at which it is read."""
        return (self.early, self.settle) if self.early else (self.settle,)

    @property
    def pulses_per_device(self) -> int:
        """Pulses that each device receives: a SET and its RESETs in every sweep."""
        return self.repeats * (self.points + 1)

    def begin(self, bench: Bench, seed: int) -> _Sweeps:
        """Choose devices with `seed`; see `DeviceExperiment.begin`."""
        return _Sweeps(bench, self, seed)


class _Sweeps(RunningExperiment):
    """Sweeps of RESET pulses of rising amplitude."""

    _may_be_nan = frozenset({"ends"})

    def __init__(self, bench: Bench, plan: ProgrammingCurveExperiment, seed: int) -> None:
        super().__init__(bench, plan.kind)
        self._plan = plan
        self.chosen = choose_cells(bench.info, plan.cells, plan.cores, np.random.default_rng(seed))
        self.amplitudes, self.width = self._amplitudes()
        self._set_amplitude, self._set_width = self._set_pulse()
        self._check_budget(plan.pulses_per_device)
        self._faults = bench.known_faults(self.chosen)
        enough = bench.spare_pulses(self.chosen) >= plan.pulses_per_device
        self._usable = enough & (self._faults == Mark.GOOD)
        self._born = np.zeros(len(self.chosen))
        self._pulsed = 0.0
        """Clock when all devices had received the present pulse, seconds; ages on the plan count from here."""
        self._ends = np.full((2, len(self.chosen)), np.nan)
        """Conductance (uS) at the first and the last amplitude of the present sweep."""
        self._fall = np.zeros(len(self.chosen))
        """From the first amplitude to the last, summed over the sweeps, uS."""

    def _amplitudes(self) -> tuple[FloatArray, float]:
        s, model, limits = self._plan, self.bench.info.device_model, self.bench.info.limits
        if model is None and not (s.low and s.high and s.width and s.set_amplitude):
            raise BadInputError(
                f"{self.bench.info.name}: no programming curve is known to choose a range from; "
                "give low, high, width and set_amplitude"
            )
        low, high, width = s.low, s.high, s.width
        if model is not None:
            curve = model.curve
            low = low or s.low_over_melt * curve.melt
            high = high or min(curve.midpoint + RESET_MARGIN * curve.steepness, limits.amplitude_max)
            width = width or curve.width
        if not 0 < low < high <= limits.amplitude_max:
            raise BadInputError(
                f"amplitudes from {low:g} to {high:g} uA: expected 0 < low < high <= {limits.amplitude_max:g} uA"
            )
        self._check_width(width)
        return np.linspace(low, high, s.points), width

    def _set_pulse(self) -> tuple[float, float]:
        s, model, limits = self._plan, self.bench.info.device_model, self.bench.info.limits
        amplitude = s.set_amplitude or (s.set_over_melt * model.curve.melt if model else 0.0)
        width = s.set_width or limits.width_max
        if not 0 < amplitude <= limits.amplitude_max:
            raise BadInputError(f"set_amplitude={amplitude:g} uA is outside 0 to {limits.amplitude_max:g} uA")
        self._check_width(width)
        return amplitude, width

    def _check_width(self, width: float) -> None:
        limits = self.bench.info.limits
        if not limits.width_min <= width <= limits.width_max:
            raise BadInputError(f"width {width:g} ns is outside {limits.width_min:g} to {limits.width_max:g} ns")

    @property
    def total(self) -> int:
        """Steps in all: for each amplitude of each sweep its pulse, and its reads."""
        return (1 + len(self._plan.read_ages)) * self._plan.points * self._plan.repeats

    def cells(self) -> Cells:
        """Return the devices; there are no targets."""
        return self.chosen.as_cells()

    def spending(self) -> Spending:
        """Say what it will cost."""
        plan, count = self._plan, len(self.chosen)
        pulses = plan.repeats * plan.points
        return Spending(
            pulses=count * plan.pulses_per_device,
            pulses_per_device=plan.pulses_per_device,
            device_reads=count * pulses * len(plan.read_ages) * plan.averages,
            chip_seconds=pulses * plan.settle,
        )

    def attributes(self) -> Attributes:
        """Return what was sent before each sweep, and the plan of the sweeps."""
        return {
            "set_amplitude": self._set_amplitude,
            "set_width": self._set_width,
            "repeats": self._plan.repeats,
            "points": self._plan.points,
            "averages": self._plan.averages,
        }

    def _steps(self, sink: Sink) -> Iterator[str]:
        """Take the steps of an amplitude: the pulse (the first one after a SET), and after each rest a read."""
        ages = self._plan.read_ages
        usable = np.flatnonzero(self._usable)
        while self.done < self.total:
            point, reading = divmod(self.done, 1 + len(ages))
            point %= self._plan.points
            if reading:
                self._read(sink, usable, point, ages[reading - 1])
            else:
                self._pulse(usable, point)
                self._pulsed = self.bench.clock.now()
            self.done += 1
            if self.done == self.total:
                sink.update_cells(mark=self._marks())
            self._until = self._pulsed + (ages[reading] if reading < len(ages) else 0.0)
            yield "read" if reading < len(ages) else "pulse"

    def _pulse(self, usable: IndexArray, point: int) -> None:
        within = self._plan.age_resolution * max(self._plan.read_ages[0], 1e-6)
        for core, here in self.chosen.cores():
            region = self.bench.region(core)
            mine = usable[(usable >= here.start) & (usable < here.stop)]
            devices = self.chosen.device[mine]
            if point == 0:
                region.pulse(
                    PulseKind.SET, devices, np.full(devices.size, self._set_amplitude), self._set_width, within
                )
            amplitude = np.full(devices.size, self.amplitudes[point])
            self._born[mine] = region.pulse(PulseKind.RESET, devices, amplitude, self.width, within)

    def _read(self, sink: Sink, usable: IndexArray, point: int, age: float) -> None:
        within = self._plan.age_resolution * max(age, 1e-6)
        values, times = self.bench.read(self.chosen, self._plan.averages, within)
        if point in (0, len(self.amplitudes) - 1):
            self._ends[int(point > 0)] = values
        if point == len(self.amplitudes) - 1 and age == self._plan.read_ages[-1]:
            self._fall += self._ends[0] - self._ends[1]
        sink.append(
            Reads(
                cell=usable.astype(np.int32),
                time=(times - self._born)[usable],
                conductance=values[usable],
                temperature=np.full(usable.size, self.bench.temperature()),
                amplitude=np.full(usable.size, self.amplitudes[point]),
                width=np.full(usable.size, self.width),
                nominal=np.full(usable.size, age),
            )
        )

    def _marks(self) -> MarkArray:
        """Mark as stuck what the sweeps have not moved, SET or RESET by what it conducts; return marks (n,)."""
        mark = np.full(len(self.chosen), Mark.GOOD, np.uint8)
        high = self._ends[1] > 0.5 * self.bench.info.g_max
        unmoved = self._fall < self._plan.stuck_share * self.bench.info.g_max * self._plan.repeats
        mark[unmoved] = np.where(high, Mark.STUCK_SET, Mark.STUCK_RESET)[unmoved]
        mark[~self._usable] = Mark.SPENT
        mark[self._faults != Mark.GOOD] = self._faults[self._faults != Mark.GOOD]
        return mark

    def _own_state(self) -> dict[str, AnyArray]:
        return {
            "born": self._born,
            "pulsed": np.array(self._pulsed),
            "ends": self._ends,
            "fall": self._fall,
            "usable": self._usable,
        }

    def _restore(self, state: State) -> None:
        self._pulsed = float(state["pulsed"])
        self._born, self._ends = np.array(state["born"]), np.array(state["ends"])
        self._fall, self._usable = np.array(state["fall"]), state["usable"].astype(bool)
