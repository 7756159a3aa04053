"""The chip of one measurement, with its clock, thermometer and calibration."""

from __future__ import annotations

import math

import numpy as np

from hwloop.calibration.certificate.certificate import Calibration
from hwloop.calibration.experiments.cells import Chosen
from hwloop.calibration.experiments.clock import Clock, TimedRegion
from hwloop.chip.backend import Backend
from hwloop.chip.info import Capability
from hwloop.chip.region import Place, Region
from hwloop.errors import BadInputError
from hwloop.files.measurements import Mark, MarkArray
from hwloop.typing import AnyArray, FloatArray, IndexArray, State

CHIP_PREFIX = "chip/"
"""Names of a simulated chip's own state among the arrays of a bench begin so."""
PACE_PREFIX = "pace/"
"""Names of the pace of each core among the arrays of a bench begin so."""


class Bench:
    """A chip with the clock of one measurement."""

    def __init__(
        self, backend: Backend, temperature: float | None = None, calibration: Calibration | None = None
    ) -> None:
        """Start the clock; nothing is sent yet.

        Parameters
        ----------
        backend
            The open chip.
        temperature
            Kelvin, what a thermometer shows, for a chip that cannot measure its own.
        calibration
            Of this chip: reads are corrected for the gain of their column, bad devices are left alone.

        Raises
        ------
        BadInputError
            For a temperature that is not a positive number.
        """
        if temperature is not None and not 0 < temperature < math.inf:
            raise BadInputError(f"temperature={temperature:g}: expected a positive number of kelvin, such as 300")
        self.backend, self.info, self.clock = backend, backend.info, Clock(backend)
        self._temperature, self._calibration = temperature, calibration
        self._regions: dict[int, TimedRegion] = {}

    def region(self, core: int) -> TimedRegion:
        """Return all of a core as one region."""
        if core not in self._regions:
            place = Place(core, 0, 0, self.info.rows, self.info.columns)
            known = self._calibration.of_cells(place, self.info) if self._calibration is not None else None
            self._regions[core] = TimedRegion(Region(self.backend, place, calibration=known), self.clock)
        return self._regions[core]

    def temperature(self) -> float:
        """Return the temperature now in kelvin; NaN where nobody knows it."""
        if self._temperature is None and Capability.TEMPERATURE in self.info.capabilities:
            return self.backend.temperature()
        return float("nan") if self._temperature is None else self._temperature

    def read(self, chosen: Chosen, averages: int, within: float) -> tuple[FloatArray, FloatArray]:
        """Read the chosen devices: conductances (n,) in uS, and when (n,), each known to `within` seconds."""
        parts = [self.region(core).read(chosen.device[here], averages, within) for core, here in chosen.cores()]
        return np.concatenate([values for values, _ in parts]), np.concatenate([times for _, times in parts])

    def spare_pulses(self, chosen: Chosen) -> IndexArray:
        """Return how many pulses each chosen device may still receive, (n,)."""
        spent = [self.backend.pulse_counts(core).reshape(-1)[chosen.device[here]] for core, here in chosen.cores()]
        return np.asarray(self.info.limits.pulses_per_device - np.concatenate(spent), np.int64)

    def known_faults(self, chosen: Chosen) -> MarkArray:
        """Return what a calibration says of the chosen devices, (n,): GOOD, STUCK_SET or STUCK_RESET."""
        mark = np.full(len(chosen), Mark.GOOD, np.uint8)
        for core, here in chosen.cores():
            known = self.region(core).region.calibration.devices
            if known is not None:
                device = chosen.device[here]
                high = known.stuck_at.reshape(-1)[device] > 0.5 * self.info.g_max
                fault = np.where(high, Mark.STUCK_SET, Mark.STUCK_RESET)
                mark[here] = np.where(known.usable.reshape(-1)[device], Mark.GOOD, fault)
        return mark

    def state(self) -> dict[str, AnyArray]:
        """Return clock, pace, and the state of a simulated chip, as named arrays."""
        state = self.clock.state()
        state |= {f"{PACE_PREFIX}{core}": region.pace.copy() for core, region in self._regions.items()}
        if Capability.STATE in self.info.capabilities:
            state |= {CHIP_PREFIX + name: array for name, array in self.backend.export_state().items()}
        return state

    def restore(self, state: State) -> None:
        """Put back what `state` gave; a chip that is not simulated has gone on by itself."""
        if Capability.STATE in self.info.capabilities:
            self.backend.import_state(
                {name.removeprefix(CHIP_PREFIX): a for name, a in state.items() if name.startswith(CHIP_PREFIX)}
            )
        self.clock.restore(state)
        for name, array in state.items():
            if name.startswith(PACE_PREFIX):
                self.region(int(name.removeprefix(PACE_PREFIX))).pace = np.array(array)
