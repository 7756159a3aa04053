"""The error that perfect programming would leave: what noise and converters alone make of a weight matrix.

On a simulated chip the method `exact` measures it; on a real one nothing can be placed exactly. But noise, rounding
and bend do not depend on whether a weight is where it should be. So the matrix is programmed roughly, one pulse per
device, and the outputs to one set of inputs are measured at several moments:

* what a best-fitting linear map leaves of a single shot and of the mean of all shots tells fast noise, which averaging
  lowers, from rounding and bend, which it does not;
* how the outputs wander between the moments tells the 1/f noise, whose variance grows with the logarithm of the lag,
  so that seconds tell what minutes will do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwloop.calibration.probes import uniform_inputs
from hwloop.calibration.programming.base import open_loop_amplitudes
from hwloop.calibration.routines.base import Budget, Routine, Tick, quiet
from hwloop.calibration.settings import Settings
from hwloop.chip.cell_calibration import Devices
from hwloop.chip.info import Capability
from hwloop.chip.pulses import PulseKind
from hwloop.chip.region import Region
from hwloop.errors import BadInputError
from hwloop.mapping.tile import Tile
from hwloop.typing import FloatArray
from hwloop.units import value

LAGS = (0.0, 1e-3, 1e-2, 3e-2, 1e-1)
"""Moments of the repeated shots, in units of the devices' age: short against it, so that drift does not count."""
LONGEST_SETTLE = 300.0
FROZEN = 1.5
"""The mean over a batch of duration T of 1/f noise of unit variance per e-fold of time wanders, in a lag t much longer
than T, by a variance of ln(t / T) + 1.5: the integral over correlation times of what each keeps and forgets. Since
programming, at an age A, its own variance is ln(2 A / T) + 1.5."""


@dataclass(frozen=True)
class FloorSettings(Settings):
    """Settings of the floor's measurement."""

    settle: float = 0.0
    """Seconds of rest after programming, and the age at which noise is measured; 0: the floor's age, up to 300 s."""
    vectors: int = 0
    """Random inputs of one shot, at least two for each row; 0: 2048, or four for each row where that is more."""

    def __post_init__(self) -> None:
        self._require("settle", 0, 1e4)
        self._require("vectors", 0, 1e6)

    def vectors_for(self, rows: int) -> int:
        """Random inputs of one shot for so many rows. Raises BadInputError for a setting that is too small."""
        if self.vectors and self.vectors < 2 * (rows + 1):
            raise BadInputError(f"setting vectors={self.vectors}: {rows} rows need at least {2 * (rows + 1)}")
        return self.vectors or max(2048, 4 * (rows + 1))


@dataclass(frozen=True)
class FloorResult:
    """The expected floor of a weight matrix and its parts, relative to the ideal outputs like an MVM error."""

    error: float = value("1", "MVM error that perfect programming would leave at the age")
    error_sigma: float = value("1", "standard uncertainty of error")
    age: float = value("s", "age of the devices for which the floor is stated")
    fast_noise: float = value("1", "part of noise that differs from one input vector to the next")
    slow_noise: float = value("1", "part of 1/f noise slower than a batch of inputs, grown to the age")
    static: float = value("1", "part that averaging does not lower: bend, and rounding that no noise dithers")
    rounding: float = value("1", "part of the converters' rounding, contained in fast_noise or static")
    full_scale: float = value("uS", "converter range")


