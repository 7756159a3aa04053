"""Which way errors of ln g go: the slope of the density of conductances."""

from __future__ import annotations

import numpy as np

from hwloop.typing import FloatArray


def tilt_of(log_g: FloatArray, size: int) -> tuple[FloatArray, FloatArray]:
    """Return the slope (n,) of the logarithm of the density of ln g at every device, and the slope of that.

    A histogram of `size` bins is smoothed as Poisson counts, third differences of their logarithms penalised: the
    smoothest density is a normal one, so that the flanks of levels come out right.

    Parameters
    ----------
    log_g
        (n,) of the devices.
    size
        Bins of the histogram.
    """
    low, high = np.quantile(log_g, [0.0005, 0.9999])
    if not high > low:
        return np.zeros(log_g.size), np.zeros(log_g.size)
    edges = np.linspace(low, high, size + 1)
    counts = np.histogram(log_g, edges)[0].astype(float)
    chosen = _smoothed(counts)
    centre = (edges[1:] + edges[:-1]) / 2
    tilt = np.gradient(chosen, centre)
    return np.interp(log_g, centre, tilt), np.interp(log_g, centre, np.gradient(tilt, centre))


def _smoothed(counts: FloatArray) -> FloatArray:
    """Return the logarithm (bins,) of the smooth expectation of Poisson counts; Akaike's criterion says how smooth."""
    size = counts.size
    roughness = np.diff(np.eye(size), 3, axis=0)
    roughness = roughness.T @ roughness
    log_mean, best, chosen = (
        np.log(np.convolve(counts + 0.1, np.full(9, 1 / 9), mode="same")),
        np.inf,
        np.zeros(size),
    )
    for stiffness in 10.0 ** np.arange(7.0, -1.5, -0.5):  # from the smoothest on, each from the one before
        for _ in range(30):
            mean = np.exp(np.clip(log_mean, -30.0, 30.0))
            curvature = np.diag(mean) + stiffness * roughness + 1e-9 * np.eye(size)
            step = np.linalg.solve(curvature, counts - mean - stiffness * roughness @ log_mean)
            log_mean = log_mean + np.clip(step, -2.0, 2.0)
            if np.abs(step).max() < 1e-3:
                break
        mean = np.exp(np.clip(log_mean, -30.0, 30.0))
        freedom = np.trace(np.linalg.solve(np.diag(mean) + stiffness * roughness + 1e-9 * np.eye(size), np.diag(mean)))
        criterion = 2 * float((mean - counts * log_mean).sum()) + 2 * freedom
        if criterion < best:
            best, chosen = criterion, log_mean
    return chosen
