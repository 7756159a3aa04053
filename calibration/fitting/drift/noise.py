"""The noise of reads, learnt from what the lines of many devices leave: how it grows, and what of it is constant."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from scipy import stats

from hwloop.calibration.fitting.drift.covariance import Growth, drawn, flicker
from hwloop.calibration.fitting.drift.growth import Residuals, floor_of, growth_of
from hwloop.calibration.fitting.drift.lines import MOST_ELEMENTS, Devices, Lines, Noise, reduce
from hwloop.calibration.fitting.panels import binned
from hwloop.typing import BoolArray, FloatArray, IndexArray


def learn(devices: Devices, index: IndexArray) -> Noise:
    """Learn the noise of reads of the devices in `index`; few thousand of small noise tell it."""
    settings, noise = devices.settings.noise, Noise(law=devices.law)
    for _ in range(4):
        noise = _growing(devices, index, reduce(devices, index, noise), noise)
    part, found = index[:: -(-index.size // settings.learnt_from)], noise
    most = _least_square(devices.take(index))
    for unbiased in (False, True):  # the second costs more, and is not needed where the first finds nothing
        for _ in range(4):
            found = _constant(devices, part, reduce(devices, part, found), found, unbiased=unbiased)
            if found.floor:
                found = _growing(devices, part, reduce(devices, part, found), found)
        if found.floor < settings.sure * found.floor_error or found.floor > settings.too_much * most:
            return noise
    found = replace(found, floor=min(found.floor, most))
    return _growing(devices, index, reduce(devices, index, found), found)


def _least_square(devices: Devices) -> float:
    """Return the typical square (uS^2) of the last read of the devices that read least before.

    No constant noise is larger. Lines through reads of crowds of very noisy devices leave residuals that look like
    constant noise; this does not.
    """
    there, reads, settings = devices.rows.there, devices.rows.conductance, devices.settings.noise
    last = there.shape[1] - 1 - np.argmax(there[:, ::-1], axis=1)
    latest = reads[np.arange(devices.size), last]
    before = np.abs(((reads * there).sum(1) - latest) / (there.sum(1) - 1))
    emptiest = np.argsort(before)[: max(settings.fewest_empty, int(settings.emptiest * devices.size))]
    return float(np.median(latest[emptiest] ** 2) / stats.chi2.median(1))


def levels(lines: Lines, noise: Noise, most: int, size: int, steps: int) -> Noise:
    """Find noise and drift by conductance.

    Parameters
    ----------
    lines
        Of the devices.
    noise
        As known so far: of it, what is constant in uS stays.
    most, size
        Bins of conductance at most, and devices of a bin at least about.
    steps
        In which noise is parted into what is constant and what is not.
    """
    bins, place = binned(lines.log_g, max(1, min(most, lines.log_g.size // size)))
    count = int(bins.max()) + 1
    constant = noise.floor * np.exp(-2 * lines.log_g)
    seen = lines.squares / lines.freedom
    relative = _noise_level(seen, lines.freedom, bins, count)
    for _ in range(steps if noise.floor else 0):
        relative = _noise_level(seen / (1 + constant / relative[bins]), lines.freedom, bins, count)
    return replace(noise, place=place, relative=relative, nu=robust(lines.nu, bins, count)[0])


def _growing(devices: Devices, index: IndexArray, lines: Lines, noise: Noise) -> Noise:
    """Learn growth from products of the residuals of like devices, over their noise: see `growth_of`."""
    settings = devices.settings.noise
    fine = np.flatnonzero(lines.found)
    if fine.size < settings.fewest_lines:
        return replace(noise, growth=Growth())
    lines, index = lines.take(fine), index[fine]
    noise = levels(lines, noise, 50, 100, settings.levelling)
    variance = noise.variance(lines.log_g)
    # The quieter half of the devices, up to where residuals are not quite those of a line any more; at least a tenth.
    quiet = variance <= max(min(float(np.median(variance)), settings.quiet**2), float(np.quantile(variance, 0.1)))
    if variance[quiet].min() > settings.too_noisy**2:
        return replace(noise, growth=flicker(devices.t0))
    left = _residuals(devices, index, lines, quiet, noise)
    if left.products < settings.fewest_products:
        return replace(noise, growth=Growth())
    found = growth_of(noise.growth, left)
    top = max(float(left.x.max()), 1e-9)
    return replace(noise, growth=replace(found, rate=min(found.rate, 10.0 / top)))


def _constant(devices: Devices, index: IndexArray, lines: Lines, noise: Noise, *, unbiased: bool) -> Noise:
    """Learn constant noise from how noise grows where conductances are small and fall: see `floor_of`.

    With `unbiased`, what the same finds in reads drawn with the noise known so far is taken off: lines through much
    noise leave residuals that are not quite those of straight lines.
    """
    settings = devices.settings.noise
    fine = np.flatnonzero(lines.found)
    if fine.size < settings.fewest_lines:
        return noise
    lines, index = lines.take(fine), index[fine]
    noise = levels(lines, noise, 50, 100, settings.levelling)
    some = np.flatnonzero(noise.variance(lines.log_g) <= settings.line_noise**2)
    devices, lines = devices.take(index[some]), lines.take(some)
    step, error = _floor_step(devices, lines, noise)
    if unbiased:
        step -= _floor_of_nothing(devices, lines, noise)
        error *= math.sqrt(1 + 1 / settings.draws)
    return replace(noise, floor=max(noise.floor + step, 0.0), floor_error=error)


def _floor_of_nothing(devices: Devices, lines: Lines, noise: Noise) -> float:
    """Return what `_floor_step` finds, on average, in reads that have the noise known so far and no other."""
    x, rows = devices.x, devices.rows
    truth, spoilt = np.exp(lines.log_g[:, None] - lines.nu[:, None] * devices.h), noise.mix(lines.log_g)
    sigma, rng = np.sqrt(noise.variance(lines.log_g))[:, None], np.random.default_rng(3)
    found = []
    for _ in range(devices.settings.noise.draws):
        reads = truth * (1 + sigma * drawn(noise.growth, x, rows.there, spoilt, rng))
        again = replace(devices, rows=replace(rows, conductance=reads))
        found.append(_floor_step(again, reduce(again, np.arange(len(x)), noise), noise)[0])
    return float(np.mean(found))


def _floor_step(devices: Devices, lines: Lines, noise: Noise) -> tuple[float, float]:
    """Return what to add to the constant noise (uS^2) by the residuals of these lines, and how sure that is."""
    fine = lines.found
    left = _residuals(devices, np.arange(fine.size), lines, fine, noise)
    if left.products < devices.settings.noise.fewest_products:
        return 0.0, math.inf
    return floor_of(noise.growth, left, noise.mixed(left.log_g))


def _residuals(devices: Devices, index: IndexArray, lines: Lines, some: BoolArray, noise: Noise) -> Residuals:
    """Return residuals of some of the devices in `index`, as many as fit into little memory.

    Devices that a bad read spoils are left out.
    """
    chosen = np.flatnonzero(some)
    chosen = chosen[:: max(1, -(-chosen.size // (MOST_ELEMENTS // devices.rows.time.shape[1] ** 2)))]
    own, part = devices.take(index[chosen]), lines.take(chosen)
    x, there = own.x, own.rows.there
    curve = np.exp(part.nu[:, None] * own.h - part.log_g[:, None])
    residual = np.where(there, own.rows.conductance * curve - 1.0, 0.0)
    variance, mix = noise.variance(part.log_g), noise.mix(part.log_g)
    far = devices.settings.noise.outlying * variance[:, None] * noise.growth.variance(x, mix)
    kept = np.all(residual**2 < far, axis=1)
    mix = None if mix is None else mix.take(kept)
    return Residuals(there[kept], x[kept], residual[kept], part.log_g[kept], variance[kept], mix, devices.law)


def robust(values: FloatArray, bins: IndexArray, count: int) -> tuple[FloatArray, FloatArray]:
    """Return the median and the robust standard deviation of each bin."""
    order = np.lexsort((values, bins))
    sizes = np.bincount(bins, minlength=count)
    starts = np.cumsum(sizes) - sizes
    sorted_values = values[order]

    def quantile(q: float) -> FloatArray:
        at = starts + np.minimum((q * sizes).astype(np.int64), np.maximum(sizes - 1, 0))
        chosen: FloatArray = sorted_values[at]
        return chosen

    return quantile(0.5), (quantile(0.75) - quantile(0.25)) / 1.349


def _noise_level(seen: FloatArray, freedom: FloatArray, bins: IndexArray, count: int) -> FloatArray:
    """Return the variance of each bin, from the median of what the residuals of its devices show."""
    median, _ = robust(seen, bins, count)
    typical = np.bincount(bins, freedom, count) / np.maximum(np.bincount(bins, minlength=count), 1)
    chance = stats.chi2.median(np.maximum(typical, 1.0)) / np.maximum(typical, 1.0)
    level: FloatArray = np.maximum(median / chance, 1e-10)
    return level
