"""A rectangle of a core, used as if it were a whole core of that size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from hwloop.chip.backend import Backend
from hwloop.chip.cell_calibration import CellCalibration
from hwloop.chip.counts import Counts
from hwloop.chip.pulses import PulseKind, Pulses
from hwloop.errors import BadInputError
from hwloop.typing import AnyArray, FloatArray, IndexArray


@dataclass(frozen=True)
class Place:
    """Where a rectangle of cells lies on the chip."""

    core: int
    row: int
    column: int
    rows: int
    columns: int


class Region:
    """The cells of one `Place` on a backend: pulses, reads and MVMs with local indices, and what they cost.

    Device indices are flat in the shape (2, K, place.rows, place.columns). Rows outside are driven with zero and
    columns outside are not looked at, so regions that share a core do not see each other.
    """

    def __init__(
        self,
        backend: Backend,
        place: Place,
        full_scale: float | None = None,
        calibration: CellCalibration | None = None,
        alone: bool = False,
    ) -> None:
        """Take over the cells of a place; nothing is sent to the chip yet.

        full_scale   converter range (uS) to use for this region; None leaves the chip's own
        calibration  what a calibration tells about these cells; its converters are corrected for from then on
        alone        let the chip leave out the other columns of the core in products, where it can
        """
        self.backend = backend
        self.place = place
        self.calibration = calibration or CellCalibration()
        self.shape = (2, backend.info.devices_per_polarity, place.rows, place.columns)
        self.cost = Counts()
        self._full_scale = full_scale
        self.alone = alone
        self._rows = slice(place.row, place.row + place.rows)
        self._columns = slice(place.column, place.column + place.columns)
        pulses = self._device_pulses()
        self._pulses_at_start = pulses if pulses.any() else np.zeros((), np.int32)

    # A network of many cores on a chip that takes no pulses does without what is known of single devices.

    @cached_property
    def _devices(self) -> IndexArray:
        """(size,) flat indices on the core."""
        every = np.arange(self.backend.info.devices_per_core).reshape(self.backend.info.device_shape)
        return every[:, :, self._rows, self._columns].reshape(-1)

    @cached_property
    def last_pulse(self) -> FloatArray:
        """(size,) seconds on the chip's clock of each device's last pulse through this region; NaN before the first."""
        return np.full(self.size, np.nan)

    @cached_property
    def last_amplitude(self) -> FloatArray:
        """(size,) uA of that pulse if it was a RESET; NaN otherwise, because what SET pulses leave adds up."""
        return np.full(self.size, np.nan)

    @property
    def size(self) -> int:
        """Number of devices."""
        return math.prod(self.shape)

    @property
    def full_scale(self) -> float:
        """Converter range in uS: this region's own, or the one that the chip stands at."""
        return self._full_scale if self._full_scale is not None else self.backend.adc_range(self.place.core)

    @property
    def step(self) -> float:
        """Column sum (uS at full-scale input) that one (ideal) output code stands for."""
        return self.full_scale / self.backend.info.code_max

    def pulse(self, kind: PulseKind, devices: IndexArray, amplitude: FloatArray, width: float) -> None:
        """Pulse local devices (n,) with amplitudes (n,) in uA and one width in ns; nothing happens for n = 0."""
        with _Metered(self):
            self.backend.pulse(self.place.core, Pulses.make(kind, self._devices[devices], amplitude, width))
        self.last_pulse[devices] = self.backend.now()
        self.last_amplitude[devices] = amplitude if kind is PulseKind.RESET else np.nan

    @property
    def span(self) -> tuple[FloatArray, FloatArray]:
        """(columns,) each: outputs at and below the first, at and above the second come from a saturated converter."""
        if self.calibration.converters is not None:
            return self.calibration.converters.span
        top = np.full(self.place.columns, float(self.backend.info.code_max))
        return -top, top

    def read(self, devices: IndexArray, averages: int) -> FloatArray:
        """Read conductances (n,) in uS of local devices (n,), less the gain of their columns where it is known."""
        with _Metered(self):
            values = self.backend.read(self.place.core, self._devices[devices], averages)
        if self.calibration.converters is not None:
            values = values / self.calibration.converters.gain[devices % self.place.columns]
        return values

    def mvm(self, x: NDArray[np.integer]) -> AnyArray:
        """Return output codes (batch, columns) of integer inputs (batch, rows).

        Integers as the chip gives them; where its converters are known, what ideal ones would have given, not rounded.
        Raises BadInputError for inputs of another shape or kind.
        """
        core = self.place.core
        if x.ndim != 2 or x.shape[1] != self.place.rows:
            raise BadInputError(
                f"mvm: inputs of this region must have the shape (batch, {self.place.rows}), not {x.shape}"
            )
        if self._full_scale is not None and self.backend.adc_range(core) != self._full_scale:
            self.backend.set_adc_range(core, self._full_scale)
        converters = self.calibration.converters
        inputs = np.zeros((x.shape[0], self.backend.info.rows), np.int32 if converters else x.dtype)
        inputs[:, self._rows] = converters.inputs_to_send(x) if converters else x
        with _Metered(self):
            if self.alone:
                codes = self.backend.mvm(core, inputs, self._columns)
            else:
                codes = self.backend.mvm(core, inputs)[:, self._columns]
        return converters.ideal_codes(codes) if converters else codes

    def place_exactly(self, conductance: FloatArray, age: float) -> None:
        """Put all devices, an array of `shape` in uS, exactly on target at `age` seconds from now."""
        with _Metered(self):
            self.backend.place(self.place.core, self._devices, conductance.reshape(-1), age)

    def pulses_spent(self) -> NDArray[np.int32]:
        """Return the pulses each device has received since this region was made, array of `shape`."""
        spent = self._device_pulses() - self._pulses_at_start
        # Zeros that nobody has written take no memory: those of a network of many cores that were not pulsed.
        return spent if spent.any() else np.zeros(spent.shape, np.int32)

    def _device_pulses(self) -> NDArray[np.int32]:
        return self.backend.pulse_counts(self.place.core)[:, :, self._rows, self._columns]


class _Metered:
    """Adds what the backend counts inside the `with` to the region's cost."""

    def __init__(self, region: Region) -> None:
        self._region = region

    def __enter__(self) -> None:
        self._before = self._region.backend.counts

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        spent = self._region.backend.counts - self._before
        for name, value in vars(spent).items():
            setattr(self._region.cost, name, getattr(self._region.cost, name) + value)
