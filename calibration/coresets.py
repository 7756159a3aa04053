"""Coresets: few weighted vectors of few bits that stand for a set of activations, under a budget of bits.

After Lu et al., Joint Coreset Construction and Quantization for Distributed Machine Learning (arXiv 2204.06652, 2020):
the number of points and the bits of a value are chosen together, by a bound on what both cost, and hosts share a budget
by their local costs. What hwloop asks of activations is the power of outputs and how often values are beyond a range,
so points are drawn by their part in these (sensitivity sampling; Feldman and Langberg, STOC 2011).

The bound. Let the set be vectors x_i with weights w_i, C = sum w_i x_i x_i^T / sum w_i its second moments, and q any
unit vector: the mean power of the output q is q^T C q. Point i is drawn with probability p_i and then weighs w_i / p_i,
which makes an estimate C'. In the mean over draws,

    E ||C' - C||_F^2 = sum (1/p_i - 1) w_i^2 |x_i|^4 / (sum w_i)^2,    and    |q^T C' q - q^T C q| <= ||C' - C||_F

for every q at once, so the root mean square of the largest error of any output's power, over tr C, is at most

    epsilon = sqrt(sum (1/p_i - 1) w_i^2 |x_i|^4) / sum w_i |x_i|^2.

Rounding moves each vector by e_i. By the triangle inequality a root mean square of outputs moves by at most that of
|e_i|, eta sqrt(tr C) with eta^2 = sum w_i |e_i|^2 / sum w_i |x_i|^2, which is computed, not estimated. Together

    |q^T C'' q - q^T C q| <= (epsilon + 2 eta sqrt(1 + epsilon) + eta^2) tr C.

With more bits for a value, eta falls and fewer points fit, so epsilon rises: the bits of the least bound are taken.
Drawn as here, systematically and with weights corrected to known totals, C' is nearer to C than independent draws are.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwloop.calibration.settings import Settings
from hwloop.errors import BadInputError
from hwloop.files.coresets import LAYOUT, CoresetPart, Grid, label_bits, weight_codes
from hwloop.mapping.activations import Sample
from hwloop.typing import BoolArray, FloatArray, IndexArray, Json


@dataclass(frozen=True)
class CoresetSettings(Settings):
    """How points are chosen and rounded."""

    tail: float = 0.002
    """Share of the largest values, those other than zero, whose vectors are all kept, so that ranges see them."""
    kept: float = 0.5
    """Share of the points that are kept for that at most; the others are drawn."""
    uniform: float = 0.2
    """Share of the chance to be drawn that is the same for all vectors; no weight is far above the others then."""
    tails: float = 0.3
    """Share of it that goes by a vector's part in the counts of large values; the rest goes by its power."""
    fewest_bits: int = 3
    """Bits of a value at least."""
    most_bits: int = 12
    """Bits of a value at most."""
    weight_bits: int = 8
    """Bits of a weight."""
    fewest: int = 64
    """Points at least: one half of a sample fits columns, the other evaluates them."""
    shares: int = 64
    """Equal parts, about, in which a budget is shared out between tensors and hosts."""
    seed: int = 0
    """Of the draw."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("tail", 0.0, 1.0), ("kept", 0.0, 1.0), ("uniform", 0.0, 1.0), ("tails", 0.0, 1.0),
            ("fewest_bits", 2, 16), ("most_bits", 2, 16), ("weight_bits", 2, 16), ("fewest", 2, 1_000_000),
            ("shares", 1, 10_000), ("seed", 0, 2**32 - 1),
        ):  # fmt: skip
            self._require(name, low, high)
        if self.fewest_bits > self.most_bits or self.uniform + self.tails > 1:
            raise BadInputError(
                f"settings fewest_bits={self.fewest_bits} to most_bits={self.most_bits} must rise, and "
                f"uniform={self.uniform:g} and tails={self.tails:g} leave a share of 1 together"
            )


@dataclass(frozen=True)
class Choice:
    """How a set is summarised.

    Parameters
    ----------
    points, bits
        Number of points, and bits of a value.
    sampling, rounding
        Epsilon and eta of the bound.
    """

    points: int
    bits: int
    sampling: float
    rounding: float

    @property
    def bound(self) -> float:
        """Largest error of the power of any output, over the power of all inputs."""
        return self.sampling + 2.0 * self.rounding * math.sqrt(1.0 + self.sampling) + self.rounding**2


@dataclass(frozen=True, eq=False)
class Source:
    """What one host has of one tensor.

    Parameters
    ----------
    name, origin
        Of the tensor and of the host.
    sample
        Its vectors.
    settings
        How it is summarised.
    shape
        Of one vector before it was flattened; empty where it was flat.
    labels, classes
        (vectors,) labels and how many classes there are; None and 0 without.
    """

    name: str
    origin: str
    sample: Sample
    settings: CoresetSettings
    shape: tuple[int, ...] = ()
    labels: IndexArray | None = None
    classes: int = 0

    @functools.cached_property
    def weights(self) -> FloatArray:
        """(vectors,) of the vectors as they are given."""
        given = self.sample.weights
        return np.ones(len(self.sample)) if given is None else given

    @functools.cached_property
    def powers(self) -> FloatArray:
        """(vectors,) w |x|^2."""
        return np.asarray(self.weights * np.square(self.sample.vectors).sum(1))

    @property
    def cost(self) -> float:
        """Local cost of the set: the power of all its vectors."""
        return float(self.powers.sum())

    @functools.cached_property
    def tails(self) -> FloatArray:
        """(vectors,) largest part that a vector has in a count of values beyond any limit: its sensitivity there.

        The j-th largest magnitude of a vector, of rank r among all, makes it j of the r values that are not smaller.
        """
        magnitudes = np.abs(self.sample.vectors)
        order = np.argsort(magnitudes, axis=None)[::-1]
        each = np.repeat(self.weights, magnitudes.shape[1])
        ranks = np.empty(magnitudes.size)
        ranks[order] = np.cumsum(each[order])
        own = np.sort(ranks.reshape(magnitudes.shape), axis=1)
        count = self.weights[:, None] * np.arange(1, magnitudes.shape[1] + 1)
        return np.asarray((count / own).max(1))

    @functools.cached_property
    def large(self) -> IndexArray:
        """Vectors with a value of the largest `tail` of those other than zero, those with the largest first."""
        magnitudes = np.abs(self.sample.vectors)
        values = magnitudes[magnitudes > 0]
        top = magnitudes.max(1)
        order = np.argsort(-top, kind="stable")
        limit = float(np.quantile(values, 1.0 - self.settings.tail)) if values.size else math.inf
        return np.asarray(order[top[order] >= limit])

    def point_bits(self, bits: int) -> int:
        """Bits of one point."""
        label = 0 if self.labels is None else label_bits(self.classes)
        return int(self.sample.vectors.shape[1]) * bits + self.settings.weight_bits + label

    @property
    def least(self) -> int:
        """Bits that the smallest coreset takes."""
        points = min(self.settings.fewest, len(self.sample))
        return LAYOUT.constants + points * self.point_bits(self.settings.fewest_bits)

    @property
    def most(self) -> int:
        """Bits that all vectors in the finest grid take."""
        return LAYOUT.constants + len(self.sample) * self.point_bits(self.settings.most_bits)

    def grid(self, bits: int) -> Grid:
        """Make the grid of values of so many bits."""
        values = self.sample.vectors[self.sample.vectors != 0]
        return Grid(float(values.min()), float(values.max()), bits) if values.size else Grid(0.0, 0.0, bits)

    def rounding(self, bits: int) -> float:
        """Compute eta for so many bits, once for each number of them."""
        if bits not in self._roundings:
            grid = self.grid(bits)
            moved = np.square(grid.decode(grid.encode(self.sample.vectors)) - self.sample.vectors).sum(1)
            self._roundings[bits] = math.sqrt(float((self.weights * moved).sum()) / self.cost) if self.cost else 0.0
        return self._roundings[bits]

    @functools.cached_property
    def _roundings(self) -> dict[int, float]:
        """Eta by bits, as far as it was asked for; with the source it goes."""
        return {}

    def chances(self, points: int) -> FloatArray:
        """Choose the probability (vectors,) of every vector to be a point; their sum is `points`."""
        count, how = len(self.sample), self.settings
        if points >= count:
            return np.ones(count)
        chance = np.zeros(count)
        chance[self.large[: int(how.kept * points)]] = 1.0
        cost, tails = self.cost or 1.0, self.tails.sum() or 1.0
        wanted = how.uniform * self.weights / self.weights.sum() + how.tails * self.tails / tails
        wanted = wanted + (1.0 - how.uniform - how.tails) * self.powers / cost + 1e-12
        while True:
            free = chance < 1.0
            left = points - (count - int(free.sum()))
            chance[free] = wanted[free] * (left / wanted[free].sum())
            over = free & (chance >= 1.0)
            if not over.any():
                return chance
            chance[over] = 1.0

    def sampling(self, points: int) -> float:
        """Compute epsilon for so many points."""
        if not self.cost:
            return 0.0
        chance = self.chances(points)
        return math.sqrt(float(((1.0 / chance - 1.0) * self.powers**2).sum())) / self.cost

    def choose(self, budget: int) -> Choice | None:
        """Choose points and bits of the least bound within a budget; None where it holds too few points."""
        found: list[Choice] = []
        few = min(self.settings.fewest, len(self.sample))
        for bits in range(self.settings.fewest_bits, self.settings.most_bits + 1):
            points = min((budget - LAYOUT.constants) // self.point_bits(bits), len(self.sample))
            if points >= few:
                found.append(Choice(points, bits, self.sampling(points), self.rounding(bits)))
        return min(found, key=lambda one: one.bound, default=None)

    def made(self, choice: Choice) -> CoresetPart:
        """Draw the points and round them."""
        rng = np.random.default_rng(self.settings.seed)
        chance = self.chances(choice.points)
        order = np.argsort(self.powers, kind="stable")  # neighbours on the way are alike: the draw is spread over them
        places = np.cumsum(chance[order])
        chosen = order[np.diff(np.floor(places + rng.random()), prepend=0.0) > 0][: choice.points]
        chosen = rng.permutation(chosen)
        weights = self._corrected(chosen, self.weights[chosen] / chance[chosen], chance[chosen] < 1.0)
        ends, bits, codes = weight_codes(weights, self.settings.weight_bits)
        grid = self.grid(choice.bits)
        return CoresetPart(
            name=self.name,
            source=self.origin,
            grid=grid,
            codes=grid.encode(self.sample.vectors[chosen]),
            total=float(self.weights.sum()),
            weight_ends=ends,
            weight_bits=bits,
            weight_codes=codes,
            shape=self.shape,
            labels=None if self.labels is None else self.labels[chosen],
            classes=self.classes,
        )

    def _corrected(self, chosen: IndexArray, weights: FloatArray, drawn: BoolArray) -> FloatArray:
        """Correct the weights of points so that known totals come out (calibration; Deville and Sarndal, JASA 1992).

        The totals are the number of vectors, the sum of their values, of their squares, and of the values that are not
        zero. Points that were certain keep their weights; where a weight would leave the room between half and twice
        of what it was, all are scaled by one factor.
        """
        if not drawn.any():
            return weights
        vectors = self.sample.vectors
        known = np.stack(
            [np.ones(len(vectors)), vectors.sum(1), np.square(vectors).sum(1), (vectors != 0).sum(1)], axis=1
        )
        scale = np.abs(known).mean(0)
        known = known / np.where(scale > 0, scale, 1.0)
        missing = self.weights @ known - weights @ known[chosen]
        free = known[chosen[drawn]] * weights[drawn, None]
        change, *_ = np.linalg.lstsq(known[chosen[drawn]].T @ free, missing, rcond=1e-9)
        factor = 1.0 + known[chosen[drawn]] @ change
        if factor.min() < 0.5 or factor.max() > 2.0:
            rest = self.weights.sum() - weights[~drawn].sum()
            factor = np.full(len(factor), max(rest, 1e-9) / weights[drawn].sum())
        made = weights.copy()
        made[drawn] *= factor
        return made


@dataclass(frozen=True)
class Row:
    """What was made of one tensor of one host.

    Parameters
    ----------
    tensor, host
        Names.
    vectors, inputs
        Size of the set: vectors that it stands for, and their length.
    choice
        Points, bits of a value, and the bound.
    bits
        That the part takes.
    cost
        Power of all vectors of the set: the host's local cost.
    """

    tensor: str
    host: str
    vectors: float
    inputs: int
    choice: Choice
    bits: int
    cost: float

    def to_json(self) -> dict[str, Json]:
        """Give every value by its name."""
        told = {name: getattr(self, name) for name in ("tensor", "host", "vectors", "inputs", "bits", "cost")}
        choice = dataclasses.asdict(self.choice)
        return {
            **told, "points": choice["points"], "bits_of_a_value": choice["bits"], "bound": self.choice.bound,
            "bound_sampling": choice["sampling"], "bound_rounding": choice["rounding"],
        }  # fmt: skip


def share_out(sources: Sequence[Source], budget: int) -> list[Choice]:
    """Share a budget of bits between tensors and hosts so that the bounds of all tensors together are least.

    The bound of a tensor is the mean of its hosts' bounds, each with its part of the tensor's local costs (Lu et al.,
    section on several nodes). What a host gains with every further part of the budget is known from its own data; parts
    go where the lower convex hull of these gains is steepest.

    Raises
    ------
    BadInputError
        For a budget in which not every source has room for its fewest points.
    """
    least = sum(one.least for one in sources)
    if budget < least:
        points = sources[0].settings.fewest
        raise BadInputError(
            f"{budget} bits are too few for {len(sources)} set(s) of activations with {points} points each, which take "
            f"{least}; give more bits, or fewer tensors"
        )
    costs: dict[str, float] = {}
    for one in sources:
        costs[one.name] = costs.get(one.name, 0.0) + one.cost
    curves = [_curve(one, budget - least, one.cost / costs[one.name] if costs[one.name] else 0.0) for one in sources]
    given = [0] * len(sources)
    left = budget - least
    while True:
        steps = [
            (curve[at][1] - curve[at + 1][1]) / (curve[at + 1][0] - curve[at][0])
            if at + 1 < len(curve) and curve[at + 1][0] - curve[at][0] <= left
            else -1.0
            for curve, at in zip(curves, given, strict=True)
        ]
        best = int(np.argmax(steps))
        if steps[best] <= 0:
            break
        left -= curves[best][given[best] + 1][0] - curves[best][given[best]][0]
        given[best] += 1
    found = []
    for one, curve, at in zip(sources, curves, given, strict=True):
        extra = curve[at][0] + (left if len(sources) == 1 else 0)
        choice = one.choose(one.least + extra)
        assert choice is not None  # the least is enough
        found.append(choice)
    return found


def _curve(source: Source, most: int, share: float) -> list[tuple[int, float]]:
    """Give the lower convex hull of (bits beyond the least, bound) of a source; the last is all that it can use."""
    top = max(min(most, source.most - source.least), 0)
    places = sorted({round(top * number / source.settings.shares) for number in range(source.settings.shares + 1)})
    hull: list[tuple[int, float]] = []
    for place in places:
        choice = source.choose(source.least + place)
        assert choice is not None  # the least is enough
        bound = share * choice.bound
        if hull and bound >= hull[-1][1]:
            continue
        while len(hull) > 1 and (hull[-1][1] - bound) * (hull[-1][0] - hull[-2][0]) >= (hull[-2][1] - hull[-1][1]) * (
            place - hull[-1][0]
        ):
            hull.pop()
        hull.append((place, bound))
    return hull
