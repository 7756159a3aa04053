"""Model files: what was written comes back, and what is not as hwloop wrote it is refused in one clear line."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hwloop.devices.drift import DriftModel
from hwloop.devices.splines import LogSpline, Spline
from hwloop.devices.statistics import Knots, LogClip, Polynomial, PowerLaw
from hwloop.errors import BadInputError
from hwloop.files.fitted_devices import CURVE_FIELDS, drift_model, programming_curve, read_noise_model
from hwloop.files.model_file import load_model, save_model
from hwloop.files.models import (
    CellCount,
    Estimate,
    Fit,
    Form,
    Model,
    build_statistic,
    coefficient_meanings,
    coefficient_names,
)

MEAN = {"slope": -0.0155, "offset": 0.0244, "low": 0.049, "high": 0.1}


def fitted_drift() -> Fit:
    """The published drift, as if it had been fitted."""
    rows = [Estimate(f"mean.{name}", value, value - 0.001, value + 0.001, "1", name) for name, value in MEAN.items()]
    rows += [
        Estimate("spread.v0", 0.02, None, None, "1", "at 1 uS", "held"),
        Estimate("spread.v1", 0.01, 0, 1, "1", ""),
    ]
    return Fit(
        experiment="drift",
        family="log-clip",
        parameters=tuple(rows),
        forms={"mean": Form("log-clip"), "spread": Form("knots", (-3.0, 0.0))},
        settings={"t0": 20.0, "g_scale": 25.0},
        cells=CellCount(10, 7, 1, 1, {"no conductance": 1}, (4,), (5,)),
        conductance_range=(0.5, 25.0),
        time_range=(1.0, 1e5),
        log_likelihood_per_cell=3.2,
        ks_distance=0.01,
        choice={"log-clip": 1.0, "knots": 0.9},
        warnings=("mean.high: held",),
    )


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A model file."""
    path = tmp_path / "model.json"
    model = Model({"drift": fitted_drift()}, {"chip": "sim:pcm-90nm"}, {"meas.h5": "ab12"}, "2026-01-01T00:00:00")
    save_model(model, path)
    return path


def test_a_model_comes_back_as_it_was(saved: Path) -> None:
    model = load_model(saved)
    assert model.fits["drift"] == fitted_drift()
    assert drift_model(model) == DriftModel(20.0, 25.0, LogClip(**MEAN), Knots((-3.0, 0.0), (0.02, 0.01)))


def test_the_file_reads_as_text(saved: Path) -> None:
    body = json.loads(saved.read_text())
    assert (body["format"], body["format_version"]) == ("hwloop-model", 2)
    row = body["fits"]["drift"]["parameters"][0]
    assert set(row) == {"name", "value", "low", "high", "unit", "meaning", "note"}
    assert (row["name"], row["value"], row["unit"]) == ("mean.slope", -0.0155, "1")
    assert body["data"] == {"meas.h5": "ab12"}


def changed(change: Callable[[dict[str, Any]], object]) -> Callable[[str], str]:
    def apply(text: str) -> str:
        body = json.loads(text)
        change(body)
        return json.dumps(body)

    return apply


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[: len(text) // 2], "truncated or not JSON"),
        (lambda text: "[]", "no model file"),
        (changed(lambda body: body.update(format_version=3)), "format version 3; this hwloop reads up to 2"),
        (changed(lambda body: body.update(colour="red")), "the file has the unknown key 'colour'"),
        (changed(lambda body: body["fits"]["drift"].update(nu=1)), "fit 'drift' has the unknown key 'nu'"),
        (changed(lambda body: body["fits"]["drift"].pop("forms")), "lacks the key 'forms'"),
        (changed(lambda body: body["fits"]["drift"]["parameters"][0].update(value=-0.02)), "was changed after"),
        (changed(lambda body: body["fits"]["drift"]["parameters"][0].update(value="x")), "not a finite number"),
        (changed(lambda body: body["fits"]["drift"].update(cells=3)), "not the layout of a model file"),
        (changed(lambda body: body.pop("checksum")), "was changed after"),
        (changed(lambda body: body["fits"]["drift"]["parameters"][0].update(low="x")), "'mean.slope' is not a finite"),
        (changed(lambda body: body["fits"]["drift"]["parameters"][0].update(value=True)), "is not a finite number"),
        (changed(lambda body: body["fits"]["drift"]["parameters"][0].pop("unit")), "of 'drift' lacks the key 'unit'"),
        (changed(lambda body: body["fits"]["drift"].update(warnings="x")), "fit 'drift' has no list where"),
        (changed(lambda body: body["fits"]["drift"].update(warnings=[1])), "fit 'drift' has no text where"),
        (changed(lambda body: body["fits"]["drift"].update(time_range=[1])), "'time_range' is no pair of numbers"),
        (changed(lambda body: body["fits"]["drift"]["cells"].update(used=1.5)), "has no whole number where"),
        (
            changed(lambda body: body["fits"]["drift"]["forms"]["mean"].update(at=["x"])),
            "'mean' is not a finite number",
        ),
        (changed(lambda body: body["chip"].update(x=[1])), "'chip' has 'x', which is neither a text nor a number"),
        (changed(lambda body: body["data"].update(x=1)), "'data' has no text where"),
    ],
)
def test_what_hwloop_did_not_write_is_refused(saved: Path, damage: Callable[[str], str], message: str) -> None:
    saved.write_text(damage(saved.read_text()))
    with pytest.raises(BadInputError, match=message) as caught:
        load_model(saved)
    assert str(saved) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_binary_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="cannot be read"):
        load_model(tmp_path / "none.json")
    (tmp_path / "binary.json").write_bytes(bytes(range(256)))
    with pytest.raises(BadInputError, match="not JSON text"):
        load_model(tmp_path / "binary.json")


