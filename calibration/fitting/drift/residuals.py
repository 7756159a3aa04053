"""Checks of a drift fit: what lines leave by age, conductance, temperature and cell; coefficients; later reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from hwloop.calibration.fitting.checks import rows_of, some_cells, split_last
from hwloop.calibration.fitting.drift.covariance import Mix, Precision
from hwloop.calibration.fitting.drift.law import CURVED, ONSET, fitted_law
from hwloop.calibration.fitting.drift.likelihood import DriftLikelihood
from hwloop.calibration.fitting.drift.lines import Devices, fit_lines
from hwloop.calibration.fitting.drift.prediction import Later, later_reads
from hwloop.calibration.fitting.drift.seen import log_noise
from hwloop.calibration.fitting.drift.table import DriftTable
from hwloop.calibration.fitting.misfit import USUAL, Check, CheckSettings, Means, shape_check, tail_check
from hwloop.calibration.fitting.panels import binned
from hwloop.files.measurements import Measurement
from hwloop.typing import BoolArray, FloatArray, IndexArray

Expected = Callable[[DriftTable, FloatArray], tuple[FloatArray, FloatArray]]
"""Mean and standard deviation of each device's coefficient, as its reads show it."""


@dataclass(frozen=True)
class Residuals:
    """Standardised residuals of devices about their own lines."""

    there: BoolArray
    """(devices, reads)"""
    x: FloatArray
    """(devices, reads) ln(t / t0)."""
    value: FloatArray
    """(devices, reads) over the noise of the read; zero where there is none."""
    noise: FloatArray
    """(devices,) relative standard deviation of a read at t0."""
    log_g: FloatArray
    """(devices,)"""
    temperature: FloatArray
    """(devices, reads) K, NaN where it is not known."""
    scatter: FloatArray
    """(devices,) squared residuals of the line over what is expected of them."""
    freedom: FloatArray
    """(devices,)"""
    t0: float
    """Seconds."""
    g_scale: float
    """uS."""

    @classmethod
    def of(cls, likelihood: DriftLikelihood, theta: FloatArray, measurement: Measurement) -> Residuals:
        """Take those of the quieter devices that their own lines describe.

        A line through noise is bent a little; what that leaves on average (the noise squared) is taken off.
        """
        table = likelihood.table
        noise = np.sqrt(np.exp(log_noise(likelihood.layout, table, theta, table.log_g)))
        some = np.flatnonzero(table.precise & (noise < table.settings.noise.line_noise))
        part, noise = table.cells[some], noise[some]
        chosen = some_cells(measurement, part)
        rows = rows_of(chosen)
        temperature = rows_of(replace(chosen, reads=replace(chosen.reads, conductance=chosen.reads.temperature)))
        rows = replace(rows, there=rows.there & (rows.time > 0))
        devices = Devices(rows, table.t0, table.settings).bent(table.law)
        x, h = devices.x, devices.h
        log_g, nu = table.log_g[some, None], table.nu[some, None]
        left = rows.there * (devices.rows.conductance / table.g_scale * np.exp(nu * h - log_g) - 1.0)
        mix = Mix.of(table.constant(table.log_g[some]) / noise**2, table.nu[some], table.law) if table.floor else None
        q = table.var_g[some, None] - 2 * table.covariance[some, None] * h + table.var_nu[some, None] * h**2
        bias = -0.5 * _beside_lines(Precision(table.growth, x, rows.there, mix), h, rows.there, q)
        own = noise[:, None] * np.sqrt(table.growth.variance(x, mix))
        value = rows.there * (left - noise[:, None] ** 2 * bias) / own
        freedom = table.freedom[some]
        scatter = table.squares[some] / freedom / noise**2
        log_g = table.log_g[some]
        return cls(
            rows.there, x, value, noise, log_g, temperature.conductance, scatter, freedom, table.t0, table.g_scale
        )

    @property
    def size(self) -> int:
        """Number of devices."""
        return len(self.value)


