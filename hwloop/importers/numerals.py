"""Numbers in text, a column at a time: eight digits in one multiplication, exact to the last bit.

A field is where it stands in a buffer, first byte and one past the last. Eight bytes are taken at once as one 64-bit
word, whose eight digits become a number in three multiplications (D. Lemire, "Quickly parsing eight digits", 2018). A
decimal number m 10^e with m below 2^53 and e within 22 is one exact operation (W. D. Clinger, PLDI 1990); longer ones
go through an extended float, and those that its last bits cannot decide are read one by one, as is all that is not a
plain number.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwloop.typing import BoolArray, FloatArray, IndexArray

Words = NDArray[np.uint64]
"""Eight bytes of text each, the first one in the lowest bits."""
Buffer = NDArray[np.uint8]
"""Bytes of text with `PADDING` before and after."""


class Found(enum.IntEnum):
    """What a field turned out to be."""

    NUMBER = 0
    MISSING = 1
    """Empty, or a word for 'no value'."""
    OUT_OF_RANGE = 2
    """What an instrument writes in place of a number that it could not measure."""
    TEXT = 3


@dataclass(frozen=True)
class Numerals:
    """How numbers are written."""

    decimal: str = "."
    """The decimal mark, '.' or ','."""
    thousands: bool = False
    """Whether the other mark alone, as in 12,000, sets thousands apart; beside a decimal mark it always does."""
    code: float = 1e30
    """Numbers of this size and beyond are codes of an instrument, such as 9.9e37, 9.91e37 and 199.999e99."""


PADDING = b"\0" * 32
"""Around every buffer, so that words may be taken at its ends."""

_OVER = re.compile(
    r"[+-]?(o\.?l\.?|ovld|ovfl?|over(flow|load|range|[- ]range)?|out of range|compliance|#num!|9+\.?#+|#{2,})"
)
_NOTHING = frozenset(
    [
        "",
        *[
            "nan",
            "+nan",
            "-nan",
            "na",
            "n/a",
            "n.a.",
            "#n/a",
            "#na",
            "<na>",
            "null",
            "none",
            "nil",
            "missing",
            "-",
            "--",
            "---",
            ".",
            "?",
            "1.#qnan",
            "-1.#ind",
        ],
    ]
)
_PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf(inity)?", re.IGNORECASE)


def _word(pattern: str) -> np.uint64:
    return np.uint64(int.from_bytes(8 * pattern.encode("latin-1"), "little"))


def parse(buffer: Buffer, start: IndexArray, end: IndexArray, how: Numerals) -> tuple[FloatArray, NDArray[np.uint8]]:
    """Read fields as numbers.

    Parameters
    ----------
    buffer
        The text, with `PADDING` before and after.
    start, end
        (fields,) first byte of each field and one past its last, trimmed of blanks.
    how
        How numbers are written.

    Returns
    -------
    values, found
        (fields,) numbers, NaN where there is none, and what each field is (`Found`).
    """
    values, sound = _plain(buffer, start, end, how.decimal)
    found = np.where(sound, np.uint8(Found.NUMBER), np.uint8(Found.TEXT))
    text = buffer.tobytes() if not np.all(sound) else b""
    known: dict[bytes, tuple[float, Found]] = {}
    for k in np.flatnonzero(~sound).tolist():
        field = text[start[k] : end[k]]
        if field not in known:
            known[field] = read_one(field.decode("utf-8", "replace"), how)
        values[k], found[k] = known[field]
    with np.errstate(invalid="ignore"):
        found[(np.abs(values) >= how.code) & np.isfinite(values)] = Found.OUT_OF_RANGE
    return values, found


def read_one(text: str, how: Numerals) -> tuple[float, Found]:
    """Read one field; NaN stands for all that is no number."""
    text = text.strip()
    low = text.lower()
    if low in _NOTHING:
        return np.nan, Found.MISSING
    if _OVER.fullmatch(low):
        return np.nan, Found.OUT_OF_RANGE
    plain = _ungrouped(text, how)
    if plain is None:
        return np.nan, Found.TEXT
    value = float(plain)
    return value, Found.OUT_OF_RANGE if how.code <= abs(value) < np.inf else Found.NUMBER


def _ungrouped(text: str, how: Numerals) -> str | None:
    """Return a number as Python writes it, without marks between thousands; None for what is no number."""
    mark = "," if how.decimal == "." else "."
    whole, point, rest = text.partition(how.decimal)
    if mark in whole:
        grouped = re.fullmatch(rf"[+-]?[1-9]\d{{0,2}}(\{mark}\d{{3}})+", whole)
        if not grouped or not (point or how.thousands or whole.count(mark) > 1):
            return None
        whole = whole.replace(mark, "")
    plain = re.sub(r"(?<=[\d.])[dD](?=[+-]?\d)", "e", whole + ("." + rest if point else ""))  # as Fortran writes it
    return plain if _PLAIN.fullmatch(plain) else None


# ---- plain numbers, all at once --------------------------------------------------------------------------------------


def _plain(buffer: Buffer, start: IndexArray, end: IndexArray, decimal: str) -> tuple[FloatArray, BoolArray]:
    """Return (fields,) values and which of them are plain numbers of at most 24 characters that are surely right."""
    words = _words(buffer)
    first = buffer[start]
    negative = first == ord("-")
    begin = start + (negative | (first == ord("+")))
    size = end - begin
    dot, power = _marks(words, begin, size, decimal)
    fraction = np.maximum(power - dot - 1, 0)
    whole = np.minimum(dot, power)
    sound = (size > 0) & (size <= 24) & (whole + fraction > 0) & (whole + fraction <= 19)
    mantissa, good = _digits(words, begin + whole, whole)
    sound &= good
    exponent = np.zeros(begin.size, np.int64)
    if np.any(power < size):
        exponent, good = _exponents(buffer, words, begin + power + 1, np.where(power < size, size - power - 1, 0))
        sound &= good | (power >= size)
    if np.any(fraction):
        digits, good = _digits(words, begin + power, fraction)
        mantissa = mantissa * _TENS[np.minimum(fraction, 19)] + digits
        sound &= good
        exponent = exponent - fraction
    values, sure = _scaled(mantissa, exponent)
    return np.where(negative, -values, values), sound & sure


def _words(buffer: Buffer) -> Words:
    """Return the word that begins at each byte of a buffer, (bytes - 7,), without a copy."""
    return np.ndarray((buffer.size - 7,), np.dtype("<u8"), buffer.data, strides=(1,))


def _marks(words: Words, begin: IndexArray, size: IndexArray, decimal: str) -> tuple[IndexArray, IndexArray]:
    """Find the decimal mark and the letter before an exponent, each `size` where there is none, counted from `begin`.

    A decimal mark behind the exponent's letter is no digit, and makes the exponent unsound.
    """
    dot, power = size, size
    for offset in range(16, -1, -8):
        if offset and not np.any(size > offset):
            continue
        word = words[np.minimum(begin + offset, words.size - 1)]
        dot = _first(word, _word(decimal), dot, offset)
        power = _first(word | _word(" "), _word("e"), power, offset)  # 'E' becomes 'e', digits and marks stay
    power = np.minimum(power, size)
    return np.minimum(dot, power), power


def _first(word: Words, mark: np.uint64, later: IndexArray, offset: int) -> IndexArray:
    """Return where a mark comes first in a word, counted from the field's begin, and `later` where it does not."""
    other = word ^ mark
    zero = (other - _word("\1")) & ~other & _word("\x80")  # the lowest high bit is the first byte of zero
    if not np.any(zero):
        return later
    lowest = (zero & (~zero + np.uint64(1))) >> np.uint64(7)
    index = (lowest * np.uint64(0x0001020304050607)) >> np.uint64(56)
    return np.where(zero != 0, index.astype(np.int64) + offset, later)


