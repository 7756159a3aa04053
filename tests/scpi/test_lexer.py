"""The parser: every way of writing a command, and no way of crashing it."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwloop.scpi.blocks import definite, read_definite, seal, sealed_block, unseal
from hwloop.scpi.codes import Code, ScpiError
from hwloop.scpi.lexer import Argument, ArgumentKind, MessageFramer, parse


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
        (b";A", Code.SYNTAX_ERROR),
        (b"1A", Code.SYNTAX_ERROR),
        (b"\xffA", Code.INVALID_CHARACTER),
        (b"A 1 2", Code.INVALID_SEPARATOR),
        (b"A,1", Code.INVALID_SEPARATOR),
        (b"A 1,", Code.SYNTAX_ERROR),
        (b"A +", Code.INVALID_NUMBER),
        (b'A "x', Code.INVALID_STRING),
        (b"A #", Code.INVALID_BLOCK),
        (b"A #2x1", Code.INVALID_BLOCK),
        (b"A #15abc", Code.INVALID_BLOCK),
        (b"ABCDEFGHIJKLM", Code.MNEMONIC_TOO_LONG),
    ],
)
def test_what_cannot_be_read_has_a_standard_code(message, code):
    with pytest.raises(ScpiError, match=f'^{code.value},"{code.text}') as caught:
        parse(message)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("text", "number"),
    [("#Q17", 15), ("#q20", 16), ("#H1f", 31), ("#hA0", 160), ("#B101", 5), ("#b10", 2), ("#Q777", 511), ("#H10", 16)],
)
def test_integers_in_base_16_8_and_2(text, number):
    (argument,) = parse(f"A {text}".encode())[0].arguments
    assert (argument.kind, argument.text) == (ArgumentKind.NUMBER, str(number))


@pytest.mark.parametrize("text", ["#Q8", "#Q", "#B2", "#HG"])
def test_digits_that_a_base_has_not(text):
    codes = (Code.INVALID_BLOCK, Code.INVALID_SEPARATOR, Code.SYNTAX_ERROR)
    with pytest.raises(ScpiError, match="|".join(code.text for code in codes)) as caught:
        parse(f"A {text}".encode())
    assert caught.value.code in codes


@given(st.integers(0, 8**60), st.sampled_from(["#Q%o", "#H%X"]))
def test_numbers_in_another_base_are_what_python_reads(number, form):
    assert parse(b"A " + (form % number).encode())[0].arguments[0].text == str(number)


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
    with pytest.raises(ScpiError, match=Code.TOO_MUCH_DATA.text) as caught:
        framer.next_message()
    assert caught.value.code == Code.TOO_MUCH_DATA


@given(st.binary(max_size=200))
def test_a_sealed_block_gives_back_its_content(content):
    assert unseal(read_definite(sealed_block(content))) == content


@given(st.binary(max_size=60), st.data())
def test_no_changed_byte_passes_the_checksum(content, data):
    sealed = bytearray(seal(content))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ScpiError, match="the CRC-32 of a block"):
        unseal(bytes(sealed))


@given(st.binary(min_size=1, max_size=60), st.data())
def test_no_shortened_block_passes(content, data):
    with pytest.raises(ScpiError, match="the CRC-32 of a block"):
        unseal(seal(content)[: data.draw(st.integers(0, len(content) + 3))])
