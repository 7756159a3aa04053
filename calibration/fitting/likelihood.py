"""Maximum likelihood in torch: the optimum, and a covariance that holds also where the model is not quite true.

A likelihood is a function of the parameter vector that returns the log-likelihood of every independent unit, which is
always a cell: reads of one cell are not independent, cells are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from scipy import optimize, stats
from torch.linalg import LinAlgError  # type: ignore[attr-defined]

from hwloop.calibration.fitting.information import SLIGHT, UNSEEN, Inverse, felt, inverted, mirrored
from hwloop.errors import BadInputError
from hwloop.typing import BoolArray, FloatArray

LogLikelihood = Callable[[torch.Tensor], torch.Tensor]
"""theta (p,) -> log-likelihood of every unit (n,)."""

INSOLUBLE = (np.linalg.LinAlgError, LinAlgError)
"""Exceptions of equations without a solution."""
Z95 = float(stats.norm.ppf(0.975))
"""Half the width of a 95 % interval, in standard deviations."""
HARDLY_SEEN = 1e-4
"""Eigenvalue of the correlation of scores (1 for scores that have nothing in common) below which a direction is as good
as unseen."""
CLOSE = 0.01
"""Slope of the log-likelihood along whitened directions at which a search is done, per standard deviation."""
ABSURD = 1e8
"""Standard deviations from the start, and slope per standard deviation, beyond which no search ends at a maximum."""
MOST_RETREATS = 30
"""Times that a search goes on in smaller steps, after one that led to where there is no likelihood."""
WORTH_GOING_ON = 1.0
"""Rise of the log-likelihood still to be expected, natural logarithm, below which the search is as good as done: its
parameters are within about a standard deviation of the best."""
MANY_UNITS = 30
"""Independent units; with fewer the scatter of their scores says little, and the curvature alone is used."""


class NoMaximumError(BadInputError):
    """A likelihood without a maximum: the data do not tell the parameters of this model."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"the likelihood has no maximum ({why}): nearly all cells are stuck or read exactly alike, or they are too "
            "few for this family; leave such cells out, measure more, or name a family with fewer parameters"
        )


@dataclass(frozen=True)
class Optimum:
    """Parameters (p,) at the maximum, their covariance (p, p); held parameters have no variance.

    Parameters that the data do not determine have an infinite variance, and all have the variance NaN where the
    likelihood does not curve downwards: see `covariance`.
    """

    theta: FloatArray
    covariance: FloatArray
    log_likelihood: float
    """Sum over the units."""
    converged: bool

    @property
    def certain(self) -> bool:
        """Whether the likelihood curves downwards there, so that intervals can be stated."""
        return not bool(np.isnan(self.covariance).any())

    def interval(self, index: int) -> tuple[float, float]:
        """95 % interval of a parameter."""
        half = Z95 * float(np.sqrt(self.covariance[index, index]))
        return float(self.theta[index] - half), float(self.theta[index] + half)


def tensor(values: FloatArray) -> torch.Tensor:
    """Return a float64 tensor that shares no memory with the array."""
    return torch.tensor(np.asarray(values, np.float64))


def scores(likelihood: LogLikelihood, theta: FloatArray, free: BoolArray) -> FloatArray:
    """Return the derivatives (n, free parameters) of every unit's log-likelihood."""
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
    free: BoolArray | None = None,
    reach: float = np.inf,
    max_steps: int = 1000,
    directions: FloatArray | None = None,
) -> Optimum:
    """Find the maximum of the summed log-likelihood, from `start`.

    Parameters
    ----------
    likelihood
        Log-likelihood of every unit, differentiable by torch.
    start
        (p,) parameters to begin from.
    free
        (p,) parameters that may move; None: all.
    reach
        Most that any parameter may move.
    max_steps
        Steps of the search (L-BFGS-B) at most.
    directions
        (free parameters, k) columns along which the search goes, each of a length that matters (`whitening`); without
        them, every parameter by itself. Not together with `reach`.

    Returns
    -------
    Optimum
        Without a covariance, which `covariance` computes.

    Raises
    ------
    NoMaximumError
        When the likelihood is no number at the start, or has no maximum that the search could reach: it runs away to
        parameters, or to slopes, that are absurd.
    """
    held = np.array(start, np.float64)
    moving = np.ones(held.size, bool) if free is None else free
    if directions is None:
        scale = _scale_of(likelihood, held, moving)
        directions, tolerance = np.diag(scale), 1e-3
    else:
        scale, tolerance = np.ones(int(moving.sum())), CLOSE
    search = _Search(likelihood, held, moving, directions)
    end, converged = search.run(reach / scale, tolerance, max_steps)
    value = -search(end)[0]  # of an abnormal end, what the search returns is that of another place
    return Optimum(search.parameters(end), np.zeros((held.size, held.size)), value, converged)


