"""Measurement file in, model file out: every experiment fitted, with what was left out and why."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hwloop.calibration.fitting.drift import SplineDrift
from hwloop.calibration.fitting.programming_curve import KnownDrift
from hwloop.calibration.fitting.selection import AUTO, Outcome, families, fit_measurement
from hwloop.errors import BadInputError
from hwloop.files import hdf5
from hwloop.files.measurement_reader import read_measurements
from hwloop.files.measurements import Experiment, Measurement
from hwloop.files.models import Fit, Model, save_model

ORDER = (Experiment.DRIFT, Experiment.PROGRAMMING, Experiment.READ_NOISE, Experiment.PROGRAMMING_CURVE)
"""Drift first: it brings the reads of a programming curve to the age at which the curve is stated."""
IDENTITY = ("chip", "serial", "backend", "g_max", "read_voltage", "devices_per_polarity", "temperature_at_start")
GEOMETRY = ("cores", "rows", "columns", "devices_per_polarity", "dac_bits", "adc_bits", "read_voltage")
"""What a chip says of itself that a twin takes over."""
NOMINAL = "device.curve.midpoint"
"""What it believes of its own programming curve, uA: methods start from it, on the chip and on its twin."""

Observer = Callable[[int, int], None]
"""Called (done, total) before every experiment; may raise KeyboardInterrupt."""


@dataclass(frozen=True)
class Fitting:
    """A model, the diagrams of each fit, and what could not be done."""

    model: Model
    outcomes: dict[str, Outcome]
    warnings: tuple[str, ...]
    missing: tuple[str, ...] = ()
    """Experiments that an interruption has left out."""


def fit_file(
    path: str | Path,
    family: str = AUTO,
    observer: Observer = lambda done, total: None,
    keep: Callable[[Model], None] = lambda model: None,
) -> Fitting:
    """Fit every experiment of a measurement file with a family by name, or the one that predicts best.

    A named family fits the experiments that have it; the others are chosen. `keep` is given the model after every fit.
    A KeyboardInterrupt after the first fit ends with what there is. Raises BadInputError when no experiment of the file
    supports a fit, and for a family that no experiment of the file has.
    """
    by_kind, warnings = _latest(read_measurements(path))
    if family != AUTO and not any(_has(kind, family) for kind in by_kind):
        known = sorted({one.name for kind in by_kind for one in families(kind)})
        raise BadInputError(
            f"no experiment in {path} has the family '{family}'; known there: {AUTO}, {', '.join(known)}"
        )
    outcomes: dict[str, Outcome] = {}
    fits: dict[str, Fit] = {}
    failures: list[str] = []
    drift: KnownDrift | None = None
    identity, data = _identity(by_kind.values()), {Path(path).name: _fingerprint(path)}
    created = datetime.now(UTC).isoformat(timespec="seconds")
    kinds, missing = [kind for kind in ORDER if kind in by_kind], []
    for done, kind in enumerate(kinds):
        try:
            observer(done, len(kinds))
            outcome = fit_measurement(by_kind[kind], family if _has(kind, family) else AUTO, drift)
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
            record = _curve_notes(record, fits["drift"] if drift else None)
        fits[kind.value] = record
        if kind is Experiment.DRIFT:
            drift = KnownDrift.of_fit(outcome.fitted)
        keep(Model(_noting(fits, [one.value for one in kinds[done + 1 :]]), identity, data, created))
    if not fits:
        raise BadInputError(f"{path}: {'; '.join(failures)}")
    model = Model(_noting(fits, missing), identity, data, created)
    return Fitting(model, outcomes, (*warnings, *(f"not fitted: {failure}" for failure in failures)), tuple(missing))


def _noting(fits: Mapping[str, Fit], missing: Sequence[str]) -> dict[str, Fit]:
    """The fits, with what is still missing as a warning of the last one."""
    found = dict(fits)
    if missing:
        last = list(found)[-1]
        note = f"interrupted: {', '.join(missing)} of the same file not fitted"
        found[last] = replace(found[last], warnings=(*found[last].warnings, note))
    return found


def fit_to_file(
    path: str | Path,
    out: str | Path,
    family: str = AUTO,
    *,
    figures: str | Path | None = None,
    force: bool = False,
    observer: Observer = lambda done, total: None,
) -> dict[str, Any]:
    """Fit a measurement file into a model file, and draw the fits; the JSON object of `hwloop fit`.

    The model file is written after every fit: an interruption keeps those that are done, and the file names the others.
    """
    hdf5.check_writable(out, force=force)
    if Path(out).resolve() == Path(path).resolve():
        raise BadInputError(f"{out} holds the measurements; give another name for the model")
    if figures is not None:  # before the fits, which take their time
        from hwloop.plot.fits import draw_fits, figure_paths

        figure_paths([kind.value for kind in Experiment], figures, force=force)
    fitting = fit_file(path, family, observer, keep=lambda model: save_model(model, out, force=True))
    save_model(fitting.model, out, force=True)
    drawn: list[str] = []
    if figures is not None:
        panels = {name: outcome.panels for name, outcome in fitting.outcomes.items()}
        titles = {name: _title(fitting.model, name) for name in panels}
        drawn = draw_fits(panels, titles, figures, force=force)
    return {
        "measurements": str(path),
        "model": str(out),
        "fits": {name: _summary(fit) for name, fit in fitting.model.fits.items()},
        "refused_families": {name: one.refused for name, one in fitting.outcomes.items() if one.refused},
        "status": "interrupted" if fitting.missing else "complete",
        "missing": list(fitting.missing),
        "warnings": list(fitting.warnings),
        "figures": drawn,
        "hwloop_version": fitting.model.hwloop_version,
    }


def _title(model: Model, name: str) -> str:
    """What a figure is of, for whoever finds it later."""
    fit = model.fits[name]
    chip = " ".join(str(model.chip[key]) for key in ("chip", "serial") if key in model.chip) or ", ".join(model.data)
    gone = "".join(
        f", {count} {what}" for count, what in ((fit.cells.stuck, "stuck"), (fit.cells.wild, "wild")) if count
    )
    return f"{name} of {chip}: {fit.family}, {fit.cells.used} of {fit.cells.measured} cells used{gone}"


def _summary(fit: Fit) -> dict[str, Any]:
    """One fit for people and scripts; addresses stay in the model file."""
    cells = fit.cells
    return {
        "family": fit.family,
        "parameters": [asdict(p) for p in fit.parameters],
        "cells": {
            "measured": cells.measured,
            "used": cells.used,
            "stuck": cells.stuck,
            "wild": cells.wild,
            "left_out": cells.left_out,
        },
        "settings": fit.settings,
        "log_likelihood_per_cell": fit.log_likelihood_per_cell,
        "calibration_distance": fit.calibration_distance,
        "held_out_log_likelihood": fit.choice,
        "warnings": list(fit.warnings),
    }


def _has(kind: Experiment, family: str) -> bool:
    return any(one.name == family for one in families(kind))


def _latest(measurements: list[Measurement]) -> tuple[dict[Experiment, Measurement], list[str]]:
    """The last measurement of each kind, and a warning for earlier ones."""
    by_kind: dict[Experiment, Measurement] = {}
    warnings = []
    for one in measurements:
        if one.experiment in by_kind:
            warnings.append(f"several '{one.experiment.value}' measurements: the last one is fitted")
        by_kind[one.experiment] = one
    return by_kind, list(dict.fromkeys(warnings))


def _curve_notes(fit: Fit, drift: Fit | None) -> Fit:
    """A programming curve's fit with what the one of the drift, if any, means for it."""
    if drift is None:
        note = f"no drift was fitted: the curve holds {fit.settings['age']:.3g} s after the pulse, when it was read"
    elif drift.family != SplineDrift.name:
        note = f"intervals take the drift to be '{drift.family}'; --family {SplineDrift.name} assumes no form of it"
    else:
        return fit
    return replace(fit, warnings=(*fit.warnings, note))


def _identity(measurements: Any) -> dict[str, str | int | float | bool]:
    """What the measurements say of the chip; the first to say it is believed."""
    found: dict[str, str | int | float | bool] = {}
    for one in measurements:
        for name in IDENTITY:
            if name in one.attributes:
                found.setdefault(name, one.attributes[name])
        try:
            snapshot = json.loads(str(one.attributes.get("chip_at_start", "{}")))
        except json.JSONDecodeError:
            continue
        for name in GEOMETRY:
            if isinstance(snapshot.get(name), int | float):
                found.setdefault(name, snapshot[name])
        if isinstance(snapshot.get(NOMINAL), int | float):
            found.setdefault("nominal_midpoint", snapshot[NOMINAL])
    return found


def _fingerprint(path: str | Path) -> str:
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while chunk := stream.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()
