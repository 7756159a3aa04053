"""`hwloop resume` goes on with what was stopped."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

import hwloop
from hwloop.fleet.executors import InProcess
from hwloop.jobs.inputs import weights_from
from hwloop.jobs.parallel import Plan, program_parts
from hwloop.jobs.program import Task
from tests.cli.conftest import BRIEF, CHIP, Command
from tests.jobs.conftest import CtrlC


def test_a_stopped_run_goes_on_and_is_shown(command: Command) -> None:
    with hwloop.connect(CHIP) as chip:
        assert hwloop.program(chip, "w.npy", hwloop.GDP(max_steps=6), out="run.h5", progress=CtrlC(3)).interrupted
    done = command("resume", "run.h5")
    assert done.exit_code == 0
    assert "hwloop evaluate run.h5" in done.stdout
    assert hwloop.load("run.h5").status == "complete"


def test_a_run_that_goes_on_is_drawn_where_that_is_asked(command: Command) -> None:
    with hwloop.connect(CHIP) as chip:
        hwloop.program(chip, "w.npy", hwloop.GDP(max_steps=6), out="run.h5", progress=CtrlC(3))
    refused = command("resume", "run.h5", "--plot", "run.txt")
    assert refused.exit_code == 2
    assert "run.txt: a plot is a" in refused.stderr
    assert command("resume", "run.h5", "--plot", "run.svg").exit_code == 0
    assert "<svg" in Path("run.svg").read_text()


def test_a_stopped_calibration_goes_on_and_is_shown(command: Command) -> None:
    with hwloop.connect(CHIP) as chip:
        hwloop.calibrate(chip, ["devices", "adc"], out="chip.cal.h5", progress=CtrlC(3))
    done = command("resume", "chip.cal.h5", "--json")
    assert done.exit_code == 0
    assert not json.loads(done.stdout)["skipped"]


def test_a_stopped_drift_study_goes_on_and_is_shown(command: Command) -> None:
    assert command("program", "w.npy", *BRIEF, "--out", "run.h5").exit_code == 0
    hwloop.drift("run.h5", times=["1s", "1h", "1d"], compensations=["none"], out="drift.h5", progress=CtrlC(2))
    done = command("resume", "drift.h5", "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["status"] == "complete"
    assert list(hwloop.load("drift.h5").times) == [1.0, 3600.0, 86400.0]


def test_a_stopped_measurement_goes_on_and_is_that_of_one_left_alone(command: Command) -> None:
    settings = {"cells": 8, "levels": 2, "samples": 400}
    for out, progress in (("whole.h5", False), ("m.h5", CtrlC(3))):
        with hwloop.connect(CHIP) as chip:
            hwloop.measure(chip, "read-noise", out=out, progress=progress, **settings)
    assert hwloop.load("m.h5")[-1].attributes["status"] == "interrupted"
    done = command("resume", "m.h5", "--json")
    assert done.exit_code == 0, done.stdout
    assert json.loads(done.stdout)["status"] == "complete"
    one, other = hwloop.load("m.h5")[-1], hwloop.load("whole.h5")[-1]
    assert np.array_equal(one.reads.conductance, other.reads.conductance)
    again = command("resume", "m.h5")
    assert again.exit_code == 2
    assert "is complete" in again.stderr


def test_a_complete_run_has_nothing_to_go_on_with(command: Command) -> None:
    assert command("program", "w.npy", *BRIEF, "--out", "run.h5").exit_code == 0
    done = command("resume", "run.h5", "--json")
    assert done.exit_code == 2
    told = json.loads(done.stdout)
    assert told["kind"] == "bad-input"
    assert "run.h5 is complete" in told["error"]


def test_a_stopped_comparison_goes_on_and_is_shown(command: Command) -> None:
    words = ["w.npy", "--backend", CHIP, "--methods", "gdp,exact", "--set", "gdp.max_steps=6"]
    hwloop.compare(CHIP, "w.npy", [hwloop.GDP(max_steps=6), "exact"], out="cmp.h5", progress=CtrlC(3))
    done = command("resume", "cmp.h5", "--json")
    assert done.exit_code == 0
    alone = command("compare", *words, "--out", "whole.h5", "--json")
    errors = [json.loads(one.stdout)["methods"]["gdp"]["mvm_error"] for one in (done, alone)]
    assert errors[0] == errors[1]


def test_a_run_of_workers_goes_on_with_workers(command: Command) -> None:
    words = ("program", "w.npy", *BRIEF, "--workers", "1", "--json")
    alone = command(*words, "--out", "whole.h5")
    with hwloop.connect(CHIP) as chip:
        task = Task(weights_from("w.npy"), hwloop.GDP(max_steps=6))
        assert program_parts(Plan.of_cores(task, chip), task, InProcess(), "run.h5", report=CtrlC(3)).interrupted
    done = command("resume", "run.h5", "--workers", "1", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["mvm_error"] == json.loads(alone.stdout)["mvm_error"]
    assert command("resume", "run.h5", "--scheduler", "tcp://nowhere:1").exit_code == 2
