"""The programming curve: what single RESET pulses of rising amplitude leave.

Each sweep begins with a long SET pulse and then sends one RESET pulse of each amplitude, from just above melting
upwards. A rising sweep needs one pulse per point where a SET before each would need two: a pulse of more current melts
all that the one before has melted, so on the right flank of the curve history hardly matters (it does when amplitudes
fall). Sweeps are repeated: what differs between sweeps of a device is the noise of the pulse, what differs between
devices in all sweeps is their spread. Every pulse is read twice, at ages ten times apart: 1/f noise has hardly anything
in common then, so that what the two reads share is what the pulse has left.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hwloop.calibration.experiments.base import Bench, Routine, Sink, Spending, Step
from hwloop.calibration.experiments.cells import choose_cells
from hwloop.calibration.experiments.clock import AGE_RESOLUTION
from hwloop.calibration.programming.base import RESET_MARGIN
from hwloop.calibration.settings import Settings
from hwloop.chip.pulses import PulseKind
from hwloop.errors import BadInputError
from hwloop.files.measurements import Cells, Experiment, Mark, Reads
from hwloop.typing import FloatArray

ABOVE_MELT = 1.01
"""First amplitude over that of melting: a weaker pulse leaves the SET state as it is, which is not on the curve."""
SET_AMPLITUDE = 0.6
"""Amplitude of the SET pulse over that of melting: enough to crystallise, not enough to melt."""
SILENT_SHARE = 0.25
"""A device is stuck when its conductance at the two ends of the sweeps differs by less than this share of g_max, on
average: in a single sweep read noise alone may do that."""


@dataclass(frozen=True)
class CurveSettings(Settings):
    """Settings of a programming-curve measurement. Where 0 chooses, it takes the chip's nominal programming curve."""

    cells: int
    """Number of devices."""
    cores: tuple[int, ...] = ()
    """Cores to spread the devices over; none: as few as hold them."""
    points: int = 24
    """Amplitudes per sweep."""
    repeats: int = 4
    """Sweeps."""
    low: float = 0.0
    """Smallest amplitude, uA; 0 chooses 1 % above the melting current."""
    high: float = 0.0
    """Largest amplitude, uA; 0 chooses the one that RESETs a device fully."""
    width: float = 0.0
    """Width of the RESET pulses, ns; 0 chooses the width at which the nominal curve holds."""
    set_amplitude: float = 0.0
    """Amplitude of the SET pulse, uA; 0 chooses 60 % of the melting current."""
    set_width: float = 0.0
    """Width of the SET pulse, ns; 0 chooses the longest pulse of the chip."""
    averages: int = 16
    """Reads that are averaged for each value on file."""
    settle: float = 1.0
    """Rest between pulse and read, seconds."""
    early: float = 0.1
    """Rest between pulse and a first read, seconds: it tells the noise of pulses from that of reads. 0: none."""

    def __post_init__(self) -> None:
        self._require("points", 2, 10_000)
        self._require("repeats", 1, 10_000)
        self._require("averages", 1, 100_000)
        self._require("settle", 0, 1e6)
        self._require("early", 0, 1e6)
        if self.early and not self.early <= self.settle / 2:
            raise BadInputError(
                f"early={self.early:g} s: expected at most half of settle={self.settle:g} s, or 0 for a single read"
            )


