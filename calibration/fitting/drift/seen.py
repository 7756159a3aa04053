"""The noise of reads as a first look shows it, and as parameters say."""

from __future__ import annotations

import numpy as np

from hwloop.calibration.fitting.drift.layout import NOISE, DriftLayout
from hwloop.calibration.fitting.drift.table import DriftTable
from hwloop.calibration.fitting.forms import build
from hwloop.calibration.fitting.panels import binned
from hwloop.typing import FloatArray

STEP = 1e-3
"""Of ln g, over which slopes are taken."""


def noise_seen(table: DriftTable) -> tuple[FloatArray, FloatArray]:
    """Return places in ln g and ln V there, by a first look, without what is constant in uS."""
    bins, centre = binned(table.log_g, max(4, min(40, table.nu.size // 60)))
    least, most = table.settings.search.smallest_noise, table.settings.grid.lowest
    relative = np.clip(table.noise - table.constant(table.log_g), least, most)
    return centre, np.log(np.bincount(bins, relative) / np.bincount(bins))


def noise_at(table: DriftTable, log_g: FloatArray) -> FloatArray:
    """Return the relative variance (n,) of a read at t0, at ln g (n,), by the first look."""
    return np.asarray(np.exp(np.interp(log_g, *noise_seen(table))) + table.constant(log_g))


def noise_slope(table: DriftTable, log_g: FloatArray) -> FloatArray:
    """Return the slope (n,) of the logarithm of that, over a stretch that holds several places."""
    places, stretch = noise_seen(table)[0], table.settings.search.stretch
    low, high = np.clip([log_g - stretch, log_g + stretch], places[0], places[-1])
    rise = np.log(noise_at(table, high) / noise_at(table, low))
    return np.asarray(rise / np.maximum(high - low, STEP))


def log_noise(layout: DriftLayout, table: DriftTable, theta: FloatArray, log_g: FloatArray) -> FloatArray:
    """Return the logarithm (n,) of the relative variance of a read at t0, at ln g (n,), by the parameters."""
    relative = np.interp(log_g, table.noise_knots, layout.part(theta, NOISE))
    return np.asarray(np.log(np.exp(relative) + table.constant(log_g)))


def statistic(layout: DriftLayout, theta: FloatArray, name: str, log_g: FloatArray) -> FloatArray:
    """Return mean or spread of nu at ln g (n,), by the parameters."""
    return np.asarray(build(layout.forms[name], layout.part(theta, name))(np.exp(log_g)), np.float64)
