"""The programming curve: what RESET amplitudes leave, for the typical device and for each one.

A few devices, one pulse each, show where the flank lies anywhere in the allowed range. Then every device gets two
pulses of known, different amplitudes on the flank. The median over devices at an amplitude is the typical curve,
whatever the spread (it commutes with a monotone curve); how the two results of one device agree tells what belongs to
the device and what to the pulse; and each device's own shift is known as well as two pulses allow, drawn towards the
typical one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import curve_fit
from scipy.stats import foldnorm

from hwloop.calibration.routines.base import Budget, Routine, Tick, quiet
from hwloop.calibration.routines.devices import DeviceResult
from hwloop.calibration.routines.observe import Observer, look_budget, observer_of
from hwloop.calibration.settings import Settings
from hwloop.chip.cell_calibration import Devices
from hwloop.chip.info import Capability, ChipInfo
from hwloop.chip.pulses import PulseKind
from hwloop.chip.region import Region
from hwloop.devices.drift import Aging
from hwloop.devices.model import DeviceModel, assumed_model
from hwloop.devices.programming_curve import ProgrammingCurve
from hwloop.errors import ChipError
from hwloop.typing import FloatArray, IndexArray
from hwloop.units import value

SCOUT_LEVELS = 48
SCOUT_DEVICES = 6144
"""Devices, at most, that look for the flank; each gets one pulse."""
LEAST_SCOUTS = 2
"""Scouts, at least, for each amplitude."""
SCOUT_FROM = 0.2
"""Smallest amplitude of the scouts over the largest."""
HARDEST = 1.3
"""Largest amplitude of the scouts over the one that is nominally enough to empty a device."""
FLANK_LEVELS = 24
FLANK = (0.08, 0.92)
"""Part of the curve's height that the two pulses of every device cover."""
USABLE_FLANK = (0.03, 0.97)
"""Results outside this part of a device's height say nothing of its shift."""
CENTRE, EDGE = 0.9, 1.4
"""Pulses count as central, or as at the edge of the flank, within and beyond this many steepnesses of the midpoint."""
TOP = 0.75
"""Pulses that typically leave more than this share of g_max tell a device's height."""
FAR = 4.0
"""Robust standard deviations beyond which a value is an outlier."""
LEAST_SPREAD = 1e-3
"""Spreads of heights below this are taken as this."""
JUMPED = 0.5
"""A RESET device has melted when it shows this share of a SET device's conductance."""
EMPTY = 0.25
"""Largest share of a SET device's conductance that the strongest pulse may leave, for the flank to be in reach."""
LEAST_JITTER = 0.1
"""uA; jitter below this is not told apart from read noise."""


@dataclass(frozen=True)
class CurveSettings(Settings):
    """Settings of the programming-curve calibration."""

    settle: float = 10.0
    """Seconds of rest between pulses and reads."""

    def __post_init__(self) -> None:
        self._require("settle", 0, 1e4)


