"""Fleet files, and the chips of a fleet taken together."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from hwloop.errors import BadInputError
from hwloop.fleet.chips import Blueprint, Fleet, FleetMember, together
from tests.chip.test_backend import INFO

TWO = '[[chip]]\nbackend = "visa:one"\nworker = "bench1"\n[[chip]]\nbackend = "visa:two"\n'


def fleet(tmp_path: Path, text: str = TWO) -> Fleet:
    (tmp_path / "fleet.toml").write_text(text)
    return Fleet.read(tmp_path / "fleet.toml")


def test_a_fleet_file_lists_chips_and_who_has_their_links(tmp_path: Path) -> None:
    assert fleet(tmp_path).members == (FleetMember("visa:one", "bench1"), FleetMember("visa:two"))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "a fleet file has one .* for each chip"),
        ("chips = 3", "unknown key 'chips'"),
        ("[[chip]]\nbackend = 'visa:one'\nhost = 'x'", "chip 1: unknown key 'host'"),
        ("[[chip]]\nworker = 'x'", "chip 1: backend = .* is missing"),
        ("[[chip]]\nbackend = 3", "chip 1: expected backend"),
        ("[[chip]]\nbackend = 'one'", "'one' is not a backend URI"),
        (
            "[[chip]]\nbackend = 'visa:one'\n[[chip]]\nbackend = 'visa:one'",
            "lists visa:one twice; a link is never shared",
        ),
        ("[[chip", "is not TOML"),
    ],
)
def test_what_is_wrong_with_a_fleet_file_is_said(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(BadInputError, match=complaint):
        fleet(tmp_path, text)


def test_chips_of_one_kind_are_one_chip_with_the_cores_of_all(tmp_path: Path) -> None:
    whole = together(fleet(tmp_path), [INFO, dataclasses.replace(INFO, serial="2", cores=3)])
    assert (whole.cores, whole.name) == (5, "fleet of 2 recorder")
    assert Blueprint(whole).info.cores == 5
    with pytest.raises(BadInputError, match=r"visa:two and visa:one differ in rows \(7 and 4\)"):
        together(fleet(tmp_path), [INFO, dataclasses.replace(INFO, rows=7)])
