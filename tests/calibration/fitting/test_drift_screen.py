"""Screening of drift against closed forms: lines that are given, so that what is called odd follows by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from hwloop.calibration.fitting.drift.lines import Lines, Noise
from hwloop.calibration.fitting.drift.screen import screen
from hwloop.calibration.fitting.drift.settings import DriftSettings, ScreeningSettings
from hwloop.calibration.fitting.screening import OUTLIER, STUCK, Screening

DEVICES, BIN = 1_000, 50
MEAN, SPREAD, SIGMA = 0.05, 0.01, 0.02
"""Drift coefficients, and the relative noise of a read."""
VAR_NU = 0.01
"""Over the variance of a read: the error of a coefficient is 0.002."""
FREEDOM = 10.0
CALM = float(stats.chi2.median(FREEDOM)) * SIGMA**2
"""Squares that a device of the usual noise leaves."""
TOTAL = float(np.hypot(SPREAD, SIGMA * VAR_NU**0.5))
"""Standard deviation of coefficients that are seen with their errors."""
ODD = 500
"""A device in the middle, which the cases change."""
NO_TARGET = np.full(DEVICES, np.nan)


def lines(*, mean: float = MEAN, spread: float = SPREAD, sigma: float = SIGMA) -> Lines:
    """Devices of like conductance; each 50 neighbours have the quantiles of a Gaussian for coefficients.

    Coefficients are seen with their errors, so that their spread is that of the devices and the errors together.
    """
    order = np.random.default_rng(1).permutation(DEVICES)
    quantiles = np.tile(stats.norm.ppf((np.arange(BIN) + 0.5) / BIN), DEVICES // BIN)
    seen = np.hypot(spread, sigma * VAR_NU**0.5)
    ones = np.ones(DEVICES)
    squares = stats.chi2.ppf((np.arange(DEVICES) + 0.5) / DEVICES, FREEDOM)[order[::-1]] * sigma**2
    log_g = np.log(np.linspace(9.9, 10.1, DEVICES))
    found = Lines(log_g, mean + seen * quantiles, 0.1 * ones, 0 * ones, VAR_NU * ones, squares, FREEDOM * ones)
    found.nu[ODD], found.squares[ODD] = mean, CALM / SIGMA**2 * sigma**2
    return found


def reasons(given: Lines, target: np.ndarray = NO_TARGET, **settings: float) -> np.ndarray:
    """Why each device is left out."""
    screening = Screening(np.full(DEVICES, "", dtype="U48"))
    own = DriftSettings(screening=replace(ScreeningSettings(), **settings))  # type: ignore[arg-type]
    screen(given, np.arange(DEVICES), target, screening, Noise(), own)
    return screening.reason


def left_out(given: Lines, target: np.ndarray = NO_TARGET, **settings: float) -> dict[int, str]:
    """The devices that are left out, and why."""
    reason = reasons(given, target, **settings)
    return {int(device): str(reason[device]) for device in np.flatnonzero(reason != "")}


def test_of_healthy_devices_none_is_left_out() -> None:
    """No coefficient is more than 2.4 standard deviations off; of a thousand squares the largest is no wonder."""
    assert left_out(lines()) == {}


@pytest.mark.parametrize(("sigmas", "reason"), [(4.8, None), (5.2, OUTLIER), (-4.8, None), (-5.2, OUTLIER)])
def test_a_coefficient_far_from_its_neighbours_is_an_outlier(sigmas: float, reason: str | None) -> None:
    """Beyond five robust standard deviations, in which the error of the line is counted."""
    given = lines()
    given.nu[ODD] = MEAN + sigmas * TOTAL
    assert left_out(given, odds=1e3).get(ODD) == reason


def test_the_bound_of_outliers_is_a_setting() -> None:
    given = lines()
    given.nu[ODD] = MEAN + 4.5 * TOTAL
    assert left_out(given, outlier_sigma=4.0) == {ODD: OUTLIER}


def odds(nu: float) -> float:
    """ln of the density of a stuck device over that of a healthy one."""
    error = SIGMA * VAR_NU**0.5
    return float(stats.norm.logpdf(nu, 0.0, error) - stats.norm.logpdf(nu, MEAN, TOTAL))


def test_a_device_that_does_not_drift_is_stuck_where_the_odds_say_so() -> None:
    given = lines()
    given.nu[ODD] = 0.0
    assert odds(0.0) == pytest.approx(13.65, abs=0.01)
    assert left_out(given) == {ODD: STUCK}
    assert left_out(given, odds=13.0) == {ODD: STUCK}
    assert left_out(given, odds=14.3) == {}


def test_a_device_that_drifts_a_little_is_none() -> None:
    """Four errors of its line from zero, and 4.1 standard deviations from its neighbours."""
    given = lines()
    given.nu[ODD] = 0.008
    assert odds(0.008) == pytest.approx(2.11, abs=0.01)
    assert left_out(given) == {}
    assert left_out(given, odds=1.5) == {ODD: STUCK}
    assert left_out(given, odds=2.7) == {}


def test_where_nothing_drifts_a_device_that_does_not_is_no_exception() -> None:
    given = lines(mean=0.005, spread=0.0005)
    given.nu[ODD] = 0.0
    assert left_out(given) == {}
    assert left_out(given, odds=0.0) == {}


@pytest.mark.parametrize(("probability", "reason"), [(1e-6, None), (1e-8, OUTLIER)])
def test_reads_that_scatter_too_much_make_an_outlier(probability: float, reason: str | None) -> None:
    given = lines()
    given.squares[ODD] = stats.chi2.isf(probability, FREEDOM) * SIGMA**2
    assert left_out(given).get(ODD) == reason


def test_of_very_noisy_reads_nothing_is_said() -> None:
    """0.3 of noise in a read is beyond `evaluated_noise`; with a bound above it the same device is an outlier."""
    given = lines(sigma=0.3)
    given.nu[ODD] = 1.0
    assert left_out(given) == {}
    assert left_out(given, evaluated_noise=0.5) == {ODD: OUTLIER}


# ---- targets ----------------------------------------------------------------------------------------------------


def placed() -> tuple[Lines, np.ndarray]:
    """Devices at 10 uS with targets there, with 0.1 uS of error, which is in quantiles of a Gaussian."""
    given = lines()
    error = 0.1 * stats.norm.ppf((np.random.default_rng(2).permutation(DEVICES) + 0.5) / DEVICES)
    target = np.full(DEVICES, 10.0)
    given.log_g = np.log(target + error)
    given.log_g[ODD] = np.log(10.0)
    return given, target


def test_devices_near_their_target_are_kept() -> None:
    assert left_out(*placed()) == {}


@pytest.mark.parametrize(("conductance", "nu", "reason"), [
    (11.3, 0.0, STUCK),  # 13 standard deviations off, more than twice the five of outliers, and constant
    (8.7, 0.0, STUCK),
    (11.3, MEAN, None),  # it drifts as its neighbours do, so that it is a device
    (0.8, MEAN, STUCK),  # it hardly conducts
    (1.2, MEAN, None),  # it does, above a tenth of the target
])  # fmt: skip
def test_a_device_off_its_target_is_stuck_where_it_is_constant_or_hardly_conducts(
    conductance: float, nu: float, reason: str | None
) -> None:
    given, target = placed()
    given.log_g[ODD], given.nu[ODD] = np.log(conductance), nu
    assert left_out(given, target, odds=1e3).get(ODD) == reason


def test_a_device_off_its_target_is_stuck_and_not_an_outlier_however_its_reads_scatter() -> None:
    given, target = placed()
    given.log_g[ODD], given.squares[ODD] = np.log(0.5), 1e3 * SIGMA**2
    assert left_out(given, target).get(ODD) == STUCK
    assert left_out(given).get(ODD) == OUTLIER


def test_fewer_than_a_hundred_targets_tell_nothing() -> None:
    given, target = placed()
    given.log_g[ODD], given.nu[ODD] = np.log(0.8), MEAN
    target[np.setdiff1d(np.arange(DEVICES), [*range(98), ODD])] = np.nan
    assert np.isfinite(target).sum() == 99
    assert left_out(given, target).get(ODD) is None
    target[-1] = 10.0
    assert left_out(given, target).get(ODD) == STUCK


# ---- the cells --------------------------------------------------------------------------------------------------


def test_a_device_is_named_by_its_cell_and_keeps_an_earlier_reason() -> None:
    screening = Screening(np.full(2 * DEVICES, "", dtype="U48"))
    screening.reason[2 * 7] = "marked"
    given = lines()
    given.nu[[7, ODD]] = 1.0
    screen(given, 2 * np.arange(DEVICES), NO_TARGET, screening, Noise(), DriftSettings())
    assert {int(cell): str(screening.reason[cell]) for cell in np.flatnonzero(~screening.kept)} == {
        2 * 7: "marked",
        2 * ODD: OUTLIER,
    }
