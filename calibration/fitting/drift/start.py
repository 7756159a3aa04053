"""Where the search for the parameters of the drift begins: bins of neighbours in conductance."""

from __future__ import annotations

import numpy as np
from scipy import optimize

from hwloop.calibration.fitting.drift.layout import (
    DENSITY,
    FLOOR,
    LAW,
    MEAN,
    NOISE,
    OTHER,
    SMALLEST_SPREAD,
    SPREAD,
    DriftLayout,
)
from hwloop.calibration.fitting.drift.noise import robust
from hwloop.calibration.fitting.drift.seen import noise_seen
from hwloop.calibration.fitting.drift.table import DriftTable
from hwloop.calibration.fitting.forms import interpolation
from hwloop.calibration.fitting.panels import binned
from hwloop.files.models import Form
from hwloop.typing import FloatArray


def start_of(layout: DriftLayout, whole: DriftTable) -> FloatArray:
    """Return parameters (p,) near what bins of neighbours in conductance show."""
    known = whole.noise < 1.0
    table = whole.lines_of(known) if known.sum() >= whole.settings.search.support else whole
    bins, centre = binned(table.log_g, max(4, min(40, table.nu.size // 60)))
    count = centre.size
    size = np.bincount(bins, minlength=count)
    mean, width = robust(table.nu, bins, count)  # noise has tails that no mean survives
    scatter = width**2
    spread = np.sqrt(np.maximum(scatter - np.bincount(bins, table.noise * table.var_nu, count) / size, 0.05 * scatter))
    weight = 1.0 / np.sqrt(np.maximum(scatter, 1e-12) / size)
    parts: dict[str, FloatArray | float] = {
        MEAN: _start_form(layout.forms[MEAN], centre, mean, weight),
        SPREAD: _start_form(layout.forms[SPREAD], centre, spread, weight),
        NOISE: np.interp(whole.noise_knots, *noise_seen(whole)),
        FLOOR: whole.floor,
    }
    if not whole.law.plain:
        parts[LAW] = layout.start[layout.at(LAW)]
    if whole.other is not None:
        parts[OTHER] = layout.start[layout.at(OTHER)]
    if whole.marginal is not None:
        knots = whole.marginal.grid.knots
        nearest = np.argmax(interpolation(whole.log_g, knots), 1)
        density = np.log(np.bincount(nearest, minlength=len(knots)) + 1.0)
        parts[DENSITY] = (density - density.mean())[:-1]
    return layout.vector(parts)


def _start_form(form: Form, log_g: FloatArray, values: FloatArray, weight: FloatArray) -> FloatArray:
    """Return coefficients that come near values (n,) at ln g (n,), by weighted least squares."""
    if form.kind == "log-spline":
        return np.asarray(np.log(np.maximum(np.interp(form.at, log_g, values), SMALLEST_SPREAD)))
    if form.kind != "log-clip":
        return np.interp(form.at, log_g, values)
    slope, level = np.polyfit(log_g, values, 1, w=weight)
    low, high = np.quantile(values, [0.1, 0.9])

    def misfit(theta: FloatArray) -> FloatArray:
        residual: FloatArray = (np.clip(theta[0] * log_g + theta[1], theta[2], theta[3]) - values) * weight
        return residual

    starts = [np.array([factor * slope, level + (1 - factor) * slope * log_g.mean(), low, high]) for factor in (1, 2)]
    found = [
        optimize.least_squares(misfit, start, loss="soft_l1", f_scale=3.0, x_scale=np.maximum(np.abs(start), 1e-3))
        for start in starts
    ]
    best = min(found, key=lambda result: float(result.cost)).x
    best[2:] = np.sort(np.clip(best[2:], values.min(), values.max()))
    return np.asarray(best, np.float64)
