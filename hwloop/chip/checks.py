"""Checks of requests to a chip: what cannot be meant or is out of bounds is refused before a driver sees it.

Everything that a caller may hand to a backend goes through these functions, and each of them raises a subclass of
HwloopError with a sentence that names what is wrong. Nothing is rounded, clamped or guessed, but trims, to the steps
of their registers.
"""

from __future__ import annotations

import math
import numbers
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwloop.chip.info import TRIM_ROUNDING, ChipInfo, ReadMode, TrimLimits
from hwloop.chip.pulses import Pulses, device_indices, real_numbers
from hwloop.chip.targets import Targets
from hwloop.errors import BadInputError, LimitError
from hwloop.typing import AnyArray, CodeArray, FloatArray, IndexArray, State

LEDGER = "ledger/"
"""How the names of pulse counts begin in a saved state."""


@dataclass(frozen=True)
class RequestLimits:
    """What one request may ask of any chip, whatever the chip itself allows."""

    averages: int = 2**16
    """Reads of one device that one call may average: a typing error must not keep a chip busy for hours."""
    placed_over_g_max: float = 2.0
    """Exact placement takes conductances up to this multiple of g_max, beyond what any device does."""
    youngest: float = 1e-9
    """Shortest age of exact placement, seconds."""
    oldest: float = 1e12
    """Longest age of exact placement, seconds: short of where the fitted laws of drift and noise overflow."""
    rounding: float = 1e-5
    """Share by which a target may miss the largest conductance: arithmetic in single precision, not intent."""


REQUESTS = RequestLimits()
"""The limits of every backend."""


NO_NUMBERS = (bool, np.timedelta64)
"""Types that Python or numpy count among the numbers and no request means as one."""


def _is_integer(value: float) -> TypeGuard[int]:
    """Tell whether a value is a Python or numpy integer."""
    return isinstance(value, int | np.integer) and not isinstance(value, NO_NUMBERS)


def whole_number(value: int, what: str, low: int, high: int) -> int:
    """Return a whole number between `low` and `high`; truth values and floats are none, even 1.0.

    Raises
    ------
    BadInputError
        For anything else, with `what` at the beginning of its message.
    """
    if _is_integer(value) and low <= int(value) <= high:
        return int(value)
    raise BadInputError(f"{what} must be a whole number from {low} to {high}, not {reprlib.repr(value)}")


def real_number(value: float, what: str) -> float:
    """Return a real number as a float, which may be NaN or infinite; truth values, texts and arrays are none.

    Raises
    ------
    BadInputError
        For anything else, with `what` at the beginning of its message.
    """
    if isinstance(value, numbers.Real) and not isinstance(value, NO_NUMBERS):
        try:
            return float(value)
        except OverflowError:
            pass
    raise BadInputError(f"{what} must be a number, not {reprlib.repr(value)}")


def core_number(info: ChipInfo, core: int) -> int:
    """Return the number of a core that the chip has.

    Raises
    ------
    BadInputError
        For a core that does not exist, and for what is no whole number: 0.0 would count pulses in a ledger of its own.
    """
    if not _is_integer(core):
        raise BadInputError(f"core must be a whole number from 0 to {info.cores - 1}, not {reprlib.repr(core)}")
    if not 0 <= int(core) < info.cores:
        raise BadInputError(f"core {core} does not exist; {info.name} has cores 0 to {info.cores - 1}")
    return int(core)


def devices_of_core(info: ChipInfo, devices: ArrayLike, *, unique: bool) -> IndexArray:
    """Return flat device indices (n,) that a core has.

    Parameters
    ----------
    info
        The chip.
    devices
        Indices in 0 to devices_per_core - 1.
    unique
        Refuse a device that occurs twice.

    Raises
    ------
    BadInputError
        For indices that do not exist, occur twice where they must not, or are no list of integers.
    """
    index, size = device_indices(devices), info.devices_per_core
    if index.size and (index.min() < 0 or index.max() >= size):
        raise BadInputError(f"device indices must lie in 0 to {size - 1}, got {index.min()} to {index.max()}")
    if unique and np.any((times := np.bincount(index, minlength=1)) > 1):
        twice = int(np.argmax(times > 1))
        raise BadInputError(f"device {twice} occurs twice in one batch; send its pulses one after the other")
    return index


