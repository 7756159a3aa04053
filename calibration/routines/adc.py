"""Fit of the ADCs' curves: what is not linear in inputs of plus and minus full scale, which DACs meet at two points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwloop.calibration.routines.pooling import pool
from hwloop.chip.cell_calibration import Converters, bend, cubic, square
from hwloop.typing import FloatArray

NEAR_END = 0.97
"""Outputs expected beyond this share of the converter's range are left out, whatever they were."""
MOST_BINS = 4096
"""Bins of expected outputs within which residuals are taken as alike."""
LEAST_CELLS = 10.0
"""Effective number of cells behind a column, below which its sums take too few values to show a curve."""
ROUNDS = 100
SETTLED = 0.0005
"""Fits of the forward curve, at most: each evaluates the bend where the last one saw the column sums, and expects
saturated outputs where the last one put them, until no bend changes by as much as this, LSB."""
CHOSEN = 0.1
"""Change of the bends, LSB, below which no output is left out or taken back any more: some would alternate for ever."""
LEAST_SIGNAL = 5.0
"""Standard deviation of the output codes, LSB, below which a column shows nothing of its converter's curve."""
MOST_DOUBT = 1.0
"""LSB: a column whose offset is less well known than this shows nothing of its converter either."""


@dataclass(frozen=True)
class AdcFit:
    """Fit of all ADCs: cells (rows, columns) in codes at full-scale input, the rest (columns,) in LSB."""

    cells: FloatArray
    offset: FloatArray
    offset_sigma: FloatArray
    offset_in_common: FloatArray
    """(2, columns) what of offset_sigma all columns owe to the errors that their bends, each order, have in common."""
    square: FloatArray
    square_sigma: FloatArray
    cubic: FloatArray
    cubic_sigma: FloatArray
    noise: FloatArray
    silent: NDArray[np.bool_]

    def bent(self, ideal: FloatArray, code_max: int) -> FloatArray:
        """Codes (columns,) that the ADCs make of ideal ones, noise and rounding left out."""
        return ideal + bend(ideal / code_max, np.stack([self.square, self.cubic]))

    def straight(self, codes: FloatArray, code_max: int) -> FloatArray:
        """Codes (batch, columns) with the bend taken out."""
        curve = np.stack([self.square, self.cubic])
        ideal = Converters(1, code_max, np.zeros(len(self.offset)), np.ones(len(self.offset)), curve, np.zeros((2, 1)))
        return ideal.ideal_codes(codes)


def fit_adcs(drive: FloatArray, codes: FloatArray, code_max: int) -> AdcFit:
    """Least squares of codes (batch, columns) on drive (batch, rows), an offset, and the bend of the column itself.

    All columns share their inputs, so the cells are projected out of everything once; what is left is a problem of
    two unknowns per column.
    """
    batch, rows = drive.shape
    basis, triangle = np.linalg.qr(np.column_stack([drive, np.ones(batch)]))
    own = _own_curves(basis, codes, code_max)
    seen = np.maximum(own.usable.sum(0), 1)
    freedom = np.maximum(seen - rows - 3, 1)
    noise = np.sqrt((own.residual**2).sum(0) / freedom)
    solution = np.linalg.solve(triangle, own.straight_in)
    power = solution[:-1] ** 2
    behind = power.sum(0) ** 2 / np.maximum((power**2).sum(0), 1e-300)
    told = _Told.by(own.linear - solution[-1], own.shapes, own.apart, own.usable)
    silent = (np.std(codes, axis=0) < LEAST_SIGNAL) | (behind < LEAST_CELLS) | (noise**2 * told.offset > MOST_DOUBT**2)
    loud = ~silent
    curve, sigma = own.curve.copy(), noise * np.sqrt(np.stack([told.inverse[:, 0, 0], told.inverse[:, 1, 1]]))
    in_common = np.zeros((2, codes.shape[1]))
    if loud.any():
        error = own.residual * np.sqrt(seen / freedom)
        sigma[:, loud], sigma_of_mean = _uncertainties(
            told.inverse[loud], told.apart[:, :, loud], error[:, loud], own.expected[:, loud]
        )
        for k in range(2):
            pooled = pool(curve[k, loud], sigma[k, loud], sigma_of_mean[k])
            curve[k, loud], sigma[k, loud] = pooled.estimate, pooled.sigma
            in_common[k] = told.offset_by_bend[k] * pooled.mean_sigma
    offset_sigma = np.sqrt(noise**2 * told.offset + (told.offset_by_bend**2 * sigma**2).sum(0))
    silent |= offset_sigma > MOST_DOUBT
    curve[:, silent] = 0.0
    # Cells and offset move with the bend that was finally believed.
    straight_in = _straightened(basis, own, codes, curve, code_max)
    solution = np.linalg.solve(triangle, straight_in)
    return AdcFit(
        cells=solution[:-1],
        offset=solution[-1],
        offset_sigma=offset_sigma,
        offset_in_common=in_common,
        square=curve[0],
        square_sigma=sigma[0],
        cubic=curve[1],
        cubic_sigma=sigma[1],
        noise=noise,
        silent=silent,
    )


