"""Bytes become lines in one spelling, however they are cut into blocks."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from hwloop.errors import BadInputError
from hwloop.importers.encoding import TextFile

TEXT = "Zeit (µs);R [kΩ]\r\n1;\N{MINUS SIGN}2,5\r\n3;4\N{NO-BREAK SPACE}\r\n"
PLAIN = "Zeit (µs);R [kΩ]\n1;-2,5\n3;4 \n"


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("packed", [False, True])
def test_encodings(tmp_path: Path, encoding: str, size: int, packed: bool) -> None:
    raw = TEXT.encode(encoding)
    (tmp_path / "a.csv").write_bytes(gzip.compress(raw) if packed else raw)
    text = TextFile(tmp_path / "a.csv", size)
    blocks = list(text.blocks())
    assert b"".join(blocks).decode() == PLAIN
    assert all(block.endswith(b"\n") for block in blocks)
    assert text.ended


def test_what_is_not_utf_8_is_latin_1(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("a\nZeit (µs);°C\n1;2".encode("latin-1"))
    text = TextFile(tmp_path / "a.csv", 4)
    assert b"".join(text.blocks()).decode() == "a\nZeit (µs);°C\n1;2"
    assert (text.encoding, text.ended) == ("Latin-1", False)


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_ends_of_lines(tmp_path: Path, size: int) -> None:
    (tmp_path / "a.csv").write_bytes(b"a,b\r1,2\r\n3,4\n5,6\r")
    assert b"".join(TextFile(tmp_path / "a.csv", size).blocks()) == b"a,b\n1,2\n3,4\n5,6\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04....", "an Excel workbook; unpack it, or save the sheet as CSV"),
        (gzip.compress(b"PK\x03\x04...."), "an Excel workbook"),
        (b"\x93NUMPY\x01", "an array of numpy"),
        (b"a,b\n\0\0\0\1\n", "no text in UTF-8 or UTF-16"),
        ("a,b\n".encode("utf-32"), "text in UTF-32; save it in UTF-8"),
        ("a,b\n".encode("utf-16")[:-1], "no whole text in UTF-16"),
        (gzip.compress(b"a,b\n" * 1000)[:-9], "cut off or damaged"),
        (b"x" * 99, "a line of over"),
    ],
)
def test_what_is_no_text_is_refused_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(BadInputError, match=message):
        list(TextFile(tmp_path / "a.csv", 10, longest=50).blocks())
