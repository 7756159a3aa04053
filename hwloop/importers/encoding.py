"""Files of text as blocks of whole lines in one spelling: UTF-8, lines that end in LF, a plain minus, plain blanks.

Recognised are gzip, UTF-8 and UTF-16 with and without a byte order mark, and Latin-1 (as Windows has it, cp1252), which
is what text is that is not UTF-8. What is no text is refused by name.
"""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from hwloop.errors import BadInputError

Follow = Callable[[int], None]
"""Told the position in the file, bytes."""

_GZIP = b"\x1f\x8b"
_FOREIGN = {
    b"PK\x03\x04": "a zip archive or an Excel workbook; unpack it, or save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook; save the sheet as CSV",
    b"BZh": "packed with bzip2; unpack it",
    b"\xfd7zXZ": "packed with xz; unpack it",
    b"\x28\xb5\x2f\xfd": "packed with zstd; unpack it",
    b"%PDF": "a PDF",
    b"\x93NUMPY": "an array of numpy; hwloop.Measurement.of takes arrays",
    b"MATLAB 5": "an old MAT file; save it with -v7.3, which is HDF5, or as CSV",
    b"TDSm": "a TDMS file of LabVIEW; save it as CSV",
}
"""First bytes of files that are no text, and what to do with them."""
_SPELLING = {
    "\N{MINUS SIGN}": "-",
    "\N{EN DASH}": "-",
    "\N{NO-BREAK SPACE}": " ",
    "\N{NARROW NO-BREAK SPACE}": " ",
    "\N{THIN SPACE}": " ",
}
"""Signs that numbers are set with, and the plain ones."""
_BLANKS = {mark.encode(): plain.encode() for mark, plain in _SPELLING.items()}


@dataclass
class TextFile:
    """A file of text, and what was found out about how it is written."""

    path: Path
    size: int
    """Bytes of text that are in memory at one time; one line more where lines are longer."""
    longest: int = 2**27
    """Bytes of the longest line that is text."""
    encoding: str = "UTF-8"
    """Its encoding, once a block of it was read."""
    ended: bool = True
    """Whether the last line has an end; known when all is read."""
    _decoder: codecs.IncrementalDecoder | None = field(default=None, repr=False)

    def blocks(self, follow: Follow = lambda position: None) -> Iterator[bytes]:
        """Yield blocks of whole lines; only the last line of the last block may lack its end.

        Raises
        ------
        BadInputError
            For what is no text, and for a packed file that is cut off.
        """
        with self.path.open("rb") as raw, _whole(self.path):
            binary = self._unpacked(raw)
            rest = b""
            while data := binary.read(self.size):
                follow(raw.tell())
                text = _line_ends(rest[-1:] + self._decoded(data))
                rest = rest[:-1]
                cut = text.rfind(b"\n") + 1
                if cut:
                    yield self._plain(rest + text[:cut])
                    rest = text[cut:]
                elif len(rest := rest + text) > self.longest:
                    raise BadInputError(f"{self.path} is no text: it has a line of over {self.longest / 1e6:.0f} MB")
            rest += self._decoded(b"", final=True)
            rest = rest.replace(b"\r", b"\n")  # an end that was kept back
            self.ended = not rest or rest.endswith(b"\n")
            if rest:
                yield self._plain(rest)

    def _unpacked(self, raw: BinaryIO) -> BinaryIO:
        begin = raw.read(16)
        raw.seek(0)
        binary: BinaryIO = raw
        if begin.startswith(_GZIP):
            binary = io.BufferedReader(gzip.GzipFile(fileobj=raw))
            begin = binary.peek(16)[:16]
        for magic, what in _FOREIGN.items():
            if begin.startswith(magic):
                raise BadInputError(f"{self.path} is {what}")
        self._recognise(begin)
        return binary

    def _recognise(self, begin: bytes) -> None:
        """Find UTF-16 by its mark, or by the zero bytes that it has between letters."""
        if begin.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
            raise BadInputError(f"{self.path} is text in UTF-32; save it in UTF-8")
        even, odd = begin[0::2].count(0), begin[1::2].count(0)
        if begin.startswith((b"\xff\xfe", b"\xfe\xff")):
            self.encoding = "UTF-16"
        elif max(even, odd) >= len(begin) // 4 > 0 and min(even, odd) == 0:
            self.encoding = "UTF-16-LE" if odd else "UTF-16-BE"
        if self.encoding != "UTF-8":
            self._decoder = codecs.getincrementaldecoder(self.encoding)("strict")

    def _decoded(self, data: bytes, *, final: bool = False) -> bytes:
        """Return UTF-8 of UTF-16; other text as it is."""
        if self._decoder is None:
            return data
        try:
            return self._decoder.decode(data, final).encode()
        except UnicodeError as error:
            raise BadInputError(
                f"{self.path} is no whole text in {self.encoding} ({error}); save it in UTF-8"
            ) from None

    def _plain(self, block: bytes) -> bytes:
        """Return a block in UTF-8 with plain line ends, signs and blanks."""
        if b"\0" in block:
            raise BadInputError(f"{self.path} is no text in UTF-8 or UTF-16; save it as CSV in UTF-8")
        block = block.removeprefix(codecs.BOM_UTF8)
        if not block.isascii():
            block = self._utf8(block)
            for mark, plain in _BLANKS.items():
                block = block.replace(mark, plain)
        return block

    def _utf8(self, block: bytes) -> bytes:
        if self.encoding == "UTF-8":
            try:
                block.decode()
            except UnicodeDecodeError:
                self.encoding = "Latin-1"
        if self.encoding == "Latin-1":
            return block.decode("cp1252", "replace").encode()
        return block


def _line_ends(text: bytes) -> bytes:
    """Return text whose lines end in LF; a CR at its end is kept back, as an LF may follow."""
    if b"\r" not in text:
        return text
    body, kept = (text[:-1], b"\r") if text.endswith(b"\r") else (text, b"")
    return body.replace(b"\r\n", b"\n").replace(b"\r", b"\n") + kept


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BadInputError(f"{path} is cut off or damaged ({error}); get a whole copy of it") from None