def _beside_lines(precision: Precision, h: FloatArray, there: BoolArray, values: FloatArray) -> FloatArray:
    """Return values (devices, reads) less their best lines."""
    weight, tilted, seen = precision(there.astype(float)), precision(there * h), values * there
    s0, s1, s2 = weight.sum(1), (weight * h).sum(1), (tilted * h).sum(1)
    r0, r1 = (weight * seen).sum(1), (tilted * seen).sum(1)
    determinant = s0 * s2 - s1**2
    level, slope = (s2 * r0 - s1 * r1) / determinant, (s0 * r1 - s1 * r0) / determinant
    return np.asarray(there * (seen - level[:, None] - slope[:, None] * h))


def drift_checks(
    likelihood: DriftLikelihood,
    theta: FloatArray,
    measurement: Measurement,
    expected: Expected,
    settings: CheckSettings = USUAL,
) -> list[Check]:
    """Check a fit of drift.

    Parameters
    ----------
    likelihood
        Of the table that was fitted.
    theta
        (p,) parameters.
    measurement
        That the table was made of.
    expected
        What is expected of the devices' coefficients.
    settings
        What is tolerated.
    """
    table = likelihood.table
    some = np.flatnonzero(table.precise)
    if some.size > settings.most_cells:
        some = np.sort(np.random.default_rng(4).choice(some, settings.most_cells, replace=False))
    chosen = np.zeros(table.nu.size, bool)
    chosen[some] = True
    part = replace(likelihood, table=table.lines_of(chosen))
    left = Residuals.of(part, theta, measurement)
    if left.size < settings.fewest_cells:
        return []
    found = [*_by_age(left, settings), *_by_temperature(left, settings), *_by_cell(left, settings)]
    found += _of_coefficients(part.table, theta, expected, settings) + _later(part, theta, measurement, settings)
    ages = next((one for one in found if one.name == "ages"), None)
    if ages is None or not ages.fails(settings.family_wise / len(found)):
        return found
    # What a wrong law leaves has other tails, too, and is foretold wrongly: no advice of its own.
    followed = ("ages", "ages by level", "tails", "cells", "later intervals")
    return [_with_law(ages, part.table, measurement), *(one for one in found if one.name not in followed)]


