"""Programming curve: the S-shape of conductance against RESET amplitude, with the spread of devices.

G(I) = g_min + (g_max h - g_min) / (1 + exp((I - m) / s)) for a device with midpoint m, relative height h and steepness
s of its own, normal around those of the array. From pulse to pulse the effective amplitude jitters, which shows where
the curve is steep, and a noise remains where it is flat; reads add a noise that grows with the conductance. The
marginal likelihood is that of the curve linearised at each device's most likely parameters (Lindstrom and Bates 1990).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from hwloop.calibration.fitting.checks import check_reads, conductance_scale, rows_of
from hwloop.calibration.fitting.family import (
    STUCK,
    WILD,
    Coefficient,
    Family,
    Panel,
    Screening,
    Series,
    quantile_panel,
    take,
)
from hwloop.calibration.fitting.likelihood import LogLikelihood, Optimum, covariance, maximise, tensor
from hwloop.contract import FloatArray
from hwloop.device_models import DriftModel
from hwloop.errors import BadInputError
from hwloop.measurements import Experiment, Measurement

FEWEST_READS = 6
STILL = 0.3
"""A device whose sweep covers less than this share of the usual range is stuck."""
UNLIKELY = 1e-8
"""Probability of a misfit as large as a device's at which it is called wild."""
MOST_CELLS = 1500
"""Devices that the likelihood is computed for; of more, this many at random: spreads need no more."""
ROUNDS = 4
"""Of linearising and maximising."""
REACH = 1.0
"""By which the logarithm of a parameter may change in one round: the linearised curve holds nearby alone."""
DEVICE_STEPS = 8
MIDPOINT, HEIGHT, STEEPNESS = range(3)

_SPECIFICATION = (
    ("g_min", "uS", "fully RESET conductance", True),
    ("g_max", "uS", "fully SET conductance", True),
    ("midpoint", "uA", "amplitude at half height", True),
    ("steepness", "uA", "logistic scale of the fall", True),
    ("midpoint_spread", "uA", "device-to-device standard deviation of the midpoint", True),
    ("height_spread", "1", "device-to-device relative standard deviation of the height", True),
    ("steepness_spread", "1", "device-to-device relative standard deviation of the steepness", True),
    ("jitter", "uA", "pulse-to-pulse standard deviation of the effective amplitude", True),
    ("noise", "uS", "pulse-to-pulse standard deviation where the curve is flat", True),
    ("read_noise", "1", "standard deviation of what reads and drift add at g_max, over g_max", True),
    ("read_exponent", "1", "power of the conductance with which that grows", True),
)


@dataclass(frozen=True)
class CurveTable:
    """One row per device: amplitudes (uA) and what the pulses left (uS), (cells, pulses)."""

    g_scale: float
    width: float
    age: float
    """At which the conductances hold, seconds."""
    cells: NDArray[np.int64]
    there: NDArray[np.bool_]
    amplitude: FloatArray
    conductance: FloatArray
    log_age: FloatArray
    """ln(t0 / t) of each read; zero where no drift is known."""


def curve_table(measurement: Measurement, drift: DriftModel | None) -> tuple[CurveTable, Screening]:
    """Sweeps of all devices. Raises BadInputError when there is nothing to fit."""
    check_reads(measurement)
    reads = measurement.reads
    if reads.amplitude is None or reads.width is None:
        raise BadInputError("programming-curve: the reads lack the amplitude and width of the pulses before them")
    bad = ~(np.isfinite(reads.amplitude) & (reads.amplitude > 0))
    if bad.any():
        raise BadInputError(f"programming-curve: the pulse amplitude of read {int(np.argmax(bad))} is not positive")
    if np.unique(reads.amplitude).size < FEWEST_READS:
        raise BadInputError(f"programming-curve: fewer than {FEWEST_READS} different amplitudes show no curve")
    if np.ptp(reads.width) > 0.01 * reads.width.max():
        raise BadInputError("programming-curve: the pulses differ in width; fit one width at a time")
    rows = rows_of(measurement)
    assert rows.amplitude is not None
    screening = Screening.of(measurement)
    screening.drop(rows.counts < FEWEST_READS, f"fewer than {FEWEST_READS} pulses")
    high = np.where(rows.there, rows.conductance, -np.inf).max(1)
    low = np.where(rows.there, rows.conductance, np.inf).min(1)
    if screening.kept.any():
        usual = np.median((high - low)[screening.kept])
        screening.drop(high - low < STILL * usual, STUCK)
    if not screening.kept.any() or not np.median((high - low)[screening.kept]) > 0:
        raise BadInputError("programming-curve: no device answers to its pulses; nothing is left to fit")
    kept = screening.kept
    time = np.where(rows.there & (rows.time > 0), rows.time, 1.0 if drift is None else drift.t0)[kept]
    return CurveTable(
        g_scale=conductance_scale(measurement, high[kept]),
        width=float(np.median(reads.width)),
        age=float(np.median(reads.time)) if drift is None else drift.t0,
        cells=np.flatnonzero(kept),
        there=rows.there[kept],
        amplitude=rows.amplitude[kept],
        conductance=rows.conductance[kept],
        log_age=np.zeros_like(time) if drift is None else np.log(drift.t0 / time),
    ), screening


