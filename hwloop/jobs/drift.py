"""Lets the chip of a run age and evaluates compensations at several ages."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from torch import nn

from hwloop.calibration.certificate.certificate import Calibration
from hwloop.calibration.drift.monitor import Crossing
from hwloop.calibration.drift.outcome import CompensationOutcome
from hwloop.calibration.drift.registry import compensation_from
from hwloop.calibration.drift.strategy import Probing, Strategy
from hwloop.calibration.drift.study import DriftStudy
from hwloop.calibration.drift.study_file import ACCURACIES, DriftRecorder
from hwloop.chip.backend import Backend
from hwloop.devices.drift import DriftModel
from hwloop.durations import format_duration
from hwloop.errors import BadInputError
from hwloop.files import hdf5
from hwloop.files.fitted_devices import drift_model
from hwloop.files.model_file import load_model
from hwloop.files.models import Model
from hwloop.files.resume_folder import ResumeFolder
from hwloop.jobs.drift_asked import Asked, NetworkFile
from hwloop.jobs.drift_result import Course, DriftResult
from hwloop.jobs.evaluate import calibration_name, load_run
from hwloop.jobs.exclusive import exclusive
from hwloop.jobs.inputs import UsedCalibration, calibration_from, seconds
from hwloop.jobs.network import is_network, load_network, run_of
from hwloop.jobs.progress import Progress, Report, phase, reporting
from hwloop.jobs.recorders import growing_file
from hwloop.jobs.recording import Recording, recorded, replayed
from hwloop.jobs.run import Run
from hwloop.nn.accuracy import Batches, as_one
from hwloop.nn.batch_norm import adapts_batch_norm
from hwloop.nn.network import DeployedNetwork
from hwloop.typing import FloatArray

LIMIT = 0.15
"""Relative MVM error whose passing is predicted unless another is asked for."""
DEFAULT = ("none", "global", "column", "predictive")
"""Compensations that pulse no cell: what is done to them can be undone on any chip."""


@exclusive
def drift(
    run: Run | DeployedNetwork | NetworkFile | str | Path,
    chip: Backend | None = None,
    times: Sequence[str | float] = ("1s", "1h", "1d", "30d", "1y"),
    compensations: Sequence[str | Strategy] = DEFAULT,
    *,
    calibration: Calibration | UsedCalibration | str | Path | None = None,
    model: Model | str | Path | None = None,
    data: Batches | None = None,
    limit: float = LIMIT,
    probes: int = Probing.probes,
    seed: int = 1,
    out: str | Path | None = None,
    force: bool = False,
    progress: Progress = False,
) -> DriftResult:
    """Let a chip age and measure its MVM error, of a network the accuracy as well, with each compensation.

    Parameters
    ----------
    run
        A complete run, a deployed network, the file of one, or a `NetworkFile`.
    chip
        The open chip that holds it; None for the one that the run knows, or the simulated preset of a file. A
        simulated chip begins at the end of programming; on a real one the times are waited for.
    times
        Ages counted from the end of programming, rising: seconds, or texts such as '1d'.
    compensations
        Names, joined by plus signs where one follows another, or strategies.
    calibration
        Through which outputs are read; None for the run's own.
    model
        Fitted one whose drift predictions go by; None for the chip's nominal one.
    data
        Inputs and labels for the accuracy of a network; None for the test data that it was deployed with.
    limit, probes, seed, out, force, progress
        MVM error whose passing is predicted; probe vectors of each tile; the others as for `hwloop.program`.

    Raises
    ------
    BadInputError, MissingCapabilityError
        For times that do not rise, a run that did not finish, another chip than its own, or one without MVMs.
    """
    asked = Asked(tuple(compensations), tuple(times), limit, probes, seed)
    job = None
    if out is not None:
        data = kept = None if data is None else as_one(data)
        job = asked.on_file(run, calibration, model, kept)

    def opened(backend: Backend) -> AbstractContextManager[Recording | None]:
        return nullcontext() if job is None or out is None else recorded(out, backend, job)

    given = Given(run, chip, calibration, model, data)
    with reporting(progress, "drift") as report:
        return _study(asked, given, Output(out, force, opened), report)


@exclusive
def drift_again(
    folder: ResumeFolder, chip: Backend, network: nn.Module | None = None, progress: Progress = False
) -> DriftResult:
    """Go on with a study that was stopped or killed; see `hwloop.resume`.

    Raises BadInputError where the run's file is not there any more, or not what it was.
    """
    asked, (run, calibration, model), data = Asked.from_file(folder)
    given = Given(run if network is None else NetworkFile(run, network), chip, calibration, model, data)
    with reporting(progress, "drift") as report:
        return _study(asked, given, Output(folder.out, True, partial(replayed, folder)), report)


@dataclass(frozen=True)
class Given:
    """The objects and files of a study, as `drift` is given them."""

    run: Run | DeployedNetwork | NetworkFile | str | Path
    chip: Backend | None
    calibration: Calibration | UsedCalibration | str | Path | None = None
    model: Model | str | Path | None = None
    data: Batches | None = None


@dataclass(frozen=True)
class Output:
    """Where a study goes: its file, whether it may replace one, and what opens the recording of its chip."""

    path: str | Path | None
    force: bool
    opened: Callable[[Backend], AbstractContextManager[Recording | None]]


def _study(asked: Asked, given: Given, output: Output, report: Report) -> DriftResult:
    """Carry out a study; see `drift`."""
    probes = asked.probes
    strategies = [compensation_from(one, probes) if isinstance(one, str) else one for one in asked.compensations]
    ages = tuple(seconds(time) for time in asked.times)
    run, network = _opened(given)
    used, measured = calibration_from(given.calibration), _accuracies(network, strategies, given.data)
    _check(run, asked.limit, output.path)
    with growing_file(output.path, hdf5.DRIFT_FORMAT, force=output.force) as file:
        backend = run.attach(None if given.chip is run.chip else given.chip, used.calibration if used else None)
        fitted, through = _fitted_drift(given.model), used.name if used else calibration_name(run)
        with output.opened(backend) as recording:
            study = DriftStudy(
                run.record, backend, seed=asked.seed, probes=probes, drift=fitted, calibration=run.calibration
            )
            study.accuracy = measured
            study.check(ages, strategies)
            if file is not None:
                hdf5.put_attributes(file.file, {"probes": probes, "calibration": through})
            result = _Work(study, strategies, ages, asked.limit, report).result(run, file)
            if recording is not None and result.status == "complete":
                recording.complete()
    return dataclasses.replace(result, probes=probes, calibration=through)


def _opened(given: Given) -> tuple[Run, DeployedNetwork | None]:
    """Give the run, and the network that it holds where one is given or a file holds one."""
    found = given.run
    if isinstance(found, NetworkFile):
        found = load_network(found.path, found.network, given.chip)
    elif isinstance(found, str | Path) and is_network(found):
        found = load_network(found, None, given.chip)
    if isinstance(found, DeployedNetwork):
        return run_of(found), found
    return load_run(found), None


def _accuracies(
    network: DeployedNetwork | None, strategies: Sequence[Strategy], data: Batches | None
) -> Callable[[Strategy], tuple[tuple[float, float, float], int]] | None:
    """Give what measures the accuracy with a strategy, and the vectors that adapting to it took; None: no network.

    Raises
    ------
    BadInputError
        For what only a network has, where there is none, and for a network without test data.
    """
    if network is None:
        if named := next((one.name for one in strategies if adapts_batch_norm(one)), None):
            raise BadInputError(f"compensation '{named}' is one of networks; deploy one, a run has no batch norm")
        if data is not None:
            raise BadInputError("a run has no accuracy: data belong to a deployed network")
        return None
    for strategy in strategies:
        network.check(strategy)
    if data is None and network.test is None:
        raise BadInputError("the network was deployed without test data; give inputs and labels to test it on")

    def measure(strategy: Strategy) -> tuple[tuple[float, float, float], int]:
        found = network.accuracy_after(strategy, data)
        return (found.value, *found.interval), network.adaptation_mvms

    return measure


@dataclass
class _Work:
    """A drift study while it goes on."""

    study: DriftStudy
    strategies: Sequence[Strategy]
    ages: Sequence[float]
    limit: float
    report: Report
    recorder: DriftRecorder | None = None
    done: dict[str, list[CompensationOutcome | None]] = field(default_factory=dict)

    def carry_out(self, file: hdf5.WholeFileWriter | None, run: str) -> str:
        """Go through all ages, keeping each on file with the name of the run's file; returns the status."""
        self.done = {strategy.name: [] for strategy in self.strategies}
        status, study = "complete", self.study
        if file is not None:
            self.recorder = DriftRecorder(file, run, study.backend.uri, study, self.limit, list(self.done))
        try:
            for number, age in enumerate(self.ages):
                self._check()
                study.wait_until(age, self._check)
                self._evaluate(number, age)
        except KeyboardInterrupt:
            if study.backend.witness is not None:
                study.backend.witness.leave()
            status = "interrupted"
        except Exception as error:
            if self.recorder is not None and file is not None:
                self.recorder.fail(error)
                if file.committed:
                    error.add_note(f"the times that were done are in {file.path}")
            raise
        if any(one.changes_chip for one in self.strategies) and not study.can_fork:
            where = f" in {file.path}" if file is not None else ""
            study.notes.append(
                "a real chip cannot be put back: its cells are refreshed at the last time alone, after all else; from "
                f"then on the compensations{where} hold, and the run describes the chip as it was"
            )
        if self.recorder is not None:
            crossings = {one.name: self._crossing(one) for one in self.strategies}
            self.recorder.finish(status, study.notes, crossings)
        return status

    def result(self, run: Run, file: hdf5.WholeFileWriter | None) -> DriftResult:
        """Go through all ages and give what was reached."""
        status = self.carry_out(file, run.record.name)
        return DriftResult(
            run=run.record.name,
            backend=self.study.backend.uri or run.record.backend,
            status=status,
            mvm_error_in_run=run.mvm_error,
            target_age=run.age,
            limit=self.limit,
            times=tuple(self.ages),
            courses={one.name: self._course(one) for one in self.strategies},
            devices=sum(tile.region.size for tile in self.study.tiles),
            seed=self.study.seed,
            notes=tuple(self.study.notes),
            file=str(file.path) if file is not None and file.committed else "",
        )

    def _check(self) -> None:
        self.report(sum(map(len, self.done.values())), len(self.ages) * len(self.strategies))

    def _evaluate(self, number: int, age: float) -> None:
        last, study = number == len(self.ages) - 1, self.study
        groups = [[one for one in self.strategies if not one.changes_chip]]
        groups += [[one] for one in self.strategies if one.changes_chip and (last or study.can_fork)]
        results: dict[str, CompensationOutcome] = {}
        try:
            for group in filter(None, groups):
                phase(self.report, f"{format_duration(age)}: {', '.join(one.name for one in group)}")
                results |= study.evaluate(group, self._check)
        finally:  # what was measured before a stop or a failure counts
            if results:
                for strategy in self.strategies:
                    self.done[strategy.name].append(results.get(strategy.name))
                if self.recorder is not None:
                    self.recorder.add(number, age, results)

    def _crossing(self, strategy: Strategy) -> Crossing | None:
        return self.study.crossing(self.limit, strategy, [one for one in self.done[strategy.name] if one is not None])

    def _course(self, strategy: Strategy) -> Course:
        outcomes, crossing = self.done[strategy.name], self._crossing(strategy)
        because = next((one.made[0].because for one in reversed(outcomes) if one is not None and one.made), "")

        def row(name: str) -> FloatArray:
            return np.array([math.nan if one is None else float(getattr(one, name)) for one in outcomes])

        return Course(
            mvm_error=row("mvm_error"),
            tile_errors=tuple(() if one is None else tuple(one.tile_errors) for one in outcomes),
            measured_at=row("age"),
            valid_until=row("valid_until"),
            pulses=row("pulses"),
            mvms=row("mvms"),
            because=because,
            passes_limit=(crossing.earliest, crossing.age, crossing.latest) if crossing is not None else None,
            accuracy=self._accuracies(outcomes),
        )

    def _accuracies(self, outcomes: Sequence[CompensationOutcome | None]) -> FloatArray | None:
        if self.study.accuracy is None:
            return None
        unknown = (math.nan,) * len(ACCURACIES)
        rows = [unknown if one is None or one.accuracy is None else one.accuracy for one in outcomes]
        return np.array(rows).reshape(-1, len(ACCURACIES))


def _check(run: Run, limit: float, out: str | Path | None) -> None:
    """Raise BadInputError for a limit that is none, and for an output that would replace the run's file."""
    if not (math.isfinite(limit) and limit > 0):
        raise BadInputError(f"limit {limit:g} must be a positive MVM error")
    if out is not None and run.record.name and Path(out).resolve() == Path(run.record.name).resolve():
        raise BadInputError(f"{out} is the run itself; give another name for the output")


def _fitted_drift(model: Model | str | Path | None) -> DriftModel | None:
    """Take the drift of a fitted model. Raises BadInputError for a model that has no drift."""
    if model is None:
        return None
    found = drift_model(model if isinstance(model, Model) else load_model(model))
    if found is None:
        name = "the model" if isinstance(model, Model) else str(model)
        raise BadInputError(f"{name}: holds no drift of single devices; hwloop measure drift, and fit that")
    return found
