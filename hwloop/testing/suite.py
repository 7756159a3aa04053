"""What all conformance tests share: how to open the chip, what to use it for, and how to see that nothing was sent."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray

from hwloop.chip.backend import Backend
from hwloop.chip.counts import Counts
from hwloop.chip.info import Capability, ReadMode, TrimLimits
from hwloop.chip.lifetime import Lifetime
from hwloop.chip.pulses import PulseKind, Pulses
from hwloop.chip.targets import Programmer, Targets
from hwloop.chip.updates import PulseTrains, SteppingDevices
from hwloop.typing import AnyArray, CodeArray, FloatArray, IndexArray

T = TypeVar("T")

Use = Callable[..., object]
"""One use of a backend (first argument) and its core (second), which may be none that exists."""


def place_all(chip: Backend, targets: FloatArray, age: float) -> None:
    """Place all devices of a chip's first core, those of one polarity equally, for signed targets in uS."""
    info = chip.info
    shares = np.stack([np.maximum(targets, 0.0), np.maximum(-targets, 0.0)]) / info.devices_per_polarity
    devices = np.repeat(shares[:, None], info.devices_per_polarity, axis=1)
    chip.place(0, np.arange(info.devices_per_core), devices.ravel(), age)


PLACED = Programmer("conformance: placed", place_all)
"""A way of programming that any simulated chip can rehearse."""


def cells(chip: Backend, core: int, rows: int = 1, columns: int = 1, share: float = 0.5) -> Targets:
    """Return targets for the first cells of a core, a share of the largest conductance of one device."""
    return Targets(core, 0, 0, np.full((rows, columns), share * chip.info.g_max))


def touch(chip: Backend, core: int) -> None:
    """Send one pulse, or a target to a chip that takes those instead."""
    if Capability.TARGETS in chip.info.capabilities:
        chip.program_targets([cells(chip, core)], 1.0, PLACED)
    else:
        chip.pulse(core, one_pulse(chip))


OPTIONAL: dict[Capability, Use] = {
    Capability.MVM: lambda chip, core: chip.mvm(core, np.zeros((1, chip.info.rows), np.int32)),
    Capability.DEVICE_READ: lambda chip, core: chip.read(core, [0]),
    Capability.TEMPERATURE: lambda chip, core: chip.temperature(),
    Capability.ADC_RANGE: lambda chip, core: chip.set_adc_range(core, chip.info.adc_range[1]),
    Capability.TRIMS: lambda chip, core: chip.set_trims(core, np.zeros(chip.info.columns), np.zeros(chip.info.columns)),
    Capability.READ_MODE: lambda chip, core: chip.read_mode(core),
    Capability.EXACT_PLACEMENT: lambda chip, core: chip.place(core, [0], [chip.info.g_max / 2], 1.0),
    Capability.STATE: lambda chip, core: chip.export_state(),
    Capability.TARGETS: lambda chip, core: chip.program_targets([cells(chip, core)], 1.0, PLACED),
    Capability.TRANSPOSED_MVM: lambda chip, core: chip.mvm(
        core, np.zeros((1, chip.info.columns), np.int32), transposed=True
    ),
    Capability.UPDATE: lambda chip, core: chip.update(
        core, np.zeros((1, chip.info.rows), np.int32), np.zeros((1, chip.info.columns), np.int32)
    ),
}
"""The plainest use of each capability."""

ON_A_CORE: dict[str, Use] = {
    "pulse": touch,
    "empty pulse": lambda chip, core: chip.pulse(core, Pulses.make(PulseKind.RESET, [], 1.0, 1.0)),
    "adc_range": lambda chip, core: chip.adc_range(core),
    "pulse_counts": lambda chip, core: chip.pulse_counts(core),
}
"""What every backend can do with a core."""

ON_THE_CHIP: dict[str, Use] = {
    "now": lambda chip, core: chip.now(),
    "wait": lambda chip, core: chip.wait(0.0),
    "snapshot": lambda chip, core: chip.snapshot(),
    "parameters": lambda chip, core: chip.parameters(),
}
"""What every backend can do without naming a core."""


def one_pulse(chip: Backend, device: int = 0) -> Pulses:
    """Make a RESET pulse of half the largest amplitude on one device."""
    limits = chip.info.limits
    return Pulses.make(PulseKind.RESET, [device], limits.amplitude_max / 2, limits.width_min)


