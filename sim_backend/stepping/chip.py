"""The simulated chip of devices that step up and down where pulse trains on rows and columns meet."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from hwloop.chip.info import Capability
from hwloop.chip.pulses import PulseKind, Pulses
from hwloop.chip.updates import Updates, driven_lines
from hwloop.devices.compiled import numba
from hwloop.sim_backend.base import Core, Seen, SimulatedBase
from hwloop.sim_backend.converters import ALL_COLUMNS, ColumnConverters
from hwloop.sim_backend.options import SimOptions
from hwloop.sim_backend.stepping import kernel
from hwloop.sim_backend.stepping.array import SteppingArray
from hwloop.sim_backend.stepping.kernel import Converters, Single
from hwloop.sim_backend.stepping.parameters import SteppingParameters
from hwloop.typing import CodeArray, FloatArray, IndexArray

CAPABILITIES = frozenset(Capability) - {Capability.TARGETS}


@dataclass
class _Core(Core):
    """One core, made when it is first used."""

    devices: SteppingArray
    rows: ColumnConverters
    """Converters on the rows, for transposed products."""


class SteppingChip(SimulatedBase[_Core, SteppingParameters]):
    """A chip whose devices step as its parameters say, pulse by pulse."""

    read_headroom: ClassVar[float] = 1.5
    """A single device is read with the converter range at this multiple of g_max, but never below the smallest one."""

    def __init__(self, parameters: SteppingParameters, options: SimOptions | None = None) -> None:
        """Make the chip; cores take memory when they are first touched."""
        super().__init__(parameters, options or SimOptions(), CAPABILITIES)

    # ---- the contract's hooks --------------------------------------------------------------------------------

    def _pulse(self, core: int, pulses: Pulses) -> None:
        p = self._chip
        slots = math.ceil(len(pulses) / p.pulses_at_once)
        self._clock += slots * max(p.pulse_seconds, float(pulses.width.max()) * 1e-9)
        self._core(core).devices.pulse(pulses.devices, pulses.kind is PulseKind.SET, self._clock)

    def _update(self, core: int, updates: Updates) -> CodeArray:
        self._clock += updates.slots * self._chip.pulse_seconds
        return self._core(core).devices.update(updates, self._clock)

    def _mvm(self, core: int, x: CodeArray) -> CodeArray:
        return self._mvm_columns(core, x, ALL_COLUMNS)

    def _mvm_columns(self, core: int, x: CodeArray, columns: slice) -> CodeArray:
        unit, rows = self._core(core), driven_lines(x)
        self._clock += len(x) * self._way(unit).seconds
        if self._plain(unit, unit.converters):
            cells = unit.devices.conductance(rows, columns, self._clock)
            return self._multiplied(unit, x[:, rows], cells, unit.converters, columns)
        cells = unit.devices.conductance(ALL_COLUMNS, ALL_COLUMNS, self._clock)
        return self._product(unit, x, Seen(torch.from_numpy(cells), None, 0.0), columns)

    def _mvm_transposed(self, core: int, x: CodeArray, rows: slice) -> CodeArray:
        unit, columns = self._core(core), driven_lines(x)
        self._clock += len(x) * self._way(unit).seconds
        if self._plain(unit, unit.rows):
            cells = unit.devices.conductance(rows, columns, self._clock).T
            return self._multiplied(unit, x[:, columns], cells, unit.rows, rows)
        cells = unit.devices.conductance(ALL_COLUMNS, ALL_COLUMNS, self._clock).T
        return self._product(unit, x, Seen(torch.from_numpy(cells), None, 0.0), rows, unit.rows)

    def _plain(self, unit: _Core, converters: ColumnConverters) -> bool:
        """Tell whether converters do no more than the kernel: gain, offset, noise, rounding and saturation."""
        bent = converters.is_nonlinear or self._chip.dac_nonlinearity
        return not bent and self._way(unit).coarseness == 1.0 and numba is not None

    def _multiplied(
        self, unit: _Core, x: CodeArray, cells: Single, converters: ColumnConverters, wanted: slice
    ) -> CodeArray:
        """Return codes (batch, wanted) of driven inputs (batch, driven) to the cells (driven, wanted) between them."""
        drive = x.astype(np.float32) / np.float32(self._inputs.top)
        sums = np.matmul(drive, cells, dtype=np.float32)
        codes = np.empty(sums.shape, np.int32)
        gain = converters.gain.numpy()[wanted] * np.float32(converters.top / unit.adc_range)
        used = Converters(gain, converters.offset.numpy()[wanted], converters.noise, converters.top)
        kernel.convert(sums, codes, used, unit.devices.chance())
        return codes

    def _read(self, core: int, devices: IndexArray, averages: int) -> FloatArray:
        p, unit = self._chip, self._core(core)
        full_scale = max(p.adc_range[0], self.read_headroom * p.g_max)
        self._clock += math.ceil(len(devices) / p.columns) * averages * p.read_seconds
        values = torch.from_numpy(unit.devices.single(devices, self._clock)).unsqueeze(1).expand(-1, averages)
        at = torch.from_numpy(devices) % p.columns
        return unit.converters.read_device(values, at, full_scale, averages, unit.dynamics).double().numpy()

    def _place(self, core: int, devices: IndexArray, conductance: FloatArray, age: float) -> None:
        self._core(core).devices.place(devices, conductance, age, self._clock)

    # ---- inside ----------------------------------------------------------------------------------------------

    def _new_core(self, index: int) -> _Core:
        p = self._chip
        specimen, dynamics = self._generator(2 * index), self._generator(2 * index + 1)
        devices = SteppingArray(p, np.random.default_rng(_drawn(specimen)), dynamics)
        turned = ColumnConverters(p, specimen, p.rows)
        return _Core(ColumnConverters(p, specimen, p.columns), dynamics, p.adc_range[1], devices, turned)

    def _saved_cells(self, core: _Core) -> dict[str, torch.Tensor]:
        return core.devices.export()

    def _restore_cells(self, core: _Core, own: dict[str, torch.Tensor]) -> None:
        core.devices.restore(own)


def _drawn(generator: torch.Generator) -> int:
    """Draw a seed."""
    return int(torch.randint(2**62, (1,), generator=generator))
