"""Trains a network for a chip: with its noise, for the ages at which it shall work."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from hwloop.chip.backend import Backend
from hwloop.errors import BadInputError
from hwloop.files.output import OutputFile, replace_file
from hwloop.files.resume_folder import ResumeFolder
from hwloop.files.safe_file import kept_at, rescued
from hwloop.jobs.noise import ChipLike, DataLike, images_of, name_of, noise_of
from hwloop.jobs.progress import Progress, reporting
from hwloop.jobs.retrain_asked import AskedOfTraining, Epochs
from hwloop.nn.convert import Converted, convert, copied
from hwloop.nn.folding import fold
from hwloop.nn.learnt_ranges import check_weights_path, save_weights, weights_content
from hwloop.nn.noise_aware import NoisyNetwork
from hwloop.nn.noisy_accuracy import Images, right_exactly, right_under_noise
from hwloop.nn.retraining import Course, Retraining, train
from hwloop.nn.stored import StoredModule
from hwloop.notebook.card import card
from hwloop.typing import Json
from hwloop.units import finite

if TYPE_CHECKING:
    import pandas
    import xarray


@dataclass(frozen=True)
class Tried:
    """Accuracy of a network on test images.

    Parameters
    ----------
    digital, noisy
        Computed exactly, and the mean under noise.
    spread
        Standard deviation under noise, from draw to draw; a draw is a chip of its own at an age of its own.
    """

    digital: float
    noisy: float
    spread: float

    @classmethod
    def of(cls, noisy: NoisyNetwork, data: Images, settings: Retraining) -> Tried:
        """Evaluate a network, always under the same noise."""
        right, _ = right_under_noise(noisy, data, settings.test_draws, settings.seed + 2)
        each = right.double().mean(1)
        digital = float(right_exactly(noisy, data).double().mean())
        return cls(digital, float(each.mean()), float(each.std(correction=min(1, len(each) - 1))))

    def to_json(self) -> dict[str, Json]:
        """Give every value by its name."""
        return dataclasses.asdict(self)


EPOCH = {
    "loss": ("nat", "mean training loss"),
    "digital": ("1", "accuracy on held-out images, computed exactly"),
    "noisy": ("1", "mean accuracy on held-out images under noise"),
    "noisy_loss": ("nat", "mean loss of held-out images under noise"),
    "gain": ("nat", "by how much that is lower than at the beginning"),
    "gain_error": ("nat", "standard error of that"),
}
"""Unit and meaning of what an epoch has reached."""


@dataclass(frozen=True, repr=False)
class Retrained:
    """A network that was trained for a chip.

    Parameters
    ----------
    network
        A copy of the network with new weights; parametrisations such as weight norm are folded.
    input_ranges
        Learnt input that is driven fully, by matrix.
    settings
        How it was trained.
    course
        What was reached epoch by epoch on held-out training images; the first entry is the network as it was.
    before, after
        Accuracy on test images; None without any.
    chip
        What it was trained for.
    file
        Weights file; empty for none.
    factory
        MODULE:FACTORY of the network; empty for one that was given as a module.
    """

    network: nn.Module
    input_ranges: Mapping[str, float]
    settings: Retraining
    course: Course
    before: Tried | None
    after: Tried | None
    chip: str
    file: str = ""
    factory: str = ""

    @property
    def status(self) -> str:
        """'complete', 'interrupted', or 'diverged'; the best until then was kept."""
        return self.course.status

    @property
    def accuracy(self) -> list[tuple[float, float]]:
        """Digital accuracy and that under noise on held-out images; one pair an epoch, from the beginning on."""
        return [(epoch.digital, epoch.noisy) for epoch in self.course.epochs]

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write the weights with the learnt ranges in their metadata: a .safetensors file, as `hwloop deploy` takes.

        Raises
        ------
        BadInputError
            For another ending, and a file that exists (without force) or cannot be written.
        """
        save_weights(path, self.network.state_dict(), self.input_ranges, force=force)

    def to_json(self) -> dict[str, Json]:
        """Summarise as the JSON object of `hwloop retrain`."""
        return {
            "chip": self.chip,
            "status": self.status,
            "ages_s": list(self.settings.ages),
            "epochs": [
                {
                    "loss": finite(epoch.loss), "accuracy_digital": epoch.digital, "accuracy_noisy": epoch.noisy,
                    "loss_noisy": finite(epoch.noisy_loss), "gain": epoch.gain, "gain_error": epoch.gain_error,
                }
                for epoch in self.course.epochs
            ],
            "best_epoch": self.course.best,
            "answers": None if self.course.answers is None else self.course.answers.to_json(),
            "test_before": None if self.before is None else self.before.to_json(),
            "test_after": None if self.after is None else self.after.to_json(),
            "input_ranges": dict(self.input_ranges),
            "settings": dataclasses.asdict(self.settings),
            "hwloop_version": importlib.metadata.version("hwloop"),
            "file": self.file or None,
        }  # fmt: skip

    def to_dataframe(self) -> pandas.DataFrame:
        """Return a pandas table with a row for each epoch; needs the extra `hwloop[pandas]`."""
        from hwloop.notebook.tables import dataframe

        rows: list[dict[str, Json]] = [
            {"epoch": number, **dataclasses.asdict(epoch)} for number, epoch in enumerate(self.course.epochs)
        ]
        return dataframe(rows)

    def to_xarray(self) -> xarray.Dataset:
        """Return an xarray dataset by epoch; needs the extra `hwloop[xarray]`."""
        from hwloop.notebook.tables import Variable, dataset

        epochs = self.course.epochs
        found = {
            name: Variable(("epoch",), np.array([getattr(one, name) for one in epochs], np.float64), unit, meaning)
            for name, (unit, meaning) in EPOCH.items()
        }
        number = {"epoch": Variable(("epoch",), np.arange(len(epochs)), "1", "epoch; 0 is the network as it was")}
        return dataset(found, number, {"chip": self.chip, "status": self.status, "best_epoch": self.course.best})

    def _repr_html_(self) -> str:
        rows = [
            (number, one.loss, one.digital, one.noisy, "kept" if number == self.course.best else "")
            for number, one in enumerate(self.course.epochs)
        ]
        return card(repr(self)[1:-1], head=("epoch", "loss", "digital", "under noise", ""), rows=rows)

    def __repr__(self) -> str:
        first, best = (self.course.epochs[k] for k in (0, self.course.best)) if self.course.epochs else (None, None)
        told = f"{first.noisy:.4f} to {best.noisy:.4f}" if first and best else "not reached"
        kind = type(self.network).__name__
        return f"<Retrained {kind} for {self.chip}, {self.status}: held-out accuracy under noise {told}>"


