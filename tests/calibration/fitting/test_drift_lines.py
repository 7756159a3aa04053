"""Lines of devices and the noise that is learnt from them, against least squares and by their definition."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from hwloop.calibration.fitting.checks import rows_of
from hwloop.calibration.fitting.drift import lines as module
from hwloop.calibration.fitting.drift.covariance import Growth
from hwloop.calibration.fitting.drift.lines import Devices, Lines, Noise, _beyond, about, fit_lines, reduce, settle
from hwloop.calibration.fitting.drift.noise import _least_square, _noise_level, levels, robust
from hwloop.devices.time_law import TimeLaw
from hwloop.files.measurements import Measurement

AGES = np.array([2.0, 20.0, 200.0, 2000.0, 20_000.0])
X = np.log(AGES / 20.0)


def devices(reads: np.ndarray, **more: object) -> Devices:
    """Reads (devices, ages) at `AGES`; NaN where there is none."""
    return Devices(rows_of(Measurement.of("drift", AGES, reads.T)), 20.0, **more)  # type: ignore[arg-type]


def power_law(level: np.ndarray, nu: np.ndarray) -> np.ndarray:
    return level[:, None] * np.exp(-nu[:, None] * X)


def test_a_line_goes_through_reads_without_noise() -> None:
    level, nu = np.array([1.0, 5.0, 20.0]), np.array([0.02, 0.05, -0.01])
    found = fit_lines(devices(power_law(level, nu)), Growth())
    assert np.exp(found.log_g) == pytest.approx(level)
    assert found.nu == pytest.approx(nu)
    assert found.squares == pytest.approx(np.zeros(3), abs=1e-10)
    assert found.freedom.tolist() == [3.0, 3.0, 3.0]
    assert found.found.all()


def test_uncertainties_are_those_of_least_squares() -> None:
    reads = power_law(np.array([1.0, 5.0]), np.array([0.02, 0.05]))
    reads[1, 3] = np.nan
    found = fit_lines(devices(reads), Growth())
    for own, at in ((0, np.arange(5)), (1, np.array([0, 1, 2, 4]))):
        design = np.stack([np.ones(at.size), -X[at]], 1)
        covariance = np.linalg.inv(design.T @ design)
        assert found.var_g[own] == pytest.approx(covariance[0, 0])
        assert found.covariance[own] == pytest.approx(covariance[0, 1])
        assert found.var_nu[own] == pytest.approx(covariance[1, 1])
    assert found.freedom.tolist() == [3.0, 2.0]


def test_what_a_line_leaves_is_the_sum_of_its_squares() -> None:
    rng = np.random.default_rng(0)
    reads = power_law(np.full(200, 5.0), np.full(200, 0.05)) * (1 + 0.01 * rng.standard_normal((200, 5)))
    found = fit_lines(devices(reads), Growth())
    left = reads * np.exp(found.nu[:, None] * X - found.log_g[:, None]) - 1
    assert found.squares == pytest.approx((left**2).sum(1))
    assert left.sum(1) == pytest.approx(np.zeros(200), abs=1e-9)
    assert (left * X).sum(1) == pytest.approx(np.zeros(200), abs=1e-9)


def test_another_law_bends_the_ages_and_takes_off_what_all_lose() -> None:
    law = TimeLaw(0.5, 0.03, 0.004)
    reads = 5.0 * np.exp(-0.05 * law.exponent(X) - law.common(X))[None]
    bent = devices(reads).bent(law)
    assert bent.h == pytest.approx(np.atleast_2d(law.exponent(X)))
    found = fit_lines(bent, Growth())
    assert (np.exp(found.log_g[0]), found.nu[0]) == (pytest.approx(5.0), pytest.approx(0.05))
    straight = TimeLaw(0.5, 0.03, 0.0)
    assert np.array_equal(devices(reads).bent(straight).rows.conductance, devices(reads).rows.conductance)


def test_devices_are_reduced_in_parts_of_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = power_law(np.linspace(1.0, 20.0, 10), np.full(10, 0.05))
    whole = reduce(devices(reads), np.arange(10), Noise())
    monkeypatch.setattr(module, "MOST_ELEMENTS", 3 * 25)
    one = devices(reads)
    assert [part.tolist() for part in one.chunks(np.arange(10))] == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
    parted = reduce(one, np.arange(10), Noise())
    assert parted.log_g == pytest.approx(whole.log_g)
    monkeypatch.setattr(module, "MOST_ELEMENTS", 1)
    assert len(one.chunks(np.arange(10))) == 10
    monkeypatch.setattr(module, "MOST_ELEMENTS", 8_000_000)
    monkeypatch.setattr(module, "CHUNK", 4)
    assert [part.size for part in one.chunks(np.arange(10))] == [4, 4, 2]


def test_noise_is_relative_and_constant() -> None:
    noise = Noise(floor=0.04, place=np.log([1.0, 10.0]), relative=np.array([0.01, 0.0001]), nu=np.array([0.02, 0.06]))
    assert noise.variance(np.log([1.0, 10.0])) == pytest.approx([0.01 + 0.04, 0.0001 + 0.0004])
    middle = np.log(np.sqrt(10.0))
    assert noise.variance(np.array([middle])) == pytest.approx([0.001 + 0.004])
    assert noise.mix(np.array([middle])) is not None
    assert replace(noise, floor=0.0).mix(np.array([middle])) is None


@pytest.mark.parametrize(("at", "value"), [(-1.0, 7.0), (0.0, 5.0), (0.5, 4.0), (1.0, 3.0), (2.0, 4.0), (9.0, 4.0)])
def test_below_the_first_place_noise_grows_on(at: float, value: float) -> None:
    place, values = np.array([0.0, 1.0, 2.0]), np.array([5.0, 3.0, 4.0])
    assert _beyond(np.array([at]), place, values) == pytest.approx([value])
    assert _beyond(np.array([-1.0]), place, np.array([3.0, 5.0, 4.0])) == pytest.approx([3.0])  # and never falls
    assert _beyond(np.array([-1.0]), place[:1], values[:1]) == pytest.approx([5.0])


def test_where_devices_are_is_the_mean_of_their_reads_or_as_little_as_the_noise() -> None:
    reads = power_law(np.array([5.0, 1e-6]), np.array([0.05, 0.05]))
    noise = Noise(floor=0.04, nu=np.array([0.05]))
    one = devices(reads)
    assert about(one, Noise()).tolist() == [0.0, 0.0]
    assert np.exp(about(one, noise)) == pytest.approx([5.0, one.settings.noise.least * 0.2])


def test_devices_without_a_line_are_put_where_the_mean_of_their_reads_is() -> None:
    rng = np.random.default_rng(1)
    reads = power_law(np.full(20, 5.0), np.full(20, 0.05))
    reads[0] = rng.uniform(0.5, 1.5, 5)
    one = devices(reads)
    found = fit_lines(one, Growth())
    settings = one.settings.lines
    found.nu[0] = settings.loose_nu * 1.01
    found.nu[1] = settings.loose_nu * 0.99
    found.log_g[2] += settings.loose_level * 1.01
    found.log_g[3] += settings.loose_level * 0.99
    found.squares[4] = np.nan
    kept = found.log_g.copy()
    loose = settle(one, found, Noise())
    assert np.flatnonzero(loose).tolist() == [0, 2, 4]
    nu = 0.05
    straight = reads * np.exp(nu * X)
    assert found.nu[[0, 2, 4]] == pytest.approx([nu] * 3, rel=1e-6)
    assert np.exp(found.log_g[[0, 2, 4]]) == pytest.approx(straight[[0, 2, 4]].mean(1), rel=1e-5)
    assert found.squares[0] == pytest.approx(((straight[0] / straight[0].mean() - 1) ** 2).sum(), rel=1e-4)
    assert found.log_g[[1, 3]].tolist() == kept[[1, 3]].tolist()


# ---- noise ---------------------------------------------------------------------------------------------------


def test_robust_statistics_are_those_of_quartiles() -> None:
    values, bins = np.array([5.0, 1.0, 2.0, 3.0, 4.0, 10.0, 20.0]), np.array([0, 0, 0, 0, 0, 1, 1])
    middle, spread = robust(values, bins, 2)
    assert middle.tolist() == [3.0, 20.0]
    assert spread == pytest.approx([2.0 / 1.349, 10.0 / 1.349])
    normal = np.random.default_rng(2).standard_normal(40_000)
    assert robust(normal, np.zeros(40_000, int), 1)[1][0] == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("freedom", [1.0, 3.0, 20.0])
def test_the_level_of_noise_is_that_of_the_median_of_chi_square(freedom: float) -> None:
    rng = np.random.default_rng(3)
    seen = 0.04 * rng.chisquare(freedom, 20_000) / freedom
    bins = np.repeat([0, 1], 10_000)
    found = _noise_level(np.where(bins == 0, seen, 9 * seen), np.full(20_000, freedom), bins, 2)
    error = 5 * 1.25 * np.sqrt(2 / freedom / 10_000) + 0.01
    assert found == pytest.approx([0.04, 0.36], rel=error)
    assert _noise_level(np.zeros(3), np.ones(3), np.zeros(3, int), 1).tolist() == [1e-10]


def test_levels_are_learnt_by_conductance_beside_what_is_constant() -> None:
    rng = np.random.default_rng(4)
    log_g = np.linspace(0.0, np.log(20.0), 6000)
    own, floor = 0.0004, 0.01
    variance = own + floor * np.exp(-2 * log_g)
    freedom = np.full(6000, 10.0)
    nothing = np.zeros(6000)
    lines = Lines(log_g, np.full(6000, 0.05), *[nothing] * 3, variance * rng.chisquare(10, 6000), freedom)
    found = levels(lines, Noise(floor=floor), 12, 100, 5)
    assert found.place.size == 12
    assert found.nu == pytest.approx(np.full(12, 0.05))
    assert np.median(found.relative) == pytest.approx(own, rel=0.15)
    plain = levels(lines, Noise(), 12, 100, 5)
    assert plain.relative[0] > 3 * own  # all of it counts as relative
    assert levels(lines.take(np.arange(0, 6000, 20)), Noise(), 12, 100, 5).place.size == 3


def test_no_constant_noise_is_larger_than_the_last_reads_of_the_emptiest_devices() -> None:
    rng = np.random.default_rng(5)
    reads = power_law(np.full(4000, 5.0), np.full(4000, 0.05))
    reads[:1000] = 0.3 * rng.standard_normal((1000, 5))
    reads[1:1000:2, 4] = np.nan  # then the read before is the last one
    assert _least_square(devices(reads)) == pytest.approx(0.09, rel=0.5)
    assert stats.chi2.median(1) < 0.5
    assert math.isfinite(_least_square(devices(reads[:50])))
