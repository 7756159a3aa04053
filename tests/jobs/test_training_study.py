"""Studies of training in memory."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import hwloop
from hwloop.errors import BadInputError
from hwloop.jobs.train import TrainingJob
from hwloop.jobs.training_study import OF_CHIP, StudyPlan
from tests.jobs.test_train import DATA, network

CHIP = "sim:rpu-baseline?rows=16&columns=16"
JOB = hwloop.TrainingJob(hwloop.Training(epochs=1, reference_epochs=1, lr=0.2, batch=20))


@pytest.mark.parametrize("of", ["states", "devices"])
def test_each_value_is_trained_with_each_seed(of: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, asked = hwloop.StudyPlan(CHIP, of, [2, 4], seeds=2), []

    def train(network: object, data: object, chip: hwloop.Backend, rule: object, job: TrainingJob) -> hwloop.Trained:
        value = job.periphery.devices if of == "devices" else int(re.search(r"states=(\d+)", chip.uri)[1])
        asked.append((value, int(re.search(r"seed=(\d+)", chip.uri)[1]), job.training.seed))
        return hwloop.train(network, data, chip, rule, job)

    monkeypatch.setattr("hwloop.jobs.training_study.train", train)
    found = hwloop.training_study(network(), DATA, plan, "sgd", JOB)
    assert asked == [(2, 0, 0), (2, 1, 1), (4, 0, 0), (4, 1, 1)]
    assert found.accuracies.shape == (2, 2)
    assert np.all((found.accuracies > 0) & (found.accuracies <= 1))
    assert found.plot().get_xlabel()
    found.save(tmp_path / "study.json")
    assert json.loads((tmp_path / "study.json").read_text())["values"] == [2, 4]


def test_what_cannot_be_studied_is_refused() -> None:
    with pytest.raises(hwloop.BadInputError, match="a study of 'state' is not known; did you mean 'states'"):
        hwloop.StudyPlan(CHIP, "state", [1.0])
    with pytest.raises(hwloop.BadInputError, match="needs values to set"):
        hwloop.StudyPlan(CHIP, "states", [])


def test_a_study_repeats_each_value_three_times() -> None:
    assert StudyPlan("sim:x", next(iter(OF_CHIP)), [1.0]).seeds == 3
    assert StudyPlan("sim:x", next(iter(OF_CHIP)), [1.0], seeds=1).seeds == 1
    with pytest.raises(BadInputError, match="one seed at least"):
        StudyPlan("sim:x", next(iter(OF_CHIP)), [1.0], seeds=0)