@dataclass(frozen=True)
class _OwnCurves:
    """What each column says of itself; arrays (batch, columns) but for curve (2, columns) and straight_in."""

    curve: FloatArray
    straight_in: FloatArray
    """What of the codes, their bend taken out, is linear in the inputs: in the basis of the inputs."""
    linear: FloatArray
    """The same for each input vector, LSB."""
    expected: FloatArray
    usable: NDArray[np.bool_]
    shapes: FloatArray
    """The bends' shapes (2, batch, columns) at the column sums."""
    apart: FloatArray
    """What of them is not linear in the inputs."""
    residual: FloatArray
    """LSB; zero for outputs that are not usable."""


def _own_curves(basis: FloatArray, codes: FloatArray, code_max: int) -> _OwnCurves:
    """The bend of each column by repeated least squares; outputs expected near the end of the range are left out.

    Left out means replaced by their expectation, which keeps one basis for all columns.
    """
    curve = np.zeros((2, codes.shape[1]))
    straight_in = basis.T @ codes
    choosing = True
    for number in range(ROUNDS):
        linear = basis @ straight_in
        u = np.clip(linear / code_max, -1.0, 1.0)
        expected = linear + bend(u, curve[:, None])
        if choosing:
            usable = np.abs(expected) < NEAR_END * code_max
        filled = np.where(usable, codes, expected)
        shapes = np.stack([square(u), cubic(u)])
        shapes_in, filled_in = basis.T @ shapes, basis.T @ filled
        normal = np.einsum("asc,bsc->cab", shapes, shapes) - np.einsum("asc,bsc->cab", shapes_in, shapes_in)
        # A column that hardly moves shows no bend; it gets none.
        normal += np.eye(2) * 1e-9 * (1.0 + normal[:, 0, 0])[:, None, None]
        right = np.einsum("asc,sc->ca", shapes, filled) - np.einsum("asc,sc->ca", shapes_in, filled_in)
        before, curve = curve, np.linalg.solve(normal, right[..., None])[..., 0].T
        straight_in = filled_in - (curve[:, None] * shapes_in).sum(0)
        change = float(np.abs(curve - before).max())
        if change < SETTLED:
            break
        choosing = choosing and change > CHOSEN and number < ROUNDS // 2
    residual = (filled - bend(u, curve[:, None]) - basis @ straight_in) * usable
    return _OwnCurves(curve, straight_in, linear, expected, usable, shapes, shapes - basis @ shapes_in, residual)


def _straightened(
    basis: FloatArray, own: _OwnCurves, codes: FloatArray, curve: FloatArray, code_max: int
) -> FloatArray:
    """What of the codes is linear in the inputs, in their basis, with the bends `curve` (2, columns)."""
    straight_in = own.straight_in
    for _ in range(ROUNDS):
        linear = basis @ straight_in
        deviation = bend(np.clip(linear / code_max, -1.0, 1.0), curve[:, None])
        before, straight_in = straight_in, basis.T @ np.where(own.usable, codes - deviation, linear)
        # The basis is normal: one LSB of offset is as much there as the root of the number of vectors.
        if np.abs(straight_in - before).max() < SETTLED * np.sqrt(len(codes)):
            break
    return straight_in


