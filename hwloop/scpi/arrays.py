"""Layouts of arrays in the transfer memory: little endian, C order, nothing between the fields."""

from __future__ import annotations

import json
import math
import re
import struct

import numpy as np
from numpy.typing import NDArray

from hwloop.chip.pulses import PulseKind, Pulses
from hwloop.chip.updates import PulseTrains, Updates
from hwloop.scpi.codes import Code, ScpiError
from hwloop.typing import AnyArray, CodeArray, FloatArray, IndexArray, State

INDEX = np.dtype("<i4")
REAL = np.dtype("<f8")
_STATE_TYPE = re.compile(r"[<|](?:[iu][1248]|f[248]|b1)")

LAYOUTS = {
    "pulses": "count int32 device indices, count float64 amplitudes (uA), count float64 widths (ns)",
    "devices": "count int32 device indices",
    "conductances": "count float64 conductances (uS)",
    "inputs": "batch x rows signed inputs, the smallest of int8, int16 and int32 that holds the chip's input bits",
    "outputs": "batch x columns signed codes, the smallest of int8, int16 and int32 that holds the chip's output bits",
    "placement": "count int32 device indices, count float64 conductances (uS)",
    "trims": "one float64 offset (LSB) per column, one float64 gain per column",
    "updates": "count x rows int32 x, count x columns int32 d, count int32 train lengths, count float64 row "
    "probabilities, count float64 column probabilities",
    "counts": "one int32 per device of the core",
    "state": "uint32 length of an ASCII JSON list of [name, dtype, shape], that list, and the arrays in its order",
}


def code_type(bits: int) -> np.dtype[np.signedinteger]:
    """Return the type on the wire of signed numbers of that many bits."""
    return np.dtype("<i1" if bits <= 8 else "<i2" if bits <= 16 else "<i4")


def pack_codes(codes: NDArray[np.integer], bits: int) -> bytes:
    """Write an integer array in the layout `inputs` or `outputs`."""
    return codes.astype(code_type(bits)).tobytes()


def unpack_codes(data: bytes, batch: int, width: int, bits: int) -> CodeArray:
    """Read (batch, width) codes. Raises ScpiError -221 for another number of bytes."""
    kind = code_type(bits)
    expect(data, batch * width * kind.itemsize)
    return np.frombuffer(data, kind).reshape(batch, width).astype(np.int32)


def pack_indices(devices: IndexArray) -> bytes:
    """Write the layout `devices`."""
    return devices.astype(INDEX).tobytes()


def unpack_indices(data: bytes, count: int) -> IndexArray:
    """Read (count,) device indices."""
    expect(data, count * INDEX.itemsize)
    return np.frombuffer(data, INDEX).astype(np.int64)


def pack_reals(values: FloatArray) -> bytes:
    """Write the layout `conductances`."""
    return values.astype(REAL).tobytes()


def unpack_reals(data: bytes, count: int) -> FloatArray:
    """Read (count,) float64."""
    expect(data, count * REAL.itemsize)
    return np.frombuffer(data, REAL).astype(np.float64)


def pulse_bytes(count: int) -> int:
    """Return the size of layout `pulses` with `count` of them."""
    return count * (INDEX.itemsize + 2 * REAL.itemsize)


def pack_pulses(pulses: Pulses) -> bytes:
    """Write the layout `pulses`."""
    return pack_indices(pulses.devices) + pack_reals(pulses.amplitude) + pack_reals(pulses.width)


def unpack_pulses(data: bytes, kind: PulseKind, count: int) -> Pulses:
    """Read a batch of `count` pulses."""
    expect(data, pulse_bytes(count))
    first, second = count * INDEX.itemsize, count * (INDEX.itemsize + REAL.itemsize)
    return Pulses.make(
        kind,
        unpack_indices(data[:first], count),
        unpack_reals(data[first:second], count),
        unpack_reals(data[second:], count),
    )


def update_bytes(count: int, rows: int, columns: int) -> int:
    """Return the size of layout `updates` with `count` of them."""
    return count * ((rows + columns + 1) * INDEX.itemsize + 2 * REAL.itemsize)


