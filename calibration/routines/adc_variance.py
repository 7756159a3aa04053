"""How well the outputs of a column tell its ADC's offset and nonlinearity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwloop.typing import BoolArray, FloatArray


@dataclass(frozen=True)
class Information:
    """What usable outputs tell of offset and nonlinearity of each column, for noise of one LSB.

    Which outputs are lost depends on the column's own sum. Without them its slope, its offset and its nonlinearity are
    told apart less well; all else that is linear in the inputs stays as independent of them as it was.
    """

    covariance: FloatArray
    """Covariance of the second- and third-order coefficients, (columns, 2, 2)."""
    apart: FloatArray
    """(2, batch, columns) what of the nonlinearities' shapes is neither constant nor linear among usable outputs."""
    offset: FloatArray
    """Variance of the offset if the nonlinearity were known, (columns,)."""
    offset_by_order: FloatArray
    """How much the offset falls when a coefficient rises, (2, columns)."""

    @classmethod
    def of(cls, linear: FloatArray, shapes: FloatArray, apart: FloatArray, usable: BoolArray) -> Information:
        """Compute what outputs tell.

        Parameters
        ----------
        linear
            (batch, columns) linear part of the outputs, less the offset, LSB.
        shapes
            (2, batch, columns) shapes of both orders at the column sums.
        apart
            (2, batch, columns) what of the shapes is not linear in the inputs, over all outputs.
        usable
            (batch, columns) outputs that are not near the ends of the range.
        """
        line = np.stack([np.ones_like(linear), linear / max(float(np.abs(linear).max()), 1e-300)])
        straight = shapes - apart
        elsewhere = straight - _on(line, straight, np.ones_like(usable))[0]
        here = shapes - elsewhere
        fitted, coefficients = _on(line, here, usable)
        own: FloatArray = (here - fitted) * usable
        normal = np.einsum("asc,bsc->cab", own, own)
        normal += np.eye(2) * 1e-9 * (1.0 + normal[:, 0, 0])[:, None, None]
        line_normal = _normal(line, usable)
        of_offset = np.linalg.inv(line_normal)[:, 0, 0].astype(np.float64)
        return cls(np.linalg.inv(normal), own, of_offset, coefficients[:, 0].T)

    @property
    def variance(self) -> FloatArray:
        """Variances of both coefficients, (2, columns)."""
        return np.stack([self.covariance[:, 0, 0], self.covariance[:, 1, 1]])


def _normal(line: FloatArray, usable: BoolArray) -> FloatArray:
    """Compute normal matrices (columns, 2, 2) of two regressors (2, batch, columns); never quite singular."""
    normal: FloatArray = np.einsum("asc,bsc,sc->cab", line, line, usable, optimize=True)
    return normal + np.eye(2) * 1e-9 * (1.0 + normal[:, :1, :1])


def _on(line: FloatArray, values: FloatArray, usable: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Fit values (2, batch, columns) by regressors (2, batch, columns) over usable outputs.

    Returns their fitted part, everywhere, and the coefficients (columns, regressors, 2).
    """
    right = np.einsum("asc,bsc,sc->cab", line, values, usable, optimize=True)
    coefficients = np.linalg.solve(_normal(line, usable), right)
    return np.einsum("asc,cab->bsc", line, coefficients, optimize=True), coefficients


def clustered_sigma(
    information: Information, which: BoolArray, residual: FloatArray, expected: FloatArray, most_bins: int
) -> tuple[FloatArray, FloatArray]:
    """Compute standard uncertainties, LSB, of both coefficients, (2, columns), and of their means over columns, (2,).

    Rounding errors are as good as independent where sums take many values or noise dithers them. Where they are not,
    equal sums have equal errors, in all columns: so residuals are first added up within each LSB of the expected
    outputs, and only the totals taken as independent (a cluster-robust variance: Liang and Zeger, Biometrika 73, 13,
    1986).

    Parameters
    ----------
    information
        Of all columns.
    which
        (all columns,) those that are asked for.
    residual, expected
        (batch, columns) of these, LSB; residuals scaled up by what the fit has taken out of them.
    most_bins
        Bins of expected outputs, at most.
    """
    columns = residual.shape[1]
    influence = np.einsum("cab,bsc->asc", information.covariance[which], information.apart[:, :, which]) * residual
    alone = (influence**2).sum(1)
    top = float(np.abs(expected).max())
    place = np.rint((expected + top) / max(1.0, 2.0 * top / most_bins)).astype(np.int64)
    bins = int(place.max()) + 1
    slot = (place * columns + np.arange(columns)).ravel()
    totals = np.stack([np.bincount(slot, part.ravel(), bins * columns) for part in influence]).reshape(2, bins, columns)
    # One factor for all columns: that of a single one would be uncertain itself.
    inflation = np.maximum((totals**2).sum((1, 2)) / np.maximum(alone.sum(1), 1e-300), 1.0)
    of_mean = np.maximum((totals.mean(2) ** 2).sum(1), alone.sum(1) / columns**2)
    return np.sqrt(alone * inflation[:, None]), np.sqrt(of_mean)
