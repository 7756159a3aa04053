"""Fitting a file of several experiments: what an interruption leaves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import hwloop
from hwloop.calibration.experiments.cells import Levels
from hwloop.calibration.experiments.drift import DriftExperiment
from hwloop.calibration.experiments.programming_curve import ProgrammingCurveExperiment
from hwloop.calibration.fitting.synthetic import ReadErrors, drifting, programmed
from hwloop.devices.drift import PUBLISHED_DRIFT
from hwloop.devices.read_noise import PUBLISHED_READ_NOISE
from hwloop.devices.statistics import Polynomial
from hwloop.files.measurement_writer import MeasurementWriter
from hwloop.files.model_file import load_model
from hwloop.jobs.fit import FittedModel


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    """Two experiments, of which drift is fitted first."""
    rng, path = np.random.default_rng(0), tmp_path / "meas.h5"
    ages = np.geomspace(1.0, 1e5, 8)
    two = [
        programmed(Polynomial((0.0, 0.1)), Polynomial((0.3, 1.0)), 25.0, rng.uniform(2.0, 25.0, 300), 20.0, rng),
        drifting(PUBLISHED_DRIFT, PUBLISHED_READ_NOISE, rng.uniform(2.0, 25.0, 300), ages, rng, ReadErrors(0.3)),
    ]
    with MeasurementWriter(path) as writer:
        for one in two:
            writer.begin(one.experiment, one.cells, dict(one.attributes)).append(one.reads)
        writer.commit()
        writer.finish()
    return path


def test_ctrl_c_keeps_the_fits_that_are_done_and_the_file_names_the_others(measured: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.json"

    def stop(done: int, total: int) -> None:
        if 2 * done == total:
            raise KeyboardInterrupt

    found = hwloop.fit(measured, "spline", out=out, progress=stop)
    assert (found.status, found.missing) == ("interrupted", ("programming",))
    model = load_model(out)
    assert list(model.fits) == ["drift"]
    assert model.fits["drift"].warnings[-1] == "interrupted: programming of the same file not fitted"
    again = hwloop.fit(measured, "spline", out=out, force=True)
    assert (again.status, again.missing) == ("complete", ())
    fits = load_model(out).fits
    assert list(fits) == ["drift", "programming"]
    assert not any("interrupted" in warning for fit in fits.values() for warning in fit.warnings)


def test_a_crash_keeps_them_too(measured: Path, tmp_path: Path) -> None:
    def crash(done: int, total: int) -> None:
        if 2 * done == total:
            raise MemoryError("no room")

    with pytest.raises(MemoryError, match="no room"):
        hwloop.fit(measured, "spline", out=tmp_path / "model.json", progress=crash)
    assert list(load_model(tmp_path / "model.json").fits) == ["drift"]


def test_an_interruption_before_the_first_fit_leaves_nothing(measured: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt("before the first")

    with pytest.raises(KeyboardInterrupt, match=r"hwloop resume .*model\.json goes on"):
        hwloop.fit(measured, out=tmp_path / "model.json", progress=stop)
    assert not (tmp_path / "model.json").exists()


@pytest.fixture(scope="module")
def drift_and_curve(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small chip, measured twice."""
    chip, path = "sim:hermes-core?seed=3&rows=32&columns=32", tmp_path_factory.mktemp("measured") / "meas.h5"
    for one in (
        DriftExperiment(cells=200, levels=Levels(8), until=3600.0, per_decade=3),
        ProgrammingCurveExperiment(cells=80),
    ):
        with hwloop.connect(chip) as opened:
            hwloop.measure(opened, one, seed=1, out=path)
    return path


@pytest.mark.parametrize(("family", "said"), [("spline", []), ("log-clip", ["--family spline assumes no form of it"])])
def test_a_curve_says_which_form_of_drift_it_takes_for_granted(
    drift_and_curve: Path, tmp_path: Path, family: str, said: list[str]
) -> None:
    hwloop.fit(drift_and_curve, family, out=tmp_path / "model.json")
    fits = load_model(tmp_path / "model.json").fits
    assert fits["drift"].family == family
    warnings = fits["programming-curve"].warnings
    assert [warning.split("; ")[-1] for warning in warnings if "the drift to be" in warning] == said


def test_a_figure_says_what_it_is_of() -> None:
    fit = SimpleNamespace(family="spline", cells=SimpleNamespace(stuck=0, outliers=2, used=90, measured=95))
    model = SimpleNamespace(fits={"drift": fit}, chip={"chip": "hermes", "serial": 7}, data=["a.h5", "b.h5"])
    assert FittedModel.title(model, "drift") == "drift of hermes 7: spline, 90 of 95 cells used, 2 outliers"
    fit.cells.stuck, fit.cells.outliers, model.chip = 3, 0, {}
    assert FittedModel.title(model, "drift") == "drift of a.h5, b.h5: spline, 90 of 95 cells used, 3 stuck"


def test_a_chip_without_a_thermometer_is_fitted_and_says_nothing_of_its_temperature(tmp_path: Path) -> None:
    rng, out = np.random.default_rng(2), tmp_path / "model.json"
    made = programmed(Polynomial((0.0, 0.1)), Polynomial((0.3, 1.0)), 25.0, rng.uniform(2.0, 25.0, 300), 20.0, rng)
    snapshot = '{"rows": 16, "read_voltage": NaN}'
    attributes = {"temperature_at_start": float("nan"), "chip": "bench", "chip_at_start": snapshot}
    unknown = replace(
        made,
        attributes=made.attributes | attributes,
        reads=replace(made.reads, temperature=np.full(len(made.reads), np.nan)),
    )
    hwloop.fit(unknown, out=out)
    chip = load_model(out).chip
    assert (chip["chip"], chip["rows"]) == ("bench", 16)
    assert not {"temperature_at_start", "read_voltage"} & set(chip)
