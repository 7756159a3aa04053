"""Names for the chips of a lab: `lab:NAME` stands for a URI."""

from __future__ import annotations

from pathlib import Path

import pytest

import hwloop
from hwloop.chip.profiles import profiles, profiles_path, resolved
from hwloop.errors import BadInputError

LAB = """
[chips]
small = "sim:hermes-core?rows=8&columns=8"
plain = "sim:pcm-ideal"
"""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "lab.toml"
    path.write_text(LAB)
    monkeypatch.setenv("HWLOOP_LAB", str(path))
    return path


@pytest.mark.parametrize(
    ("uri", "stands_for"),
    [
        ("lab:small", "sim:hermes-core?rows=8&columns=8"),
        ("lab:small?seed=3", "sim:hermes-core?rows=8&columns=8&seed=3"),
        ("lab:plain?seed=3", "sim:pcm-ideal?seed=3"),
        ("sim:pcm-ideal", "sim:pcm-ideal"),
        ("no uri", "no uri"),
    ],
)
def test_a_name_stands_for_its_uri(lab: Path, uri: str, stands_for: str) -> None:
    assert resolved(uri) == stands_for


def test_a_chip_that_was_opened_by_its_name_knows_its_uri(lab: Path) -> None:
    with hwloop.connect("lab:small?seed=3") as chip:
        assert (chip.info.rows, chip.uri) == (8, "sim:hermes-core?rows=8&columns=8&seed=3")


def test_a_name_that_is_none_is_answered_with_those_there_are(lab: Path) -> None:
    with pytest.raises(BadInputError, match="the lab has no chip 'smal'; did you mean 'small'"):
        hwloop.connect("lab:smal")


def test_without_a_file_there_are_no_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HWLOOP_LAB", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert profiles() == {}
    assert tmp_path in profiles_path().parents
    with pytest.raises(BadInputError, match=r"the lab has no chip 'x'; .*lab\.toml names none"):
        hwloop.connect("lab:x")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("[chips", "is not TOML"),
        (b"\xff\xfe", "is not TOML"),
        ("[chip]\na='sim:x'", "has 'chip'; it is to be a table"),
        ("", "has no table of chips"),
        ("chips = 3", "has no table of chips"),
        ("[chips]\na = 3", "the chip 'a' is to be the URI of a chip in quotes"),
        ("[chips]\na = 'lab:a'", "the chip 'a' is to be the URI of a chip in quotes"),
        ("x = '" + "a" * 2**20 + "'", "is larger than 1 MiB"),
    ],
    ids=["cut", "no text", "misspelt", "empty", "number", "number for a chip", "a circle", "huge"],
)
def test_a_file_that_cannot_be_used_is_named(lab: Path, content: str | bytes, complaint: str) -> None:
    lab.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BadInputError, match=complaint):
        hwloop.connect("lab:small")


def test_a_file_that_is_named_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWLOOP_LAB", str(tmp_path / "none.toml"))
    with pytest.raises(BadInputError, match=r"none\.toml cannot be read"):
        hwloop.connect("lab:small")