def pack_updates(updates: Updates) -> bytes:
    """Write the layout `updates`."""
    whole = (updates.x, updates.d, updates.length)
    reals = (updates.row_probability, updates.column_probability)
    return b"".join([*(part.astype(INDEX).tobytes() for part in whole), *map(pack_reals, reals)])


def unpack_updates(
    data: bytes, count: int, rows: int, columns: int, stochastic: bool
) -> tuple[CodeArray, CodeArray, PulseTrains]:
    """Read x (count, rows), d (count, columns) and their trains."""
    expect(data, update_bytes(count, rows, columns))
    sizes = [count * rows, count * columns, count]
    whole = np.frombuffer(data, INDEX, sum(sizes)).astype(np.int32)
    x, d, length = np.split(whole, np.cumsum(sizes)[:-1])
    row, column = np.frombuffer(data, REAL, offset=whole.nbytes).astype(np.float64).reshape(2, count)
    return x.reshape(count, rows), d.reshape(count, columns), PulseTrains(length, row, column, stochastic)


def pack_placement(devices: IndexArray, conductance: FloatArray) -> bytes:
    """Write the layout `placement`."""
    return pack_indices(devices) + pack_reals(conductance)


def unpack_placement(data: bytes, count: int) -> tuple[IndexArray, FloatArray]:
    """Read (count,) device indices and (count,) conductances in uS."""
    expect(data, count * (INDEX.itemsize + REAL.itemsize))
    middle = count * INDEX.itemsize
    return unpack_indices(data[:middle], count), unpack_reals(data[middle:], count)


def pack_trims(offset: FloatArray, gain: FloatArray) -> bytes:
    """Write the layout `trims`."""
    return pack_reals(offset) + pack_reals(gain)


def unpack_trims(data: bytes, columns: int) -> tuple[FloatArray, FloatArray]:
    """Read (columns,) offsets in LSB and (columns,) gains."""
    values = unpack_reals(data, 2 * columns)
    return values[:columns], values[columns:]


def pack_state(state: State) -> bytes:
    """Write named arrays of numbers in the layout `state`."""
    arrays = {name: np.asarray(array) for name, array in state.items()}
    portable = {name: array.astype(array.dtype.newbyteorder("<")) for name, array in arrays.items()}
    table = json.dumps([[name, array.dtype.str, array.shape] for name, array in portable.items()]).encode("ascii")
    return b"".join([struct.pack("<I", len(table)), table, *(array.tobytes() for array in portable.values())])


def unpack_state(data: bytes) -> dict[str, AnyArray]:
    """Read named arrays. Raises ScpiError -221 or -224 when the bytes are not a state."""
    try:
        (length,) = struct.unpack_from("<I", data)
        table = json.loads(data[4 : 4 + length])
        entries = [(str(name), str(kind), [int(n) for n in shape]) for name, kind, shape in table]
    except (struct.error, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ScpiError(Code.ILLEGAL_PARAMETER, f"not a state: {error}") from error
    state: dict[str, AnyArray] = {}
    at = 4 + length
    for name, code, shape in entries:
        if not _STATE_TYPE.fullmatch(code) or len(shape) > 4 or not all(0 <= n <= len(data) for n in shape):
            raise ScpiError(Code.ILLEGAL_PARAMETER, f"state '{name}' has the unusable type {code} or shape {shape}")
        kind = np.dtype(code)
        end = at + math.prod(shape) * kind.itemsize
        if end > len(data):
            raise ScpiError(Code.SETTINGS_CONFLICT, f"the state ends within '{name}'")
        state[name] = np.frombuffer(data[at:end], kind).reshape(shape).astype(kind.newbyteorder("="))
        at = end
    expect(data, at)
    return state


def expect(data: bytes, size: int) -> None:
    """Raise ScpiError -221 unless there are exactly `size` bytes."""
    if len(data) != size:
        raise ScpiError(Code.SETTINGS_CONFLICT, f"the transfer memory holds {len(data)} bytes where {size} are needed")
