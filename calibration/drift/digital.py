"""Digital compensations that measure: one factor for a tile, or a gain and an offset of every column."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from hwloop.calibration.column_fit import fit_columns
from hwloop.calibration.drift.compensation import Compensation
from hwloop.calibration.drift.programmed_tile import ProgrammedTile
from hwloop.calibration.drift.strategy import NOTHING, Digital, Probing, validity
from hwloop.typing import FloatArray


@dataclass(frozen=True)
class Uncompensated(Digital):
    """Nothing is done: the column calibration of programming stays."""

    name = NOTHING

    def make(self, tile: ProgrammedTile, so_far: Compensation) -> Compensation:
        """Leave `so_far` unchanged and say how long it is valid."""
        until, because = validity(tile, so_far.gain, self.growth)
        return replace(so_far, valid_until=until, because=because)


@dataclass(frozen=True)
class GlobalFactor(Probing):
    """One factor per tile, from a fixed set of probe inputs: then over now.

    After the global drift compensation of Joshi et al., Nature Communications 11, 2473 (2020). The factor is the one
    of least squares between the outputs then and now, which noise does not bias against the MVM error.
    """

    name = "global"

    def make(self, tile: ProgrammedTile, so_far: Compensation) -> Compensation:
        """Measure the probes and fit one factor."""
        now, then = tile.probe(self.probes)
        factor = common_factor(so_far.apply(now), then, tile.probe_shares(self.probes))
        return self.extend(so_far, tile, factor, vectors=self.probes)


@dataclass(frozen=True)
class ColumnAffine(Probing):
    """Gain and offset of every column, from probe inputs, no further from the tile's common factor than is known.

    A column's own fit is robust (`fit_columns`) and noisy: its deviation from the common factor is shrunk towards zero
    by tau^2 / (tau^2 + sigma^2), with sigma the uncertainty of the fit and tau the spread of the columns that remains
    when the uncertainty is taken off (empirical Bayes; Efron and Morris, JASA 70, 311, 1975). With few probes this is
    the global factor, with many the column's own fit, and it is not worse than either.
    """

    name = "column"

    def make(self, tile: ProgrammedTile, so_far: Compensation) -> Compensation:
        """Measure the probes and fit every column."""
        now, then = tile.probe(self.probes)
        shares = tile.probe_shares(self.probes)
        common = common_factor(so_far.apply(now), then, shares)
        before = common * so_far.apply(now)
        everything = (-math.inf, math.inf)  # outputs are no codes: nothing saturates
        fitted = fit_columns(before, then, everything, shares=shares)
        counted = shares[:, None]
        noise = (counted * np.square(then - before * fitted.gain - fitted.offset)).sum(0) / max(len(now) - 2, 1)
        power = (counted * np.square(before)).sum(0)
        loaded = power > 0
        # Weighted vectors tell less than so many equal ones (Kish, Survey Sampling, 1965).
        worth = float(np.square(shares).mean())
        gain_variance = worth * np.where(loaded, noise / np.where(loaded, power, 1.0), 0.0)
        gain = 1.0 + shrunk(np.where(loaded, fitted.gain - 1.0, 0.0), gain_variance)
        # At the mean input the fit's offset is independent of its gain.
        middle = (counted * before).mean(0)
        shift = fitted.offset + (fitted.gain - 1.0) * middle
        offset = shrunk(shift, worth * noise / len(now)) - (gain - 1.0) * middle
        return self.extend(so_far, tile, common * gain, offset, self.probes)


def common_factor(now: FloatArray, then: FloatArray, shares: FloatArray | None = None) -> float:
    """Fit the factor of least squares that brings outputs closest to what they were.

    Parameters
    ----------
    now, then
        (vectors, columns) outputs in weight units.
    shares
        (vectors,) their weights; None: all the same.

    Returns
    -------
    float
        1 for outputs that are all zero.
    """
    counted = np.ones((len(now), 1)) if shares is None else shares[:, None]
    power = float((counted * now**2).sum())
    return float((counted * now * then).sum()) / power if power > 0 else 1.0


def shrunk(deviation: FloatArray, variance: FloatArray) -> FloatArray:
    """Shrink deviations of mean zero towards zero as far as they are noise.

    Their spread counts as far as it exceeds the noise by more than the standard error of such a difference. A variance
    that is itself estimated from few probes is not taken to be smaller than the mean of all.

    Parameters
    ----------
    deviation
        (n,) as measured.
    variance
        (n,) of the measurement, in the square of its unit.

    Returns
    -------
    FloatArray
        (n,) in the unit of `deviation`.
    """
    variance = np.maximum(variance, variance.mean())
    uncertainty = math.sqrt(2.0 / max(deviation.size, 1)) * float(variance.mean())
    spread = max(float((deviation**2 - variance).mean()) - uncertainty, 0.0)
    return np.asarray(deviation * spread / np.maximum(spread + variance, 1e-300))
