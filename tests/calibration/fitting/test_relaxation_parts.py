"""Parts of the fits of relaxation and of drift with other noise: tables by hand, densities by their definition."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from hwloop.calibration.fitting.drift.other_noise import HeavyTailedDrift, TelegraphDrift
from hwloop.calibration.fitting.programming_curve.curve import Device, _apart, _between, curve_layout
from hwloop.calibration.fitting.relaxation.memory import _likelihood, _pair, remembered
from hwloop.calibration.fitting.relaxation.settings import RelaxationSettings
from hwloop.calibration.fitting.relaxation.table import _check_memory, _knots, relaxation_table
from hwloop.errors import BadInputError
from hwloop.files.measurements import Measurement

SETTINGS = RelaxationSettings()
AGES = np.array([1.0, 10.0, 100.0, 1000.0])


def measured(cells: int = 60, seed: int = 0) -> np.ndarray:
    """Conductances (ages, cells) that move by a tenth."""
    rng = np.random.default_rng(seed)
    first = rng.uniform(5.0, 50.0, cells)
    return np.vstack([first, *(first * (1 + 0.1 * rng.standard_normal((3, cells))))])


def test_a_table_has_first_reads_and_what_came_after() -> None:
    reads = measured()
    reads[2, 0] = np.nan
    table, screening = relaxation_table(Measurement.of("drift", AGES, reads))
    assert screening.kept.all()
    assert table.first == pytest.approx(reads[0])
    assert (table.first_age, table.clock) == (1.0, 10.0)
    assert set(table.first_time) == {1.0}
    assert table.there[1].tolist() == [False, True, True, True]
    assert table.there[0].sum() == 2
    at = table.there[1]
    assert table.conductance[1, at] == pytest.approx(reads[1:, 1])
    assert table.conductance[1, ~at] == pytest.approx(reads[0, 1])
    assert table.decades[1] == pytest.approx(np.log10((AGES + 10.0) / 11.0))
    assert table.log_g == pytest.approx(np.log(reads[0] / table.g_scale))


def test_cells_are_left_out_for_what_they_lack() -> None:
    reads = measured()
    reads[1:, 0] = np.nan  # read once
    reads[1, 1] = -1.0
    reads[:, 2] = 20.0  # never moves
    table, screening = relaxation_table(Measurement.of("drift", AGES, reads))
    assert np.flatnonzero(~screening.kept).tolist() == [0, 1, 2]
    assert table.cells.tolist() == list(range(3, 60))
    few, screening = relaxation_table(Measurement.of("drift", AGES, measured()), replace(SETTINGS, most_cells=40))
    assert (len(few.cells), screening.kept.sum()) == (40, 40)


@pytest.mark.parametrize(
    ("ages", "reads", "complaint"),
    [
        ([1.0, 10.0], measured()[:2], "a first and at least two later ages are needed"),
        (AGES, np.full((4, 30), 20.0), "every cell reads the same at all times"),
    ],
)
def test_what_tells_nothing_of_relaxation_is_refused(ages: np.ndarray, reads: np.ndarray, complaint: str) -> None:
    with pytest.raises(BadInputError, match=complaint):
        relaxation_table(Measurement.of("drift", ages, reads))


def test_first_reads_that_tell_nothing_of_the_next_are_of_other_cells() -> None:
    rng = np.random.default_rng(1)
    first = np.exp(rng.standard_normal(100))
    there = np.ones((100, 2), bool)
    _check_memory(first, np.stack([first, first], 1), there, 0.5)
    with pytest.raises(BadInputError, match="tells nothing of its next one"):
        _check_memory(first, np.stack([first[::-1], first], 1), there, 0.5)
    _check_memory(first, np.stack([first[::-1], first], 1), there, 5.0)  # cells that are alike may change places
    late = np.stack([np.ones(100, bool), np.zeros(100, bool)], 1)
    with pytest.raises(BadInputError, match="tells nothing of its next one"):
        _check_memory(first, np.stack([first[::-1], first], 1), late, 0.5)
    _check_memory(first[:2], np.stack([first[1::-1], first[:2]], 1), there[:2], 0.0)


def test_knots_lie_half_by_cells_and_half_evenly() -> None:
    first = np.concatenate([np.linspace(1.0, 2.0, 900), np.linspace(2.0, 11.0, 100)])
    settings = replace(SETTINGS, knots=5, cells_per_knot=100)
    found = np.exp(_knots(first, 10.0, settings)) * 10.0
    by_cells = np.quantile(first, np.linspace(0.001, 0.999, 5))
    assert found == pytest.approx((by_cells + np.linspace(by_cells[0], by_cells[-1], 5)) / 2)
    assert len(_knots(first[:250], 10.0, settings)) == 2
    assert len(_knots(first[:50], 10.0, settings)) == 2


# ---- memory --------------------------------------------------------------------------------------------------


def test_pairs_of_scores_have_the_density_of_a_t_copula() -> None:
    later, earlier, apart = np.array([[0.7]]), np.array([[-0.4]]), np.array([[0.5]])
    freedom, theta = 4.0, torch.tensor([1.2, 0.3], dtype=torch.float64)
    pair = tuple(torch.as_tensor(one) for one in (later, earlier, apart, np.array([[True]])))

    def density(memory: float, decades: float, scores: tuple[float, float]) -> float:
        r = 1 / (1 + np.exp(-memory)) * np.exp(-0.5 / np.exp(decades))
        return float(stats.multivariate_t([0, 0], [[1, r], [r, 1]], df=freedom).logpdf(scores))

    each = _likelihood([pair], freedom)  # type: ignore[list-item]
    other = torch.tensor([-0.5, 1.0], dtype=torch.float64)
    expected = density(1.2, 0.3, (0.7, -0.4)) - density(-0.5, 1.0, (0.7, -0.4))
    assert float(each(theta)[0] - each(other)[0]) == pytest.approx(expected)
    missing = (*pair[:3], torch.tensor([[False]]))
    assert float(_likelihood([missing], freedom)(theta)[0]) == 0.0  # type: ignore[list-item]


def test_pairs_are_so_many_reads_apart() -> None:
    scores, decades = np.arange(8.0).reshape(2, 4), np.array([[0.0, 1.0, 3.0, 6.0]] * 2)
    there = np.array([[True, True, True, True], [True, False, True, True]])
    later, earlier, apart, known = _pair(scores, decades, there, 2)
    assert (later.tolist(), earlier.tolist()) == ([[2.0, 3.0], [6.0, 7.0]], [[0.0, 1.0], [4.0, 5.0]])
    assert apart.tolist() == [[3.0, 5.0]] * 2
    assert known.tolist() == [[True, True], [True, False]]


def test_a_memory_that_was_put_in_is_found() -> None:
    rng = np.random.default_rng(2)
    cells, freedom = 4000, SETTINGS.memory_freedom
    decades = np.tile([0.0, 1.0, 2.0], (cells, 1))
    apart = np.abs(decades[0][:, None] - decades[0])
    r = 0.8 * np.exp(-apart / 2.0)
    np.fill_diagonal(r, 1.0)
    normal = rng.multivariate_normal(np.zeros(3), r, cells)
    scores = normal / np.sqrt(rng.chisquare(freedom, (cells, 1)) / freedom)
    table = SimpleNamespace(decades=decades, there=np.ones((cells, 3), bool))
    found = remembered(scores, table, SETTINGS)  # type: ignore[arg-type]
    assert 1 / (1 + np.exp(-found.theta[0])) == pytest.approx(0.8, abs=0.04)
    assert np.exp(found.theta[1]) == pytest.approx(2.0, rel=0.25)
    assert found.converged
    alone = SimpleNamespace(decades=decades, there=np.zeros((cells, 3), bool))
    nothing = remembered(scores, alone, SETTINGS)  # type: ignore[arg-type]
    assert np.isnan(nothing.covariance).all()
    assert not nothing.converged


# ---- other noise ---------------------------------------------------------------------------------------------


LATER = SimpleNamespace(
    read=np.array([9.0, 5.2]), expected=np.array([10.0, 5.0]), sigma=np.array([0.5, 0.2]), noise=np.array([0.3, 0.2])
)


def test_cells_that_switch_are_a_mixture_of_two_states() -> None:
    noise = SimpleNamespace(low=np.array([0.0, 0.3, 0.0]), step=np.array([0.0, 0.2, 0.0]))
    cells = np.array([1, 2])
    drop = np.exp(-0.2)
    mixture = 0.7 * stats.norm(10.0, 0.5).pdf(9.0) + 0.3 * stats.norm(10 * drop, 0.5 * drop).pdf(9.0)
    below = 0.7 * stats.norm(10.0, 0.5).cdf(9.0) + 0.3 * stats.norm(10 * drop, 0.5 * drop).cdf(9.0)
    family = TelegraphDrift()
    assert np.exp(family.log_density(noise, LATER, cells)) == pytest.approx([mixture, stats.norm(5, 0.2).pdf(5.2)])  # type: ignore[arg-type]
    assert family.distribution(noise, LATER, cells) == pytest.approx([below, stats.norm(5, 0.2).cdf(5.2)])  # type: ignore[arg-type]


def test_heavy_tails_are_averaged_over_where_a_device_may_be() -> None:
    noise = SimpleNamespace(freedom=5.0, scale=0.8)
    family = HeavyTailedDrift()
    density = np.exp(family.log_density(noise, LATER, np.arange(2)))  # type: ignore[arg-type]
    below = family.distribution(noise, LATER, np.arange(2))  # type: ignore[arg-type]
    place, own = 0.4, 0.8 * 0.3
    t = stats.t(5.0)
    expected, _ = integrate.quad(
        lambda at: t.pdf((9.0 - at) / own) / own * stats.norm(10.0, place).pdf(at), 6.0, 14.0, limit=200
    )
    under, _ = integrate.quad(lambda at: t.cdf((9.0 - at) / own) * stats.norm(10.0, place).pdf(at), 6.0, 14.0)
    assert density[0] == pytest.approx(expected, rel=0.02)
    assert below[0] == pytest.approx(under, rel=0.02)
    assert density[1] == pytest.approx(t.pdf(0.2 / 0.16) / 0.16)  # all of its spread is noise
    assert below[1] == pytest.approx(t.cdf(0.2 / 0.16))


# ---- programming curves --------------------------------------------------------------------------------------


def test_lines_between_places_are_flat_beyond() -> None:
    values = torch.tensor([1.0, 3.0, 2.0], dtype=torch.float64)
    at = torch.tensor([-5.0, 0.0, 1.0, 2.0, 3.0, 3.9], dtype=torch.float64)
    assert _between(at, (0.0, 2.0, 4.0), values).tolist() == pytest.approx([1.0, 1.0, 2.0, 3.0, 2.5, 2.05])
    assert float(_between(torch.tensor([9.0], dtype=torch.float64), (0.0, 2.0, 4.0), values)) == pytest.approx(
        2.0, abs=2e-3
    )


def test_of_a_second_read_what_the_first_does_not_tell_is_left() -> None:
    values = torch.arange(12.0).reshape(2, 3, 2)
    assert torch.equal(_apart(values, None), values.reshape(2, 6))
    common = torch.full((2, 3), 0.5)
    assert _apart(values, common)[0].tolist() == [0.0, 1.0, 2.0, 2.0, 4.0, 3.0]
    deep = _apart(values[..., None].expand(2, 3, 2, 3), common)
    assert deep.shape == (2, 6, 3)
    assert deep[0, 1].tolist() == [1.0, 1.0, 1.0]


def test_a_layout_has_the_noise_of_reads_by_conductance_or_as_a_power() -> None:
    plain = curve_layout(()).blocks[-1].coefficients
    assert [one.name for one in plain] == ["read_noise", "read_exponent"]
    knots = curve_layout((0.0, float(np.log(10.0)))).blocks
    assert [one.name for one in knots[-1].coefficients] == ["read_noise.v0", "read_noise.v1"]
    assert "over 10 uS" in knots[-1].coefficients[-1].meaning
    assert all(one.log for block in knots for one in block.coefficients)
    assert [one.value for one in Device] == [0, 1, 2]
