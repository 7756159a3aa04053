"""The filters of a cell against arithmetic by hand and against draws from the very hypotheses they follow."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from hwloop.calibration.programming.stuck_hypotheses import Hypotheses, HypothesisFilters

G_MAX = 10.0
SIGN = np.array([1.0, 1.0, -1.0, -1.0])


def test_hypotheses_are_none_each_device_at_either_end_or_anywhere_and_all_pairs_at_ends() -> None:
    one = Hypotheses(SIGN, G_MAX, 11.0)
    assert len(one.stuck) == 1 + 4 * 3 + 6 * 4
    assert not one.stuck[0].any()
    assert one.stuck.sum(1).max() == 2
    assert set(one.level[one.stuck].tolist()) == {0.0, 5.0, 11.0}
    assert len(np.unique(np.hstack([one.stuck, one.level]), axis=0)) == len(one.stuck)
    assert one.at_reset.sum() == 4 + 6 * 4  # alone, and each of the two of a pair in half of its four
    prior = one.prior(0.01)
    assert prior[0] == 0.0
    assert prior[one.stuck.sum(1) == 2] == pytest.approx(2 * np.log(0.01))


def test_a_measurement_is_shared_by_variance_and_changes_no_device_that_a_hypothesis_knows() -> None:
    one = Hypotheses(np.array([1.0, -1.0]), G_MAX, 10.0)
    g, variance = np.array([[6.0], [1.0]]), np.array([[3.0], [1.0]])
    cell = HypothesisFilters(one, g, variance, one.prior(0.01)[None])
    cell.measure(np.array([7.0]), np.array([4.0]), np.ones((2, 1)))
    # 2 uS more than expected, of which (3 + 1) / (3 + 1 + 4) is believed, three parts to one.
    assert cell.g[0, 0] == pytest.approx([6.0 + 0.75, 1.0 - 0.25])
    assert np.diag(cell.covariance[0, 0]) == pytest.approx([3 - 9 / 8, 1 - 1 / 8])
    assert cell.covariance[0, 0, 0, 1] == pytest.approx(3 / 8)
    full = np.flatnonzero(one.stuck[:, 0] & ~one.stuck[:, 1] & (one.level[:, 0] == 10.0))[0]
    assert cell.g[0, full, 0] == pytest.approx(10.0, abs=0.6)  # 10 +- 1, seen 2 below what is expected


def test_a_pulse_moves_a_device_but_where_it_is_stuck() -> None:
    one = Hypotheses(np.array([1.0, -1.0]), G_MAX, 10.0)
    cell = HypothesisFilters(one, np.full((2, 3), 2.0), np.ones((2, 3)), np.tile(one.prior(0.01), (3, 1)))
    before = cell.g.copy()
    cell.pulse(np.array([0, 2]), np.array([0, 1]), np.array([8.0, 7.0]), np.array([0.5, 0.25]))
    assert np.array_equal(cell.g[1], before[1])
    assert np.array_equal(cell.g[0, :, 0], np.where(one.stuck[:, 0], before[0, :, 0], 8.0))
    assert np.array_equal(cell.g[2, :, 1], np.where(one.stuck[:, 1], before[2, :, 1], 7.0))
    assert cell.covariance[2, 0] == pytest.approx(np.diag([1.0, 0.25]))


def test_an_aim_tells_by_how_little_a_device_that_answers_would_show_what_a_stuck_one_does() -> None:
    one = Hypotheses(np.array([1.0, -1.0]), G_MAX, 10.0)
    (reset,) = np.flatnonzero(one.stuck[:, 0] & ~one.stuck[:, 1] & (one.level[:, 0] == 0.0))
    prior = np.full(len(one.stuck), -1e9)
    prior[0], prior[reset] = np.log(0.2), np.log(0.8)  # it answers, or is stuck fully RESET
    cell = HypothesisFilters(one, np.array([[6.0], [1.0]]), np.array([[0.3], [0.2]]), prior[None])
    cell.measure(np.array([-0.7]), np.array([0.5]), np.array([[0.9], [0.8]]))
    odds, (g, other) = cell.posterior()[0, [0, reset]], cell.covariance[0, [0, reset]]
    shown = cell.g[0, reset] @ [1.0, -0.8]  # a stuck device does not drift
    aims = np.array([1.0, 4.0, 9.0])
    expected = 0.9 * aims - 0.8 * cell.g[0, 0, 1]
    variance = 0.9**2 * 0.64 + 0.8**2 * g[1, 1] + 0.5 + np.array([1.0, -0.8]) @ other @ [1.0, -0.8] + 0.5
    outliers = 1e-3 / (2 * 2 * G_MAX)
    answers = odds[0] / odds.max() * (norm.pdf(shown, expected, np.sqrt(variance)) + outliers)
    assert cell.told(np.array([0]), aims, 0.64)[:, 0] == pytest.approx(-np.log(answers))


def test_posteriors_are_right_as_often_as_they_say() -> None:
    """Cells drawn from the prior, two pulses each: of those called likely by p, a share p is what they are called."""
    rng, share, n = np.random.default_rng(1), 0.05, 20_000
    one = Hypotheses(np.array([1.0, -1.0]), G_MAX, 10.0)
    prior = np.exp(one.prior(share))
    true = rng.choice(len(prior), n, p=prior / prior.sum())
    aim = np.tile([[5.0], [1.0]], n)
    stays = one.level[true] + one.spread[true] * rng.standard_normal((n, 2))
    g = np.where(one.stuck[true], stays, aim.T + rng.standard_normal((n, 2)))
    cell = HypothesisFilters(one, aim, np.ones((2, n)), np.tile(one.prior(share), (n, 1)))
    for device, sent in ((0, 5.0), (0, 9.0)):
        g[:, device] = np.where(one.stuck[true, device], g[:, device], sent + rng.standard_normal(n))
        cell.pulse(np.arange(n), np.full(n, device), np.full(n, sent), np.ones(n))
        cell.measure(g[:, 0] - g[:, 1] + 0.3 * rng.standard_normal(n), np.full(n, 0.09), np.ones((2, n)))
    posterior = cell.posterior()
    assert posterior.sum(1) == pytest.approx(1.0)
    for low, high in ((0.01, 0.1), (0.1, 0.4), (0.4, 0.8), (0.8, 1.0)):
        said = (posterior >= low) & (posterior < high)
        right = np.arange(len(prior)) == true[:, None]
        expected, found, count = posterior[said].mean(), right[said].mean(), said.sum()
        assert count > 100
        # Four standard deviations; outliers, which the filters allow for, make them a little less certain.
        assert found == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / count) + 0.02)


def test_cells_can_leave_and_join() -> None:
    one = Hypotheses(np.array([1.0, -1.0]), G_MAX, 10.0)
    nothing = np.zeros((2, len(one.stuck)))
    first, second = (HypothesisFilters(one, np.full((2, 2), g), np.ones((2, 2)), nothing) for g in (2.0, 3.0))
    first.keep(np.array([True, False]))
    first.join(second)
    assert first.g[:, 0, 0].tolist() == [2.0, 3.0, 3.0]
    assert first.posterior() == pytest.approx(np.full((3, len(one.stuck)), 1 / len(one.stuck)))
