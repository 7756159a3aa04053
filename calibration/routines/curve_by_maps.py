"""The typical programming curve and the mean drift of a core without device reads, from maps of all its cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hwloop.calibration.programming.base import RESET_MARGIN
from hwloop.calibration.routines.drift_law import DriftFit
from hwloop.calibration.routines.flank import Ends, FlankSearch
from hwloop.calibration.routines.level_maps import LeveledPulses, LevelMaps, LevelMeans
from hwloop.calibration.routines.level_spreads import LeveledCells, LevelSpreads
from hwloop.calibration.routines.observe import MapObserver
from hwloop.calibration.routines.results import CurveResult, DeviceResult, DriftResult
from hwloop.calibration.routines.typical_curve import fit_mean_curve
from hwloop.calibration.steps import Step, Work
from hwloop.chip.region import Region
from hwloop.devices.drift import PUBLISHED_DRIFT, Aging
from hwloop.devices.model import DeviceModel
from hwloop.devices.normal import folded_moments
from hwloop.devices.programming_curve import ProgrammingCurve
from hwloop.typing import FloatArray


@dataclass(frozen=True)
class CurveByMaps(FlankSearch, LevelMaps, DriftFit):
    """The measurement by maps and its settings."""

    map_scouts: int = 1536
    """Devices, at most, that look for the flank; their cells tell nothing of the first of the two pulses."""
    curve_passes: int = 3
    """Times that the curve and the spreads about it are fitted in turn: each needs the other."""

    def __post_init__(self) -> None:
        FlankSearch.__post_init__(self)
        LevelMaps.__post_init__(self)
        DriftFit.__post_init__(self)
        self._require("map_scouts", 1, 1e9)
        self._require("curve_passes", 1, 100)

    def measure_by_maps(
        self, region: Region, found: DeviceResult, rng: np.random.Generator
    ) -> Work[Step, tuple[CurveResult, DriftResult]]:
        """Measure typical curve and drift with two pulses for every device, all devices at once.

        Parameters
        ----------
        region
            The whole core; the devices that subtract from weights must be RESET, as `DeviceCalibration` leaves them.
        found
            The bad devices, which get no pulse, and what SET left.
        rng
            The source of levels and inputs.
        """
        info, width = region.backend.info, self.pulse_width(region.backend.info)
        observer = MapObserver(region, Aging(None), self.first_look, self, rng)
        observer.assume(np.stack([found.high[0], found.low[1]]).reshape(-1))
        usable = np.flatnonzero(found.usable)
        yield (at := Step(0, 4, "where the flank lies"))
        fewer = replace(self, scout_devices=min(self.map_scouts, self.scout_devices))
        scouts = fewer.choose_scouts(usable[usable >= region.size // 2], rng, region.place.core)
        ends = Ends(float(np.median(found.low[found.usable])), found.typical_high, width)
        rough = yield from self.find_flank(observer, scouts, ends, at)
        emptied = min(rough.midpoint + RESET_MARGIN * rough.steepness, info.limits.amplitude_max)
        levels = np.concatenate([[emptied], self.flank_amplitudes(rough, info.limits)])
        rounds = []
        for number in range(2):
            yield (at := Step(1 + number, 4, f"pulse {number + 1} of 2 for every device"))
            pulsed = found.usable.copy()
            if number == 0:
                pulsed.reshape(-1)[scouts] = False  # scouts have had their first pulse
            rounds.append((yield from self.pulse_levels(observer, levels, width, pulsed, at)))
        yield Step(3, 4, "fit")
        model = info.device_model
        means = self.level_means(rounds, len(levels), _empty(model))
        drift = self.fit_drift(means, info.reference_age, model.drift.g_scale if model else info.g_max)
        return self._result(rough, levels, means, rounds, drift, model), drift

    def _result(
        self,
        rough: ProgrammingCurve,
        levels: FloatArray,
        means: LevelMeans,
        rounds: Sequence[LeveledPulses],
        drift: DriftResult,
        model: DeviceModel | None,
    ) -> CurveResult:
        """Fit the typical curve at the reference age, and the spreads about it where no model states them."""
        later = replace(model.drift if model else PUBLISHED_DRIFT, g_scale=drift.g_scale)
        aging = Aging(drift.model(later))
        mean = aging.at_reference(means.mean[-1], float(means.ages[-1]))
        nominal = model.curve if model else None
        spreads = LevelSpreads(0.0, 0.0, 0.0, 0.0, 0.0)
        for _ in range(self.curve_passes):
            known = nominal if nominal is not None else spreads.of(rough)
            typical = fit_mean_curve(known, rough, levels, mean, means.sigma)
            cells = LeveledCells(typical.curve, levels, rounds, means.left, means.map_variance, self.map_outliers)
            spreads = cells.spreads()
        curve, known = typical.curve, nominal if nominal is not None else spreads.of(rough)
        places = cells.places(known, spreads)
        return CurveResult(
            g_min=curve.g_min,
            g_max=curve.g_max,
            g_max_sigma=typical.g_max_sigma,
            midpoint=curve.midpoint,
            midpoint_sigma=typical.midpoint_sigma,
            steepness=curve.steepness,
            steepness_sigma=typical.steepness_sigma,
            melt=rough.melt,
            width=rough.width,
            midpoint_spread=known.midpoint_spread,
            height_spread=known.height_spread,
            jitter=known.jitter,
            noise=known.noise,
            relative_noise=known.relative_noise,
            shift=places.shift,
            shift_sigma=places.shift_sigma,
            height=places.height,
            height_sigma=places.height_sigma,
        )


def _empty(model: DeviceModel | None) -> float:
    """Return what an emptied device is taken to conduct, uS: noise folds over at zero. Unknown devices: nothing."""
    if model is None:
        return 0.0
    noise = max(model.curve.noise, 1e-9)
    return noise * float(folded_moments(model.curve.g_min / noise)[0])