def check_pulses(info: ChipInfo, pulses: Pulses) -> Pulses:
    """Return a batch of pulses whose devices exist, each once, and whose amplitudes and widths the chip allows.

    Raises
    ------
    BadInputError
        For what is no batch of pulses, and for devices that do not exist or occur twice.
    LimitError
        For an amplitude or a width out of bounds.
    """
    if not isinstance(pulses, Pulses):
        raise BadInputError(f"pulse: expected a batch made with Pulses.make, not {reprlib.repr(pulses)}")
    devices_of_core(info, pulses.devices, unique=True)
    limits = info.limits
    amplitude, width = pulses.amplitude, pulses.width
    bad = ~(np.isfinite(amplitude) & (amplitude > 0) & (amplitude <= limits.amplitude_max))
    if np.any(bad):
        at = int(np.argmax(bad))
        raise LimitError(
            f"device {pulses.devices[at]}: pulse amplitude {amplitude[at]:g} uA is outside "
            f"0 to {limits.amplitude_max:g} uA; nothing was sent"
        )
    bad = ~(np.isfinite(width) & (width >= limits.width_min) & (width <= limits.width_max))
    if np.any(bad):
        at = int(np.argmax(bad))
        raise LimitError(
            f"device {pulses.devices[at]}: pulse width {width[at]:g} ns is outside "
            f"{limits.width_min:g} to {limits.width_max:g} ns; nothing was sent"
        )
    return pulses


def check_budget(
    info: ChipInfo, core: int, devices: IndexArray, spent: NDArray[np.signedinteger], earlier: NDArray[np.int32] | None
) -> None:
    """Check that no device (n,) of a core exceeds its endurance budget.

    Parameters
    ----------
    info, core, devices
        The chip, a core, and devices that are to receive a pulse.
    spent
        (n,) pulses of each in this session, that pulse included.
    earlier
        (devices_per_core,) pulses of all devices in earlier sessions; None where they do not count.

    Raises
    ------
    LimitError
        For the device that would exceed it most.
    """
    before = np.zeros(1, np.int64) if earlier is None else earlier[devices].astype(np.int64)
    total, budget = before + spent, info.limits.pulses_per_device
    if np.any(total > budget):
        at = int(np.argmax(total))
        life = f" ({before[at]} of them in earlier sessions, by hwloop ledger)" if earlier is not None else ""
        raise LimitError(
            f"core {core}, device {devices[at]}: its budget of {budget} pulses is spent{life}; "
            "leave this device out, or raise the limit if its endurance is known to be higher"
        )


def mvm_inputs(info: ChipInfo, x: ArrayLike, transposed: bool = False) -> CodeArray:
    """Return inputs (batch, rows) of an MVM, or (batch, columns) of a transposed one, as int32.

    Raises
    ------
    BadInputError
        For another shape, an empty batch, and for what is not of an integer type.
    LimitError
        For integers beyond the DACs.
    """
    try:
        inputs = np.asarray(x)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadInputError(f"mvm: inputs must be an array of integers: {error}") from error
    driven, called = (info.columns, "transposed mvm") if transposed else (info.rows, "mvm")
    if inputs.ndim != 2 or inputs.shape[1] != driven or not inputs.shape[0]:
        raise BadInputError(f"{called}: inputs must have the shape (batch, {driven}), not {inputs.shape}")
    if inputs.dtype.kind not in "iu":
        raise BadInputError(f"mvm: inputs must be integers, not {inputs.dtype}; round them yourself")
    top = info.input_max
    if inputs.max() > top or inputs.min() < -top:
        raise LimitError(f"mvm: inputs must lie in [-{top}, {top}] for {info.input_bits}-bit DACs")
    return inputs.astype(np.int32, copy=False)


