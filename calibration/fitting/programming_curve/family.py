"""Programming curve: the S-shape of conductance against RESET amplitude, with the spread of devices.

G(I) = g_min + (g_max h - g_min) / (1 + exp((I - m) / s)) for a device with midpoint m, relative height h and steepness
s of its own, normal around those of the array. From pulse to pulse the effective amplitude jitters, which shows where
the curve is steep, and a noise remains where it is flat. Until it is read a device drifts, with a coefficient that is
new after every pulse and random, so that a spread is added; reads add a noise relative to the conductance. Neither can
be told from the jitter by curves alone: what a fit of the drift found, and how well, is taken over. The marginal
likelihood is that of the curve linearised at each device's most likely parameters (Lindstrom and Bates 1990).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import stats

from hwloop.calibration.fitting.base import Description, Family
from hwloop.calibration.fitting.known import NOTHING_KNOWN, KnownDevice
from hwloop.calibration.fitting.layout import Layout
from hwloop.calibration.fitting.likelihood import LogLikelihood, Optimum, covariance, maximise, tensor
from hwloop.calibration.fitting.panels import Panel, Series, quantile_panel
from hwloop.calibration.fitting.programming_curve.ageing import Ageing
from hwloop.calibration.fitting.programming_curve.curve import READS, Curve, CurveModel, Device, curve_layout
from hwloop.calibration.fitting.programming_curve.settings import USUAL, CurveSettings
from hwloop.calibration.fitting.programming_curve.table import CurveTable, curve_table
from hwloop.calibration.fitting.screening import OUTLIER, Screening
from hwloop.errors import BadInputError
from hwloop.files.measurements import Experiment, Measurement
from hwloop.typing import FloatArray


@dataclass(frozen=True)
class Logistic(Family[CurveTable]):
    """S-shaped curves of devices that differ: see the module's text."""

    name = "logistic"
    experiment = Experiment.PROGRAMMING_CURVE
    preference = 0
    summary = "S-shape with spread of midpoint, height and steepness; jitter and flat noise of the pulses"
    settings: CurveSettings = USUAL

    def prepare(self, measurement: Measurement, known: KnownDevice = NOTHING_KNOWN) -> tuple[CurveTable, Screening]:
        """Take the sweeps (see `curve_table`), and leave out devices that no curve describes as outliers."""
        table, screening = curve_table(measurement, known.drift, self.settings)
        theta = self.start(table)
        devices = self.devices(table, theta)
        parts = _curve(table, theta, devices)
        residual, there = parts.residual(tensor(table.conductance)).numpy(), table.reads_there
        misfit = np.where(there, residual**2 / parts.variance.numpy(), 0.0).sum(1)
        freedom = np.maximum(there.sum(1) - len(Device), 1)
        excess = misfit / np.median(misfit / freedom)
        outlier = stats.chi2.sf(excess, freedom) < self.settings.unlikely
        chosen = np.zeros(len(measurement.cells), bool)
        chosen[table.cells[outlier]] = True
        screening.drop(chosen, OUTLIER)
        if outlier.all():
            raise BadInputError("programming-curve: no device follows an S-shaped curve; nothing is left to fit")
        return self.subset(table, ~outlier), screening

    def layout(self, table: CurveTable) -> Layout:
        """Lay out the curve, its spreads and the noise of reads: see `curve_layout`."""
        return curve_layout(table.knots)

    def caveats(self, table: CurveTable) -> list[str]:
        """Say so where reads are at the end of a converter's scale: they are less than what was there."""
        seen = table.conductance[table.there]
        top = float(seen.max())
        share = float(np.mean(seen == top))
        if share < self.settings.saturated:
            return []
        return [
            f"{100 * share:.1f} % of the reads are {top:.4g} uS, the end of the scale they were read with: g_max and "
            "height_spread come out low; read later after the pulse, or with a larger range"
        ]

    def estimate(self, table: CurveTable, *, intervals: bool) -> tuple[Optimum, dict[str, str]]:
        """Linearise at each device's parameters, maximise, and again."""
        settings = self.settings
        if table.cells.size > settings.most_cells:
            chosen = np.zeros(table.cells.size, bool)
            chosen[np.random.default_rng(0).choice(chosen.size, settings.most_cells, replace=False)] = True
            table = self.subset(table, chosen)
        theta = self.start(table)
        few = self.subset(table, np.arange(table.cells.size) < settings.few_cells)
        for part in [few] * settings.few_rounds + [table] * settings.rounds:
            likelihood = self._linearised(part, self.devices(part, theta))
            found = maximise(likelihood, theta, reach=settings.reach, max_steps=settings.most_steps)
            theta = found.theta
        if intervals:
            own = covariance(likelihood, theta)
            added = self.covariance_by_drift(table, self.devices(table, theta), theta)
            found = replace(found, covariance=own + added)
        return found, {}

    def start(self, table: CurveTable) -> FloatArray:
        """Begin at the median conductance at each amplitude, and what the devices' own curves there show."""
        theta = _start(table)
        for _ in range(2):
            theta = _moments(table, theta, self.devices(table, theta))
        return theta

    def likelihood(self, table: CurveTable) -> LogLikelihood:
        """Return the marginal log-likelihood of every device, linearised where it is at the start."""
        return self._linearised(table, self.devices(table, self.start(table)))

    def log_likelihood(self, table: CurveTable, theta: FloatArray) -> FloatArray:
        """Return that of every device, linearised at its most likely parameters."""
        with torch.no_grad():
            return self._linearised(table, self.devices(table, theta))(tensor(theta)).numpy()

    def quantiles(self, table: CurveTable, theta: FloatArray) -> FloatArray:
        """Return the quantiles of every read, over devices and pulses."""
        centre, width = CurveModel.of(table).population(theta)
        parts = _curve(table, theta, np.broadcast_to(centre, (table.cells.size, len(Device))))
        spread = (parts.slopes * tensor(width)) ** 2
        sigma = torch.sqrt(parts.variance + spread.sum(-1)).numpy()
        return np.asarray(
            stats.norm.cdf((parts.residual(tensor(table.conductance)).numpy() / sigma)[table.reads_there])
        )

    def describe(self, table: CurveTable) -> Description:
        """Return pulse width and the age at which the curve holds."""
        seen = table.conductance[table.there]
        return Description(
            settings={"width": table.width, "age": table.age, "g_scale": table.g_scale},
            conductance_range=(float(seen.min()), float(seen.max())),
            time_range=(table.age, table.age),
        )

    def panels(self, table: CurveTable, theta: FloatArray) -> list[Panel]:
        """Draw the curve with the spread of devices and the scatter between pulses, and the predicted quantiles."""
        amplitudes = np.unique(table.amplitude[table.there])
        seen = [table.conductance[..., 0][table.there & (table.amplitude == a)] for a in amplitudes]
        low, middle, high = (np.array([np.quantile(part, q) for part in seen]) for q in (0.05, 0.5, 0.95))
        fine = np.linspace(amplitudes[0], amplitudes[-1], 200)
        rng = np.random.default_rng(0)
        model = CurveModel.of(table)
        centre, width = model.population(theta)
        devices = tensor(centre + rng.standard_normal((2000, len(Device))) * width)
        log_age = np.broadcast_to(np.median(table.log_age[table.there], axis=0), (2000, fine.size, table.ages))
        grid = tensor(np.broadcast_to(fine, log_age.shape[:2]))
        parts = model(tensor(theta), grid, devices, tensor(log_age))
        noise = np.sqrt(parts.variance[:, :: table.ages].numpy()) * rng.standard_normal(log_age.shape[:2])
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

    def devices(self, table: CurveTable, theta: FloatArray) -> FloatArray:
        """Return the most likely parameters (cells, 3) of each device, in the order of `Device`."""
        centre, width = CurveModel.of(table).population(theta)
        devices = np.broadcast_to(centre, (table.cells.size, len(Device))).copy()
        there, prior = table.reads_there, width**-2
        seen = tensor(table.conductance)
        for _ in range(self.settings.device_steps):
            parts = _curve(table, theta, devices)
            weight = np.where(there, 1.0 / parts.variance.numpy(), 0.0)
            slopes = parts.slopes.numpy()
            residual = parts.residual(seen).numpy()
            information = np.einsum("ctk,ct,ctl->ckl", slopes, weight, slopes) + np.diag(prior)
            gradient = np.einsum("ctk,ct,ct->ck", slopes, weight, residual) - prior * (devices - centre)
            step = np.linalg.solve(information, gradient[..., None])[..., 0]
            devices = np.clip(devices + step, centre - 5 * width, centre + 5 * width)
        return devices

    def covariance_by_drift(self, table: CurveTable, devices: FloatArray, theta: FloatArray) -> FloatArray:
        """Return the covariance (p, p) that the parameters have because the drift is not known exactly.

        The maximum moves with the coefficients of the drift by H^-1 d2L / dtheta dcoefficients; they come from another
        experiment, so that their error is independent of this one's.
        """
        drift = None if table.ageing is None else table.ageing.known
        if drift is None or not drift.coefficients.size:
            return np.zeros((theta.size, theta.size))
        point = tensor(theta).requires_grad_()
        coefficients = tensor(drift.coefficients).requires_grad_()
        total = self._linearised(replace(table, ageing=Ageing(drift, coefficients)), devices)(point).sum()
        (gradient,) = torch.autograd.grad(total, point, create_graph=True)
        rows = [torch.autograd.grad(one, (point, coefficients), retain_graph=True) for one in gradient]
        curvature, cross = (torch.stack(part).numpy() for part in zip(*rows, strict=True))
        moves = np.linalg.solve(-0.5 * (curvature + curvature.T), cross)
        added: FloatArray = moves @ drift.covariance @ moves.T
        return added

    def _linearised(self, table: CurveTable, devices: FloatArray) -> LogLikelihood:
        """Return the marginal log-likelihood of every device, its curve linear around `devices` (cells, 3)."""
        model = CurveModel.of(table)
        amplitude, value, log_age = tensor(table.amplitude), tensor(table.conductance), tensor(table.log_age)
        there, at = torch.as_tensor(table.reads_there), tensor(devices)
        counts = there.sum(1)

        def likelihood(theta: torch.Tensor) -> torch.Tensor:
            parts = model(theta, amplitude, at, log_age)
            centre, width = model.population(theta)
            weight = torch.where(there, 1.0 / parts.variance, 0.0)
            residual = parts.residual(value) + (parts.slopes * (at - centre)[:, None, :]).sum(-1)
            scaled = parts.slopes * width
            inner = torch.eye(len(Device), dtype=torch.float64) + torch.einsum(
                "ctk,ct,ctl->ckl", scaled, weight, scaled
            )
            side = torch.einsum("ctk,ct,ct->ck", scaled, weight, residual)
            factor = torch.linalg.cholesky(inner)
            solved = torch.linalg.solve_triangular(factor, side[..., None], upper=False)[..., 0]
            squares = (weight * residual**2).sum(1) - (solved**2).sum(1)
            log_variance = torch.where(there, torch.log(parts.variance), 0.0).sum(1)
            log_determinant = log_variance + 2 * torch.log(torch.diagonal(factor, dim1=1, dim2=2)).sum(1)
            each: torch.Tensor = -0.5 * (squares + log_determinant + counts * math.log(2 * math.pi))
            return each

        return likelihood