def test_reformatting_changes_nothing(saved: Path) -> None:
    saved.write_text(json.dumps(json.loads(saved.read_text()), indent=8))
    assert load_model(saved).fits["drift"] == fitted_drift()


@pytest.mark.parametrize(
    ("form", "values", "statistic"),
    [
        (Form("log-clip"), MEAN, LogClip(**MEAN)),
        (Form("power-law"), {"scale": 0.01, "exponent": -0.6, "cap": 0.2}, PowerLaw(0.01, -0.6, 0.2)),
        (Form("polynomial"), {"c0": 1.0, "c1": 2.0, "c2": 3.0}, Polynomial((1.0, 2.0, 3.0))),
        (Form("knots", (-1.0, 0.0)), {"v0": 1.0, "v1": 2.0}, Knots((-1.0, 0.0), (1.0, 2.0))),
        (Form("spline", (-1.0, 0.0)), {"v0": 1.0, "v1": 2.0}, Spline((-1.0, 0.0), (1.0, 2.0))),
        (Form("log-spline", (-1.0, 0.0)), {"v0": 1.0, "v1": math.e}, LogSpline(Spline((-1.0, 0.0), (0.0, 1.0)))),
    ],
)
def test_statistics_are_built_from_their_coefficients(form: Form, values: dict[str, float], statistic: object) -> None:
    assert build_statistic(form, values) == statistic
    assert coefficient_names(form, len(values) - 1) == tuple(values)


def test_knots_run_straight_in_ln_g_and_flat_outside() -> None:
    knots = Knots((-2.0, -1.0, 0.0), (1.0, 3.0, 2.0))
    g = np.exp([-5.0, -2.0, -1.5, -1.0, -0.25, 0.0, 1.0])
    assert knots(g) == pytest.approx([1.0, 1.0, 2.0, 3.0, 2.25, 2.0, 2.0])


@pytest.mark.parametrize("alpha", [0.8, 1.0, 1.2])
def test_read_noise_of_another_exponent_keeps_its_variance_over_the_measured_band(alpha: float) -> None:
    rows = [Estimate("alpha", alpha, 0.5, 1.5, "1", "")]
    rows += [Estimate(f"q.{name}", value, 0.0, 1.0, "1", "") for name, value in (("scale", 0.01), ("exponent", -0.5))]
    rows.append(Estimate("q.cap", 0.2, 0.0, 1.0, "1", ""))
    settings = {"g_scale": 25.0, "interval": 1e-3, "samples": 4096.0}
    fit = replace(fitted_drift(), parameters=tuple(rows), forms={"q": Form("power-law")}, settings=settings)
    noise = read_noise_model(Model({"read-noise": fit}, {}, {}, ""), 1e-6)
    assert noise is not None
    frequency = np.geomspace(1 / 4.096, 500.0, 100_001)
    fitted, kept = (
        np.trapezoid(q(0.25) ** 2 / frequency**power, frequency)
        for q, power in ((fit.statistic("q"), alpha), (noise.q, 1.0))
    )
    assert kept == pytest.approx(fitted, rel=1e-6)
    assert noise.q(1e-6) == pytest.approx(0.2 * noise.q(1.0) / 0.01), "the cap moves with the scale"


