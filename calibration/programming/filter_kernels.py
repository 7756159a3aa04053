"""The conductance filter's arithmetic on all devices of a tile, as compiled loops.

Arrays of devices have the shape (D, cells), D = 2 K, positive polarity first, and arrays of cells (cells,), row by row.
Each loop runs along the cells of one device after the other, which processors do several at a time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hwloop.devices.compiled import exact, kept
from hwloop.typing import BoolArray, FloatArray, IndexArray


class Lookup(NamedTuple):
    """A statistic of a device, tabulated evenly from a conductance of zero on."""

    values: FloatArray
    """(entries,) of which the nearest one is taken, the last one beyond."""
    per_unit: float
    """Entries for one uS."""


class Reach(NamedTuple):
    """What pulses can bring devices to, and to which end."""

    sign: FloatArray
    """(D,) polarity."""
    lowest: float
    """uS, of any device."""
    top: FloatArray
    """(D, cells) highest conductance, uS."""
    closed: BoolArray
    """(D, cells) devices that are to be left alone."""


@exact
def entry(of: Lookup, g: float) -> float:
    """Return the statistic of a device at g in uS."""
    place, last = g * of.per_unit + 0.5, of.values.size - 1.0
    place = place if place < last else last
    return of.values[np.intp(place if place > 0.0 else 0.0)]  # type: ignore[no-any-return]


@kept
def losses(g: FloatArray, exponent: FloatArray, drifts: BoolArray, mean: Lookup, out: FloatArray) -> None:
    """Compute ln G(then) / G(reference age) of devices (n,), zero for those that do not drift.

    Parameters
    ----------
    g, exponent, drifts
        (n,) conductances at the reference age in uS, what the law of drift says of their ages, and whether they drift.
    mean
        Drift coefficient of a device.
    out
        (n,) the result.
    """
    for i in range(g.size):
        loss = entry(mean, g[i]) * exponent[i]
        out[i] = -loss if drifts[i] else 0.0


@kept
def seen_together(
    g: FloatArray, effect: FloatArray, sensitivity: FloatArray, sign: FloatArray, weights: FloatArray
) -> None:
    """Multiply effects by the sensitivities of their cells, and add up what the devices of each cell contribute.

    Parameters
    ----------
    g, effect
        (D, cells) conductances in uS, and G(then) / G(reference age), which is multiplied.
    sensitivity
        (cells,) factors.
    sign
        (D,) polarity of the devices.
    weights
        (cells,) the sums, uS.
    """
    weights[:] = 0.0
    for d in range(g.shape[0]):
        for i in range(g.shape[1]):
            shows = effect[d, i] * sensitivity[i]
            effect[d, i] = shows
            weights[i] += sign[d] * g[d, i] * shows


@kept
def drift_powers(
    g: FloatArray, effect: FloatArray, apart: FloatArray, usable: BoolArray, spread: Lookup, out: FloatArray
) -> None:
    """Compute what unknown drift adds to the variance of cells, uS^2.

    Parameters
    ----------
    g, effect
        (D, cells) conductances in uS, and what devices contribute over that.
    apart
        (D, cells) difference of what the law of drift says of the two ages.
    usable
        (D, cells) devices that drift.
    spread
        Standard deviation of the drift coefficient.
    out
        (cells,) the result.
    """
    out[:] = 0.0
    for d in range(g.shape[0]):
        for i in range(g.shape[1]):
            drift = g[d, i] * effect[d, i] * entry(spread, g[d, i]) * apart[d, i]
            out[i] += drift * drift if usable[d, i] else 0.0


@kept
def noise_powers(g: FloatArray, effect: FloatArray, q: Lookup, out: FloatArray) -> None:
    """Compute the read noise of cells per unit of log time, (cells,) in uS^2, of devices as in `seen_together`."""
    out[:] = 0.0
    for d in range(g.shape[0]):
        for i in range(g.shape[1]):
            noise = entry(q, g[d, i]) * g[d, i] * effect[d, i]
            out[i] += noise * noise


@kept
def move(
    g: FloatArray,
    variance: FloatArray,
    effect: FloatArray,
    sign: FloatArray,
    top: FloatArray,
    cells: tuple[FloatArray, FloatArray, FloatArray],
) -> None:
    """Move devices by a correction of their cells, shared as they share its variance, which the measurement narrows.

    Parameters
    ----------
    g, variance
        (D, cells) conductances in uS and their variances in uS^2, which change.
    effect, sign
        (D, cells) what devices contribute over their conductance, and (D,) their polarity.
    top
        (D, cells) conductances of which none beyond the double is believed, uS.
    cells
        (cells,) each: the correction in uS, the trust in the measurement, and room for the sums of variances.
    """
    correction, trust, total = cells
    total[:] = 0.0
    for d in range(g.shape[0]):
        for i in range(g.shape[1]):
            total[i] += variance[d, i] * effect[d, i] ** 2
    for d in range(g.shape[0]):
        for i in range(g.shape[1]):
            share = variance[d, i] * effect[d, i] ** 2 / max(total[i], 1e-300)
            moved = g[d, i] + sign[d] * share * correction[i] / effect[d, i]
            g[d, i] = min(max(moved, 0.0), 2.0 * top[d, i])
            variance[d, i] *= 1.0 - trust[i] * share


@kept
def prospects(
    g: FloatArray, effect: FloatArray, error: FloatArray, reach: Reach, noise: tuple[Lookup, float], out: FloatArray
) -> None:
    """Compute where a pulse should bring each device to correct its cell, and what that wins but for the pulse's noise.

    Parameters
    ----------
    g, effect
        (D, cells) conductances in uS, and what devices contribute over that.
    error
        (cells,) what cells show beyond their targets, uS.
    reach
        What pulses can bring devices to.
    noise
        Read noise of a device over its conductance, and the variance, in units of its square, that counts.
    out
        (2, D, cells) aims in uS, and the squared error of the cell less what remains of it, uS^2; minus infinity for
        devices that are to be left alone.
    """
    q, scale = noise
    for d in range(g.shape[0]):
        for i in range(g.shape[1]):
            shows, now = effect[d, i], g[d, i]
            wanted = now - reach.sign[d] * error[i] / shows
            aim = min(max(wanted, reach.lowest), reach.top[d, i])
            left = (aim - wanted) * shows
            loud, quiet = entry(q, now) * now, entry(q, aim) * aim
            quieter = scale * (loud * loud - quiet * quiet)
            won = error[i] ** 2 - left * left + quieter * shows * shows
            out[0, d, i] = aim
            out[1, d, i] = -np.inf if reach.closed[d, i] else won


@kept
def best_of_cells(devices: IndexArray, worth: FloatArray, least: float, best: IndexArray) -> None:
    """Find the device of each cell (cells,) whose pulse is worth most, and more than `least`; -1 where there is none.

    Parameters
    ----------
    devices
        (n,) flat indices of devices to choose from, ascending.
    worth
        (n,) what a pulse of each is worth.
    least
        What it must be worth.
    best
        (cells,) the result.
    """
    most = np.full(best.size, least)
    best[:] = -1
    for k in range(devices.size):
        cell = devices[k] % best.size
        if worth[k] > most[cell]:
            most[cell] = worth[k]
            best[cell] = devices[k] // best.size


@kept
def multiples_of_columns(reference: FloatArray, values: FloatArray, rounds: int, huber: float, out: FloatArray) -> None:
    """Fit factors of columns that bring `reference` closest to `values` (rows, columns), with Huber weights.

    Parameters
    ----------
    reference, values
        (rows, columns).
    rounds
        Fits in turn, each with the weights that the one before gives.
    huber
        Standard deviations beyond which a residual loses weight.
    out
        (columns,) the factors; 1 where the reference is zero.
    """
    rows, columns = reference.shape
    weights, power, product, sigma = np.ones(reference.shape), np.empty(columns), np.empty(columns), np.empty(columns)
    telling = np.zeros(columns)
    for i in range(rows):
        for j in range(columns):
            telling[j] += reference[i, j] != 0
    for _ in range(rounds):
        power[:] = 0.0
        product[:] = 0.0
        sigma[:] = 0.0
        for i in range(rows):
            for j in range(columns):
                power[j] += weights[i, j] * reference[i, j] ** 2
                product[j] += weights[i, j] * reference[i, j] * values[i, j]
        for j in range(columns):
            out[j] = product[j] / power[j] if power[j] > 0 else 1.0
        for i in range(rows):
            for j in range(columns):
                if reference[i, j] != 0:
                    sigma[j] += weights[i, j] * abs(values[i, j] - out[j] * reference[i, j])
        for j in range(columns):
            # 1.2533: from the mean of absolute values to the standard deviation, for Gaussian errors.
            sigma[j] = huber * (1.2533 * (sigma[j] / max(telling[j], 1.0)) + 1e-12)
        for i in range(rows):
            for j in range(columns):
                error = abs(values[i, j] - out[j] * reference[i, j])
                weights[i, j] = min(1.0, sigma[j] / max(error, 1e-300))


@kept
def weigh_noise(
    off: FloatArray,
    variance: FloatArray,
    noise: FloatArray,
    slow: tuple[FloatArray, FloatArray, FloatArray],
    out: FloatArray,
) -> None:
    """Share what cells (cells,) deviate by among their conductances, noise that lasts, and the measurement's own.

    Parameters
    ----------
    off, variance, noise
        The deviations in uS, the variances of conductances and those of the measurement, uS^2.
    slow
        The noise that lasts in uS, its variance and its covariance with the conductances in uS^2, which change.
    out
        (2, cells) corrections of the conductances in uS, and the share of their variances that is resolved.
    """
    seen, own, shared = slow
    for i in range(off.size):
        of_cell, of_noise = variance[i] + shared[i], shared[i] + own[i]
        total = max(of_cell + of_noise + noise[i], 1e-300)
        seen[i] += of_noise / total * off[i]
        shared[i] -= of_cell * of_noise / total
        own[i] -= of_noise * of_noise / total
        out[0, i] = of_cell / total * off[i]
        out[1, i] = of_cell * of_cell / (total * max(variance[i], 1e-300))
