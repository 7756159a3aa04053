"""`hwloop import` as a user meets it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from hwloop.files.measurement_reader import read_measurements
from tests.cli.conftest import Command

ROWS = "1,0,200000,5e-6,x,3\n1,10,oops,nan,x,3\n2,10,250000,4e-6,x,4\n"
MAP = ("--columns", "cell,time[s],resistance[ohm],conductance[S],,level")


@pytest.fixture(autouse=True)
def lab(folder: Path) -> Path:
    (folder / "lab.csv").write_text(ROWS)
    return folder / "lab.csv"


def test_it_says_what_was_left_out(command: Command) -> None:
    done = command("import", "lab.csv", *MAP, "--out", "lab.h5")
    assert done.exit_code == 0, done.stderr
    assert "2 reads of 2 cells from 3 rows, in lab.h5" in done.stdout
    assert "conductances from 4 to 5 uS, ages from 0s to 10s" in done.stdout
    assert "left out: 1 rows, conductance is missing or not finite (first in line 2)" in done.stdout
    [found] = read_measurements("lab.h5")
    assert found.cells.level.tolist() == [3, 4]


def test_json(command: Command) -> None:
    done = command("import", "lab.csv", *MAP, "--out", "lab.h5", "--json")
    assert json.loads(done.stdout) == {
        "file": "lab.csv",
        "out": "lab.h5",
        "rows": 3,
        "reads": 2,
        "cells": 2,
        "conductance_range": [4.0, 5.0],
        "time_range": [0.0, 10.0],
        "dropped": {"conductance is missing or not finite": {"count": 1, "first_line": 2}},
        "questions": {},
        "notes": [
            "ages begin at 0s: where they count from the first read, state the age of that, such as --start-age 1s"
        ],
    }


def test_a_second_import_is_added_only_on_request(command: Command) -> None:
    words = ("import", "lab.csv", *MAP, "--out", "lab.h5")
    assert command(*words).exit_code == 0
    assert "lab.h5 exists; use --force" in command(*words).stderr
    assert command(*words, "--append", "--experiment", "programming").exit_code == 0
    assert [found.experiment.value for found in read_measurements("lab.h5")] == ["drift", "programming"]


def test_most_rows_left_out_is_no_success(command: Command, lab: Path) -> None:
    lab.write_text("1,0,5\n1,x,5\n1,x,4\n")
    done = command("import", "lab.csv", "--columns", "cell,time[s],conductance[uS]", "--out", "lab.h5")
    assert done.exit_code == 1
    assert "most rows were left out" in done.stderr
    assert len(read_measurements("lab.h5")[0].reads) == 1


def test_a_named_delimiter(command: Command, lab: Path) -> None:
    lab.write_text("1\t0\t5e-6\n")
    words = ("import", "lab.csv", "--columns", "cell,time[s],conductance[S]", "--out", "lab.h5")
    assert command(*words, "--delimiter", "tab").exit_code == 0


def test_cells_measured_anew_get_a_hint(command: Command, lab: Path) -> None:
    lab.write_text("1,0,5,100\n1,9,4,100\n1,0,3,140\n")
    words = ("import", "lab.csv", "--columns", "cell,time[s],conductance[uS],temperature[degC]", "--out")
    assert "told apart by --split-by temperature" in command(*words, "a.h5").stdout
    assert "left out" not in command(*words, "b.h5", "--split-by", "temperature").stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--columns", "cell,time[s]"), "no conductance[S], resistance[ohm] or current[A]"),
        (("--columns", "cell,time[s],conductance[S]"), "--columns names 3 columns, and line 1 has 6"),
        ((*MAP, "--split-by", "colour"), "--split-by colour: expected one of core"),
        ((*MAP, "--split-by", "temperature"), "nothing is called 'temperature' among the columns"),
        ((*MAP, "--experiment", "bake"), "--experiment bake: expected one of programming-curve"),
        ((*MAP, "--sample-rate", "-1"), "--sample-rate -1: expected a positive number"),
        ((*MAP, "--code-step", "0"), "--code-step 0: expected a positive number"),
        ((*MAP, "--comment", ""), "--comment must not be empty"),
        ((*MAP, "--out", "w.npy"), "w.npy exists; use --force"),
        ((*MAP, "--out", "lab.csv", "--force"), "lab.csv is the file to import"),
        ((*MAP, "--skip", "10"), "has no lines of data"),
        ((*MAP, "--sample-rate", "400"), "a sample rate is for rows of samples"),
        ((*MAP, "--interval", "1s"), "lab.csv has times; leave --interval out"),
    ],
)
def test_wrong_use_is_one_line_with_the_way_out(
    command: Command, folder: Path, words: tuple[str, ...], message: str
) -> None:
    done = command("import", "lab.csv", "--out", "lab.h5", *words)
    assert done.exit_code == 2, done.output
    assert message in done.stderr
    assert sorted(os.listdir(folder)) == ["lab.csv", "w.npy"]
    assert (folder / "lab.csv").read_text() == ROWS


def test_a_file_that_is_not_there(command: Command) -> None:
    done = command("import", "none.csv", *MAP, "--out", "lab.h5")
    assert done.exit_code == 2
    assert "none.csv does not exist" in done.stderr


def test_a_pattern_of_files_with_recognised_columns(command: Command, folder: Path) -> None:
    for k in (10, 9):
        (folder / f"dev{k}.csv").write_text(f"Time (s),R (kOhm)\n0,{k}00\n9,{k}10\n")
    refused = command("import", "dev*.csv", "--out", "lab.h5")
    assert refused.exit_code == 2
    assert 'it looks like --columns "time[s],resistance[kohm]", which --columns auto takes' in refused.stderr
    done = command("import", "dev*.csv", "--columns", "auto", "--start-age", "1s", "--out", "lab.h5")
    assert done.exit_code == 0, done.stderr
    assert "4 reads of 2 cells from 4 rows, in lab.h5" in done.stdout
    assert "note: columns taken as time[s],resistance[kohm]" in done.stdout
    [found] = read_measurements("lab.h5")
    assert found.cells.name is not None
    assert found.cells.name.tolist() == ["dev9", "dev10"]
    assert found.reads.time.tolist() == [1, 10, 1, 10]
    assert "no file matches x*.csv" in command("import", "x*.csv", "--out", "b.h5").stderr


def test_what_is_hardly_plausible_is_asked_about(command: Command, lab: Path) -> None:
    lab.write_text("1,1,5e-6,180\n1,2,4,180\n")
    done = command("import", "lab.csv", "--columns", "cell,time[s],conductance[uS],temperature[K]", "--out", "lab.h5")
    assert done.exit_code == 0
    assert "question: 2 reads, temperature below 273.15 K: is it in degrees C? (first in line 1)" in done.stdout
    assert "question: 1 reads, conductance below 0.001 uS: is it in another unit? (first in line 1)" in done.stdout
