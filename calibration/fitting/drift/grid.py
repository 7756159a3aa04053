"""Devices whose reads are mostly noise: the likelihood of their reads, with ln G(t0) and nu integrated out on a grid.

Given l = ln g(t0) and nu, read k at x = ln(t / t0) is normal around m = exp(l - nu x), with the variance
m^2 V(l) (1 + b x). The covariances of the reads over V m m' are those of `covariance`; with their inverse C the
logarithm of the likelihood of all K reads of a device is, up to a constant,

    -K (l + ln V / 2) + nu sum(x) - (exp(-2 l) P(nu) - 2 exp(-l) R(nu) + W) / (2 V)

with W = 1' C 1, R(nu) = 1' C z, P(nu) = z' C z, z = y exp(nu x), where 1' C z sums over reads: on a grid of (l, nu)
that all devices share it is a matrix product. Nothing of this minds reads at or below zero, and no device has to be
left out for being noisy. The distribution of l over the devices is a part of what is fitted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from hwloop.calibration.fitting.drift.covariance import Precision
from hwloop.calibration.fitting.drift.settings import GridSettings
from hwloop.typing import BoolArray, FloatArray, IndexArray

BLOCK = 150
"""Devices at a time: their grids stay in the processor's cache."""
NEGLIGIBLE = 1e-7
"""Probability of a node, for every device of a block, below which the block leaves it out."""
TERMS = 5
"""Terms of the logarithm of the likelihood."""
RESOLVED = 0.7
"""Standard deviation of nu over the step of the grid, at least: sums over nodes are integrals then, to 0.02 %."""
PER_DEVICE = ("square", "cross", "weight", "reads", "lean")
"""Columns of what the reads say."""


@dataclass(frozen=True)
class Grid:
    """Nodes (J,) of ln g, with the logarithm of the interval each stands for, and nodes (M,) of nu, evenly spaced."""

    log_g: FloatArray
    log_step: FloatArray
    nu: FloatArray
    knots: tuple[float, ...]
    """ln g at which the logarithm of the density of devices is fitted."""


