"""Where the fields of a block of lines stand: lines, delimiters and quotes, without cutting the text up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwloop.importers.numerals import PADDING, Buffer
from hwloop.typing import AnyArray, BoolArray, IndexArray

_NEWLINE, _BLANK, _TAB, _QUOTE = b'\n \t"'


@dataclass(frozen=True)
class Grid:
    """The fields of the lines of a block; all positions are in `buffer`."""

    buffer: Buffer
    """The block, with `PADDING` before and after."""
    start: IndexArray
    """(fields,) first byte of each field, blanks and quotes included."""
    end: IndexArray
    """(fields,) one past its last."""
    first: IndexArray
    """(lines,) number of the first field of each line."""
    count: IndexArray
    """(lines,) fields of each line."""
    number: IndexArray
    """(lines,) number of each line in the file, counted from 1."""

    def __len__(self) -> int:
        return int(self.first.size)

    def keep(self, lines: BoolArray) -> Grid:
        """Return some of the lines."""
        if np.all(lines):
            return self
        return Grid(self.buffer, self.start, self.end, self.first[lines], self.count[lines], self.number[lines])

    def column(self, index: int) -> tuple[IndexArray, IndexArray]:
        """Return where the fields (lines,) of a column begin and end, without blanks and quotes around them."""
        at = self.first + index
        return _trimmed(self.buffer, self.start[at], self.end[at])

    def row(self, line: int) -> tuple[IndexArray, IndexArray]:
        """Return where all fields of one line begin and end, as `column`."""
        at = slice(int(self.first[line]), int(self.first[line] + self.count[line]))
        return _trimmed(self.buffer, self.start[at], self.end[at])

    def texts(self, line: int) -> list[str]:
        """Return the fields of one line."""
        text = self.buffer.data
        return [bytes(text[a:b]).decode("utf-8", "replace") for a, b in zip(*self.row(line), strict=True)]

    def line(self, line: int) -> str:
        """Return one line as it stands."""
        at, count = int(self.first[line]), int(self.count[line])
        return bytes(self.buffer.data[self.start[at] : self.end[at + count - 1]]).decode("utf-8", "replace")

    def begins_with(self, text: bytes) -> BoolArray:
        """Tell which lines (lines,) begin with a text."""
        begin = self.start[self.first]
        found = np.ones(len(self), bool)
        for k, letter in enumerate(text):
            found &= self.buffer[np.minimum(begin + k, self.buffer.size - 1)] == letter
        return found

    def empty(self) -> BoolArray:
        """Tell which lines (lines,) hold nothing but blanks and delimiters."""
        found = np.zeros(len(self), bool)
        for line in np.flatnonzero(self.buffer[self.start[self.first]] <= _BLANK).tolist():  # a blank, or a line's end
            found[line] = not self.line(line).strip()
        return found

    def names(self, index: int) -> AnyArray:
        """Return the fields (lines,) of a column as byte strings."""
        return gathered(self.buffer, *self.column(index))


def grid(block: bytes, delimiter: str | None, first_line: int = 1) -> Grid:
    """Find the fields of a block of whole lines.

    Parameters
    ----------
    block
        Text in UTF-8.
    delimiter
        One character between fields; None for runs of blanks.
    first_line
        Number of its first line.
    """
    ended = block if block.endswith(b"\n") else block + b"\n"
    buffer = np.frombuffer(PADDING + ended + PADDING, np.uint8)
    text = buffer[len(PADDING) : -len(PADDING)]
    start, end = _runs(text) if delimiter is None else _marked(text, delimiter.encode())
    last = np.flatnonzero(text[end] == _NEWLINE)
    first = np.append(0, last[:-1] + 1)
    shift = len(PADDING)
    return Grid(buffer, start + shift, end + shift, first, last - first + 1, first_line + np.arange(last.size))


def _marked(text: Buffer, delimiter: bytes) -> tuple[IndexArray, IndexArray]:
    """Find fields between single delimiters; one inside quotes is part of its field, to the line's end at most."""
    newline = text == _NEWLINE
    between = text == delimiter[0]
    for k, letter in enumerate(delimiter[1:], start=1):
        between[:-k] &= text[k:] == letter
    quote = text == _QUOTE
    if np.any(quote):
        between &= ~_inside(quote, newline)
    end = np.flatnonzero(newline | between)
    start = np.empty_like(end)
    start[0] = 0
    start[1:] = end[:-1] + 1
    if len(delimiter) > 1:
        start[1:] += np.where(newline[end[:-1]], 0, len(delimiter) - 1)
    return start, end


def _inside(quote: BoolArray, newline: BoolArray) -> BoolArray:
    """Tell which bytes stand inside quotes; every line begins outside."""
    opened = np.cumsum(quote)
    ends = np.flatnonzero(newline)
    before = np.append(0, opened[ends[:-1]])
    inside: BoolArray = (opened - np.repeat(before, np.diff(ends, prepend=-1))) % 2 == 1
    return inside


def _runs(text: Buffer) -> tuple[IndexArray, IndexArray]:
    """Find fields between runs of blanks; a line of blanks alone is one empty field."""
    blank = (text == _BLANK) | (text == _TAB)
    newline = text == _NEWLINE
    quote = text == _QUOTE
    if np.any(quote):
        blank &= ~_inside(quote, newline)
    stop = blank | newline
    after = np.append(True, stop[:-1])
    start, end = np.flatnonzero(after & ~stop), np.flatnonzero(stop & ~after)
    # A line that ends in blanks ends at its line end, so that its last field is its line's.
    line_end = np.flatnonzero(newline)
    of_line = np.searchsorted(line_end, start)
    filled = np.bincount(of_line, minlength=line_end.size)
    last = np.cumsum(filled)[filled > 0] - 1
    end[last] = line_end[filled > 0]
    hollow = line_end[filled == 0]
    start, end = np.append(start, hollow), np.append(end, hollow)
    order = np.argsort(end, kind="stable")
    return start[order], end[order]


def _trimmed(buffer: Buffer, start: IndexArray, end: IndexArray) -> tuple[IndexArray, IndexArray]:
    """Take blanks and quotes off both ends of fields."""
    start, end = start.copy(), end.copy()
    for edge, offset, step in ((start, 0, 1), (end, -1, -1)):
        at = np.flatnonzero(_outer(buffer[edge + offset]) & (start < end))
        while at.size:
            edge[at] += step
            at = at[_outer(buffer[edge[at] + offset]) & (start[at] < end[at])]
    return start, end


def _outer(letters: Buffer) -> BoolArray:
    outer: BoolArray = (letters == _BLANK) | (letters == _QUOTE) | (letters == _TAB)
    return outer


def gathered(buffer: Buffer, start: IndexArray, end: IndexArray) -> AnyArray:
    """Return fields as byte strings, (fields,)."""
    size = end - start
    width = max(int(size.max(initial=1)), 1)
    offset = np.arange(width)
    letters = np.where(offset < size[:, None], buffer[np.minimum(start[:, None] + offset, buffer.size - 1)], 0)
    return letters.astype(np.uint8).view(f"S{width}").ravel()
