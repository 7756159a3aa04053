"""Programming curve: the S-shape of conductance against RESET amplitude, with the spread of devices.

G(I) = g_min + (g_max h - g_min) / (1 + exp((I - m) / s)) for a device with midpoint m, relative height h and steepness
s of its own, normal around those of the array. From pulse to pulse the effective amplitude jitters, which shows where
the curve is steep, and a noise remains where it is flat. Until it is read a device drifts, with a coefficient that is
new after every pulse and random, so that a spread is added; reads add a noise relative to the conductance. Neither can
be told from the jitter by curves alone: what a fit of the drift found, and how well, is taken over. The marginal
likelihood is that of the curve linearised at each device's most likely parameters (Lindstrom and Bates 1990).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from hwloop.calibration.fitting.base import (
    STUCK,
    WILD,
    Coefficient,
    Family,
    Fitted,
    Panel,
    Screening,
    Series,
    quantile_panel,
)
from hwloop.calibration.fitting.checks import Rows, check_reads, conductance_scale, rows_of, with_reads
from hwloop.calibration.fitting.drift import build
from hwloop.calibration.fitting.likelihood import LogLikelihood, Optimum, covariance, maximise, tensor
from hwloop.devices.drift import DriftModel
from hwloop.devices.statistics import Statistic, UpTo
from hwloop.errors import BadInputError
from hwloop.files.measurements import Experiment, Measurement
from hwloop.files.models import coefficient_names
from hwloop.typing import FloatArray

FEWEST_READS = 6
STILL = 0.3
"""A device whose sweep covers less than this share of the usual range is stuck."""
SURE = 5.0
"""Standard errors above zero at which devices are taken to answer to their pulses."""
UNLIKELY = 1e-8
"""Probability of a misfit as large as a device's at which it is called wild."""
SATURATED = 0.003
"""Share of all reads that are equal to the largest from which on that is the end of a scale."""
MOST_CELLS = 1500
"""Devices that the likelihood is computed for; of more, this many at random: spreads need no more."""
FEW_CELLS, FEW_ROUNDS, ROUNDS = 200, 4, 2
"""Rounds of linearising and maximising, at first with few devices."""
MOST_STEPS = 100
REACH = 1.0
"""By which the logarithm of a parameter may change in one round: the linearised curve holds nearby alone."""
DEVICE_STEPS = 8
MIDPOINT, HEIGHT, STEEPNESS = range(3)
GRID_LOW, GRID_HIGH, GRID_POINTS = -9.0, 1.5, 421
"""ln g at which statistics of the drift are tabulated, for they are looked up for every read again and again."""

FOLDED, FOLD_STEP, FOLD_REACH = 3, 0.05, 8.0
"""Points that stand for noise that is folded over at zero, and places of its mean, over sigma, where they are known."""

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
)
_ALONE = (
    ("read_noise", "1", "standard deviation of what reads and drift add at g_max, over g_max", True),
    ("read_exponent", "1", "power of the conductance with which that grows", True),
)
KNOTS = 6
"""Conductances at which the noise of reads is fitted where every pulse was read twice."""
WIDEST_RANGE = 7.0
"""Of ln G over which those are spread at most."""
Statistics = tuple[Statistic, Statistic]


