"""The 95 % interval of a measured MVM error: where another evaluation of the unchanged chip, soon, will find it.

Two evaluations of one chip differ for two reasons. Each takes finitely many input vectors, and read noise that is slow
against one evaluation stands still during it and is partly another one in the next. The first is seen in the outputs:
it is the delta method on the ratio of two sums over vectors. The second cannot be seen within one evaluation, and is
computed from the model of the chip's read noise, where one is known. Both count twice, for this evaluation and for the
other. Drift, and noise so slow that it takes longer than `soon` to change, are no part of it: they move the error.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from hwloop.calibration.evaluation import STANDARD, Evaluation, Outputs, tensor_outputs
from hwloop.chip.region import Region
from hwloop.mapping.tile import Tile


@dataclass(frozen=True)
class WeightNoise:
    """Variances of a tile's weights by read noise, in squared weight units; zeros where no model is known.

    What the gain of a column takes up of it, one value per column, is left out.
    """

    renewed: float = 0.0
    """Sum over the weights, by noise that stands still during one evaluation, and is another one in an evaluation soon
    after."""
    squares: float = 0.0
    """Sum of the squares of the same variances."""
    fast: float = 0.0
    """Sum, by noise that changes from vector to vector."""


def weight_noise(region: Region, tile: Tile, age: float, settings: Evaluation = STANDARD) -> WeightNoise:
    """Compute the read noise of a tile's weights from the chip's model: 1/f noise, by how fast it changes.

    Parameters
    ----------
    region, tile
        The cells and what they stand for.
    age
        Seconds since the devices were pulsed: slower noise they do not have yet.
    settings
        Of the evaluation, whose vectors decide what is fast, and how soon the other one is.
    """
    info, known = region.backend.info, region.calibration.devices
    model = known.model if known is not None else info.device_model
    if model is None:
        return WeightNoise()
    noise, target = model.read_noise, tile.device_targets(info, known)
    spread, used = np.zeros_like(target), target > 0
    spread[used] = noise.q(target[used] / noise.g_scale) * target[used]
    cells = (spread**2).sum((0, 1)) * tile.scale**2 * (1.0 - 1.0 / tile.place.rows)
    duration = settings.vectors * noise.t_read
    slow = math.log(max(min(age, settings.soon) / duration, 1.0))
    fast = math.log((duration + noise.t_read) / (2.0 * noise.t_read))
    total, squares = float(cells.sum()), float(np.square(cells).sum())
    return WeightNoise(slow * total, slow**2 * squares, fast * total)


def error_interval(parts: Sequence[tuple[Tile, Outputs]], noise: Sequence[WeightNoise]) -> tuple[float, float]:
    """Compute the 95 % interval of `overall_error`: another evaluation of the unchanged chip, soon, falls into it.

    Parameters
    ----------
    parts
        Tiles and their outputs, as for `overall_error`.
    noise
        Of each tile, as `weight_noise` computes it.

    Returns
    -------
    tuple
        Low and high end; NaN where there are no tiles or fewer than two vectors, or the weights are all zero.
    """
    of_tensor: dict[str, list[tuple[Tile, WeightNoise]]] = {}
    for (tile, _), one in zip(parts, noise, strict=True):
        of_tensor.setdefault(tile.tensor, []).append((tile, one))
    square, variance, outputs = 0.0, 0.0, 0
    for name, whole in tensor_outputs(parts).items():
        vectors, count = whole.reference.shape
        if vectors < 2 or not whole.reference.any():
            return math.nan, math.nan
        ratio = whole.mvm_error**2
        variance += count**2 * (_by_vectors(whole, ratio) + _by_read_noise(of_tensor[name], ratio))
        square, outputs = square + count * ratio, outputs + count
    if not square:
        return (0.0, 0.0) if outputs else (math.nan, math.nan)
    # Of the error's logarithm, half that of its square: an error is never negative.
    error, half = math.sqrt(square / outputs), NormalDist().inv_cdf(0.975) * math.sqrt(2.0 * variance) / (2.0 * square)
    return error * math.exp(-half), error * math.exp(half)


def _by_vectors(outputs: Outputs, ratio: float) -> float:
    """Estimate the variance of the squared error by the choice of input vectors: the delta method on the ratio."""
    wrong = ((outputs.measured - outputs.reference) ** 2).sum(1)
    right = (outputs.reference**2).sum(1)
    return len(wrong) * float(np.var(wrong - ratio * right, ddof=1)) / float(right.sum()) ** 2


def _by_read_noise(tiles: Sequence[tuple[Tile, WeightNoise]], ratio: float) -> float:
    """Compute the variance of the squared error when the slow read noise is drawn anew.

    With D = P + N, what stays wrong of a weight and the noise that is renewed, the sum of D^2 varies by 4 P^2 v + 2 v^2
    where v is the variance of N. P^2 is what the whole error leaves beside v and fast noise, and is taken to be spread
    over cells as v.
    """
    weights = sum(float((tile.weights**2).sum()) for tile, _ in tiles)
    total, squares = sum(noise.renewed for _, noise in tiles), sum(noise.squares for _, noise in tiles)
    if not total or not weights:
        return 0.0
    fast = sum(noise.fast for _, noise in tiles)
    stays = max(ratio * weights - total - fast, 0.0)
    return (4.0 * stays * total + 2.0 * total**2) * squares / total**2 / weights**2
