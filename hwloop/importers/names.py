"""Cells that are called by names: each name is a number, in the order in which names come."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hwloop.typing import AnyArray, FloatArray, IndexArray


class Names:
    """The names of cells so far."""

    def __init__(self) -> None:
        """Begin without any."""
        self._number: dict[bytes, int] = {}
        self._name: list[str] = []

    def numbers(self, names: AnyArray) -> FloatArray:
        """Return the number of each name (rows,), byte strings; NaN for an empty one."""
        if not names.size:
            return np.empty(0)
        begins = np.append(True, names[1:] != names[:-1])  # rows of a cell often follow each other
        which, inverse = np.unique(names[begins], return_inverse=True)
        first = np.full(which.size, names.size)
        np.minimum.at(first, inverse, np.arange(inverse.size))
        number = np.empty(which.size)
        for k in np.argsort(first).tolist():
            number[k] = self.number(which[k]) if which[k] else np.nan
        of_rows: FloatArray = number[inverse][np.cumsum(begins) - 1]
        return of_rows

    def number(self, name: bytes) -> int:
        """Return the number of one name, a new one where it is new."""
        found = self._number.setdefault(name, len(self._number))
        if found == len(self._name):
            self._name.append(name.decode("utf-8", "replace"))
        return found

    def of(self, numbers: IndexArray) -> NDArray[np.str_]:
        """Return the names of numbers, (n,)."""
        return np.array([self._name[number] for number in numbers.tolist()], np.str_)


def joined(word: AnyArray, bit: AnyArray) -> AnyArray:
    """Return the names (rows,) of crosspoints by their lines: W3B7, or WL3/BL7 where lines have names of their own."""
    if not word.size:
        return word
    both = np.char.add(np.char.add(word, b"\x1f"), bit)
    begins = np.append(True, both[1:] != both[:-1])
    which, inverse = np.unique(both[begins], return_inverse=True)
    names = np.array([_crosspoint(*text.split(b"\x1f")) for text in which.tolist()])
    of_rows: AnyArray = names[inverse][np.cumsum(begins) - 1]
    return of_rows


def _crosspoint(word: bytes, bit: bytes) -> bytes:
    if not word or not bit:
        return b""
    return b"W%bB%b" % (word, bit) if word.isdigit() and bit.isdigit() else b"%b/%b" % (word, bit)
