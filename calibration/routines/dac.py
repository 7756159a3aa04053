"""Fit of the DACs' curves: what is not linear in uniform inputs once the ADCs are known."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hwloop.calibration.routines.adc import AdcFit
from hwloop.calibration.routines.pooling import pool
from hwloop.chip.cell_calibration import second_order, third_order
from hwloop.chip.info import ChipInfo
from hwloop.typing import FloatArray

WORST_CONDITION = 1e10
"""Condition of normal equations beyond which they tell nothing."""


@dataclass(frozen=True)
class DacFit:
    """Fit of all DACs, (rows,) in LSB."""

    second_order: FloatArray
    second_order_sigma: FloatArray
    third_order: FloatArray
    third_order_sigma: FloatArray
    mean_second_order_sigma: float = np.inf
    """Standard uncertainty of the mean of `second_order`."""

    def with_mean_second_order(self, mean: float, sigma: float) -> DacFit:
        """Take the mean of the second-order deviation from another measurement, and the rows about it from this one."""
        own = (
            np.sqrt(np.maximum(self.second_order_sigma**2 - self.second_order_sigma.min() ** 2, 0.0))
            if self.measured
            else 0.0
        )
        return replace(
            self,
            second_order=self.second_order + mean - self.second_order.mean(),
            second_order_sigma=np.hypot(own, sigma) + np.zeros_like(self.second_order),
            mean_second_order_sigma=sigma,
        )

    @property
    def measured(self) -> bool:
        """Whether the rows were looked at one by one."""
        return bool(np.isfinite(self.third_order_sigma).all())


def mean_second_order(adc: AdcFit, idle: NDArray[np.integer], info: ChipInfo) -> tuple[float, float]:
    """Return the mean second-order deviation of the DACs (LSB) and its standard uncertainty.

    It lifts each column's offset, as fitted at full-scale inputs, above its idle output, in proportion to the column's
    summed cells. The mean rounding error of an idle output is, under noise, nearly a sine of its fraction of an LSB,
    which the offset tells but for what all columns have in common. Where fractions differ, a sine and a cosine are
    fitted along; where they are alike, nothing can be, and rounding errors that add up count as variance.
    """
    responsive = ~adc.unresponsive
    if not responsive.any():
        return 0.0, float("inf")
    reach = adc.cells[:, responsive].sum(0) / info.input_max
    lift = (adc.offset - adc.straight(idle.mean(0, keepdims=True), info.code_max)[0])[responsive]
    phase = 2.0 * np.pi * adc.offset[responsive]
    plain = _LeastSquares.of(reach[:, None], lift, adc.offset_in_common[:, responsive])
    noise2 = max(float(idle[:, responsive].var(0).mean()) - 1.0 / 12.0, 0.0)
    rounding2 = math.exp(-4.0 * math.pi**2 * noise2) / (2.0 * math.pi**2)
    power = float((reach**2).sum())
    alike = float(np.abs(reach @ np.exp(1j * phase)) ** 2) / power
    plain = replace(plain, variance=plain.variance + max(alike - 1.0, 0.0) * rounding2 / power)
    design = np.column_stack([reach, np.cos(phase), np.sin(phase)])
    best = min(plain, _LeastSquares.of(design, lift, adc.offset_in_common[:, responsive]), key=lambda fit: fit.variance)
    return best.value, math.sqrt(best.variance)


@dataclass(frozen=True)
class _LeastSquares:
    """First coefficient of a fit, and its variance; infinite where it cannot be told."""

    value: float
    variance: float

    @classmethod
    def of(cls, design: FloatArray, values: FloatArray, in_common: FloatArray) -> _LeastSquares:
        """Fit values (n,) on a design (n, k), whose errors are independent but for those in common (m, n)."""
        normal = design.T @ design
        freedom = len(values) - design.shape[1]
        if freedom < 1 or np.linalg.cond(normal) > WORST_CONDITION:
            return cls(0.0, math.inf)
        weights = np.linalg.solve(normal, design.T)
        scatter = float(np.square(values - design @ (weights @ values)).sum()) / freedom
        variance = scatter * float((weights[0] ** 2).sum()) + float(((in_common @ weights[0]) ** 2).sum())
        return cls(float(weights[0] @ values), variance)


def ideal_dacs(rows: int) -> DacFit:
    """Return what is assumed of DACs that were not measured."""
    unknown = np.full(rows, np.inf)
    return DacFit(np.zeros(rows), unknown, np.zeros(rows), unknown)


def fit_dacs(
    x: NDArray[np.integer], codes: NDArray[np.integer], adc: AdcFit, info: ChipInfo, near_end: float
) -> DacFit:
    """Fit what is not linear in uniform inputs by the nonlinearity of every row.

    The unknowns of row i enter column j times cell (i, j), which is known. With the linear part and an offset
    projected out, the normal matrix is the product, element by element, of the inputs' and the cells' Gram matrices.

    Parameters
    ----------
    x, codes
        Inputs (batch, rows) and output codes (batch, columns).
    adc
        The fit of the ADCs.
    info
        The chip.
    near_end
        Columns with outputs beyond this share of the range are left out.
    """
    batch, rows = x.shape
    usable = np.abs(codes) < near_end * info.code_max
    outputs = np.where(usable, adc.straight(codes.astype(np.float64), info.code_max), np.nan)
    columns = ~adc.unresponsive & usable.all(0)
    u = x / info.input_max
    design = np.column_stack([u, np.ones(batch)])
    if not columns.any() or batch < 2 * (rows + 1):
        return ideal_dacs(rows)
    basis, _ = np.linalg.qr(design)
    features = np.concatenate([second_order(u), third_order(u)], axis=1) / info.input_max
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
    """Return the variance of residuals, times the number of columns that behave as copies of one another.

    Columns without noise whose cells are alike round alike: they are so many copies of one column, not so many columns.

    Parameters
    ----------
    residual
        (batch, columns), LSB.
    own, shared
        Parameters that were fitted to each column, and to all of them together.
    """
    batch, columns = residual.shape
    covariance: FloatArray = residual.T @ residual / batch
    power = float(np.trace(covariance))
    # Correlations that are seen by chance, 1 / batch on average, are none.
    copies = max(columns * float((covariance**2).sum()) / max(power**2, 1e-300) - columns / batch, 1.0)
    freedom = max(batch - own - shared * copies / columns, 1.0)
    return float(copies * power / columns * batch / freedom)
