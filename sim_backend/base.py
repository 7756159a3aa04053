"""What all simulated chips share: parameters, a clock, generators, column converters, and their saved state."""

from __future__ import annotations

import abc
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch

from hwloop.chip.backend import Backend
from hwloop.chip.driver import Settings
from hwloop.chip.info import Capability, ChipInfo, Parameter, ReadMode
from hwloop.devices.model import FIELD_UNITS
from hwloop.errors import BadInputError, HwloopError
from hwloop.sim_backend.converters import ColumnConverters, InputConverters
from hwloop.sim_backend.devices.pcm import DeviceArray
from hwloop.sim_backend.normals import normals
from hwloop.sim_backend.options import SimOptions
from hwloop.sim_backend.periphery import Periphery
from hwloop.typing import AnyArray, CodeArray, FloatArray, IndexArray, State


class PulsedChip(Backend):
    """A simulated chip that takes pulses, and can show what they did."""

    @abc.abstractmethod
    def devices_of(self, core: int) -> DeviceArray:
        """Return the devices of a core as they are. Do not modify them."""


@dataclass
class Core:
    """What every simulated core has, whatever its cells are."""

    converters: ColumnConverters
    dynamics: torch.Generator
    adc_range: float
    mode: int = field(default=0, kw_only=True)
    """Index of the read mode in use."""


@dataclass(frozen=True)
class Way:
    """How a core does an MVM: seconds for a vector, and step and noise of its converters over those it states."""

    seconds: float
    coarseness: float = 1.0


@dataclass(frozen=True)
class Seen:
    """What a batch of products sees of the cells of a core.

    Parameters
    ----------
    conductance
        (rows, columns) with slow noise, uS.
    variance
        (rows, columns) per unit of flicker, uS^2; None for cells without noise.
    fast
        What of the flicker changes from vector to vector.
    """

    conductance: torch.Tensor
    variance: torch.Tensor | None
    fast: float


C = TypeVar("C", bound=Core)
P = TypeVar("P", bound=Periphery)


