"""The error that perfect programming would leave: what noise and converters alone make of a weight matrix.

On a simulated chip the method `exact` measures it; on a real one nothing can be placed exactly. But noise, rounding
and bend do not depend on whether a weight is where it should be. So the matrix is programmed roughly, one pulse per
device, and three things are measured:

* what a best-fitting linear map of fresh inputs leaves in one shot: fast noise, rounding and bend;
* how outputs to the same inputs wander between moments: 1/f noise, whose variance grows with the logarithm of the
  lag, so that seconds tell what minutes will do;
* how far two shots in a row differ, which tells the noise in the first from the rest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hwloop.calibration.probes import uniform_inputs
from hwloop.calibration.programming import Settings, open_loop_amplitudes
from hwloop.calibration.routines.routine import Budget, Routine, Tick, value
from hwloop.contract import Capability, FloatArray, PulseKind
from hwloop.errors import BadInputError
from hwloop.knowledge import Devices
from hwloop.mapping import Tile
from hwloop.region import Region

LAGS = (0.0, 1e-4, 1e-3, 1e-2, 1e-1)
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
    vectors: int = 1024
    """Random inputs of one shot; at least twice the rows."""

    def __post_init__(self) -> None:
        self._require("settle", 0, 1e4)
        self._require("vectors", 16, 1e6)


@dataclass(frozen=True)
class FloorResult:
    """The expected floor of a weight matrix and its parts, relative to the ideal outputs like an MVM error."""

    error: float = value("1", "MVM error that perfect programming would leave at the age")
    error_sigma: float = value("1", "standard uncertainty of error")
    age: float = value("s", "age of the devices for which the floor is stated")
    one_shot: float = value("1", "part of fast noise, rounding and bend: what a linear map leaves in one shot")
    fast_noise: float = value("1", "part of noise between two shots in a row, contained in one_shot")
    rounding: float = value("1", "part of the converters' rounding, contained in one_shot")
    bend: float = value("1", "part of what is static beyond rounding, contained in one_shot: non-linearity")
    slow_noise: float = value("1", "part of 1/f noise slower than one shot, grown to the age")
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
        return Budget(pulses_per_device=1, mvms=(1 + len(LAGS)) * self.settings.vectors)

    def run(
        self, region: Region, tile: Tile, devices: Devices, age: float, rng: np.random.Generator, tick: Tick
    ) -> FloorResult:
        """Program roughly and measure. `region` is the tile's, with its range, and may correct its converters.

        age: seconds after programming for which the floor is stated.
        """
        s, info = self.settings, region.backend.info
        if s.vectors < 2 * (tile.place.rows + 1):
            raise BadInputError(f"setting vectors={s.vectors}: {tile.place.rows} rows need {2 * tile.place.rows + 2}")
        tick("rough programming")
        target = tile.device_targets(info, devices)
        amplitude = np.clip(
            open_loop_amplitudes(devices, target), devices.model.curve.melt, info.limits.amplitude_max
        ).reshape(-1)
        usable = np.flatnonzero(devices.usable.reshape(-1))
        region.pulse(PulseKind.RESET, usable, amplitude[usable], devices.model.curve.width)
        settle = s.settle or min(age, LONGEST_SETTLE)
        region.backend.wait(settle)
        tick("one shot")
        one_shot, signal2 = self._one_shot(region, rng)
        tick("repeated shots")
        fast2, slow2, slow_sigma = self._wander(region, settle, age, rng)
        rounding2 = region.step**2 / 12
        static2 = max(one_shot - fast2 - rounding2, 0.0)
        total2 = (one_shot + slow2) / signal2
        samples = (s.vectors - tile.place.rows - 1) * tile.place.columns
        sigma2 = math.hypot(one_shot * math.sqrt(2.0 / samples), slow_sigma) / signal2
        # Column gains are fitted to the noisy outputs, which shrinks them towards what is left of the signal.
        error = math.sqrt(total2 / (1.0 + total2))
        return FloorResult(
            error=error,
            error_sigma=sigma2 / (2 * error),
            age=age,
            one_shot=math.sqrt(one_shot / signal2),
            fast_noise=math.sqrt(fast2 / signal2),
            rounding=math.sqrt(rounding2 / signal2),
            bend=math.sqrt(static2 / signal2),
            slow_noise=math.sqrt(slow2 / signal2),
            full_scale=region.step * info.code_max,
        )

    def _one_shot(self, region: Region, rng: np.random.Generator) -> tuple[float, float]:
        """Variance (uS^2) about the best linear map of fresh inputs, and that of the map's own outputs."""
        x = uniform_inputs(rng, self.settings.vectors, region.place.rows, region.backend.info.input_max)
        outputs = region.mvm(x) * region.step
        design = np.column_stack([x / region.backend.info.input_max, np.ones(len(x))])
        basis, _ = np.linalg.qr(design)
        residual = outputs - basis @ (basis.T @ outputs)
        left = float(np.mean(residual**2)) * len(x) / (len(x) - design.shape[1])
        return left, float(np.var(outputs, axis=0).mean()) - left

    def _wander(
        self, region: Region, settle: float, age: float, rng: np.random.Generator
    ) -> tuple[float, float, float]:
        """Variances (uS^2): fast noise; slow noise at the age; and the uncertainty of the latter.

        Half the mean square difference of shots a lag t apart is fast noise + q (ln(t / T) + 1.5).
        """
        backend = region.backend
        x = uniform_inputs(rng, self.settings.vectors, region.place.rows, backend.info.input_max)
        begin = backend.now()
        shots, moments = [], []
        for lag in LAGS:
            backend.wait(max(begin + lag * settle - backend.now(), 0.0))
            moments.append(backend.now())
            shots.append(region.mvm(x) * region.step)
        duration = max(backend.now() - moments[-1], 1e-9)
        pairs = [(i, j) for i in range(len(LAGS)) for j in range(i + 1, len(LAGS))]
        lags = np.array([moments[j] - moments[i] for i, j in pairs])
        half = np.array([float(np.mean((shots[j] - shots[i]) ** 2)) / 2 for i, j in pairs])
        grown = np.log(np.maximum(lags / duration, 1.0)) + FROZEN
        slope, start = np.polyfit(grown, half, 1)
        q, fast2 = max(float(slope), 0.0), max(float(start), 0.0)
        factor = max(math.log(2 * age / duration) + FROZEN, 0.0)
        # Every difference is a sum over all cells, each wandering by itself.
        relative = math.sqrt(2.0 / (region.place.rows * region.place.columns))
        lever = float(np.ptp(grown)) or 1.0
        return fast2, q * factor, factor * relative * float(half.max()) * math.sqrt(2.0) / lever


def reference_matrix(rows: int, columns: int, seed: int = 0) -> FloatArray:
    """Standard normal weights (rows, columns), redrawn beyond 3 sigma: what a floor is stated for by default."""
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((rows, columns))
    while (far := np.abs(weights) > 3).any():
        weights[far] = rng.standard_normal(int(far.sum()))
    return weights
