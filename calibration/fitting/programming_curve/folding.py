"""Noise that folds over at a conductance of zero: a few points that have its moments."""

from __future__ import annotations

import functools

import numpy as np
import torch

from hwloop.calibration.fitting.forms import sampled
from hwloop.calibration.fitting.likelihood import tensor

FOLDED = 3
"""Points that stand for noise that is folded over at zero."""
FOLD_PLACES = (0.05, 8.0)
"""Places of its mean, over sigma, at which they are known: how far apart, and the last."""


def folded(mean: torch.Tensor, sigma: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return points (FOLDED, ...) and their weights that have the first five moments of |x|, x normal.

    Near zero the noise folds over, no conductance is negative; the drift of what scatters there is not the same.
    """
    z = (mean / sigma).abs()
    place = (z / FOLD_PLACES[0]).clamp(max=FOLD_PLACES[1] / FOLD_PLACES[0] - 0.001)
    offsets, weights = ([sampled(one, place) for one in part] for part in _folded_rules())
    points = [(sigma * (z + offset)).clamp(min=1e-9) for offset in offsets]
    return torch.stack(points), torch.stack(weights)


@functools.cache
def _folded_rules() -> tuple[torch.Tensor, torch.Tensor]:
    """Return Gauss's rules for |x|, x normal around z with variance 1: points less z, and weights.

    Both are (FOLDED, places of z). By Stieltjes' procedure: the polynomials that are orthogonal under the density, and
    the eigenvalues of their Jacobi matrix (Golub and Welsch 1969).
    """
    z = np.arange(0.0, FOLD_PLACES[1] + FOLD_PLACES[0], FOLD_PLACES[0])[:, None]
    x = np.linspace(0.0, FOLD_PLACES[1] + 9.0, 4001)
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
