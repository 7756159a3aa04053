"""The error that perfect programming would leave: what noise and converters alone make of a weight matrix.

On a simulated chip the method `exact` measures it; on a real one nothing can be placed exactly. But noise, rounding
and nonlinearity do not depend on whether a weight is where it should be. So the matrix is programmed roughly, one pulse
per device, and the outputs to one set of inputs are measured at several moments:

* what a best-fitting linear map leaves of a single shot and of the mean of all shots tells fast noise, which averaging
  lowers, from rounding and nonlinearity, which it does not;
* how the outputs wander between the moments tells the 1/f noise, whose variance grows with the logarithm of the lag,
  so that seconds tell what minutes will do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from hwloop.calibration.probes import uniform_inputs
from hwloop.calibration.programming.base import known_devices, open_loop_amplitudes
from hwloop.calibration.routines.base import Budget, CoreTask, Routine
from hwloop.calibration.routines.core import CoreCalibration
from hwloop.calibration.routines.results import FloorResult
from hwloop.calibration.steps import Step, Work
from hwloop.chip.cell_calibration import Devices
from hwloop.chip.info import Capability
from hwloop.chip.pulses import PulseKind
from hwloop.chip.region import Region
from hwloop.errors import BadInputError
from hwloop.mapping.tile import Tile
from hwloop.typing import CodeArray, FloatArray

LAGS = (0.0, 1e-3, 1e-2, 3e-2, 1e-1)
"""Moments of the repeated shots, in units of the devices' age: short against it, so that drift does not count."""
FROZEN = 1.5
"""The mean over a batch of duration T of 1/f noise of unit variance per e-fold of time wanders, in a lag t much longer
than T, by a variance of ln(t / T) + 1.5: the integral over correlation times of what each keeps and forgets. Since
programming, at an age A, its own variance is ln(2 A / T) + 1.5."""


@dataclass(frozen=True)
class _Shots:
    """Outputs to the same inputs at several moments."""

    outputs: FloatArray
    """(shots, vectors, columns) uS."""
    moments: FloatArray
    """(shots,) seconds."""
    duration: float
    """Seconds of one shot."""


@dataclass(frozen=True)
class FloorCalibration(Routine):
    """Measures the floor of a weight matrix; see the module's text."""

    name: ClassVar[str] = "floor"
    parts: ClassVar[tuple[str, ...]] = ("floor",)
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.MVM})
    requires: ClassVar[tuple[str, ...]] = ("devices", "programming-curve", "ranges")

    settle: float = 0.0
    """Seconds of rest after programming, and the age at which noise is measured; 0: the floor's age, up to
    `longest_settle`."""
    longest_settle: float = 300.0
    """Seconds of rest after programming, at most, where `settle` is 0."""
    vectors: int = 0
    """Random inputs of one shot, at least two for each row; 0: 2048, or four for each row where that is more."""

    def __post_init__(self) -> None:
        self._require("settle", 0, 1e4)
        self._require("longest_settle", 1e-3, 1e6)
        self._require("vectors", 0, 1e6)

    def vectors_for(self, rows: int) -> int:
        """Return the random inputs of one shot for so many rows. Raises BadInputError for a setting too small."""
        if self.vectors and self.vectors < 2 * (rows + 1):
            raise BadInputError(f"setting vectors={self.vectors}: {rows} rows need at least {2 * (rows + 1)}")
        return self.vectors or max(2048, 4 * (rows + 1))

    def budget(self, region: Region) -> Budget:
        """Count one pulse per device, and the shots."""
        return Budget(pulses_per_device=1, mvms=len(LAGS) * self.vectors_for(region.place.rows))

    def steps(self, task: CoreTask) -> Work[Step, CoreCalibration]:
        """Program the task's weights roughly, with all that is known of the core, and measure."""
        backend, known = task.region.backend, task.known
        assert known.ranges is not None  # required
        tile = replace(task.tile, full_scale=known.ranges.full_scale)
        adjustable = Capability.ADC_RANGE in backend.info.capabilities
        corrected = known.of_cells(tile.place, backend.info)
        region = Region(backend, tile.place, tile.full_scale if adjustable else None, corrected)
        floor = yield from self.measure(region, tile, task.age, task.rng)
        return replace(known, floor=floor)

    def measure(self, region: Region, tile: Tile, age: float, rng: np.random.Generator) -> Work[Step, FloorResult]:
        """Program roughly and measure.

        Parameters
        ----------
        region
            The tile's, with its range; it may correct its converters and know its devices.
        tile
            The weights.
        age
            Seconds after programming for which the floor is stated.
        rng
            The source of the inputs.
        """
        info = region.backend.info
        vectors = self.vectors_for(tile.place.rows)
        yield (at := Step(0, 2, "rough programming"))
        _program_roughly(region, tile, known_devices(region))
        settle = self.settle or min(age, self.longest_settle)
        yield replace(at, rest=settle)
        yield Step(1, 2, "repeated shots")
        x = uniform_inputs(rng, vectors, tile.place.rows, info.input_max)
        shots = _shoot(region, x, settle)
        return _floor(x / info.input_max, shots, age, region.step, region.step * info.code_max)