class Suite:
    """The fixture, the settings and the helpers of all conformance tests; the tests are in its subclasses."""

    core: int = 0
    """The core to test on."""
    set_pulse: tuple[float, float] | None = None
    """Amplitude (uA) and width (ns) of a pulse that SETs a device whatever its state; None takes half the melting
    current of the device model (or a third of the largest amplitude) and the longest width."""
    reset_pulses: tuple[float, float, float] | None = None
    """Two RESET amplitudes (uA), the second of which leaves less conductance, and their width (ns); None takes them
    from the device model's programming curve (or half and all of the largest amplitude, at the shortest width)."""
    zero_code_max: float | None = None
    """Largest output code for zero input; None allows 8, or a tenth of the largest code where that is more."""
    pause: float = 0.01
    """Seconds of chip time that the tests of the clock let pass."""

    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        """Yield a fresh open backend. Override this."""
        pytest.fail(f"{type(self).__name__} must override the fixture 'backend' and yield an open hwloop Backend")

    # ---- help for the tests ------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _nothing_sent(self, backend: Backend) -> Iterator[None]:
        """Fail when, by the end of the `with`, a hook of the driver was called or anything was counted or changed."""
        backend.adc_range(self.core), backend.pulse_counts(self.core)  # whatever is made on first use is made now
        stateful = Capability.STATE in backend.info.capabilities
        state = backend.export_state() if stateful else {}  # moves bytes over a link, so it comes before the costs
        costs = backend.counts
        called: list[str] = []
        hooks = (
            "_pulse", "_mvm", "_mvm_columns", "_read", "_wait", "_place", "_set_adc_range", "_set_trims",
            "_set_read_mode", "_program_targets", "_mvm_transposed", "_update",
        )  # fmt: skip
        for name in hooks:
            setattr(backend, name, recording(getattr(backend, name), name, called))
        try:
            yield
        finally:
            for name in hooks:
                delattr(backend, name)
        assert not called, f"reached the driver: {', '.join(called)}"
        assert backend.counts == costs, "a refused request was counted, or bytes went over the link"
        after = backend.export_state() if stateful else {}
        assert after.keys() == state.keys()
        changed = [name for name, array in state.items() if not np.array_equal(array, after[name])]
        assert not changed, f"the chip's state has changed: {', '.join(changed)}"

    def _needs(self, backend: Backend, capability: Capability) -> None:
        if capability not in backend.info.capabilities:
            pytest.skip(f"the chip lacks '{capability.value}'")

    def _takes_pulses(self, backend: Backend) -> None:
        if Capability.TARGETS in backend.info.capabilities:
            pytest.skip("the chip takes targets in place of pulses")

    def _stepping(self, backend: Backend) -> SteppingDevices:
        self._needs(backend, Capability.UPDATE)
        assert backend.info.stepping is not None, "a chip that takes updates must say of which devices"
        return backend.info.stepping

    def _melts(self, backend: Backend) -> None:
        if backend.info.stepping is not None:
            pytest.skip("the chip's devices step; they do not melt")

    def _trim_limits(self, backend: Backend) -> TrimLimits:
        self._needs(backend, Capability.TRIMS)
        assert backend.info.trims is not None, "a chip that declares trims must say how far they reach"
        return backend.info.trims

    def _read_modes(self, backend: Backend) -> tuple[ReadMode, ...]:
        self._needs(backend, Capability.READ_MODE)
        return backend.info.read_modes

    def _some_trims(self, backend: Backend) -> FloatArray:
        """Return (2, columns) offsets and gains all over the registers."""
        limits = self._trim_limits(backend)
        trims = np.random.default_rng(2).uniform(-1, 1, (2, backend.info.columns))
        return trims * [[limits.offset_max], [limits.gain_max]]

    def _idle(self, backend: Backend) -> tuple[FloatArray, FloatArray]:
        """Return mean idle outputs (columns,) and their standard errors."""
        codes = backend.mvm(self.core, np.zeros((256, backend.info.rows), np.int32)).astype(np.float64)
        return codes.mean(0), np.maximum(codes.std(0), 0.1) / 16

    def _set_pulse(self, backend: Backend) -> tuple[float, float]:
        limits, model = backend.info.limits, backend.info.device_model
        amplitude = model.curve.melt / 2 if model else limits.amplitude_max / 3
        return self.set_pulse or (amplitude, limits.width_max)

    def _reset_pulses(self, backend: Backend) -> tuple[float, float, float]:
        limits, model = backend.info.limits, backend.info.device_model
        if self.reset_pulses:
            return self.reset_pulses
        if model is None:
            return limits.amplitude_max / 2, limits.amplitude_max, limits.width_min
        curve = model.curve
        gentle, strong = curve.midpoint - 2 * curve.steepness, curve.midpoint + 4 * curve.steepness
        return gentle, min(strong, limits.amplitude_max), curve.width

    def _some_devices(self, backend: Backend, count: int) -> IndexArray:
        """Return positive first devices of the first cells, not more than the core has."""
        info = backend.info
        return np.arange(min(count, info.rows * info.columns))

    def _conduct(self, backend: Backend) -> float:
        """Make the first rows conduct in a few columns, one device a cell, and return the converter range for them."""
        info, rows = backend.info, self._driven_rows(backend)
        if info.stepping is not None:
            x, d = np.zeros((1, info.rows), int), np.zeros((1, info.columns), int)
            count = min(int(info.stepping.states / 2), info.stepping.longest)
            x[0, :rows], d[0, self._used_columns(backend)] = count, count
            backend.update(self.core, x, d, PulseTrains(count, stochastic=False))
            return self._suitable_range(backend, 4 * info.stepping.half_range * math.sqrt(rows))
        if Capability.TARGETS in info.capabilities:
            wanted = np.zeros((rows, info.columns))
            wanted[:, self._used_columns(backend)] = info.g_max
            backend.program_targets([Targets(self.core, 0, 0, wanted)], 1.0, PLACED)
        else:
            every = np.arange(info.rows * info.columns).reshape(info.rows, info.columns)
            devices = every[:rows, self._used_columns(backend)].ravel()
            backend.pulse(self.core, Pulses.make(PulseKind.SET, devices, *self._set_pulse(backend)))
        backend.wait(self.pause)  # so that drift does not matter between the MVMs of a test
        return self._suitable_range(backend, 4 * info.g_max * math.sqrt(rows))

    def _suitable_range(self, backend: Backend, wanted: float) -> float:
        """Choose the converter range for column sums in uS, where it can be chosen, and return it."""
        low, high = backend.info.adc_range
        full_scale = min(max(wanted, 2 * low), high)
        if Capability.ADC_RANGE in backend.info.capabilities:
            backend.set_adc_range(self.core, full_scale)
        return full_scale

    def _driven_rows(self, backend: Backend) -> int:
        return min(16, backend.info.rows)

    def _used_columns(self, backend: Backend) -> slice:
        return slice(0, min(4, backend.info.columns))

    def _probe(self, backend: Backend) -> NDArray[np.int32]:
        """Return sixty-four random inputs that leave the converters room, on the rows with SET devices."""
        info, rows = backend.info, self._driven_rows(backend)
        x = np.zeros((64, info.rows), np.int32)
        x[:, :rows] = np.random.default_rng(1).integers(-info.input_max, info.input_max + 1, (64, rows))
        return x

    def _offset(self, backend: Backend) -> FloatArray:
        codes = backend.mvm(self.core, np.zeros((32, backend.info.rows), np.int32))
        return np.asarray(codes.mean(axis=0, dtype=np.float64))

    def _history(self, backend: Backend) -> dict[str, AnyArray]:
        """Do a bit of everything, and return what came of it."""
        _, strong, width = self._reset_pulses(backend)
        codes = backend.mvm(self.core, self._probe(backend))
        if Capability.TARGETS in backend.info.capabilities:
            backend.program_targets([cells(backend, self.core, 2, 2)], 1.0, PLACED)
        else:
            backend.pulse(self.core, Pulses.make(PulseKind.RESET, self._some_devices(backend, 4), strong, width))
        backend.wait(self.pause)
        later = backend.mvm(self.core, self._probe(backend))
        reads = backend.read(self.core, [0, 1]) if Capability.DEVICE_READ in backend.info.capabilities else np.empty(0)
        return {
            "codes": codes,
            "later codes": later,
            "reads": reads,
            "clock": np.array(backend.now()),
            "converter range": np.array(backend.adc_range(self.core)),
            "read mode": np.array(
                backend.read_mode(self.core) if Capability.READ_MODE in backend.info.capabilities else ""
            ),
            "trims": np.stack(backend.trims(self.core))
            if Capability.TRIMS in backend.info.capabilities
            else np.empty(0),
            "pulse counts": backend.pulse_counts(self.core),
        }


