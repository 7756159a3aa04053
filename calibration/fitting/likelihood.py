"""Maximum likelihood in torch: the optimum, and a covariance that holds also where the model is not quite true.

A likelihood is a function of the parameter vector that returns the log-likelihood of every independent unit, which is
always a cell: reads of one cell are not independent, cells are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import optimize, stats

from hwloop.typing import FloatArray

LogLikelihood = Callable[[torch.Tensor], torch.Tensor]
"""theta (p,) -> log-likelihood of every unit (n,)."""

Z95 = float(stats.norm.ppf(0.975))
HARDLY_SEEN = 1e-4
"""Eigenvalue of the correlation of scores below which a direction is as good as unseen."""
CLOSE = 0.01
"""Slope of the log-likelihood along whitened directions at which a search is done, in standard deviations."""
MANY_UNITS = 30
"""With fewer independent units the scatter of their scores says little, and the curvature alone is used."""


@dataclass(frozen=True)
class Optimum:
    """Parameters (p,) at the maximum, their covariance (p, p); held parameters have no variance."""

    theta: FloatArray
    covariance: FloatArray
    log_likelihood: float
    """Sum over the units."""
    converged: bool

    def interval(self, index: int) -> tuple[float, float]:
        """95 % interval of a parameter."""
        half = Z95 * float(np.sqrt(self.covariance[index, index]))
        return float(self.theta[index] - half), float(self.theta[index] + half)


def tensor(values: FloatArray) -> torch.Tensor:
    """A float64 tensor that shares no memory with the array."""
    return torch.tensor(np.asarray(values, np.float64))


def scores(likelihood: LogLikelihood, theta: FloatArray, free: NDArray[np.bool_]) -> FloatArray:
    """Derivatives (n, free parameters) of every unit's log-likelihood."""
    point = tensor(theta).requires_grad_()
    each = likelihood(point)
    # The gradient of a weighted sum is linear in the weights: its derivative against them is what each unit adds.
    weights = torch.zeros_like(each).requires_grad_()
    (gradient,) = torch.autograd.grad(each, point, grad_outputs=weights, create_graph=True)
    index = np.flatnonzero(free)
    columns = [torch.autograd.grad(gradient[int(k)], weights, retain_graph=True)[0].numpy() for k in index]
    return np.stack(columns, axis=1)


def maximise(
    likelihood: LogLikelihood,
    start: FloatArray,
    *,
    free: NDArray[np.bool_] | None = None,
    reach: float = np.inf,
    max_steps: int = 1000,
    directions: FloatArray | None = None,
) -> Optimum:
    """The maximum from `start`; parameters that are not `free` are held, none moves by more than `reach`.

    directions  of the search, columns over the free parameters, each of a length that matters (`whitening`); without
                them, every parameter by itself. Not together with `reach`.

    The covariance is not computed: see `covariance`.
    """
    held = np.array(start, np.float64)
    moving = np.ones(held.size, bool) if free is None else free
    if directions is None:
        own = scores(likelihood, held, moving)
        information = (own**2).sum(0)
        scale = 1.0 / np.sqrt(np.maximum(information, 1e-12 * max(float(information.max(initial=0.0)), 1e-300)))
        directions, tolerance = np.diag(scale), 1e-3
    else:
        scale, tolerance = np.ones(int(moving.sum())), CLOSE
    back = directions.T

    def objective(z: FloatArray) -> tuple[float, FloatArray]:
        theta = tensor(held)
        theta[torch.as_tensor(moving)] += tensor(z @ back)
        theta.requires_grad_()
        value = likelihood(theta).sum()
        (gradient,) = torch.autograd.grad(value, theta)
        if not torch.isfinite(value):
            return np.inf, np.zeros_like(z)
        return -float(value.detach()), -back @ gradient.numpy()[moving]

    found = optimize.minimize(
        objective, np.zeros(int(moving.sum())), jac=True, method="L-BFGS-B",
        bounds=optimize.Bounds(-reach / scale, reach / scale) if np.isfinite(reach) else None,
        options={"maxiter": max_steps, "maxcor": 30, "ftol": 1e-13, "gtol": tolerance},
    )  # fmt: skip
    best = held.copy()
    best[moving] += found.x @ back
    converged = bool(found.status == 0)
    return Optimum(best, np.zeros((held.size, held.size)), -float(found.fun), converged)


