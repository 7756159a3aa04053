"""The table: every spelling finds its row, values survive the way, and the manual is up to date."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwloop.scpi import arrays, dialect
from hwloop.scpi.codes import Code, ScpiError, read_entry
from hwloop.scpi.command import Command, Dialect
from hwloop.scpi.dialect import DIALECT
from hwloop.scpi.lexer import parse
from hwloop.scpi.limits import LIMITS
from hwloop.scpi.manual import manual
from hwloop.scpi.parameters import Parameter
from hwloop.scpi.status import Status


def bind(message: bytes) -> tuple[Command, list]:
    (unit,) = parse(message)
    command, _ = DIALECT.find(unit, ())
    return command, command.bind(unit.arguments)


@pytest.mark.parametrize("command", DIALECT.commands, ids=lambda c: c.header)
def test_every_row_is_found_by_its_long_and_its_short_form_in_any_case(command):
    long = re.sub(r"[\[\]]", "", command.header)
    for text in (long, long.upper(), long.lower(), command.write().decode(), command.write().decode().lower()):
        (unit,) = parse(text.encode())
        assert DIALECT.find(unit, ())[0] is command


@pytest.mark.parametrize("command", [c for c in DIALECT.commands if "#" not in c.example], ids=lambda c: c.header)
def test_every_example_is_a_right_use_of_its_row(command):
    assert bind(command.example.encode())[0] is command


def test_the_mandatory_commands_are_there():
    headers = {c.header for c in DIALECT.commands}
    common = "*CLS *ESE *ESE? *ESR? *IDN? *OPC *OPC? *RST *SRE *SRE? *STB? *TST? *WAI"
    assert headers >= set(common.split()) | {"SYSTem:ERRor[:NEXT]?", "SYSTem:VERSion?", "STATus:PRESet"}


def test_the_manual_is_the_one_in_the_docs():
    page = Path(__file__).parents[2] / "docs" / "scpi.md"
    assert page.read_text(encoding="utf-8") == manual(), "run: python -m hwloop.scpi.manual > docs/scpi.md"


def test_the_path_of_a_compound_message():
    path: tuple[str, ...] = ()
    found = []
    for unit in parse(b"DATA:CLE;*OPC?;SIZE?;:CHIP:TIME?;TEMP?"):
        command, path = DIALECT.find(unit, path)
        found.append(command)
    assert found == [dialect.CLEAR, dialect.OPC_Q, dialect.SIZE_Q, dialect.TIME_Q, dialect.TEMPERATURE_Q]


def test_two_rows_cannot_share_a_spelling():
    with pytest.raises(ValueError, match="both spelled STAT"):
        Dialect((Command("STATe", ""), Command("STATus", "")))


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"NO:SUCH?", Code.UNDEFINED_HEADER),
        (b"*IDN", Code.UNDEFINED_HEADER),
        (b"*IDN? 1", Code.PARAMETER_NOT_ALLOWED),
        (b"CHIP:WAIT", Code.MISSING_PARAMETER),
        (b"CHIP:WAIT SOON", Code.DATA_TYPE_ERROR),
        (b"CHIP:WAIT NAN", Code.DATA_TYPE_ERROR),
        (b"CHIP:WAIT INF", Code.DATA_TYPE_ERROR),
        (b"CHIP:WAIT 1E999", Code.EXPONENT_TOO_LARGE),
        (b"CHIP:WAIT -1", Code.OUT_OF_RANGE),
        (b"CHIP:WAIT 1 UA", Code.INVALID_SUFFIX),
        (b"MVM:RUN 0,1.5", Code.INVALID_NUMBER),
        (b"MVM:RUN 0,1S", Code.SUFFIX_NOT_ALLOWED),
        (b"MVM:RUN 0,0", Code.OUT_OF_RANGE),
        (b"MVM:RUN 0," + b"9" * 5000, Code.OUT_OF_RANGE),
        (b"PULS:FIRE 0,MELT,1", Code.INVALID_WORD),
        (b"DATA:APP 12", Code.DATA_TYPE_ERROR),
        (b"DATA:APP #15hello", Code.INVALID_BLOCK),
    ],
)
def test_wrong_use_has_a_standard_code(message, code):
    with pytest.raises(ScpiError, match=f'^{code.value},"{code.text}') as caught:
        bind(message)
    assert caught.value.code == code


@given(st.floats(0, 1e12), st.floats(1e-6, 1e6), st.floats(1e-6, 1e6))
def test_numbers_keep_every_bit(seconds, amplitude, width):
    assert bind(dialect.WAIT.write(seconds))[1] == [seconds]
    assert bind(dialect.PULSE_SINGLE.write(0, "RES", 1, amplitude, width))[1] == [0, "RESET", 1, amplitude, width]


@pytest.mark.parametrize(("unit", "text", "value"), [("uA", "0.25MA", 250), ("ns", "1.5us", 1500), ("uS", "7USIE", 7)])
def test_suffixes(unit, text, value):
    parameter = Parameter("x", "number", "", unit=unit)
    (parsed,) = parse(b"A " + text.encode())
    assert math.isclose(parameter.bind(parsed.arguments[0]), value)


@given(st.integers(-999, 0).filter(lambda c: c in set(Code)), st.text(max_size=400))
def test_an_error_entry_can_be_read_back(code, detail):
    entry = ScpiError(code, detail).entry
    assert entry.isascii()
    assert "\n" not in entry
    assert read_entry(entry)[0] == code


def test_the_error_queue_says_that_it_overflowed():
    status = Status()
    for _ in range(LIMITS.error_queue + 5):
        status.record(ScpiError(Code.OUT_OF_RANGE))
    popped = [status.errors.pop().code for _ in range(LIMITS.error_queue + 1)]
    assert popped == [Code.OUT_OF_RANGE] * (LIMITS.error_queue - 1) + [Code.QUEUE_OVERFLOW, Code.NO_ERROR]


@pytest.mark.parametrize(("code", "bit"), [(-113, 0x20), (-222, 0x10), (-350, 0x08)])
def test_an_error_sets_the_event_bit_of_its_class(code, bit):
    status = Status()
    status.standard.take()
    status.record(ScpiError(code))
    assert status.standard.take() == bit


@given(st.binary(max_size=200))
def test_bytes_that_are_no_state_are_refused(data):
    with pytest.raises(ScpiError, match=r"^-22[14],"):
        arrays.unpack_state(data)


def test_a_state_keeps_names_types_and_shapes():
    state = {"a": np.arange(6, dtype=np.int8).reshape(2, 3), "b/c": np.array(0.1), "d": np.zeros((0, 2), bool)}
    back = arrays.unpack_state(arrays.pack_state(state))
    assert back.keys() == state.keys()
    for name, array in state.items():
        assert (back[name].dtype, back[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(back[name], array)


@pytest.mark.parametrize(("bits", "size"), [(2, 1), (8, 1), (9, 2), (16, 2), (17, 4), (24, 4)])
def test_codes_travel_in_the_smallest_type_that_holds_them(bits, size):
    top = 2 ** (bits - 1) - 1
    sent = np.array([[-top, 0, top]])
    data = arrays.pack_codes(sent, bits)
    assert len(data) == 3 * size
    np.testing.assert_array_equal(arrays.unpack_codes(data, 1, 3, bits), sent)
