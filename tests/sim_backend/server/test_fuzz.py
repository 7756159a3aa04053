"""Streams that fuzzers found or grew, and a quick round of new ones. benchmarks/scpi_coverage.py does a million."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hwloop
from hwloop.scpi import arrays
from hwloop.scpi.blocks import sealed_block
from hwloop.scpi.codes import Code, ScpiError, read_entry
from hwloop.sim_backend.server.instrument import Instrument
from tests.sim_backend.server.fuzz_target import CHIP, NUMBERS, WORDS, FuzzTarget, seeds, stream

CORPUS = Path(__file__).with_name("fuzz_corpus.txt")


@pytest.fixture(scope="module")
def target() -> FuzzTarget:
    return FuzzTarget()


def test_blocks_within_blocks_get_their_checksums():
    assert stream(b"A \x011 B \x01c\x02\x02") == b"A " + sealed_block(b"1 B " + sealed_block(b"c")) + b"\n"


@pytest.mark.parametrize("seed", seeds())
def test_the_seeds_of_the_fuzzer_are_right_uses(seed):
    """Some cannot be carried out (nothing is in the memory, there is no session); all can be read."""
    target = FuzzTarget()
    target.take(seed)
    assert b"NONSENSE" in seed or b"#0" in seed or all(code <= Code.EXECUTION_ERROR for code in target.tally)


def test_the_grown_corpus_meets_no_error_without_a_code(target):
    """Each line is an input that reached code no shorter one reaches."""
    inputs = [
        line.encode("latin-1").decode("unicode_escape").encode("latin-1") for line in CORPUS.read_text().splitlines()
    ]
    assert len(inputs) > 100
    for data in inputs:
        target.take(data)
    assert len(target.tally) > 15, "the corpus should meet most of the errors there are"


@given(st.lists(st.sampled_from([*seeds(), *NUMBERS, *WORDS]) | st.binary(max_size=8), max_size=8))
@settings(max_examples=300)
def test_seeds_numbers_words_and_bytes_in_any_order(target, parts):
    target.take(b"".join(parts))


# ---- what was found ---------------------------------------------------------------------------------------------


def refusal(message: bytes) -> int:
    """Code of the first error that a message causes on a fresh instrument."""
    with hwloop.connect(CHIP) as chip:
        instrument = Instrument(chip)
        instrument.process(message)
        return read_entry(instrument.process(b"SYST:ERR?").decode())[0]


def test_a_number_of_averages_that_would_take_hours_or_all_memory_is_refused():
    assert refusal(b"READ? 0,0,2147483647") == Code.OUT_OF_RANGE
    assert refusal(b"READ? 0,0,65536") == Code.NO_ERROR


@pytest.mark.parametrize(("conductance", "age"), [(1e308, b"20"), (1e6, b"20"), (10.0, b"1E100"), (10.0, b"1E-300")])
def test_a_device_cannot_be_placed_where_numbers_overflow(conductance, age):
    """The laws of drift and noise became infinite in the simulator, and every read of the device a hardware error."""
    memory = b"DATA:APP " + sealed_block(struct.pack("<id", 0, conductance))
    assert refusal(memory + b";:PLAC 0,1," + age) == Code.ILLEGAL_PARAMETER


@pytest.mark.parametrize(("times_g_max", "age"), [(2.0, 1e-9), (2.0, 1e12), (1e-300, 1e12), (1.0, 1e-3)])
@pytest.mark.parametrize("chip", ["sim:hermes-core", "sim:pcm-90nm"])
def test_what_may_be_placed_can_be_read(chip, times_g_max, age):
    with hwloop.connect(f"{chip}?rows=4&columns=4") as placed:
        every = np.arange(placed.info.devices_per_core)
        placed.place(0, every, np.full(every.size, times_g_max * placed.info.g_max), age)
        for seconds in (age, 1e12):
            assert np.all(np.isfinite(placed.read(0, every)))
            placed.mvm(0, np.ones((1, 4), int))
            placed.wait(seconds)


def state_block(table: bytes, data: bytes = b"") -> bytes:
    return b"DATA:APP " + sealed_block(struct.pack("<I", len(table)) + table + data) + b";:MEM:STAT:LOAD"


@pytest.mark.parametrize(
    "table",
    [
        b"[" * 3000,
        b'[["clock", "<f8", [Infinity]]]',
        b'[["clock", "<f8", [1e400]]]',
        b'[["clock", "<f8", [4294967296, 4294967296]]]',
        b'[["clock", "<f8", [0, 1e30]]]',
        b'[["clock", {"a": 1}, []]]',
        b'[["clock", "(", []]]',
        b'[["clock", "|O", []]]',
        b'[["clock", "<c16", []]]',
    ],
)
def test_a_table_of_a_state_that_cannot_be_is_refused(table):
    assert refusal(state_block(table)) == Code.ILLEGAL_PARAMETER


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("clock", np.array(np.nan)),
        ("clock", np.array(-1.0)),
        ("clock", np.array([1.0, 2.0])),
        ("clock/x", np.array(1.0)),
        ("core7/g", np.zeros(64)),
        ("core0/g", np.zeros(3, np.float32)),
        ("core0/nu", np.full(64, np.nan)),
        ("core0/generator", np.zeros(5, np.uint8)),
        ("core0/adc_range", np.array(1e9)),
        ("core0/flicker_updated", np.zeros(1)),
        ("ledger/0", np.full(64, -1)),
        ("ledger/0", np.full(64, 2**40)),
        ("ledger/0", np.zeros(64)),
        ("ledger/1", np.zeros(64, np.int32)),
        ("ledger/x", np.zeros(64, np.int32)),
    ],
)
def test_a_state_with_one_wrong_part_is_refused_whole(name, value):
    """A negative pulse count would be a larger budget, NaN a device that no read shows: nothing of it is taken."""
    with hwloop.connect(CHIP) as chip:
        chip.mvm(0, np.ones((1, 4), int))
        before = chip.export_state()
        instrument = Instrument(chip)
        changed = arrays.pack_state(before | {name: value})
        instrument.process(b"DATA:APP " + sealed_block(changed) + b";:MEM:STAT:LOAD")
        assert read_entry(instrument.process(b"SYST:ERR?").decode())[0] == Code.ILLEGAL_PARAMETER
        after = chip.export_state()
        assert all(np.array_equal(before[key], after[key]) for key in before)


def test_bytes_behind_a_state_are_refused():
    with pytest.raises(ScpiError, match="Settings conflict"):
        arrays.unpack_state(arrays.pack_state({"clock": np.array(1.0)}) + b"x")
