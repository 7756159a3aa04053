"""The simulated chip: a backend whose devices, wires and converters are computed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from hwloop.chip.info import Capability
from hwloop.chip.pulses import PulseKind, Pulses
from hwloop.chip.registry import Scheme
from hwloop.errors import BadInputError
from hwloop.files.model_file import load_model
from hwloop.files.reading import whole
from hwloop.registry import suggest
from hwloop.sim_backend.base import Core, PulsedChip, Seen, SimulatedBase
from hwloop.sim_backend.cells import Cells
from hwloop.sim_backend.converters import ALL_COLUMNS, ColumnConverters
from hwloop.sim_backend.devices.pcm import DeviceArray, relaxation_rate
from hwloop.sim_backend.devices.rram import RelaxingArray
from hwloop.sim_backend.options import STATISTICAL, SimOptions, apply_options, apply_stepping_options
from hwloop.sim_backend.parameters import ChipParameters
from hwloop.sim_backend.presets import PRESETS
from hwloop.sim_backend.statistical.chip import StatisticalChip
from hwloop.sim_backend.stepping.parameters import SteppingParameters
from hwloop.sim_backend.stepping.presets import STEPPING_PRESETS
from hwloop.sim_backend.stepping.twin import RESPONSE, stepping_twin
from hwloop.sim_backend.twin import is_model, twin_parameters
from hwloop.typing import CodeArray, FloatArray, IndexArray

CAPABILITIES = frozenset(Capability) - {Capability.TARGETS, Capability.TRANSPOSED_MVM, Capability.UPDATE}
"""What it can do: phase-change devices accumulate upwards alone, and no published chip of them drives its columns."""
READ_HEADROOM = 1.5
"""A single device is read with the converter range at this multiple of g_max, but never below the smallest range."""


if TYPE_CHECKING:
    from hwloop.sim_backend.stepping.chip import SteppingChip


def open_simulated(target: str, query: Mapping[str, str]) -> SimulatedChip | StatisticalChip | SteppingChip:
    """Open `sim:TARGET?query`, a preset or a model file.

    Raises BadInputError for an unknown preset or option, and for a model file that no chip can be made of.
    """
    if target in STEPPING_PRESETS:
        return _stepping(STEPPING_PRESETS[target](), query)
    if is_model(target):
        with whole(target, "model of a chip", "fit again"):
            if RESPONSE in (model := load_model(target)).fits:
                return _stepping(*stepping_twin(model, target, query))
            chip, query = twin_parameters(target, query)
    elif target in PRESETS:
        chip = PRESETS[target]()
    else:
        known = suggest(target, sorted([*PRESETS, *STEPPING_PRESETS]))
        raise BadInputError(f"unknown simulated chip 'sim:{target}'; {known}; a twin is sim:MODEL.json")
    parameters, options = apply_options(chip, query)
    if options.level == STATISTICAL:
        return StatisticalChip(parameters, options, SimulatedChip)
    return SimulatedChip(parameters, options)


def _stepping(preset: SteppingParameters, query: Mapping[str, str]) -> SteppingChip:
    """Open a chip of stepping devices."""
    from hwloop.sim_backend.stepping.chip import SteppingChip  # loads numba, which other chips do not need

    return SteppingChip(*apply_stepping_options(preset, query))


SCHEME = Scheme(
    open_simulated,
    "simulated chips: a preset, such as sim:hermes-core?seed=1, or the twin of a model file",
    (*PRESETS, *STEPPING_PRESETS),
    private=True,
)


@dataclass
class _Core(Core):
    """One core, made when it is first used."""

    devices: DeviceArray
    cells: Cells | None = None
    """What its products saw last."""


class SimulatedChip(SimulatedBase[_Core, ChipParameters], PulsedChip):
    """A chip that behaves as its parameters say, pulse by pulse."""

    reads_at_once: ClassVar[int] = 2**22
    """Samples of device reads that are in memory at one time."""

    def __init__(self, parameters: ChipParameters, options: SimOptions | None = None) -> None:
        """Make the chip; cores take memory when they are first touched."""
        super().__init__(parameters, options or SimOptions(), CAPABILITIES)
        self._relaxation = relaxation_rate(parameters)

    # ---- the contract's hooks --------------------------------------------------------------------------------

    def _pulse(self, core: int, pulses: Pulses) -> None:
        slots = math.ceil(len(pulses) / self._chip.pulses_at_once)
        longest = float(pulses.width.max()) * 1e-9
        self._clock += slots * max(self._chip.pulse_seconds, longest)
        devices = self._core(core).devices
        apply = devices.reset if pulses.kind is PulseKind.RESET else devices.set
        apply(
            self._tensor(pulses.devices),
            self._tensor(pulses.amplitude, torch.float32),
            self._tensor(pulses.width, torch.float32),
            self._relaxed(),
        )

    def _mvm(self, core: int, x: CodeArray) -> CodeArray:
        return self._mvm_columns(core, x, ALL_COLUMNS)

    def _mvm_columns(self, core: int, x: CodeArray, columns: slice) -> CodeArray:
        unit = self._core(core)
        duration = x.shape[0] * self._way(unit).seconds
        cells = unit.cells = self._cells(unit)
        conductance = cells.noisy(unit.devices.slow_noise(self._clock, duration))
        fast = unit.devices.flicker.fast_variance(duration)
        codes = self._product(unit, x, Seen(conductance, cells.variance, fast), columns)
        self._clock += duration
        return codes

    def _read(self, core: int, devices: IndexArray, averages: int) -> FloatArray:
        p, unit = self._chip, self._core(core)
        seconds = p.device.read_noise.t_read
        full_scale = self._read_range()
        values = []
        for part in torch.split(self._tensor(devices), max(1, self.reads_at_once // averages)):
            samples = unit.devices.sample_reads(part, averages, self._clock, self._relaxed(), seconds)
            values.append(unit.converters.read_device(samples, part % p.columns, full_scale, averages, unit.dynamics))
            # One row at a time, all columns in parallel.
            self._clock += math.ceil(part.numel() / p.columns) * averages * seconds
        if not values:
            return np.empty(0)
        return torch.cat(values).double().cpu().numpy()

    def _place(self, core: int, devices: IndexArray, conductance: FloatArray, age: float) -> None:
        self._core(core).devices.place(
            self._tensor(devices),
            self._tensor(conductance, torch.float32),
            age * self._relaxation,
            self._relaxed(),
        )

    def devices_of(self, core: int) -> DeviceArray:
        """Return the devices of a core as they are. Do not modify them."""
        return self._core(self._check_core(core)).devices

    # ---- inside ----------------------------------------------------------------------------------------------

    def _relaxed(self) -> float:
        """Return the time of structural relaxation: the clock, at the pace of the temperature."""
        return self._clock * self._relaxation

    def _new_core(self, index: int) -> _Core:
        specimen, dynamics = self._generator(2 * index), self._generator(2 * index + 1)
        law = self._chip.relaxation
        devices = (
            DeviceArray(self._chip, specimen, dynamics)
            if law is None
            else RelaxingArray(self._chip, law, specimen, dynamics)
        )
        return _Core(ColumnConverters(self._chip, specimen), dynamics, self._chip.adc_range[1], devices)

    def _saved_cells(self, core: _Core) -> dict[str, torch.Tensor]:
        return core.devices.export()

    def _restore_cells(self, core: _Core, own: dict[str, torch.Tensor]) -> None:
        core.devices.restore(own)

    def _read_range(self) -> float:
        smallest, _, _ = self._chip.adc_range
        return max(smallest, READ_HEADROOM * self.info.g_max)

    def _cells(self, unit: _Core) -> Cells:
        """Return what products see of the devices now: the same as before, as long as no conductance has changed."""
        drifted = unit.devices.drifted(self._relaxed())
        if unit.cells is not None and unit.cells.drifted is drifted:
            return unit.cells
        return Cells.of(drifted, unit.devices, self._chip)