@dataclass(frozen=True)
class Output:
    """Where the weights of a training go.

    Parameters
    ----------
    path, force
        File to write, which must end in .safetensors, and whether it may replace one.
    factory
        MODULE:FACTORY that makes the network, if it has such a name.
    progress
        As of `retrain`.
    """

    path: str | Path
    force: bool = False
    factory: str = ""
    progress: Progress = False


def retrain(
    network: nn.Module,
    data: DataLike,
    chip: ChipLike,
    settings: Retraining | None = None,
    *,
    exclude: Sequence[str] = (),
    progress: Progress = False,
) -> Retrained:
    """Train a trained network on, with the noise of a chip, so that it stays accurate there.

    Parameters
    ----------
    network
        Gives (batch, classes); it stays as it is.
    data
        Labelled data: a data set, its .npz file, or a pair (inputs, labels). Test data decide nothing.
    chip
        An open chip, its URI or `ChipInfo`, or a fitted model of its devices. No chip is used but for what it is.
    settings
        Of the training, such as ``Retraining(epochs=10)``.
    exclude
        Paths of layers that will stay digital, or patterns.
    progress
        True draws a bar; a function is told (done, total) and may raise KeyboardInterrupt to stop.

    Returns
    -------
    Retrained
        Also of a training that was stopped or whose loss became NaN: then with the best that was reached.

    Raises
    ------
    BadInputError
        For data that do not fit the network, and a network without layers for a chip.
    """
    return _trained(network, data, AskedOfTraining(chip, settings or Retraining(), tuple(exclude)), progress)