@dataclass(frozen=True)
class CurveResult:
    """The typical programming curve, and each device's place about it: arrays (2, K, rows, columns)."""

    g_min: float = value("uS", "conductance of a fully RESET device, at the reference age")
    g_max: float = value("uS", "conductance of a fully SET device, at the reference age")
    g_max_sigma: float = value("uS", "standard uncertainty of g_max")
    midpoint: float = value("uA", "amplitude at half height")
    midpoint_sigma: float = value("uA", "standard uncertainty of midpoint")
    steepness: float = value("uA", "logistic scale of the curve")
    steepness_sigma: float = value("uA", "standard uncertainty of steepness")
    melt: float = value("uA", "amplitude from which devices melt")
    width: float = value("ns", "width of the pulses")
    midpoint_spread: float = value("uA", "device-to-device standard deviation of the midpoint")
    height_spread: float = value("1", "device-to-device relative standard deviation of the height")
    jitter: float = value("uA", "pulse-to-pulse standard deviation of the effective amplitude")
    noise: float = value("uS", "pulse-to-pulse standard deviation where the curve is flat")
    shift: FloatArray = value("uA", "shift of each device's curve along the amplitude")
    shift_sigma: FloatArray = value("uA", "standard uncertainty of shift")
    height: FloatArray = value("1", "height of each device's curve over the typical one's")
    height_sigma: FloatArray = value("1", "standard uncertainty of height")

    @property
    def curve(self) -> ProgrammingCurve:
        """The typical curve with its spreads."""
        names = [field.name for field in fields(ProgrammingCurve)]
        return ProgrammingCurve(**{name: getattr(self, name) for name in names})

    def devices(self, info: ChipInfo, found: DeviceResult, gain: FloatArray) -> Devices:
        """What programming methods take: this curve and the faults found, with the chip's nominal drift and read noise.

        gain: (columns,) with which `found` was seen. Published statistics of other devices stand in where a chip knows
        nothing of its own.
        """
        nominal = info.device_model
        return Devices(
            replace(nominal, curve=self.curve) if nominal else assumed_model(self.curve, info.g_max),
            height=self.height,
            height_sigma=self.height_sigma,
            shift=self.shift,
            shift_sigma=self.shift_sigma,
            usable=found.usable,
            held=found.held(gain),
        )