def _scale_of(likelihood: LogLikelihood, start: FloatArray, moving: BoolArray) -> FloatArray:
    """Return the step (free parameters,) of each parameter that matters to the likelihood, by the scores at the start.

    Raises NoMaximumError where there are none.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        information = (scores(likelihood, start, moving) ** 2).sum(0)
    if not np.isfinite(information).all():
        raise NoMaximumError("where the search begins, it or its slope is no finite number")
    scale: FloatArray = 1.0 / np.sqrt(np.maximum(information, 1e-12 * max(float(information.max(initial=0.0)), 1e-300)))
    return scale


@dataclass
class _Search:
    """What the search minimises: minus the log-likelihood, and its slope, at steps z along the directions."""

    likelihood: LogLikelihood
    start: FloatArray
    moving: BoolArray
    directions: FloatArray
    nowhere: FloatArray | None = None
    """z without a likelihood that was tried since the last better one."""
    best: tuple[float, FloatArray, FloatArray] | None = None
    """Smallest value so far, where, and the slope there."""

    def run(self, reach: FloatArray, tolerance: float, max_steps: int) -> tuple[FloatArray, bool]:
        """Search from zero; return where it ends, and whether it has converged there.

        scipy takes an infinite value for the end of the search, at whatever slope. From there it goes on in a box that
        keeps it from where it has been.

        Parameters
        ----------
        reach
            Most that any z may move.
        tolerance
            Slope at which the search is done.
        max_steps
            Steps at most.
        """
        z, room, first = np.zeros(reach.size), reach, None
        for _ in range(MOST_RETREATS):
            found = optimize.minimize(
                self, z, jac=True, method="L-BFGS-B",
                bounds=optimize.Bounds(np.maximum(-reach, z - room), np.minimum(reach, z + room))
                if np.isfinite(room).all() else None,
                options={"maxiter": max_steps, "maxcor": 30, "ftol": 1e-13, "gtol": tolerance},
            )  # fmt: skip
            end: FloatArray = found.x
            if why := self._runs_away():
                if first is None:
                    raise NoMaximumError(why)
                break
            first = end if first is None else first
            walled = bool((np.abs(end - z) > 0.99 * room)[room < reach].any())
            if found.status == 1 or (self.nowhere is None and not walled):
                return end, bool(found.status == 0)
            if self.nowhere is not None:
                # A step has led to where there is no likelihood: on from the last place that has one, half as far.
                room = np.minimum(room, 0.5 * float(np.abs(self.nowhere - end).max()))
                if room.max() < tolerance:
                    break
            z, self.nowhere = end, None
        # It rises to where it is no finite number, or has a spike: what is nearly a maximum counts, or what was before.
        _, last, slope = self.best or (math.inf, z, np.full_like(z, math.inf))
        nearly = 0.5 * float((slope**2).sum()) < WORTH_GOING_ON
        return (last if nearly or first is None else first), False

    def parameters(self, z: FloatArray) -> FloatArray:
        """Return the parameters (p,) at z."""
        theta = self.start.copy()
        theta[self.moving] += z @ self.directions.T
        return theta

    def __call__(self, z: FloatArray) -> tuple[float, FloatArray]:
        """Return minus the log-likelihood at z and its slope; infinity and none where either is no finite number."""
        if not np.isfinite(z).all():  # what the search makes of an infinite value
            return math.inf, np.zeros_like(z)
        with np.errstate(over="ignore", invalid="ignore"):
            value, slope = self._at(z)
        if not (math.isfinite(value) and np.isfinite(slope).all()):
            self.nowhere = z.copy()
            return math.inf, np.zeros_like(z)
        if self.best is None or value < self.best[0]:
            self.best, self.nowhere = (value, z.copy(), slope), None
        return value, slope

    def _at(self, z: FloatArray) -> tuple[float, FloatArray]:
        theta = tensor(self.start)
        theta[torch.as_tensor(self.moving)] += tensor(z @ self.directions.T)
        theta.requires_grad_()
        try:
            value = self.likelihood(theta).sum()
            (gradient,) = torch.autograd.grad(value, theta)
        except LinAlgError:  # a matrix of the likelihood is not definite there
            return math.nan, z
        return -float(value.detach()), -self.directions.T @ gradient.numpy()[self.moving]

    def _runs_away(self) -> str:
        """Return why the best place so far is none to go on from; empty where it is one."""
        if self.best is None:
            return "where the search begins, it or its slope is no finite number"
        _, z, slope = self.best
        if not np.abs(z).max(initial=0.0) <= ABSURD:
            return "it rises without end as parameters grow"
        if not np.abs(slope).max(initial=0.0) <= ABSURD:
            return "it rises without end as parameters come near some value"
        return ""


def covariance(
    likelihood: LogLikelihood,
    theta: FloatArray,
    *,
    free: BoolArray | None = None,
    kinks: bool = False,
    own: FloatArray | None = None,
) -> FloatArray:
    """Covariance (p, p) of the parameters: the sandwich of curvature and scatter of the units' scores.

    kinks  the likelihood has kinks, as that of clipped functions: its curvature is taken across them
    own    scores (n, free parameters) of the units, where the likelihood only has sums of them

    With fewer than MANY_UNITS units it is the inverse curvature alone. Scores at the maximum scatter too little, as
    residuals do: by n / (n - p), like the variance of residuals.

    It is that of the parameters that the data determine (see `information`). Those that they do not have an infinite
    variance and nothing in common with others, which are stated as if these were held. Where the curvature is not
    finite or not positive definite all free parameters have the variance NaN: there is no maximum to be sure of.
    """
    moving = np.ones(theta.size, bool) if free is None else free
    if own is None:
        own = scores(likelihood, theta, moving)
    result, index = np.zeros((theta.size, theta.size)), np.flatnonzero(moving)
    result[index, index] = np.nan
    few = len(own) < MANY_UNITS
    if not np.isfinite(own).all():
        return result
    known, directions, inverse = (
        _inverse_across(likelihood, theta, moving, own) if kinks and not few else _inverse_at(likelihood, theta, moving)
    )
    if inverse is None:
        return result
    found = inverse.matrix
    if not few:
        along = own[:, known] @ directions
        found = found @ (along.T @ along) @ found * _spared(own)
    sure = index[known][inverse.determined]
    result[index, index] = np.inf
    rows = directions[inverse.determined]
    result[np.ix_(sure, sure)] = rows @ found @ rows.T
    return result


Inverted: TypeAlias = tuple[BoolArray, FloatArray, Inverse | None]
"""Which of the free parameters are felt at all, directions over these, and the inverse curvature along them."""


def _inverse_at(likelihood: LogLikelihood, theta: FloatArray, moving: BoolArray) -> Inverted:
    """Invert the curvature at theta, scaled to unit diagonal."""
    matrix = _exact_curvature(likelihood, theta, moving)
    if not np.isfinite(matrix).all():
        return np.ones(len(matrix), bool), np.eye(len(matrix)), None
    own = np.diagonal(matrix)
    known = felt(own, theta[moving])
    size = 1.0 / np.sqrt(np.abs(own[known]))
    return known, np.diag(size), inverted(matrix[np.ix_(known, known)] * np.outer(size, size), np.diag(size), UNSEEN)


def _inverse_across(likelihood: LogLikelihood, theta: FloatArray, moving: BoolArray, own: FloatArray) -> Inverted:
    """Invert the curvature across kinks, along directions in which scores (n, free parameters) scatter by one.

    Where the likelihood is no parabola over one standard deviation, because a direction that is hardly seen leads far,
    its curvature says nothing: parameters of that direction are left out, as not determined.
    """
    known = felt((own**2).sum(0), theta[moving])
    while True:
        some = moving.copy()
        some[moving] = known
        directions = whitening(own[:, known])
        curvature = _curvature(likelihood, theta, some, directions)
        if not np.isfinite(curvature).all():  # a step so far that numbers overflow: what is hardly seen, in small steps
            directions = directions * np.minimum(1.0, 1.0 / np.abs(directions).max(0))
            curvature = _curvature(likelihood, theta, some, directions)
        found = inverted(curvature, directions, UNSEEN / HARDLY_SEEN, SLIGHT)
        if found is not None or not np.isfinite(curvature).all():
            return known, directions, found
        blamed = mirrored(own[:, known], directions, curvature)
        if not blamed.any():
            return known, directions, None
        known[np.flatnonzero(known)[blamed]] = False


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


def _exact_curvature(likelihood: LogLikelihood, theta: FloatArray, moving: BoolArray) -> FloatArray:
    """Minus the second derivative of the summed log-likelihood."""
    point = tensor(theta).requires_grad_()
    (gradient,) = torch.autograd.grad(likelihood(point).sum(), point, create_graph=True)
    index = np.flatnonzero(moving)
    rows = [torch.autograd.grad(gradient[int(k)], point, retain_graph=True)[0].numpy()[index] for k in index]
    matrix = np.stack(rows)
    symmetric: FloatArray = -0.5 * (matrix + matrix.T)
    return symmetric


def _curvature(likelihood: LogLikelihood, theta: FloatArray, moving: BoolArray, directions: FloatArray) -> FloatArray:
    """Minus the second derivative of the summed log-likelihood in the given directions (columns).

    From gradients a standard deviation to either side: a clipped function has kinks, across which it must be smooth.
    """

    def gradient(step: FloatArray) -> FloatArray:
        at = theta.copy()
        at[moving] += step
        point = tensor(at).requires_grad_()
        return torch.autograd.grad(likelihood(point).sum(), point)[0].numpy()[moving]

    rows = [directions.T @ (gradient(-step) - gradient(step)) / 2 for step in directions.T]
    matrix = np.array(rows).reshape(directions.shape[1], directions.shape[1])
    symmetric: FloatArray = 0.5 * (matrix + matrix.T)
    return symmetric
