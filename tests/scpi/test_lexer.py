"""The parser: every way of writing a command, and no way of crashing it."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwloop.scpi import codes
from hwloop.scpi.blocks import definite, read_definite, seal, sealed_block, unseal
from hwloop.scpi.codes import ScpiError
from hwloop.scpi.lexer import Argument, ArgumentKind, MessageFramer, parse


def error_of(message: bytes) -> int:
    with pytest.raises(ScpiError) as caught:
        parse(message)
    return caught.value.code


def test_a_message_of_every_kind_of_data():
    (unit,) = parse(b'  foo:BAR?  1.5e-3 uA , #HfF,#b101, Word_1, "a""b;#19", \'c\', #13\n;,')
    assert unit.nodes == ("FOO", "BAR")
    assert unit.query
    assert unit.arguments == (
        Argument(ArgumentKind.NUMBER, "1.5e-3", suffix="UA"),
        Argument(ArgumentKind.NUMBER, "255"),
        Argument(ArgumentKind.NUMBER, "5"),
        Argument(ArgumentKind.WORD, "WORD_1"),
        Argument(ArgumentKind.STRING, 'a"b;#19'),
        Argument(ArgumentKind.STRING, "c"),
        Argument(ArgumentKind.BLOCK, data=b"\n;,"),
    )


def test_an_indefinite_block_ends_with_the_message():
    assert parse(b"A #0x;y,z")[0].arguments[0].data == b"x;y,z"


def test_units_keep_their_colons_and_stars():
    units = parse(b"*CLS;:A:B;C?;*OPC?\r")
    assert [(u.nodes, u.absolute, u.common) for u in units] == [
        (("*CLS",), False, True),
        (("A", "B"), True, False),
        (("C",), False, False),
        (("*OPC",), False, True),
    ]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b";A", codes.SYNTAX_ERROR),
        (b"1A", codes.SYNTAX_ERROR),
        (b"\xffA", codes.INVALID_CHARACTER),
        (b"A 1 2", codes.INVALID_SEPARATOR),
        (b"A,1", codes.INVALID_SEPARATOR),
        (b"A 1,", codes.SYNTAX_ERROR),
        (b"A +", codes.INVALID_NUMBER),
        (b'A "x', codes.INVALID_STRING),
        (b"A #", codes.INVALID_BLOCK),
        (b"A #2x1", codes.INVALID_BLOCK),
        (b"A #15abc", codes.INVALID_BLOCK),
        (b"ABCDEFGHIJKLM", codes.MNEMONIC_TOO_LONG),
    ],
)
def test_what_cannot_be_read_has_a_standard_code(message, code):
    assert error_of(message) == code


@given(st.binary(max_size=300))
@settings(max_examples=500)
def test_no_bytes_crash_the_parser(message):
    with contextlib.suppress(ScpiError):  # whose text is looked up when it is made, so its code is a standard one
        parse(message)


@given(st.lists(st.binary(max_size=40), max_size=8), st.integers(1, 7))
def test_blocks_of_any_bytes_come_through_however_the_stream_is_cut(contents, step):
    stream = b"".join(b"D " + definite(content) + b"\n" for content in contents)
    framer = MessageFramer(1000)
    found = []
    for at in range(0, len(stream), step):
        framer.feed(stream[at : at + step])
        while (message := framer.next_message()) is not None:
            found.append(parse(message)[0].arguments[0].data)
    assert found == contents
    assert not framer.partial


@given(st.binary(max_size=400), st.integers(1, 50))
@settings(max_examples=300)
def test_the_framer_does_not_depend_on_how_the_stream_is_cut(stream, step):
    def messages(size: int) -> list[bytes]:
        framer, found = MessageFramer(10**9), []
        for at in range(0, len(stream), size):
            framer.feed(stream[at : at + size])
            while (message := framer.next_message()) is not None:
                found.append(message)
        return found

    assert messages(step) == messages(max(1, len(stream)))


def test_a_forgotten_quote_costs_one_message():
    framer = MessageFramer(100)
    framer.feed(b'A "x\n*IDN?\n')
    assert [framer.next_message(), framer.next_message()] == [b'A "x', b"*IDN?"]


@pytest.mark.parametrize("stream", [b"x" * 101, b"D #3200", b"D #9999999999"])
def test_a_message_too_long_is_refused_as_soon_as_that_is_known(stream):
    framer = MessageFramer(100)
    framer.feed(stream)
    with pytest.raises(ScpiError) as caught:
        framer.next_message()
    assert caught.value.code == codes.TOO_MUCH_DATA


@given(st.binary(max_size=200))
def test_a_sealed_block_gives_back_its_content(content):
    assert unseal(read_definite(sealed_block(content))) == content


@given(st.binary(max_size=60), st.data())
def test_no_changed_byte_passes_the_checksum(content, data):
    sealed = bytearray(seal(content))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ScpiError):
        unseal(bytes(sealed))


@given(st.binary(min_size=1, max_size=60), st.data())
def test_no_shortened_block_passes(content, data):
    with pytest.raises(ScpiError):
        unseal(seal(content)[: data.draw(st.integers(0, len(content) + 3))])
