"""Lets the chip of a run age and evaluates compensations at several ages."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from hwloop.calibration.certificate.certificate import Calibration
from hwloop.calibration.drift.monitor import Crossing
from hwloop.calibration.drift.outcome import CompensationOutcome
from hwloop.calibration.drift.registry import compensation_from
from hwloop.calibration.drift.strategy import Probing, Strategy
from hwloop.calibration.drift.study import DriftStudy
from hwloop.calibration.drift.study_file import DriftRecorder
from hwloop.chip.backend import Backend
from hwloop.devices.drift import DriftModel
from hwloop.errors import BadInputError
from hwloop.files import hdf5
from hwloop.files.fitted_devices import drift_model
from hwloop.files.model_file import load_model
from hwloop.files.models import Model
from hwloop.jobs.evaluate import calibration_name, load_run
from hwloop.jobs.inputs import UsedCalibration, calibration_from, seconds
from hwloop.jobs.progress import Progress, Report, reporting
from hwloop.jobs.recorders import growing_file
from hwloop.jobs.run import Run
from hwloop.typing import FloatArray, Json
from hwloop.units import finite

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

LIMIT = 0.15
"""Relative MVM error whose passing is predicted unless another is asked for."""
DEFAULT = ("none", "global", "column", "predictive")
"""Compensations that pulse no cell: what is done to them can be undone on any chip."""


@dataclass(frozen=True)
class Course:
    """One compensation at all ages that were reached; a value an age, NaN where it was not made.

    Parameters
    ----------
    mvm_error
        Relative MVM error over all tensors.
    tile_errors
        The same of each tile; empty where it was not made.
    measured_at, valid_until
        Seconds after the end of programming: when it was measured, and until when it should hold.
    pulses, mvms
        What was spent on all tiles, the vectors that evaluate not counted.
    because
        Where `valid_until` comes from.
    passes_limit
        Seconds after the end of programming at which the limit is passed: start of the 95 % interval, median, end;
        infinite where it is not; None where too little is known.
    """

    mvm_error: FloatArray
    tile_errors: tuple[tuple[float, ...], ...]
    measured_at: FloatArray
    valid_until: FloatArray
    pulses: FloatArray
    mvms: FloatArray
    because: str = ""
    passes_limit: tuple[float, float, float] | None = None

    def to_json(self) -> dict[str, Json]:
        """Give one entry of `compensations` in the JSON of `hwloop drift`."""
        made = [bool(np.isfinite(age)) for age in self.measured_at]
        names = ("earliest_s", "age_s", "latest_s")
        passes = self.passes_limit
        return {
            "mvm_error": [finite(error) for error in self.mvm_error],
            "tile_errors": [[finite(error) for error in errors] or None for errors in self.tile_errors],
            "measured_at_s": [finite(age) for age in self.measured_at],
            "pulses": [int(spent) if there else None for spent, there in zip(self.pulses, made, strict=True)],
            "mvms": [int(spent) if there else None for spent, there in zip(self.mvms, made, strict=True)],
            "holds_until_s": [finite(age) for age in self.valid_until],
            "holds_because": self.because or None,
            "passes_limit": {name: finite(age) for name, age in zip(names, passes, strict=True)} if passes else None,
        }


@dataclass(frozen=True)
class DriftResult:
    """What a chip that ages has reached with each compensation.

    Parameters
    ----------
    run, backend
        File of the run, and URI of its chip.
    status
        'complete' or 'interrupted'.
    mvm_error_in_run, target_age
        Error that programming left, and the age in seconds at which it was measured.
    limit
        MVM error whose passing is predicted.
    times
        Seconds after the end of programming that were asked for; the first of them were reached.
    courses
        By the names of the compensations.
    devices, probes, seed
        Devices of all tiles, probe vectors of each, seed of the inputs.
    calibration
        File of the calibration through which outputs are read; empty for none.
    notes
        What is worth knowing, a sentence each.
    file
        Drift file; empty for none.
    """

    run: str
    backend: str
    status: str
    mvm_error_in_run: float
    target_age: float
    limit: float
    times: tuple[float, ...]
    courses: Mapping[str, Course]
    devices: int = 0
    probes: int = Probing.probes
    seed: int = 1
    calibration: str = ""
    notes: tuple[str, ...] = ()
    file: str = ""

    def to_json(self) -> dict[str, Json]:
        """Summarise as the JSON object of `hwloop drift`."""
        return {
            "run": self.run,
            "backend": self.backend,
            "status": self.status,
            "mvm_error_in_run": finite(self.mvm_error_in_run),
            "seconds_after_programming": self.target_age,
            "devices": self.devices,
            "limit": self.limit,
            "probes": self.probes,
            "seed": self.seed,
            "times_s": list(self.times),
            "compensations": {name: course.to_json() for name, course in self.courses.items()},
            "calibration": self.calibration or None,
            "notes": list(self.notes),
            "hwloop_version": importlib.metadata.version("hwloop"),
            "file": self.file or None,
        }

    def to_dataframe(self) -> pandas.DataFrame:
        """Return a pandas table with a row for each compensation and age; needs the extra `hwloop[pandas]`."""
        from hwloop.jobs.tables import dataframe

        rows: list[dict[str, Json]] = []
        for name, course in self.courses.items():
            values = zip(self.times, course.mvm_error, course.measured_at, course.pulses, course.mvms, strict=False)
            for time, error, at, pulses, mvms in values:
                rows.append(
                    {
                        "compensation": name, "time_s": time, "mvm_error": finite(error), "measured_at_s": finite(at),
                        "pulses": finite(pulses), "mvms": finite(mvms),
                    }
                )  # fmt: skip
        return dataframe(rows)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the MVM error against age with each compensation, on `ax` or new axes, and return them."""
        from hwloop.plot.drift import error_against_age

        return error_against_age(self, ax)

    def __repr__(self) -> str:
        last = ", ".join(
            f"{name} {course.mvm_error[-1]:.4f}" for name, course in self.courses.items() if len(course.mvm_error)
        )
        return f"<DriftResult on {self.backend}: MVM errors at the last time {last or 'not reached'}>"