class CurveCalibration(Routine):
    """Measures the programming curve; see the module's text. The devices are left somewhere on their curves."""

    name = "programming-curve"
    needs = frozenset()

    def __init__(self, settings: CurveSettings | None = None) -> None:
        """Defaults suit every chip."""
        self.settings = settings or CurveSettings()

    def budget(self, region: Region) -> Budget:
        """Two pulses for every device; the first of a scout is the one that looks for the flank."""
        return look_budget(region, looks=3, pulses_per_device=2)

    def run(self, region: Region, found: DeviceResult, rng: np.random.Generator, tick: Tick = quiet) -> CurveResult:
        """Measure. `found` tells the bad devices, which get no pulse, and what SET and RESET left.

        `region` corrects the gains of its columns where they are known. The devices that subtract from weights must be
        RESET, as `DeviceCalibration` leaves them. Raises ChipError when no flank is found in the allowed range.
        """
        info = region.backend.info
        model = info.device_model
        aging = Aging(model.drift if model else None)
        found = _at_reference(found, region, aging)
        at_present = np.stack([found.high[0], found.low[1]]).reshape(-1)
        observer = observer_of(region, aging, self.settings.settle, rng, conductance=at_present)
        width = model.curve.width if model else info.limits.width_min
        usable = np.flatnonzero(found.usable)
        high, low = found.typical_high, float(np.median(found.low[found.usable]))
        tick("where the flank lies")
        candidates = usable[usable >= region.size // 2]
        scouts = np.sort(rng.permutation(candidates)[: min(SCOUT_DEVICES, len(candidates) // 2)])
        if len(scouts) < LEAST_SCOUTS * SCOUT_LEVELS:
            raise ChipError(
                f"core {region.place.core}: only {len(candidates)} devices answer to pulses; too few for a programming "
                "curve"
            )
        rough, melt = self._scout(region, observer, scouts, (low, high), width)
        amplitude, seen = np.zeros((2, region.size)), np.full((2, region.size), np.nan)
        levels = rough.amplitude(rough.g_min + np.linspace(*FLANK, FLANK_LEVELS) * (rough.g_max - rough.g_min))
        levels = np.clip(levels, melt, info.limits.amplitude_max)
        for number in range(2):
            tick(f"pulse {number + 1} of 2 for every device")
            amplitude[number] = levels[rng.integers(0, FLANK_LEVELS, region.size)]
            pulsed = np.setdiff1d(usable, scouts) if number == 0 else usable  # scouts have had their first pulse
            seen[number, pulsed] = observer.apply(PulseKind.RESET, pulsed, amplitude[number].__getitem__, width)
        tick("fit")
        result = _fit(rough, amplitude, seen, found, model, observer.settle)
        if not all(np.all(np.isfinite(part)) for part in vars(result).values()):
            raise ChipError(
                f"core {region.place.core}: what pulses leave takes too few values to show a programming curve; the "
                "converters are too coarse for it"
            )
        return result if Capability.DEVICE_READ in info.capabilities else _shared(result, model)

    def _scout(
        self,
        region: Region,
        observer: Observer,
        scouts: IndexArray,
        ends: tuple[float, float],
        width: float,
    ) -> tuple[ProgrammingCurve, float]:
        """A first curve and the melting amplitude, from RESET devices that get one pulse each."""
        info = region.backend.info
        low, high = ends
        top = info.limits.amplitude_max
        if info.device_model:
            nominal = info.device_model.curve
            top = min(top, HARDEST * (nominal.midpoint + 8 * nominal.steepness))
        levels = np.linspace(SCOUT_FROM * top, top, SCOUT_LEVELS)
        chosen = np.zeros(region.size, np.int64)
        chosen[scouts] = np.arange(len(scouts)) % SCOUT_LEVELS
        seen = observer.apply(PulseKind.RESET, scouts, lambda at: levels[chosen[at]], width)
        typical = np.array([np.median(seen[chosen[scouts] == k]) for k in range(SCOUT_LEVELS)])
        jumped = typical > low + JUMPED * (high - low)
        if not jumped.any() or typical[-1] > low + EMPTY * (high - low) or low > EMPTY * high:
            raise ChipError(
                f"core {region.place.core}: no falling flank between {levels[0]:.0f} and {levels[-1]:.0f} uA: the "
                f"conductance goes from {typical.max():.2f} to {typical[-1]:.2f} uS; allow a larger amplitude, or "
                "another pulse width"
            )
        first, last = int(np.argmax(jumped)), len(jumped) - 1 - int(np.argmax(jumped[::-1]))
        step = levels[1] - levels[0]
        share = np.clip((typical[first:] - low) / (high - low), 0.0, 1.0)
        # The area under the falling flank is the distance of its middle; its central part gives the slope.
        midpoint = levels[first] - step / 2 + step * float(share.sum())
        inner = (share > 0.1) & (share < 0.9)
        steepness = step
        if inner.sum() >= 2:
            slope = np.polyfit(levels[first:][inner], np.log(1.0 / share[inner] - 1.0), 1)[0]
            steepness = 1.0 / max(float(slope), 1e-3 / step)
        midpoint = max(midpoint, levels[last] - step)
        return (
            ProgrammingCurve(low, high, midpoint, steepness, float(levels[first]), width, 0.0, 0.0, 0.0, 0.0),
            float(levels[first]),
        )


def _at_reference(found: DeviceResult, region: Region, aging: Aging) -> DeviceResult:
    """What SET and RESET left, at the reference age and with the gains that the region corrects taken out."""
    converters = region.calibration.converters
    gain = converters.gain if converters is not None else 1.0
    low, high = (aging.at_reference(values / gain, found.age) for values in (found.low, found.high))
    return replace(found, low=low, high=high, typical_high=float(np.median(high[found.usable])))


def _fit(
    rough: ProgrammingCurve,
    amplitude: FloatArray,
    seen: FloatArray,
    found: DeviceResult,
    model: DeviceModel | None,
    settle: float,
) -> CurveResult:
    """The typical curve from medians, spreads from pairs, and each device drawn towards the typical one.

    amplitude, seen: (2, devices), NaN where a device was not pulsed.
    """
    curve, sigma = _typical_curve(rough, amplitude, seen)
    high, usable = found.high.reshape(-1), found.usable.reshape(-1)
    read2 = _seen_variance(model, seen, settle)
    ratio = high / found.typical_high
    height_spread = _height_spread(curve, amplitude, seen, ratio, usable)
    nominal_spread = model.curve.height_spread if model else 0.0
    height, height_sigma = _heights(ratio, height_spread, max(height_spread, nominal_spread), usable)
    on_typical = curve.g_min + (seen - curve.g_min) / height
    share = (on_typical - curve.g_min) / (curve.g_max - curve.g_min)
    on_flank = (share > USABLE_FLANK[0]) & (share < USABLE_FLANK[1]) & usable
    shift = np.where(on_flank, amplitude - curve.amplitude(np.where(on_flank, on_typical, curve.g_max / 2)), 0.0)
    slope = curve.slope(np.where(on_flank, on_typical, curve.g_max / 2)) * height
    # What reading and the height's uncertainty add to a shift, besides the pulse's jitter.
    lever = (seen - curve.g_min) * height_sigma / height
    extra2 = np.where(on_flank, (read2 + lever**2) / slope**2, 0.0)
    jitter2, tilt2, spread = _spreads(amplitude - curve.midpoint, shift, extra2, on_flank, curve.steepness)
    jitter2_of_each = jitter2 + tilt2 * (amplitude - curve.midpoint) ** 2
    weight = np.where(on_flank, 1.0 / (jitter2_of_each + extra2), 0.0)
    total = weight.sum(0) + 1.0 / spread**2
    low = found.low.reshape(-1)[usable]
    read2_of_low = float(_seen_variance(model, low, found.age).mean())
    doubt = _drift_doubt(model, min(settle, found.age))
    return CurveResult(
        g_min=curve.g_min,
        g_max=curve.g_max,
        g_max_sigma=float(np.hypot(sigma[0], doubt * curve.g_max)),
        midpoint=curve.midpoint,
        midpoint_sigma=float(np.hypot(sigma[1], doubt * curve.steepness / 2)),
        steepness=curve.steepness,
        steepness_sigma=float(np.hypot(sigma[2], doubt * curve.steepness / 2)),
        melt=rough.melt,
        width=rough.width,
        midpoint_spread=spread,
        height_spread=height_spread,
        jitter=float(np.sqrt(jitter2)),
        noise=math.sqrt(max(_folded_variance(low) - read2_of_low, 0.0)),
        shift=((weight * shift).sum(0) / total).reshape(found.high.shape),
        shift_sigma=np.sqrt(1.0 / total).reshape(found.high.shape),
        height=height.reshape(found.high.shape),
        height_sigma=height_sigma.reshape(found.high.shape),
    )


def _shared(result: CurveResult, model: DeviceModel | None) -> CurveResult:
    """The typical curve alone, for a chip whose devices were seen by MVMs: too noisy to tell them from each other.

    Spreads and noise are the nominal ones where they are known.
    """
    nominal = model.curve if model else result.curve
    return replace(
        result,
        midpoint_spread=nominal.midpoint_spread,
        height_spread=nominal.height_spread,
        jitter=nominal.jitter,
        noise=nominal.noise,
        shift=np.zeros_like(result.shift),
        shift_sigma=np.full_like(result.shift, nominal.midpoint_spread),
        height=np.ones_like(result.height),
        height_sigma=np.full_like(result.height, nominal.height_spread),
    )


def _spreads(
    distance: FloatArray, shift: FloatArray, extra2: FloatArray, on_flank: NDArray[np.bool_], steepness: float
) -> tuple[float, float, float]:
    """Variance (uA^2) between pulses, its growth with the squared distance from the midpoint, spread of devices (uA).

    All (2, devices): distance of the amplitudes from the typical midpoint, shifts seen, variance of what else moved
    them. Which pairs are compared is chosen by their amplitudes, not by what came out, which would bias the spreads.
    Devices of another steepness deviate in proportion to the distance, as if their pulses jittered more there.
    """
    far = np.abs(distance) / steepness
    both = on_flank[0] & on_flank[1]

    def per_pulse(pairs: NDArray[np.bool_]) -> float:
        return _robust_variance((shift[0] - shift[1])[pairs]) / 2 - float(np.median(extra2[:, pairs]))

    centre = both & (far[0] < CENTRE) & (far[1] < CENTRE)
    edge = both & (far[0] > EDGE) & (far[1] > EDGE)
    jitter2 = max(per_pulse(centre), LEAST_JITTER**2)
    lever = float(np.mean(distance[:, edge] ** 2)) - float(np.mean(distance[:, centre] ** 2))
    tilt2 = max((per_pulse(edge) - jitter2) / lever, 0.0)
    sums, differences = (shift[0] + shift[1])[centre], (shift[0] - shift[1])[centre]
    spread2 = (_robust_variance(sums) - _robust_variance(differences)) / 4
    return jitter2, tilt2, float(np.sqrt(max(spread2, LEAST_JITTER**2)))


def _typical_curve(
    rough: ProgrammingCurve, amplitude: FloatArray, seen: FloatArray
) -> tuple[ProgrammingCurve, tuple[float, float, float]]:
    """Logistic curve through the medians at each amplitude; standard uncertainties of g_max, midpoint, steepness."""
    known = np.isfinite(seen)
    levels, index = np.unique(amplitude[known], return_inverse=True)
    values = seen[known]
    order = np.argsort(index, kind="stable")
    groups = np.split(values[order], np.cumsum(np.bincount(index))[:-1])
    medians = np.array([np.median(group) for group in groups])
    # The median of n normal values has 1.2533 times the uncertainty of their mean.
    errors = np.array([1.2533 * np.sqrt(_robust_variance(group) / len(group)) for group in groups])

    # The end of the curve lies anywhere between nothing and what the hardest RESET pulse left, noise included.
    end = max(rough.g_min, 1e-9) / 2
    levels, medians, errors = np.append(levels, 1e3 * levels[-1]), np.append(medians, end), np.append(errors, end)

    def logistic(at: FloatArray, g_max: float, midpoint: float, steepness: float, g_min: float) -> FloatArray:
        z = np.clip((at - midpoint) / steepness, -60.0, 60.0)
        return np.asarray(g_min + (g_max - g_min) / (1.0 + np.exp(z)))

    start = (rough.g_max, rough.midpoint, rough.steepness, end)
    try:
        best, covariance = curve_fit(
            logistic, levels, medians, p0=start, sigma=np.maximum(errors, 1e-9), absolute_sigma=True, maxfev=10_000
        )
    except RuntimeError:
        raise ChipError(
            "programming curve: what pulses leave does not fall in an S-shape "
            f"({medians[0]:.2f} to {medians[-2]:.2f} uS between {levels[0]:.0f} and {levels[-2]:.0f} uA)"
        ) from None
    g_max, midpoint, steepness, g_min = (float(x) for x in best)
    # Where the curve misses medians by more than their scatter, it is no better known than that.
    misfit = float(np.mean(np.square((medians - logistic(levels, *best)) / np.maximum(errors, 1e-9))))
    sigma = np.sqrt(np.diag(covariance) * max(misfit * len(levels) / max(len(levels) - 4, 1), 1.0))
    return (
        replace(rough, g_min=max(g_min, 0.0), g_max=g_max, midpoint=midpoint, steepness=steepness),
        (float(sigma[0]), float(sigma[1]), float(sigma[2])),
    )


def _height_spread(
    curve: ProgrammingCurve, amplitude: FloatArray, seen: FloatArray, ratio: FloatArray, usable: NDArray[np.bool_]
) -> float:
    """Device-to-device relative standard deviation of the height.

    What a device shows after SET and after a pulse on top of the flank has its height in common, and no noise: each
    pulse starts its noise anew. So the covariance of the two is the variance of the heights.
    """
    expected = curve.conductance(amplitude)
    on_top = (expected > TOP * curve.g_max) & np.isfinite(seen) & usable
    of_set = np.broadcast_to(ratio, seen.shape)[on_top]
    of_pulse = (seen / expected)[on_top]
    near = ~(_outlying(of_set) | _outlying(of_pulse))
    return float(np.sqrt(max(float(np.cov(of_set[near], of_pulse[near])[0, 1]), LEAST_SPREAD**2)))


def _heights(
    ratio: FloatArray, shown: float, spread: float, usable: NDArray[np.bool_]
) -> tuple[FloatArray, FloatArray]:
    """Heights (devices,) over the typical one, drawn towards one, with standard uncertainties.

    shown: spread of heights as it shows in `ratio`; spread: what it may really be. Low conductances drift faster, so
    that a SET device may show less than its height's deviation, and more of it stays unknown. A weak device is no
    member of the population of good ones and keeps what was seen.
    """
    far = np.abs(ratio - 1.0) > FAR * max(np.sqrt(_robust_variance(ratio[usable])), LEAST_SPREAD)
    noise2 = max(float(np.var(ratio[usable & ~far])) - shown**2, LEAST_SPREAD**2)
    own = shown**2 / (shown**2 + noise2)
    height = np.where(far, ratio, 1.0 + own * (ratio - 1.0))
    sigma = np.where(far, np.sqrt(noise2), np.sqrt(spread**2 - own * shown**2))
    return np.where(usable, np.maximum(height, 0.05), 1.0), np.where(usable, sigma, 0.0)


def _seen_variance(model: DeviceModel | None, seen: FloatArray, settle: float) -> FloatArray:
    """Variance (uS^2) of what a look at conductances (uS) says of them at the reference age: read noise and drift."""
    if model is None:
        return np.zeros_like(seen)
    g = np.clip(np.nan_to_num(seen), 1e-6, model.drift.g_scale)
    noise = model.read_noise.relative_sigma(g, max(settle, 2 * model.read_noise.t_read))
    drift = Aging(model.drift).log_spread(g, max(settle, 1e-6), model.drift.t0)
    return np.asarray(g**2 * (noise**2 + drift**2), np.float64)


def _outlying(values: FloatArray) -> NDArray[np.bool_]:
    """Which of values, about one, lie far from their median."""
    far: NDArray[np.bool_] = np.abs(values - np.median(values)) > FAR * max(
        np.sqrt(_robust_variance(values)), LEAST_SPREAD
    )
    return far


def _drift_doubt(model: DeviceModel | None, age: float) -> float:
    """Relative doubt of the curve's top at the reference age: half of what drift is taken to change.

    Fully SET devices conduct more than the drift statistics cover, and crystal does not drift at all. A top that lies
    higher by a small share moves midpoint and steepness of the fit by about half that share of the steepness.
    """
    if model is None:
        return 0.0
    return abs(1.0 - float(model.drift.factor(np.array(model.drift.g_scale), max(age, 1e-6)))) / 2


def _folded_variance(values: FloatArray) -> float:
    """Variance of normal noise of which values show the magnitude: no conductance is negative.

    Mean and scatter of |x + noise| both depend on x and the noise; their ratio tells how much was folded over. Moments,
    since values that converters have rounded coarsely have no fine quantiles; without what lies far out.
    """
    near = np.abs(values - np.median(values)) < 1.5 * FAR * math.sqrt(_robust_variance(values))
    scatter, mean = float(np.std(values[near])), float(np.mean(values[near]))
    x = np.linspace(0.0, 6.0, 121)
    folded_mean, folded_scatter = foldnorm.mean(x), foldnorm.std(x)
    share = float(np.interp(-scatter / max(mean, 1e-300), -folded_scatter / folded_mean, folded_scatter))
    return (scatter / share) ** 2


def _robust_variance(values: FloatArray) -> float:
    """Variance by the median absolute deviation, which a few outliers do not move; never quite zero."""
    deviation = 1.4826 * float(np.median(np.abs(values - np.median(values))))
    return max(deviation, 1e-6) ** 2
