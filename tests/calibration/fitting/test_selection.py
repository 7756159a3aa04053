"""What data without support get instead of a fit, whichever the family."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hwloop.calibration.fitting.selection import AUTO, USUAL, choose, families, fit_measurement
from hwloop.calibration.fitting.synthetic import ReadErrors, drifting, programmed
from hwloop.devices.drift import PUBLISHED_DRIFT
from hwloop.devices.read_noise import PUBLISHED_READ_NOISE
from hwloop.devices.statistics import Polynomial
from hwloop.errors import BadInputError
from hwloop.files.measurements import Experiment, Measurement

AGES = np.geomspace(1.0, 1e4, 5)


def drift(seed: int = 0) -> Measurement:
    rng = np.random.default_rng(seed)
    return drifting(PUBLISHED_DRIFT, PUBLISHED_READ_NOISE, rng.uniform(2.0, 25.0, 300), AGES, rng, ReadErrors(0.3))


def with_conductance(measurement: Measurement, conductance: np.ndarray) -> Measurement:
    return replace(measurement, reads=replace(measurement.reads, conductance=conductance))


@pytest.mark.parametrize("family", [AUTO, *(family.name for family in families(Experiment.DRIFT))])
def test_cells_that_are_all_stuck_get_no_fit(family: str) -> None:
    measurement = drift()
    own = np.random.default_rng(1).uniform(2.0, 25.0, 300)
    with pytest.raises(BadInputError, match="every cell reads the same at all times"):
        fit_measurement(with_conductance(measurement, own[measurement.reads.cell]), family)


def test_nor_do_cells_of_which_nearly_all_are() -> None:
    measurement = drift()
    own, cell = np.random.default_rng(1).uniform(2.0, 25.0, 300), measurement.reads.cell
    conductance = np.where(cell < 3, measurement.reads.conductance, own[cell])
    with pytest.raises(BadInputError, match="stuck"):
        fit_measurement(with_conductance(measurement, conductance), "log-clip")


def test_a_model_that_describes_the_data_poorly_says_so() -> None:
    rng = np.random.default_rng(2)
    target = rng.uniform(2.0, 25.0, 500)
    good = programmed(Polynomial((0.0, 0.0)), Polynomial((0.1, 0.0)), 25.0, target, 20.0, rng)
    assert not any("poorly" in warning for warning in fit_measurement(good, "polynomial-2").fitted.record.warnings)
    apart = good.reads.conductance + rng.choice([-1.0, 1.0], 500)  # a normal distribution has one maximum
    warnings = fit_measurement(with_conductance(good, apart), "polynomial-2").fitted.record.warnings
    assert any("describes these reads poorly" in warning for warning in warnings)


@pytest.mark.parametrize(
    ("behind", "scatter", "chosen"),
    [
        (0.00013, 0.001, "spline"),  # 2.1 standard errors of hardly anything
        (0.00013, 0.01, "spline"),
        (0.0125, 0.005, "log-clip"),  # 40 standard errors, and six times the margin
        (0.0125, 0.5, "spline"),  # within chance
        (-0.0125, 0.005, "spline"),
    ],
)
def test_less_is_assumed_unless_more_predicts_better_by_a_margin(behind: float, scatter: float, chosen: str) -> None:
    """Behind by this much, give or take 3 % of it, as on another kind of CPU."""
    candidates = [one for one in families(Experiment.DRIFT) if one.name in ("spline", "log-clip")]
    noise = np.random.default_rng(3).standard_normal(256)
    difference = scatter * (noise - noise.mean()) / noise.std()
    for shift in (0.97, 1.0, 1.03):
        scores = {"spline": np.ones(256), "log-clip": 1.0 + shift * behind + difference}
        assert choose(candidates, scores, USUAL)[0].name == chosen
