"""How drift goes on with age, from the residuals of many lines: onset and curvature as alternatives of the power law.

Each device keeps a line of its own, against what a law makes of ln t; a law is better where lines leave less. A device
counts by the logarithm of what its line leaves, as one whose noise is hardly known, so that outliers decide nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from hwloop.calibration.fitting.drift.covariance import Growth
from hwloop.calibration.fitting.drift.lines import Devices, Noise, fit_lines, reduce
from hwloop.calibration.fitting.drift.noise import learn
from hwloop.devices.time_law import POWER_LAW, TimeLaw
from hwloop.errors import BadInputError
from hwloop.typing import FloatArray, IndexArray

ONSET, CURVED, PLAIN = "onset", "curved", "power law"
FREE = {ONSET: (0,), CURVED: (1, 2), PLAIN: ()}
"""Which of (ln onset, curvature, bend) a kind of law has."""


@dataclass(frozen=True)
class FittedLaw:
    """A law, how well it is known, and what speaks for it."""

    law: TimeLaw
    covariance: FloatArray
    """(3, 3) of ln onset, curvature and bend."""
    gain: float
    """Log-likelihood over that of the power law."""
    chance: float
    """That devices of a power law show so much gain."""


def fitted_law(devices: Devices, index: IndexArray, kind: str) -> FittedLaw:
    """Fit a kind of law to the quieter of the devices in `index`.

    Parameters
    ----------
    devices
        As they are by the power law.
    index
        Which of them may be used.
    kind
        One of ONSET and CURVED.

    Returns
    -------
    FittedLaw
        The law, and how much better it is than the power law.
    """
    settings = devices.settings.law
    part = devices.take(index[:: max(1, index.size // settings.learnt_from)])
    every = np.arange(part.size)
    law, noise = POWER_LAW, Noise()
    for look in range(2):
        # What a wrong law leaves looks like noise that reads have in common: at first they are taken as independent.
        noise = noise if look == 0 else learn(part.bent(law), every)
        likelihood = _likelihood(part, noise if look else _level_of(part))
        found = _best(likelihood, part, kind, law)
        law = _law(kind, found)
    each = likelihood(law) - likelihood(POWER_LAW)
    gain = float(each.sum())
    chance = float(stats.chi2.sf(2 * max(gain, 0.0), len(FREE[kind])))
    return FittedLaw(law, _covariance(likelihood, kind, found, _steps(kind, settings.step)), gain, chance)


def require_law(found: FittedLaw, kind: str, sure: float) -> None:
    """Raise BadInputError where the reads do not tell a law from the power law."""
    if found.chance > sure:
        raise BadInputError(
            f"drift: the reads show no law but the power law (as '{kind}', log-likelihood {found.gain:+.1f}): "
            "use --family spline or log-clip, or measure for longer"
        )


def _level_of(part: Devices) -> Noise:
    """Take each device's noise as that of its own line: independent reads."""
    lines = reduce(part, np.arange(part.size), Noise())
    typical = np.median((lines.squares / lines.freedom)[lines.found])
    return Noise(growth=Growth(), relative=np.array([max(float(typical), 1e-12)]))


def _likelihood(part: Devices, noise: Noise) -> Callable[[TimeLaw], FloatArray]:
    """Return a function of the law: log-likelihood (devices,) of what lines leave, zero for devices without a line."""
    straight = reduce(part, np.arange(part.size), noise)
    quiet = part.settings.law.quiet
    with np.errstate(invalid="ignore"):
        variance = np.where(straight.found, noise.variance(straight.log_g), np.inf)
    some = np.flatnonzero(variance < max(quiet**2, float(np.quantile(variance, 0.2))))
    chosen, level, mix = part.take(some), variance[some], noise.mix(straight.log_g[some])
    prior = part.settings.law.freedom

    def each(law: TimeLaw) -> FloatArray:
        with np.errstate(over="ignore", invalid="ignore"):
            lines = fit_lines(chosen.bent(law), noise.growth, mix)
            left = np.where(np.isfinite(lines.squares), lines.squares, 1e6 * level)
        return -0.5 * (lines.freedom + prior) * np.log(prior + left / level)

    return each


def _law(kind: str, values: FloatArray) -> TimeLaw:
    """Return the law of these values of ln onset, curvature and bend, of those that its kind has."""
    own = dict(zip(FREE[kind], values.tolist(), strict=True))
    return TimeLaw(float(np.exp(own[0])) if 0 in own else 0.0, own.get(1, 0.0), own.get(2, 0.0))


def _best(likelihood: Callable[[TimeLaw], FloatArray], part: Devices, kind: str, before: TimeLaw) -> FloatArray:
    """Return the values of the free coefficients of a kind of law under which the devices are most likely."""
    steps = _steps(kind, part.settings.law.step)

    def unlikely(values: FloatArray) -> float:
        return -float(likelihood(_law(kind, np.atleast_1d(values))).sum())

    if kind == ONSET:
        x = part.x[part.rows.there]
        grid = np.linspace(x.min() - 2.0, x.max() + 2.0, part.settings.law.places)
        scores = [unlikely(place) for place in grid] if before == POWER_LAW else []
        middle = float(grid[int(np.argmin(scores))]) if scores else float(np.log(before.onset))
        width = float(grid[1] - grid[0])
        found = optimize.minimize_scalar(
            unlikely, bounds=(middle - width, middle + width), method="bounded", options={"xatol": 1e-3}
        )
        return np.array([float(found.x)])
    start = np.array([before.curvature, before.bend])
    simplex = np.stack([start, start + np.array([5 * steps[0], 0.0]), start + np.array([0.0, 5 * steps[1]])])
    options = {"initial_simplex": simplex, "xatol": steps[1] / 20, "fatol": 0.01, "maxfev": 200}
    return np.asarray(optimize.minimize(unlikely, start, method="Nelder-Mead", options=options).x, np.float64)


def _steps(kind: str, step: float) -> FloatArray:
    """Return steps over which the log-likelihood is nearly a parabola."""
    return np.array([step, step / 10, step / 100])[list(FREE[kind])]


def _covariance(
    likelihood: Callable[[TimeLaw], FloatArray], kind: str, found: FloatArray, steps: FloatArray
) -> FloatArray:
    """Return the covariance (3, 3) of ln onset, curvature and bend: the sandwich, by differences."""
    free = list(FREE[kind])
    size = len(free)

    def at(offsets: FloatArray) -> FloatArray:
        return likelihood(_law(kind, found + offsets * steps))

    unit, middle = np.eye(size), at(np.zeros(size))
    ends = [(at(row), at(-row)) for row in unit]
    scores = np.stack([(up - down) / 2 for up, down in ends], 1)
    curvature = np.diag([float((2 * middle - up - down).sum()) for up, down in ends])
    if size == 2:
        both = at(unit[0] + unit[1]) + at(-unit[0] - unit[1]) - at(unit[0] - unit[1]) - at(unit[1] - unit[0])
        curvature[0, 1] = curvature[1, 0] = -float(both.sum()) / 4
    result = np.zeros((3, 3))
    try:
        inverse = np.linalg.inv(curvature)
    except np.linalg.LinAlgError:
        inverse = np.full((size, size), np.nan)
    result[np.ix_(free, free)] = inverse @ (scores.T @ scores) @ inverse * np.outer(steps, steps)
    return result
