"""Programming into a run file behind a faulty link: the whole file, or a typed error and all that was done on file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hwloop.errors import LinkError
from hwloop.jobs.tasks import Task, program_to_file
from tests.drivers.conftest import SMALL, resource
from tests.drivers.store_trial import StoreTrial

TIMEOUT = 0.3
METHODS = {"gdp": {"max_steps": "6"}, "iterative": {"max_steps": "4", "averages": "4"}}


@pytest.fixture(scope="module", params=METHODS)
def trial(request) -> StoreTrial:
    return StoreTrial(SMALL, request.param, METHODS[request.param], TIMEOUT)


def test_random_faults_at_random_moments(trial):
    """What each run must hold is asserted in the trial; here, that faults did strike and most runs survived them."""
    outcomes = [trial.random(seed, faults=2) for seed in range(10)]
    assert sum(outcome.struck for outcome in outcomes) > 12
    assert sum(outcome.finished for outcome in outcomes) > 5
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
    np.save(tmp_path / "w.npy", np.eye(4))
    with pytest.raises(LinkError, match="cannot be opened"):
        program_to_file(Task(str(tmp_path / "w.npy"), f"visa:{resource(free_port)}"), "gdp", tmp_path / "run.h5")
    assert not (tmp_path / "run.h5").exists()
