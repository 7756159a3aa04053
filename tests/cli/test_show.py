"""`hwloop show`, `plot` and `report`: look at any file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from matplotlib.image import imread

from tests.cli.conftest import BRIEF, Command


@pytest.fixture
def run(command: Command) -> str:
    """A run file."""
    assert command("program", "w.npy", *BRIEF, "--out", "run.h5").exit_code == 0
    return "run.h5"


def test_show_is_one_screen(command: Command, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = command("show", run)
    assert shown.exit_code == 0
    lines = shown.stdout.splitlines()
    assert lines[0] == "gdp on sim:hermes-core?rows=32&columns=32&seed=1"
    assert lines[1].startswith("MVM error 0.")
    assert len(lines) < 45
    assert max(map(len, lines)) <= 80


def test_show_gives_one_object(command: Command, run: str) -> None:
    told = json.loads(command("show", run, "--json").stdout)
    assert told["kind"] == "run"
    assert told["provenance"]["file"] == run
    assert told["tables"][0]["rows"][0][0] == "w"
    assert "error-vs-step" in told["pictures"]


def test_plot_lists_what_there_is(command: Command, run: str) -> None:
    listed = command("plot", run, "--list").stdout
    assert listed.startswith("error-vs-step")
    assert max(map(len, listed.splitlines())) <= 80
    names = json.loads(command("plot", run, "--list", "--json").stdout)["pictures"]
    assert {"target", "reached", "difference", "occupancy"} <= set(names)


def test_a_caption_fits_the_terminal(command: Command, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    drawn = command("plot", run, "error-vs-step", "--out", "f.png").stdout
    assert max(map(len, drawn.splitlines())) <= 60


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_plot_draws_one_picture(command: Command, run: str, suffix: str) -> None:
    drawn = command("plot", run, "difference", "--out", f"f.{suffix}")
    assert drawn.exit_code == 0
    assert drawn.stdout.endswith(f"Figure f.{suffix}.\n")
    start = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[suffix]
    assert Path(f"f.{suffix}").read_bytes().startswith(start)


def test_plot_has_a_size_for_papers(command: Command, run: str) -> None:
    told = json.loads(command("plot", run, "--out", "paper.png", "--paper", "--json").stdout)
    assert told["picture"] == "error-vs-step"
    assert imread("paper.png").shape[1] == 385  # 3.5 inches


def test_report_writes_a_page(command: Command, run: str) -> None:
    said = command("report", run, "--out", "r.html")
    assert said.exit_code == 0
    assert said.stdout.splitlines()[1].startswith("MVM error 0.")
    assert Path("r.html").read_text().startswith("<!doctype html>")
