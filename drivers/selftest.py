"""Link self-test: is the chip who it says it is, does every byte arrive, do the columns compute what they should.

No device is pulsed. The MVMs move the chip's clock by some microseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hwloop.chip.backend import Backend
from hwloop.chip.info import Capability
from hwloop.drivers.visa_chip import VisaChip
from hwloop.errors import HwloopError
from hwloop.typing import FloatArray


@dataclass(frozen=True)
class SelfTestSettings:
    """What is sent, and how much may be wrong with what comes back."""

    echo_bytes: tuple[int, ...] = (0, 1, 255, 4096, 65_537, 1_000_000)
    """Sizes of the random blocks that are sent and must come back."""
    vectors: int = 32
    """Vectors of each known pattern."""
    relative: float = 0.25
    """Part of their signal, rms, by which columns may differ between two measurements: read noise and drift, which a
    link does not make."""
    codes: float = 3.0
    """Output codes, rms over the columns, by which they may differ besides."""


SETTINGS = SelfTestSettings()
"""The settings of every self-test."""


@dataclass(frozen=True)
class Check:
    """One check: its name, whether it passed (None: it cannot be made here), and what was seen."""

    name: str
    passed: bool | None
    seen: str


def self_test(chip: Backend, core: int = 0, seed: int = 0) -> list[Check]:
    """Run all checks that apply to the backend, and name the others. A check that fails is a row, not an error.

    * identity: name, serial and geometry are there, and a link tells the same model twice
    * limits: the pulse limits are positive and in order
    * echo: random blocks of several sizes, all byte values, come back unchanged
    * pattern, on a chip with MVMs: zero input, a ramp over the rows twice, and the ramp negated; the columns must
      repeat and change sign

    Each exchange is bounded by the link's timeout.
    """
    rng = np.random.default_rng(seed)
    checks: list[tuple[str, Callable[[], str]]] = [
        ("identity", lambda: _identity(chip)),
        ("limits", lambda: _limits(chip)),
    ]
    left_out = []
    if isinstance(chip, VisaChip):
        checks.append(("echo", lambda: _echo(chip, rng)))
    if Capability.MVM in chip.info.capabilities:
        checks.append(("pattern", lambda: _pattern(chip, core)))
    else:
        left_out.append(Check("pattern", None, "this chip has no MVM; read a known resistor instead"))
    return [_run(name, check) for name, check in checks] + left_out


class _Failed(Exception):
    """A check that did not pass; the text says what was seen."""


def _run(name: str, check: Callable[[], str]) -> Check:
    try:
        return Check(name, True, check())
    except (_Failed, HwloopError) as error:
        return Check(name, False, str(error))


def _identity(chip: Backend) -> str:
    info = chip.info
    if not info.name or not info.serial:
        raise _Failed("name or serial number is empty")
    if isinstance(chip, VisaChip) and (chip.identity.model, chip.identity.serial) != (info.name, info.serial):
        raise _Failed(f"*IDN? says {chip.identity.model} {chip.identity.serial}, CHIP:DESC? {info.name} {info.serial}")
    cells = f"{info.cores} core(s) of {info.rows} x {info.columns} cells"
    return f"{info.name}, serial {info.serial}, {cells} with {2 * info.devices_per_polarity} devices each"


def _limits(chip: Backend) -> str:
    limits = chip.info.limits
    if not (0 < limits.amplitude_max < np.inf and 0 < limits.width_min <= limits.width_max < np.inf):
        raise _Failed(f"the pulse limits make no sense: {limits}")
    if limits.pulses_per_device < 1:
        raise _Failed("no device may be pulsed at all")
    return (
        f"up to {limits.amplitude_max:g} uA, {limits.width_min:g} to {limits.width_max:g} ns, "
        f"{limits.pulses_per_device} pulses a device"
    )


def _echo(chip: VisaChip, rng: np.random.Generator) -> str:
    total = 0
    for size in SETTINGS.echo_bytes:
        sent = rng.integers(0, 256, size, np.uint8).tobytes()
        if chip.echo(sent) != sent:
            raise _Failed(f"a block of {size} bytes came back changed")
        total += size
    return f"{total} random bytes in {len(SETTINGS.echo_bytes)} blocks came back unchanged"


def _pattern(chip: Backend, core: int) -> str:
    info = chip.info
    ramp = np.rint(np.linspace(-1, 1, info.rows) * info.input_max).astype(np.int32)
    zero, first, second, negated = (
        chip.mvm(core, np.tile(sign * ramp, (SETTINGS.vectors, 1))).astype(np.float64) for sign in (0, 1, 1, -1)
    )
    offset = zero.mean(0)
    if np.any(np.abs(offset) >= info.code_max):
        raise _Failed("a column saturates with no input at all")
    signal = first.mean(0) - offset
    tolerance = SETTINGS.relative * _rms(signal) + SETTINGS.codes
    repeat = _rms(first.mean(0) - second.mean(0))
    flipped = _rms(signal + negated.mean(0) - offset)
    for name, difference in (("repeat", repeat), ("change sign with the input", flipped)):
        if difference > tolerance:
            raise _Failed(f"the columns do not {name}: {difference:.2f} codes rms off, {tolerance:.2f} allowed")
    return f"{info.columns} columns repeat within {repeat:.2f} codes rms and change sign within {flipped:.2f}"


def _rms(values: FloatArray) -> float:
    return float(np.sqrt(np.mean(values**2)))
