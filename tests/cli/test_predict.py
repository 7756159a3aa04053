"""`hwloop predict` from a model file to numbers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from hwloop.files.model_file import save_model
from hwloop.files.models import Model
from tests.cli.conftest import Command
from tests.files.test_predictions import fitted_relaxation


@pytest.fixture(autouse=True)
def saved(folder: Path) -> None:
    save_model(Model({"drift": fitted_relaxation()}, {}, {}, ""), folder / "model.json")


def test_quantiles_and_the_probability_to_be_outside(command: Command) -> None:
    result = command("predict", "model.json", "--time", "100s", "--level", "60uS", "--window", "50uS,70uS")
    assert result.exit_code == 0, result.stderr
    assert "60 uS at the first read, after 100s" in result.stdout
    assert re.search(r"^50% +[0-9.]+$", result.stdout, re.MULTILINE)
    assert re.search(r"^outside of the window +0\.\d+ of 50 to 70 uS$", result.stdout, re.MULTILINE)
    assert result.stderr == ""


def test_json_has_what_scripts_rely_on(command: Command) -> None:
    result = command("predict", "model.json", "--time", "1y", "--level", "0.06mS", "--window", "50,70", "--json")
    told = json.loads(result.stdout)
    assert told["extrapolates"] is True
    assert 0 < told["probability_outside"] < 1
    assert list(told["quantiles"]) == ["0.01", "0.05", "0.25", "0.5", "0.75", "0.95", "0.99"]
    assert told["level"] == pytest.approx(60.0)


def test_beyond_what_was_measured_it_warns(command: Command) -> None:
    result = command("predict", "model.json", "--time", "1y", "--level", "60uS")
    assert "warning: extrapolates: time 1y: measured from 10ms to 16.7min" in result.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--level", "60uA"), "the unit 'uA' cannot be read as uS"),
        (("--level", "much"), "conductance 'much': expected a number and a unit"),
        (("--level", "60uS", "--window", "50"), "window '50': expected LOW,HIGH"),
        (("--level", "60uS", "--experiment", "read-noise"), "the model has no fit of read-noise"),
    ],
)
def test_wrong_use_is_one_line(command: Command, options: tuple[str, ...], message: str) -> None:
    result = command("predict", "model.json", "--time", "1s", *options)
    assert result.exit_code == 2
    assert message in result.stderr