def outputs_of_core(info: ChipInfo, columns: slice | None, transposed: bool = False) -> slice:
    """Return neighbouring columns, or rows of a transposed MVM, as a slice with both ends; None stands for all.

    Raises
    ------
    BadInputError
        For what is no slice of columns that exist, for none of them, and for every second one.
    """
    one, every = ("row", info.rows) if transposed else ("column", info.columns)
    if columns is None:
        return slice(0, every)
    if not isinstance(columns, slice) or columns.step is not None:
        raise BadInputError(f"mvm: {one}s must be a slice of neighbours, not {reprlib.repr(columns)}")
    first = 0 if columns.start is None else columns.start
    end = every if columns.stop is None else columns.stop
    first = whole_number(first, f"mvm: first {one}", 0, every - 1)
    end = whole_number(end, f"mvm: end of the {one}s", 1, every)
    if first >= end:
        raise BadInputError(f"mvm: {one}s {first} to {end} are none; the first must lie before the end")
    return slice(first, end)


def read_mode(info: ChipInfo, name: str) -> ReadMode:
    """Return the read mode of a name.

    Raises
    ------
    BadInputError
        For one that the chip does not have, with those that it has.
    """
    for mode in info.read_modes:
        if isinstance(name, str) and mode.name == name:
            return mode
    known = ", ".join(mode.name for mode in info.read_modes) or "none"
    raise BadInputError(f"{info.name}: unknown read mode {reprlib.repr(name)}; it has: {known}")


def seconds_to_wait(seconds: float) -> float:
    """Return a duration in seconds.

    Raises
    ------
    BadInputError
        For what is no number, negative, not a number or infinite.
    """
    value = real_number(seconds, "wait: seconds")
    if not (math.isfinite(value) and value >= 0):
        raise BadInputError(f"wait: seconds must be finite and not negative, not {value}")
    return value


def placement(
    info: ChipInfo, devices: ArrayLike, conductance: ArrayLike, age: float
) -> tuple[IndexArray, FloatArray, float]:
    """Return what exact placement needs: device indices (n,), conductances (n,) in uS and an age in seconds.

    Raises
    ------
    BadInputError
        For devices that do not exist or occur twice, and for conductances or an age that no device has.
    """
    index, target = device_indices(devices), real_numbers(conductance, "place: conductances")
    devices_of_core(info, index, unique=True)
    largest = REQUESTS.placed_over_g_max * info.g_max
    if target.shape != index.shape or not np.all((target >= 0) & (target <= largest)):
        raise BadInputError(
            f"place: conductances must be finite, not negative, at most {largest:g} uS, and one per device"
        )
    return index, target, age_in_seconds(age, "place: age")


def age_in_seconds(age: float, what: str) -> float:
    """Return an age in seconds; `what` begins the message. Raises BadInputError for one that no device has."""
    seconds = real_number(age, what)
    if not REQUESTS.youngest <= seconds <= REQUESTS.oldest:
        raise BadInputError(
            f"{what} must be positive seconds, from {REQUESTS.youngest:g} to {REQUESTS.oldest:g}, not {seconds}"
        )
    return seconds


def check_targets(info: ChipInfo, targets: Sequence[Targets]) -> None:
    """Check rectangles of targets against the chip.

    Raises
    ------
    BadInputError
        For what is no sequence of rectangles, for one that is not on the chip, and for targets out of its reach.
    """
    if not isinstance(targets, list | tuple) or not all(isinstance(one, Targets) for one in targets):
        raise BadInputError(f"targets: expected a list of Targets, not {reprlib.repr(targets)}")
    reach = info.devices_per_polarity * info.g_max * (1.0 + REQUESTS.rounding)
    for one in targets:
        core_number(info, one.core)
        row = whole_number(one.row, f"core {one.core}: first row of the targets", 0, info.rows - 1)
        column = whole_number(one.column, f"core {one.core}: first column of the targets", 0, info.columns - 1)
        rows, columns = one.cells.shape
        if not (rows and columns and row + rows <= info.rows and column + columns <= info.columns):
            raise BadInputError(
                f"core {one.core}: targets for {rows} x {columns} cells from row {row} and column {column} on are not "
                f"on a core of {info.rows} x {info.columns} cells"
            )
        low, high = float(one.cells.min()), float(one.cells.max())
        if not (-reach <= low and high <= reach):  # NaN is neither
            raise BadInputError(
                f"core {one.core}: targets must be finite and within {reach:g} uS to both sides, "
                f"not {low:g} to {high:g} uS"
            )


