"""The simulated chip: a backend whose devices, wires and converters are computed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hwloop.backends import Scheme
from hwloop.contract import (
    Backend,
    Capability,
    ChipInfo,
    CodeArray,
    FloatArray,
    IndexArray,
    Parameter,
    PulseKind,
    Pulses,
)
from hwloop.device_models import DeviceModel
from hwloop.errors import BadInputError
from hwloop.sim_backend.converters import ColumnConverters, InputConverters
from hwloop.sim_backend.devices import DeviceArray, relaxation_rate
from hwloop.sim_backend.options import SimOptions, apply_options
from hwloop.sim_backend.parameters import ASSUMED, ChipParameters
from hwloop.sim_backend.presets import PRESETS
from hwloop.sim_backend.wires import attenuation

READ_HEADROOM = 1.5
"""A single device is read with the converter range at this multiple of g_max, but never below the smallest range."""
READS_AT_ONCE = 2**22
"""Samples of device reads held in memory at one time."""


def open_simulated(target: str, query: Mapping[str, str]) -> SimulatedChip:
    """Backend for `sim:TARGET?query`. Raises BadInputError for an unknown preset or option."""
    if target not in PRESETS:
        raise BadInputError(f"unknown simulated chip 'sim:{target}'; known presets: {', '.join(sorted(PRESETS))}")
    parameters, options = apply_options(PRESETS[target](), query)
    return SimulatedChip(parameters, options)


SCHEME = Scheme(open_simulated, "simulated chips: a preset and options, such as sim:hermes-core?seed=1", tuple(PRESETS))


@dataclass
class _Core:
    """One core, made when it is first used."""

    devices: DeviceArray
    converters: ColumnConverters
    dynamics: torch.Generator
    adc_range: float


class SimulatedChip(Backend):
    """A chip that behaves as its parameters say; the same seed gives the same chip and the same results.

    Every core has generators of its own, one for the specimen and one for what happens to it, so that the order in
    which cores are used does not change what any of them does.
    """

    def __init__(self, parameters: ChipParameters, options: SimOptions | None = None) -> None:
        """Make the chip; cores take memory when they are first touched."""
        self._chip = parameters
        self._options = options or SimOptions()
        self._cores: dict[int, _Core] = {}
        self._inputs = InputConverters(parameters)
        self._clock = 0.0
        self._relaxation = relaxation_rate(parameters)
        super().__init__(_describe(parameters, self._options))

    def snapshot(self) -> dict[str, str | int | float | bool]:
        """All parameters by dotted name, the seed, the clock and the converter ranges in use."""
        ranges = {f"core{index}.adc_range": core.adc_range for index, core in sorted(self._cores.items())}
        own = {"seed": self._options.seed, "torch_device": self._options.device, "now": self._clock}
        return {row.name: row.value for row in _parameters(self._chip)} | own | ranges

    def parameters(self) -> list[Parameter]:
        """Every number of the chip with its unit and source."""
        return list(_parameters(self._chip))

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
        p, unit = self._chip, self._core(core)
        duration = x.shape[0] * p.mvm_seconds
        drive = self._inputs.drive(self._tensor(x))
        shape = (2, p.devices_per_polarity, p.rows * p.columns)
        conductance = unit.devices.noisy(self._clock, self._relaxed(), duration).view(shape)
        weights = _signed(conductance, p, self._attenuation(unit))
        sums = drive @ weights
        if p.read_noise > 0:
            variance = unit.devices.fast_variance(self._relaxed(), duration).view(shape)
            noise = (drive.square() @ variance.sum((0, 1)).view(p.rows, p.columns)).sqrt_()
            sums += noise.mul_(torch.empty_like(noise).normal_(generator=unit.dynamics))
        codes = unit.converters.convert(sums, unit.adc_range, unit.dynamics)
        self._clock += duration
        return codes.to(torch.int32).cpu().numpy()  # type: ignore[no-any-return]

    def _read(self, core: int, devices: IndexArray, averages: int) -> FloatArray:
        p, unit = self._chip, self._core(core)
        seconds = p.device.read_noise.t_read
        full_scale = self._read_range()
        values = []
        for part in torch.split(self._tensor(devices), max(1, READS_AT_ONCE // averages)):
            samples = unit.devices.sample_reads(part, averages, self._clock, self._relaxed(), seconds)
            values.append(
                unit.converters.read_device(samples, part % p.columns, full_scale, averages, unit.dynamics)
            )
            # One row at a time, all columns in parallel.
            self._clock += math.ceil(part.numel() / p.columns) * averages * seconds
        if not values:
            return np.empty(0)
        return torch.cat(values).double().cpu().numpy()  # type: ignore[no-any-return]

    def _now(self) -> float:
        return self._clock

    def _wait(self, seconds: float) -> None:
        self._clock += seconds

    def _temperature(self) -> float:
        return self._chip.temperature

    def _adc_range(self, core: int) -> float:
        return self._core(core).adc_range

    def _set_adc_range(self, core: int, full_scale: float) -> None:
        self._core(core).adc_range = full_scale

    def _place(self, core: int, devices: IndexArray, conductance: FloatArray, age: float) -> None:
        self._core(core).devices.place(
            self._tensor(devices),
            self._tensor(conductance, torch.float32),
            age * self._relaxation,
            self._relaxed(),
        )

    def _close(self) -> None:
        self._cores.clear()

    def _export_state(self) -> dict[str, NDArray[Any]]:
        state: dict[str, NDArray[Any]] = {"clock": np.array(self._clock)}
        for index, core in self._cores.items():
            own = core.devices.export() | {
                "generator": core.dynamics.get_state(),
                "adc_range": torch.tensor(core.adc_range, dtype=torch.float64),
            }
            state |= {f"core{index}/{name}": tensor.cpu().numpy() for name, tensor in own.items()}
        return state

    def _import_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        self._clock = float(state["clock"])
        self._cores.clear()
        for index in sorted({int(name.split("/")[0].removeprefix("core")) for name in state if "/" in name}):
            prefix = f"core{index}/"
            own = {
                name.removeprefix(prefix): torch.from_numpy(np.array(array))
                for name, array in state.items()
                if name.startswith(prefix)
            }
            core = self._core(index)
            core.devices.restore(own)
            core.dynamics.set_state(own["generator"])
            core.adc_range = float(own["adc_range"])

    # ---- inside ----------------------------------------------------------------------------------------------

    def _core(self, index: int) -> _Core:
        if index not in self._cores:
            specimen = self._generator(2 * index)
            dynamics = self._generator(2 * index + 1)
            devices = DeviceArray(self._chip, specimen, dynamics)
            converters = ColumnConverters(self._chip, specimen)
            self._cores[index] = _Core(devices, converters, dynamics, self._chip.adc_range[1])
        return self._cores[index]

    def _generator(self, stream: int) -> torch.Generator:
        seed = np.random.SeedSequence([self._options.seed, stream]).generate_state(1, np.uint64)[0]
        return torch.Generator(self._options.device).manual_seed(int(seed >> np.uint64(1)))

    def _relaxed(self) -> float:
        """Time of structural relaxation: the clock, at the pace of the temperature."""
        return self._clock * self._relaxation

    def _read_range(self) -> float:
        smallest, _, _ = self._chip.adc_range
        return max(smallest, READ_HEADROOM * self.info.g_max)

    def _attenuation(self, unit: _Core) -> torch.Tensor | None:
        p = self._chip
        if p.wire_resistance == 0:
            return None
        conductance = unit.devices.drifted(self._relaxed()).view(p.device_shape).sum(1)
        return attenuation(conductance, p.wire_resistance)

    def _tensor(self, array: NDArray[Any], dtype: torch.dtype | None = None) -> torch.Tensor:
        return torch.tensor(array, dtype=dtype, device=self._options.device)


def _signed(conductance: torch.Tensor, p: ChipParameters, attenuated: torch.Tensor | None) -> torch.Tensor:
    """Weights (rows, columns) in uS: positive minus negative devices (2, K, rows * columns)."""
    polarities = conductance.sum(1)
    if attenuated is not None:
        polarities = polarities * attenuated.view(2, -1)
    return (polarities[0] - polarities[1]).view(p.rows, p.columns)


def _describe(p: ChipParameters, options: SimOptions) -> ChipInfo:
    return ChipInfo(
        name=f"sim:{p.name}",
        serial=f"simulated-{options.seed}",
        cores=p.cores,
        rows=p.rows,
        columns=p.columns,
        devices_per_polarity=p.devices_per_polarity,
        input_bits=p.dac_bits,
        output_bits=p.adc_bits,
        g_max=p.device.drift.g_scale,
        read_voltage=p.read_voltage,
        adc_range=(p.adc_range[0], p.adc_range[2]),
        limits=p.limits,
        capabilities=frozenset(Capability),
        device_model=p.device,
    )


def _parameters(chip: Any, prefix: str = "", source: str = "") -> Iterator[Parameter]:
    """Fields of nested dataclasses by dotted name; what is neither number nor text is shown as text."""
    for item in fields(chip):
        name, value = f"{prefix}{item.name}", getattr(chip, item.name)
        origin = source or (chip.source(name) if isinstance(chip, ChipParameters) else ASSUMED)
        if isinstance(value, dict):
            continue
        if is_dataclass(value) and not name.endswith((".mean", ".spread", ".q")):
            inner = "" if item.name == "device" else origin
            yield from _device_parameters(value, chip) if item.name == "device" else _parameters(value, f"{name}.", inner)
        else:
            plain = value if isinstance(value, str | int | float | bool) else str(value)
            yield Parameter(name, plain, str(item.metadata.get("unit", "")), origin)


def _device_parameters(device: DeviceModel, chip: ChipParameters) -> Iterator[Parameter]:
    for part in ("curve", "drift", "read_noise"):
        yield from _parameters(getattr(device, part), f"device.{part}.", chip.source(f"device.{part}"))
