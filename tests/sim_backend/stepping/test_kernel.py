"""What pulse trains do to devices, against closed forms and recursions worked out beside the kernel."""

import numpy as np
import pytest

from hwloop.chip.pulses import PulseKind, Pulses
from hwloop.chip.updates import PulseTrains
from tests.sim_backend.stepping.conftest import alike, laws, noise_of, plain_step, put, weights

ROWS = COLUMNS = 32
REPEATS = 130
LENGTH, ROW, COLUMN = 31, 0.5, 0.5
"""A million coincidences: 130 updates of 1024 devices, 7.75 coincidences each."""


def updated(chip, start, up, length=LENGTH, row=ROW, column=COLUMN):
    """Changes (repeats, devices) of weights by one update from a known weight, again and again."""
    top = chip.info.stepping.levels
    x, d = np.full((1, ROWS), top), np.full((1, COLUMNS), top if up else -top)
    changes = []
    for _ in range(REPEATS):
        put(chip, start)
        before = weights(chip)
        chip.update(0, x, d, PulseTrains(length, row, column))
        changes.append((weights(chip) - before).ravel())
    return np.array(changes)


def assert_moments(changes, mean, variance):
    """Compare mean and variance over all, to 3 standard errors.

    Devices of a row share its train, so what is independent are the repeats: the means over the devices of each, and
    the means of the squares about the expected mean.
    """
    for found, expected in ((changes, mean), ((changes - mean) ** 2, variance)):
        of_repeats = found.mean(1)
        error = of_repeats.std(ddof=1) / np.sqrt(len(of_repeats))
        assert of_repeats.mean() == pytest.approx(expected, abs=3 * error)


@pytest.mark.parametrize("name", laws())
@pytest.mark.parametrize("up", [True, False])
def test_small_steps_add_up_to_the_published_mean_and_variance(made, name, up):
    """Mean BL p s, variance BL p (1 - p) s^2 + BL p (s sigma)^2, for steps that hardly change along the train."""
    law, start = laws()[name], 0.2
    law = alike(law, step=law.step / 1000)
    chip = made(law)
    changes = updated(chip, start, up)
    assert chip.counts.pulses > 1e6
    p, size = ROW * COLUMN, plain_step(law, start, up)
    variance = LENGTH * p * (1 - p) * size**2 + LENGTH * p * noise_of(law, start, up) ** 2
    assert_moments(changes, LENGTH * p * size * (1 if up else -1), variance)


def test_large_steps_follow_the_exact_recursion(made):
    """Of soft bounds, in closed form: after k steps the distance to the bound is (1 - a)^k of what it was."""
    law = alike(laws()["soft bounds"], step=0.05, cycle_spread=0.2)
    chip, start = made(law), 0.2
    changes = updated(chip, start, True)
    k, p = np.arange(LENGTH + 1), ROW * COLUMN
    from scipy.stats import binom

    chance, keep = binom.pmf(k, LENGTH, p), 1 - law.step / law.high
    means = (law.high - start) * (1 - keep**k)
    spreads = (law.cycle_spread * law.step) ** 2 * (1 - keep ** (2 * k)) / (1 - keep**2)
    mean = chance @ means
    assert_moments(changes, mean, chance @ (spreads + (means - mean) ** 2))


@pytest.mark.parametrize("name", laws())
def test_a_thousand_pulses_up_and_down_follow_the_recursion_of_the_mean_step(made, name):
    """Without noise, pulse by pulse, from the formulas of the literature."""
    law = alike(laws()[name], cycle_spread=0.0)
    chip = made(law, rows=1, columns=2)
    expected = 0.0
    for up in (True, False):
        kind = PulseKind.SET if up else PulseKind.RESET
        for _ in range(1000):
            size = max(plain_step(law, expected, up), 0.0)
            expected = min(max(expected + (size if up else -size), law.low), law.high)
            chip.pulse(0, Pulses.make(kind, [0, 1], 10.0, 1.0))
        assert weights(chip) == pytest.approx(expected, abs=2e-4)
    assert chip.pulse_counts(0)[0].min() == 2000


