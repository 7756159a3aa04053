"""What pulses on many devices cost, and what their answers teach of the devices' curves, as compiled loops."""

from __future__ import annotations

import math
from typing import NamedTuple

from hwloop.calibration.programming.filter_kernels import Lookup
from hwloop.devices.compiled import exact, kept
from hwloop.devices.programming_curve import ProgrammingCurve
from hwloop.typing import CodeArray, FloatArray, IndexArray


class Curve(NamedTuple):
    """The numbers of a `ProgrammingCurve`."""

    g_min: float
    g_max: float
    midpoint: float
    steepness: float
    jitter: float
    noise: float
    relative_noise: float

    @classmethod
    def of(cls, curve: ProgrammingCurve) -> Curve:
        """Take them from it."""
        return cls(*(getattr(curve, name) for name in cls._fields))


class Redraws(NamedTuple):
    """The value of a redraw, as `hwloop.calibration.programming.redraw.RedrawTable` has it."""

    values: FloatArray
    """(redraws + 1, prices) evenly in p / (1 + p)."""
    end: float
    """The last p / (1 + p)."""
    rounds: int
    """Rounds that follow."""
    pulses: int
    """Pulses that a device may receive."""
    price: float
    """Expected squared error that a pulse must win, uS^2."""


class Known(NamedTuple):
    """What is known of all devices, flat, and of cells."""

    g: FloatArray
    """(devices,) uS."""
    variance: FloatArray
    """(devices,) of g, each device's own, uS^2."""
    height_variance: FloatArray
    shift_variance: FloatArray
    """(devices,) of the curves."""
    unresolved: FloatArray
    """(cells,) variance with which the measurements to come will show a cell, uS^2."""
    spent: CodeArray
    """(devices,) pulses."""


class Lessons(NamedTuple):
    """What is believed of the curves of n devices, which change, and (n,) each: the last pulse and what it led to."""

    shift: FloatArray
    shift_variance: FloatArray
    height: FloatArray
    height_variance: FloatArray
    amplitude: FloatArray
    """uA."""
    g: FloatArray
    """uS."""
    variance: FloatArray
    """Of g, uS^2."""


@exact
def place_on(curve: Curve, g: float) -> float:
    """Return how far up the curve g in uS is; within 0.5 % of either end it is taken as that end."""
    return min(max((g - curve.g_min) / (curve.g_max - curve.g_min), 0.005), 0.995)


@exact
def slope(curve: Curve, g: float) -> float:
    """Return |dG/dI| in uS/uA where the curve passes g in uS."""
    h = place_on(curve, g)
    return (curve.g_max - curve.g_min) * h * (1.0 - h) / curve.steepness


@exact
def flat_variance(curve: Curve, g: float) -> float:
    """Return the variance in uS^2 of pulses at g in uS that no jitter of the amplitude makes."""
    return curve.noise**2 + (curve.relative_noise * g) ** 2


@kept
def costs_of_pulses(
    pulses: tuple[IndexArray, FloatArray, FloatArray],
    known: Known,
    curve: Curve,
    drift: tuple[Lookup, float],
    redraws: Redraws,
    out: FloatArray,
) -> None:
    """Compute the variances of pulses as their cells show them, and the squared errors that they leave.

    Parameters
    ----------
    pulses
        (n,) flat indices of the devices; (devices,) aims in uS, and what devices contribute over their conductance.
    known
        What is known of the devices.
    curve
        Their nominal curve.
    drift
        Standard deviation of the drift coefficient, and what its law says of the time until the targets hold.
    redraws
        What results are worth that can be drawn again.
    out
        (2, n) variances and squared errors, uS^2.
    """
    at, aims, effects = pulses
    most, last = redraws.values.shape[0] - 1, redraws.values.shape[1] - 1
    spread, apart = drift
    for k in range(at.size):
        n = at[k]
        aim, shows, before = aims[n], effects[n], known.g[n]
        steep = slope(curve, aim)
        pulse = (curve.jitter**2 + known.shift_variance[n]) * steep * steep + flat_variance(curve, aim)
        noise = (pulse + known.height_variance[n] * (aim - before) ** 2) * shows * shows
        place = aim * spread.per_unit + 0.5
        place = min(max(place, 0.0), spread.values.size - 1.0)
        drifted = aim * shows * spread.values[int(place)] * apart
        # What is known of a cell is its sum: pulsing a device whose share is uncertain brings that variance back.
        drawn = max(noise + known.variance[n] * shows * shows, 1e-300)
        shown = drawn * drawn / (drawn + known.unresolved[n % known.unresolved.size] / (redraws.rounds + 1))
        price = redraws.price / max(shown, 1e-30)
        column = int(min(price / (1.0 + price) * last / redraws.end + 0.5, last))
        left = min(max(min(redraws.rounds, redraws.pulses - 1 - known.spent[n]), 0), most)
        out[0, k] = noise
        out[1, k] = drifted * drifted + redraws.values[left, column] * shown + (drawn - shown)


@kept
def learn_curves(of: Lessons, curve: Curve, smallest: float) -> None:
    """Update shifts and heights of devices with what their last pulses led to; no height is below `smallest`."""
    jitter = curve.jitter**2
    for k in range(of.g.size):
        g, prior, tall = of.g[k], of.shift_variance[k], of.height_variance[k]
        above = g - curve.g_min
        h = place_on(curve, curve.g_min + above / of.height[k])
        seen = of.amplitude[k] - curve.midpoint - curve.steepness * math.log(1.0 / h - 1.0)
        # Where the curve is flat, a conductance says more of a device's height than of its shift.
        own = flat_variance(curve, g) + of.variance[k]
        variance = jitter + (own + tall * above * above) / slope(curve, g) ** 2
        trust = prior / max(prior + variance, 1e-300)
        shift = of.shift[k] + trust * (seen - of.shift[k])
        prior *= 1.0 - trust
        # What is left to explain once the shift is known is the height.
        z = min(max((of.amplitude[k] - shift - curve.midpoint) / curve.steepness, -60.0), 60.0)
        nominal = (curve.g_max - curve.g_min) / (1.0 + math.exp(z))
        unknown = own + slope(curve, nominal + curve.g_min) ** 2 * (jitter + prior)
        trust = tall * nominal / max(tall * nominal * nominal + unknown, 1e-300)
        of.height[k] = max(of.height[k] + trust * (above - of.height[k] * nominal), smallest)
        of.height_variance[k] = (1.0 - trust * nominal) * tall
        of.shift[k] = shift
        of.shift_variance[k] = prior
