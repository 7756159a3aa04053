"""The fit of ADCs against least squares written out for one column at a time, and against many repetitions."""

from __future__ import annotations

import numpy as np
import pytest

from hwloop.calibration.probes import hadamard_inputs
from hwloop.calibration.routines.adc import AdcFit, AdcFitting
from hwloop.chip.cell_calibration import nonlinearity, second_order, third_order
from hwloop.typing import FloatArray

ROWS, COLUMNS, CODE_MAX = 32, 48, 127
NOISE = 0.5


class Columns:
    """Made-up columns whose sums are `reach` of the converters' range wide (one standard deviation)."""

    def __init__(self, seed: int, reach: float) -> None:
        rng = np.random.default_rng(seed)
        self.drive = hadamard_inputs(rng, 40, ROWS, 1).astype(np.float64)
        self.cells = rng.uniform(0.5, 1.5, (ROWS, COLUMNS))
        self.cells *= reach * CODE_MAX / np.sqrt((self.cells**2).sum(0))
        self.offset = rng.normal(0, 2, COLUMNS)
        self.curve = rng.normal(0, 1.5, (2, COLUMNS))
        linear = self.drive @ self.cells + self.offset
        bent = linear + nonlinearity(np.clip(linear / CODE_MAX, -1, 1), self.curve[:, None])
        self.codes = np.clip(np.rint(bent + NOISE * rng.standard_normal(bent.shape)), -CODE_MAX, CODE_MAX)

    def exactly(self, column: int) -> tuple[FloatArray, FloatArray]:
        """Offset, square and cubic of least squares over the outputs that are not near the ends, and their sigma."""
        linear = self.drive @ self.cells[:, column] + self.offset[column]
        u = np.clip(linear / CODE_MAX, -1, 1)
        usable = np.abs(linear + nonlinearity(u, self.curve[:, column])) < AdcFitting().near_end * CODE_MAX
        u = u[usable]
        design = np.column_stack([self.drive[usable], np.ones(usable.sum()), second_order(u), third_order(u)])
        inverse = np.linalg.inv(design.T @ design)
        found = inverse @ design.T @ self.codes[usable, column]
        # Rounding adds 1/12 to the variance of the noise.
        return found[-3:], np.sqrt(np.diag(inverse)[-3:] * (NOISE**2 + 1 / 12))


def parameters(fit: AdcFit) -> tuple[FloatArray, FloatArray]:
    """Offset, square and cubic (3, columns), and their standard uncertainties."""
    sigma = np.stack([fit.offset_sigma, fit.second_order_sigma, fit.third_order_sigma])
    return np.stack([fit.offset, fit.second_order, fit.third_order]), sigma


@pytest.mark.parametrize(("reach", "lost"), [(0.25, 0.0), (0.7, 0.15)])
def test_what_is_found_is_what_least_squares_over_the_usable_outputs_finds(reach: float, lost: float) -> None:
    made = Columns(1, reach)
    assert np.mean(np.abs(made.codes) == CODE_MAX) == pytest.approx(lost, abs=0.03)
    found, sigma = parameters(AdcFitting().fit_adcs(made.drive, made.codes, CODE_MAX))
    exact = [made.exactly(column) for column in range(COLUMNS)]
    expected, expected_sigma = (np.stack([one[k] for one in exact], axis=1) for k in (0, 1))
    # Not equal: the fit evaluates shapes where it sees the column sums, not where they are, and shrinks them a
    # little towards their mean, by 2 % where nothing is lost.
    assert np.abs((found - expected) / expected_sigma).max() < 0.75
    # Third powers of sums that are themselves known to a per cent: a bend that hardly shows, of 0.2 LSB, is 26 % off.
    assert sigma == pytest.approx(expected_sigma, rel=0.3)


def test_stated_uncertainties_are_those_of_repetitions() -> None:
    errors = []
    for seed in range(20):
        made = Columns(seed, 0.7)
        found, sigma = parameters(AdcFitting().fit_adcs(made.drive, made.codes, CODE_MAX))
        errors.append((found - np.stack([made.offset, *made.curve])) / sigma)
    # 960 values each: the standard deviation is known to 2.3 %.
    assert np.std(errors, axis=(0, 2)) == pytest.approx(1.0, abs=0.1)


def test_a_column_that_does_not_move_is_unresponsive() -> None:
    made = Columns(1, 0.25)
    made.codes[:, 3] = 4.0
    fit = AdcFitting().fit_adcs(made.drive, made.codes, CODE_MAX)
    assert np.flatnonzero(fit.unresponsive).tolist() == [3]
    assert fit.second_order[3] == fit.third_order[3] == 0.0
    assert np.isfinite(fit.offset).all()


@pytest.mark.filterwarnings("error")
def test_outputs_without_any_error_show_no_bend() -> None:
    rng = np.random.default_rng(0)
    drive = hadamard_inputs(rng, 8, ROWS, 1).astype(np.float64)
    cells = rng.integers(1, 6, (ROWS, COLUMNS)).astype(np.float64)
    found, sigma = parameters(AdcFitting().fit_adcs(drive, drive @ cells, CODE_MAX))
    assert np.abs(found).max() < 1e-6
    assert np.isfinite(sigma).all()
