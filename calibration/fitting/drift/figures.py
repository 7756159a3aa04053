"""Diagrams of drift fits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwloop.calibration.fitting.drift.layout import MEAN, SMALLEST_SPREAD, SPREAD, DriftLayout
from hwloop.calibration.fitting.drift.seen import log_noise, statistic
from hwloop.calibration.fitting.drift.table import DriftTable
from hwloop.calibration.fitting.panels import Panel, Series, binned
from hwloop.typing import FloatArray, IndexArray


@dataclass(frozen=True)
class _Seen:
    """What bins of devices show, (bins,) each."""

    x: FloatArray
    """Conductance, uS."""
    mean: FloatArray
    error: FloatArray
    """Standard deviation of the mean."""
    spread: FloatArray
    size: IndexArray
    """Devices."""
    noise: FloatArray
    """Relative standard deviation of a read."""


def drift_panels(layout: DriftLayout, table: DriftTable, theta: FloatArray) -> list[Panel]:
    """Draw mean, spread and noise against conductance."""
    # To where cells are: single ones, whose conductance is hardly known, would stretch the axis by decades.
    low, high = np.quantile(table.log_g, [0.005, 0.995])
    fine = np.exp(np.linspace(low, high, 200))
    known = table.noise < table.settings.noise.too_noisy**2
    table = table.lines_of(known) if known.any() else table
    seen = _seen(layout, table, theta)
    few = np.sqrt(2 / seen.size)
    points = (
        Series("measured", seen.x, seen.mean, seen.mean - 2 * seen.error, seen.mean + 2 * seen.error),
        Series("measured", seen.x, seen.spread, seen.spread * (1 - few), seen.spread * (1 + few)),
        Series("measured", seen.x, seen.noise),
    )
    curves = [statistic(layout, theta, name, np.log(fine)) for name in (MEAN, SPREAD)]
    curves.append(np.sqrt(np.exp(log_noise(layout, table, theta, np.log(fine)))))
    titles = {
        "Mean drift coefficient": "nu",
        "Spread of drift coefficients": "standard deviation of nu",
        "Noise of a read": "relative standard deviation at t0",
    }
    line_x = fine * table.g_scale
    return [
        Panel(title, "conductance at t0, uS", unit, (own, Series("fit", line_x, curve, line=True)), log_x=True)
        for (title, unit), own, curve in zip(titles.items(), points, curves, strict=True)
    ]


def _seen(layout: DriftLayout, table: DriftTable, theta: FloatArray) -> _Seen:
    """Return mean and spread of nu, and noise, in bins of conductance, without what the errors of lines add."""
    bins, centre = binned(table.log_g, max(1, min(30, table.nu.size // 50)))
    count = centre.size
    size = np.bincount(bins, minlength=count)
    own = np.maximum(statistic(layout, theta, SPREAD, table.log_g), SMALLEST_SPREAD)
    weight = 1.0 / (own**2 + table.noise * table.var_nu)
    total = np.bincount(bins, weight, count)
    mean = np.bincount(bins, weight * table.nu, count) / total
    scatter = np.bincount(bins, weight * (table.nu - mean[bins]) ** 2, count) / total
    errors = np.bincount(bins, weight * table.noise * table.var_nu, count) / total
    noise = np.bincount(bins, table.squares, count) / np.bincount(bins, table.freedom, count)
    spread = np.sqrt(np.maximum(scatter - errors, 0))
    return _Seen(np.exp(centre) * table.g_scale, mean, np.sqrt(scatter / size), spread, size, np.sqrt(noise))
