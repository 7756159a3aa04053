"""Programs the same chip with several methods, one after the other, and sets the results side by side."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import statistics
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hwloop.calibration.certificate.certificate import Calibration
from hwloop.calibration.programming.base import Method
from hwloop.calibration.programming.registry import METHODS, method_from
from hwloop.chip.backend import Backend
from hwloop.chip.info import Capability
from hwloop.chip.registry import connect
from hwloop.errors import BadInputError
from hwloop.files import hdf5
from hwloop.files.activations import activations_from
from hwloop.files.reading import whole
from hwloop.files.resume_folder import ResumeFolder, listed, plain
from hwloop.files.run_reader import read_record
from hwloop.jobs.exclusive import exclusive
from hwloop.jobs.inputs import UsedCalibration, Weights, WeightsLike, calibration_from, seconds, weights_from
from hwloop.jobs.program import Programming, Task, carry_out, spare_inputs
from hwloop.jobs.progress import Part, Progress, Report, reporting
from hwloop.jobs.recorders import Recorder
from hwloop.jobs.recording import JobOnFile, recorded, replayed
from hwloop.jobs.run import Run
from hwloop.mapping.matrix import Room
from hwloop.mapping.sharing import MappingSettings
from hwloop.notebook.card import card
from hwloop.typing import FloatArray, Json
from hwloop.units import finite, finite_interval

if TYPE_CHECKING:
    import pandas
    import xarray
    from matplotlib.axes import Axes

FLOOR = "exact"
"""The method that places every conductance on target: its error is the noise floor."""


@dataclass(frozen=True)
class Comparison:
    """Runs of several methods on the same chip.

    Parameters
    ----------
    backend, weights
        What was programmed on.
    runs
        Of each method, all its repeats.
    status
        'complete' or 'interrupted'.
    name
        File, if there is one.
    """

    backend: str
    weights: str
    runs: Mapping[str, Sequence[Run]]
    status: str = "complete"
    name: str = ""

    @property
    def noise_floor(self) -> float:
        """MVM error with every conductance on target; NaN where 'exact' was not among the methods."""
        return self.mvm_error(FLOOR) if FLOOR in self.runs else float("nan")

    def mvm_error(self, method: str) -> float:
        """Return the median MVM error of a method over its repeats; NaN where none was measured."""
        errors = [error for run in self.runs[method] if (error := finite(run.mvm_error)) is not None]
        return statistics.median(errors) if errors else float("nan")

    def mvm_error_interval(self, method: str) -> tuple[float, float]:
        """Return the medians of both ends of the errors' intervals over a method's repeats; NaN where none is known."""
        known = [run.mvm_error_interval for run in self.runs[method] if finite_interval(run.mvm_error_interval)]
        if not known:
            return float("nan"), float("nan")
        low, high = (statistics.median(ends) for ends in zip(*known, strict=True))
        return low, high

    def to_json(self) -> dict[str, Json]:
        """Summarise as the JSON object of `hwloop compare`."""
        return {
            "backend": self.backend,
            "weights": self.weights,
            "status": self.status,
            "noise_floor": finite(self.noise_floor),
            "methods": {method: self._method(method) for method in self.runs},
            "run": self.name or None,
            "hwloop_version": importlib.metadata.version("hwloop"),
        }

    def _method(self, method: str) -> dict[str, Json]:
        error, floor = self.mvm_error(method), self.noise_floor
        known = finite(error) is not None and finite(floor) is not None
        return self.runs[method][0].to_json() | {
            "mvm_error": finite(error),
            "mvm_error_interval": finite_interval(self.mvm_error_interval(method)),
            "mvm_errors": [None if run.interrupted else finite(run.mvm_error) for run in self.runs[method]],
            "over_floor": error / floor if known else None,
            "excess_over_floor": max(error**2 - floor**2, 0.0) ** 0.5 if known else None,
            "run": self.name or None,
        }

    def to_dataframe(self) -> pandas.DataFrame:
        """Return a pandas table with a row for each tile of each run; needs the extra `hwloop[pandas]`."""
        from hwloop.notebook.tables import dataframe

        rows: list[dict[str, Json]] = []
        for method, runs in self.runs.items():
            for repeat, run in enumerate(runs):
                rows += [{"method": method, "repeat": repeat, **tile.to_json()} for tile in run.tiles]
        return dataframe(rows)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the error of each method against its steps, on `ax` or new axes, and return them."""
        from hwloop.plot.runs import error_against_step

        return error_against_step([runs[0].record for runs in self.runs.values()], ax, floor=finite(self.noise_floor))

    def to_xarray(self) -> xarray.Dataset:
        """Return an xarray dataset of the MVM errors by `methods` and repeat; needs the extra `hwloop[xarray]`."""
        from hwloop.notebook.tables import Variable, dataset

        errors = np.full((len(self.runs), max(map(len, self.runs.values()), default=0)), np.nan)
        for row, runs in zip(errors, self.runs.values(), strict=True):
            row[: len(runs)] = [run.mvm_error for run in runs]
        found = {"mvm_error": Variable(("methods", "repeat"), errors, "1", "relative MVM error")}
        names = {"methods": Variable(("methods",), np.array(list(self.runs), np.str_), "", "programming method")}
        return dataset(found, names, {"backend": self.backend, "weights": self.weights, "status": self.status})

    def _repr_html_(self) -> str:
        rows = [
            (name, self.mvm_error(name), *self.mvm_error_interval(name), self.mvm_error(name) / self.noise_floor)
            for name in self.runs
        ]
        head = ("method", "MVM error", "low", "high", "over the floor")
        return card(f"Comparison on {self.backend}", self.weights, head=head, rows=rows)

    def __repr__(self) -> str:
        errors = ", ".join(f"{method} {self.mvm_error(method):.4f}" for method in self.runs)
        return f"<Comparison on {self.backend}: MVM errors {errors}>"