@dataclass(frozen=True)
class _Told:
    """What usable outputs tell of offset and bend of each column, for noise of one LSB.

    Which outputs are lost depends on the column's own sum. Without them its slope, its offset and its bend are told
    apart less well; all else that is linear in the inputs stays as independent of them as it was.
    """

    inverse: FloatArray
    """Covariance of both bends, (columns, 2, 2)."""
    apart: FloatArray
    """(2, batch, columns) what of the bends' shapes is neither constant nor linear among usable outputs."""
    offset: FloatArray
    """Variance of the offset if the bend were known, (columns,)."""
    offset_by_bend: FloatArray
    """How much the offset falls when a bend rises, (2, columns)."""

    @classmethod
    def by(cls, linear: FloatArray, shapes: FloatArray, apart: FloatArray, usable: NDArray[np.bool_]) -> _Told:
        """From the linear part (batch, columns) of outputs less offset, and the bends' shapes (2, batch, columns).

        apart: what of the shapes is not linear in the inputs, (2, batch, columns), over all outputs
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


def _normal(line: FloatArray, usable: NDArray[np.bool_]) -> FloatArray:
    """Normal matrices (columns, 2, 2) of two regressors (2, batch, columns); never quite singular."""
    normal: FloatArray = np.einsum("asc,bsc,sc->cab", line, line, usable, optimize=True)
    return normal + np.eye(2) * 1e-9 * (1.0 + normal[:, :1, :1])


def _on(line: FloatArray, values: FloatArray, usable: NDArray[np.bool_]) -> tuple[FloatArray, FloatArray]:
    """Least squares of values (2, batch, columns) on regressors (2, batch, columns) over usable outputs.

    Returns their fitted part, everywhere, and the coefficients (columns, regressors, 2).
    """
    right = np.einsum("asc,bsc,sc->cab", line, values, usable, optimize=True)
    coefficients = np.linalg.solve(_normal(line, usable), right)
    return np.einsum("asc,cab->bsc", line, coefficients, optimize=True), coefficients


def _uncertainties(
    inverse: FloatArray, apart: FloatArray, residual: FloatArray, expected: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Standard uncertainties, LSB, of both coefficients, (2, columns), and of their means over columns, (2,).

    inverse             of the normal matrices, (columns, 2, 2)
    apart               what of the shapes is not linear in the inputs, (2, batch, columns)
    residual, expected  (batch, columns) LSB; residuals scaled up by what the fit has taken out of them

    Rounding errors are as good as independent where sums take many values or noise dithers them. Where they are not,
    equal sums have equal errors, in all columns: so residuals (batch, columns) are first added up within each LSB of
    the expected outputs (batch, columns), and only the totals taken as independent (a cluster-robust variance: Liang
    and Zeger, Biometrika 73, 13, 1986).
    """
    columns = residual.shape[1]
    influence = np.einsum("cab,bsc->asc", inverse, apart) * residual
    alone = (influence**2).sum(1)
    top = float(np.abs(expected).max())
    place = np.rint((expected + top) / max(1.0, 2.0 * top / MOST_BINS)).astype(np.int64)
    bins = int(place.max()) + 1
    slot = (place * columns + np.arange(columns)).ravel()
    totals = np.stack([np.bincount(slot, part.ravel(), bins * columns) for part in influence]).reshape(2, bins, columns)
    # One factor for all columns: that of a single one would be uncertain itself.
    inflation = np.maximum((totals**2).sum((1, 2)) / np.maximum(alone.sum(1), 1e-300), 1.0)
    of_mean = np.maximum((totals.mean(2) ** 2).sum(1), alone.sum(1) / columns**2)
    return np.sqrt(alone * inflation[:, None]), np.sqrt(of_mean)