class FloorCalibration(Routine):
    """Measures the floor of a weight matrix; see the module's text."""

    name = "floor"
    needs = frozenset({Capability.MVM})

    def __init__(self, settings: FloorSettings | None = None) -> None:
        """Defaults suit a 256 x 256 core."""
        self.settings = settings or FloorSettings()

    def budget(self, region: Region) -> Budget:
        """One pulse per device."""
        return Budget(pulses_per_device=1, mvms=len(LAGS) * self.settings.vectors_for(region.place.rows))

    def run(
        self, region: Region, tile: Tile, devices: Devices, age: float, rng: np.random.Generator, tick: Tick = quiet
    ) -> FloorResult:
        """Program roughly and measure. `region` is the tile's, with its range, and may correct its converters.

        age: seconds after programming for which the floor is stated.
        """
        s, info = self.settings, region.backend.info
        vectors = s.vectors_for(tile.place.rows)
        tick("rough programming")
        target = tile.device_targets(info, devices)
        amplitude = np.clip(
            open_loop_amplitudes(devices, target), devices.model.curve.melt, info.limits.amplitude_max
        ).reshape(-1)
        usable = np.flatnonzero(devices.usable.reshape(-1))
        region.pulse(PulseKind.RESET, usable, amplitude[usable], devices.model.curve.width)
        settle = s.settle or min(age, LONGEST_SETTLE)
        region.backend.wait(settle)
        tick("repeated shots")
        x = uniform_inputs(rng, vectors, tile.place.rows, info.input_max)
        shots, moments, duration = self._shoot(region, x, settle)
        one, one_sigma, mean, signal2 = _residuals(x / info.input_max, shots)
        fast2 = max(one - mean, 0.0) * len(shots) / (len(shots) - 1)
        static2 = max(one - fast2, 0.0)
        start2, q, q_sigma = _wander(shots, moments, duration)
        growth = max(math.log(2 * age / duration) + FROZEN, 0.0)
        total2 = (static2 + start2 + q * growth) / signal2
        sigma2 = math.hypot(one_sigma, q_sigma * growth) / signal2
        # Column gains are fitted to the noisy outputs, which shrinks them towards what is left of the signal.
        error = math.sqrt(total2 / (1.0 + total2))
        return FloorResult(
            error=error,
            error_sigma=sigma2 / (2 * error),
            age=age,
            fast_noise=math.sqrt(fast2 / signal2),
            static=math.sqrt(static2 / signal2),
            rounding=region.step / math.sqrt(12 * signal2),
            slow_noise=math.sqrt(max(start2 + q * growth - fast2, 0.0) / signal2),
            full_scale=region.step * info.code_max,
        )

    def _shoot(self, region: Region, x: NDArray[np.int32], settle: float) -> tuple[FloatArray, FloatArray, float]:
        """Outputs (shots, vectors, columns) in uS of the same inputs at moments (shots,), and the seconds of a shot."""
        backend = region.backend
        begin = backend.now()
        shots, moments = [], []
        for lag in LAGS:
            backend.wait(max(begin + lag * settle - backend.now(), 0.0))
            moments.append(backend.now())
            shots.append(region.mvm(x) * region.step)
        return np.stack(shots), np.array(moments), max(backend.now() - moments[-1], 1e-9)


def _residuals(drive: FloatArray, shots: FloatArray) -> tuple[float, float, float, float]:
    """Variance (uS^2) that linear maps leave of single shots, its uncertainty, that of their mean, and that of the map.

    The uncertainty comes from how the inputs differ: a few outputs beyond the converters' range can make up most of it.
    """
    design = np.column_stack([drive, np.ones(len(drive))])
    basis, _ = np.linalg.qr(design)
    freedom: float = len(drive) / (len(drive) - design.shape[1])

    def left(outputs: FloatArray) -> FloatArray:
        """Of each input vector, mean over columns."""
        squares: FloatArray = np.square(outputs - basis @ (basis.T @ outputs)).mean(1) * freedom
        return squares

    mean = shots.mean(0)
    of_mean = float(left(mean).mean())
    each = np.mean([left(shot) for shot in shots], axis=0)
    sigma = float(each.std()) * math.sqrt(freedom / len(drive))
    return float(each.mean()), sigma, of_mean, float(np.var(mean, axis=0).mean()) - of_mean


def _wander(shots: FloatArray, moments: FloatArray, duration: float) -> tuple[float, float, float]:
    """Noise of a shot and its growth per e-fold of time (uS^2 each), and the standard uncertainty of the latter.

    Half the mean square difference of shots a lag t apart is start + q (ln(t / T) + 1.5).
    """
    first, second = np.triu_indices(len(moments), 1)
    half = np.mean((shots[second] - shots[first]) ** 2, axis=(1, 2)) / 2
    grown = np.log(np.maximum((moments[second] - moments[first]) / duration, 1.0)) + FROZEN
    slope, start = (float(c) for c in np.polyfit(grown, half, 1))
    # Every difference is a sum over all cells of a column, each of which wanders by itself.
    relative = math.sqrt(2.0 / shots[0].size)
    return max(start, 0.0), max(slope, 0.0), 2.0 * relative * float(half.max()) / (float(np.ptp(grown)) or 1.0)


def reference_matrix(rows: int, columns: int, seed: int = 0) -> FloatArray:
    """Standard normal weights (rows, columns), redrawn beyond 3 sigma: what a floor is stated for by default."""
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((rows, columns))
    while (far := np.abs(weights) > 3).any():
        weights[far] = rng.standard_normal(int(far.sum()))
    return weights
