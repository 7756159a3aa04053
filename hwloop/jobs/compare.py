"""Programs the same chip with several methods, one after the other, and sets the results side by side."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

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
from hwloop.files.run_reader import read_record
from hwloop.jobs.exclusive import exclusive
from hwloop.jobs.inputs import UsedCalibration, Weights, WeightsLike, calibration_from, seconds, weights_from
from hwloop.jobs.program import Programming, Task, carry_out, spare_inputs
from hwloop.jobs.progress import Part, Progress, Report, reporting
from hwloop.jobs.recorders import Recorder, growing_file
from hwloop.jobs.run import Run
from hwloop.mapping.sharing import MappingSettings
from hwloop.typing import FloatArray, Json
from hwloop.units import finite, finite_interval

if TYPE_CHECKING:
    import pandas
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
        from hwloop.jobs.tables import dataframe

        rows: list[dict[str, Json]] = []
        for method, runs in self.runs.items():
            for repeat, run in enumerate(runs):
                rows += [{"method": method, "repeat": repeat, **tile.to_json()} for tile in run.tiles]
        return dataframe(rows)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the error of each method against its steps, on `ax` or new axes, and return them."""
        from hwloop.plot.runs import error_against_step

        return error_against_step([runs[0].record for runs in self.runs.values()], ax, floor=finite(self.noise_floor))

    def __repr__(self) -> str:
        errors = ", ".join(f"{method} {self.mvm_error(method):.4f}" for method in self.runs)
        return f"<Comparison on {self.backend}: MVM errors {errors}>"


@dataclass
class _Sofar:
    """The runs of a comparison that are done so far."""

    runs: dict[str, list[Run]] = field(default_factory=dict)
    status: str = "complete"


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
        URI of a chip, which is opened anew for each method, or an open one. A simulated chip starts every method from
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
    given, until = weights_from(weights), None if age is None else seconds(age)
    used, activations = calibration_from(calibration), activations_from(inputs, given.matrices)
    mapping, sofar = mapping or MappingSettings(), _Sofar()
    tasks = [Task(given, method, mapping, until, seed, used, activations) for method in chosen]
    with reporting(progress, "comparing") as report, growing_file(out, hdf5.COMPARISON_FORMAT, force=force) as file:
        if file is not None:
            spare_inputs(given, file.path)
        with _fresh(chip, None) as opened:  # what the last method cannot do is known before the first one runs
            uri, start = opened.uri, _state(opened)
            for one in tasks:
                Programming(one, opened)
        if file is not None:
            names = ",".join(method.name for method in chosen)
            texts = {"status": "running", "backend": uri, "weights": given.name, "methods": names}
            hdf5.put_attributes(file.file, dict(texts))
        each = [one.method.name for one in tasks for _ in range(repeats)]
        parts = (Part(report, behind, len(each), name) for behind, name in enumerate(each))
        for one in tasks:
            with _fresh(chip, start) as opened:
                if not _repeat(one, opened, repeats, file, sofar, parts):
                    break
        comparison = Comparison(uri, given.name, sofar.runs, sofar.status, str(out) if out is not None else "")
        if file is not None:
            file.file.attrs["status"] = comparison.status
            file.commit()
    return comparison


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


def _repeat(
    task: Task, chip: Backend, repeats: int, file: hdf5.WholeFileWriter | None, sofar: _Sofar, parts: Iterator[Report]
) -> bool:
    """Run one method so many times; False when it was stopped."""
    for repeat in range(repeats):
        recorder = None
        if file is not None:
            recorder = Recorder(file, file.file.create_group(f"{task.method.name}/run_{repeat}"))
        run = carry_out(dataclasses.replace(task, seed=task.seed + repeat), chip, recorder, next(parts))
        sofar.runs.setdefault(task.method.name, []).append(run)
        if run.interrupted:
            sofar.status = "interrupted"
            return False
    return True


@contextmanager
def _fresh(chip: str | Backend, start: Mapping[str, FloatArray] | None) -> Iterator[Backend]:
    """Open the chip that a URI names, or bring an open simulated one back to where the comparison found it."""
    if isinstance(chip, str):
        with connect(chip) as opened:
            yield opened
        return
    if start is not None:
        chip.import_state(start)
    yield chip


def _state(chip: Backend) -> Mapping[str, FloatArray] | None:
    return chip.export_state() if Capability.STATE in chip.info.capabilities else None


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
        runs = {name: [Run(read_record(file[name][key], str(path))) for key in file[name]] for name in methods}
        return Comparison(
            str(file.attrs["backend"]), str(file.attrs["weights"]), runs, str(file.attrs["status"]), str(path)
        )