@dataclass(frozen=True)
class KnownDrift:
    """What is known of the drift of the devices when their curve is fitted, and how well."""

    t0: float
    g_scale: float
    noise_growth: float
    """Growth of a read's relative variance per unit of ln(t / t0), over that at t0."""
    statistics: Callable[[torch.Tensor], Statistics]
    """Coefficients (p,) -> mean and spread of nu."""
    coefficients: FloatArray
    covariance: FloatArray

    @classmethod
    def of_model(cls, drift: DriftModel, noise_growth: float = 0.0) -> KnownDrift:
        """Known without doubt."""
        own = (drift.mean, drift.spread)
        return cls(drift.t0, drift.g_scale, noise_growth, lambda _: own, np.zeros(0), np.zeros((0, 0)))

    @classmethod
    def of_fit(cls, fitted: Fitted[Any]) -> KnownDrift | None:
        """As a drift fit tells; None for a family that does not hold for single devices.

        Above the largest conductance that is programmed, where SET devices are and the tails of its last level alone
        were measured, statistics are held, as they are wherever a device model is used.
        """
        forms, settings = fitted.record.forms, fitted.record.settings
        if "mean" not in forms:
            return None
        n = len(coefficient_names(forms["mean"]))

        def statistics(theta: torch.Tensor) -> Statistics:
            return UpTo(1.0, build(forms["mean"], theta[:n])), UpTo(1.0, build(forms["spread"], theta[n:]))

        theta, covariance = fitted.optimum.theta[: 2 * n], fitted.optimum.covariance[: 2 * n, : 2 * n]
        return cls(settings["t0"], settings["g_scale"], settings["noise_growth"], statistics, theta, covariance)


