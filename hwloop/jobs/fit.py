"""Fits noise and drift models to measurements: every experiment, with what was left out and why."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from hwloop.calibration.fitting.drift import SplineDrift
from hwloop.calibration.fitting.hold_out import HeldOut, parted, score
from hwloop.calibration.fitting.known import NOTHING_KNOWN, KnownDevice, KnownDrift, KnownReadNoise
from hwloop.calibration.fitting.panels import Panel
from hwloop.calibration.fitting.programming_noise import averages_of
from hwloop.calibration.fitting.selection import AUTO, Outcome, families, fit_measurement
from hwloop.calibration.fitting.verification import with_drift_since_verification
from hwloop.calibration.steps import Step
from hwloop.errors import BadInputError
from hwloop.files.hashing import fingerprint
from hwloop.files.measurement_reader import read_measurements
from hwloop.files.measurements import Experiment, Measurement
from hwloop.files.model_file import model_content
from hwloop.files.models import Fit, Model
from hwloop.files.output import OutputFile, check_writable
from hwloop.files.reading import whole
from hwloop.files.resume_folder import ResumeFolder, listed
from hwloop.jobs.progress import Part, Progress, Report, phase, reporting
from hwloop.registry import suggest
from hwloop.typing import Json

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ORDER = (
    Experiment.DRIFT,
    Experiment.READ_NOISE,
    Experiment.PROGRAMMING,
    Experiment.PROGRAMMING_CURVE,
    Experiment.PULSE_RESPONSE,
)
"""Drift first: it brings the reads of a programming curve to the age at which the curve is stated. Read noise before
programming, whose re-reads have it."""
IDENTITY = ("chip", "serial", "backend", "g_max", "read_voltage", "devices_per_polarity", "temperature_at_start")
GEOMETRY = ("cores", "rows", "columns", "devices_per_polarity", "dac_bits", "adc_bits", "read_voltage")
"""What a chip says of itself that a twin takes over."""
NOMINAL = "device.curve.midpoint"
"""What it states of its own programming curve, uA: methods start from it, on the chip and on its twin."""
_Given: TypeAlias = tuple[list[Measurement], dict[str, str]]
"""Measurements, and fingerprints of the files that they lie in, by name."""


@dataclass(frozen=True, repr=False)
class FittedModel(Model):
    """A model fresh from its fit: with figures, and with what was said on the way.

    Parameters
    ----------
    outcomes
        Fit, diagrams and refused families of each experiment.
    notes
        What is worth knowing, a sentence each.
    missing
        Experiments that an interruption has left out.
    held_out
        Scores of reads that were held out, by experiment, where that was asked for.
    """

    outcomes: Mapping[str, Outcome] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    held_out: Mapping[str, HeldOut] = field(default_factory=dict)

    @property
    def status(self) -> str:
        """'complete' or 'interrupted'."""
        return "interrupted" if self.missing else "complete"

    def plot(self, ax: Axes | None = None, experiment: str | None = None) -> Axes:
        """Draw the first diagram of a fit on `ax` or new axes, and return them; None takes the first experiment."""
        from hwloop.plot.fits import draw_panel

        return draw_panel(self.panels(experiment)[0], ax)

    def panels(self, experiment: str | None = None) -> list[Panel]:
        """Give the diagrams of an experiment. Raises BadInputError for one that was not fitted."""
        name = experiment or next(iter(self.outcomes))
        if name not in self.outcomes:
            raise BadInputError(f"no experiment '{name}' was fitted; there are {', '.join(self.outcomes)}")
        return self.outcomes[name].panels

    def title(self, experiment: str) -> str:
        """Say what a figure is of, for whoever finds it later."""
        fit = self.fits[experiment]
        chip = " ".join(str(self.chip[key]) for key in ("chip", "serial") if key in self.chip) or ", ".join(self.data)
        counted = ((fit.cells.stuck, "stuck"), (fit.cells.outliers, "outliers"))
        gone = "".join(f", {count} {what}" for count, what in counted if count)
        return f"{experiment} of {chip}: {fit.family}, {fit.cells.used} of {fit.cells.measured} cells used{gone}"

    def report(self) -> dict[str, Json]:
        """Summarise for people and scripts; addresses of cells stay in the model file."""
        return {
            "fits": {name: _summary(one, self.fits[name]) for name, one in self.outcomes.items()},
            "refused_families": {name: one.refused for name, one in self.outcomes.items() if one.refused},
            "held_out": {name: one.to_json() for name, one in self.held_out.items()},
            "status": self.status,
            "missing": list(self.missing),
            "warnings": list(self.notes),
            "hwloop_version": self.hwloop_version,
        }


def _summary(outcome: Outcome, fit: Fit) -> dict[str, Json]:
    told = {name: value for name, value in outcome.to_json().items() if name not in ("experiment", "refused_families")}
    return told | {"warnings": list(fit.warnings)}


def fit(
    measurement: Measurement | Sequence[Measurement] | str | Path,
    family: str = AUTO,
    *,
    out: str | Path | None = None,
    force: bool = False,
    hold_out: Sequence[str] = (),
    progress: Progress = False,
) -> FittedModel:
    """Fit noise and drift models to measurements.

    Parameters
    ----------
    measurement
        One measurement, several of one chip, or a measurement file. Of several of one kind the last is fitted.
    family
        Name of a family, for the experiments that have it; 'auto' takes the one that predicts held-out data best.
    out, force
        Model file, written after every fit, and whether it may replace one.
    hold_out
        'cells', 'times' or both: the family of the drift is fitted once more without 30 % of the cells, or without the
        last age, and `held_out` tells how well it predicts these. The model rests on all reads.
    progress
        True draws a bar; a function is told (done, total) and may raise KeyboardInterrupt, which keeps the fits done.

    Returns
    -------
    FittedModel
        With `params_`, `intervals_`, `save`, `plot`; ``sim:`` and the model's file name open its simulated twin.

    Raises
    ------
    BadInputError
        When nothing supports a fit, and for a family that no experiment has.
    """
    asked = AskedOfFit(family, tuple(hold_out), datetime.now(UTC).isoformat(timespec="seconds"))
    if out is not None:
        check_writable(out, force=force)
    given = _given(measurement)
    if out is None:
        return _fitted(given, asked, None, progress)
    if isinstance(measurement, str | Path) and Path(out).resolve() == Path(measurement).resolve():
        raise BadInputError(f"{out} holds the measurements; give another name for the model")
    with closing(OutputFile(out, force=force)) as file:
        folder = ResumeFolder(file.path)
        if isinstance(measurement, str | Path):
            with folder.writing():
                folder.make(asked.told(measurement), {})
        try:
            return _into_file(given, asked, file, folder, progress)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(*([f"hwloop resume {file.path} goes on"] if folder.exists else [])) from None
        except BadInputError:
            if not file.path.exists():
                folder.remove()
            raise


def fit_again(folder: ResumeFolder, progress: Progress = False) -> FittedModel:
    """Fit once more what a fit that was stopped or killed was asked for; see `hwloop.resume`.

    Raises BadInputError where the measurements are not there any more, or not what they were.
    """
    asked, path = AskedOfFit.from_file(folder)
    with closing(OutputFile(folder.out, force=True)) as file:
        return _into_file(_given(path), asked, file, folder, progress)


@dataclass(frozen=True)
class AskedOfFit:
    """What is asked of a fit, and when; see `fit`."""

    family: str
    hold_out: tuple[str, ...]
    created: str

    def told(self, measurement: str | Path) -> dict[str, Json]:
        """Give it as plain values, with the file of the measurements."""
        files: Json = {"measurement": [str(Path(measurement).resolve()), fingerprint(measurement)]}
        return {
            "job": "fit",
            "family": self.family,
            "hold_out": list(self.hold_out),
            "run": self.created,
            "files": files,
        }

    @classmethod
    def from_file(cls, folder: ResumeFolder) -> tuple[AskedOfFit, str]:
        """Make it again of what `told` gave, with the path of the measurements."""
        told, path = folder.job(), folder.unchanged("measurement")
        with whole(folder.path, "job folder", "begin the job anew"):
            if path is None:
                raise ValueError("it names no measurements")
            hold_out = tuple(str(one) for one in listed(told["hold_out"]))
            return cls(str(told["family"]), hold_out, str(told["run"])), path


def _into_file(
    given: _Given,
    asked: AskedOfFit,
    file: OutputFile,
    folder: ResumeFolder,
    progress: Progress,
) -> FittedModel:
    """Fit into a model file, and leave nothing to go on with once all is fitted."""
    model = _fitted(given, asked, file, progress)
    if not model.missing:
        folder.remove()
    return model


def _fitted(given: _Given, asked: AskedOfFit, file: OutputFile | None, progress: Progress) -> FittedModel:
    """Fit; see `fit`."""
    measurements, data = given

    def keep(model: Model) -> None:
        if file is not None:
            file.replace(model_content(model))

    with reporting(progress, "fitting") as report:
        model = _fit_all(measurements, data, asked, report, keep)
        keep(model)
    return replace(model, held_out=_held_out(measurements, model, asked.hold_out)) if asked.hold_out else model


def _held_out(measurements: Sequence[Measurement], model: Model, what: Sequence[str]) -> dict[str, HeldOut]:
    """Fit the family of the drift to a part of the reads, and predict the others.

    Raises BadInputError where there is no drift, or nothing is left to fit or to predict.
    """
    name = Experiment.DRIFT.value
    if name not in model.fits:
        raise BadInputError(f"hold-out: only '{name}' measurements are predicted, and none was fitted")
    training, rest, since = parted(_latest(measurements)[0][Experiment.DRIFT], what)
    outcome = fit_measurement(training, model.fits[name].family)
    return {name: score(outcome.fitted.record, rest, since)}


def _given(measurement: Measurement | Sequence[Measurement] | str | Path) -> _Given:
    if isinstance(measurement, str | Path):
        found = read_measurements(measurement)
        return found, {Path(measurement).name: fingerprint(measurement)}
    return ([measurement] if isinstance(measurement, Measurement) else list(measurement)), {}


def _fit_all(
    measurements: Sequence[Measurement],
    data: Mapping[str, str],
    asked: AskedOfFit,
    report: Report,
    keep: Callable[[Model], None],
) -> FittedModel:
    family, created = asked.family, asked.created
    by_kind, notes = _latest(measurements)
    if family != AUTO and not any(_has(kind, family) for kind in by_kind):
        known = sorted({one.name for kind in by_kind for one in families(kind)})
        where = ", ".join(data) or "these measurements"
        raise BadInputError(f"no experiment in {where} has the family '{family}'; {suggest(family, [AUTO, *known])}")
    outcomes: dict[str, Outcome] = {}
    fits: dict[str, Fit] = {}
    failures: list[str] = []
    beforehand, identity = NOTHING_KNOWN, _identity(by_kind.values())
    kinds = [kind for kind in ORDER if kind in by_kind]
    missing: list[str] = []
    for done, kind in enumerate(kinds):
        chosen, shown = family if _has(kind, family) else AUTO, Part(report, done, len(kinds), kind.value)
        try:
            shown(0, 1)
            phase(shown, "fitting")
            outcome = fit_measurement(by_kind[kind], chosen, beforehand, _of_steps(shown))
        except BadInputError as error:
            failures.append(str(error))
            continue
        except KeyboardInterrupt:
            if not fits:
                raise
            missing = [one.value for one in kinds[done:]]
            break
        outcomes[kind.value] = outcome
        record = outcome.fitted.record
        if kind is Experiment.PROGRAMMING_CURVE:
            record = _curve_notes(record, fits["drift"] if beforehand.drift else None)
        elif kind is Experiment.PROGRAMMING and beforehand.drift:
            record = with_drift_since_verification(record, by_kind[kind], fits["drift"], beforehand)
        fits[kind.value] = record
        if kind is Experiment.DRIFT:
            reads = KnownReadNoise.of_drift(record, averages_of(by_kind[kind]))
            beforehand = KnownDevice(KnownDrift.of_fit(outcome.fitted), drift_reads=reads)
        elif kind is Experiment.READ_NOISE:
            beforehand = replace(beforehand, read_noise=KnownReadNoise.of_spectrum(record))
        keep(Model(_noting(fits, [one.value for one in kinds[done + 1 :]]), identity, dict(data), created))
    if not fits:
        raise BadInputError("; ".join(failures) if not data else f"{', '.join(data)}: {'; '.join(failures)}")
    return FittedModel(
        _noting(fits, missing),
        identity,
        dict(data),
        created,
        outcomes=outcomes,
        notes=(*notes, *(f"not fitted: {failure}" for failure in failures)),
        missing=tuple(missing),
    )


def _of_steps(report: Report) -> Callable[[Step], None]:
    def observe(step: Step) -> None:
        phase(report, step.stage)
        report(step.done, step.total)

    return observe


def _noting(fits: Mapping[str, Fit], missing: Sequence[str]) -> dict[str, Fit]:
    """Note what is still missing as a warning of the last fit."""
    found = dict(fits)
    if missing:
        last = list(found)[-1]
        note = f"interrupted: {', '.join(missing)} of the same file not fitted"
        found[last] = replace(found[last], warnings=(*found[last].warnings, note))
    return found


def _has(kind: Experiment, family: str) -> bool:
    return any(one.name == family for one in families(kind))


def _latest(measurements: Iterable[Measurement]) -> tuple[dict[Experiment, Measurement], list[str]]:
    """Find the last measurement of each kind, and a warning for earlier ones."""
    by_kind: dict[Experiment, Measurement] = {}
    warnings = []
    for one in measurements:
        if one.experiment in by_kind:
            warnings.append(f"several '{one.experiment.value}' measurements: the last one is fitted")
        by_kind[one.experiment] = one
    return by_kind, list(dict.fromkeys(warnings))


def _curve_notes(fit: Fit, drift: Fit | None) -> Fit:
    """Note at a programming curve's fit what the one of the drift, if any, means for it."""
    if drift is None:
        note = f"no drift was fitted: the curve holds {fit.settings['age']:.3g} s after the pulse, when it was read"
    elif drift.family != SplineDrift.name:
        note = f"intervals take the drift to be '{drift.family}'; --family {SplineDrift.name} assumes no form of it"
    else:
        return fit
    return replace(fit, warnings=(*fit.warnings, note))


def _identity(measurements: Iterable[Measurement]) -> dict[str, str | int | float | bool]:
    """Collect what the measurements say of the chip; where they differ, the first counts."""
    found: dict[str, str | int | float | bool] = {}
    for one in measurements:
        for name in IDENTITY:
            # A chip without a thermometer says NaN of its temperature: nothing is known of it.
            if name in one.attributes and one.attributes[name] == one.attributes[name]:
                found.setdefault(name, one.attributes[name])
        try:
            snapshot = json.loads(str(one.attributes.get("chip_at_start", "{}")))
        except json.JSONDecodeError:
            continue
        for name in GEOMETRY:
            if _is_number(snapshot.get(name)):
                found.setdefault(name, snapshot[name])
        if _is_number(snapshot.get(NOMINAL)):
            found.setdefault("nominal_midpoint", snapshot[NOMINAL])
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
