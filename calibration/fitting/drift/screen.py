"""Stuck devices and outliers: those that contradict their neighbours in conductance."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from hwloop.calibration.fitting.drift.lines import Lines, Noise
from hwloop.calibration.fitting.drift.noise import levels, robust
from hwloop.calibration.fitting.drift.settings import DriftSettings
from hwloop.calibration.fitting.panels import binned
from hwloop.calibration.fitting.screening import OUTLIER, STUCK, Screening
from hwloop.typing import BoolArray, FloatArray, IndexArray


@dataclass(frozen=True)
class Odd:
    """Devices (devices,) that contradict their neighbours, in the order in which they are called so."""

    rough: BoolArray
    """Outliers: their reads scatter as no device's of that conductance do."""
    stuck: BoolArray
    """Do not drift where others do, or stand far from their target and do not drift or hardly conduct."""
    far: BoolArray
    """Outliers: they drift as no device of that conductance does."""


def screen(
    lines: Lines, cells: IndexArray, target: FloatArray, screening: Screening, known: Noise, settings: DriftSettings
) -> None:
    """Leave out stuck devices and outliers.

    Parameters
    ----------
    lines
        Of the devices.
    cells
        (devices,) index of each among the measured cells.
    target
        (devices,) uS, NaN where there was none.
    screening
        Of all measured cells, which is added to.
    known
        Of the noise of reads.
    settings
        Thresholds.
    """
    odd = _odd(lines, target, known, settings)
    for which, reason in ((odd.rough, OUTLIER), (odd.stuck, STUCK), (odd.far, OUTLIER)):
        chosen = np.zeros(screening.reason.size, bool)
        chosen[cells[which]] = True
        screening.drop(chosen, reason)


def _odd(lines: Lines, target: FloatArray, known: Noise, settings: DriftSettings) -> Odd:
    """Compare devices with their neighbours in conductance.

    Where reads are mostly noise nobody can tell, and to leave out those that look odd would only bias the rest.
    """
    own = settings.screening
    known = levels(lines, known, 50, 50, settings.noise.levelling)
    noise = replace(known, relative=_smooth(known.relative, own.many_bins)).variance(lines.log_g)
    centre, spread = _drift_of_neighbours(lines, noise, own.many_bins)
    error = noise * lines.var_nu
    total = spread**2 + error
    still = stats.norm.logpdf(lines.nu, 0.0, np.sqrt(error))
    drifting = stats.norm.logpdf(lines.nu, centre, np.sqrt(total))
    evaluated = noise < own.evaluated_noise**2
    # Where nothing drifts, a device that does not is no exception.
    moves = bool(evaluated.any()) and bool(np.median(centre[evaluated]) > 0.01)
    rough = evaluated & (stats.chi2.sf(lines.squares / noise, lines.freedom) < own.unlikely)
    conductance = np.exp(lines.log_g)
    constant = np.abs(lines.nu) < 3 * np.sqrt(error)
    lost = _off_target(conductance, target, 2 * own.outlier_sigma) & (constant | (conductance < own.lost * target))
    return Odd(
        rough & ~lost,
        evaluated & moves & (still - drifting > own.odds) | lost,
        evaluated & (np.abs(lines.nu - centre) > own.outlier_sigma * np.sqrt(total)),
    )


def _drift_of_neighbours(lines: Lines, noise: FloatArray, many: int) -> tuple[FloatArray, FloatArray]:
    """Return the typical coefficient (devices,) of devices of like conductance, and their spread without the errors."""
    bins, place = binned(lines.log_g, max(1, min(50, lines.log_g.size // 50)))
    count = int(bins.max()) + 1
    centres, widths = (_smooth(part, many) for part in robust(lines.nu, bins, count))
    errors = np.bincount(bins, noise * lines.var_nu, count) / np.bincount(bins, minlength=count)
    own = np.sqrt(np.maximum(widths**2 - errors, 0.0))
    return np.interp(lines.log_g, place, centres), np.interp(lines.log_g, place, own)


def _smooth(values: FloatArray, many: int) -> FloatArray:
    """Return the median of each bin and two on either side: all at one conductance may be stuck devices.

    Fewer bins than `many` are left as they are: the trend from one to the next is more than what it would remove.
    """
    if values.size < many:
        return values
    padded = np.pad(values, 2, constant_values=np.nan)
    smooth: FloatArray = np.nanmedian(np.lib.stride_tricks.sliding_window_view(padded, 5), axis=1)
    return smooth


def _off_target(conductance: FloatArray, target: FloatArray, sigma: float) -> BoolArray:
    """Find devices so many robust standard deviations from where programming put their neighbours in target."""
    off = np.zeros(conductance.size, bool)
    known = np.flatnonzero(np.isfinite(target))
    if known.size < 100:
        return off
    bins, _ = binned(target[known], max(1, min(50, known.size // 100)))
    error = conductance[known] - target[known]
    centre, width = robust(error, bins, int(bins.max()) + 1)
    off[known] = np.abs(error - centre[bins]) > sigma * np.maximum(width[bins], 1e-12)
    return off