def test_a_thousand_pulses_leave_the_spread_of_an_autoregression(made):
    """Of soft bounds with additive noise: variance (a s)^2 (1 - keep^2k) / (1 - keep^2), mean geometric."""
    law = alike(laws()["soft bounds"], step=0.004, cycle_spread=1.0, low=-3.0, high=3.0)
    chip = made(law, rows=64, columns=64)
    count, keep = 1000, 1 - law.step / law.high
    x, d = np.full((1, 64), count), np.full((1, 64), -count)
    chip.update(0, x, d, PulseTrains(count, stochastic=False))
    found, devices = weights(chip), 64 * 64
    mean = -law.high * (1 - keep**count)
    variance = (law.step * law.cycle_spread) ** 2 * (1 - keep ** (2 * count)) / (1 - keep**2)
    assert found.mean() == pytest.approx(mean, abs=3 * np.sqrt(variance / devices))
    assert found.var() == pytest.approx(variance, rel=3 * np.sqrt(2 / devices))


def test_the_mean_update_is_linear_in_the_integers(made):
    """lr x d for constant steps: length times both probabilities times the step."""
    law = alike(laws()["constant"], step=1e-4)
    chip, top = made(law), 32767
    x = np.linspace(-top, top, ROWS).astype(int)
    d = np.linspace(-top, top, COLUMNS).astype(int)
    put(chip, 0.0)
    count = 2000
    chip.update(0, np.tile(x, (count, 1)), np.tile(d, (count, 1)), PulseTrains(10, 0.8, 0.4))
    chance = 0.8 * 0.4 * np.outer(x, d) / top**2
    expected = 10 * count * chance * law.step
    p = np.abs(chance)
    error = law.step * np.sqrt(10 * count * p * (1 - p + law.cycle_spread**2))
    away = (weights(chip) - expected) / np.maximum(error, 1e-9)
    assert np.abs(away).max() < 5
    assert away.std() == pytest.approx(1, abs=0.15)


def test_devices_of_a_row_share_its_train(made):
    """Coincidences on a row are correlated by its train: covariance BL p_x p_d^2 (1 - p_x) between two columns."""
    chip, top = made(laws()["constant"]), 32767
    before, counts = 0, []
    for _ in range(2000):
        chip.update(0, np.eye(1, ROWS, 3, int) * top, np.full((1, COLUMNS), top), PulseTrains(20, 0.3, 0.6))
        now = chip.pulse_counts(0)[0, 0, 3]
        counts.append(now - before)
        before = now
    covariance = np.cov(np.array(counts).T)
    off = covariance[~np.eye(COLUMNS, dtype=bool)].mean()
    assert off == pytest.approx(20 * 0.3 * 0.7 * 0.36, rel=0.1)


def test_updates_are_applied_in_order(made):
    """Down against a bound and then up is not up and then down."""
    law = alike(laws()["constant"], cycle_spread=0.0)
    chip, top = made(law, rows=1, columns=1), 32767
    put(chip, law.low)
    chip.update(0, [[top], [top]], [[-top], [top]], PulseTrains(5))
    assert weights(chip)[0, 0] == pytest.approx(law.low + 5 * law.step, abs=1e-6)
    put(chip, law.low)
    chip.update(0, [[top], [top]], [[top], [-top]], PulseTrains(5))
    assert weights(chip)[0, 0] == pytest.approx(law.low, abs=1e-6)


def test_trains_of_many_words_are_as_long_as_they_say(made):
    chip, top = made(laws()["constant"], rows=1, columns=1), 32767
    chip.update(0, [[top]] * 3, [[top]] * 3, PulseTrains([130, 64, 1]))
    assert chip.pulse_counts(0)[0].sum() == 195


def test_write_noise_is_seen_and_not_kept(made):
    """The seen weight has the noise of the last pulse, drawn anew at each; steps act on what is beneath."""
    law = alike(laws()["constant"], step=1e-3, cycle_spread=0.0, write_noise=50.0)
    chip, top = made(law), 32767
    seen = []
    for _ in range(30):
        chip.update(0, np.full((1, ROWS), top), np.full((1, COLUMNS), top), PulseTrains(1))
        seen.append(chip._core(0).devices.seen[: ROWS * COLUMNS].copy())
    assert weights(chip) == pytest.approx(30 * law.step, abs=1e-5)
    noise = np.array(seen) - law.step * np.arange(1, 31)[:, None]
    assert noise.std() == pytest.approx(50 * law.step, rel=3 / np.sqrt(2 * noise.size))
    assert abs(np.corrcoef(noise[:-1].ravel(), noise[1:].ravel())[0, 1]) < 4 / np.sqrt(noise.size)


def test_the_same_seed_does_the_same_and_another_one_does_not(made):
    def history(seed):
        chip = made(laws()["soft bounds"], seed=seed)
        chip.update(0, np.full((3, ROWS), 9000), np.full((3, COLUMNS), 9000), PulseTrains(31))
        return weights(chip)

    assert np.array_equal(history(1), history(1))
    assert not np.array_equal(history(1), history(2))