@dataclass(frozen=True)
class Noisy:
    """What the reads of each of m devices say on the grid."""

    grid: Grid
    square: FloatArray
    """(m, M) P at each nu."""
    cross: FloatArray
    """(m, M) R at each nu."""
    weight: FloatArray
    """(m,) W."""
    reads: FloatArray
    """(m,) K."""
    lean: FloatArray
    """(m,) sum of x."""
    share: float = 1.0
    """How many devices each of them stands for."""
    windows: tuple[tuple[slice, slice], ...] = ()
    """Nodes of ln g and of nu that matter to each block; none: all."""

    def __len__(self) -> int:
        return int(self.reads.size)

    def take(self, some: IndexArray | BoolArray, share: float = 1.0) -> Noisy:
        """Return a part of the devices, each of which stands for `share` of these."""
        columns = {name: getattr(self, name)[some] for name in PER_DEVICE}
        return replace(self, share=self.share * share, windows=(), **columns)

    def focused(self, factors: torch.Tensor, prior: torch.Tensor) -> Noisy:
        """Return the same devices; their blocks, of neighbours, leave out the nodes that matter to none of them."""
        windows = []
        with torch.no_grad():
            for block in replace(self, windows=()).posteriors(factors, prior):
                seen = (block.probability.amax(1) > NEGLIGIBLE).numpy()
                sides = [np.flatnonzero(seen.any(axis)) for axis in (1, 0)]
                # Where the likelihood is no number, nothing tells which nodes matter: all are kept.
                rows, columns = (
                    slice(max(int(side[0]) - 1, 0), int(side[-1]) + 2) if side.size else slice(None) for side in sides
                )
                windows.append((rows, columns))
        return replace(self, windows=tuple(windows))

    def posteriors(self, factors: torch.Tensor, prior: torch.Tensor) -> Iterator[Block]:
        """Yield, block by block, what the reads say of the nodes.

        factors  (J, TERMS) of the terms; prior (J, M) logarithm of the weight of the nodes
        """
        for number, begin in enumerate(range(0, len(self), BLOCK)):
            part = slice(begin, begin + BLOCK)
            rows, columns = self.windows[number] if self.windows else (slice(None), slice(None))
            square = self.square[part, columns]
            terms = np.empty((TERMS, *square.shape))
            terms[0], terms[1] = square, self.cross[part, columns]
            terms[2] = self.lean[part, None] * self.grid.nu[columns]
            terms[3], terms[4] = self.reads[part, None], self.weight[part, None]
            given = torch.from_numpy(terms)
            own = prior[rows, columns]
            inside = (factors[rows] @ given.reshape(TERMS, -1)).reshape(own.shape[0], -1, own.shape[1])
            inside += own[:, None, :]
            top = inside.amax((0, 2))
            inside -= top[:, None]
            inside.exp_()
            total = inside.sum((0, 2))
            inside /= total[:, None]
            yield Block(rows, columns, given, inside, top + torch.log(total))

    def total(self, factors: torch.Tensor, prior: torch.Tensor) -> torch.Tensor:
        """Return the log-likelihood () of all devices, each counting for its share; torch can differentiate it."""
        value: torch.Tensor = _Total.apply(factors, prior, self)  # type: ignore[no-untyped-call]
        return self.share * value

    def each(self, factors: torch.Tensor, prior: torch.Tensor) -> FloatArray:
        """Return the log-likelihood (m,) of every device."""
        with torch.no_grad():
            return torch.cat([block.log_likelihood for block in self.posteriors(factors, prior)]).numpy()

    def scores(
        self, factors: torch.Tensor, prior: torch.Tensor, by_factors: torch.Tensor, by_prior: torch.Tensor
    ) -> FloatArray:
        """Return the derivatives (m, p) of every device's log-likelihood, times its share.

        by_factors, by_prior  derivatives (J, TERMS, p) and (J, M, p) of the tables by the parameters
        """
        parameters, found = by_prior.shape[2], []
        with torch.no_grad():
            for block in self.posteriors(factors, prior):
                own = by_factors[block.rows].reshape(-1, parameters)
                seen = torch.einsum("jim,rim->ijr", block.probability, block.terms).reshape(-1, len(own))
                flat = block.probability.permute(1, 0, 2).reshape(len(seen), -1)
                found.append(seen @ own + flat @ by_prior[block.rows, block.columns].reshape(-1, parameters))
        return self.share * torch.cat(found).numpy()

    def places(self, factors: torch.Tensor, prior: torch.Tensor) -> FloatArray:
        """Return the expected number (J,) of devices at each node of ln g, shares included."""
        found = torch.zeros(prior.shape[0], dtype=torch.float64)
        with torch.no_grad():
            for block in self.posteriors(factors, prior):
                found[block.rows] += block.probability.sum((1, 2))
        return self.share * found.numpy()


@dataclass(frozen=True)
class Block:
    """Some devices and the nodes that matter to them."""

    rows: slice
    columns: slice
    terms: torch.Tensor
    """(TERMS, block, M') what their reads say."""
    probability: torch.Tensor
    """(J', block, M') of each node, given the reads."""
    log_likelihood: torch.Tensor
    """(block,)"""


class _Total(torch.autograd.Function):
    """Sum of the log-likelihoods; its derivatives are expectations over the nodes, which cost no second pass."""

    @staticmethod
    def forward(ctx: Any, factors: torch.Tensor, prior: torch.Tensor, noisy: Noisy) -> torch.Tensor:
        by_factors, by_prior = torch.zeros_like(factors), torch.zeros_like(prior)
        value = factors.new_zeros(())
        for block in noisy.posteriors(factors, prior):
            value += block.log_likelihood.sum()
            flat = block.probability.reshape(block.probability.shape[0], -1)
            by_factors[block.rows] += flat @ block.terms.reshape(TERMS, -1).T
            by_prior[block.rows, block.columns] += block.probability.sum(1)
        ctx.save_for_backward(by_factors, by_prior)
        return value

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        by_factors, by_prior = ctx.saved_tensors
        return gradients[0] * by_factors, gradients[0] * by_prior, None


