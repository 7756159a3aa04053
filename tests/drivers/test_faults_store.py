"""Programming into a run file behind a faulty link: the whole file, or a typed error and all that was done on file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import hwloop
from hwloop.errors import LinkError
from tests.drivers.conftest import SMALL, resource
from tests.drivers.store_trial import StoreTrial

TIMEOUT = 0.3
METHODS = (hwloop.GDP(max_steps=6), hwloop.ProgramVerify(max_steps=4, averages=4))


@pytest.fixture(scope="module", params=METHODS, ids=lambda method: method.name)
def trial(request) -> StoreTrial:
    return StoreTrial(SMALL, request.param, TIMEOUT)


def test_random_faults_at_random_moments(trial):
    """What each run must hold is asserted in the trial; here, that faults did strike and most runs survived them."""
    outcomes = [trial.random(seed, faults=2) for seed in range(3)]
    assert sum(outcome.struck for outcome in outcomes) > 3
    assert sum(outcome.finished for outcome in outcomes) > 0
    assert max(outcome.seconds for outcome in outcomes) < trial.longest_seconds


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9, 1.0])
def test_a_cable_pulled_at_any_moment_leaves_what_was_done_on_file(trial, share):
    """In the first pulses, midway, while the error is measured, and in the last exchange with the chip."""
    outcome = trial.run([], cut_after=round(share * (trial.operations - 1)))
    assert not outcome.finished
    assert outcome.seconds < trial.longest_seconds
    assert trial.last_file["@status"] == "failed"
    assert "the link failed 3 time(s)" in str(trial.last_file["@error"])
    assert trial.last_file["cost@pulses"] > 0
    assert ("tiles/0000/steps/pulses" in trial.last_file) is (share > 0)


def test_a_link_that_cannot_be_opened_leaves_no_file(tmp_path: Path, free_port: int):
    with pytest.raises(LinkError, match="cannot be opened"), hwloop.connect(f"visa:{resource(free_port)}") as chip:
        hwloop.program(chip, np.eye(4), out=tmp_path / "run.h5")
    with pytest.raises(LinkError, match="cannot be opened"):
        hwloop.compare(f"visa:{resource(free_port)}", np.eye(4), ["gdp"], out=tmp_path / "run.h5")
    assert not (tmp_path / "run.h5").exists()
