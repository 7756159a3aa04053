"""A common error of the currents is told from a gain, with its uncertainty."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import optimize, stats

from hwloop.calibration.programming import current_error
from hwloop.calibration.programming.current_error import (
    CurrentError,
    CurrentErrorFit,
    PulsedCells,
    _contributions,
    _cost,
    _vertex,
    chosen_cells,
    fit_current_error,
    scaled_curve,
)
from hwloop.devices.drift import Aging, DriftModel
from hwloop.devices.programming_curve import ProgrammingCurve
from hwloop.devices.statistics import Polynomial
from hwloop.sim_backend.presets import PRESETS

pytestmark = pytest.mark.numerical

CURVE = PRESETS["pcm-90nm"]().device.curve
FIT = CurrentErrorFit()


def pulsed(error: float, gain: float, cells: int = 2000, seed: int = 1) -> PulsedCells:
    """Cells of two devices, of which one carries weight, that need (1 + error) times the nominal currents."""
    rng = np.random.default_rng(seed)
    target = np.stack([rng.uniform(0, 25, cells), np.zeros(cells)])
    amplitude = np.asarray(CURVE.amplitude(target))
    true = scaled_curve(CURVE, error)
    shift = CURVE.midpoint_spread * rng.standard_normal(target.shape)
    g = np.asarray(true.conductance(amplitude - shift)) * (1 + CURVE.height_spread * rng.standard_normal(target.shape))
    sign = np.array([[1.0], [-1.0]])
    return PulsedCells(
        seen=gain * (sign * g).sum(0), variance=np.full(cells, 0.1), position=np.linspace(-1, 1, cells),
        amplitude=amplitude, height=np.ones(target.shape), sign=sign, shift_sigma=CURVE.midpoint_spread,
        height_sigma=CURVE.height_spread, age=1.0,
    )  # fmt: skip


@pytest.mark.parametrize("error", [-0.2, -0.1, 0.05, 0.2])
@pytest.mark.parametrize("gain", [0.85, 1.0])
def test_error_and_gain_are_told_apart(error: float, gain: float) -> None:
    found = fit_current_error(pulsed(error, gain), CURVE, Aging(None), FIT)
    assert found is not None
    assert found.significant(FIT)
    assert found.value == pytest.approx(error, abs=0.015)
    assert found.gain == pytest.approx(gain, abs=0.12)


@pytest.mark.parametrize("gain", [0.7, 1.0, 1.2])
def test_a_gain_alone_is_no_error(gain: float) -> None:
    found = fit_current_error(pulsed(0.0, gain), CURVE, Aging(None), FIT)
    assert found is not None
    assert not found.significant(FIT)
    assert abs(found.value) < 0.01


def test_few_cells_tell_nothing() -> None:
    assert fit_current_error(pulsed(0.2, 1.0, cells=5), CURVE, Aging(None), FIT) is None
    assert fit_current_error(pulsed(0.2, 1.0, cells=9), CURVE, Aging(None), FIT) is None
    assert fit_current_error(pulsed(0.2, 1.0, cells=10), CURVE, Aging(None), FIT) is not None
    few = fit_current_error(pulsed(0.05, 1.0, cells=12), CURVE, Aging(None), FIT)
    assert few is None or few.sigma > 0.005


# ---- figure by figure --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "sigma", "evidence", "significant"),
    [
        (0.1, 0.01, 100.0, True),
        (-0.1, 0.01, 100.0, True),
        (0.1, 0.017, 100.0, False),  # 5.9 standard deviations
        (0.1, 0.01, 35.0, False),  # six, by the likelihood, are 36
        (0.019, 0.001, 100.0, False),
        (0.021, 0.001, 100.0, True),
    ],
)
def test_significance_needs_size_certainty_and_likelihood(
    value: float, sigma: float, evidence: float, significant: bool
) -> None:
    assert CurrentError(value, sigma, 1.0, evidence).significant(FIT) is significant


def test_cells_are_chosen_evenly_among_those_that_carry_weight() -> None:
    loaded = np.zeros((4, 6), bool)
    loaded[1:, ::2] = True
    rows, columns = chosen_cells(loaded, 100)
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [(r, c) for r in (1, 2, 3) for c in (0, 2, 4)]
    rows, columns = chosen_cells(loaded, 3)
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [(1, 0), (2, 2), (3, 4)]
    assert len(chosen_cells(np.zeros((4, 6), bool), 3)[0]) == 0


def one_device(amplitude: float, **changes: float) -> PulsedCells:
    """Cells of one device each, next to each other along the curve, so that its table passes through the first."""
    values = {"shift_sigma": 0.0, "height_sigma": 0.0, "age": 1.0} | changes
    amplitudes = np.array([[amplitude, amplitude + 40.0]])
    return PulsedCells(
        seen=np.zeros(2), variance=np.ones(2), position=np.zeros(2), amplitude=amplitudes, sign=np.ones((1, 1)),
        height=np.full((1, 2), 0.9), shift_sigma=values["shift_sigma"], height_sigma=values["height_sigma"],
        age=values["age"],
    )  # fmt: skip


@pytest.mark.parametrize("amplitude", [215.0, 240.0, 265.0])
def test_a_contribution_is_the_curve_averaged_over_shift_and_jitter(amplitude: float) -> None:
    drift = DriftModel(20.0, 25.0, Polynomial((0.06,)), Polynomial((0.0,)))
    cells = one_device(amplitude, shift_sigma=6.0, height_sigma=0.05, age=2000.0)
    mean, variance = _contributions(cells, CURVE, Aging(drift), FIT)

    # The average over a normal shift, by summing finely, of what has drifted for two decades.
    z = np.linspace(-8, 8, 4001)
    weight = stats.norm.pdf(z) / stats.norm.pdf(z).sum()
    g = np.asarray(CURVE.conductance(amplitude + np.hypot(6.0, CURVE.jitter) * z)) * 100.0**-0.06
    middle = (weight * g).sum()
    spread = (weight * g**2).sum() - middle**2 + CURVE.noise**2
    assert mean[0, 0] == pytest.approx(0.9 * middle, rel=1e-4)
    assert variance[0, 0] == pytest.approx(0.81 * spread + (0.05 * 0.9 * middle) ** 2, rel=2e-3)


def test_what_was_not_melted_may_be_anywhere() -> None:
    low, high = CURVE.melt - 1.0, CURVE.melt + 1.0
    flat = replace(CURVE, midpoint=1e6)  # nothing but the top, so that only the noise is left
    for amplitude, unknown in ((low, CURVE.g_max**2), (high, 0.0)):
        _, variance = _contributions(one_device(amplitude), flat, Aging(None), FIT)
        assert variance[0, 0] == pytest.approx(0.81 * (unknown + CURVE.noise**2))


def test_the_cost_is_that_of_the_likeliest_gains_and_scale() -> None:
    """A t distribution of five degrees about cells times a parabola of gains, of which each is 1 or 0 to within 0.1."""
    rng, settings = np.random.default_rng(3), replace(FIT, column_sigma=0.04)
    cells = replace(pulsed(0.0, 1.0, cells=400), variance=rng.uniform(4.0, 8.0, 400))
    bent = 0.92 + 0.05 * cells.position + 0.06 * (cells.position**2 - 1 / 3)
    cells = replace(cells, seen=bent * cells.seen + 1.3 * np.sqrt(cells.variance) * rng.standard_t(5, 400))
    mean, variance = _contributions(cells, CURVE, Aging(None), settings)
    weights = (cells.sign * mean).sum(0)
    column = (0.04 * weights) ** 2
    shapes = np.stack([np.ones(400), cells.position, cells.position**2 - 1 / 3])

    def minus_twice_the_logarithm(unknown: np.ndarray) -> float:
        gains, scale = unknown[:3], np.exp(unknown[3])
        total = scale * (gains[0] ** 2 * (variance.sum(0) + column) + cells.variance)
        off = (cells.seen - weights * (gains @ shapes)) / np.sqrt(total)
        likelihood = 6.0 * np.log1p(off**2 / 5.0) + np.log(total)
        return float(likelihood.sum() + (((gains - [1.0, 0.0, 0.0]) / 0.1) ** 2).sum())

    best = optimize.minimize(minus_twice_the_logarithm, np.array([0.9, 0.0, 0.0, 0.0]), method="Nelder-Mead",
                             options={"xatol": 1e-6, "fatol": 1e-6, "maxiter": 4000})  # fmt: skip
    cost, gain = _cost(cells, CURVE, Aging(None), settings)
    # The fit takes the variances of the devices as they are at its gain, which costs next to nothing.
    assert cost == pytest.approx(best.fun, abs=0.05)
    assert gain == pytest.approx(best.x[0], abs=0.003)


def test_the_vertex_of_a_parabola_is_found_with_its_width_and_height() -> None:
    tried = {error: (2500.0 * (error - 0.013) ** 2 + 7.0, 1.0) for error in (-0.02, -0.01, 0.0, 0.01, 0.02, 0.03)}
    assert _vertex(tried, 0.01, 0.01) == pytest.approx((0.013, 0.02, 7.0))
    # What is far away bends otherwise, and is left out.
    assert _vertex(tried | {0.4: (0.0, 1.0)}, 0.01, 0.01) == pytest.approx((0.013, 0.02, 7.0))


@pytest.mark.parametrize(("steps", "found"), [(1.9, 0.019), (2.1, 0.0), (-1.9, -0.019), (-2.1, 0.0)])
def test_a_vertex_within_two_steps_of_the_best_is_believed(steps: float, found: float) -> None:
    tried = {error: (2500.0 * (error - 0.01 * steps) ** 2, 1.0) for error in (-0.02, -0.01, 0.0, 0.01, 0.02)}
    value, sigma, least = _vertex(tried, 0.0, 0.01)
    assert value == pytest.approx(found, abs=1e-9)
    assert sigma == pytest.approx(0.02)
    assert least == pytest.approx(0.0 if found else tried[0.0][0], abs=1e-9)


def test_errors_are_tried_evenly_and_then_about_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    """From -0.4 to 0.4 in steps of 0.025, then four steps of a quarter to either side of the best, twice."""
    tried: list[float] = []

    def cost(cells: PulsedCells, curve: ProgrammingCurve, *_: object) -> tuple[float, float]:
        tried.append(curve.midpoint / CURVE.midpoint - 1.0)
        return 1e5 * (tried[-1] - 0.0137) ** 2, 0.9 if abs(tried[-1]) < 1e-9 else 1.1

    monkeypatch.setattr(current_error, "_cost", cost)
    found = fit_current_error(pulsed(0.0, 1.0, cells=20), CURVE, Aging(None), FIT)
    around = np.array([-4, -3, -2, -1, 1, 2, 3, 4])
    expected = [0.0, *np.linspace(-0.4, 0.4, 33), *(0.025 + 0.00625 * around), *(0.0125 + 0.0015625 * around)]
    assert tried == pytest.approx(expected, abs=1e-12)
    assert found is not None
    assert (found.value, found.sigma) == pytest.approx((0.0137, 1e5**-0.5))
    assert (found.evidence, found.gain) == pytest.approx((1e5 * 0.0137**2, 1.1))


def test_a_cost_without_a_minimum_gives_the_best_that_was_tried() -> None:
    hill = {error: (7.0 - 2500.0 * error**2, 1.0) for error in (-0.02, -0.01, 0.0, 0.01, 0.02)}
    assert _vertex(hill, 0.02, 0.01) == (0.02, np.inf, hill[0.02][0])
    slope = {error: (1e5 * error + error**2, 1.0) for error in (0.38, 0.39, 0.4)}
    best, _, cost = _vertex(slope, 0.38, 0.01)
    assert (best, cost) == (0.38, slope[0.38][0])


def test_the_uncertainty_is_that_of_repeated_fits() -> None:
    found = [fit_current_error(pulsed(0.05, 0.95, seed=seed), CURVE, Aging(None), FIT) for seed in range(8)]
    pulls = np.array([(one.value - 0.05) / one.sigma for one in found if one is not None])
    # Chi-square of eight pulls is above 1.3 and below 21.9 in 99 of 100 cases.
    assert 1.3 < np.sum(pulls**2) < 21.9
    assert all(one.evidence > (one.value / one.sigma) ** 2 / 3 for one in found if one is not None)
