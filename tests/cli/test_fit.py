"""`hwloop fit` and `hwloop export` from file to file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hwloop.calibration.fitting.selection import families
from hwloop.files.measurement_writer import MeasurementWriter
from hwloop.files.measurements import Experiment
from hwloop.files.model_file import load_model
from tests.calibration.fitting.test_relaxation import measured
from tests.cli.conftest import Command, programmed_cells


@pytest.fixture(autouse=True)
def measurements(folder: Path) -> Path:
    """meas.h5 with 400 programmed cells."""
    programmed_cells(folder / "meas.h5")
    return folder / "meas.h5"


def test_fit_shows_parameters_with_intervals_and_writes_the_model(
    command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    result = command("fit", "meas.h5", "--out", "model.json", "--figures", "figures")
    assert result.exit_code == 0, result.stderr
    assert "400 of 400 cells used" in result.stdout
    assert "Chosen by held-out log-likelihood per cell, " in result.stdout
    row = next(line.split() for line in result.stdout.splitlines() if line.split()[:1] == ["sigma.c0"])
    assert (row[2], row[4]) == ("uS", "to")
    low, value, high = float(row[3].lstrip("(")), float(row[1]), float(row[5].rstrip(")"))
    assert low < value < high
    assert " ".join(row[6:]).startswith("standard deviation of a relaxed device's conductance")
    model = load_model("model.json")
    assert model.chip["chip"] == "sim:pcm-90nm"
    assert model.fits["programming"].cells.used == 400
    assert {path.name for path in (folder / "figures").iterdir()} == {"programming.png", "programming.svg"}
    title = "programming of sim:pcm-90nm"
    assert title in (folder / "figures/programming.svg").read_text()
    again = command("fit", "meas.h5", "--out", "other.json", "--figures", "figures")
    assert "figures/programming.png exists; use --force" in again.stderr
    assert not (folder / "other.json").exists(), "it is said before anything is fitted"


def test_a_narrow_terminal_cuts_no_line_of_a_fit(
    command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = command("fit", "meas.h5", "--out", "model.json", "--figures", "figures").stdout
    assert max(map(len, shown.splitlines())) <= 80
    assert "hwloop compare weights.npy --backend sim:model.json --out cmp.h5" in shown


def test_help_names_every_family(command: Command) -> None:
    text = " ".join(command("fit", "--help").stdout.split())
    for experiment in Experiment:
        for family in families(experiment):
            assert family.name in text.replace("- ", "-")


def test_ctrl_c_before_the_first_fit_is_exit_code_1_and_no_file(
    command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hwloop.jobs.fit.fit_measurement", stop)
    assert command("fit", "meas.h5", "--out", "model.json").exit_code == 1
    assert not (folder / "model.json").exists()


def test_fit_as_json_is_one_object(command: Command) -> None:
    result = command("fit", "meas.h5", "--out", "model.json", "--family", "polynomial-2", "--json")
    fit = json.loads(result.stdout)["fits"]["programming"]
    assert fit["family"] == "polynomial-2"
    for parameter in fit["parameters"]:
        assert parameter["low"] < parameter["value"] < parameter["high"]
        assert parameter["unit"] == "uS"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("fit", "none.h5", "--out", "m.json"), "no such file"),
        (("fit", "w.npy", "--out", "m.json"), "not a readable HDF5 file"),
        (("fit", "meas.h5", "--out", "meas.h5"), "exists; use --force"),
        (("fit", "meas.h5", "--out", "meas.h5", "--force"), "holds the measurements"),
        (("fit", "meas.h5", "--out", "m.json", "--family", "log-clip"), "known: auto, after-write, polynomial-2"),
        (("fit", "meas.h5", "--out", "none/m.json"), "does not exist; make it first"),
        (("export", "meas.h5", "--to", "aihwkit", "--out", "x.py"), "no model file"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(command: Command, words: tuple[str, ...], message: str) -> None:
    result = command(*words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stdout == ""


def test_export_writes_code(command: Command) -> None:
    assert command("fit", "meas.h5", "--out", "model.json").exit_code == 0
    for to in ("aihwkit", "crosssim"):
        result = command("export", "model.json", "--to", to, "--out", f"{to}_model.py", "--json")
        assert result.exit_code == 0, result.stderr
        assert json.loads(result.stdout)["fits"] == ["programming"]
        compile(Path(f"{to}_model.py").read_text(), to, "exec")


def test_what_is_held_out_is_told_by_level_and_time(command: Command, folder: Path) -> None:
    measurement = measured(500, seed=3)
    with MeasurementWriter(folder / "rram.h5") as writer:
        writer.begin(measurement.experiment, measurement.cells, {}).append(measurement.reads)
        writer.commit()
        writer.finish()
    options = ("--family", "relaxation-sublinear", "--hold-out", "cells", "--hold-out", "times")
    result = command("fit", "rram.h5", "--out", "rram.json", *options)
    assert result.exit_code == 0, result.stderr
    rows = result.stdout.partition("Held out of drift (relaxation-sublinear)\n")[2].splitlines()
    assert "level" in rows[0] + rows[1]
    assert any(row.split()[:2] == ["-", "all"] for row in rows)
