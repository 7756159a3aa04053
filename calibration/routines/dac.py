"""Fit of the DACs' curves: what is not linear in uniform inputs once the ADCs are known."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hwloop.calibration.routines.adc import NEAR_END, AdcFit
from hwloop.calibration.routines.pooling import pool
from hwloop.chip.cell_calibration import cubic, square
from hwloop.chip.info import ChipInfo
from hwloop.typing import FloatArray

WORST_CONDITION = 1e10
"""Condition of normal equations beyond which they tell nothing."""


@dataclass(frozen=True)
class DacFit:
    """Fit of all DACs, (rows,) in LSB."""

    square: FloatArray
    square_sigma: FloatArray
    cubic: FloatArray
    cubic_sigma: FloatArray
    mean_square_sigma: float = np.inf
    """Standard uncertainty of the mean of `square`."""

    def with_mean_square(self, mean: float, sigma: float) -> DacFit:
        """With the mean of the second-order deviation as another measurement gave it, and the rows about it as here."""
        own = np.sqrt(np.maximum(self.square_sigma**2 - self.square_sigma.min() ** 2, 0.0)) if self.measured else 0.0
        return replace(
            self,
            square=self.square + mean - self.square.mean(),
            square_sigma=np.hypot(own, sigma) + np.zeros_like(self.square),
            mean_square_sigma=sigma,
        )

    @property
    def measured(self) -> bool:
        """Whether the rows were looked at one by one."""
        return bool(np.isfinite(self.cubic_sigma).all())


def mean_second_order(adc: AdcFit, idle: NDArray[np.integer], info: ChipInfo) -> tuple[float, float]:
    """Mean second-order deviation of the DACs (LSB) and its standard uncertainty.

    It lifts each column's offset, as fitted at full-scale inputs, above its idle output, in proportion to the column's
    summed cells. The mean rounding error of an idle output is, under noise, nearly a sine of its fraction of an LSB,
    which the offset tells but for what all columns have in common. Where fractions differ, a sine and a cosine are
    fitted along; where they are alike, nothing can be, and rounding errors that add up are counted as doubt.
    """
    loud = ~adc.silent
    if not loud.any():
        return 0.0, float("inf")
    reach = adc.cells[:, loud].sum(0) / info.input_max
    lift = (adc.offset - adc.straight(idle.mean(0, keepdims=True), info.code_max)[0])[loud]
    phase = 2.0 * np.pi * adc.offset[loud]
    plain = _LeastSquares.of(reach[:, None], lift, adc.offset_in_common[:, loud])
    noise2 = max(float(idle[:, loud].var(0).mean()) - 1.0 / 12.0, 0.0)
    rounding2 = math.exp(-4.0 * math.pi**2 * noise2) / (2.0 * math.pi**2)
    power = float((reach**2).sum())
    alike = float(np.abs(reach @ np.exp(1j * phase)) ** 2) / power
    plain = replace(plain, variance=plain.variance + max(alike - 1.0, 0.0) * rounding2 / power)
    design = np.column_stack([reach, np.cos(phase), np.sin(phase)])
    best = min(plain, _LeastSquares.of(design, lift, adc.offset_in_common[:, loud]), key=lambda fit: fit.variance)
    return best.value, math.sqrt(best.variance)


@dataclass(frozen=True)
class _LeastSquares:
    """First coefficient of a fit, and its variance; infinite where it cannot be told."""

    value: float
    variance: float

    @classmethod
    def of(cls, design: FloatArray, values: FloatArray, in_common: FloatArray) -> _LeastSquares:
        """Fit of values (n,) on a design (n, k), whose errors are independent but for those in common (m, n)."""
        normal = design.T @ design
        freedom = len(values) - design.shape[1]
        if freedom < 1 or np.linalg.cond(normal) > WORST_CONDITION:
            return cls(0.0, math.inf)
        weights = np.linalg.solve(normal, design.T)
        scatter = float(np.square(values - design @ (weights @ values)).sum()) / freedom
        variance = scatter * float((weights[0] ** 2).sum()) + float(((in_common @ weights[0]) ** 2).sum())
        return cls(float(weights[0] @ values), variance)


def ideal_dacs(rows: int) -> DacFit:
    """What is assumed of DACs that were not measured."""
    unknown = np.full(rows, np.inf)
    return DacFit(np.zeros(rows), unknown, np.zeros(rows), unknown)


def fit_dacs(x: NDArray[np.integer], codes: NDArray[np.integer], adc: AdcFit, info: ChipInfo) -> DacFit:
    """Least squares of what is not linear in uniform inputs x (batch, rows) on the bend of every row.

    The unknowns of row i enter column j times cell (i, j), which is known. With the linear part and an offset
    projected out, the normal matrix is the product, element by element, of the inputs' and the cells' Gram matrices.
    """
    batch, rows = x.shape
    usable = np.abs(codes) < NEAR_END * info.code_max
    outputs = np.where(usable, adc.straight(codes.astype(np.float64), info.code_max), np.nan)
    columns = ~adc.silent & usable.all(0)
    u = x / info.input_max
    design = np.column_stack([u, np.ones(batch)])
    if not columns.any() or batch < 2 * (rows + 1):
        return ideal_dacs(rows)
    basis, _ = np.linalg.qr(design)
    features = np.concatenate([square(u), cubic(u)], axis=1) / info.input_max
    features -= basis @ (basis.T @ features)
    target = outputs[:, columns]
    target = target - basis @ (basis.T @ target)
    cells = adc.cells[:, columns]
    twice = np.concatenate([cells, cells])
    normal = (features.T @ features) * (twice @ twice.T)
    right = ((features.T @ target) * twice).sum(1)
    inverse = np.linalg.inv(normal + np.eye(2 * rows) * 1e-12 * np.trace(normal) / (2 * rows))
    found = inverse @ right
    residual = target - features @ (found[:, None] * twice)
    sigma = np.sqrt(np.diag(inverse) * _variance_across(residual, rows + 1, len(found)))
    second, third = pool(found[:rows], sigma[:rows]), pool(found[rows:], sigma[rows:])
    return DacFit(second.estimate, second.sigma, third.estimate, third.sigma)


def _variance_across(residual: FloatArray, own: int, shared: int) -> float:
    """Variance of residuals (batch, columns) of which so many behave as one another's copies, times that number.

    Columns without noise whose cells are alike round alike: they are so many copies of one column, not so many columns.

    own, shared  parameters that were fitted to each column, and to all of them together
    """
    batch, columns = residual.shape
    covariance: FloatArray = residual.T @ residual / batch
    power = float(np.trace(covariance))
    # Correlations that are seen by chance, 1 / batch on average, are none.
    copies = max(columns * float((covariance**2).sum()) / max(power**2, 1e-300) - columns / batch, 1.0)
    freedom = max(batch - own - shared * copies / columns, 1.0)
    return float(copies * power / columns * batch / freedom)