class SimulatedBase(Backend, Generic[C, P]):
    """A computed chip; the same seed gives the same chip and the same results.

    Every core has generators of its own, one for the specimen and one for what happens to it, so that the order in
    which cores are used does not change what any of them does.
    """

    in_process: ClassVar[bool] = True
    outputs_at_once: ClassVar[int] = 2**16
    """Outputs, or inputs, of a batch that are computed at one time: more would leave the processor's cache."""
    driven_share: ClassVar[float] = 0.75
    """Rows that a batch drives at all, over all rows, below which the others are left out of the arithmetic."""

    def __init__(self, parameters: P, options: SimOptions, capabilities: frozenset[Capability]) -> None:
        """Make the chip; cores take memory when they are first touched."""
        self._chip = parameters
        self._options = options
        self._cores: dict[int, C] = {}
        self._inputs = InputConverters(parameters)
        self._clock = 0.0
        super().__init__(_describe(parameters, self._options, capabilities))

    @abc.abstractmethod
    def _new_core(self, index: int) -> C:
        """Make a core as it comes from the factory."""

    @abc.abstractmethod
    def _saved_cells(self, core: C) -> dict[str, torch.Tensor]:
        """Return what is needed to find the cells of a core as they are, by name."""

    @abc.abstractmethod
    def _restore_cells(self, core: C, own: dict[str, torch.Tensor]) -> None:
        """Take back what `_saved_cells` gave.

        Raises KeyError, ValueError, TypeError or RuntimeError for what it did not.
        """

    def _snapshot(self) -> Settings:
        """Return all parameters by dotted name, seed, clock, and converter ranges and trims in use (their rms)."""
        cores = sorted(self._cores.items())
        ranges = {f"core{index}.adc_range": core.adc_range for index, core in cores}
        trims = {
            f"core{index}.{name}_trim_rms": float(np.sqrt(np.mean(np.square(values))))
            for index, core in cores
            for name, values in zip(("offset", "gain"), core.converters.trims, strict=True)
        }
        own: Settings = {
            "seed": self._options.seed,
            "torch_device": self._options.device,
            "now": self._clock,
        }
        modes = {f"core{index}.read_mode": self._read_mode(index) for index, _ in cores if self._chip.read_modes}
        parameters = {row.name: row.value for row in self._parameters()}
        return {**parameters, **own, **ranges, **trims, **modes}

    def _parameters(self) -> list[Parameter]:
        """Return every number of the chip with its unit and source."""
        return list(_rows(self._chip))

    # ---- the contract's hooks --------------------------------------------------------------------------------

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

    def _trims(self, core: int) -> tuple[FloatArray, FloatArray]:
        offset, gain = self._core(core).converters.trims
        return offset.copy(), gain.copy()

    def _set_trims(self, core: int, offset: FloatArray, gain: FloatArray) -> None:
        self._core(core).converters.trim(offset, gain)

    def _read_mode(self, core: int) -> str:
        return self._chip.read_modes[self._core(core).mode].name

    def _set_read_mode(self, core: int, mode: str) -> None:
        self._core(core).mode = [known.name for known in self._chip.read_modes].index(mode)

    def _close(self) -> None:
        self._cores.clear()

    def _export_state(self) -> dict[str, AnyArray]:
        # A copy: the chip goes on, what was saved must not.
        return {name: array.copy() for name, array in self._state_parts()}

    def _state_parts(self) -> Iterator[tuple[str, AnyArray]]:
        yield "clock", np.array(self._clock)
        for index, core in self._cores.items():
            own = self._saved_cells(core) | {
                "generator": core.dynamics.get_state(),
                "adc_range": torch.tensor(core.adc_range, dtype=torch.float64),
                "offset_trim": torch.from_numpy(core.converters.trims[0]),
                "gain_trim": torch.from_numpy(core.converters.trims[1]),
            }
            if self._chip.read_modes:
                own["read_mode"] = torch.tensor(self._mode_numbers()[core.mode])
            yield from ((f"core{index}/{name}", tensor.cpu().numpy()) for name, tensor in own.items())

    def _import_state(self, state: State) -> None:
        """Take the state as a whole or not at all: until every part of it has been read, the chip stays as it was."""
        parts: dict[str, dict[str, torch.Tensor]] = {}
        try:
            for name, array in state.items():
                core, _, part = name.partition("/")
                parts.setdefault(core, {})[part] = torch.from_numpy(np.array(array))
            ((_, clock),) = parts.pop("clock").items()
            if not 0 <= float(clock) < math.inf:
                raise ValueError(f"the clock stands at {float(clock)}")
            cores = {index: self._restored(index, parts.pop(name)) for index, name in self._named(parts)}
            if parts:
                raise ValueError(f"it has a part '{min(parts)}'")
        except (
            KeyError,
            ValueError,
            TypeError,
            RuntimeError,
            HwloopError,
        ) as error:  # torch refuses a generator's state so
            raise BadInputError(
                f"{self.info.name}: the saved state is not of a chip with {self.info.cores} core(s) of "
                f"{self.info.devices_per_core} devices ({error}); connect with the URI it was saved from"
            ) from error
        self._clock, self._cores = float(clock), cores

    def _named(self, parts: Mapping[str, Any]) -> list[tuple[int, str]]:
        """List the cores that have a part in a saved state, with its name."""
        return [(index, f"core{index}") for index in range(self.info.cores) if f"core{index}" in parts]

    def _restored(self, index: int, own: dict[str, torch.Tensor]) -> C:
        """Make a core in a saved state; one of a version without trims or read modes has none.

        Raises KeyError, ValueError, TypeError, RuntimeError or HwloopError for what is not a core's state.
        """
        core = self._new_core(index)
        for name, tensor in own.items():
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                raise ValueError(f"'{name}' is not finite")
        self._restore_cells(core, own)
        core.dynamics.set_state(own["generator"])
        core.adc_range = float(own["adc_range"])
        if not self.info.adc_range[0] <= core.adc_range <= self.info.adc_range[1]:
            raise ValueError(f"the converter range of core {index} is {core.adc_range:g} uS")
        if "read_mode" in own:
            core.mode = self._mode_numbers().index(int(own["read_mode"]))
        if "offset_trim" in own or "gain_trim" in own:
            core.converters.trim(*self._registers(index, own["offset_trim"].numpy(), own["gain_trim"].numpy()))
        return core

    # ---- inside ----------------------------------------------------------------------------------------------

    def _mode_numbers(self) -> list[int]:
        """Return what stands in a saved state for each read mode: its place by name, whichever mode comes first."""
        names = [mode.name for mode in self._chip.read_modes]
        return [sorted(names).index(name) for name in names]

    def _way(self, unit: C) -> Way:
        """Return how a core does an MVM now."""
        if not self._chip.read_modes:
            return Way(self._chip.mvm_seconds)
        mode = self._chip.read_modes[unit.mode]
        return Way(mode.seconds, mode.coarseness)

    def _core(self, index: int) -> C:
        if index not in self._cores:
            self._cores[index] = self._new_core(index)
        return self._cores[index]

    def _product(
        self, unit: C, x: CodeArray, seen: Seen, columns: slice, converters: ColumnConverters | None = None
    ) -> CodeArray:
        """Return codes (batch, wanted) of inputs (batch, rows) to what is seen of the cells, by the core's converters.

        Of a transposed product, what is seen is transposed, and `converters` are those of the rows.
        """
        converters, coarseness = converters or unit.converters, self._way(unit).coarseness
        conductance = seen.conductance[:, columns]
        variance = None if seen.variance is None else seen.variance[:, columns]
        codes = np.empty((x.shape[0], conductance.shape[1]), np.int32)
        rows = self._driven(x)
        x, conductance = x[:, rows], conductance[rows]
        variance = None if variance is None else variance[rows]
        vectors = max(1, self.outputs_at_once // max(conductance.shape))
        for first in range(0, len(x), vectors):
            part = slice(first, first + vectors)
            drive = self._inputs.drive(self._tensor(x[part], torch.float32))
            sums = drive @ conductance
            # Independent Gaussian noises, of devices and converter, are one Gaussian to the output: one draw for all.
            spread = converters.noise_variance(unit.adc_range, coarseness, columns)
            if variance is not None:
                spread = (drive.square_() @ variance).mul_(seen.fast).add_(spread)
            sums.addcmul_(normals(tuple(sums.shape), unit.dynamics), spread.sqrt_())
            codes[part] = converters.convert(sums, unit.adc_range, coarseness, columns).cpu().numpy()
        return codes

    def _driven(self, x: CodeArray) -> slice | IndexArray:
        """Find the rows that count for inputs (batch, rows): what the others would add is zero, noise and all.

        Neighbours where they are few enough, because they are copied much faster than rows here and there.
        """
        driven, most = np.flatnonzero(x.any(0)), self.driven_share * x.shape[1]
        ends = slice(int(driven[0]), int(driven[-1]) + 1) if len(driven) else slice(0, 0)
        if ends.stop - ends.start < most:
            return ends
        return driven if len(driven) < most else slice(None)

    def _generator(self, stream: int) -> torch.Generator:
        seed = np.random.SeedSequence([self._options.seed, stream]).generate_state(1, np.uint64)[0]
        return torch.Generator(self._options.device).manual_seed(int(seed >> np.uint64(1)))

    def _tensor(self, array: AnyArray, dtype: torch.dtype | None = None) -> torch.Tensor:
        return torch.tensor(array, dtype=dtype, device=self._options.device)


def _describe(p: Periphery, options: SimOptions, capabilities: frozenset[Capability]) -> ChipInfo:
    return ChipInfo(
        name=f"sim:{p.name}",
        serial=f"simulated-{options.seed}{options.variant}",
        cores=p.cores,
        rows=p.rows,
        columns=p.columns,
        devices_per_polarity=p.devices_per_polarity,
        input_bits=p.dac_bits,
        output_bits=p.adc_bits,
        g_max=p.g_max,
        read_voltage=p.read_voltage,
        adc_range=(p.adc_range[0], p.adc_range[2]),
        limits=p.limits,
        capabilities=capabilities - (set() if len(p.read_modes) > 1 else {Capability.READ_MODE}),
        device_model=p.announced,
        trims=p.trims,
        read_modes=tuple(
            ReadMode(
                mode.name,
                mode.seconds,
                mode.joules if (mode.rows, mode.columns) == (p.rows, p.columns) else None,
                p.source(f"read_modes.{mode.name}"),
            )
            for mode in p.read_modes
        ),
        stepping=p.stepping,
    )


def _rows(chip: Periphery) -> Iterator[Parameter]:
    """List all numbers of a chip, those of nested dataclasses by dotted names."""
    pending: list[tuple[str, Any]] = [("", chip)]
    while pending:
        prefix, part = pending.pop(0)
        for item in fields(part):
            name, value = f"{prefix}{item.name}", getattr(part, item.name)
            if is_dataclass(value) and not callable(value):
                pending.append((f"{name}.", value))
            elif item.name == "read_modes":
                pending += [(f"{name}.{mode.name}.", mode) for mode in value]
            elif item.name != "sources" and value is not None:
                plain = value if isinstance(value, str | int | float | bool) else str(value)
                unit = item.metadata.get("unit") or FIELD_UNITS.get(item.name, "1")
                yield Parameter(name, plain, unit, chip.source(name), item.metadata.get("meaning", ""))