def covariance(
    likelihood: LogLikelihood,
    theta: FloatArray,
    *,
    free: NDArray[np.bool_] | None = None,
    kinks: bool = False,
    own: FloatArray | None = None,
) -> FloatArray:
    """Covariance (p, p) of the parameters: the sandwich of curvature and scatter of the units' scores.

    kinks  the likelihood has kinks, as that of clipped functions: its curvature is taken across them
    own    scores (n, free parameters) of the units, where the likelihood only has sums of them

    With fewer than MANY_UNITS units it is the inverse curvature alone. Scores at the maximum scatter too little, as
    residuals do: by n / (n - p), like the variance of residuals.
    """
    moving = np.ones(theta.size, bool) if free is None else free
    if own is None:
        own = scores(likelihood, theta, moving)
    if not kinks or len(own) < MANY_UNITS:
        inverse = np.linalg.pinv(_exact_curvature(likelihood, theta, moving), hermitian=True)
        found = inverse if len(own) < MANY_UNITS else inverse @ (own.T @ own) @ inverse * _spared(own)
    else:
        seen = whitening(own)
        curvature = _curvature(likelihood, theta, moving, seen)
        if not np.isfinite(curvature).all():  # a step so far that numbers overflow: what is hardly seen, in small steps
            seen = seen * np.minimum(1.0, 1.0 / np.abs(seen).max(0))
            curvature = _curvature(likelihood, theta, moving, seen)
        inverse = np.linalg.pinv(curvature, hermitian=True)
        scatter = (own @ seen).T @ (own @ seen) * _spared(own)
        found = seen @ inverse @ scatter @ inverse @ seen.T
    result = np.zeros((theta.size, theta.size))
    result[np.ix_(moving, moving)] = found
    return result


def _spared(own: FloatArray) -> float:
    """Units over units less parameters, of scores (units, parameters)."""
    units, parameters = own.shape
    return float(units / max(units - parameters, 1))


def whitening(own: FloatArray) -> FloatArray:
    """Directions (p, p), as columns, in which the sum of scores (n, p) scatters by one.

    What the scores hardly see is not followed to the end of the world.
    """
    size = np.sqrt(np.maximum((own**2).sum(0), 1e-300))
    values, vectors = np.linalg.eigh((own / size).T @ (own / size))
    directions: FloatArray = vectors / np.sqrt(np.maximum(values, HARDLY_SEEN)) / size[:, None]
    return directions


def _exact_curvature(likelihood: LogLikelihood, theta: FloatArray, moving: NDArray[np.bool_]) -> FloatArray:
    """Minus the second derivative of the summed log-likelihood."""
    point = tensor(theta).requires_grad_()
    (gradient,) = torch.autograd.grad(likelihood(point).sum(), point, create_graph=True)
    index = np.flatnonzero(moving)
    rows = [torch.autograd.grad(gradient[int(k)], point, retain_graph=True)[0].numpy()[index] for k in index]
    matrix = np.stack(rows)
    symmetric: FloatArray = -0.5 * (matrix + matrix.T)
    return symmetric


def _curvature(
    likelihood: LogLikelihood, theta: FloatArray, moving: NDArray[np.bool_], directions: FloatArray
) -> FloatArray:
    """Minus the second derivative of the summed log-likelihood in the given directions (columns).

    From gradients a standard deviation to either side: a clipped function has kinks, across which it must be smooth.
    """

    def gradient(step: FloatArray) -> FloatArray:
        at = theta.copy()
        at[moving] += step
        point = tensor(at).requires_grad_()
        return torch.autograd.grad(likelihood(point).sum(), point)[0].numpy()[moving]

    rows = [directions.T @ (gradient(-step) - gradient(step)) / 2 for step in directions.T]
    matrix = np.stack(rows)
    symmetric: FloatArray = 0.5 * (matrix + matrix.T)
    return symmetric
