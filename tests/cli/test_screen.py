"""A command ends with the page that `hwloop show` shows of its file."""

from __future__ import annotations

import pytest

import hwloop
from hwloop.cli.screen import show_page
from hwloop.pages.page import Column, Page, Table
from hwloop.pages.terminal import ALL, AT_THE_END, text_of
from tests.cli.conftest import BRIEF, CHIP, Command


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


ASKED = {
    "program": ("program", "w.npy", *BRIEF, "--out", "x.h5"),
    "compare": ("compare", "w.npy", *BRIEF[:2], "--methods", "gdp,exact", "--set", "gdp.max_steps=6", "--out", "x.h5"),
    "drift": ("drift", "run.h5", "--times", "1h,1d", "--compensation", "none,refresh+column", "--out", "x.h5"),
    "calibrate": ("calibrate", "adc", "--backend", f"{CHIP}&cores=2", "--out", "x.h5"),
}


@pytest.mark.parametrize("name", ASKED)
def test_what_is_shown_at_the_end_is_the_page_of_the_file(command: Command, name: str) -> None:
    assert command("program", "w.npy", *BRIEF, "--out", "run.h5").exit_code == 0
    done = command(*ASKED[name])
    assert done.exit_code == 0, done.stderr
    assert done.stdout == text_of(hwloop.page_of("x.h5"), 80, AT_THE_END)
    assert done.stdout.isascii()
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_a_measurement_adds_what_it_has_cost_to_the_page_of_its_file(command: Command) -> None:
    words = ("--backend", CHIP, "--cells", 60, "--levels", 2, "--until", "1h")
    shown = command("measure", "drift", *words, "--out", "m.h5").stdout
    told = command("show", "m.h5").stdout
    assert shown.splitlines()[:2] == told.splitlines()[:2]
    assert "made now          0000_drift, 960 reads of 60 cells\n" in shown
    assert "chip time         1h\n" in shown
    assert max(map(len, shown.splitlines())) <= 80


def table(columns: int) -> Table:
    head = (Column("name", names=True), *(Column(f"number {at}", style=".4f") for at in range(columns)))
    rows = tuple(
        (f"encoder.blocks.{row}.attention.out.weight", *(row + at / 10 for at in range(columns))) for row in range(3)
    )
    return Table("t", head, rows)


@pytest.mark.parametrize("columns", [3, 8, 20])
def test_a_table_that_no_line_holds_is_parted_and_its_names_stay_apart(
    capsys: pytest.CaptureFixture[str], columns: int
) -> None:
    show_page(Page("run", "t", "v.", (), (table(columns),)), ALL)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    words = [line.split() for line in lines]
    assert {f"{row + at / 10:.4f}" for row in range(3) for at in range(columns)} <= {w for line in words for w in line}
    names = {line[0] for line in words if line[0:1] and line[0].endswith("weight")}
    assert len(names) == 3
