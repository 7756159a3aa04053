"""What usable outputs tell of offset and nonlinearity: against least squares, column by column."""

from __future__ import annotations

import numpy as np
import pytest

from hwloop.calibration.routines.adc_variance import Information, clustered_sigma

RNG = np.random.default_rng(4)
INPUTS = RNG.choice([-1.0, 1.0], (300, 6))
LINEAR = 60.0 * INPUTS @ RNG.uniform(-0.5, 0.5, (6, 3))
U = LINEAR / 127.0
SHAPES = np.stack([U**2, (U**2 - 1) * U / (2 / np.sqrt(27.0))])
DESIGN = np.column_stack([np.ones(300), INPUTS])
APART = np.stack([shape - DESIGN @ np.linalg.lstsq(DESIGN, shape, rcond=None)[0] for shape in SHAPES])


def test_with_all_outputs_usable_it_is_the_covariance_of_least_squares() -> None:
    found = Information.of(LINEAR, SHAPES, APART, np.ones(LINEAR.shape, bool))
    for column in range(3):
        whole = np.column_stack([DESIGN, SHAPES[0, :, column], SHAPES[1, :, column]])
        expected = np.linalg.inv(whole.T @ whole)[-2:, -2:]
        assert found.covariance[column] == pytest.approx(expected, rel=1e-5)
        assert found.variance[:, column] == pytest.approx(np.diag(expected), rel=1e-5)
    assert found.apart == pytest.approx(APART, abs=1e-6)
    line = np.column_stack([np.ones(300), LINEAR[:, 0]])
    assert found.offset[0] == pytest.approx(np.linalg.inv(line.T @ line)[0, 0], rel=1e-5)


def test_outputs_near_the_ends_tell_nothing() -> None:
    usable = np.abs(LINEAR) < 0.7 * np.abs(LINEAR).max()
    found, every = (Information.of(LINEAR, SHAPES, APART, one) for one in (usable, np.ones_like(usable)))
    assert np.all(found.variance > every.variance)
    assert np.all(found.offset > every.offset)
    assert not found.apart[:, ~usable].any()
    for column in range(3):
        line = np.column_stack([np.ones(300), LINEAR[:, column]])[usable[:, column]]
        assert found.offset[column] == pytest.approx(np.linalg.inv(line.T @ line)[0, 0], rel=1e-5)


def test_the_offset_falls_as_a_coefficient_rises_by_what_a_line_takes_of_its_shape() -> None:
    """Shapes that are the same function of the sum whatever the inputs: a line through them has this constant."""
    found = Information.of(LINEAR, SHAPES, np.zeros_like(APART), np.ones(LINEAR.shape, bool))
    for column in range(3):
        line = np.column_stack([np.ones(300), LINEAR[:, column]])
        constant = np.linalg.lstsq(line, SHAPES[:, :, column].T, rcond=None)[0][0]
        assert found.offset_by_order[:, column] == pytest.approx(constant, rel=1e-4, abs=1e-7)


def test_independent_errors_have_the_uncertainty_of_least_squares() -> None:
    found = Information.of(LINEAR, SHAPES, APART, np.ones(LINEAR.shape, bool))
    residual = np.random.default_rng(1).standard_normal(LINEAR.shape)
    sigma, of_mean = clustered_sigma(found, np.ones(3, bool), residual, 2.0 * np.arange(900.0).reshape(300, 3), 10**4)
    # Heteroscedastic estimates count the few outputs at the ends most: they are good to some twenty per cent.
    assert sigma == pytest.approx(np.sqrt(found.variance), rel=0.45)
    assert of_mean == pytest.approx(np.sqrt(found.variance.sum(1)) / 3, rel=0.4)


def test_equal_errors_of_equal_sums_do_not_average_out() -> None:
    """Every LSB of the output has one error: totals within it are what is independent."""
    found = Information.of(LINEAR, SHAPES, APART, np.ones(LINEAR.shape, bool))
    expected = 10.0 * np.sign(LINEAR)  # two sums alone
    residual = np.where(LINEAR > 0, 0.4, -0.3)
    sigma, of_mean = clustered_sigma(found, np.ones(3, bool), residual, expected, 4096)
    influence = np.einsum("cab,bsc->asc", found.covariance, found.apart) * residual
    alone = (influence**2).sum(1)
    totals = np.stack([(influence * (sign * LINEAR > 0)).sum(1) for sign in (1, -1)], axis=1)
    factor = np.maximum((totals**2).sum((1, 2)) / alone.sum(1), 1.0)
    assert sigma == pytest.approx(np.sqrt(alone * factor[:, None]))
    mean = np.maximum((totals.mean(2) ** 2).sum(1), alone.sum(1) / 9)
    assert of_mean == pytest.approx(np.sqrt(mean))
    some = np.array([True, False, True])
    few, _ = clustered_sigma(found, some, residual[:, some], expected[:, some], 4096)
    assert few.shape == (2, 2)
