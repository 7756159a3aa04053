"""Files that people write by hand are read once, and refused in one line that names them."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwloop.chip.toml_files import read_toml
from hwloop.errors import BadInputError


def test_what_stands_in_it_comes_back(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("[limits]\nvolts = 2.5  # on the word lines: \u00b10.1\n", encoding="utf-8")
    assert read_toml(tmp_path / "a.toml") == {"limits": {"volts": 2.5}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[limits", "a.toml is not TOML: "),
        (b"name = '\xff'", "a.toml is not TOML: "),
        (b"#" * (2**20 + 1), "a.toml is larger than 1 MiB"),
    ],
)
def test_what_is_no_such_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.toml").write_bytes(content)
    with pytest.raises(BadInputError, match=message) as refusal:
        read_toml(tmp_path / "a.toml")
    assert "\n" not in str(refusal.value)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"none\.toml cannot be read: No such file"):
        read_toml(tmp_path / "none.toml")
    with pytest.raises(BadInputError, match="cannot be read: Is a directory"):
        read_toml(tmp_path)
