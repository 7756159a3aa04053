"""The programming curve: what RESET amplitudes leave, for the typical device and for each one.

A few devices, one pulse each, show where the flank lies anywhere in the allowed range. Then every device gets two
pulses of known, different amplitudes on the flank. The median over devices at an amplitude is the typical curve,
whatever the spread (it commutes with a monotone curve), and each device's own place about it is known as well as two
pulses allow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from hwloop.calibration.probes import hadamard_block
from hwloop.calibration.routines.base import Budget, CoreTask, Routine
from hwloop.calibration.routines.core import CoreCalibration
from hwloop.calibration.routines.curve_by_maps import CurveByMaps
from hwloop.calibration.routines.device_curves import DeviceCurveFit, Pulsed, seen_variance
from hwloop.calibration.routines.flank import Ends
from hwloop.calibration.routines.observe import Observer, PulseBatch, observer_of
from hwloop.calibration.routines.results import CurveResult, DeviceResult
from hwloop.calibration.routines.robust import folded_variance
from hwloop.calibration.routines.typical_curve import fit_typical_curve
from hwloop.calibration.steps import Step, Work
from hwloop.chip.info import Capability
from hwloop.chip.pulses import PulseKind
from hwloop.chip.region import Region
from hwloop.devices.drift import Aging
from hwloop.devices.model import DeviceModel
from hwloop.devices.programming_curve import ProgrammingCurve
from hwloop.errors import ChipError
from hwloop.typing import FloatArray, IndexArray


@dataclass(frozen=True)
class CurveCalibration(Routine, CurveByMaps, DeviceCurveFit):
    """Measures the programming curve; see the module's text. The devices are left somewhere on their curves."""

    name: ClassVar[str] = "programming-curve"
    parts: ClassVar[tuple[str, ...]] = ("programming-curve",)
    requires: ClassVar[tuple[str, ...]] = ("devices",)

    settle: float = 10.0
    """Seconds of rest between pulses and reads."""

    def __post_init__(self) -> None:
        CurveByMaps.__post_init__(self)
        DeviceCurveFit.__post_init__(self)
        self._require("settle", 0, 1e4)

    def budget(self, region: Region) -> Budget:
        """Count two pulses for every device; the first of a scout is the one that looks for the flank."""
        if Capability.DEVICE_READ in region.backend.info.capabilities:
            return self.look_budget(region, looks=3, pulses_per_device=2)
        # Scouts look twice, before and after their pulse, for each position; then come the maps of two rounds.
        scouting = self.look_budget(region, looks=1, pulses_per_device=2)
        vectors = self.map_blocks(region.place.rows) * hadamard_block(region.place.rows)
        return scouting + Budget(mvms=2 * self.looks * vectors)

    def steps(self, task: CoreTask) -> Work[Step, CoreCalibration]:
        """Measure on the whole core, its converters corrected where they are known."""
        backend, place, found = task.region.backend, task.region.place, task.known.devices
        assert found is not None  # required
        region = Region(backend, place, calibration=task.known.of_cells(place, backend.info))
        if Capability.DEVICE_READ not in backend.info.capabilities:
            found = _at_reference(found, region, Aging(None))
            by_maps = yield from self.measure_by_maps(region, found, task.rng)
            return replace(task.known, programming_curve=by_maps[0], drift=by_maps[1])
        curve = yield from self.measure(region, found, task.rng)
        return replace(task.known, programming_curve=curve)

    def measure(self, region: Region, found: DeviceResult, rng: np.random.Generator) -> Work[Step, CurveResult]:
        """Measure the curve.

        Parameters
        ----------
        region
            The whole core; it corrects the gains of its columns where they are known. The devices that subtract from
            weights must be RESET, as `DeviceCalibration` leaves them.
        found
            The bad devices, which get no pulse, and what SET and RESET left.
        rng
            The source of scouts and amplitudes.

        Raises
        ------
        ChipError
            When no flank is found in the allowed range.
        """
        info = region.backend.info
        model = info.device_model
        aging = Aging(model.drift if model else None)
        found = _at_reference(found, region, aging)
        observer = observer_of(region, aging, self.settle, self, rng)
        observer.assume(np.stack([found.high[0], found.low[1]]).reshape(-1))
        usable = np.flatnonzero(found.usable)
        width = self.pulse_width(info)
        ends = Ends(float(np.median(found.low[found.usable])), found.typical_high, width)
        yield (at := Step(0, 4, "where the flank lies"))
        scouts = self.choose_scouts(usable[usable >= region.size // 2], rng, region.place.core)
        rough = yield from self.find_flank(observer, scouts, ends, at)
        amplitude, seen = yield from self._pulse_twice(observer, rough, usable, scouts, rng)
        yield Step(3, 4, "fit")
        of_set = found.high.reshape(-1) / found.typical_high
        pulsed = Pulsed(amplitude, seen, of_set, found.usable.reshape(-1), observer.settle)
        result = self._fit(rough, pulsed, found, model)
        if not all(np.all(np.isfinite(part)) for part in vars(result).values()):
            raise ChipError(
                f"core {region.place.core}: what pulses leave takes too few values to show a programming curve; the "
                "converters are too coarse for it"
            )
        return result

    def _pulse_twice(
        self,
        observer: Observer,
        rough: ProgrammingCurve,
        usable: IndexArray,
        scouts: IndexArray,
        rng: np.random.Generator,
    ) -> Work[Step, tuple[FloatArray, FloatArray]]:
        """Send two pulses to every device; returns amplitudes and what was seen, (2, devices) in uA and uS."""
        size, limits = observer.region.size, observer.region.backend.info.limits
        amplitude, seen = np.zeros((2, size)), np.full((2, size), np.nan)
        levels = self.flank_amplitudes(rough, limits)
        for number in range(2):
            yield (at := Step(1 + number, 4, f"pulse {number + 1} of 2 for every device"))
            amplitude[number] = levels[rng.integers(0, self.flank_levels, size)]
            pulsed = np.setdiff1d(usable, scouts) if number == 0 else usable  # scouts have had their first pulse
            batch = PulseBatch(PulseKind.RESET, pulsed, amplitude[number, pulsed], rough.width)
            seen[number, pulsed] = yield from observer.apply(batch, at)
        return amplitude, seen

    def _fit(
        self, rough: ProgrammingCurve, pulsed: Pulsed, found: DeviceResult, model: DeviceModel | None
    ) -> CurveResult:
        """Fit the typical curve to medians, spreads to pairs, and shrink each device towards the typical one."""
        typical = fit_typical_curve(rough, pulsed.amplitude, pulsed.seen)
        curve = typical.curve
        devices = self.fit_devices(curve, pulsed, model)
        low = found.low.reshape(-1)[pulsed.usable]
        read2_of_low = float(seen_variance(model, low, found.age).mean())
        drift = _drift_uncertainty(model, min(pulsed.settle, found.age))
        noise2 = folded_variance(low, 1.5 * self.outlier_sigmas) - read2_of_low
        shape = found.high.shape
        return CurveResult(
            g_min=curve.g_min,
            g_max=curve.g_max,
            g_max_sigma=float(np.hypot(typical.g_max_sigma, drift * curve.g_max)),
            midpoint=curve.midpoint,
            midpoint_sigma=float(np.hypot(typical.midpoint_sigma, drift * curve.steepness / 2)),
            steepness=curve.steepness,
            steepness_sigma=float(np.hypot(typical.steepness_sigma, drift * curve.steepness / 2)),
            melt=rough.melt,
            width=rough.width,
            midpoint_spread=devices.midpoint_spread,
            height_spread=devices.height_spread,
            jitter=devices.jitter,
            noise=math.sqrt(max(noise2, 0.0)),
            shift=devices.shift.reshape(shape),
            shift_sigma=devices.shift_sigma.reshape(shape),
            height=devices.height.reshape(shape),
            height_sigma=devices.height_sigma.reshape(shape),
        )


def _at_reference(found: DeviceResult, region: Region, aging: Aging) -> DeviceResult:
    """Restate what SET and RESET left at the reference age, with the gains that the region corrects taken out."""
    converters = region.calibration.converters
    gain = converters.gain if converters is not None else 1.0
    low, high = (aging.at_reference(values / gain, found.age) for values in (found.low, found.high))
    return replace(found, low=low, high=high, typical_high=float(np.median(high[found.usable])))


def _drift_uncertainty(model: DeviceModel | None, age: float) -> float:
    """Return the relative uncertainty of the curve's top at the reference age: half of what drift is taken to change.

    Fully SET devices conduct more than the drift statistics cover, and crystal does not drift at all. A top that lies
    higher by a small share moves midpoint and steepness of the fit by about half that share of the steepness.
    """
    if model is None:
        return 0.0
    return abs(1.0 - float(model.drift.factor(np.array(model.drift.g_scale), max(age, 1e-6)))) / 2
