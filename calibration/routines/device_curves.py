"""Each device's place about the typical programming curve, from what SET and two pulses on the flank have left.

How the two results of one device agree tells what belongs to the device and what to the pulse; each device's own height
and shift are known as well as two pulses allow, shrunk towards the typical ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwloop.calibration.routines.robust import outlying, robust_variance
from hwloop.calibration.settings import Settings
from hwloop.devices.drift import Aging
from hwloop.devices.model import DeviceModel
from hwloop.devices.programming_curve import ProgrammingCurve
from hwloop.typing import BoolArray, FloatArray


@dataclass(frozen=True)
class Pulsed:
    """What the devices have shown, conductances at the reference age."""

    amplitude: FloatArray
    """(2, devices) amplitudes of both pulses, uA."""
    seen: FloatArray
    """(2, devices) what they left, uS; NaN where a device was not pulsed."""
    of_set: FloatArray
    """(devices,) what a SET pulse left, over what it left on the typical device."""
    usable: BoolArray
    """(devices,) devices that answer to pulses."""
    settle: float
    """Seconds between a pulse and the look at it."""


@dataclass(frozen=True)
class DeviceCurves:
    """Heights and shifts of devices (devices,), and how they spread."""

    height: FloatArray
    height_sigma: FloatArray
    height_spread: float
    shift: FloatArray
    """uA."""
    shift_sigma: FloatArray
    """uA."""
    midpoint_spread: float
    """uA."""
    jitter: float
    """uA."""


@dataclass(frozen=True)
class Spreads:
    """What moves results along the amplitude."""

    jitter2: float
    """Variance between pulses, uA^2."""
    tilt2: float
    """Growth of that variance with the squared distance of the amplitude from the midpoint."""
    midpoint: float
    """Standard deviation between devices, uA."""


@dataclass(frozen=True)
class DeviceCurveFit(Settings):
    """The fit of the devices' own curves and its settings."""

    usable_from: float = 0.03
    """Results below this share of a device's height say nothing of its shift."""
    usable_to: float = 0.97
    """Nor do results above this share."""
    centre: float = 0.9
    """Pulses count as central within this many steepnesses of the midpoint."""
    edge: float = 1.4
    """Pulses count as at the edge of the flank beyond this many steepnesses of the midpoint."""
    top: float = 0.75
    """Pulses that typically leave more than this share of g_max tell a device's height."""
    outlier_sigmas: float = 4.0
    """Robust standard deviations beyond which a value is an outlier."""
    least_spread: float = 1e-3
    """Relative spreads of heights below this are taken as this."""
    least_jitter: float = 0.1
    """uA; jitter below this is not told apart from read noise."""

    def __post_init__(self) -> None:
        self._require("usable_from", 0, 0.5)
        self._require("usable_to", 0.5, 1)
        self._require("centre", 0, 10)
        self._require("edge", 0, 10)
        self._require("top", 0.01, 0.99)
        self._require("outlier_sigmas", 1, 1000)
        self._require("least_spread", 1e-9, 1)
        self._require("least_jitter", 1e-9, 100)

    def fit_devices(self, curve: ProgrammingCurve, pulsed: Pulsed, model: DeviceModel | None) -> DeviceCurves:
        """Fit height and shift of each device about the typical curve; `model` is the chip's nominal one."""
        amplitude, seen, usable = pulsed.amplitude, pulsed.seen, pulsed.usable
        read2 = seen_variance(model, seen, pulsed.settle)
        height_spread = self._height_spread(curve, pulsed)
        nominal_spread = model.curve.height_spread if model else 0.0
        height, height_sigma = self._heights(pulsed.of_set, height_spread, max(height_spread, nominal_spread), usable)
        on_typical = curve.g_min + (seen - curve.g_min) / height
        share = (on_typical - curve.g_min) / (curve.g_max - curve.g_min)
        on_flank = (share > self.usable_from) & (share < self.usable_to) & usable
        shift = np.where(on_flank, amplitude - curve.amplitude(np.where(on_flank, on_typical, curve.g_max / 2)), 0.0)
        slope = curve.slope(np.where(on_flank, on_typical, curve.g_max / 2)) * height
        # What reading and the height's uncertainty add to a shift, besides the pulse's jitter.
        lever = (seen - curve.g_min) * height_sigma / height
        extra2 = np.where(on_flank, (read2 + lever**2) / slope**2, 0.0)
        distance = amplitude - curve.midpoint
        spreads = self._spreads(distance, shift, extra2, on_flank, curve.steepness)
        jitter2_of_each = spreads.jitter2 + spreads.tilt2 * distance**2
        weight = np.where(on_flank, 1.0 / (jitter2_of_each + extra2), 0.0)
        total = weight.sum(0) + 1.0 / spreads.midpoint**2
        return DeviceCurves(
            height=height,
            height_sigma=height_sigma,
            height_spread=height_spread,
            shift=(weight * shift).sum(0) / total,
            shift_sigma=np.sqrt(1.0 / total),
            midpoint_spread=spreads.midpoint,
            jitter=float(np.sqrt(spreads.jitter2)),
        )

    def _spreads(
        self, distance: FloatArray, shift: FloatArray, extra2: FloatArray, on_flank: BoolArray, steepness: float
    ) -> Spreads:
        """Tell what differs between pulses from what differs between devices.

        Which pairs are compared is chosen by their amplitudes, not by what came out, which would bias the spreads.
        Devices of another steepness deviate in proportion to the distance, as if their pulses jittered more there.

        Parameters
        ----------
        distance, shift, extra2
            (2, devices) distances of the amplitudes from the typical midpoint, shifts seen, uA, and the variance of
            what else moved them, uA^2.
        on_flank
            (2, devices) results that tell a shift.
        steepness
            Of the typical curve, uA.
        """
        far = np.abs(distance) / steepness
        both = on_flank[0] & on_flank[1]

        def per_pulse(pairs: BoolArray) -> float:
            return robust_variance((shift[0] - shift[1])[pairs]) / 2 - float(np.median(extra2[:, pairs]))

        centre = both & (far[0] < self.centre) & (far[1] < self.centre)
        edge = both & (far[0] > self.edge) & (far[1] > self.edge)
        jitter2 = max(per_pulse(centre), self.least_jitter**2)
        lever = float(np.mean(distance[:, edge] ** 2)) - float(np.mean(distance[:, centre] ** 2))
        tilt2 = max((per_pulse(edge) - jitter2) / lever, 0.0)
        sums, differences = (shift[0] + shift[1])[centre], (shift[0] - shift[1])[centre]
        spread2 = (robust_variance(sums) - robust_variance(differences)) / 4
        return Spreads(jitter2, tilt2, float(np.sqrt(max(spread2, self.least_jitter**2))))

    def _height_spread(self, curve: ProgrammingCurve, pulsed: Pulsed) -> float:
        """Estimate the device-to-device relative standard deviation of the height.

        What a device shows after SET and after a pulse on top of the flank has its height in common, and no noise: each
        pulse starts its noise anew. So the covariance of the two is the variance of the heights.
        """
        expected = curve.conductance(pulsed.amplitude)
        on_top = (expected > self.top * curve.g_max) & np.isfinite(pulsed.seen) & pulsed.usable
        of_set = np.broadcast_to(pulsed.of_set, pulsed.seen.shape)[on_top]
        of_pulse = (pulsed.seen / expected)[on_top]
        near = ~(self._outlying(of_set) | self._outlying(of_pulse))
        return float(np.sqrt(max(float(np.cov(of_set[near], of_pulse[near])[0, 1]), self.least_spread**2)))

    def _outlying(self, values: FloatArray) -> BoolArray:
        return outlying(values, self.outlier_sigmas, self.least_spread)

    def _heights(
        self, ratio: FloatArray, shown: float, spread: float, usable: BoolArray
    ) -> tuple[FloatArray, FloatArray]:
        """Shrink heights (devices,) over the typical one towards one; return them and their standard uncertainties.

        Low conductances drift faster, so that a SET device may show less than its height's deviation, and more of it
        stays unknown. A weak device is no member of the population of good ones and keeps what was seen.

        Parameters
        ----------
        ratio
            (devices,) what SET devices show over what the typical one does.
        shown, spread
            Spread of heights as it shows in `ratio`, and what it may really be.
        usable
            (devices,) devices that answer to pulses.
        """
        far = np.abs(ratio - 1.0) > self.outlier_sigmas * max(
            np.sqrt(robust_variance(ratio[usable])), self.least_spread
        )
        noise2 = max(float(np.var(ratio[usable & ~far])) - shown**2, self.least_spread**2)
        own = shown**2 / (shown**2 + noise2)
        height = np.where(far, ratio, 1.0 + own * (ratio - 1.0))
        sigma = np.where(far, np.sqrt(noise2), np.sqrt(spread**2 - own * shown**2))
        return np.where(usable, np.maximum(height, 0.05), 1.0), np.where(usable, sigma, 0.0)


def seen_variance(model: DeviceModel | None, seen: FloatArray, settle: float) -> FloatArray:
    """Return the variance (uS^2) of what a look says of conductances at the reference age: read noise and drift.

    Parameters
    ----------
    model
        The chip's nominal device; None: nothing is known, and the variance zero.
    seen
        Conductances, uS, of any shape.
    settle
        Age of the devices when they were seen, seconds.
    """
    if model is None:
        return np.zeros_like(seen)
    g = np.clip(np.nan_to_num(seen), 1e-6, model.drift.g_scale)
    noise = model.read_noise.relative_sigma(g, max(settle, 2 * model.read_noise.t_read))
    drift = Aging(model.drift).log_spread(g, max(settle, 1e-6), model.drift.t0)
    return np.asarray(g**2 * (noise**2 + drift**2), np.float64)
