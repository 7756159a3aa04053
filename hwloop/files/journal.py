"""A file of records, one behind the other, each with a checksum: what was written before a kill can be read after it.

A record is four bytes `HWLR`, the CRC-32 of all that follows, the lengths of its two parts (little-endian, 32 and 64
bits), a JSON object, and the bytes of the arrays that this describes. Nothing is ever changed, so a process that is
killed leaves whole records and, at most, the beginning of one, which readers pass over. docs/file-format.md tells
what the records of a job are.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from zlib_ng import zlib_ng

from hwloop.errors import BadInputError
from hwloop.files.hdf5 import CommitTimer
from hwloop.typing import AnyArray, Json

HEAD = struct.Struct("<4sIIQ")
MARK = b"HWLR"
_ENCODER = json.JSONEncoder(separators=(",", ":"))


@dataclass(frozen=True)
class Entry:
    """One record.

    Parameters
    ----------
    told
        Plain values by name.
    arrays
        Arrays of numbers or truth values.
    """

    told: Mapping[str, Json]
    arrays: Sequence[AnyArray] = field(default_factory=tuple)


def packed(entry: Entry) -> list[bytes | memoryview]:
    """Return the parts of a record as they stand in a file."""
    arrays = [np.ascontiguousarray(one) for one in entry.arrays]
    shapes: Json = [[one.dtype.str, list(np.shape(one))] for one in entry.arrays]
    text = _ENCODER.encode({**entry.told, "arrays": shapes}).encode()
    body = [one.reshape(-1).view(np.uint8).data if one.size else b"" for one in arrays]
    lengths = HEAD.pack(MARK, 0, len(text), sum(map(len, body)))
    crc = zlib_ng.crc32(lengths[8:])
    for part in (text, *body):
        crc = zlib_ng.crc32(part, crc)
    return [lengths[:4], struct.pack("<I", crc), lengths[8:], text, *body]


class Journal:
    """A file of records that grows; every record is with the operating system when `append` returns.

    One that is patient keeps records without arrays back until one with arrays comes, or until its size is asked for.
    """

    def __init__(self, path: Path, at: int = 0, *, patient: bool = False) -> None:
        """Begin a file, or go on with one behind its first `at` bytes; what follows them is cut off.

        Raises OSError when that cannot be done.
        """
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        os.ftruncate(self._descriptor, at)
        self._size = os.lseek(self._descriptor, at, os.SEEK_SET)
        self._patient, self._waiting = patient, list[Entry]()
        self._timer = CommitTimer(share=0.01, longest=5.0, shortest=1.0)

    @property
    def size(self) -> int:
        """Bytes until now: the position of the next record. Raises OSError."""
        self._write()
        return self._size

    def append(self, entry: Entry) -> None:
        """Write a record, as a whole or, as far as that can be, not at all. Raises OSError."""
        self._waiting.append(entry)
        if entry.arrays or not self._patient:
            self._write()

    def _write(self) -> None:
        """Write the records that wait, many small ones together: each call takes longer than what it writes."""
        entries, self._waiting = self._waiting, []
        if not entries:
            return
        try:
            records = left = b"".join(part for entry in entries for part in packed(entry))
            while left:  # one call, as a rule
                left = left[os.write(self._descriptor, left) :]
        except OSError:
            os.ftruncate(self._descriptor, self._size)
            os.lseek(self._descriptor, self._size, os.SEEK_SET)
            raise
        self._size += len(records)
        if self._timer.due():
            with self._timer.committing():
                os.fsync(self._descriptor)

    def sync(self) -> None:
        """Wait until all records are on the disk. Raises OSError."""
        self._write()
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file, without the records that wait; a second time does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Records:
    """The whole records of a file, in order."""

    def __init__(self, path: Path, end: int | None = None) -> None:
        """Open a file; records behind its first `end` bytes are left out.

        Raises BadInputError for a file that cannot be read.
        """
        self.path = path
        try:
            self._bytes = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.zeros(0, np.uint8)
        except (OSError, ValueError) as error:
            raise BadInputError(f"{path} cannot be read ({error})") from None
        self._end = len(self._bytes) if end is None else min(end, len(self._bytes))
        self.position = 0
        """Bytes of the records that were given out."""

    def __iter__(self) -> Iterator[Entry]:
        while (entry := self.next()) is not None:
            yield entry

    def next(self) -> Entry | None:
        """Return the next record; None behind the last whole one."""
        found = self._parsed(self.position)
        if found is None:
            return None
        entry, self.position = found
        return entry

    def peek(self) -> Entry | None:
        """Return the record that `next` would return."""
        found = self._parsed(self.position)
        return None if found is None else found[0]

    def _parsed(self, at: int) -> tuple[Entry, int] | None:
        begin = at + HEAD.size
        if begin > self._end:
            return None
        mark, crc, text_size, size = HEAD.unpack(self._bytes[at:begin].tobytes())
        end = begin + text_size + size
        if mark != MARK or end > self._end or zlib_ng.crc32(self._bytes[at + 8 : end].data) != crc:
            return None
        try:
            told = json.loads(self._bytes[begin : begin + text_size].tobytes())
            arrays, first = [], begin + text_size
            for kind, shape in told.pop("arrays"):
                dtype = np.dtype(str(kind))
                count = math.prod(map(int, shape))
                if dtype.kind not in "biuf" or min(map(int, shape), default=0) < 0:
                    return None
                last = first + count * dtype.itemsize
                if last > end:
                    return None
                arrays.append(self._bytes[first:last].view(dtype).reshape(shape))
                first = last
        except (ValueError, TypeError, KeyError, AttributeError):
            return None
        return (Entry(told, arrays), end) if first == end else None