@dataclass
class _Work:
    """A comparison while it goes on."""

    chip: Backend
    file: hdf5.WholeFileWriter | None
    replaying: Callable[[], bool]
    parts: Iterator[Report]
    runs: dict[str, list[Run]] = field(default_factory=dict)
    status: str = "complete"

    def repeat(self, task: Task, repeats: int) -> bool:
        """Run one method so many times; False when it was stopped."""
        for repeat in range(repeats):
            recorder, file = None, self.file
            if file is not None:
                recorder = Recorder(file, file.file.create_group(f"{task.method.name}/run_{repeat}"), self.replaying)
            one = dataclasses.replace(task, seed=task.seed + repeat)
            run = carry_out(one, self.chip, recorder, next(self.parts))
            self.runs.setdefault(task.method.name, []).append(run)
            if run.interrupted:
                self.status = "interrupted"
                return False
        return True

    def let_go(self) -> dict[str, list[Run]]:
        """Give the runs without the chip, which holds the last of them at most."""
        return {name: [Run(run.record, compared=True) for run in runs] for name, runs in self.runs.items()}


@exclusive
def compare(
    chip: str | Backend,
    weights: WeightsLike,
    methods: Sequence[str | Method] = ("iterative", "gdp", "exact"),
    *,
    calibration: Calibration | UsedCalibration | str | Path | None = None,
    inputs: Mapping[str, FloatArray] | FloatArray | str | Path | None = None,
    mapping: MappingSettings | None = None,
    age: str | float | None = None,
    seed: int = 0,
    repeats: int = 1,
    out: str | Path | None = None,
    force: bool = False,
    progress: Progress = False,
) -> Comparison:
    """Program the same chip with each method, `repeats` times one after the other.

    Parameters
    ----------
    chip
        URI of a chip, or an open one. A simulated chip starts every method from
        the same state; a real one goes on from what the method before has left.
    methods
        Names, or methods with settings; `exact` shows the noise floor of a simulated chip.
    repeats, weights, calibration, inputs, mapping, age, seed, out, force, progress
        Runs of each method in a row, on the same cells; the others as for `hwloop.program`.

    Raises
    ------
    BadInputError, MissingCapabilityError
        For what a method cannot do on this chip, before the first one runs.
    """
    chosen = _chosen(methods, repeats)
    until, used = None if age is None else seconds(age), calibration_from(calibration)
    with ExitStack() as stack:
        opened = stack.enter_context(connect(chip)) if isinstance(chip, str) else chip
        given = weights_from(weights, room=Room.of(opened.info))
        activations, mapping = activations_from(inputs, given.matrices), mapping or MappingSettings()
        tasks = tuple(Task(given, one, mapping, until, seed, used, activations) for one in chosen)
        report = stack.enter_context(reporting(progress, "comparing"))
        return Contest(tasks, repeats).into_file(opened, out, report, force=force)


@exclusive
def compare_again(folder: ResumeFolder, chip: Backend, progress: Progress = False) -> Comparison:
    """Go on with a comparison that was stopped or killed; see `hwloop.resume`."""
    with reporting(progress, "comparing") as report:
        return Contest.from_file(folder).into_file(chip, folder.out, report, force=True, left=folder)


