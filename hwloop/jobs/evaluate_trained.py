"""Measures how accurate a trained network is on its chip, now and as the chip ages."""

from __future__ import annotations

import importlib.metadata
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from hwloop.calibration.steps import rest
from hwloop.chip.backend import Backend
from hwloop.durations import format_duration
from hwloop.errors import BadInputError
from hwloop.jobs.exclusive import exclusive
from hwloop.jobs.inputs import seconds
from hwloop.jobs.train import open_trained
from hwloop.jobs.trained import read_training
from hwloop.nn.accuracy import Accuracy, Batches
from hwloop.typing import Json


@dataclass(frozen=True)
class TrainedEvaluation:
    """Accuracy of a trained network on its chip at several ages.

    Parameters
    ----------
    file, backend
        The training, and the chip.
    ages
        Seconds after the end of the training.
    accuracies
        One for each.
    at_end
        Test accuracy after the last epoch; None without test images.
    """

    file: str
    backend: str
    ages: tuple[float, ...]
    accuracies: tuple[Accuracy, ...]
    at_end: float | None

    def to_json(self) -> dict[str, Json]:
        """Summarise as the JSON object of `hwloop evaluate` of a training."""
        return {
            "training": self.file,
            "backend": self.backend,
            "ages_s": list(self.ages),
            "accuracy": [one.value for one in self.accuracies],
            "accuracy_interval": [list(one.interval) for one in self.accuracies],
            "images": self.accuracies[0].total,
            "accuracy_at_end": self.at_end,
            "hwloop_version": importlib.metadata.version("hwloop"),
        }

    def __repr__(self) -> str:
        told = ", ".join(
            f"{one!r} after {format_duration(age)}" for age, one in zip(self.ages, self.accuracies, strict=True)
        )
        return f"<TrainedEvaluation on {self.backend}: {told}>"


@exclusive
def evaluate_trained(
    path: str | Path,
    chip: Backend | None = None,
    times: Sequence[str | float] = (0.0,),
    *,
    network: nn.Module | None = None,
    data: Batches | None = None,
) -> TrainedEvaluation:
    """Measure the accuracy of a trained network now, and at ages that a simulated chip reaches at once.

    Parameters
    ----------
    path
        Training file.
    chip
        The open chip; None for the simulated preset that the file names, as the training left it.
    times
        Ages, counted from the end of the training, rising: seconds, or texts such as '1d'.
    network
        A module of the class that was trained; None for one of `hwloop.nn.zoo`.
    data
        Inputs and labels; None for the test images of the training.

    Raises
    ------
    BadInputError
        For a training without test images where no data are given, and times that do not rise.
    """
    ages = [seconds(time) for time in times]
    if not ages or ages[0] < 0 or any(later < earlier for earlier, later in itertools.pairwise(ages)):
        raise BadInputError("times must be ages from zero on, each later than the one before")
    result, net = read_training(path), open_trained(path, chip, network)
    try:
        data = net.test if data is None else data
        if data is None:
            raise BadInputError(f"{path} has no test images; give inputs and labels")
        began, found = net.chip.now(), []
        for age in ages:
            rest(net.chip, max(began + age - net.chip.now(), 0.0))
            found.append(net.accuracy(data))
        reached = result.test_accuracy[-1] if result.test_accuracy else None
        return TrainedEvaluation(str(path), net.chip.uri, tuple(ages), tuple(found), reached)
    finally:
        if chip is None:
            net.chip.close()