class Logistic(Family[CurveTable]):
    """See the module's text."""

    name = "logistic"
    experiment = Experiment.PROGRAMMING_CURVE
    summary = "S-shape with spread of midpoint, height and steepness; jitter and flat noise of the pulses"

    def __init__(self, drift: DriftModel | None = None) -> None:
        """`drift` brings reads to its reference age, at which the devices' curve is stated."""
        self.drift = drift

    def prepare(self, measurement: Measurement) -> tuple[CurveTable, Screening]:
        """See `curve_table`; devices that no curve describes are called wild."""
        table, screening = curve_table(measurement, self.drift)
        theta = self._start(table)
        for _ in range(2):
            theta = self._moments(table, theta, self._devices(table, theta))
        devices = self._devices(table, theta)
        parts = self._curve(theta, table, tensor(devices))
        residual = (table.conductance - parts.value.numpy()) ** 2 / parts.variance.numpy()
        misfit = np.where(table.there, residual, 0.0).sum(1)
        freedom = np.maximum(table.there.sum(1) - 3, 1)
        excess = misfit / np.median(misfit / freedom)
        wild = stats.chi2.sf(excess, freedom) < UNLIKELY
        chosen = np.zeros(len(measurement.cells), bool)
        chosen[table.cells[wild]] = True
        screening.drop(chosen, WILD)
        if wild.all():
            raise BadInputError("programming-curve: no device follows an S-shaped curve; nothing is left to fit")
        return self.subset(table, ~wild), screening

    def size(self, table: CurveTable) -> int:
        """Number of devices."""
        return int(table.cells.size)

    def subset(self, table: CurveTable, cells: NDArray[np.bool_]) -> CurveTable:
        """Some of the devices."""
        part: CurveTable = take(table, cells)
        return part

    def coefficients(self, table: CurveTable) -> list[Coefficient]:
        """Fields of `ProgrammingCurve`, and what the twin needs besides."""
        return [Coefficient(*row) for row in _SPECIFICATION]

    def estimate(self, table: CurveTable, *, intervals: bool) -> tuple[Optimum, dict[str, str]]:
        """Linearise at each device's parameters, maximise, and again."""
        if table.cells.size > MOST_CELLS:
            part = np.zeros(table.cells.size, bool)
            part[np.random.default_rng(0).choice(part.size, MOST_CELLS, replace=False)] = True
            table = self.subset(table, part)
        theta = self._start(table)
        for _ in range(2):
            theta = self._moments(table, theta, self._devices(table, theta))
        for _ in range(ROUNDS):
            likelihood = self._linearised(table, self._devices(table, theta))
            found = maximise(likelihood, theta, reach=REACH)
            theta = found.theta
        if intervals:
            found = replace(found, covariance=covariance(likelihood, theta))
        return found, {}

    def log_likelihood(self, table: CurveTable, theta: FloatArray) -> FloatArray:
        """Of every device."""
        with torch.no_grad():
            return self._linearised(table, self._devices(table, theta))(tensor(theta)).numpy()

    def quantiles(self, table: CurveTable, theta: FloatArray) -> FloatArray:
        """Of every read, over devices and pulses."""
        centre, width = _population(theta)
        devices = tensor(np.broadcast_to(centre, (table.cells.size, 3)))
        parts = self._curve(theta, table, devices)
        spread = (parts.slopes * tensor(width)) ** 2
        sigma = torch.sqrt(parts.variance + spread.sum(-1)).numpy()
        return stats.norm.cdf(((table.conductance - parts.value.numpy()) / sigma)[table.there])  # type: ignore[no-any-return]

    def describe(self, table: CurveTable) -> dict[str, Any]:
        """Pulse width and the age at which the curve holds."""
        seen = table.conductance[table.there]
        return {
            "forms": {},
            "settings": {"width": table.width, "age": table.age, "g_scale": table.g_scale},
            "conductance_range": (float(seen.min()), float(seen.max())),
            "time_range": (table.age, table.age),
        }

    def panels(self, table: CurveTable, theta: FloatArray) -> list[Panel]:
        """The curve with the spread of devices, scatter between pulses, calibration."""
        amplitudes = np.unique(table.amplitude[table.there])
        seen = [table.conductance[table.there & (table.amplitude == a)] for a in amplitudes]
        low, middle, high = (np.array([np.quantile(part, q) for part in seen]) for q in (0.05, 0.5, 0.95))
        fine = np.linspace(amplitudes[0], amplitudes[-1], 200)
        rng = np.random.default_rng(0)
        centre, width = _population(theta)
        devices = tensor(centre + rng.standard_normal((2000, 3)) * width)
        log_age = np.full((2000, fine.size), np.median(table.log_age[table.there]))
        grid = tensor(np.broadcast_to(fine, log_age.shape))
        parts = _curve(theta, grid, devices, tensor(log_age), self.drift)
        drawn = parts.value.numpy() + np.sqrt(parts.variance.numpy()) * rng.standard_normal(parts.value.shape)
        bands = np.quantile(drawn, [0.05, 0.5, 0.95], axis=0)
        return [
            Panel(
                "Programming curve, as read", "RESET amplitude, uA", "conductance, uS",
                (
                    Series("measured: median, 5 % to 95 %", amplitudes, middle, low, high),
                    Series("fit: median, 5 % to 95 %", fine, bands[1], bands[0], bands[2], line=True),
                ),
            ),
            quantile_panel(self.quantiles(table, theta)),
        ]  # fmt: skip

    # ---- inside -------------------------------------------------------------------------------------------------

    def _curve(self, theta: FloatArray, table: CurveTable, devices: torch.Tensor) -> _Curve:
        return _curve(theta, tensor(table.amplitude), devices, tensor(table.log_age), self.drift)

    def _start(self, table: CurveTable) -> FloatArray:
        """From the median conductance at each amplitude."""
        amplitudes = np.unique(table.amplitude[table.there])
        middle = np.array([np.median(table.conductance[table.there & (table.amplitude == a)]) for a in amplitudes])
        top, bottom = float(middle.max()), max(float(middle.min()), 1e-3 * float(middle.max()))
        half = np.interp(-(top + bottom) / 2, -np.minimum.accumulate(middle), amplitudes)
        upper, lower = (
            np.interp(-(bottom + share * (top - bottom)), -np.minimum.accumulate(middle), amplitudes)
            for share in (0.88, 0.12)
        )
        steep = max((lower - upper) / 4.0, 0.2 * float(np.diff(amplitudes).mean()))
        values = [bottom, top, half, steep, 0.3 * steep, 0.05, 0.05, 0.1 * steep, 0.02 * top, 0.02, 0.8]
        return np.log(values)

    def _devices(self, table: CurveTable, theta: FloatArray) -> FloatArray:
        """Most likely midpoint (uA), fully SET conductance (uS) and steepness (uA) of each device, (cells, 3)."""
        centre, width = _population(theta)
        devices = np.broadcast_to(centre, (table.cells.size, 3)).copy()
        there, prior = table.there, width**-2
        for _ in range(DEVICE_STEPS):
            parts = self._curve(theta, table, tensor(devices))
            weight = np.where(there, 1.0 / parts.variance.numpy(), 0.0)
            slopes = parts.slopes.numpy()
            residual = table.conductance - parts.value.numpy()
            information = np.einsum("ctk,ct,ctl->ckl", slopes, weight, slopes) + np.diag(prior)
            gradient = np.einsum("ctk,ct,ct->ck", slopes, weight, residual) - prior * (devices - centre)
            step = np.linalg.solve(information, gradient[..., None])[..., 0]
            devices = np.clip(devices + step, centre - 5 * width, centre + 5 * width)
        return devices

    def _moments(self, table: CurveTable, theta: FloatArray, devices: FloatArray) -> FloatArray:
        """Better starting values: spreads of the devices' own parameters and the scatter around their curves."""
        theta = theta.copy()
        middle = np.median(devices, axis=0)
        spread = np.median(np.abs(devices - middle), axis=0) * 1.4826
        theta[1:4] = np.log(middle[[HEIGHT, MIDPOINT, STEEPNESS]])
        relative = np.array([spread[MIDPOINT], spread[HEIGHT] / middle[HEIGHT], spread[STEEPNESS] / middle[STEEPNESS]])
        theta[4:7] = np.log(np.maximum(relative, [1e-2 * middle[STEEPNESS], 1e-3, 1e-3]))
        parts = self._curve(theta, table, tensor(devices))
        residual = np.abs(table.conductance - parts.value.numpy())
        share = parts.slopes[..., MIDPOINT].abs().numpy()
        steepest = float(np.quantile(share[table.there], 0.95))
        steep = table.there & (share > 0.6 * steepest)
        flat = table.there & (share < 0.05 * steepest)
        low = flat & (table.conductance < 0.3 * table.g_scale)
        if steep.sum() > 50:
            theta[7] = math.log(max(float(np.median(residual[steep] / share[steep])) * 1.4826, 1e-3))
        if low.sum() > 50:
            theta[8] = math.log(max(float(np.median(residual[low])) * 1.4826, 1e-4 * table.g_scale))
        return theta

    def _linearised(self, table: CurveTable, devices: FloatArray) -> LogLikelihood:
        """Marginal log-likelihood of every device, its curve linear around what `devices` (cells, 3) says of it."""
        amplitude, value, log_age = tensor(table.amplitude), tensor(table.conductance), tensor(table.log_age)
        there, at = torch.as_tensor(table.there), tensor(devices)
        counts = there.sum(1)

        def likelihood(theta: torch.Tensor) -> torch.Tensor:
            parts = _curve(theta, amplitude, at, log_age, self.drift)
            centre, width = _population(theta)
            weight = torch.where(there, 1.0 / parts.variance, 0.0)
            residual = value - parts.value + (parts.slopes * (at - centre)[:, None, :]).sum(-1)
            scaled = parts.slopes * width
            inner = torch.eye(3, dtype=torch.float64) + torch.einsum("ctk,ct,ctl->ckl", scaled, weight, scaled)
            side = torch.einsum("ctk,ct,ct->ck", scaled, weight, residual)
            factor = torch.linalg.cholesky(inner)
            solved = torch.linalg.solve_triangular(factor, side[..., None], upper=False)[..., 0]
            squares = (weight * residual**2).sum(1) - (solved**2).sum(1)
            log_variance = torch.where(there, torch.log(parts.variance), 0.0).sum(1)
            log_determinant = log_variance + 2 * torch.log(torch.diagonal(factor, dim1=1, dim2=2)).sum(1)
            each: torch.Tensor = -0.5 * (squares + log_determinant + counts * math.log(2 * math.pi))
            return each

        return likelihood


