"""The columns of device pairs that hold the classes of an explicit memory, on cores that stand beside each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hwloop.calibration.probes import HadamardProbe, hadamard_inputs
from hwloop.chip.backend import Backend
from hwloop.chip.counts import Counts
from hwloop.chip.info import Capability
from hwloop.chip.pulses import PulseKind
from hwloop.chip.region import Place, Region
from hwloop.nn.memory.settings import MemoryPulses, MemorySettings
from hwloop.typing import CodeArray, FloatArray, IndexArray


class Columns:
    """Cells of whole cores, row blocks one below the other: erased, SET, probed and asked column by column.

    The weights of a column are in uS: conductance of the devices that add less that of those that subtract.
    """

    def __init__(self, chip: Backend, cores: Sequence[int], dimension: int, settings: MemorySettings) -> None:
        """Take over the cores; nothing is sent to the chip yet."""
        self.pulses = MemoryPulses.of(chip.info, settings)
        self._settings = settings
        info = chip.info
        self._regions: list[Region] = []
        for number, core in enumerate(cores):
            rows = min(info.rows, dimension - number * info.rows)
            self._regions.append(Region(chip, Place(core, 0, 0, rows, info.columns)))
        rng = np.random.default_rng(settings.seed)
        self._probe = HadamardProbe(hadamard_inputs(rng, 1, dimension, info.input_max), info.input_max)
        self._sets = np.zeros((2, info.devices_per_polarity, dimension, info.columns), np.int16)
        self.weights = np.zeros((dimension, info.columns))
        """(dimension, columns) uS, as the last probe found them."""
        self.norms = np.zeros(info.columns)
        """(columns,) uS, root of the sum of the squares of a column's weights, to which no noise adds."""
        self._pulsed_at = self._probed_at = chip.now()
        self._offset = np.zeros((len(cores), info.columns))

    @property
    def devices(self) -> int:
        """Devices of one column."""
        return int(self._sets[..., 0].size)

    @property
    def cost(self) -> Counts:
        """What these columns have asked of the chip so far."""
        return sum((region.cost for region in self._regions), Counts())

    def full(self, column: int) -> float:
        """Return the share of the devices of a column that have received all SET pulses that they take."""
        return float((self._sets[..., column] >= self._settings.most_pulses).mean())

    def room(self, column: int) -> NDArray[np.int64]:
        """Return how many SET pulses each cell of a column still takes, (2, dimension): to add, to subtract."""
        left: NDArray[np.int64] = (self._settings.most_pulses - self._sets[..., column].astype(np.int64)).clip(0).sum(1)
        return left

    def erase(self, column: int) -> None:
        """RESET all devices of a column, once each."""
        for region, _ in self._blocks():
            devices = self._devices(region, np.ones(region.shape[:3], bool), column)
            amplitude = np.full(len(devices), self.pulses.reset_amplitude)
            region.pulse(PulseKind.RESET, devices, amplitude, self.pulses.reset_width)
        self._sets[..., column] = 0

    def accumulate(self, column: int, wanted: NDArray[np.int64]) -> int:
        """SET the devices of a column, one pulse after the other, until each cell has what it shall have.

        Parameters
        ----------
        column
            Which.
        wanted
            (2, dimension) pulses for the devices that add, and for those that subtract. Devices of one polarity take
            turns, and full ones are passed over.

        Returns
        -------
        int
            Pulses that were given.
        """
        self._pulsed_at = self._regions[0].backend.now()
        given = 0
        left = np.minimum(wanted, self.room(column))
        while left.any():
            sets = self._sets[..., column]
            turn = np.arange(sets.shape[1])[:, None] == sets.argmin(1)[:, None, :]
            now = turn & (left > 0)[:, None, :]
            for region, rows in self._blocks():
                devices = self._devices(region, now[:, :, rows], column)
                amplitude = np.full(len(devices), self.pulses.set_amplitude)
                region.pulse(PulseKind.SET, devices, amplitude, self.pulses.set_width)
            self._sets[..., column] += now
            given += int(now.sum())
            left -= left > 0
        return given

    def probe(self) -> None:
        """Measure weights, norms and converter offsets of all columns, by two complete weighing designs of products.

        The second has the inputs of the first with the other sign: half the sum of both is the offset. The square of a
        norm is the sum of what one design finds of each cell times what the other finds, so that no noise adds to it.
        """
        self._fit_ranges()
        up, down = (self._products(sign * self._probe.inputs)[0] for sign in (1, -1))
        self._offset = 0.5 * (up + down).mean(1, keepdims=True)
        first, second = (self._probe.cells(found.sum(0)) for found in (up - self._offset, self._offset - down))
        self.weights = 0.5 * (first + second)
        self.norms = np.sqrt((first * second).sum(0).clip(0.0))
        self._probed_at = self._regions[0].backend.now()

    @property
    def aged(self) -> bool:
        """Whether the youngest column has drifted on since the last probe, by the setting `aging`."""
        age = self._regions[0].backend.now() - self._pulsed_at
        return age >= self._settings.aging * (self._probed_at - self._pulsed_at)

    def similarities(self, x: FloatArray) -> FloatArray:
        """Return the cosine of (vectors, dimension) with every column, (vectors, columns); 0 for an empty column.

        A vector drives the rows as strongly as its largest element allows; one that takes a converter to its end is
        sent again at half of that, and so on.
        """
        top = np.abs(x).max(1, keepdims=True)
        found = np.zeros((len(x), self.norms.size))
        left, drive = np.arange(len(x)), 1.0
        while len(left):
            inputs = np.rint(drive * x[left] / top[left] * self._probe.input_max).astype(np.int32)
            outputs, saturated = self._products(inputs)
            sums = (outputs - self._offset).sum(0)
            found[left] = sums * top[left] / drive
            left, drive = left[saturated], drive / 2
            if drive * self._probe.input_max < 1:
                break
        length = np.linalg.norm(x, axis=1, keepdims=True) * self.norms
        cosines: FloatArray = np.divide(found, length, out=np.zeros_like(found), where=length > 0)
        return cosines

    def _products(self, inputs: CodeArray) -> tuple[FloatArray, NDArray[np.bool_]]:
        """Send (vectors, dimension) integers; outputs (blocks, vectors, columns) in uS, and which vectors saturated."""
        outputs, saturated = [], np.zeros(len(inputs), bool)
        for region, rows in self._blocks():
            codes = region.mvm(inputs[:, rows])
            low, high = region.span
            saturated |= ((codes <= low) | (codes >= high)).any(1)
            outputs.append(codes * region.step)
        return np.stack(outputs), saturated

    def _fit_ranges(self) -> None:
        """Choose the converter range of each core by the largest output of a probe, where the chip has ranges."""
        for number, (region, rows) in enumerate(self._blocks()):
            info = region.backend.info
            if Capability.ADC_RANGE not in info.capabilities:
                continue
            low, high = info.adc_range
            scale = low
            while (top := self._largest_code(self._with_range(number, scale), rows)) >= info.code_max and scale < high:
                scale = min(high, 4 * scale)
            wanted = self._settings.headroom * scale * top / info.code_max
            self._with_range(number, float(np.clip(wanted, low, high)))

    def _with_range(self, number: int, full_scale: float) -> Region:
        """Use a converter range (uS) on a core from now on."""
        before = self._regions[number]
        region = self._regions[number] = Region(before.backend, before.place, full_scale)
        region.cost = before.cost
        return region

    def _largest_code(self, region: Region, rows: slice) -> float:
        return float(np.abs(region.mvm(self._probe.inputs[:, rows])).max())

    def _blocks(self) -> list[tuple[Region, slice]]:
        """Each core's region, with the elements that lie in its rows."""
        rows = self._regions[0].place.rows
        return [(region, slice(n * rows, n * rows + region.place.rows)) for n, region in enumerate(self._regions)]

    def _devices(self, region: Region, chosen: NDArray[np.bool_], column: int) -> IndexArray:
        """Return the region's flat indices of the chosen devices (2, K, rows) of one column."""
        found: IndexArray = np.flatnonzero(chosen) * region.place.columns + column
        return found
