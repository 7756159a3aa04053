"""The interface of all measurement routines, and the bench that they work on."""

from __future__ import annotations

import abc
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from hwloop.calibration.certificate.certificate import Calibration
from hwloop.calibration.experiments.cells import Chosen
from hwloop.calibration.experiments.clock import Clock, TimedRegion
from hwloop.chip.backend import Backend
from hwloop.chip.info import Capability
from hwloop.chip.region import Place, Region
from hwloop.errors import BadInputError, LimitError
from hwloop.files.measurements import Cells, Experiment, Mark, Reads
from hwloop.typing import FloatArray

STATE_PREFIX = "chip/"
"""Names of a simulated chip's own state among the kept arrays."""


class Sink(Protocol):
    """Where a routine's reads go: an experiment of a measurement file."""

    def append(self, reads: Reads) -> None:
        """Add reads."""

    def update_cells(self, **columns: NDArray[np.generic]) -> None:
        """Replace columns of the cells."""


@dataclass(frozen=True)
class Spending:
    """What a measurement will cost at most."""

    pulses: int
    pulses_per_device: int
    device_reads: int
    chip_seconds: float
    """Rests and waits; the pulses and reads themselves take what the chip takes for them."""


@dataclass(frozen=True)
class Step:
    """The measurement after one step: the chip is in a defined state, and the step's reads are with the sink.

    done, total  steps
    until        moment on the measurement's clock before which the next step must not begin
    """

    done: int
    total: int
    until: float = 0.0


class Bench:
    """A chip with the clock of one measurement."""

    def __init__(
        self, backend: Backend, temperature: float | None = None, calibration: Calibration | None = None
    ) -> None:
        """Nothing is sent yet.

        temperature  K, what a thermometer shows, for a chip that cannot measure it
        calibration  of this chip: reads are corrected for the gain of their column, bad devices are left alone

        Raises BadInputError for a temperature that is none.
        """
        if temperature is not None and not 0 < temperature < math.inf:
            raise BadInputError(f"temperature={temperature:g}: expected a positive number of kelvin, such as 300")
        self.backend, self.info, self.clock = backend, backend.info, Clock(backend)
        self._temperature, self._calibration = temperature, calibration
        self._regions: dict[int, TimedRegion] = {}

    def region(self, core: int) -> TimedRegion:
        """All of a core."""
        if core not in self._regions:
            place = Place(core, 0, 0, self.info.rows, self.info.columns)
            known = self._calibration.of_cells(place, self.info) if self._calibration is not None else None
            self._regions[core] = TimedRegion(Region(self.backend, place, calibration=known), self.clock)
        return self._regions[core]

    def temperature(self) -> float:
        """Kelvin now; NaN where nobody knows."""
        if self._temperature is None and Capability.TEMPERATURE in self.info.capabilities:
            return self.backend.temperature()
        return float("nan") if self._temperature is None else self._temperature

    def read(self, chosen: Chosen, averages: int, within: float) -> tuple[FloatArray, FloatArray]:
        """Conductances (n,) in uS of the chosen devices and when (n,) they were read."""
        parts = [self.region(core).read(chosen.device[here], averages, within) for core, here in chosen.cores()]
        return np.concatenate([values for values, _ in parts]), np.concatenate([times for _, times in parts])

    def spare_pulses(self, chosen: Chosen) -> NDArray[np.int64]:
        """Pulses that each chosen device may still receive, (n,)."""
        spent = [self.backend.pulse_counts(core).reshape(-1)[chosen.device[here]] for core, here in chosen.cores()]
        return np.asarray(self.info.limits.pulses_per_device - np.concatenate(spent), np.int64)

    def known_faults(self, chosen: Chosen) -> NDArray[np.uint8]:
        """What a calibration says of the chosen devices: GOOD, STUCK_SET or STUCK_RESET, (n,)."""
        mark = np.full(len(chosen), Mark.GOOD, np.uint8)
        for core, here in chosen.cores():
            known = self.region(core).region.calibration.devices
            if known is not None:
                device = chosen.device[here]
                high = known.held.reshape(-1)[device] > 0.5 * self.info.g_max
                fault = np.where(high, Mark.STUCK_SET, Mark.STUCK_RESET)
                mark[here] = np.where(known.usable.reshape(-1)[device], Mark.GOOD, fault)
        return mark

    def export(self) -> dict[str, NDArray[Any]]:
        """Clock, pace, and the state of a simulated chip."""
        state = self.clock.export() | {f"pace/{core}": region.pace.copy() for core, region in self._regions.items()}
        if Capability.STATE in self.info.capabilities:
            state |= {STATE_PREFIX + name: array for name, array in self.backend.export_state().items()}
        return state

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Put back what `export` gave."""
        if Capability.STATE in self.info.capabilities:
            own = {name.removeprefix(STATE_PREFIX): a for name, a in state.items() if name.startswith(STATE_PREFIX)}
            self.backend.import_state(own)
        self.clock.restore(state)
        for name, array in state.items():
            if name.startswith("pace/"):
                self.region(int(name.removeprefix("pace/"))).pace = np.array(array)


class Routine(abc.ABC):
    """One experiment on one bench.

    Making it checks everything that can be checked and sends nothing. `steps` measures; stop at any yield, keep
    `export`, and a routine made alike goes on there after `restore`.
    """

    experiment: ClassVar[Experiment]

    def __init__(self, bench: Bench) -> None:
        """Raises MissingCapabilityError for a chip that cannot read single devices."""
        bench.backend.require(Capability.DEVICE_READ, f"measuring {self.experiment.value}")
        self.bench = bench
        self.done = 0
        """Steps done."""

    @abc.abstractmethod
    def cells(self) -> Cells:
        """The cells as they are known before the first step."""

    @abc.abstractmethod
    def spending(self) -> Spending:
        """What it will cost at most."""

    @abc.abstractmethod
    def steps(self, sink: Sink) -> Iterator[Step]:
        """Measure, from step `done` on."""

    @abc.abstractmethod
    def describe(self) -> dict[str, str | int | float | bool]:
        """Attributes for the file: what the columns alone do not tell."""

    def export(self) -> dict[str, NDArray[Any]]:
        """Where the measurement stands, as named arrays."""
        return self.bench.export() | {"done": np.array(self.done)}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `export` gave."""
        self.bench.restore(state)
        self.done = int(state["done"])

    def _check_budget(self, pulses_per_device: int) -> None:
        limit = self.bench.info.limits.pulses_per_device
        if pulses_per_device > limit:
            raise LimitError(
                f"this needs up to {pulses_per_device} pulses per device, and {self.bench.info.name} allows {limit}; "
                "ask for fewer"
            )
