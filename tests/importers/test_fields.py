"""Where fields stand, against Python's own cutting of lines."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from hwloop.importers.fields import grid


def cut(block: str, delimiter: str | None) -> list[list[str]]:
    lines = grid(block.encode(), delimiter)
    return [lines.texts(k) for k in range(len(lines))]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_fields_are_those_of_the_csv_module(delimiter: str) -> None:
    rng = np.random.default_rng(0)
    words = ["1.5", "", "a b", f'"x{delimiter}y"', "-2e5", '"q"']
    lines = [delimiter.join(rng.choice(words, rng.integers(1, 6))) for _ in range(200)]
    assert cut("\n".join(lines) + "\n", delimiter) == [row or [""] for row in csv.reader(lines, delimiter=delimiter)]


def test_runs_of_blanks_are_one_delimiter() -> None:
    lines = ["  1  2\t3", "4 5", "", "   ", "6 ", '"a b" 7']
    assert cut("\n".join(lines), None) == [["1", "2", "3"], ["4", "5"], [""], [""], ["6"], ["a b", "7"]]


def test_a_quote_that_never_ends_spoils_its_own_line_alone() -> None:
    assert cut('1,5" wafer,3\n4,5,6\n', ",") == [["1", '5" wafer,3'], ["4", "5", "6"]]


def test_columns_rows_and_numbers_of_lines() -> None:
    lines = grid(b'# x\n 1 , "22" ,3\n\n4,5,6', ",", first_line=7)
    assert lines.number.tolist() == [7, 8, 9, 10]
    assert lines.begins_with(b"# ").tolist() == [True, False, False, False]
    assert lines.empty().tolist() == [False, False, True, False]
    data = lines.keep(lines.count == 3)
    assert data.number.tolist() == [8, 10]
    assert data.names(1).tolist() == [b"22", b"5"]
    assert data.line(0) == ' 1 , "22" ,3'


def test_delimiters_of_several_characters() -> None:
    assert cut("a||b||\n1||2||3\n", "||") == [["a", "b", ""], ["1", "2", "3"]]
