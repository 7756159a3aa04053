"""The wire log: what it shows, and that it never costs anything that stood in a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwloop.errors import BadInputError
from hwloop.scpi.wire_log import HEADER, WireLog


def test_a_line_a_message(tmp_path: Path) -> None:
    with WireLog(tmp_path / "wire.txt") as log:
        log.note(">", b"*IDN?")
        log.note("<", bytes(100))
    first, sent, received = (tmp_path / "wire.txt").read_text().splitlines()
    assert first + "\n" == HEADER
    assert sent.split()[1:] == [">", "5", "*IDN?"]
    assert received.split()[1:] == ["<", "100", r"\x00" * 96 + "..."]


def test_a_log_goes_on_where_it_ended(tmp_path: Path) -> None:
    for message in (b"one", b"two"):
        with WireLog(tmp_path / "wire.txt") as log:
            log.note(">", message)
    lines = (tmp_path / "wire.txt").read_text().splitlines()
    assert [line.split()[-1] for line in lines[1:]] == ["one", "two"]


@pytest.mark.parametrize("content", [b"weights that took a week", b""])
def test_a_file_of_another_kind_is_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.npy"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=r"weights\.npy is another kind of file, to which nothing is added"):
        WireLog(path)
    assert path.read_bytes() == content


def test_a_folder_is_no_log(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="is another kind of file"):
        WireLog(tmp_path)
