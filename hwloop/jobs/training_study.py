"""Studies of training in memory: how accurate a network gets as one property of the chip or the transfer changes."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from hwloop.chip.registry import connect
from hwloop.errors import BadInputError
from hwloop.files.output import write_file
from hwloop.jobs.noise import DataLike
from hwloop.jobs.progress import Progress, reporting
from hwloop.jobs.train import TrainingJob, rule_from, train
from hwloop.notebook.card import card
from hwloop.optim.rule import Rule
from hwloop.optim.settings import Training
from hwloop.registry import suggest
from hwloop.typing import FloatArray, Json
from hwloop.units import finite

if TYPE_CHECKING:
    import pandas
    import xarray
    from matplotlib.axes import Axes

OF_CHIP: Mapping[str, str] = {
    "states": "steps from one end of a device's range to the other",
    "up_down": "up step less down step, over the nominal step",
    "symmetry_point_mean": "mean of symmetry points, over half the range",
    "symmetry_point_spread": "spread of symmetry points, over half the range",
    "write_noise": "noise that a pulse leaves, in steps",
    "leak": "time constant of the leak (s)",
    "adc_bits": "bits of output converters",
    "dac_bits": "bits of input converters",
}
"""What may be changed of a simulated chip, an option of its URI each, and what it is."""
OF_PERIPHERY: Mapping[str, str] = {
    "transfer_noise": "error of start weights, over the largest",
    "input_bits": "bits of inputs in use",
    "train_length": "slots of a pulse train",
    "devices": "devices of each weight",
}
"""The same of `Periphery`."""


@dataclass(frozen=True)
class TrainingStudy:
    """Accuracies of trainings that differ in one property and in their seeds.

    Parameters
    ----------
    of
        What was changed, as `OF_CHIP` and `OF_PERIPHERY` call it.
    values
        What it was set to.
    accuracies
        (values, seeds) test accuracy at the end; NaN where a training was not carried out.
    float_accuracy
        Mean of the same networks trained in float; NaN where they were not.
    algorithm, chip
        Which, and the URI without the option.
    """

    of: str
    values: tuple[float, ...]
    accuracies: FloatArray
    float_accuracy: float
    algorithm: str
    chip: str

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw accuracy against what was changed."""
        from hwloop.plot.trainings import accuracy_against

        what = {**OF_CHIP, **OF_PERIPHERY}[self.of]
        return accuracy_against(self.values, self.accuracies, what, self.float_accuracy, ax)

    def to_json(self) -> dict[str, Json]:
        """Give all of it by plain names."""
        return {
            "of": self.of,
            "values": list(self.values),
            "accuracies": [[finite(float(one)) for one in row] for row in self.accuracies],
            "float_accuracy": finite(self.float_accuracy),
            "algorithm": self.algorithm,
            "chip": self.chip,
            "hwloop_version": importlib.metadata.version("hwloop"),
        }

    def to_dataframe(self) -> pandas.DataFrame:
        """Return a pandas table with a row for each training; needs the extra `hwloop[pandas]`."""
        from hwloop.notebook.tables import dataframe

        rows: list[dict[str, Json]] = [
            {self.of: value, "repeat": repeat, "test_accuracy": finite(float(one))}
            for value, row in zip(self.values, self.accuracies, strict=True)
            for repeat, one in enumerate(row)
        ]
        return dataframe(rows)

    def to_xarray(self) -> xarray.Dataset:
        """Return an xarray dataset of the accuracies by value and repeat; needs the extra `hwloop[xarray]`."""
        from hwloop.notebook.tables import About, Variable, dataset

        what = {**OF_CHIP, **OF_PERIPHERY}[self.of]
        found = {"test_accuracy": Variable((self.of, "repeat"), self.accuracies, "1", "share of right answers")}
        at = {self.of: Variable((self.of,), np.array(self.values, np.float64), "1", what)}
        about: About = {"algorithm": self.algorithm, "chip": self.chip, "float_accuracy": self.float_accuracy}
        return dataset(found, at, about)

    def _repr_html_(self) -> str:
        rows = [
            (float(value), float(row.mean()), float(row.min()), float(row.max()))
            for value, row in zip(self.values, self.accuracies, strict=True)
        ]
        told = f"test accuracy by {({**OF_CHIP, **OF_PERIPHERY})[self.of]}"
        return card(f"{self.algorithm} on {self.chip}", told, head=(self.of, "mean", "least", "most"), rows=rows)

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write a JSON file. Raises BadInputError when it exists (without force) or cannot be written."""
        write_file(path, json.dumps(self.to_json(), indent=2).encode(), force=force)

    def __repr__(self) -> str:
        means = ", ".join(
            f"{value:g}: {mean:.4f}" for value, mean in zip(self.values, self.accuracies.mean(1), strict=True)
        )
        return f"<TrainingStudy of {self.of} by {self.algorithm} on {self.chip}: {means}>"


@dataclass(frozen=True)
class StudyPlan:
    """What a study changes, and how often each training is repeated.

    Parameters
    ----------
    chip
        URI of a simulated chip, without a seed.
    of
        One of `OF_CHIP` or `OF_PERIPHERY`.
    values
        What to set it to.
    seeds
        Chips and trainings of each value; 0 to seeds - 1.
    """

    chip: str
    of: str
    values: Sequence[float]
    seeds: int = 3

    def __post_init__(self) -> None:
        known = [*OF_CHIP, *OF_PERIPHERY]
        if self.of not in known:
            raise BadInputError(f"a study of '{self.of}' is not known; {suggest(self.of, known)}")
        if not len(self.values) or not all(math.isfinite(value) for value in self.values) or self.seeds < 1:
            raise BadInputError("a study needs values to set, all of them finite, and one seed at least")


def training_study(
    network: nn.Module,
    data: DataLike,
    plan: StudyPlan,
    algorithm: str | Rule = "agad",
    job: TrainingJob | Training | None = None,
    *,
    progress: Progress = False,
) -> TrainingStudy:
    """Train a network again and again, on simulated chips that differ in one property.

    For example::

        plan = hwloop.StudyPlan("sim:reram-sb", "states", [10, 100, 1000])
        found = hwloop.training_study(net, "data/digits.npz", plan)
        found.plot()

    Parameters
    ----------
    network, data, algorithm, job, progress
        As for `hwloop.train`; the job has no file.
    plan
        What to change, on which chip.

    Raises
    ------
    BadInputError
        For what cannot be changed, and all that `hwloop.train` refuses.
    """
    job = TrainingJob(training=job) if isinstance(job, Training) else job or TrainingJob()
    rule = rule_from(algorithm)
    if job.out is not None:
        raise BadInputError("a study writes no training files; leave out away, and save the study")
    total = len(plan.values) * plan.seeds
    found, digital = np.full((len(plan.values), plan.seeds), np.nan), []
    with reporting(progress, "study") as report:
        for number in range(total):
            k, seed = divmod(number, plan.seeds)
            report(number, total)
            uri, changed = _changed(job, plan, k, seed)
            with connect(uri) as opened:
                result = train(network, data, opened, rule, changed)
            if result.status == "interrupted":
                raise KeyboardInterrupt("the study was stopped; what was trained so far is lost")
            if result.status == "diverged":
                continue
            if not result.test_accuracy:
                raise BadInputError("a study needs test images, and an epoch at least")
            found[k, seed] = result.test_accuracy[-1]
            digital.append(result.float_accuracy)
    return TrainingStudy(plan.of, tuple(plan.values), found, float(np.mean(digital)), rule.name, plan.chip)


def _changed(job: TrainingJob, plan: StudyPlan, k: int, seed: int) -> tuple[str, TrainingJob]:
    """Give chip and job of one training."""
    value, joint = plan.values[k], "&" if "?" in plan.chip else "?"
    uri = f"{plan.chip}{joint}seed={seed}"
    training = dataclasses.replace(job.training, seed=job.training.seed + seed)
    job = dataclasses.replace(job, training=training)
    if plan.of in OF_CHIP:
        return f"{uri}&{plan.of}={value!r}", job
    kind = type(getattr(job.periphery, plan.of))
    if kind(value) != value:
        raise BadInputError(f"{plan.of}={value:g} is no whole number; a study changes it in whole numbers")
    return uri, dataclasses.replace(job, periphery=dataclasses.replace(job.periphery, **{plan.of: kind(value)}))
