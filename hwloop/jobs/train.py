"""Trains a network in memory: forward, backward and updates go through the devices of a chip."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import torch
from torch import nn

from hwloop.calibration.certificate.certificate import Calibration
from hwloop.calibration.steps import Step, exhaust
from hwloop.chip.backend import Backend
from hwloop.chip.info import Capability
from hwloop.chip.opened import takes_open_chips
from hwloop.chip.registry import connect_recorded
from hwloop.errors import BadInputError, first_line
from hwloop.files import hdf5
from hwloop.files.hdf5 import TRAINING_FORMAT
from hwloop.files.output import OutputFile
from hwloop.files.reading import whole
from hwloop.jobs.exclusive import exclusive
from hwloop.jobs.inputs import UsedCalibration, calibration_in_use
from hwloop.jobs.noise import DataLike, images_of, network_of
from hwloop.jobs.progress import Progress, Report, phase, reporting
from hwloop.jobs.recorders import growing_file
from hwloop.jobs.trained import Trained
from hwloop.nn.accuracy import accuracy_of
from hwloop.nn.convert import convert, copied
from hwloop.nn.factory import network_from, zoo_network
from hwloop.nn.in_memory.array import devices_of
from hwloop.nn.in_memory.network import AnalogNetwork
from hwloop.nn.in_memory.settings import Periphery
from hwloop.nn.noisy_accuracy import Images
from hwloop.optim.optimizer import OPTIMIZERS, AnalogOptimizer
from hwloop.optim.rule import Rule
from hwloop.optim.settings import Training
from hwloop.optim.task import TrainingTask, read_curves
from hwloop.optim.training import TrainingWork, part, train_in_float
from hwloop.optim.training_file import (
    TrainingRecorder,
    read_chip_state,
    read_images,
    read_optimizer,
    read_parameters,
    read_position,
)
from hwloop.registry import suggest

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class TrainingJob:
    """Everything about a training that rarely needs to be said in Python.

    Parameters
    ----------
    training
        Epochs, rates, batches, seed.
    periphery
        What converters and pulse generators do, and how many devices hold a weight.
    exclude
        Paths of layers that stay digital, or patterns.
    calibration
        Whose symmetry points are the reference, an object or its file; None: the chip's own reference.
    network, dataset, weights
        What the file calls them: MODULE:FACTORY, and files.
    out, force
        Training file that grows as the job goes, and whether it may replace one.
    """

    training: Training = field(default_factory=Training)
    periphery: Periphery = field(default_factory=Periphery)
    exclude: Sequence[str] = ()
    calibration: Calibration | UsedCalibration | str | Path | None = None
    network: str = ""
    dataset: str = ""
    weights: str = ""
    out: str | Path | None = None
    force: bool = False

    def task(self, chip: Backend, rule: Rule, calibration: str, float_accuracy: float) -> TrainingTask:
        """Tell what is asked for, for its file."""
        return TrainingTask(
            network=self.network,
            dataset=self.dataset,
            backend=chip.uri,
            chip=chip.info.summary,
            rule=rule,
            training=self.training,
            periphery=self.periphery,
            exclude=tuple(self.exclude),
            weights=self.weights,
            calibration=calibration,
            float_accuracy=float_accuracy,
        )

    def make_network(self) -> nn.Module:
        """Make the network that is named, with the weights that are named, or with such as the seed draws.

        Raises BadInputError for what is not there or does not fit together.
        """
        if self.weights:
            return network_of(self.network, self.weights)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.training.seed)
            return network_from(self.network)


def rule_from(algorithm: str | Rule, settings: Mapping[str, str] | None = None) -> Rule:
    """Take an algorithm as it is, or by its name with settings as texts. Raises BadInputError for an unknown one."""
    if isinstance(algorithm, Rule):
        return algorithm
    if algorithm not in OPTIMIZERS:
        raise BadInputError(f"no algorithm '{algorithm}' trains in memory; {suggest(str(algorithm), list(OPTIMIZERS))}")
    return OPTIMIZERS[algorithm].kind.parse(settings or {})


@exclusive
def train(
    network: nn.Module,
    data: DataLike,
    chip: Backend,
    algorithm: str | Rule = "agad",
    job: TrainingJob | Training | None = None,
    *,
    progress: Progress = False,
) -> Trained:
    """Train a network on the devices of a chip.

    Parameters
    ----------
    network
        Any torch module that gives (batch, classes); it stays as it is, and its weights are those to begin with.
    data
        Labelled data: a data set, its .npz file, arrays by name, or a pair (inputs, labels). Test data decide nothing.
    chip
        An open chip of devices that step up and down, such as ``hwloop.connect("sim:reram-sb?seed=1")``.
    algorithm
        'sgd', 'tiki-taka', 'ttv2', 'c-ttv2', 'agad', 'shd', 'mixed-precision', or one with settings of its own, such as
        ``hwloop.optim.AGADRule(chop_period=100)``.
    job
        Settings of the training, such as ``hwloop.Training(epochs=10)``, or all else as well.
    progress
        True draws a bar; a function is told (done, total) and may raise KeyboardInterrupt to stop at a batch.

    Returns
    -------
    Trained
        Also of a training that was stopped, or whose loss became NaN: then as far as it went. A file is gone on with by
        `hwloop.resume`.

    Raises
    ------
    MissingCapabilityError
        For a chip that cannot update.
    BadInputError
        For data that do not fit the network, one without layers for a chip, and one that does not fit on it.
    """
    job = TrainingJob(training=job) if isinstance(job, Training) else job or TrainingJob()
    rule = rule_from(algorithm)
    devices_of(chip)
    if job.out is not None:
        hdf5.check_writable(job.out, force=job.force)
    used, converted = calibration_in_use(job.calibration, chip), convert(network, job.exclude)
    images, test = images_of(data, network)
    training, held_out = part(images, job.training)
    with reporting(progress, "train") as report:
        float_accuracy = _in_float(network, training, test, job.training, report)
        net = AnalogNetwork(converted, chip, job.periphery, job.training.seed, used.calibration if used else None)
        net.test = None if test is None else (test.inputs, test.labels)
        optimizer = _optimizer(net, rule, job.training)
        task = job.task(chip, rule, used.name if used else "", float_accuracy)
        work = TrainingWork(net, optimizer, training, held_out, test, job.training)
        phase(report, "start weights")
        net.write_weights()  # at the cost of the training
        with growing_file(job.out, TRAINING_FORMAT, force=job.force) as writer:
            return _carry_out(work, task, writer, report)


@exclusive
def train_again(
    path: str | Path, chip: Backend | None, network: nn.Module | None = None, progress: Progress = False
) -> Trained:
    """Go on with a training from its file; see `hwloop.resume`.

    Parameters
    ----------
    path
        Training file.
    chip
        The open chip; None for the simulated preset that the file names.
    network
        A module of the class that was trained; None for one of `hwloop.nn.zoo`.
    progress
        As for `train`.

    Raises
    ------
    BadInputError
        For a training that is complete, and for another chip or network than its own.
    """
    with hdf5.open_file(path, TRAINING_FORMAT) as file, whole(path, "training file", "train anew"):
        if str(file.attrs["status"]) == "complete":
            raise BadInputError(f"{path} is complete: there is nothing to go on with")
    with (
        reporting(progress, "train") as report,
        closing(OutputFile.going_on(path)) as output,
        hdf5.WholeFileWriter(output, TRAINING_FORMAT) as writer,
        ExitStack() as opened,
    ):
        with hdf5.open_file(path, TRAINING_FORMAT) as file, whole(path, "training file", "train anew"):
            for name in file:
                file.copy(name, writer.file)
            writer.file.attrs.update(file.attrs)
        with whole(path, "training file", "train anew"):
            work, task = _reopened(writer.file, str(path), chip, network, opened)
        done = _carry_out(work, task, writer, report)
        opened.pop_all()  # what is given back goes on using the chip
        return done


@takes_open_chips
def open_trained(path: str | Path, chip: Backend | None = None, network: nn.Module | None = None) -> AnalogNetwork:
    """Open the network of a training file, with its simulated chip as it was left, or a real one as it is now.

    Parameters
    ----------
    path
        Training file.
    chip
        The open chip; None for the simulated preset that the file names.
    network
        A module of the class that was trained; None for one of `hwloop.nn.zoo`.

    Raises
    ------
    BadInputError
        For a file that is no whole training, and for another chip or network than its own.
    """
    with hdf5.open_file(path, TRAINING_FORMAT) as file, whole(path, "training file", "train anew"), ExitStack() as left:
        net = _reopened(file, str(path), chip, network, left)[0].net
        left.pop_all()
        return net


# ---- the parts ------------------------------------------------------------------------------------------------------


def _in_float(network: nn.Module, images: Images, test: Images | None, settings: Training, report: Report) -> float:
    """Train a copy of the network in float, and return its accuracy on the test images; NaN without."""
    if test is None or not settings.reference_epochs or not settings.epochs:
        return math.nan
    made = copied(network)
    for done, total in train_in_float(made, images, settings):
        phase(report, f"in float, to compare with: {done / total:.0%}")
        report(0, total)  # the bar, and the time that is left, are those of what follows
    return accuracy_of(made, (test.inputs, test.labels)).value


def _optimizer(net: AnalogNetwork, rule: Rule, training: Training) -> AnalogOptimizer:
    return OPTIMIZERS[rule.name](net, training.lr or None, rule, training.digital_lr)


def _reopened(
    file: h5py.File, path: str, chip: Backend | None, network: nn.Module | None, opened: ExitStack
) -> tuple[TrainingWork, TrainingTask]:
    """Make a training again as its file has it, on its chip, which `opened` is to close if it was opened here."""
    task = TrainingTask.read(file)
    if network is None:
        if not task.network:
            raise BadInputError(f"{path}: the network was given as a module; hand one of its class over again")
        network = zoo_network(task.network)
    chip = opened.enter_context(connect_recorded(task.backend, path)) if chip is None else chip
    if chip.info.summary != task.chip:
        raise BadInputError(f"{path} was trained on {task.chip}; {chip.info.summary} is another chip")
    net = AnalogNetwork(convert(network, task.exclude), chip, task.periphery, task.training.seed)
    optimizer = _optimizer(net, task.rule, task.training)
    try:
        net.network.load_state_dict(read_parameters(file))
    except RuntimeError as error:
        raise BadInputError(f"{path} holds another network than the one given: {first_line(error)}") from None
    state = read_chip_state(file)
    if state is not None and Capability.STATE in chip.info.capabilities:
        chip.import_state(state)
    read_optimizer(file, optimizer)
    images = read_images(file)
    training, test = images["training"], images["test"]
    net.test = None if test is None else (test.inputs, test.labels)
    assert training is not None
    work = TrainingWork(net, optimizer, training, images["held_out"], test, task.training)
    work.curves, work.position = read_curves(file), read_position(file)
    work.seconds = float(file.attrs["wall_seconds"])
    return work, task


def _carry_out(work: TrainingWork, task: TrainingTask, writer: hdf5.WholeFileWriter | None, report: Report) -> Trained:
    """Train to the end, or until it is stopped, and keep all that was done on file."""
    recorder = None
    if writer is not None:
        data = {"training": work.images, "held_out": work.held_out, "test": work.test}
        recorder = TrainingRecorder(writer, task, data)

    whole_batches = False  # what is done in the middle of a batch is not kept: it could not be gone on with

    def watch(step: Step) -> None:
        nonlocal whole_batches
        whole_batches = True
        if recorder is not None and recorder.due:
            recorder.commit(work, "running")
        phase(report, f"{step.stage} of {work.settings.epochs}")
        report(step.done, step.total)
        whole_batches = False

    try:
        exhaust(work.steps(), watch)
    except KeyboardInterrupt:
        work.status = "interrupted"
    except Exception as error:
        if recorder is not None:
            if whole_batches:
                recorder.commit(work, "failed")
            error.add_note(f"what was done until then is in {recorder.path}")
        raise
    if work.status != "interrupted":  # reading would move on the noise of a chip that is to go on as if not stopped
        work.weights = work.net.read_weights()
    work.end()
    if recorder is not None and (whole_batches or work.status != "interrupted"):
        recorder.commit(work, work.status)
    return Trained(
        task, work.curves, work.status, work.weights, work.pulses_per_device, work.saturated, work.wall_seconds,
        work.net, str(recorder.path) if recorder is not None else "",
    )  # fmt: skip
