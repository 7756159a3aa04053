"""Status registers as IEEE 488.2 and SCPI have them, calls, blocks and entries of the error queue."""

from __future__ import annotations

import pytest

from hwloop.scpi.blocks import definite, read_definite
from hwloop.scpi.calls import Answer, Call
from hwloop.scpi.codes import Code, ScpiError, read_entry
from hwloop.scpi.parameters import SUFFIXES
from hwloop.scpi.status import LIMITS, EventRegister, Status


def quiet() -> Status:
    found = Status()
    assert found.standard.event == 128  # power on
    found.clear()
    return found


def test_each_bit_of_the_status_byte_has_its_weight() -> None:
    assert quiet().byte(message_available=False) == 0
    assert quiet().byte(message_available=True) == 16
    for name, weight in (("questionable", 8), ("standard", 32), ("operation", 128)):
        status = quiet()
        register = getattr(status, name)
        register.event = 4
        assert status.byte(message_available=False) == 0  # not enabled
        register.enable = 3
        assert status.byte(message_available=False) == 0  # another one is
        register.enable = 6
        assert status.byte(message_available=False) == weight
    status = quiet()
    status.record(ScpiError(Code.SETTINGS_CONFLICT))
    assert status.byte(message_available=False) == 4


def test_service_is_asked_for_by_what_is_enabled() -> None:
    status = quiet()
    status.service_enable = 16
    assert status.byte(message_available=True) == 16 + 64
    status.service_enable = 4
    assert status.byte(message_available=True) == 16


@pytest.mark.parametrize(
    ("code", "event"),
    [(Code.INVALID_BLOCK, 32), (Code.SETTINGS_CONFLICT, 16), (Code.QUEUE_OVERFLOW, 8)],
)
def test_errors_set_the_event_of_their_class(code: Code, event: int) -> None:
    status = quiet()
    status.record(ScpiError(code))
    assert (status.standard.event, status.recorded, len(status.errors)) == (event, 1, 1)


def test_the_last_place_of_a_full_queue_says_that_errors_were_lost() -> None:
    status = quiet()
    for _ in range(LIMITS.error_queue):
        status.record(ScpiError(Code.SETTINGS_CONFLICT))
    status.record(ScpiError(Code.INVALID_BLOCK))
    assert (status.recorded, len(status.errors)) == (LIMITS.error_queue + 1, LIMITS.error_queue)
    codes = [status.errors.pop().code for _ in range(LIMITS.error_queue + 1)]
    assert codes[-3:] == [Code.SETTINGS_CONFLICT, Code.QUEUE_OVERFLOW, Code.NO_ERROR]


def test_clearing_forgets_events_and_errors_and_keeps_what_is_enabled() -> None:
    status = quiet()
    status.record(ScpiError(Code.SETTINGS_CONFLICT))
    status.operation.event, status.operation.enable = 1, 1
    status.clear()
    assert (len(status.errors), status.standard.event, status.operation.event, status.operation.enable) == (0, 0, 0, 1)


def test_events_are_cleared_by_reading_them() -> None:
    register = EventRegister(condition=2, event=5)
    assert (register.take(), register.event, register.condition) == (5, 0, 2)


# ---- calls and blocks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("message", [b"", b"A 1;B?", b" x"])
def test_a_call_is_its_number_and_a_message(message: bytes) -> None:
    assert Call(12, message).encode() == b"12 " + message
    assert Call.decode(b"12 " + message) == Call(12, message)


def test_the_number_of_a_call_has_eighteen_digits_at_most() -> None:
    assert Call.decode(b"9" * 18 + b" x").number == 10**18 - 1
    for content in (b"9" * 19 + b" x", b"12", b"x 1", b"-1 x", b" x"):
        with pytest.raises(ScpiError, match="a call begins with its number and a space") as caught:
            Call.decode(content)
        assert caught.value.code == Code.INVALID_BLOCK


def test_an_answer_may_have_spaces_in_its_response() -> None:
    answer = Answer(3, 1, 0.1, b"1, 2 3")
    assert answer.encode() == b"3 1 0.1 1, 2 3"
    assert Answer.decode(answer.encode()) == answer


@pytest.mark.parametrize("size", [0, 1, 9, 10, 1234])
def test_a_block_says_how_long_it_is(size: int) -> None:
    block = definite(b"x" * size)
    assert block == f"#{len(str(size))}{size}".encode() + b"x" * size
    assert read_definite(block) == b"x" * size


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (b"#13ab", "a block of 2 bytes says that it has b'3'"),
        (b"#13abcd", "a block of 4 bytes says that it has b'3'"),
        (b"#1xabc", "says that it has b'x'"),
        (b"#0abc", "expected a block, got b'#0abc'"),
        (b"", "expected a block, got b''"),
        (b"y" * 30, f'expected a block, got {b"y" * 20!r}"$'),
    ],
)
def test_what_is_no_block_is_refused(response: bytes, message: str) -> None:
    with pytest.raises(ScpiError, match=message):
        read_definite(response)


PREFIXES = {"M": 1e-3, "U": 1e-6, "N": 1e-9, "": 1.0}
"""As IEEE 488.2 has them."""


def test_suffixes_of_numbers_are_prefixes_of_their_unit() -> None:
    own = {"uA": ("A", "U"), "ns": ("S", "N"), "s": ("S", ""), "uS": ("SIE", "U")}
    assert SUFFIXES.keys() == own.keys()
    for unit, suffixes in SUFFIXES.items():
        name, prefix = own[unit]
        for suffix, factor in suffixes.items():
            assert suffix.endswith(name)
            expected = PREFIXES[suffix.removesuffix(name)] / PREFIXES[prefix]
            assert factor == pytest.approx(expected), (unit, suffix)
        assert len(suffixes) == 4


def test_entries_of_the_error_queue() -> None:
    assert read_entry('-113,"Undefined ""header"""') == (-113, 'Undefined "header"')
    assert read_entry('0,""') == (0, "")
    for text in ('-113"x"', '-113,"', '-113,"x', '-113,x"', "-113,"):
        with pytest.raises(ValueError, match="not an error entry"):
            read_entry(text)
    with pytest.raises(ValueError, match=f"not an error entry: '{'z' * 80}'$"):
        read_entry("z" * 81)