# ---- watching a backend ----------------------------------------------------------------------------------------


def costs(backend: Backend) -> Counts:
    """Return what was spent, without the bytes that asking for the clock may cost."""
    return dataclasses.replace(backend.counts, link_bytes=0)


@contextlib.contextmanager
def raises(error: type[Exception], what: str) -> Iterator[pytest.ExceptionInfo[Exception]]:
    """As pytest.raises, with `what` was asked for in the failure."""
    try:
        with pytest.raises(error) as caught:
            yield caught
    except pytest.fail.Exception:
        pytest.fail(f"{what}: expected {error.__name__}")


def recording(hook: Callable[..., T], name: str, called: list[str]) -> Callable[..., T]:
    """Return a hook that does the same and notes its name in `called`."""

    def record(*arguments: int | float | AnyArray | Pulses) -> T:
        called.append(name)
        return hook(*arguments)

    return record


@contextlib.contextmanager
def budget(backend: Backend, pulses: int) -> Iterator[None]:
    """Give the backend an endurance budget of `pulses` from now on, so that spending it does not wear the chip out."""
    info, life = backend.info, backend.lifetime
    limits = dataclasses.replace(info.limits, pulses_per_device=pulses)
    backend._info, backend.lifetime = dataclasses.replace(info, limits=limits), _NewLife(life)
    try:
        yield
    finally:
        backend._info, backend.lifetime = info, life


class _NewLife(Lifetime):
    """Keeps on record what devices receive, and lets nothing that they received before count."""

    def __init__(self, life: Lifetime) -> None:
        self._life = life

    def ahead(self, core: int, devices: IndexArray) -> None:
        self._life.ahead(core, devices)

    def ahead_of_trains(self, core: int, most: CodeArray) -> None:
        self._life.ahead_of_trains(core, most)

    def received(self, core: int, counts: CodeArray) -> None:
        self._life.received(core, counts)
