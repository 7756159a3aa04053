"""Puts a whole network on a chip: converts it, programs its matrices, fits ranges and columns to its activations."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn

from hwloop.calibration.certificate.certificate import Calibration
from hwloop.calibration.programming.base import Method
from hwloop.calibration.programming.registry import method_from
from hwloop.chip.backend import Backend
from hwloop.chip.info import Capability
from hwloop.errors import BadInputError, ChipError
from hwloop.files import hdf5
from hwloop.files.activations import activations_of
from hwloop.files.resume_folder import ResumeFolder
from hwloop.files.runs import RunRecord
from hwloop.jobs.deploy_asked import AskedOfNetwork, DataOfNetwork
from hwloop.jobs.exclusive import exclusive
from hwloop.jobs.inputs import UsedCalibration, Weights, calibration_from, seconds
from hwloop.jobs.program import Task, carry_out
from hwloop.jobs.progress import Progress, reporting
from hwloop.jobs.recorders import Recorder, growing_file
from hwloop.jobs.recording import Recording, recorded, replayed
from hwloop.mapping.activations import Sample
from hwloop.mapping.matrix import Matrix
from hwloop.mapping.sharing import MappingSettings
from hwloop.nn.accuracy import Accuracy, DeployedAccuracy, accuracy_of
from hwloop.nn.activations import Activations, record_activations, repeated
from hwloop.nn.convert import Converted, Rule, convert
from hwloop.nn.network import DeployedNetwork, OpenRun
from hwloop.nn.network_file import RUN_GROUP, check_calibration, write_network
from hwloop.nn.placement import PlacedMatrix, check_fit, cores_needed, place
from hwloop.nn.settings import NetworkNames, NetworkSettings
from hwloop.nn.stored import StoredModule
from hwloop.nn.streaming import StreamedNetwork, passes_of
from hwloop.typing import FloatArray


@dataclass(frozen=True)
class Deployment:
    """Everything about how a network is deployed that rarely needs to be said.

    Parameters
    ----------
    calibration
        Of this very chip, an object or its file.
    mapping
        How weights become conductances.
    network
        Ranges of the converters, and what copies of layers are for.
    replicas
        Copies of the matrices of a layer, by its path or a pattern.
    conversions
        Rules for further kinds of layer.
    input_ranges
        Inputs that drive converters fully, by matrix, as `hwloop.retrain` learns them; others are chosen.
    activations
        Activations by matrix, or their file or coreset, to which ranges and columns are fitted instead of those that
        the calibration data give; matrices that it does not have keep those.
    test
        Inputs and labels on which the network is to be tested; its file keeps them.
    age
        Seconds, or '1h', after programming at which targets hold; None: the chip's own.
    seed
        Of all random numbers.
    names
        What its file calls the network, weights and data, so that one of the zoo opens by itself.
    passes
        Stream a network that does not fit through the chip, which is programmed anew for each part.
    errors
        Measure the MVM error of every tile; a network that is only asked for answers does without, and 'predictive'
        then knows of drift and read noise alone. Files have them.
    out, force
        Network file that grows as the job goes, and whether it may replace one.
    progress
        True draws a bar; a function is told (done, total) and may raise KeyboardInterrupt to stop at a step.
    """

    calibration: Calibration | UsedCalibration | str | Path | None = None
    mapping: MappingSettings = field(default_factory=MappingSettings)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    replicas: Mapping[str, int] = field(default_factory=dict)
    conversions: Mapping[type[nn.Module], Rule] = field(default_factory=dict)
    input_ranges: Mapping[str, float] = field(default_factory=dict)
    activations: Mapping[str, FloatArray | Sample] | str | Path | None = None
    test: tuple[ArrayLike | torch.Tensor, ArrayLike | torch.Tensor] | None = None
    age: str | float | None = None
    seed: int = 0
    names: NetworkNames = field(default_factory=NetworkNames)
    passes: bool = False
    errors: bool = True
    out: str | Path | None = None
    force: bool = False
    progress: Progress = False


@exclusive
def deploy(
    network: nn.Module,
    chip: Backend,
    calibration_data: ArrayLike | torch.Tensor | Sample,
    method: str | Method = "gdp",
    *,
    exclude: Sequence[str] = (),
    settings: Deployment | None = None,
) -> DeployedNetwork | StreamedNetwork:
    """Put a trained network on a chip.

    Parameters
    ----------
    network
        Any torch module; it stays as it is.
    chip
        An open chip, from `hwloop.connect`.
    calibration_data
        Inputs from the training data, as the network takes them: ranges, columns and batch statistics come from them.
        Weighted ones are a `Sample`, such as that of a coreset of the data.
    method
        Name of a programming method with default settings, or a method such as ``GDP(max_steps=30)``.
    exclude
        Paths of layers that stay digital, or patterns.
    settings
        All else.

    Returns
    -------
    DeployedNetwork
        A module with the network's own inputs and outputs; it `age`s, is `compensate`d, tells its `accuracy`. One that
        is streamed in passes is a `StreamedNetwork`.

    Raises
    ------
    BadInputError, MissingCapabilityError
        For a network, data or settings that cannot be used, before anything is sent to the chip.
    ChipError
        When the chip or its link fails; with `out`, all that was done until then is on file.
    KeyboardInterrupt
        When it was stopped; with `out`, what was done is on file.
    """
    settings = settings or Deployment()
    plan = Plan.of(network, chip, calibration_data, exclude, settings)
    chosen = method_from(method) if isinstance(method, str) else method
    names = replace(settings.names, exclude=tuple(exclude), replicas=settings.replicas)
    return plan.put_on(chip, chosen, names)


@exclusive
def deploy_again(
    folder: ResumeFolder, chip: Backend, network: nn.Module | None = None, progress: Progress = False
) -> DeployedNetwork:
    """Go on with a deployment that was stopped or killed; see `hwloop.resume`."""
    asked, data = AskedOfNetwork.from_file(folder)
    settings = Deployment(
        calibration=asked.calibration,
        mapping=asked.mapping,
        network=asked.network,
        replicas=asked.names.replicas,
        input_ranges=asked.input_ranges,
        test=data.test,
        activations=data.samples or None,
        age=asked.age,
        seed=asked.seed,
        out=folder.out,
        force=True,
        progress=progress,
    )
    module = StoredModule.again(folder, network)
    inputs = data.inputs if data.weights is None else Sample(data.inputs.numpy(), data.weights.numpy())
    plan = Plan.of(module, chip, inputs, asked.names.exclude, settings)
    return replace(plan, left=folder, run=asked.run).carry_out(chip, asked.method, asked.names)


def plan_of(converted: Converted, chip: Backend, settings: Deployment) -> list[PlacedMatrix]:
    """Decide what goes where, from shapes alone. Raises BadInputError, MissingCapabilityError for what cannot go."""
    chip.require(Capability.MVM, "a network on a chip")
    for name, value in settings.input_ranges.items():
        if not np.finfo(np.float32).tiny <= value <= np.finfo(np.float32).max:
            raise BadInputError(
                f"input_ranges: '{name}' has {value:g}; expected what drives a converter fully, above 0"
            )
    placed = place(converted, chip.info, settings.replicas)
    if not settings.passes:
        check_fit(placed, chip.info)
    return placed


@dataclass(frozen=True)
class Plan:
    """A network that is known to fit a chip, with what its matrices will be given.

    Parameters
    ----------
    converted, placed
        The network and where its matrices go.
    inputs, weights
        Calibration inputs, and how many each stands for; None: itself.
    test
        Labelled test data; None without any.
    settings
        How it is deployed.
    origin
        The network as it was given.
    left
        What an earlier process has left of this deployment; None for a new one.
    run
        What tells the deployment from every other.
    """

    converted: Converted
    placed: Sequence[PlacedMatrix]
    inputs: torch.Tensor
    test: tuple[torch.Tensor, torch.Tensor] | None
    settings: Deployment
    origin: nn.Module
    weights: torch.Tensor | None = None
    left: ResumeFolder | None = None
    run: str = field(default_factory=lambda: uuid.uuid4().hex)

    @classmethod
    def of(
        cls,
        network: nn.Module,
        chip: Backend,
        inputs: ArrayLike | torch.Tensor | Sample,
        exclude: Sequence[str],
        settings: Deployment,
    ) -> Plan:
        """Check the network against the chip from shapes alone. Raises BadInputError, MissingCapabilityError."""
        converted = convert(network, exclude, settings.conversions)
        placed = plan_of(converted, chip, settings)
        test = settings.test
        labelled = None if test is None else (_tensor("test inputs", test[0]), _tensor("test labels", test[1]))
        converted.network.eval()
        weights = inputs.weights if isinstance(inputs, Sample) else None
        given = _tensor("calibration data", inputs.vectors if isinstance(inputs, Sample) else inputs)
        counted = None if weights is None else torch.from_numpy(weights)
        return cls(converted, placed, given, labelled, settings, network, counted)

    def put_on(self, chip: Backend, method: Method, names: NetworkNames) -> DeployedNetwork | StreamedNetwork:
        """Program the network whole where it fits, else stream it, as the settings allow."""
        if cores_needed(self.placed, chip.info) > chip.info.cores:
            return self.stream(chip, method, names)
        return self.carry_out(chip, method, names)

    def carry_out(self, chip: Backend, method: Method, names: NetworkNames) -> DeployedNetwork:
        """Program the network and fit it; `names` say what its file shall tell of its origin."""
        settings, converted = self.settings, self.converted
        used = calibration_from(settings.calibration)
        if settings.out is not None and used is not None:
            check_calibration(used.calibration, used.name)
        seen = self._activations()
        digital = None if self.test is None else accuracy_of(converted.network, self.test)
        task = self._task([tensor for matrix in self.placed for tensor in matrix.tensors()], method, names)
        with (
            reporting(settings.progress, f"{method.name:>9}") as report,
            growing_file(settings.out, hdf5.NETWORK_FORMAT, force=settings.force) as file,
            self._recording(task, chip, names) as recording,
        ):
            recorder = None
            if file is not None:
                replaying = _never if recording is None else lambda: recording.replaying
                recorder = Recorder(file, file.file.create_group(RUN_GROUP), replaying)
            record = carry_out(task, chip, recorder, report, str(settings.out or "")).record
            open_run = OpenRun(_complete(record), chip, task.calibration.calibration if task.calibration else None)
            deployed = DeployedNetwork(converted, self.placed, open_run, self.inputs, settings.network, self.test)
            deployed.input_weights = self.weights
            self._fit(deployed, seen, names, digital)
            if file is not None:
                write_network(file.file, deployed)  # the run has the chip's state
                file.commit_somewhere()
            if recording is not None:
                recording.complete()
        return deployed

    def _fit(self, deployed: DeployedNetwork, seen: Activations, names: NetworkNames, digital: Accuracy | None) -> None:
        """Fit a network that is programmed to its activations, and test it."""
        try:
            deployed.fit(seen.samples, seen.learnt)
            deployed.digital, deployed.names = (*deployed.digital, *seen.around), names
            if digital is not None:
                deployed.tested = DeployedAccuracy(deployed.accuracy(), digital, deployed.seconds_after_programming)
        except (ChipError, KeyboardInterrupt) as error:
            if self._resumable:
                error.add_note(f"hwloop resume {self.settings.out} goes on")
            elif self.settings.out is not None:
                error.add_note("conversions of your own are code, which no file holds: deploy the network again")
            raise

    @property
    def _resumable(self) -> bool:
        """Whether all that was asked for can be kept on file: rules for further layers are code."""
        return self.settings.out is not None and not self.settings.conversions

    @contextmanager
    def _recording(self, task: Task, chip: Backend, names: NetworkNames) -> Iterator[Recording | None]:
        """Keep what the chip answers, or go on with what is kept; None where nothing is."""
        settings = self.settings
        if self.left is not None:
            with replayed(self.left, chip) as recording:
                yield recording
        elif settings.out is None or not self._resumable:
            yield None
        else:
            given = DataOfNetwork(self.inputs, self.test, self.weights, self._given())
            asked = AskedOfNetwork(
                method=task.method,
                names=names,
                mapping=settings.mapping,
                network=settings.network,
                input_ranges=settings.input_ranges,
                age=task.age,
                seed=settings.seed,
                calibration=task.calibration,
                run=task.run,
            )
            with recorded(settings.out, chip, asked.on_file(self.origin, given)) as recording:
                yield recording

    def stream(self, chip: Backend, method: Method, names: NetworkNames) -> StreamedNetwork:
        """Prepare the network to go through the chip in passes.

        Raises
        ------
        BadInputError
            For a matrix that is larger than the chip, and for a file, since the chip never holds the network whole.
        """
        settings, converted = self.settings, self.converted
        if settings.out is not None:
            raise BadInputError("a network that is streamed in passes is never whole on the chip: it has no file")
        seen = self._activations()
        passes = passes_of(self.placed, list(seen.samples), chip.info)

        def program(matrices: Sequence[Matrix]) -> OpenRun:
            task = self._task(matrices, method, names)
            with reporting(settings.progress, f"{method.name:>9}") as report:
                record = _complete(carry_out(task, chip, report=report).record)
            return OpenRun(record, chip, task.calibration.calibration if task.calibration else None)

        digital = None if self.test is None else accuracy_of(converted.network, self.test)
        streamed = StreamedNetwork(converted, passes, seen, chip, program, settings.network)
        if self.test is not None and digital is not None:
            age = chip.info.reference_age if settings.age is None else seconds(settings.age)
            streamed.tested = DeployedAccuracy(streamed.accuracy(self.test), digital, age)
        return streamed

    def _activations(self) -> Activations:
        """Run the calibration inputs through the digital network."""
        asked = self.settings
        inputs = self.inputs if self.weights is None else repeated(self.inputs, self.weights)
        seen = record_activations(self.converted, self.placed, inputs, asked.network, asked.seed)
        return replace(seen, samples={**seen.samples, **self._given()}, learnt=asked.input_ranges)

    def _given(self) -> dict[str, Sample]:
        """Give the activations that were given by matrix. Raises BadInputError for those that are of no matrix."""
        sizes = {matrix.name: matrix.shape[0] * matrix.shape[1] for matrix in self.placed}
        return activations_of(self.settings.activations, sizes) or {}

    def _task(self, matrices: Sequence[Matrix], method: Method, names: NetworkNames) -> Task:
        """Make the programming task of matrices."""
        settings, network = self.settings, self.converted.network
        name = names.weights or type(network).__name__
        return Task(
            weights=Weights(name, names.weights_sha256 or _fingerprint(network), tuple(matrices)),
            method=method,
            mapping=settings.mapping,
            age=None if settings.age is None else seconds(settings.age),
            seed=settings.seed,
            calibration=calibration_from(settings.calibration),
            run=self.run,
            errors=settings.errors or settings.out is not None,
        )


def _never() -> bool:
    return False


def _complete(record: RunRecord) -> RunRecord:
    """Return a complete run. Raises KeyboardInterrupt for one that was stopped, and says how to go on."""
    if record.status != "complete":
        raise KeyboardInterrupt(*([f"hwloop resume {record.name} goes on"] if record.name else []))
    return record


def _tensor(name: str, given: ArrayLike | torch.Tensor) -> torch.Tensor:
    """Take data as a tensor. Raises BadInputError for none, and for what is no number; `name` says what they are."""
    try:
        data = torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise BadInputError(f"the {name} are no array: {error}") from None
    if not data.dim() or not len(data):
        raise BadInputError(f"the {name} are empty")
    if data.is_floating_point() and not bool(torch.isfinite(data).all()):
        raise BadInputError(f"the {name} contain NaN or infinity")
    return data


def _fingerprint(network: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, values in network.state_dict().items():
        digest.update(name.encode())
        if isinstance(values, torch.Tensor):  # state of a module's own may be anything
            digest.update(values.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
