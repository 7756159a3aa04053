"""Where the flank of the programming curve lies: a few devices, one pulse each, anywhere in the allowed range."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwloop.calibration.routines.observe import Looking, Observer, PulseBatch
from hwloop.calibration.steps import Step, Work
from hwloop.chip.info import ChipInfo, PulseLimits
from hwloop.chip.pulses import PulseKind
from hwloop.devices.programming_curve import ProgrammingCurve
from hwloop.errors import ChipError
from hwloop.typing import BoolArray, FloatArray, IndexArray


@dataclass(frozen=True)
class Ends:
    """What the typical device conducts at the ends of its curve, at the reference age, and the width of the pulses."""

    low: float
    """After RESET, uS."""
    high: float
    """After SET, uS."""
    width: float
    """ns."""


@dataclass(frozen=True)
class FlankSearch(Looking):
    """The search for the flank and its settings."""

    scout_levels: int = 48
    """Amplitudes that are tried."""
    scout_devices: int = 6144
    """Devices, at most, that look for the flank; each gets one pulse."""
    least_scouts: int = 2
    """Devices, at least, for each amplitude."""
    scout_from: float = 0.2
    """Smallest amplitude that is tried over the largest."""
    hardest: float = 1.3
    """Largest amplitude that is tried over the one that is nominally enough to empty a device."""
    jumped: float = 0.5
    """A RESET device has melted when it shows this share of a SET device's conductance."""
    empty: float = 0.25
    """Largest share of a SET device's conductance that the strongest pulse may leave, for the flank to be in reach."""
    width: float = 0.0
    """Width of the pulses, ns; 0 takes that of the nominal curve, or the shortest that the chip makes."""
    flank_levels: int = 24
    """Amplitudes on the flank, of which every device gets two at random."""
    flank_from: float = 0.08
    """Smallest share of the curve's height that the two pulses of every device leave."""
    flank_to: float = 0.92
    """Largest share of the curve's height that the two pulses of every device leave."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("scout_levels", 4, 1e4)
        self._require("scout_devices", 1, 1e9)
        self._require("least_scouts", 1, 1e6)
        self._require("scout_from", 0, 0.99)
        self._require("hardest", 0.1, 10)
        self._require("jumped", 0.01, 0.99)
        self._require("empty", 0.01, 0.99)
        self._require("width", 0, 1e9)
        self._require("flank_levels", 5, 1e4)
        self._require("flank_from", 0.001, 0.5)
        self._require("flank_to", 0.5, 0.999)

    def choose_scouts(self, candidates: IndexArray, rng: np.random.Generator, core: int) -> IndexArray:
        """Choose devices for the search, half of the candidates at most. Raises ChipError when they are too few."""
        scouts = np.sort(rng.permutation(candidates)[: min(self.scout_devices, len(candidates) // 2)])
        if len(scouts) < self.least_scouts * self.scout_levels:
            raise ChipError(
                f"core {core}: only {len(candidates)} devices answer to pulses; too few for a programming curve"
            )
        return scouts

    def find_flank(self, observer: Observer, scouts: IndexArray, ends: Ends, at: Step) -> Work[Step, ProgrammingCurve]:
        """Find a first curve and the melting amplitude from RESET devices that get one pulse each.

        Raises ChipError when no flank falls within the allowed range.
        """
        levels = self._levels(observer.region.backend.info)
        chosen = np.arange(len(scouts)) % self.scout_levels
        seen = yield from observer.apply(PulseBatch(PulseKind.RESET, scouts, levels[chosen], ends.width), at)
        typical = np.array([np.median(seen[chosen == k]) for k in range(self.scout_levels)])
        core = observer.region.place.core
        low, high = ends.low, ends.high
        jumped = typical > low + self.jumped * (high - low)
        if not jumped.any() or typical[-1] > low + self.empty * (high - low) or low > self.empty * high:
            raise ChipError(
                f"core {core}: no falling flank between {levels[0]:.0f} and {levels[-1]:.0f} uA: the "
                f"conductance goes from {typical.max():.2f} to {typical[-1]:.2f} uS; allow a larger amplitude, or "
                "another pulse width"
            )
        return _rough_curve(levels, typical, jumped, ends)

    def pulse_width(self, info: ChipInfo) -> float:
        """Return the width of the pulses on a chip, ns."""
        nominal = info.device_model.curve.width if info.device_model else info.limits.width_min
        return self.width or nominal

    def flank_amplitudes(self, rough: ProgrammingCurve, limits: PulseLimits) -> FloatArray:
        """Return the amplitudes (flank_levels,) on the flank of a curve that pulses are sent at, uA."""
        shares = np.linspace(self.flank_from, self.flank_to, self.flank_levels)
        levels = rough.amplitude(rough.g_min + shares * (rough.g_max - rough.g_min))
        return np.asarray(np.clip(levels, rough.melt, limits.amplitude_max), np.float64)

    def _levels(self, info: ChipInfo) -> FloatArray:
        """Return the amplitudes (scout_levels,) that are tried, uA."""
        top = info.limits.amplitude_max
        if info.device_model:
            nominal = info.device_model.curve
            top = min(top, self.hardest * (nominal.midpoint + 8 * nominal.steepness))
        return np.linspace(self.scout_from * top, top, self.scout_levels)


def _rough_curve(levels: FloatArray, typical: FloatArray, jumped: BoolArray, ends: Ends) -> ProgrammingCurve:
    """Compute a first curve from typical conductances (levels,) in uS; jumped: (levels,) where devices have melted."""
    low, high = ends.low, ends.high
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
    return ProgrammingCurve(low, high, midpoint, steepness, float(levels[first]), ends.width, 0.0, 0.0, 0.0, 0.0)