def trim_registers(
    info: ChipInfo, limits: TrimLimits, core: int, offset: ArrayLike, gain: ArrayLike
) -> tuple[FloatArray, FloatArray]:
    """Return trims as the registers of a core hold them: offsets (columns,) in LSB and relative gains (columns,).

    Raises
    ------
    BadInputError
        For arrays of another shape or kind.
    LimitError
        For a trim that is not finite or out of its register's reach.
    """
    return (
        _register(_per_column(info, core, "offset", offset), (limits.offset_step, limits.offset_max), core, "offset"),
        _register(_per_column(info, core, "gain", gain), (limits.gain_step, limits.gain_max), core, "gain"),
    )


def _per_column(info: ChipInfo, core: int, name: str, trims: ArrayLike) -> FloatArray:
    """Return trims of all columns. Raises BadInputError for another shape or kind."""
    values = real_numbers(trims, f"core {core}: {name} trims")
    if values.shape != (info.columns,):
        raise BadInputError(
            f"core {core}: {name} trims must have the shape ({info.columns},), one per column, not {values.shape}"
        )
    return values


def _register(values: FloatArray, register: tuple[float, float], core: int, name: str) -> FloatArray:
    """Round to a register of (step, reach). Raises LimitError for what is out of its reach."""
    step, reach = register
    bad = ~(np.abs(values) <= reach + TRIM_ROUNDING * step)  # NaN is bad too
    if np.any(bad):
        at, unit = int(np.argmax(bad)), " LSB" if name == "offset" else ""
        raise LimitError(
            f"core {core}, column {at}: {name} trim {values[at]:g}{unit} is outside -{reach:g} to "
            f"{reach:g}{unit}; nothing was written"
        )
    rounded: FloatArray = np.rint(values / step) * step + 0.0  # no negative zero
    return rounded


def saved_state(info: ChipInfo, state: State) -> tuple[dict[str, AnyArray], dict[int, NDArray[np.int32]]]:
    """Return the two parts of a saved state: the chip's own arrays by name, and pulse counts by core.

    Raises
    ------
    BadInputError
        For what is no mapping of names to arrays of numbers, and for pulse counts that this chip cannot have.
    """
    if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
        raise BadInputError(f"{info.name}: a saved state is named arrays, not {reprlib.repr(state)}")
    own: dict[str, AnyArray] = {}
    counts: dict[int, NDArray[np.int32]] = {}
    ledgers = {f"{LEDGER}{core}": core for core in range(info.cores)}
    for name in sorted(state):
        try:
            array = np.asarray(state[name])
        except (TypeError, ValueError, OverflowError) as error:
            raise BadInputError(f"{info.name}: '{name}' in the saved state is no array: {error}") from error
        if array.dtype.kind not in "biuf":
            raise BadInputError(f"{info.name}: '{name}' in the saved state holds {array.dtype}, not numbers")
        if not name.startswith(LEDGER):
            own[name] = array
            continue
        fits = name in ledgers and array.shape == (info.devices_per_core,)
        # A negative count would be a budget larger than the chip's.
        if not fits or array.dtype.kind not in "iu" or array.min() < 0 or array.max() > 2**31 - 1:
            raise BadInputError(
                f"{info.name}: the saved pulse counts '{name}' are not those of a chip with "
                f"{info.cores} core(s) of {info.devices_per_core} devices"
            )
        counts[ledgers[name]] = array.astype(np.int32)
    return own, counts
