"""Arrays in the transfer memory: every layout byte by byte, back again, and with a byte too few or too many."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
import pytest

from hwloop.chip.pulses import PulseKind, Pulses
from hwloop.chip.updates import Updates
from hwloop.scpi import arrays
from hwloop.scpi.codes import Code, ScpiError

DEVICES, FIRST, SECOND = np.array([7, 258]), np.array([1.5, -2.0]), np.array([0.25, 8.0])


def test_layouts_have_their_fields_one_after_the_other() -> None:
    index, first, second = struct.pack("<2i", 7, 258), struct.pack("<2d", 1.5, -2.0), struct.pack("<2d", 0.25, 8.0)
    pulses = Pulses.make(PulseKind.RESET, DEVICES, FIRST, SECOND)
    assert arrays.pack_indices(DEVICES) == index
    assert arrays.pack_reals(FIRST) == first
    assert arrays.pack_pulses(pulses) == index + first + second
    assert arrays.pack_placement(DEVICES, FIRST) == index + first
    assert arrays.pack_trims(FIRST, SECOND) == first + second
    assert arrays.pulse_bytes(2) == len(arrays.pack_pulses(pulses)) == 40


def test_what_was_written_is_read() -> None:
    pulses = arrays.unpack_pulses(
        arrays.pack_pulses(Pulses.make(PulseKind.SET, DEVICES, FIRST, SECOND)), PulseKind.SET, 2
    )
    assert (pulses.devices.tolist(), pulses.amplitude.tolist(), pulses.width.tolist()) == (
        DEVICES.tolist(), FIRST.tolist(), SECOND.tolist(),
    )  # fmt: skip
    devices, conductance = arrays.unpack_placement(arrays.pack_placement(DEVICES, FIRST), 2)
    assert (devices.tolist(), conductance.tolist()) == (DEVICES.tolist(), FIRST.tolist())
    offset, gain = arrays.unpack_trims(arrays.pack_trims(FIRST, SECOND), 2)
    assert (offset.tolist(), gain.tolist()) == (FIRST.tolist(), SECOND.tolist())


def updates(count: int = 2, rows: int = 3, columns: int = 1) -> Updates:
    x, d = np.arange(count * rows).reshape(count, rows), -np.arange(count * columns).reshape(count, columns)
    return Updates(x, d, np.arange(5, 5 + count), np.full(count, 0.5), np.arange(1, count + 1) / 4, stochastic=True)


def test_updates_have_their_lines_then_lengths_then_probabilities() -> None:
    data = arrays.pack_updates(updates())
    assert data == struct.pack("<10i4d", 0, 1, 2, 3, 4, 5, 0, -1, 5, 6, 0.5, 0.5, 0.25, 0.5)
    assert arrays.update_bytes(2, 3, 1) == len(data)
    x, d, trains = arrays.unpack_updates(data, 2, 3, 1, True)
    assert (x.tolist(), d.tolist()) == ([[0, 1, 2], [3, 4, 5]], [[0], [-1]])
    assert np.asarray(trains.length).tolist() == [5, 6]
    assert (np.asarray(trains.row_probability).tolist(), np.asarray(trains.column_probability).tolist()) == (
        [0.5, 0.5], [0.25, 0.5],
    )  # fmt: skip
    assert trains.stochastic


@pytest.mark.parametrize(("bits", "size"), [(2, 1), (8, 1), (9, 2), (16, 2), (17, 4)])
def test_codes_take_the_smallest_integers_that_hold_them(bits: int, size: int) -> None:
    codes = np.array([[1, -2, 3]])
    data = arrays.pack_codes(codes, bits)
    assert len(data) == 3 * size
    assert arrays.unpack_codes(data, 1, 3, bits).tolist() == codes.tolist()


READERS: dict[str, tuple[Callable[[bytes], object], int]] = {
    "indices": (lambda data: arrays.unpack_indices(data, 2), 8),
    "reals": (lambda data: arrays.unpack_reals(data, 2), 16),
    "pulses": (lambda data: arrays.unpack_pulses(data, PulseKind.SET, 2), 40),
    "placement": (lambda data: arrays.unpack_placement(data, 2), 24),
    "trims": (lambda data: arrays.unpack_trims(data, 2), 32),
    "updates": (lambda data: arrays.unpack_updates(data, 2, 3, 1, True), 72),
    "codes": (lambda data: arrays.unpack_codes(data, 2, 3, 16), 12),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("off", [-8, -1, 1, 8])
def test_another_number_of_bytes_is_refused(name: str, off: int) -> None:
    read, size = READERS[name]
    read(bytes(size))
    with pytest.raises(ScpiError, match=f"holds {size + off} bytes where {size} are needed") as caught:
        read(bytes(size + off))
    assert caught.value.code == Code.SETTINGS_CONFLICT


def test_a_state_is_a_list_of_arrays_and_these() -> None:
    state = {"a": np.array([[1, 2]], np.int16), "b": np.array([True, False])}
    data = arrays.pack_state(state)
    table = b'[["a", "<i2", [1, 2]], ["b", "|b1", [2]]]'
    assert data == struct.pack("<I", len(table)) + table + b"\x01\x00\x02\x00\x01\x00"
    found = arrays.unpack_state(data)
    assert {name: (one.dtype, one.tolist()) for name, one in found.items()} == {
        name: (one.dtype, one.tolist()) for name, one in state.items()
    }


@pytest.mark.parametrize(
    ("table", "rest", "message"),
    [
        (b'[["a", "<f4", [2]]]', bytes(7), "the state ends within 'a'"),
        (b'[["a", "<f4", [2]]]', bytes(9), "bytes where"),
        (b'[["a", "<O8", [1]]]', bytes(8), "unusable type <O8"),
        (b'[["a", "<f4", [1, 1, 1, 1, 1]]]', bytes(4), "or shape"),
        (b'[["a", "<f4", [-1]]]', bytes(4), "or shape"),
        (b'[["a", "<f4", [1000]]]', bytes(4), "or shape"),
        (b"{", b"", "not a state"),
    ],
)
def test_what_is_no_state_is_refused(table: bytes, rest: bytes, message: str) -> None:
    with pytest.raises(ScpiError, match=message):
        arrays.unpack_state(struct.pack("<I", len(table)) + table + rest)


def test_four_dimensions_and_none_are_a_state() -> None:
    state = {"a": np.ones((1, 1, 1, 1), np.float32), "b": np.float64(2.0)}
    found = arrays.unpack_state(arrays.pack_state(state))
    assert (found["a"].shape, float(found["b"])) == ((1, 1, 1, 1), 2.0)