class _Ageing:
    """What becomes of conductances stated at the reference age, by interpolation in tables over ln g."""

    def __init__(self, known: KnownDrift, coefficients: torch.Tensor | None = None) -> None:
        """`coefficients` of the drift, where they are not those of `known`."""
        g = torch.exp(torch.linspace(GRID_LOW, GRID_HIGH, GRID_POINTS, dtype=torch.float64))
        mean, spread = known.statistics(tensor(known.coefficients) if coefficients is None else coefficients)
        self._scale, self._step = known.g_scale, (GRID_HIGH - GRID_LOW) / (GRID_POINTS - 1)
        self._mean, self._variance = mean(g), spread(g) ** 2
        self._growth = known.noise_growth

    def __call__(self, points: torch.Tensor, log_age: torch.Tensor) -> _Aged:
        """Of conductances (points, cells, pulses) in uS, at t0 exp(-log_age) (cells, pulses, ages)."""
        g, nu = self._at_read(points, log_age)
        squares = g**2 * torch.exp(log_age**2 * nu[..., None])
        together = g[..., 0] * g[..., -1] * torch.exp(log_age[..., 0] * log_age[..., -1] * nu)
        return _Aged(g, squares, together)

    def _at_read(self, g: torch.Tensor, log_age: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean (points, cells, pulses, ages) in uS over nu, and the variance of nu (points, cells, pulses)."""
        place = ((torch.log((g / self._scale).clamp(min=1e-12)) - GRID_LOW) / self._step).clamp(0.0, GRID_POINTS - 1.01)
        below = place.detach().long()
        share = place - below
        mean, variance = (torch.lerp(table[below], table[below + 1], share) for table in (self._mean, self._variance))
        return g[..., None] * torch.exp(log_age * mean[..., None] + 0.5 * log_age**2 * variance[..., None]), variance

    def read_variances(self, log_age: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Over that at the reference age: variance of reads (cells, pulses, ages), covariance of the first two.

        1/f noise that began with the pulse: two ages t share ln((t2 + t1) / (t2 - t1)) of what grows with ln t.
        """
        time = torch.exp(-log_age)
        shared = torch.log((time[..., 1] + time[..., 0]) / (time[..., 1] - time[..., 0]))
        return (1.0 - self._growth * log_age).clamp(min=0.1), self._growth * shared


@dataclass(frozen=True)
class _Aged:
    """What is left of conductances at the reads of them, before the noise of reads."""

    value: torch.Tensor
    """(points, cells, pulses, ages) mean, uS."""
    squares: torch.Tensor
    """(points, cells, pulses, ages) mean square."""
    together: torch.Tensor
    """(points, cells, pulses) mean product of the first and the last age."""


@dataclass(frozen=True)
class CurveTable:
    """One row per device: amplitudes (cells, pulses) in uA, and reads (cells, pulses, ages) in uS of what they left.

    Where the drift is known and every pulse was read twice, there are two ages, else one.
    """

    g_scale: float
    width: float
    age: float
    """At which the conductances hold, seconds."""
    knots: tuple[float, ...]
    """ln(G / uS) of those at which the noise of reads is fitted; none where every pulse was read once."""
    cells: NDArray[np.int64]
    there: NDArray[np.bool_]
    """(cells, pulses)"""
    amplitude: FloatArray
    conductance: FloatArray
    log_age: FloatArray
    """ln(t0 / t) of each read; zero where no drift is known."""


def curve_table(measurement: Measurement, drift: KnownDrift | None) -> tuple[CurveTable, Screening]:
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
    early, rows = _ages(measurement)
    assert rows.amplitude is not None
    screening = Screening.of(measurement)
    screening.drop(rows.counts < FEWEST_READS, f"fewer than {FEWEST_READS} pulses")
    high = np.where(rows.there, rows.conductance, -np.inf).max(1, initial=-np.inf)
    low = np.where(rows.there, rows.conductance, np.inf).min(1, initial=np.inf)
    if screening.kept.any():
        usual = np.median((high - low)[screening.kept])
        screening.drop(high - low < STILL * usual, STUCK)
    if not screening.kept.any() or not np.median((high - low)[screening.kept]) > 0:
        raise BadInputError("programming-curve: no device answers to its pulses; nothing is left to fit")
    kept = screening.kept
    fall = _fall(rows)[kept]
    if not fall.mean() > SURE * fall.std() / math.sqrt(fall.size):
        raise BadInputError(
            "programming-curve: on average conductances do not fall from the weaker to the stronger pulses: no device "
            "answers, or the amplitudes are not those of RESET pulses"
        )
    reads_of = [rows] if early is None or drift is None else [early, rows]
    conductance = np.stack([one.conductance[kept] for one in reads_of], axis=-1)
    t0 = 1.0 if drift is None else drift.t0
    time = np.stack([np.where(one.there & (one.time > 0), one.time, t0)[kept] for one in reads_of], axis=-1)
    there = rows.there[kept]
    if len(reads_of) == 2:
        there = there & (time[..., 1] > 1.1 * time[..., 0])
        time[~there] = np.array([0.1, 1.0]) * t0
    return CurveTable(
        g_scale=conductance_scale(measurement, high[kept]),
        width=float(np.median(reads.width)),
        age=float(np.median(rows.time[rows.there])) if drift is None else drift.t0,
        knots=_noise_knots(conductance[..., 1], there, rows.amplitude[kept]) if len(reads_of) == 2 else (),
        cells=np.flatnonzero(kept),
        there=there,
        amplitude=rows.amplitude[kept],
        conductance=conductance,
        log_age=np.zeros_like(time) if drift is None else np.log(drift.t0 / time),
    ), screening


def _fall(rows: Rows) -> FloatArray:
    """How much lower (cells,), in uS, reads are after pulses in the upper half of the amplitudes than in the lower."""
    assert rows.amplitude is not None
    weak = rows.there & (rows.amplitude <= np.median(rows.amplitude[rows.there]))
    strong = rows.there & ~weak
    means = [np.where(half, rows.conductance, 0.0).sum(1) / np.maximum(half.sum(1), 1) for half in (weak, strong)]
    fall: FloatArray = means[0] - means[1]
    return fall


def _ages(measurement: Measurement) -> tuple[Rows | None, Rows]:
    """The first and the second read of every pulse in rows, or None and all reads where pulses were read once."""
    nominal = measurement.reads.nominal
    if nominal is None or np.unique(nominal).size != 2:
        return None, rows_of(measurement)
    first, second = (rows_of(with_reads(measurement, nominal == age)) for age in np.unique(nominal))
    both = min(first.there.shape[1], second.there.shape[1])  # a measurement may have ended between two reads
    first, second = _first_columns(first, both), _first_columns(second, both)
    there = first.there & second.there & (first.amplitude == second.amplitude)
    return replace(first, there=there), replace(second, there=there)


def _first_columns(rows: Rows, count: int) -> Rows:
    return replace(
        rows, **{name: column[:, :count] for name, column in vars(rows).items() if isinstance(column, np.ndarray)}
    )


def _noise_knots(conductance: FloatArray, there: NDArray[np.bool_], amplitude: FloatArray) -> tuple[float, ...]:
    """Between what the strongest and the weakest pulses leave."""
    weakest, strongest = (there & (amplitude == end) for end in (amplitude[there].min(), amplitude[there].max()))
    high = math.log(np.median(conductance[weakest]))
    low = max(float(np.median(conductance[strongest])), math.exp(high - WIDEST_RANGE))
    return tuple(np.linspace(math.log(low), high, KNOTS).tolist())


class Logistic(Family[CurveTable]):
    """See the module's text."""

    name = "logistic"
    experiment = Experiment.PROGRAMMING_CURVE
    summary = "S-shape with spread of midpoint, height and steepness; jitter and flat noise of the pulses"

    def __init__(self, drift: KnownDrift | None = None) -> None:
        """`drift` brings reads to its reference age, at which the devices' curve is stated."""
        self.drift = drift
        self._ageing = _Ageing(drift) if drift is not None else None

    def prepare(self, measurement: Measurement) -> tuple[CurveTable, Screening]:
        """See `curve_table`; devices that no curve describes are called wild."""
        table, screening = curve_table(measurement, self.drift)
        theta = self._start(table)
        for _ in range(2):
            theta = self._moments(table, theta, self._devices(table, theta))
        devices = self._devices(table, theta)
        parts = self._curve(theta, table, tensor(devices))
        residual = parts.residual(tensor(table.conductance)).numpy()
        there = np.repeat(table.there, table.conductance.shape[2], axis=1)
        misfit = np.where(there, residual**2 / parts.variance.numpy(), 0.0).sum(1)
        freedom = np.maximum(there.sum(1) - 3, 1)
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

    def caveats(self, table: CurveTable) -> list[str]:
        """Reads at the end of a converter's scale are less than what was there."""
        seen = table.conductance[table.there]
        top = float(seen.max())
        share = float(np.mean(seen == top))
        if share < SATURATED:
            return []
        return [
            f"{100 * share:.1f} % of the reads are {top:.4g} uS, the end of the scale they were read with: g_max and "
            "height_spread come out low; read later after the pulse, or with a larger range"
        ]

    def coefficients(self, table: CurveTable) -> list[Coefficient]:
        """Fields of `ProgrammingCurve`, and what the twin needs besides."""
        rows = [Coefficient(*row) for row in _SPECIFICATION]
        if not table.knots:
            return rows + [Coefficient(*row) for row in _ALONE]
        return rows + [
            Coefficient(f"read_noise.v{k}", "1", f"standard deviation of a read over {g:.3g} uS, at t0", True)
            for k, g in enumerate(np.exp(table.knots))
        ]

    def estimate(self, table: CurveTable, *, intervals: bool) -> tuple[Optimum, dict[str, str]]:
        """Linearise at each device's parameters, maximise, and again."""
        if table.cells.size > MOST_CELLS:
            chosen = np.zeros(table.cells.size, bool)
            chosen[np.random.default_rng(0).choice(chosen.size, MOST_CELLS, replace=False)] = True
            table = self.subset(table, chosen)
        theta = self._start(table)
        for _ in range(2):
            theta = self._moments(table, theta, self._devices(table, theta))
        few = self.subset(table, np.arange(table.cells.size) < FEW_CELLS)
        for part in [few] * FEW_ROUNDS + [table] * ROUNDS:
            likelihood = self._linearised(part, self._devices(part, theta))
            found = maximise(likelihood, theta, reach=REACH, max_steps=MOST_STEPS)
            theta = found.theta
        if intervals:
            own = covariance(likelihood, theta)
            found = replace(found, covariance=own + self._doubt_of_drift(table, self._devices(table, theta), theta))
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
        there = np.repeat(table.there, table.conductance.shape[2], axis=1)
        return stats.norm.cdf((parts.residual(tensor(table.conductance)).numpy() / sigma)[there])  # type: ignore[no-any-return]

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
        seen = [table.conductance[..., 0][table.there & (table.amplitude == a)] for a in amplitudes]
        low, middle, high = (np.array([np.quantile(part, q) for part in seen]) for q in (0.05, 0.5, 0.95))
        fine = np.linspace(amplitudes[0], amplitudes[-1], 200)
        rng = np.random.default_rng(0)
        centre, width = _population(theta)
        devices = tensor(centre + rng.standard_normal((2000, 3)) * width)
        ages = table.conductance.shape[2]
        log_age = np.broadcast_to(np.median(table.log_age[table.there], axis=0), (2000, fine.size, ages))
        grid = tensor(np.broadcast_to(fine, log_age.shape[:2]))
        parts = _curve(theta, grid, devices, tensor(log_age), table.knots, self._ageing)
        noise = np.sqrt(parts.variance[:, ::ages].numpy()) * rng.standard_normal(log_age.shape[:2])
        drawn = parts.value[..., 0].numpy() + noise
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
        return _curve(theta, tensor(table.amplitude), devices, tensor(table.log_age), table.knots, self._ageing)

    def _start(self, table: CurveTable) -> FloatArray:
        """From the median conductance at each amplitude."""
        amplitudes = np.unique(table.amplitude[table.there])
        late = table.conductance[..., -1]
        middle = np.array([np.median(late[table.there & (table.amplitude == a)]) for a in amplitudes])
        top, bottom = float(middle.max()), max(float(middle.min()), 1e-3 * float(middle.max()))
        half = np.interp(-(top + bottom) / 2, -np.minimum.accumulate(middle), amplitudes)
        upper, lower = (
            np.interp(-(bottom + share * (top - bottom)), -np.minimum.accumulate(middle), amplitudes)
            for share in (0.88, 0.12)
        )
        steep = max((lower - upper) / 4.0, 0.2 * float(np.diff(amplitudes).mean()))
        values = [bottom, top, half, steep, 0.3 * steep, 0.05, 0.05, 0.1 * steep, 0.02 * top]
        return np.log(values + ([0.1] * len(table.knots) or [0.02, 0.8]))

    def _devices(self, table: CurveTable, theta: FloatArray) -> FloatArray:
        """Most likely midpoint (uA), fully SET conductance (uS) and steepness (uA) of each device, (cells, 3)."""
        centre, width = _population(theta)
        devices = np.broadcast_to(centre, (table.cells.size, 3)).copy()
        there, prior = np.repeat(table.there, table.conductance.shape[2], axis=1), width**-2
        seen = tensor(table.conductance)
        for _ in range(DEVICE_STEPS):
            parts = self._curve(theta, table, tensor(devices))
            weight = np.where(there, 1.0 / parts.variance.numpy(), 0.0)
            slopes = parts.slopes.numpy()
            residual = parts.residual(seen).numpy()
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
        late = table.conductance[..., -1]
        residual = np.abs(late - parts.value[..., -1].numpy())
        share = parts.slopes[:, :: table.conductance.shape[2], MIDPOINT].abs().numpy()
        steepest = float(np.quantile(share[table.there], 0.95))
        steep = table.there & (share > 0.6 * steepest)
        flat = table.there & (share < 0.05 * steepest)
        low = flat & (late < 0.3 * table.g_scale)
        if steep.sum() > 50:
            theta[7] = math.log(max(float(np.median(residual[steep] / share[steep])) * 1.4826, 1e-3))
        if low.sum() > 50:
            theta[8] = math.log(max(float(np.median(residual[low])) * 1.4826, 1e-4 * table.g_scale))
        return theta

    def _doubt_of_drift(self, table: CurveTable, devices: FloatArray, theta: FloatArray) -> FloatArray:
        """Covariance (p, p) that the parameters have because the drift is not known exactly.

        The maximum moves with the coefficients of the drift by H^-1 d2L / dtheta dcoefficients; they come from another
        experiment, so that their error is independent of this one's.
        """
        if self.drift is None or not self.drift.coefficients.size:
            return np.zeros((theta.size, theta.size))
        point = tensor(theta).requires_grad_()
        coefficients = tensor(self.drift.coefficients).requires_grad_()
        total = self._linearised(table, devices, _Ageing(self.drift, coefficients))(point).sum()
        (gradient,) = torch.autograd.grad(total, point, create_graph=True)
        rows = [torch.autograd.grad(one, (point, coefficients), retain_graph=True) for one in gradient]
        curvature, cross = (torch.stack(part).numpy() for part in zip(*rows, strict=True))
        moves = np.linalg.solve(-0.5 * (curvature + curvature.T), cross)
        doubt: FloatArray = moves @ self.drift.covariance @ moves.T
        return doubt

    def _linearised(self, table: CurveTable, devices: FloatArray, ageing: _Ageing | None = None) -> LogLikelihood:
        """Marginal log-likelihood of every device, its curve linear around what `devices` (cells, 3) says of it."""
        known = self._ageing if ageing is None else ageing
        amplitude, value, log_age = tensor(table.amplitude), tensor(table.conductance), tensor(table.log_age)
        there, at = torch.as_tensor(np.repeat(table.there, value.shape[2], axis=1)), tensor(devices)
        counts = there.sum(1)

        def likelihood(theta: torch.Tensor) -> torch.Tensor:
            parts = _curve(theta, amplitude, at, log_age, table.knots, known)
            centre, width = _population(theta)
            weight = torch.where(there, 1.0 / parts.variance, 0.0)
            residual = parts.residual(value) + (parts.slopes * (at - centre)[:, None, :]).sum(-1)
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
    """Reads of every pulse at one age or two; what both have in common is taken off the second.

    Arrays (cells, reads) have the reads of a pulse one after the other: the first, and what the second adds to it.
    """

    value: torch.Tensor
    """(cells, pulses, ages) expected."""
    variance: torch.Tensor
    """(cells, reads) from pulse to pulse, of the second read given the first."""
    slopes: torch.Tensor
    """(cells, reads, 3) against the devices' parameters."""
    common: torch.Tensor | None
    """(cells, pulses) by how much the second read follows the first."""

    def residual(self, seen: torch.Tensor) -> torch.Tensor:
        """(cells, reads) of reads (cells, pulses, ages)."""
        return _apart(seen - self.value, self.common)


def _apart(values: torch.Tensor, common: torch.Tensor | None) -> torch.Tensor:
    """Values (cells, pulses, ages, ...) as (cells, reads, ...), of the second what does not follow from the first."""
    if common is not None:
        share = common.reshape(common.shape + (1,) * (values.ndim - 3))
        values = torch.stack([values[:, :, 0], values[:, :, 1] - share * values[:, :, 0]], dim=2)
    return values.flatten(1, 2)


def _curve(
    theta: torch.Tensor | FloatArray,
    amplitude: torch.Tensor,
    devices: torch.Tensor,
    log_age: torch.Tensor,
    knots: tuple[float, ...],
    ageing: _Ageing | None,
) -> _Curve:
    """What reads of devices with parameters (cells, 3) of their own show."""
    theta = theta if isinstance(theta, torch.Tensor) else tensor(theta)
    values = torch.exp(theta)
    g_min, g_max = values[:2]
    jitter, noise = values[7:9]
    steepness = devices[:, STEEPNESS, None].clamp(min=1e-3)
    z = (devices[:, MIDPOINT, None] - amplitude) / steepness
    share = torch.sigmoid(z)
    height = devices[:, HEIGHT, None] - g_min
    slope = height * share * (1.0 - share) / steepness
    bend = slope * (1.0 - 2.0 * share) / steepness
    nominal = g_min + height * share + 0.5 * bend * jitter**2
    points, weight = _folded(nominal, torch.sqrt((slope * jitter) ** 2 + noise**2))
    fresh = _Aged(points[..., None], points[..., None] ** 2, points**2)
    aged = fresh if ageing is None else ageing(points, log_age)

    def average(values: torch.Tensor) -> torch.Tensor:
        return (weight.reshape(weight.shape + (1,) * (values.ndim - 3)) * values).sum(0)

    value = average(aged.value)
    stretch = (aged.value[-1] - aged.value[0]) / (points[-1] - points[0])[..., None]
    slopes = torch.stack([slope, share, -slope * z], dim=-1)[:, :, None] * stretch[..., None]
    if not knots:
        reading = (values[9] * (value / g_max).clamp(min=1e-4) ** (values[10] - 1.0)) ** 2
        variance = average(aged.squares) * (1.0 + reading) - value**2
        return _Curve(value, variance.flatten(1, 2), slopes.flatten(1, 2), None)
    assert ageing is not None
    level = torch.exp(2 * _between(torch.log(points), knots, theta[9:]))
    growth, shared = ageing.read_variances(log_age)
    variance = average(aged.squares * (1.0 + level[..., None] * growth)) - value**2
    both = average(aged.together * (1.0 + level * shared)) - value[..., 0] * value[..., 1]
    common = both / variance[..., 0]
    variance = torch.stack([variance[..., 0], variance[..., 1] - common * both], dim=-1)
    return _Curve(value, variance.flatten(1, 2), _apart(slopes, common), common)


def _between(at: torch.Tensor, places: tuple[float, ...], values: torch.Tensor) -> torch.Tensor:
    """Straight lines through values at evenly spaced places, flat beyond."""
    share = ((at - places[0]) / (places[1] - places[0])).clamp(0.0, len(places) - 1.001)
    below = share.detach().long()
    return torch.lerp(values[below], values[below + 1], share - below)


def _folded(mean: torch.Tensor, sigma: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Points (FOLDED, ...) and their weights that have the first five moments of |x|, x normal.

    Near zero the noise folds over, no conductance is negative; the drift of what scatters there is not the same.
    """
    z = (mean / sigma).abs()
    place = (z / FOLD_STEP).clamp(max=FOLD_REACH / FOLD_STEP - 0.001)
    below = place.detach().long()
    share = place - below
    offsets, weights = ([torch.lerp(one[below], one[below + 1], share) for one in part] for part in _folded_rules())
    points = [(sigma * (z + offset)).clamp(min=1e-9) for offset in offsets]
    return torch.stack(points), torch.stack(weights)


@functools.cache
def _folded_rules() -> tuple[torch.Tensor, torch.Tensor]:
    """Gauss's rules for |x|, x normal around z with variance 1: points less z and weights, both (FOLDED, places of z).

    By Stieltjes' procedure: the polynomials that are orthogonal under the density, and the eigenvalues of their Jacobi
    matrix (Golub and Welsch 1969).
    """
    z = np.arange(0.0, FOLD_REACH + FOLD_STEP, FOLD_STEP)[:, None]
    x = np.linspace(0.0, FOLD_REACH + 9.0, 4001)
    density = np.exp(-0.5 * (x - z) ** 2) + np.exp(-0.5 * (x + z) ** 2)
    density[:, 0] /= 2  # the trapezoidal rule
    density /= density.sum(1, keepdims=True)
    before, last = np.zeros_like(density), np.ones_like(density)
    jacobi = np.zeros((len(z), FOLDED, FOLDED))
    for k in range(FOLDED):
        centre = (density * x * last**2).sum(1)
        jacobi[:, k, k] = centre
        following = (x - centre[:, None]) * last - (jacobi[:, k, k - 1, None] * before if k else 0.0)
        size = np.sqrt((density * following**2).sum(1))
        if k + 1 < FOLDED:
            jacobi[:, k, k + 1] = jacobi[:, k + 1, k] = size
        before, last = last, following / size[:, None]
    values, vectors = np.linalg.eigh(jacobi)
    return tensor((values - z).T.copy()), tensor((vectors[:, 0, :] ** 2).T.copy())
