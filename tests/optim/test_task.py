"""What a training was asked for is written into its file, and read back whole."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import h5py
import pytest

from hwloop.errors import BadInputError
from hwloop.nn.in_memory.settings import Periphery
from hwloop.optim.rules import RULES
from hwloop.optim.settings import Training
from hwloop.optim.task import TrainingTask

TASK = TrainingTask(
    network="m:net", dataset="d.npz", backend="sim:x", chip="x 1", rule=RULES["agad"](fast_lr=0.3),
    training=Training(epochs=7, batch=5), periphery=Periphery(input_bits=6), exclude=("head", "norm"),
    weights="w.safetensors", calibration="c.h5", float_accuracy=0.75,
)  # fmt: skip


@pytest.mark.parametrize("task", [TASK, replace(TASK, exclude=(), weights="", calibration="", rule=RULES["ttv2"]())])
def test_a_task_comes_back_as_it_was(tmp_path: Path, task: TrainingTask) -> None:
    with h5py.File(tmp_path / "t.h5", "w") as file:
        task.write(file)
        assert TrainingTask.read(file) == task


def test_an_accuracy_that_is_not_known_stays_unknown(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "t.h5", "w") as file:
        replace(TASK, float_accuracy=math.nan).write(file)
        assert math.isnan(TrainingTask.read(file).float_accuracy)


def test_an_algorithm_of_a_later_hwloop_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "t.h5", "w") as file:
        TASK.write(file)
        file.attrs["algorithm"] = "later"
        with pytest.raises(BadInputError, match=r"t\.h5: its algorithm 'later' is unknown to this hwloop: upgrade it"):
            TrainingTask.read(file)