def _curve(table: CurveTable, theta: FloatArray, devices: FloatArray) -> Curve:
    """Return what the reads of a table show of devices with parameters (cells, 3) of their own."""
    return CurveModel.of(table)(tensor(theta), tensor(table.amplitude), tensor(devices), tensor(table.log_age))


def _start(table: CurveTable) -> FloatArray:
    """Return parameters (p,) by the median conductance at each amplitude."""
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
    parts: dict[str, float] = {"g_min": bottom, "g_max": top, "midpoint": half, "steepness": steep}
    parts |= {"midpoint_spread": 0.3 * steep, "height_spread": 0.05, "steepness_spread": 0.05}
    parts |= {"jitter": 0.1 * steep, "noise": 0.02 * top}
    reads = np.array([0.1] * len(table.knots) or [0.02, 0.8])
    return np.log(curve_layout(table.knots).vector({**parts, READS: reads}))


def _moments(table: CurveTable, theta: FloatArray, devices: FloatArray) -> FloatArray:
    """Return better starting values: spreads of the devices' own parameters and the scatter around their curves."""
    layout, theta = curve_layout(table.knots), theta.copy()
    middle = np.median(devices, axis=0)
    spread = np.median(np.abs(devices - middle), axis=0) * 1.4826
    relative = [
        max(spread[Device.MIDPOINT], 1e-2 * middle[Device.STEEPNESS]),
        max(spread[Device.HEIGHT] / middle[Device.HEIGHT], 1e-3),
        max(spread[Device.STEEPNESS] / middle[Device.STEEPNESS], 1e-3),
    ]
    theta[layout.index("g_max")] = np.log(middle[Device.HEIGHT])
    theta[layout.index("midpoint")] = np.log(middle[Device.MIDPOINT])
    theta[layout.index("steepness")] = np.log(middle[Device.STEEPNESS])
    for name, value in zip(("midpoint_spread", "height_spread", "steepness_spread"), relative, strict=True):
        theta[layout.index(name)] = np.log(value)
    parts = _curve(table, theta, devices)
    late = table.conductance[..., -1]
    residual = np.abs(late - parts.value[..., -1].numpy())
    share = parts.slopes[:, :: table.ages, Device.MIDPOINT].abs().numpy()
    steepest = float(np.quantile(share[table.there], 0.95))
    steep = table.there & (share > 0.6 * steepest)
    flat = table.there & (share < 0.05 * steepest)
    low = flat & (late < 0.3 * table.g_scale)
    if steep.sum() > 50:
        theta[layout.index("jitter")] = math.log(max(float(np.median(residual[steep] / share[steep])) * 1.4826, 1e-3))
    if low.sum() > 50:
        theta[layout.index("noise")] = math.log(max(float(np.median(residual[low])) * 1.4826, 1e-4 * table.g_scale))
    return theta
