"""Fit of the ADCs' curves: what is not linear in inputs of plus and minus full scale, which DACs meet at two points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwloop.calibration.routines.adc_variance import Information, clustered_sigma
from hwloop.calibration.routines.pooling import pool
from hwloop.calibration.settings import Settings
from hwloop.chip.cell_calibration import Converters, nonlinearity, second_order, third_order
from hwloop.typing import BoolArray, FloatArray


@dataclass(frozen=True)
class AdcFit:
    """Fit of all ADCs: cells (rows, columns) in codes at full-scale input, the rest (columns,) in LSB."""

    cells: FloatArray
    offset: FloatArray
    offset_sigma: FloatArray
    offset_in_common: FloatArray
    """(2, columns) what of offset_sigma all columns owe to errors that their nonlinearities, each order, share."""
    second_order: FloatArray
    second_order_sigma: FloatArray
    third_order: FloatArray
    third_order_sigma: FloatArray
    noise: FloatArray
    unresponsive: BoolArray
    """Columns that show nothing of their converters."""

    def bent(self, ideal: FloatArray, code_max: int) -> FloatArray:
        """Return the codes (columns,) that the ADCs make of ideal ones, noise and rounding left out."""
        return ideal + nonlinearity(ideal / code_max, np.stack([self.second_order, self.third_order]))

    def straight(self, codes: FloatArray, code_max: int) -> FloatArray:
        """Return codes (batch, columns) with the nonlinearity taken out."""
        curve = np.stack([self.second_order, self.third_order])
        ideal = Converters(1, code_max, np.zeros(len(self.offset)), np.ones(len(self.offset)), curve, np.zeros((2, 1)))
        return ideal.ideal_codes(codes)


@dataclass(frozen=True)
class AdcFitting(Settings):
    """The fit of the ADCs' curves and its settings.

    The forward curve is fitted repeatedly: each fit evaluates the nonlinearity where the last one saw the column sums,
    and expects saturated outputs where the last one put them.
    """

    near_end: float = 0.97
    """Outputs expected beyond this share of the converter's range are left out, whatever they were."""
    least_signal: float = 5.0
    """Standard deviation of the output codes, LSB, below which a column shows nothing of its converter's curve."""
    least_cells: float = 10.0
    """Effective number of cells behind a column, below which its sums take too few values to show a curve."""
    most_offset_sigma: float = 1.0
    """LSB: a column whose offset is less well known than this shows nothing of its converter either."""
    rounds: int = 100
    """Fits of the forward curve, at most."""
    settled: float = 0.0005
    """LSB: fitting ends when no nonlinearity changes by as much as this."""
    choosing: float = 0.1
    """LSB: when no nonlinearity changes by more than this, no output is left out or taken back any more: some would
    alternate for ever."""
    most_bins: int = 4096
    """Bins of expected outputs, at most, within which residuals are taken as alike."""

    def __post_init__(self) -> None:
        self._require("near_end", 0.1, 1)
        self._require("least_signal", 0, 1e6)
        self._require("least_cells", 1, 1e6)
        self._require("most_offset_sigma", 0, 1e6)
        self._require("rounds", 1, 1e6)
        self._require("settled", 0, 1)
        self._require("choosing", 0, 100)
        self._require("most_bins", 2, 1e6)

    def fit_adcs(self, drive: FloatArray, codes: FloatArray, code_max: int) -> AdcFit:
        """Fit codes by least squares on the inputs, an offset, and the nonlinearity of the column itself.

        All columns share their inputs, so the cells are projected out of everything once; what is left is a problem of
        two unknowns per column.

        Parameters
        ----------
        drive
            (batch, rows) inputs over full scale.
        codes
            (batch, columns) output codes, LSB.
        code_max
            The largest code.
        """
        batch, rows = drive.shape
        basis, triangle = np.linalg.qr(np.column_stack([drive, np.ones(batch)]))
        own = self._own_curves(basis, codes, code_max)
        seen = np.maximum(own.usable.sum(0), 1)
        freedom = np.maximum(seen - rows - 3, 1)
        noise = np.sqrt((own.residual**2).sum(0) / freedom)
        solution = np.linalg.solve(triangle, own.straight_in)
        told = Information.of(own.linear - solution[-1], own.shapes, own.apart, own.usable)
        unresponsive = (np.std(codes, axis=0) < self.least_signal) | (_cells_behind(solution[:-1]) < self.least_cells)
        unresponsive |= noise**2 * told.offset > self.most_offset_sigma**2
        error = own.residual * np.sqrt(seen / freedom)
        curve, sigma, in_common = self._pooled(own, told, noise, error, ~unresponsive)
        offset_sigma = np.sqrt(noise**2 * told.offset + (told.offset_by_order**2 * sigma**2).sum(0))
        unresponsive |= offset_sigma > self.most_offset_sigma
        curve[:, unresponsive] = 0.0
        # Cells and offset move with the nonlinearity that is finally taken.
        straight_in = self._straightened(basis, own, codes, curve, code_max)
        solution = np.linalg.solve(triangle, straight_in)
        return AdcFit(
            cells=solution[:-1],
            offset=solution[-1],
            offset_sigma=offset_sigma,
            offset_in_common=in_common,
            second_order=curve[0],
            second_order_sigma=sigma[0],
            third_order=curve[1],
            third_order_sigma=sigma[1],
            noise=noise,
            unresponsive=unresponsive,
        )

    def _pooled(
        self, own: _OwnCurves, told: Information, noise: FloatArray, error: FloatArray, which: BoolArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Shrink the nonlinearities of columns `which` towards each other's; returns them, sigmas, offset in common."""
        curve, sigma = own.curve.copy(), noise * np.sqrt(told.variance)
        in_common = np.zeros_like(curve)
        if which.any():
            sigma[:, which], sigma_of_mean = clustered_sigma(
                told, which, error[:, which], own.expected[:, which], self.most_bins
            )
            for k in range(2):
                pooled = pool(curve[k, which], sigma[k, which], sigma_of_mean[k])
                curve[k, which], sigma[k, which] = pooled.estimate, pooled.sigma
                in_common[k] = told.offset_by_order[k] * pooled.mean_sigma
        return curve, sigma, in_common

    def _own_curves(self, basis: FloatArray, codes: FloatArray, code_max: int) -> _OwnCurves:
        """Fit each column's nonlinearity by itself; outputs expected near the end of the range are left out.

        Left out means replaced by their expectation, which keeps one basis for all columns.
        """
        curve = np.zeros((2, codes.shape[1]))
        straight_in = basis.T @ codes
        choosing = True
        for number in range(self.rounds):
            linear = basis @ straight_in
            u = np.clip(linear / code_max, -1.0, 1.0)
            expected = linear + nonlinearity(u, curve[:, None])
            if choosing:
                usable = np.abs(expected) < self.near_end * code_max
            filled = np.where(usable, codes, expected)
            shapes = np.stack([second_order(u), third_order(u)])
            shapes_in, filled_in = basis.T @ shapes, basis.T @ filled
            normal = np.einsum("asc,bsc->cab", shapes, shapes) - np.einsum("asc,bsc->cab", shapes_in, shapes_in)
            # A column that hardly moves shows no nonlinearity; it gets none.
            normal += np.eye(2) * 1e-9 * (1.0 + normal[:, 0, 0])[:, None, None]
            right = np.einsum("asc,sc->ca", shapes, filled) - np.einsum("asc,sc->ca", shapes_in, filled_in)
            before, curve = curve, np.linalg.solve(normal, right[..., None])[..., 0].T
            straight_in = filled_in - (curve[:, None] * shapes_in).sum(0)
            change = float(np.abs(curve - before).max())
            if change < self.settled:
                break
            choosing = choosing and change > self.choosing and number < self.rounds // 2
        residual = (filled - nonlinearity(u, curve[:, None]) - basis @ straight_in) * usable
        return _OwnCurves(curve, straight_in, linear, expected, usable, shapes, shapes - basis @ shapes_in, residual)

    def _straightened(
        self, basis: FloatArray, own: _OwnCurves, codes: FloatArray, curve: FloatArray, code_max: int
    ) -> FloatArray:
        """Return what of the codes is linear in the inputs, in their basis, with the nonlinearities (2, columns)."""
        straight_in = own.straight_in
        for _ in range(self.rounds):
            linear = basis @ straight_in
            deviation = nonlinearity(np.clip(linear / code_max, -1.0, 1.0), curve[:, None])
            before, straight_in = straight_in, basis.T @ np.where(own.usable, codes - deviation, linear)
            # The basis is normal: one LSB of offset is as much there as the root of the number of vectors.
            if np.abs(straight_in - before).max() < self.settled * np.sqrt(len(codes)):
                break
        return straight_in


@dataclass(frozen=True)
class _OwnCurves:
    """What each column says of itself; arrays (batch, columns) but for curve (2, columns) and straight_in."""

    curve: FloatArray
    straight_in: FloatArray
    """What of the codes, their nonlinearity taken out, is linear in the inputs: in the basis of the inputs."""
    linear: FloatArray
    """The same for each input vector, LSB."""
    expected: FloatArray
    usable: BoolArray
    shapes: FloatArray
    """The shapes (2, batch, columns) of both orders at the column sums."""
    apart: FloatArray
    """What of them is not linear in the inputs."""
    residual: FloatArray
    """LSB; zero for outputs that are not usable."""


def _cells_behind(cells: FloatArray) -> FloatArray:
    """Return the effective number of cells (columns,) behind each column, of cells (rows, columns)."""
    power = cells**2
    behind: FloatArray = power.sum(0) ** 2 / np.maximum((power**2).sum(0), 1e-300)
    return behind