def _by_age(left: Residuals, settings: CheckSettings) -> list[Check]:
    """Check the mean residual at each age, of all devices and by conductance."""
    device, read = np.nonzero(left.there)
    ages, place = _ages(left.x[left.there], settings)
    count = place.size
    # Reads of a device at one age count once.
    numbers, where = np.unique(device * count + ages, return_inverse=True)
    value = np.bincount(where, left.value[device, read]) / np.bincount(where)
    device, ages = numbers // count, numbers % count
    seconds, checks = np.exp(place) * left.t0, []
    if found := Means.of(value, ages, count).worst(settings.mean, settings.fewest_in_bin):
        off = 100 * settings.mean * found.size * float(np.median(left.noise))
        said = (
            f"at an age of {seconds[found.at]:.3g} s reads lie {off:.2g} % off the fitted law on average "
            f"({found.sigmas:.0f} standard errors): drift does not go on with age as was fitted, and predictions of "
            "later ages are wrong"
        )
        checks.append(Check("ages", found.chance, found.size, said))
    level, middle = binned(left.log_g, settings.level_bins)
    both = Means.of(value, level[device] * count + ages, middle.size * count)
    if found := both.worst(2 * settings.mean, settings.fewest_in_bin):
        off = 200 * settings.mean * found.size * float(np.median(left.noise))
        place_of = np.exp(middle[found.at // count]) * left.g_scale
        said = (
            f"reads of devices of about {place_of:.3g} uS lie {off:.2g} % off at an age of "
            f"{seconds[found.at % count]:.3g} s ({found.sigmas:.0f} standard errors), those of others less: the law of "
            "drift depends on conductance; fit these levels by themselves (a measurement of their own)"
        )
        checks.append(Check("ages by level", found.chance, found.size, said))
    return checks


def _ages(x: FloatArray, settings: CheckSettings) -> tuple[IndexArray, FloatArray]:
    """Put ages ln(t / t0) (n,) into bins: those that were meant alike, or of equally many each."""
    near = np.unique(np.round(x / settings.same_age))
    if near.size <= settings.most_ages:
        _, bins = np.unique(np.round(x / settings.same_age), return_inverse=True)
        return bins.astype(np.int64), np.bincount(bins, x) / np.bincount(bins)
    return binned(x, settings.most_ages)


def _by_temperature(left: Residuals, settings: CheckSettings) -> list[Check]:
    """Check that residuals do not go with what temperature differs from read to read."""
    known = left.there & np.isfinite(left.temperature)
    if known.sum() < settings.fewest_cells:
        return []
    kelvin = np.where(known, left.temperature, 0.0)
    kelvin = known * (kelvin - float(kelvin[known].mean()))
    weight = (kelvin**2).sum()
    if not weight > settings.moved**2 * known.sum():
        return []
    slope = float((kelvin * left.value).sum() / weight)
    # Each device is one unit.
    error = float(np.sqrt((((kelvin * left.value).sum(1) - slope * (kelvin**2).sum(1)) ** 2).sum()) / weight)
    said = (
        f"reads change by {100 * slope * float(np.median(left.noise)):.2g} % per kelvin between reads of one "
        "experiment: keep the temperature constant, or measure each by itself"
    )
    chance = 2 * float(stats.norm.sf(abs(slope) / max(error, 1e-12)))
    return [Check("temperature", chance, abs(slope) / settings.per_kelvin, said)]


def _by_cell(left: Residuals, settings: CheckSettings) -> list[Check]:
    """Check that devices scatter about their lines as much as noise of their conductance, and with its tails."""
    # Over the variance that chance gives: of a chi-square of their degrees of freedom.
    unit = (left.scatter / left.scatter.mean() - 1.0) ** 2 * left.freedom / 2
    excess, error = float(unit.mean() - 1.0), float(unit.std() / np.sqrt(left.size))
    error = max(error, float(np.sqrt(np.mean(2 + 12 / left.freedom) / left.size)))
    noisy = 100 * float(np.mean(left.scatter * left.freedom > stats.chi2.isf(0.001, left.freedom)))
    said = (
        f"noise differs between devices of one conductance: {noisy:.2g} % of them scatter as one in a thousand should "
        f"(variance of their scatter {1 + excess:.2g} times that of chance); some have telegraph noise or jumps: "
        "--family telegraph"
    )
    chance = float(stats.norm.sf(excess / error))
    device, read = np.nonzero(left.there)
    tails = tail_check(
        "tails", left.value[device, read], device,
        "noise of reads has not the tails of normal noise (excess kurtosis {excess:.2g}): intervals of later reads are "
        "too narrow for some; --family heavy-tailed", settings,
    )  # fmt: skip
    return [Check("cells", chance, excess / settings.scatter, said), tails]


def _of_coefficients(table: DriftTable, theta: FloatArray, expected: Expected, settings: CheckSettings) -> list[Check]:
    """Check the distribution of the devices' coefficients: mean and spread by conductance, and their shape."""
    mean, sigma = expected(table, theta)
    unit = (table.nu - mean) / sigma
    level, middle = binned(table.log_g, 2 * settings.level_bins)
    checks = []
    for name, values, tolerated in (("mean", unit, 2 * settings.mean), ("spread", unit**2 - 1.0, 2 * settings.scatter)):
        found = Means.of(values, level, middle.size).worst(tolerated, settings.fewest_in_bin)
        if found is not None:
            place = np.exp(middle[found.at]) * table.g_scale
            said = (
                f"the {name} of the drift coefficients is off at about {place:.3g} uS ({found.sigmas:.0f} standard "
                "errors): the form does not follow the conductance; --family spline assumes none"
            )
            checks.append(Check(f"levels, {name}", found.chance, found.size, said))
    said = (
        "drift coefficients of devices of one conductance are not normal ({where}, and 5 % should): there are kinds of "
        "devices, whose later conductances the fit does not foretell; look whether they lie apart on the chip, and fit "
        "them by themselves"
    )
    return [*checks, shape_check("coefficients", stats.norm.cdf(unit), said, settings)]


def foretold(
    likelihood: DriftLikelihood, theta: FloatArray, earlier: Measurement, later: Measurement, settings: CheckSettings
) -> tuple[Later, DriftTable] | None:
    """Foretell one later read of devices by the fit, and by lines through their earlier reads.

    Parameters
    ----------
    likelihood
        Of devices that their own lines describe, at their place in the fit.
    theta
        (p,) parameters.
    earlier, later
        Reads of these devices, or of every so many, in their order.
    settings
        How many devices are needed.

    Returns
    -------
    tuple
        The reads with what is expected of them, and the devices, as cells of `later`; None where they are too few.
    """
    table = likelihood.table
    step = -(-table.cells.size // len(earlier.cells))
    rows = rows_of(earlier)
    rows = replace(rows, there=rows.there & (rows.time > 0))
    enough = rows.counts >= table.settings.lines.fewest_reads
    if enough.sum() < settings.fewest_cells:
        return None  # no age to spare
    devices = Devices(rows, table.t0, table.settings).bent(table.law)
    cells = np.zeros(table.cells.size, bool)
    cells[::step] = enough
    own = table.lines_of(cells)
    mix = Mix.of(own.constant(own.log_g) / own.noise, own.nu, own.law) if own.floor else None
    lines = fit_lines(devices.take(enough), own.growth, mix)
    own = replace(
        own, log_g=lines.log_g - np.log(own.g_scale), nu=lines.nu, var_g=lines.var_g, covariance=lines.covariance,
        var_nu=lines.var_nu, cells=np.flatnonzero(enough),
    )  # fmt: skip
    own = own.lines_of(lines.found & (own.noise < own.settings.noise.line_noise**2))
    if own.cells.size < settings.fewest_cells:
        return None
    return later_reads(replace(likelihood, table=own), theta, earlier, later), own


def _later(
    likelihood: DriftLikelihood, theta: FloatArray, measurement: Measurement, settings: CheckSettings
) -> list[Check]:
    """Check that the last read of each device is foretold from its earlier ones by the fit."""
    table = likelihood.table
    step = max(1, table.cells.size // table.settings.search.first_look)
    pair = foretold(likelihood, theta, *split_last(some_cells(measurement, table.cells[::step])), settings)
    if pair is None:
        return []
    found = pair[0]
    unit = ((found.read - found.expected) / found.sigma)[found.there]
    inside = float(np.mean(np.abs(unit) < stats.norm.ppf(0.95)))
    bias = abs(float(unit.mean())) / float(unit.std() / np.sqrt(unit.size))
    off = float(np.median(((found.read - found.expected) / found.expected)[found.there]))
    what = "the last read of each device, foretold from its earlier ones,"
    mean = (
        f"{what} is {100 * off:+.2g} % off on average ({bias:.0f} standard errors): later ages are "
        "foretold wrongly; measure for longer, or look at --family onset and curved"
    )
    share = (
        f"{what} lies within its 90 % interval for {100 * inside:.1f} % of the devices: intervals of later ages are as "
        "wrong; look at --family telegraph and heavy-tailed"
    )
    chance = float(stats.binomtest(round(inside * unit.size), unit.size, 0.9).pvalue)
    return [
        Check("later reads", 2 * float(stats.norm.sf(bias)), abs(float(unit.mean())) / (2 * settings.mean), mean),
        Check("later intervals", chance, abs(inside - 0.9) / settings.coverage, share),
    ]


def _with_law(check: Check, table: DriftTable, measurement: Measurement) -> Check:
    """Add to a failing check of ages what law would describe them better."""
    if not table.law.plain:
        return check
    rows = rows_of(some_cells(measurement, table.cells[:: max(1, table.cells.size // table.settings.law.learnt_from)]))
    devices = Devices(replace(rows, there=rows.there & (rows.time > 0)), table.t0, table.settings)
    found = {kind: fitted_law(devices, np.arange(devices.size), kind) for kind in (ONSET, CURVED)}
    best = max(found, key=lambda kind: found[kind].gain)
    if found[best].chance > table.settings.law.sure:
        return replace(check, said=f"{check.said}; neither an onset nor curvature describes it: look at these reads")
    gains = " and ".join(f"{kind} {found[kind].gain:.0f}" for kind in found)
    advice = f"--family {best}, whose own checks say whether it describes them"
    return replace(check, said=f"{check.said}; log-likelihood gained by {gains}: {advice}")