def _program_roughly(region: Region, tile: Tile, devices: Devices) -> None:
    """Send one RESET pulse to every usable device, along its own curve."""
    info, curve = region.backend.info, devices.model.curve
    target = tile.device_targets(info, devices)
    amplitude = np.clip(open_loop_amplitudes(devices, target), curve.melt, info.limits.amplitude_max).reshape(-1)
    usable = np.flatnonzero(devices.usable.reshape(-1))
    region.pulse(PulseKind.RESET, usable, amplitude[usable], curve.width)


def _shoot(region: Region, x: CodeArray, settle: float) -> _Shots:
    """Measure the outputs to the same inputs (vectors, rows) at moments that fit devices `settle` seconds old."""
    backend = region.backend
    begin = backend.now()
    shots, moments = [], []
    for lag in LAGS:
        backend.wait(max(begin + lag * settle - backend.now(), 0.0))
        moments.append(backend.now())
        shots.append(region.mvm(x) * region.step)
    return _Shots(np.stack(shots), np.array(moments), max(backend.now() - moments[-1], 1e-9))


def _floor(drive: FloatArray, shots: _Shots, age: float, step: float, full_scale: float) -> FloorResult:
    """Tell the parts of the floor apart.

    Parameters
    ----------
    drive
        (vectors, rows) inputs over full scale.
    shots
        The outputs to them.
    age
        Seconds after programming for which the floor is stated.
    step, full_scale
        uS of one output code, and of the largest.
    """
    number = len(shots.outputs)
    one, one_sigma, mean, signal2 = _residuals(drive, shots.outputs)
    fast2 = max(one - mean, 0.0) * number / (number - 1)
    static2 = max(one - fast2, 0.0)
    start2, q, q_sigma = _wander(shots)
    growth = max(math.log(2 * age / shots.duration) + FROZEN, 0.0)
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
        rounding=step / math.sqrt(12 * signal2),
        slow_noise=math.sqrt(max(start2 + q * growth - fast2, 0.0) / signal2),
        full_scale=full_scale,
    )


def _residuals(drive: FloatArray, shots: FloatArray) -> tuple[float, float, float, float]:
    """Return the variance (uS^2) that linear maps leave of shots, its uncertainty, that of their mean, and of the map.

    The uncertainty comes from how the inputs differ: a few outputs beyond the converters' range can make up most of it.
    """
    design = np.column_stack([drive, np.ones(len(drive))])
    basis, _ = np.linalg.qr(design)
    freedom: float = len(drive) / (len(drive) - design.shape[1])

    def left(outputs: FloatArray) -> FloatArray:
        """Return what is left of each input vector, mean over columns."""
        squares: FloatArray = np.square(outputs - basis @ (basis.T @ outputs)).mean(1) * freedom
        return squares

    mean = shots.mean(0)
    of_mean = float(left(mean).mean())
    each = np.mean([left(shot) for shot in shots], axis=0)
    sigma = float(each.std()) * math.sqrt(freedom / len(drive))
    return float(each.mean()), sigma, of_mean, float(np.var(mean, axis=0).mean()) - of_mean


def _wander(shots: _Shots) -> tuple[float, float, float]:
    """Return the noise of a shot and its growth per e-fold of time (uS^2 each), and the latter's uncertainty.

    Half the mean square difference of shots a lag t apart is start + q (ln(t / T) + 1.5).
    """
    outputs, moments = shots.outputs, shots.moments
    first, second = np.triu_indices(len(moments), 1)
    half = np.mean((outputs[second] - outputs[first]) ** 2, axis=(1, 2)) / 2
    grown = np.log(np.maximum((moments[second] - moments[first]) / shots.duration, 1.0)) + FROZEN
    slope, start = (float(c) for c in np.polyfit(grown, half, 1))
    # Every difference is a sum over all cells of a column, each of which wanders by itself.
    relative = math.sqrt(2.0 / outputs[0].size)
    return max(start, 0.0), max(slope, 0.0), 2.0 * relative * float(half.max()) / (float(np.ptp(grown)) or 1.0)


def reference_matrix(rows: int, columns: int, seed: int = 0) -> FloatArray:
    """Draw standard normal weights (rows, columns), again beyond 3 sigma: what a floor is stated for by default."""
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((rows, columns))
    while (far := np.abs(weights) > 3).any():
        weights[far] = rng.standard_normal(int(far.sum()))
    return weights
