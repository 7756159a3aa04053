"""`hwloop compare`: the methods side by side."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import click
import h5py
import pytest

from hwloop.cli.compare import finish
from hwloop.jobs.recorders import Recorder
from tests.cli.conftest import CHIP, Command
from tests.cli.test_program import CORE_KEYS, RESULT_KEYS

BRIEF = ("--backend", CHIP, "--set", "gdp.max_steps=6", "--set", "iterative.max_steps=4", "--out", "cmp.h5")


def table(text: str) -> dict[str, list[str]]:
    """Rows of the table by method."""
    rows = [line.split() for line in text[text.index("Methods") :].splitlines()]
    return {row[0]: row[1:] for row in rows if row and row[0] in ("gdp", "iterative", "exact", "sgd")}


def test_the_table_shows_every_method_against_the_floor(command: Command) -> None:
    result = command("compare", "w.npy", *BRIEF)
    assert result.exit_code == 0, result.stderr
    rows = table(result.stdout)
    assert list(rows) == ["iterative", "gdp", "exact"]
    assert rows["exact"][4] == "1.000"
    assert float(rows["gdp"][0]) > float(rows["exact"][0])
    assert "measured 200s after programming" in result.stdout
    assert "hwloop report cmp.h5 --out report.html" in result.stdout
    assert result.stderr == ""


def test_json_has_the_object_of_program_for_each_method(command: Command) -> None:
    result = command("compare", "w.npy", *BRIEF, "--methods", "gdp,iterative,exact", "--repeats", 2, "--json")
    comparison = json.loads(result.stdout)
    assert comparison.keys() == {
        "backend", "weights", "status", "noise_floor", "methods", "run", "hwloop_version",
    }  # fmt: skip
    assert list(comparison["methods"]) == ["gdp", "iterative", "exact"]
    for name, method in comparison["methods"].items():
        assert method.keys() >= RESULT_KEYS | {"mvm_errors", "over_floor", "excess_over_floor"}
        assert method["cores"][0].keys() >= CORE_KEYS
        assert (method["method"], method["run"], len(method["mvm_errors"])) == (name, "cmp.h5", 2)
    assert comparison["noise_floor"] == comparison["methods"]["exact"]["mvm_error"]
    assert comparison["methods"]["gdp"]["cores"][0]["mvms"] == 6 * 64


def test_settings_reach_their_method(command: Command) -> None:
    command("compare", "w.npy", *BRIEF, "--methods", "gdp, iterative", "--set", "iterative.gain=0.9")
    with h5py.File("cmp.h5") as file:
        assert file["gdp/run_0/provenance/settings"].attrs["max_steps"] == 6
        assert file["iterative/run_0/provenance/settings"].attrs["max_steps"] == 4
        assert file["iterative/run_0/provenance/settings"].attrs["gain"] == 0.9


def test_without_exact_the_floor_is_left_open(command: Command) -> None:
    rows = table(command("compare", "w.npy", "--backend", CHIP, "--methods", "sgd", "--out", "cmp.h5").stdout)
    assert rows["sgd"][4] == "-"  # over the floor


@pytest.mark.parametrize(("goal", "code"), [(0.5, 0), (0.001, 1)])
def test_a_goal_is_meant_for_every_method(command: Command, goal: float, code: int) -> None:
    words = ("compare", "w.npy", "--backend", CHIP, "--methods", "exact", "--out", "cmp.h5", "--goal", goal)
    assert command(*words).exit_code == code


def test_a_plot_shows_all_methods(command: Command) -> None:
    result = command("compare", "w.npy", *BRIEF, "--plot", "cmp.svg", "--repeats", 2)
    assert result.exit_code == 0, result.stderr
    drawn = Path("cmp.svg").read_text()
    assert all(f"{name}: w, core 0" in drawn for name in ("iterative", "gdp", "exact"))


def test_ctrl_c_shows_what_was_finished(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    step, seen = Recorder.step, []

    def press_ctrl_c(recorder: Recorder, tile: int, *reported: object) -> None:
        step(recorder, tile, *reported)
        seen.append(tile)
        if len(seen) == 9:  # in the second method
            raise KeyboardInterrupt

    monkeypatch.setattr(Recorder, "step", press_ctrl_c)
    result = command("compare", "w.npy", *BRIEF, "--methods", "gdp,iterative,exact", "--plot", "cmp.png")
    assert result.exit_code == 1, result.stderr
    rows = table(result.stdout)
    assert list(rows) == ["gdp", "iterative"]
    assert rows["iterative"][0] == "-"
    assert "The comparison was stopped before its end; the table has what was finished." in result.stdout
    assert "hwloop resume cmp.h5" in result.stdout
    assert Path("cmp.png").exists()
    with h5py.File("cmp.h5") as file:
        assert file.attrs["status"] == "interrupted"


def test_a_missed_goal_names_the_worst_method(capsys: pytest.CaptureFixture[str]) -> None:
    errors = {"gdp": 0.1, "sgd": 0.3, "exact": 0.05}
    found = SimpleNamespace(runs=errors, mvm_error=errors.get, status="complete", to_json=dict)
    with click.Context(click.Command("compare")), pytest.raises(click.exceptions.Exit) as left:
        finish(found, 0.2, as_json=True)  # type: ignore[arg-type]
    assert left.value.exit_code == 1
    assert capsys.readouterr().err == "goal missed: the MVM error 0.3000 is above 0.2\n"
    finish(found, 0.3, as_json=True)  # type: ignore[arg-type]  # a goal that is met exactly is met
    found.status = "interrupted"
    with click.Context(click.Command("compare")), pytest.raises(click.exceptions.Exit):
        finish(found, None, as_json=True)  # type: ignore[arg-type]
    assert "goal missed" not in capsys.readouterr().err
