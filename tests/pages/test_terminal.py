"""Pages as text fit the width of a terminal, with every number whole."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

import hwloop
from hwloop.pages.page import Column, Fact, Page, Table
from hwloop.pages.terminal import ALL, text_of
from tests.pages.conftest import KINDS


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [80, 120])
def test_no_line_is_wider_than_the_terminal(results: dict[str, Path], kind: str, width: int) -> None:
    text = text_of(hwloop.page_of(results[kind]), width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert not [line for line in text.splitlines() if line != line.rstrip()]
    assert "\x1b" not in text


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_of_tables_are_whole_at_80_columns(results: dict[str, Path], kind: str) -> None:
    page = hwloop.page_of(results[kind])
    words = set(text_of(page, 80, ALL).split())
    for table in page.tables:
        for row in table.rows:
            numbers = [(c, cell) for c, cell in zip(table.columns, row, strict=True) if isinstance(cell, int | float)]
            assert {column.write(cell) for column, cell in numbers} <= words


def test_long_tables_and_texts_are_cut_unless_all_is_wanted() -> None:
    table = Table("many", (Column("number"),), tuple((number,) for number in range(1000, 1040)))
    page = Page("run", "t", "v.", (), (table,), provenance=(Fact("settings", "x" * 400),))
    short, full = text_of(page, 80), text_of(page, 80, ALL)
    assert "and 28 more rows (hwloop show --verbose shows all)" in short
    assert "1,039" not in short
    assert "... (--verbose)" in short
    assert "1,039" in full
    assert full.count("x") == 400


def test_foreign_texts_do_not_reach_the_terminal_as_codes() -> None:
    page = Page("run", "\x1b[2Jt", "v\n.", (Fact("a\x07", "\x1b]0;title\x07"),), warnings=("\x9b31m",))
    text = text_of(page, 80)
    assert not any(code in text for code in ("\x1b", "\x07", "\x9b"))
    assert r"\x1b[2Jt" in text


def test_colour_is_asked_for() -> None:
    assert "\x1b[1m" in text_of(Page("run", "t", "v.", ()), 80, colour=True)


@pytest.mark.parametrize("width", [60, 70, 80, 100])
def test_headings_stay_whole_beside_long_names(width: int) -> None:
    columns = (
        Column("tensor", names=True),
        *(Column(title, style=".4f") for title in ("first error", "worst tile")),
        Column("pulses", "a device", ".2f"),
        Column("cells given up"),
    )
    rows = tuple((f"encoder.layers.{number}.attention.output.weight", 0.1, 0.1, 1.0, 3) for number in range(4))
    text = text_of(Page("run", "t", "v.", (), (Table("Tiles", columns, rows),)), width)
    assert max(map(len, text.splitlines())) <= width
    assert {"first", "error", "worst", "tile", "device", "cells", "given", "up"} <= set(text.split())


def test_columns_of_a_table_stand_two_letters_apart() -> None:
    rows = (("a", 0.5, 7), ("long", 12.25, 1000))
    table = Table("few", (Column("name"), Column("error", style=".2f"), Column("cells")), rows)
    shown = text_of(Page("run", "t", "v.", (), (table,)), 80).splitlines()
    assert [line for line in shown[2:] if line.strip(" -")] == [
        "few", "name  error  cells", "a      0.50      7", "long  12.25  1,000"
    ]  # fmt: skip


def test_a_command_that_no_line_holds_is_broken_as_a_shell_takes_it() -> None:
    command = "hwloop deploy --network hwloop.nn.zoo:digits_cnn --weights robust.safetensors --dataset D.npz --out n.h5"
    text = text_of(Page("kind", "Title", "Verdict.", facts=(), onward=(Fact(command, "puts it on a chip"),)), 60)
    shown = text.split("puts it on a chip:\n")[1]
    assert max(map(len, shown.splitlines())) <= 60
    assert shown.count(" \\\n") == len(shown.splitlines()) - 1
    assert shlex.split(shown.replace("\\\n", "")) == shlex.split(command)
    wide = text_of(Page("kind", "Title", "Verdict.", facts=(), onward=(Fact(command, "puts it on a chip"),)), 120)
    assert f"  {command}\n" in wide
