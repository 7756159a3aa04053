"""What the drift of a device has to do with where programming leaves it.

A device is verified soon after its pulse, and drifts from then on: one that drifts fast lies low already when it is
read at the reference age. Programming error and drift coefficient are not independent therefore, and of the devices
that were accepted the coefficients spread less than of all. Both follow from the same devices read once more, later.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from hwloop.calibration.fitting.checks import check_reads, reference_age, rows_of
from hwloop.calibration.fitting.known import KnownDevice, KnownReadNoise
from hwloop.calibration.fitting.panels import binned
from hwloop.calibration.fitting.programming_noise import averages_of, programming_table
from hwloop.calibration.settings import Settings
from hwloop.files.fitted_devices import time_law
from hwloop.files.measurements import Measurement
from hwloop.files.models import Estimate, Fit, Form
from hwloop.typing import FloatArray

HEAD_START, SPREAD_LEFT = "head_start", "spread_left"
"""What the statistics are called that a fit of programming errors gets."""


@dataclass(frozen=True)
class VerificationSettings(Settings):
    """What reads must be to tell how drift and programming errors go together."""

    decades: float = 1.0
    """Decades of age, at least, between the read at the reference age and the latest."""
    bins: int = 32
    """Bins of target, at most."""
    fewest: int = 100
    """Cells in a bin, at least."""
    outlier_sigma: float = 4.0
    """Robust standard deviations beyond which a cell says nothing."""
    noise_error: float = 0.1
    """Relative error of what is known of the variance of a read."""
    small: float = 3.0
    """Standard deviations of programming that a target must be above zero, for logarithms of reads to be normal."""

    def __post_init__(self) -> None:
        """Raise BadInputError for settings out of range."""
        self._require("decades", 0.1, 10.0)
        self._require("bins", 1, 1000)
        self._require("fewest", 10, 1_000_000)
        self._require("outlier_sigma", 2.0, 100.0)
        self._require("noise_error", 0.0, 10.0)
        self._require("small", 1.0, 100.0)


@dataclass(frozen=True)
class _Pairs:
    """Reads of cells (cells,) at the reference age and at their latest."""

    g: FloatArray
    """Target over g_scale."""
    error: FloatArray
    """ln of the first read over what is expected of it."""
    loss: FloatArray
    """ln of the later read over the first, less the drift that is expected."""
    apart: FloatArray
    """E-folds of age between them, as the law of drift counts them."""
    spread: FloatArray
    """Of the drift coefficient."""
    noise: FloatArray
    """Relative variance of the first read."""
    later_noise: FloatArray
    """Relative variance of the later one."""


def with_drift_since_verification(
    programming: Fit,
    measurement: Measurement,
    drift: Fit,
    known: KnownDevice,
    settings: VerificationSettings | None = None,
) -> Fit:
    """Add to a fit of programming errors how they go together with drift.

    Parameters
    ----------
    programming
        Bias and standard deviation of errors at the reference age.
    measurement
        What it was fitted to.
    drift
        The drift of devices that nobody chose.
    known
        The noise of reads.
    settings
        None: the usual ones.

    Returns
    -------
    Fit
        With two more statistics of g = target / g_scale. `head_start` is c of cov(ln G, nu) = -c spread^2: by how many
        e-folds of age drift is part of the error. `spread_left` is the share of the variance of nu that is left among
        accepted devices. The fit as it was where the reads do not tell.
    """
    settings = settings or VerificationSettings()
    noise = known.noise_of(averages_of(measurement))
    if noise is None or "mean" not in drift.forms or not {"bias", "sigma"} <= programming.forms.keys():
        return programming
    pairs = _pairs(programming, measurement, drift, known, noise, settings)
    rows = [] if pairs is None else _by_target(pairs, settings)
    if len(rows) < 2:
        return programming
    g, start, start_error, left, left_error = np.array(rows).T
    wide = len(rows) > 3 and g.max() > 2 * g.min()
    forms, estimates = dict(programming.forms), list(programming.parameters)
    for name, values, errors, meaning in (
        (HEAD_START, start, start_error, "e-folds of age by which drift is part of programming errors"),
        (SPREAD_LEFT, left, left_error, "share of the variance of drift coefficients among accepted devices"),
    ):
        forms[name] = Form("polynomial")
        estimates += _line(name, g, values, errors, meaning, degree=int(wide))
    return replace(programming, forms=forms, parameters=tuple(estimates))


def _pairs(
    programming: Fit,
    measurement: Measurement,
    drift: Fit,
    known: KnownDevice,
    noise: KnownReadNoise,
    settings: VerificationSettings,
) -> _Pairs | None:
    """Take the two reads of every cell; None where they are too near in age."""
    check_reads(measurement)
    _, screening = programming_table(measurement, known=known)
    rows, every = rows_of(measurement), np.arange(len(measurement.cells))
    t0 = reference_age(measurement, measurement.reads.time)
    log_time = np.where(rows.there, np.log(np.maximum(rows.time, 1e-9) / t0), np.nan)
    first = np.where(rows.there, np.abs(log_time), np.inf).argmin(1)
    last = np.where(rows.there, log_time, -np.inf).argmax(1)
    x, later_x = log_time[every, first], log_time[every, last]
    seen, later = rows.conductance[every, first], rows.conductance[every, last]
    target, scale = measurement.cells.target, programming.settings["g_scale"]
    with np.errstate(invalid="ignore"):
        expected = target + programming.statistic("bias")(target / scale)
        sure = expected > settings.small * np.abs(programming.statistic("sigma")(target / scale))
        kept = screening.kept & sure & (seen > 0) & (later > 0) & (later_x - x > settings.decades * math.log(10))
    if kept.sum() < settings.fewest:
        return None
    law, ratio = time_law(drift), t0 / drift.settings["t0"]
    now, then = (np.asarray(one[kept] + math.log(ratio), np.float64) for one in (later_x, x))
    apart = np.asarray(law.exponent(now) - law.exponent(then), np.float64)
    alike = np.asarray(law.common(now) - law.common(then), np.float64) if law.bend else 0.0
    level = expected[kept]
    g = level / drift.settings["g_scale"]
    nu = np.asarray(drift.statistic("mean")(g), np.float64)
    count, ages = averages_of(measurement), [float(t0 * np.exp(np.median(one[kept]))) for one in (x, later_x)]
    return _Pairs(
        g=target[kept] / scale,
        error=np.log(seen[kept] / level),
        loss=np.log(later[kept] / seen[kept]) + nu * apart + alike,
        apart=apart,
        spread=np.asarray(drift.statistic("spread")(g), np.float64),
        noise=noise.variance(level, ages[0], count),
        later_noise=noise.variance(level, ages[1], count),
    )


def _by_target(pairs: _Pairs, settings: VerificationSettings) -> list[tuple[float, float, float, float, float]]:
    """Return g, head start, its standard error, share of the variance that is left, and its error, of every bin.

    The variance of the noise is known to `noise_error` alone, which counts as an error of its own.
    """
    bins, centre = binned(pairs.g, min(settings.bins, max(1, pairs.g.size // settings.fewest)))
    found = []
    for k in range(centre.size):  # a few dozen at most
        own = bins == k
        error, loss = (values[own] - np.median(values[own]) for values in (pairs.error, pairs.loss))
        fair = np.ones(error.size, bool)
        for values in (error, loss):
            fair &= np.abs(values) <= settings.outlier_sigma * 1.4826 * np.median(np.abs(values))
        if fair.sum() < settings.fewest // 2:
            continue
        error, loss = error[fair] - error[fair].mean(), loss[fair] - loss[fair].mean()
        noise, later = float(pairs.noise[own].mean()), float(pairs.later_noise[own].mean())
        apart, own_spread = float(pairs.apart[own].mean()), float(np.mean(pairs.spread[own] ** 2))
        unit, squared = apart * own_spread, apart**2 * own_spread
        start = float(np.mean(error * loss) + noise) / unit
        left = float(loss.var() - noise - later) / squared
        start_error = math.hypot(error.std() * loss.std() / math.sqrt(fair.sum()), settings.noise_error * noise) / unit
        chance = loss.var() * math.sqrt(2 / fair.sum())
        left_error = math.hypot(chance, settings.noise_error * (noise + later)) / squared
        found.append((float(centre[k]), start, start_error, left, left_error))
    return found


def _line(
    name: str, g: FloatArray, values: FloatArray, errors: FloatArray, meaning: str, *, degree: int
) -> list[Estimate]:
    """Fit a line in g, or a constant, by least squares, with 95 % intervals."""
    found, covariance = np.polyfit(g, values, degree, w=1 / errors, cov="unscaled")
    half = 1.96 * np.sqrt(np.diag(covariance))
    return [
        Estimate(f"{name}.c{k}", float(value), float(value - width), float(value + width), "1", f"{meaning}: g^{k}")
        for k, (value, width) in enumerate(zip(found[::-1], half[::-1], strict=True))
    ]