class Curve(Routine):
    """Sweeps of RESET pulses of rising amplitude."""

    experiment: ClassVar[Experiment] = Experiment.PROGRAMMING_CURVE

    def __init__(self, bench: Bench, settings: CurveSettings, seed: int) -> None:
        """Choose devices with `seed`; nothing is sent yet."""
        super().__init__(bench)
        self.settings = settings
        rng = np.random.default_rng(seed)
        self.chosen = choose_cells(bench.info, settings.cells, settings.cores, rng)
        self.amplitudes, self.width = self._amplitudes()
        self._set_amplitude, self._set_width = self._set_pulse()
        self._check_budget(self._pulses_per_device)
        self._faults = bench.known_faults(self.chosen)
        enough = bench.spare_pulses(self.chosen) >= self._pulses_per_device
        self._usable = enough & (self._faults == Mark.GOOD)
        self._born = np.zeros(len(self.chosen))
        self._pulsed = 0.0
        """Clock when all devices had received the present pulse; ages on the plan count from here."""
        self._ends = np.full((2, len(self.chosen)), np.nan)
        """Conductance (uS) at the first and the last amplitude of the present sweep."""
        self._fall = np.zeros(len(self.chosen))
        """From the first amplitude to the last, summed over the sweeps, uS."""

    def _amplitudes(self) -> tuple[FloatArray, float]:
        s, model, limits = self.settings, self.bench.info.device_model, self.bench.info.limits
        if model is None and not (s.low and s.high and s.width and s.set_amplitude):
            raise BadInputError(
                f"{self.bench.info.name}: no programming curve is known to choose a range from; "
                "give low, high, width and set_amplitude"
            )
        low, high, width = s.low, s.high, s.width
        if model is not None:
            curve = model.curve
            low = low or ABOVE_MELT * curve.melt
            high = high or min(curve.midpoint + RESET_MARGIN * curve.steepness, limits.amplitude_max)
            width = width or curve.width
        if not 0 < low < high <= limits.amplitude_max:
            raise BadInputError(
                f"amplitudes from {low:g} to {high:g} uA: expected 0 < low < high <= {limits.amplitude_max:g} uA"
            )
        self._check_width(width)
        return np.linspace(low, high, s.points), width

    def _set_pulse(self) -> tuple[float, float]:
        s, model, limits = self.settings, self.bench.info.device_model, self.bench.info.limits
        amplitude = s.set_amplitude or (SET_AMPLITUDE * model.curve.melt if model else 0.0)
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
    def _pulses_per_device(self) -> int:
        return self.settings.repeats * (self.settings.points + 1)

    def cells(self) -> Cells:
        """The devices; there are no targets."""
        return self.chosen.as_cells()

    def spending(self) -> Spending:
        """What it will cost."""
        s, count = self.settings, len(self.chosen)
        pulses = s.repeats * s.points
        return Spending(
            pulses=count * self._pulses_per_device,
            pulses_per_device=self._pulses_per_device,
            device_reads=count * pulses * len(self._ages) * s.averages,
            chip_seconds=pulses * s.settle,
        )

    def describe(self) -> dict[str, str | int | float | bool]:
        """What was sent before each sweep."""
        return {
            "set_amplitude": self._set_amplitude,
            "set_width": self._set_width,
            "repeats": self.settings.repeats,
            "points": self.settings.points,
            "averages": self.settings.averages,
        }

    @property
    def _ages(self) -> tuple[float, ...]:
        """Seconds after a pulse at which it is read."""
        return (self.settings.early, self.settings.settle) if self.settings.early else (self.settings.settle,)

    def steps(self, sink: Sink) -> Iterator[Step]:
        """Steps of an amplitude: the pulse (the first one after a SET), and after each rest a read."""
        ages = self._ages
        total = (1 + len(ages)) * self.settings.points * self.settings.repeats
        usable = np.flatnonzero(self._usable)
        while self.done < total:
            point, reading = divmod(self.done, 1 + len(ages))
            point %= self.settings.points
            if reading:
                self._read(sink, usable, point, ages[reading - 1])
            else:
                self._pulse(usable, point)
                self._pulsed = self.bench.clock.now()
            self.done += 1
            if self.done == total:
                sink.update_cells(mark=self._marks())
            rest = ages[reading] if reading < len(ages) else 0.0
            yield Step(self.done, total, self._pulsed + rest)

    def _pulse(self, usable: NDArray[np.intp], point: int) -> None:
        within = AGE_RESOLUTION * max(self._ages[0], 1e-6)
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

    def _read(self, sink: Sink, usable: NDArray[np.intp], point: int, age: float) -> None:
        within = AGE_RESOLUTION * max(age, 1e-6)
        values, times = self.bench.read(self.chosen, self.settings.averages, within)
        if point in (0, len(self.amplitudes) - 1):
            self._ends[int(point > 0)] = values
        if point == len(self.amplitudes) - 1 and age == self._ages[-1]:
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

    def _marks(self) -> NDArray[np.uint8]:
        """A device that the sweeps have not moved is stuck, SET or RESET by what it conducts."""
        mark = np.full(len(self.chosen), Mark.GOOD, np.uint8)
        high = self._ends[1] > 0.5 * self.bench.info.g_max
        silent = self._fall < SILENT_SHARE * self.bench.info.g_max * self.settings.repeats
        mark[silent] = np.where(high, Mark.STUCK_SET, Mark.STUCK_RESET)[silent]
        mark[~self._usable] = Mark.SPENT
        mark[self._faults != Mark.GOOD] = self._faults[self._faults != Mark.GOOD]
        return mark

    def export(self) -> dict[str, NDArray[Any]]:
        """Where the measurement stands."""
        return super().export() | {
            "born": self._born,
            "pulsed": np.array(self._pulsed),
            "ends": self._ends,
            "fall": self._fall,
            "usable": self._usable,
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `export` gave."""
        super().restore(state)
        self._pulsed = float(state["pulsed"])
        self._born, self._ends = np.array(state["born"]), np.array(state["ends"])
        self._fall, self._usable = np.array(state["fall"]), state["usable"].astype(bool)