def factors_of(grid: Grid, log_noise: torch.Tensor) -> torch.Tensor:
    """Return what the terms are multiplied with, (J, TERMS), for the logarithm of V (J,) at the nodes."""
    log_g = torch.from_numpy(grid.log_g)
    return torch.stack(
        [
            -0.5 * torch.exp(-2 * log_g - log_noise),
            torch.exp(-log_g - log_noise),
            torch.ones_like(log_g),
            -0.5 * log_noise - log_g,
            -0.5 * torch.exp(-log_noise),
        ],
        1,
    )


def prior_of(grid: Grid, mean: torch.Tensor, spread: torch.Tensor, log_density: torch.Tensor) -> torch.Tensor:
    """Return the logarithm of the weight (J, M) of the nodes: densities of ln g and of nu there, times the steps.

    A spread that is small against the steps counts as the smallest that they resolve: one node of all would have the
    whole weight or none, and the likelihood a spike at each node and no number in between.
    """
    nu = torch.from_numpy(grid.nu)
    step = float(grid.nu[1] - grid.nu[0])
    spread = spread.clamp(min=RESOLVED * step)
    normal = -0.5 * ((nu - mean[:, None]) / spread[:, None]) ** 2 - torch.log(spread[:, None] * np.sqrt(2 * np.pi))
    weight: torch.Tensor = normal + float(np.log(step)) + (log_density + torch.from_numpy(grid.log_step))[:, None]
    return weight


def grid_of(
    ends: tuple[float, float],
    at: FloatArray,
    noise: FloatArray,
    error: tuple[float, float, float],
    nu: FloatArray,
    settings: GridSettings,
) -> Grid:
    """Lay a grid for devices between two ends in ln g.

    Parameters
    ----------
    ends
        Lowest and highest ln g.
    at, noise
        ln g (n,), ascending, and V there, as a first look shows them.
    error
        Variance of ln g, its covariance with nu and variance of nu of a device, over V.
    nu
        Mean (n,) and standard deviation (n,) of nu at the same places, stacked.
    settings
        How fine, and how far.
    """
    bottom, top = ends
    mean, spread = nu

    def widths(log_g: float) -> tuple[float, float]:
        """Return standard deviations of ln g and nu of a device there, given its reads."""
        v = float(np.exp(np.interp(log_g, at, np.log(noise))))
        own = float(np.interp(log_g, at, spread))
        gain = v / (v * error[2] + own**2)
        return (
            float(np.sqrt(v * (error[0] - error[1] ** 2 * gain))),
            float(np.sqrt(v * error[2] * (1 - error[2] * gain))),
        )

    places = [top]
    coarse = max(settings.finest, (top - bottom) / settings.most_nodes / widths(top)[0] / 3)
    while places[-1] > bottom:  # a few dozen nodes
        places.append(places[-1] - coarse * min(widths(places[-1])[0], 0.5))
    log_g = np.array(places[::-1])
    edges = np.concatenate([log_g[:1], (log_g[1:] + log_g[:-1]) / 2, log_g[-1:]])
    low, high = float((mean - settings.reach * spread).min()), float((mean + settings.reach * spread).max())
    finest = settings.finest * min(widths(float(place))[1] for place in log_g)
    count = int(np.clip(np.ceil((high - low) / finest), 8, settings.most_nodes))
    knots = log_g[::2] if log_g.size > 4 else log_g
    return Grid(log_g, np.log(np.diff(edges)), np.linspace(low, high, count), tuple(knots.tolist()))


def noisy_of(grid: Grid, y: FloatArray, x: FloatArray, there: BoolArray, precision: Precision, share: float) -> Noisy:
    """Reduce reads y (m, times) over g_scale at x, ln(t / t0) or what stands for it, to what the grid needs."""
    square, cross = np.empty((len(y), grid.nu.size)), np.empty((len(y), grid.nu.size))
    weight = precision(there.astype(float))
    for k, nu in enumerate(grid.nu.tolist()):  # nodes, not devices
        scaled = y * np.exp(nu * x)
        cross[:, k] = (weight * scaled).sum(1)
        square[:, k] = (precision(scaled) * scaled).sum(1)
    return Noisy(grid, square, cross, weight.sum(1), there.sum(1).astype(float), (x * there).sum(1), share)


def joined(parts: Sequence[Noisy]) -> Noisy:
    """Join the devices of several parts that share a grid."""
    columns: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in PER_DEVICE}
    return replace(parts[0], **columns)
