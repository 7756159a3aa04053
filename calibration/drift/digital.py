"""Digital compensations that measure: one factor for a tile, or a gain and an offset of every column."""

from __future__ import annotations

import math

import numpy as np

from hwloop.calibration.column_fit import fit_columns
from hwloop.calibration.drift.base import Compensation, ProgrammedTile, Strategy
from hwloop.mapping.columns import ColumnCorrection
from hwloop.typing import FloatArray


class Uncompensated(Strategy):
    """Nothing is done: the column calibration of programming stays."""

    name = "none"
    probed = False

    def make(self, held: ProgrammedTile, sofar: Compensation) -> Compensation:
        """`sofar`, unchanged."""
        return sofar


class GlobalFactor(Strategy):
    """One factor per tile, from a fixed set of probe inputs: then over now.

    After the global drift compensation of Joshi et al., Nature Communications 11, 2473 (2020). The factor is the one
    of least squares between the outputs then and now, which noise does not bias against the MVM error.
    """

    name = "global"

    def make(self, held: ProgrammedTile, sofar: Compensation) -> Compensation:
        """Measure the probes and fit one factor."""
        now, then = held.probe()
        return self._made(held, sofar, _factor(sofar.apply(now), then), 0.0)


class ColumnAffine(Strategy):
    """Gain and offset of every column, from probe inputs, no further from the tile's common factor than is known.

    A column's own fit is robust (`fit_columns`) and noisy: its deviation from the common factor is shrunk by
    tau^2 / (tau^2 + sigma^2), with sigma the uncertainty of the fit and tau the spread of the columns that remains
    when the uncertainty is taken off (empirical Bayes; Efron and Morris, JASA 70, 311, 1975). With few probes this is
    the global factor, with many the column's own fit, and it is not worse than either.
    """

    name = "column"

    def make(self, held: ProgrammedTile, sofar: Compensation) -> Compensation:
        """Measure the probes and fit every column."""
        now, then = held.probe()
        common = _factor(sofar.apply(now), then)
        before = common * sofar.apply(now)
        fitted = _fit_outputs(before, then)
        noise = np.square(then - before * fitted.gain - fitted.offset).sum(0) / max(len(now) - 2, 1)
        power = np.square(before).sum(0)
        loaded = power > 0
        gain_noise = np.where(loaded, noise / np.where(loaded, power, 1.0), 0.0)
        gain = 1.0 + _shrunk(np.where(loaded, fitted.gain - 1.0, 0.0), gain_noise)
        # At the mean input the fit's offset is independent of its gain.
        middle = before.mean(0)
        shift = fitted.offset + (fitted.gain - 1.0) * middle
        offset = _shrunk(shift, noise / len(now)) - (gain - 1.0) * middle
        return self._made(held, sofar, common * gain, offset)


def _factor(now: FloatArray, then: FloatArray) -> float:
    """The factor of least squares that brings `now` closest to `then`; 1 for outputs that are all zero."""
    power = float((now**2).sum())
    return float((now * then).sum()) / power if power > 0 else 1.0


def _fit_outputs(outputs: FloatArray, reference: FloatArray) -> ColumnCorrection:
    """Robust affine fit per column of `reference` on `outputs` that are no codes: nothing saturates."""
    return fit_columns(outputs, reference, (-math.inf, math.inf))


def _shrunk(deviation: FloatArray, variance: FloatArray) -> FloatArray:
    """Deviations (n,) of mean zero, measured with these variances, pulled to zero as far as they are noise.

    Their spread counts as far as it exceeds the noise by more than the standard error of such a difference. A variance
    that is itself estimated from few probes is not taken to be smaller than the mean of all.
    """
    variance = np.maximum(variance, variance.mean())
    doubt = math.sqrt(2.0 / max(deviation.size, 1)) * float(variance.mean())
    spread = max(float((deviation**2 - variance).mean()) - doubt, 0.0)
    return np.asarray(deviation * spread / np.maximum(spread + variance, 1e-300))
