"""Predictions are what the fitted laws say: closed forms, sampling, and where nobody has measured."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from hwloop.devices.drift import DriftModel
from hwloop.devices.drifted import DriftedConductance, ReadScatter
from hwloop.devices.predicted import Blend, Predicted
from hwloop.devices.programmed import ProgrammedConductance
from hwloop.devices.relaxation import CURVES, unwarped
from hwloop.devices.statistics import Polynomial
from hwloop.errors import BadInputError
from hwloop.files.models import Estimate, Fit, Form, Model
from hwloop.files.predictions import predict
from tests.calibration.fitting import test_relaxation
from tests.files.test_models import fitted_drift

RELAXED = test_relaxation.law().at(100.0, 60.0)
DRIFTED = DriftedConductance(
    DriftModel(20.0, 25.0, Polynomial((0.06,)), Polynomial((0.01,))),
    np.array(10.0), np.array(2e6), ReadScatter(np.array(0.0)),
)  # fmt: skip


def fitted_relaxation(**settings: float) -> Fit:
    """The law of the tests of relaxation, as if it had been fitted."""
    law = test_relaxation.law()
    values = {f"{name}.v0": value for name, value in test_relaxation.TRUTH.items()}
    values |= {"stay_tail": 5.0, "move_tail": 3.0, "warp": law.warp, "memory": math.log(1.5), "memory_decades": 3.0}
    return replace(
        fitted_drift(),
        family="relaxation",
        parameters=tuple(Estimate(name, value, None, None, "1", "") for name, value in values.items()),
        forms={name: Form("knots", (0.0,)) for name in CURVES},
        settings={"g_scale": 120.0, "first_age": 0.0, "clock": 0.01, "exponent": 1.0, "memory_freedom": 3.0} | settings,
        conductance_range=(5.0, 120.0),
        time_range=(0.01, 1000.0),
    )


def model(fit: Fit, **chip: float) -> Model:
    return Model({fit.experiment: fit}, dict(chip), {}, "")


@pytest.mark.parametrize(
    "own",
    [
        RELAXED,
        DRIFTED,
        Blend([RELAXED, DRIFTED]),
        test_relaxation.law().given(1000.0, 60.0, 1.0, 52.0),
        ProgrammedConductance(np.array(8.0), np.array(0.5), 5.0),
        DriftedConductance(
            DriftModel(20.0, 25.0, Polynomial((0.06,)), Polynomial((0.01,))), np.array(10.0), np.array(2e6),
            ReadScatter(np.array(0.05), 0.1, 4.0, 0.4, 0.3),
        ),
    ],
)  # fmt: skip
def test_density_quantiles_and_samples_are_of_one_distribution(own: Predicted) -> None:
    for share in (0.02, 0.3, 0.5, 0.9):
        at = own.quantile(share)
        assert own.cdf(at) == pytest.approx(share, abs=1e-9)
        step = 1e-4 * float(at)
        slope = (own.cdf(at + step) - own.cdf(at - step)) / (2 * step)
        assert own.density(at) == pytest.approx(float(slope), rel=1e-3)
    drawn = own.sample(np.random.default_rng(1), 1_000)
    assert stats.kstest(own.cdf(drawn), "uniform").pvalue > 1e-3
    low, high = float(own.quantile(0.1)), float(own.quantile(0.7))
    assert own.outside(low, high) == pytest.approx(0.4)


def test_drift_without_noise_is_log_normal() -> None:
    x = math.log(1e5)
    for share in (0.05, 0.5, 0.95):
        expected = 10.0 * math.exp(-0.06 * x + 0.01 * x * stats.norm.ppf(share))
        assert DRIFTED.quantile(share) == pytest.approx(expected, rel=1e-3)


def test_a_relaxed_cell_never_conducts_less_than_nothing() -> None:
    small = test_relaxation.law().at(1e9, 0.5)
    assert float(small.quantile(1e-9)) > 0.0
    assert small.density(-1.0) == small.cdf(0.0) == 0.0
    assert small.sample(np.random.default_rng(0), 10_000).min() > 0.0


@pytest.mark.parametrize("warp", [0.01, 1.0, 50.0])
def test_the_scale_of_changes_is_inverted(warp: float) -> None:
    g = np.geomspace(1e-5, 1e3, 300)
    assert unwarped(g + warp * np.log(g), warp) == pytest.approx(g, rel=1e-9)


def test_what_was_measured_is_no_extrapolation() -> None:
    own = model(fitted_relaxation())
    found = predict(own, 100.0, 60.0, (50.0, 70.0))
    assert not found.extrapolates
    assert found.level_is == "at the first read"
    assert found.probability_outside == pytest.approx(float(RELAXED.outside(50.0, 70.0)))
    assert found.quantiles[0.5] == pytest.approx(float(RELAXED.quantile(0.5)))
    assert predict(own, 1e5, 60.0).beyond == ("time 1.16d: measured from 10ms to 16.7min",)
    assert predict(own, 100.0, 200.0).beyond == ("level 200 uS: measured from 5 to 120 uS",)
    warm = model(fitted_relaxation(), temperature_at_start=300.0)
    assert predict(warm, 100.0, 60.0, temperature=302.0).beyond == ()
    assert "measured at 300 K" in predict(warm, 100.0, 60.0, temperature=350.0).beyond[0]


def test_quantiles_contain_the_spread_between_families_that_fit_alike() -> None:
    other = replace(fitted_relaxation(exponent=0.5), family="relaxation-sublinear")
    both = predict(model(replace(fitted_relaxation(), alternatives=(other,))), 1e6, 60.0)
    assert both.families == ("relaxation", "relaxation-sublinear")
    alone = [predict(model(one), 1e6, 60.0).quantiles for one in (fitted_relaxation(), other)]
    assert both.quantiles[0.05] == min(one[0.05] for one in alone)
    assert both.quantiles[0.95] == max(one[0.95] for one in alone)


@pytest.mark.parametrize(
    ("time", "level", "window", "message"),
    [
        (0.0, 10.0, None, "ages above zero"),
        (math.inf, 10.0, None, "ages above zero"),
        (1.0, -2.0, None, "conductances above zero"),
        (1.0, 10.0, (5.0, 4.0), "the lower end comes first"),
    ],
)
def test_what_cannot_be_predicted_is_refused(
    time: float, level: float, window: tuple[float, float] | None, message: str
) -> None:
    with pytest.raises(BadInputError, match=message):
        predict(model(fitted_relaxation()), time, level, window)


def test_a_model_without_conductances_is_refused() -> None:
    noise = replace(fitted_drift(), experiment="read-noise")
    with pytest.raises(BadInputError, match=r"no fit of drift or programming \(it has: read-noise\)"):
        predict(model(noise), 1.0, 10.0)