def retrain_into(
    output: Output,
    network: nn.Module,
    data: DataLike,
    chip: ChipLike,
    settings: Retraining | None = None,
    exclude: Sequence[str] = (),
) -> Retrained:
    """Train as `retrain` does, into a weights file, and keep every epoch, so that `hwloop.resume` can go on.

    Raises
    ------
    BadInputError
        Also for another ending than .safetensors, and a file that exists (without force) or cannot be written.
    """
    asked = AskedOfTraining(chip, settings or Retraining(), tuple(exclude))
    path = check_weights_path(output.path, force=output.force)
    with closing(OutputFile(path, force=output.force)) as file:
        # What cannot be trained leaves nothing behind.
        images_of(data, convert(network, exclude).network, weighted=True)
        epochs = Epochs.begun(file.path, asked, network, data, output.factory)
        return _into_file(network, data, asked, epochs, file, output.progress)


def retrain_again(
    folder: ResumeFolder, chip: Backend | None = None, network: nn.Module | None = None, progress: Progress = False
) -> Retrained:
    """Go on with a training that was stopped or killed, from its last epoch; see `hwloop.resume`."""
    epochs, module = Epochs(folder), StoredModule.again(folder, network)
    asked, data = AskedOfTraining.from_file(folder, chip)
    with closing(OutputFile(folder.out, force=True)) as file:
        return _into_file(module, data, asked, epochs, file, progress)


def _trained(
    network: nn.Module, data: DataLike, asked: AskedOfTraining, progress: Progress, epochs: Epochs | None = None
) -> Retrained:
    """Train; see `retrain`."""
    settings, chip = asked.settings, asked.chip
    converted = convert(network, asked.exclude)
    training, test = images_of(data, converted.network, weighted=True)
    noise = noise_of(chip, settings.ages)
    noise = dataclasses.replace(noise, compensation=settings.compensation, fitted=settings.age or noise.fitted)
    noisy = NoisyNetwork(converted, noise, settings.seed)
    noisy.fit_ranges(training.some(settings.calibration, settings.seed).inputs)
    before = None if test is None else Tried.of(noisy, test, settings)
    with reporting(progress, "retrain") as report:
        course = train(noisy, training, settings, report, epochs)
    after = None if test is None else Tried.of(noisy, test, settings)
    made = _as_before(network, converted)
    return Retrained(made, noisy.input_ranges(), settings, course, before, after, name_of(chip))


def _into_file(
    network: nn.Module,
    data: DataLike,
    asked: AskedOfTraining,
    epochs: Epochs | None,
    file: OutputFile,
    progress: Progress,
) -> Retrained:
    """Train, write the weights, and leave nothing to go on with once all epochs are done."""
    factory, run = (epochs.factory, epochs.run) if epochs is not None else ("", "")
    result = _trained(network, data, asked, progress, epochs)
    content = weights_content(result.network.state_dict(), result.input_ranges, run)
    try:
        file.replace(content)
    except BadInputError as error:
        error.add_note(kept_at(file.path, rescued(file.path, lambda other: replace_file(other, content))))
        raise
    if epochs is not None and result.status != "interrupted":
        epochs.folder.remove()
    return dataclasses.replace(result, file=str(file.path), factory=factory)


def _as_before(network: nn.Module, converted: Converted) -> nn.Module:
    """Make a network of the original's layers with the weights of the converted one."""
    made = copied(network)
    for path in converted.layers:
        fold(made.get_submodule(path))
    made.load_state_dict({name: value.detach() for name, value in converted.network.state_dict().items()})
    return made