@dataclass(frozen=True)
class Contest:
    """What to compare, as objects, and as a file from which the same is done again.

    Parameters
    ----------
    tasks
        One for each method; they differ in nothing else.
    repeats
        Runs of each in a row.
    run
        What tells the comparison from every other; empty for one without a file.
    """

    tasks: tuple[Task, ...]
    repeats: int = 1
    run: str = ""

    def on_file(self) -> JobOnFile:
        """Give all of it as plain values and arrays."""
        first = self.tasks[0].on_file()
        methods: Json = [[one.method.name, dataclasses.asdict(one.method)] for one in self.tasks]
        return JobOnFile(
            "compare", {**first.told, "methods": methods, "repeats": self.repeats, "run": self.run}, first.arrays
        )

    @classmethod
    def from_file(cls, folder: ResumeFolder) -> Contest:
        """Make it again of what `on_file` gave. Raises BadInputError for what is not whole."""
        first, told = Task.from_file(folder), folder.job()
        with whole(folder.path, "job folder", "begin the job anew"):
            methods = [_method(one) for one in listed(told["methods"])]
            tasks = tuple(dataclasses.replace(first, method=method, run="") for method in methods)
            return cls(tasks, int(str(told["repeats"])), str(told["run"]))

    def into_file(
        self, chip: Backend, out: str | Path | None, report: Report, *, force: bool, left: ResumeFolder | None = None
    ) -> Comparison:
        """Compare on an open chip; with what an earlier process has `left` of it, go on with that."""
        if out is None:
            return self._carry_out(chip, None, lambda: False, report)
        this = self if left is not None else dataclasses.replace(self, run=uuid.uuid4().hex)
        spare_inputs(self.tasks[0].weights, out)
        with (
            hdf5.WholeFileWriter(out, hdf5.COMPARISON_FORMAT, force=force, timer=hdf5.with_journal()) as file,
            recorded(out, chip, this.on_file()) if left is None else replayed(left, chip) as recording,
        ):
            comparison = this._carry_out(chip, file, lambda: recording.replaying, report)
            if comparison.status == "complete":
                recording.complete()
            return comparison

    def _carry_out(
        self, chip: Backend, file: hdf5.WholeFileWriter | None, replaying: Callable[[], bool], report: Report
    ) -> Comparison:
        tasks, weights = self.tasks, self.tasks[0].weights.name
        start = chip.export_state() if Capability.STATE in chip.info.capabilities else None
        for one in tasks:  # what the last method cannot do is known before the first one runs
            Programming(one, chip)
        if file is not None:
            names = ",".join(one.method.name for one in tasks)
            texts = {"status": "running", "backend": chip.uri, "weights": weights, "methods": names, "run_id": self.run}
            hdf5.put_attributes(file.file, dict(texts))
        each = [one.method.name for one in tasks for _ in range(self.repeats)]
        parts = (Part(report, behind, len(each), name) for behind, name in enumerate(each))
        work = _Work(chip, file, replaying, parts)
        for one in tasks:
            if start is not None:
                chip.import_state(start)
            if not work.repeat(one, self.repeats):
                break
        if file is not None:
            file.file.attrs["status"] = work.status
            file.commit_somewhere()
        name = str(file.path) if file is not None else ""
        return Comparison(chip.uri, weights, work.let_go(), work.status, name)


def _method(told: Json) -> Method:
    name, settings = listed(told)
    return method_from(str(name), {key: str(value) for key, value in plain(settings).items()})


def _chosen(methods: Sequence[str | Method], repeats: int) -> list[Method]:
    """Make the methods. Raises BadInputError where there is none, or one is named twice, and for no repeat."""
    chosen = [method_from(method) if isinstance(method, str) else method for method in methods]
    names = [method.name for method in chosen]
    if not names:
        raise BadInputError(f"there is no method to compare; known: {', '.join(METHODS.names())}")
    if repeats < 1:
        raise BadInputError(f"repeats={repeats}: expected 1 or more")
    if len(set(names)) < len(names):
        raise BadInputError(f"methods: '{','.join(names)}' names a method twice; name each once")
    return chosen


def floor_of(run: Run, weights: Weights, chip: str) -> float | None:
    """Measure the noise floor for a run: the MVM error with every conductance on target, on a chip of its own.

    Returns None for a chip on which conductances cannot be placed exactly.
    """
    if run.method == FLOOR:
        return finite(run.mvm_error)
    asked, known = run.record.provenance, run.calibration
    used = UsedCalibration(known) if known is not None else None
    task = Task(weights, method_from(FLOOR), asked.mapping, run.age, asked.seed, used)
    with connect(chip) as opened:
        if not opened.info.capabilities & {Capability.EXACT_PLACEMENT, Capability.TARGETS}:
            return None
        return finite(carry_out(task, opened).mvm_error)


def read_comparison(path: str | Path) -> Comparison:
    """Read a comparison file. Raises BadInputError for a file that is none, or not whole."""
    with hdf5.open_file(path, hdf5.COMPARISON_FORMAT) as file, whole(path, "comparison file", "compare again"):
        methods = [name for name in str(file.attrs["methods"]).split(",") if name in file]
        runs = {
            name: [Run(read_record(file[name][key], str(path)), compared=True) for key in file[name]]
            for name in methods
        }
        return Comparison(
            str(file.attrs["backend"]), str(file.attrs["weights"]), runs, str(file.attrs["status"]), str(path)
        )