def _digits(words: Words, end: IndexArray, count: IndexArray) -> tuple[Words, BoolArray]:
    """Return the number that `count` digits before `end` stand for (at most 24), and whether they all are digits."""
    value, good = _eight(words[end - 8], np.minimum(count, 8))
    for step in (8, 16):
        if not np.any(count > step):
            break
        more, fine = _eight(words[np.maximum(end - 8 - step, 0)], np.clip(count - step, 0, 8))
        value = value + more * _TENS[step]
        good = good & fine
    return value, good


def _eight(word: Words, count: IndexArray) -> tuple[Words, BoolArray]:
    """Return the number that the last `count` bytes of each word stand for, and whether they all are digits."""
    keep = _KEEP[count]
    digits = (word ^ _word("0")) & keep
    good = (((digits + _word("\x76")) | digits) & _word("\x80")) == 0
    pairs = digits * np.uint64(10) + (digits >> np.uint64(8))
    even = _PAIRS & pairs
    odd = _PAIRS & (pairs >> np.uint64(16))
    return (even * np.uint64(0x000F424000000064) + odd * np.uint64(0x0000271000000001)) >> np.uint64(32), good


def _exponents(buffer: Buffer, words: Words, begin: IndexArray, size: IndexArray) -> tuple[IndexArray, BoolArray]:
    """Return signed exponents (fields,), and whether they are at most eight digits."""
    first = buffer[begin]
    negative = first == ord("-")
    count = size - (negative | (first == ord("+")))
    digits, good = _digits(words, begin + size, np.clip(count, 0, 8))
    exponent = digits.astype(np.int64)
    return np.where(negative, -exponent, exponent), good & (count > 0) & (count <= 8)


def _scaled(mantissa: Words, exponent: IndexArray) -> tuple[FloatArray, BoolArray]:
    """Return mantissa x 10^exponent, rightly rounded, and where that is sure."""
    size = np.abs(exponent)
    short = (mantissa < np.uint64(2**53)) & (size <= 22)
    number = mantissa.astype(np.float64)
    power = _POWERS[np.minimum(size, 22)]
    values = np.where(exponent < 0, number / power, number * power)
    long = np.flatnonzero(~short)
    if long.size:
        values[long], short[long] = _extended(mantissa[long], exponent[long])
    return values, short


def _extended(mantissa: Words, exponent: IndexArray) -> tuple[FloatArray, BoolArray]:
    """Scale through extended floats; not sure where the rounding to a float hangs on their last bits."""
    if np.finfo(np.longdouble).nmant < 63:  # a machine without extended floats
        return np.zeros(mantissa.size), np.zeros(mantissa.size, bool)
    size = np.abs(exponent)
    power = _LONG_POWERS[np.minimum(size, 27)]
    wide = mantissa.astype(np.longdouble)
    wide = np.where(exponent < 0, wide / power, wide * power)
    values = wide.astype(np.float64)
    unit = np.spacing(np.abs(values)).astype(np.longdouble)
    halfway = np.abs(np.abs(wide - values) - unit / 2)
    return values, (size <= 27) & (halfway > unit / 512)


_TENS = np.array([10**k for k in range(20)], np.uint64)
_POWERS = np.array([10.0**k for k in range(23)])
_LONG_POWERS = np.cumprod(np.array([1] + 27 * [10], np.longdouble))
_KEEP = np.array([0] + [(2**64 - 1) & ~(2 ** (8 * (8 - k)) - 1) for k in range(1, 9)], np.uint64)
_PAIRS = np.uint64(int.from_bytes(b"\xff\0\0\0" * 2, "little"))