def _population(theta: Any) -> tuple[Any, Any]:
    """Mean and standard deviation (3,) of the devices' midpoint (uA), fully SET conductance (uS), steepness (uA)."""
    if isinstance(theta, torch.Tensor):
        values = torch.exp(theta)
        centre = torch.stack([values[2], values[1], values[3]])
        return centre, torch.stack([values[4], values[5] * values[1], values[6] * values[3]])
    values = np.exp(theta)
    return values[[2, 1, 3]], np.array([values[4], values[5] * values[1], values[6] * values[3]])


@dataclass(frozen=True)
class _Curve:
    """Conductance and pulse-to-pulse variance (cells, pulses), and slopes (cells, pulses, 3) against the devices'."""

    value: torch.Tensor
    variance: torch.Tensor
    slopes: torch.Tensor


def _curve(
    theta: torch.Tensor | FloatArray,
    amplitude: torch.Tensor,
    devices: torch.Tensor,
    log_age: torch.Tensor,
    drift: DriftModel | None,
) -> _Curve:
    """What reads of devices with parameters (cells, 3) of their own show."""
    values = torch.exp(theta if isinstance(theta, torch.Tensor) else tensor(theta))
    g_min, g_max = values[:2]
    jitter, noise, read_noise, exponent = values[7:]
    steepness = devices[:, STEEPNESS, None].clamp(min=1e-3)
    z = (devices[:, MIDPOINT, None] - amplitude) / steepness
    share = torch.sigmoid(z)
    height = devices[:, HEIGHT, None] - g_min
    nominal = g_min + height * share
    slope = height * share * (1.0 - share) / steepness
    value, sigma = _folded(nominal, torch.sqrt((slope * jitter) ** 2 + noise**2))
    value, stretch = _aged(value, log_age, drift)
    variance = (stretch * sigma) ** 2 + (read_noise * g_max * (value / g_max).clamp(min=1e-4) ** exponent) ** 2
    return _Curve(value, variance, torch.stack([slope, share, -slope * z], dim=-1) * stretch[..., None])


def _folded(mean: torch.Tensor, sigma: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of |x|, x normal: near zero the noise folds over, no conductance is negative."""
    z = (mean / sigma).clamp(-8.0, 8.0)
    folded = sigma * math.sqrt(2 / math.pi) * torch.exp(-0.5 * z**2) + mean * torch.erf(z / math.sqrt(2))
    far = mean > 7.9 * sigma
    spread = torch.sqrt((mean**2 + sigma**2 - folded**2).clamp(min=1e-3 * sigma**2))
    return torch.where(far, mean, folded), torch.where(far, sigma, spread)


def _aged(value: torch.Tensor, log_age: torch.Tensor, drift: DriftModel | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Conductances as they are at the read, t0 exp(-log_age), for those at t0; and their derivative against them."""
    if drift is None:
        return value, torch.ones_like(value)

    def at_read(g: torch.Tensor) -> torch.Tensor:
        nu: torch.Tensor = drift.mean((g / drift.g_scale).clamp(min=1e-6))
        return g * torch.exp(nu * log_age)

    read, step = at_read(value), 1e-4 * drift.g_scale
    return read, (at_read(value + step) - read) / step
