"""Figures of fitted models show what the models say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from hwloop import plot
from hwloop.calibration.fitting.programming_noise import Polynomial2
from hwloop.errors import BadInputError
from hwloop.files.models import Estimate, Fit, Model
from hwloop.files.predictions import distribution
from hwloop.pages.models import page_of_model
from tests.calibration.fitting.test_bake import truth
from tests.calibration.fitting.test_programming_noise import measured
from tests.files.test_models import fitted_drift
from tests.files.test_predictions import fitted_relaxation
from tests.sim_backend.test_baked_twin import fitted_bake


@pytest.fixture(scope="module")
def programming() -> Fit:
    return Polynomial2().fit(measured(600, seed=1))[0].record


def names(fit: Fit) -> list[str]:
    return [one.name for one in page_of_model(Model({fit.experiment: fit}, {}, {}, "")).pictures]


def test_pages_show_what_is_predicted(programming: Fit) -> None:
    assert names(fitted_bake(truth())) == ["drift-by-level", "drift-by-time"]
    assert names(fitted_relaxation())[:3] == ["drift-by-level", "drift-by-time", "drift-hazard"]
    assert names(programming) == ["programming-by-level", "programming-bias", "programming-sigma"]
    assert names(fitted_drift())[:2] == ["drift-by-level", "drift-by-time"]
    for fit in (fitted_bake(truth()), fitted_relaxation(), programming, fitted_drift()):
        for one in page_of_model(Model({fit.experiment: fit}, {}, {}, "")).pictures:
            assert one.draw(Figure().add_subplot()).has_data()


def test_lines_are_the_quantiles_of_the_model() -> None:
    fit = fitted_relaxation()
    axes = plot.predicted_by_time(fit, Figure().add_subplot())
    low = axes.get_lines()[0]
    age, level = low.get_xdata()[7], 62.5
    assert low.get_ydata()[7] == pytest.approx(float(distribution(fit, age, level).quantile(0.05)))
    assert axes.get_title() == "62.5 uS at the first read"
    by_level = plot.predicted_by_level(fit, Figure().add_subplot()).get_lines()[1]
    at = by_level.get_xdata()[20]
    assert by_level.get_ydata()[20] + at == pytest.approx(float(distribution(fit, 1000.0, at).quantile(0.5)))


def test_sigma_is_drawn_over_what_was_measured(programming: Fit) -> None:
    axes = plot.statistic_by_formula(programming, "sigma", Figure().add_subplot())
    line = axes.get_lines()[0]
    target = np.asarray(line.get_xdata())
    expected = programming.statistic("sigma")(target / programming.settings["g_scale"])
    assert np.asarray(line.get_ydata()) == pytest.approx(np.asarray(expected))
    assert axes.get_xlabel() == "target, uS"
    with pytest.raises(BadInputError, match="has no statistic 'tau'"):
        plot.statistic_by_formula(programming, "tau")


def test_a_programming_curve_is_drawn_with_its_spread() -> None:
    values = {"g_min": 0.1, "g_max": 20.0, "midpoint": 250.0, "steepness": 15.0, "midpoint_spread": 8.0}
    values |= {"height_spread": 0.05, "jitter": 3.0, "noise": 0.2}
    fit = replace(
        fitted_drift(),
        experiment="programming-curve",
        forms={},
        parameters=tuple(Estimate(name, value, None, None, "1", "") for name, value in values.items()),
        settings={"width": 100.0},
    )
    assert names(fit) == ["programming-curve"]
    typical, *_ = plot.fitted_programming_curve(fit, Figure().add_subplot()).get_lines()
    half = np.interp(-10.05, -np.asarray(typical.get_ydata()), np.asarray(typical.get_xdata()))
    assert half == pytest.approx(250.0, abs=0.5)
    with pytest.raises(BadInputError, match="not one of a programming curve"):
        plot.fitted_programming_curve(fitted_drift())
