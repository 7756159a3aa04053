"""Diagrams of fits, as data that `hwloop.plot` draws, and what they have in common."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from hwloop.typing import FloatArray, IndexArray


@dataclass(frozen=True)
class Series:
    """Points or a line of a figure; `low` and `high` are error bars or a band."""

    label: str
    x: FloatArray
    y: FloatArray
    low: FloatArray | None = None
    high: FloatArray | None = None
    line: bool = False


@dataclass(frozen=True)
class Panel:
    """One diagram of a fit: what was seen against what the model says."""

    title: str
    x: str
    y: str
    series: tuple[Series, ...]
    log_x: bool = False
    log_y: bool = False


def ks_distance(quantiles: FloatArray) -> float:
    """Return the largest distance between the distribution of quantiles and the uniform one (Kolmogorov-Smirnov)."""
    return float(stats.kstest(quantiles, "uniform").statistic)


def quantile_panel(quantiles: FloatArray) -> Panel:
    """Draw the distribution of the predicted quantiles, flat where the model is true."""
    counts, edges = np.histogram(quantiles, bins=20, range=(0, 1))
    share = counts * 20 / max(counts.sum(), 1)
    error = np.sqrt(np.maximum(counts, 1)) * 20 / max(counts.sum(), 1)
    centre = (edges[1:] + edges[:-1]) / 2
    flat = Series("uniform", np.array([0.0, 1.0]), np.ones(2), line=True)
    seen = Series("measured", centre, share, share - 2 * error, share + 2 * error)
    title = f"Predicted quantiles (KS distance {ks_distance(quantiles):.3f})"
    return Panel(title, "predicted quantile of what was measured", "relative frequency", (seen, flat))


def binned(x: FloatArray, bins: int = 25) -> tuple[IndexArray, FloatArray]:
    """Put values into bins of equally many each.

    Parameters
    ----------
    x
        (n,) values.
    bins
        How many bins at most; equal values share one.

    Returns
    -------
    tuple
        Bin number (n,) of every value, and the mean (bins,) of each bin.
    """
    edges = np.unique(np.quantile(x, np.linspace(0, 1, bins + 1)))
    number = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, max(edges.size - 2, 0))
    used, number = np.unique(number, return_inverse=True)
    centre = np.bincount(number, x, used.size) / np.bincount(number, minlength=used.size)
    return number.astype(np.int64), centre