def test_a_model_file_has_the_names_it_always_had(saved: Path) -> None:
    body = json.loads(saved.read_text())
    assert set(body) == {"format", "format_version", "fits", "chip", "data", "created", "hwloop_version", "checksum"}
    fit = body["fits"]["drift"]
    assert fit["calibration_distance"] == 0.01
    assert fit["cells"] == {
        "measured": 10, "used": 7, "stuck": 1, "wild": 1, "left_out": {"no conductance": 1}, "stuck_addresses": [4],
        "wild_addresses": [5],
    }  # fmt: skip
    assert fit["forms"] == {"mean": {"kind": "log-clip", "at": []}, "spread": {"kind": "knots", "at": [-3.0, 0.0]}}


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "large.json").open("wb") as stream:
        stream.truncate(65 * 2**20)
    with pytest.raises(BadInputError, match="larger than 64 MiB"):
        load_model(tmp_path / "large.json")


def test_models_show_themselves_in_one_line(saved: Path) -> None:
    model = load_model(saved)
    assert repr(model) == "<Model of sim:pcm-90nm: drift (log-clip)>"
    assert repr(model.fits["drift"]) == "<Fit of drift: log-clip, 7 cells, KS distance 0.010>"


def test_what_a_fit_does_not_have_is_named() -> None:
    with pytest.raises(BadInputError, match=r"drift fit .log-clip. has no parameter 'nu'"):
        fitted_drift().value("nu")
    with pytest.raises(BadInputError, match="has no statistic 'median'"):
        fitted_drift().statistic("median")
    with pytest.raises(BadInputError, match="unknown form 'splin' of a statistic; did you mean 'spline'"):
        build_statistic(Form("splin"), {})
    with pytest.raises(BadInputError, match="a 'power-law' statistic needs the coefficient 'cap'"):
        build_statistic(Form("power-law"), {"scale": 1.0, "exponent": 2.0})


def test_a_curve_without_knots_has_the_melting_amplitude_it_is_given() -> None:
    rows = tuple(Estimate(name, 1.0 + k, None, None, "1", "") for k, name in enumerate(CURVE_FIELDS))
    fit = replace(fitted_drift(), experiment="programming-curve", parameters=rows, settings={"width": 100.0})
    curve = programming_curve(Model({"programming-curve": fit}, {}, {}, ""), melt=150.0)
    assert curve is not None
    assert (curve.melt, curve.width) == (150.0, 100.0)
    assert [getattr(curve, name) for name in CURVE_FIELDS] == [1.0 + k for k in range(len(CURVE_FIELDS))]
    assert programming_curve(Model({}, {}, {}, ""), melt=150.0) is None
    assert drift_model(Model({}, {}, {}, "")) is None
    assert read_noise_model(Model({}, {}, {}, ""), 1e-6) is None


def test_knots_are_named_by_the_conductance_at_which_they_lie() -> None:
    meanings = coefficient_meanings(Form("knots", (-1.0, 0.0)), "mean", 25.0)
    assert meanings == {"v0": "mean at 9.2 uS", "v1": "mean at 25 uS"}
    assert coefficient_meanings(Form("power-law"), "Q", 25.0)["cap"] == "cap of the Q"


def test_parameters_are_given_by_name_and_intervals_where_both_ends_are_known() -> None:
    fit = fitted_drift()
    rows = [*fit.parameters, Estimate("half", 1.0, 0.5, None, "1", ""), Estimate("other", 2.0, None, 2.5, "1", "")]
    model = SimpleNamespace(fits={"drift": replace(fit, parameters=tuple(rows))})
    values = Model.params_.fget(model)["drift"]
    others = {"spread.v0": 0.02, "spread.v1": 0.01, "half": 1.0, "other": 2.0}
    assert values == {f"mean.{name}": value for name, value in MEAN.items()} | others
    intervals = Model.intervals_.fget(model)["drift"]
    assert intervals.keys() == {*(f"mean.{name}" for name in MEAN), "spread.v1"}
    assert intervals["mean.slope"] == (MEAN["slope"] - 0.001, MEAN["slope"] + 0.001)


def test_a_model_saves_itself(tmp_path: Path) -> None:
    model = Model({}, {"chip": "x"}, {"a.h5": "sha"}, "2026-01-01T00:00:00")
    model.save(tmp_path / "model.json")
    assert load_model(tmp_path / "model.json").chip == {"chip": "x"}
    with pytest.raises(BadInputError, match="exists"):
        model.save(tmp_path / "model.json")
    model.save(tmp_path / "model.json", force=True)