def drift(
    run: Run | str | Path,
    chip: Backend | None = None,
    times: Sequence[str | float] = ("1s", "1h", "1d", "30d", "1y"),
    compensations: Sequence[str | Strategy] = DEFAULT,
    *,
    calibration: Calibration | UsedCalibration | str | Path | None = None,
    model: Model | str | Path | None = None,
    limit: float = LIMIT,
    probes: int = Probing.probes,
    seed: int = 1,
    out: str | Path | None = None,
    force: bool = False,
    progress: Progress = False,
) -> DriftResult:
    """Let the chip of a run age and measure its MVM error at each time with each compensation.

    Parameters
    ----------
    run
        A complete run, or its file.
    chip
        The open chip that holds it; None for the one that the run knows, or the simulated preset of a file. A
        simulated chip begins at the end of programming; on a real one the times are waited for.
    times
        Ages counted from the end of programming, rising: seconds, or texts such as '1d'.
    compensations
        Names, several joined by plus signs where one follows another, or strategies with settings.
    calibration
        Through which outputs are read; None for the run's own.
    model
        Fitted model whose drift predictions go by; None for the chip's nominal one.
    limit
        MVM error whose passing is predicted.
    probes, seed
        Probe vectors of each tile; seed of probes and inputs.
    out, force, progress
        As for `hwloop.program`.

    Raises
    ------
    BadInputError, MissingCapabilityError
        For times that have passed or do not rise, a run that did not finish, another chip than that of the run, and a
        chip without MVMs.
    """
    strategies = [compensation_from(one, probes) if isinstance(one, str) else one for one in compensations]
    ages = tuple(seconds(time) for time in times)
    run, used = load_run(run), calibration_from(calibration)
    _check(run, limit, out)
    with reporting(progress, "drift") as report, growing_file(out, hdf5.DRIFT_FORMAT, force=force) as file:
        backend = run.attach(None if chip is run.chip else chip, used.calibration if used else None)
        study = DriftStudy(
            run.record, backend, seed=seed, probes=probes, drift=_fitted_drift(model), calibration=run.calibration
        )
        study.check(ages, strategies)
        work = _Work(study, strategies, ages, limit, report)
        status = work.carry_out(file, run.record.name)
        written = str(out) if file is not None and file.committed else ""
        result = work.result(run, status, written)
    return dataclasses.replace(result, probes=probes, calibration=used.name if used else calibration_name(run))


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

    def result(self, run: Run, status: str, file: str) -> DriftResult:
        """Give what was reached until now."""
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
            file=file,
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
        )


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


def read_drift(path: str | Path) -> DriftResult:
    """Read a drift file. Raises BadInputError for a file that is none, or not whole."""
    with hdf5.open_file(path, hdf5.DRIFT_FORMAT) as file:
        try:
            names = [name for name in str(file.attrs["compensations"]).split(",") if f"compensations/{name}" in file]
            times = hdf5.get(file, "times", "s") if "times" in file else np.empty(0)
            return DriftResult(
                run=str(file.attrs["run"]),
                backend=str(file.attrs["backend"]),
                status=str(file.attrs["status"]),
                mvm_error_in_run=float(file.attrs["mvm_error_in_run"]),
                target_age=float(hdf5.get(file, "calibrated", "s")),
                limit=float(file.attrs["limit"]),
                times=tuple(times.tolist()),
                courses={name: _read_course(file[f"compensations/{name}"]) for name in names},
                notes=tuple(filter(None, str(file.attrs.get("notes", "")).splitlines())),
                file=str(path),
            )
        except KeyError as error:
            raise BadInputError(f"{path} is not a whole drift file ({error.args[0]}); make it again") from None


def _read_course(group: h5py.Group) -> Course:
    times = sorted((key for key in group if key.startswith("time_")), key=lambda key: int(key.removeprefix("time_")))
    passes = tuple(map(float, hdf5.get(group, "passes_limit", "s"))) if "passes_limit" in group else None
    last = [str(tile.attrs.get("holds_because", "")) for tile in group[times[-1]].values()] if times else []
    return Course(
        mvm_error=hdf5.get(group, "mvm_error", "1"),
        tile_errors=tuple(tuple(float(tile.attrs["mvm_error"]) for tile in group[key].values()) for key in times),
        measured_at=hdf5.get(group, "measured_at", "s"),
        valid_until=hdf5.get(group, "holds_until", "s"),
        pulses=hdf5.get(group, "pulses", "1"),
        mvms=hdf5.get(group, "mvms", "1"),
        because=last[0] if last else "",
        passes_limit=(passes[0], passes[1], passes[2]) if passes is not None else None,
    )
