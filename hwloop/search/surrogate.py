"""What an architecture will reach, before it is trained: Gaussian processes over its matrices and genes.

After Benmeziane et al., AnalogNAS (arXiv 2305.10459), where trees rank architectures by accuracy and by its variation;
with the hundred architectures of a search, a Gaussian process knows as much and tells how sure it is. What noise and
drift do hangs on the shapes of matrices more than on how a space names them: an output adds up the errors of its
inputs, and a layer of few outputs leaves the next one little to average over.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

from hwloop.search.space import Genome, Space
from hwloop.search.trials import Footprint, Trial
from hwloop.typing import FloatArray


@dataclass(frozen=True)
class Prior:
    """What is thought of length scales and noise before anything is seen, as normal distributions of logarithms.

    Parameters
    ----------
    length, length_spread
        Length scale of a feature, whose values lie within 0 and 1.
    slope, slope_spread
        Standard deviation of what a straight line over all features explains, over that of what bends.
    noise, noise_spread
        Standard deviation of the noise over that of all values.
    drop
        A drop that tells as good as nothing, as a share of all images: less than it is what measurements differ by.
    """

    length: float = 3.0
    length_spread: float = 1.0
    slope: float = 0.5
    slope_spread: float = 1.0
    noise: float = 0.4
    noise_spread: float = 1.0
    drop: float = 0.02


PRIOR = Prior()
"""Of all surrogates."""


class GaussianProcess:
    """A straight line with a Gaussian process about it, by maximum posterior.

    The process has a Matern 5/2 kernel with a length scale for each feature. With few points the line tells most: each
    feature's own slope is small and uncertain before anything is seen. Rasmussen and Williams, Gaussian Processes for
    Machine Learning, 2006, chapters 2, 4 and 5.
    """

    def __init__(self, x: FloatArray, y: FloatArray) -> None:
        """Fit it to values (points,) at features (points, features)."""
        features = x.shape[1]
        self._prior = np.log([*[PRIOR.length] * features, PRIOR.slope, PRIOR.noise])
        self._spread = np.array([*[PRIOR.length_spread] * features, PRIOR.slope_spread, PRIOR.noise_spread])
        self.mean_, self.scale_ = float(y.mean()), float(y.std()) or 1.0
        self._x, z = x, (y - self.mean_) / self.scale_
        spread = x.std(0)
        self._middle, self._width = x.mean(0), np.where(spread > 0, spread, 1.0) * math.sqrt(features)
        apart, line = np.square(x[:, None] - x[None]), self._line(x)
        best = np.exp(minimize(self._loss, self._prior, args=(apart, line, z), method="L-BFGS-B", jac=True).x)
        self.lengths_, self.slope_, self.noise_ = best[:-2], float(best[-2]), float(best[-1])
        kernel = self._kernel(x) + (self.noise_**2 + 1e-8) * np.eye(len(x))
        self._factor = cho_factor(kernel, lower=True)
        self._alpha = cho_solve(self._factor, z)

    def predict(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Give mean and standard deviation (points,) of the values at features (points, features), without noise."""
        between = self._kernel(x)
        mean = between @ self._alpha
        prior = 1.0 + self.slope_**2 * np.square((x - self._middle) / self._width).sum(1)
        variance = prior - np.einsum("ij,ji->i", between, cho_solve(self._factor, between.T))
        spread = np.sqrt(np.maximum(variance, 0.0)) * self.scale_
        return np.asarray(mean * self.scale_ + self.mean_), np.asarray(spread)

    def _kernel(self, x: FloatArray) -> FloatArray:
        """Give the covariance (points, known points) of the values at features with those that were fitted."""
        bends = _matern(np.square((x[:, None] - self._x[None]) / self.lengths_).sum(2))[0]
        return np.asarray(bends + self.slope_**2 * self._line(x))

    def _line(self, x: FloatArray) -> FloatArray:
        """Give the covariance (points, known points) of a straight line whose slopes are all as likely as 1."""
        own, known = ((one - self._middle) / self._width for one in (x, self._x))
        return np.asarray(own @ known.T)

    def _loss(
        self, parameters: FloatArray, apart: FloatArray, line: FloatArray, z: FloatArray
    ) -> tuple[float, FloatArray]:
        """Compute the negative logarithm of the posterior, up to a constant, and its gradient.

        Parameters
        ----------
        parameters
            Logarithms of the length scales, and those of the line and of the noise.
        apart
            (points, points, features) squared differences of the features.
        line
            (points, points) covariance of a straight line.
        z
            (points,) values of mean 0 and variance 1.
        """
        lengths = len(parameters) - 2
        inside = np.clip(parameters, [-5.0] * lengths + [-8.0, -8.0], [8.0] * lengths + [4.0, 4.0])
        shares, slope, noise = np.exp(-2.0 * inside[:-2]), math.exp(2.0 * inside[-2]), math.exp(2.0 * inside[-1])
        kernel, fall = _matern(apart @ shares)
        factor = cho_factor(kernel + slope * line + (noise + 1e-8) * np.eye(len(z)), lower=True)
        inverse = cho_solve(factor, np.eye(len(z)))
        alpha = inverse @ z
        value = 0.5 * float(z @ alpha) + float(np.log(np.diag(factor[0])).sum())
        # Of a matrix K that depends on t, half of what z'inv(K)z + log|K| changes by is the sum of `each` * dK/dt.
        each = 0.5 * (inverse - np.outer(alpha, alpha))
        of_lengths = -2.0 * shares * np.tensordot(each * fall, apart, 2)
        others = [2.0 * slope * (each * line).sum(), 2.0 * noise * np.trace(each)]
        gradient = np.append(of_lengths, others) * (inside == parameters)
        far = (parameters - self._prior) / self._spread
        return value + 0.5 * float(np.square(far).sum()), gradient + far / self._spread


def _matern(apart: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Give the Matern 5/2 kernel of squared distances, and its slope over them."""
    d = np.sqrt(5.0 * apart)
    fall = np.exp(-d)
    return (1.0 + d + d**2 / 3.0) * fall, -(5.0 / 6.0) * (1.0 + d) * fall


class Surrogate:
    """Predicts accuracy after programming and after a month, and what is lost.

    What is lost has a model of its own. As the difference of two predictions it had the errors of both, though what a
    network reaches at first and what it keeps are lucky or unlucky together; and the mean over a day and a month tells
    networks apart by twice as many measurements. It is learnt as a logarithm, since drops span decades and the few
    largest ones would else be all that counts.
    """

    def __init__(self, space: Space, trials: Sequence[Trial], takes: Sequence[Footprint]) -> None:
        """Fit it to what was evaluated; `takes` is what each trial's network takes."""
        self._space = space
        self._by_shape = all(one.shapes for one in takes)
        x = self._features([one.genome for one in trials], takes)
        wanted = {
            "accuracy": _stretched([one.accuracy for one in trials]),
            "month": _stretched([one.lasting for one in trials]),
            "drop": _stretched_drop([0.5 * (one.drop_day + one.drop_month) for one in trials]),
        }
        self._models = {name: GaussianProcess(x, values) for name, values in wanted.items()}

    def predict(
        self, genomes: Sequence[Genome], takes: Sequence[Footprint]
    ) -> dict[str, tuple[FloatArray, FloatArray]]:
        """Predict 'accuracy' and 'month', both stretched, and 'drop', each with its standard deviation.

        'drop' is the share of all images that is lost of the accuracy after programming, the mean over a day and a
        month.
        """
        x = self._features(genomes, takes)
        told = {name: model.predict(x) for name, model in self._models.items()}
        mean, spread = told["drop"]
        drop = 10.0**mean
        return told | {"drop": (drop - PRIOR.drop, math.log(10.0) * spread * drop)}

    def _features(self, genomes: Sequence[Genome], takes: Sequence[Footprint]) -> FloatArray:
        """Give the genes, the number of weights, and what is known of the matrices, each within about 0 and 1."""
        size = np.log10(np.maximum(np.array([one.weights for one in takes], np.float64), 1.0)) / 6.0
        columns = [self._space.features(genomes), size[:, None]]
        if self._by_shape:
            columns.append(np.array([_of_shapes(one.shapes) for one in takes], np.float64))
        return np.column_stack(columns)


def _of_shapes(shapes: Sequence[tuple[int, int]]) -> tuple[float, ...]:
    """Tell what noise will meet, each within about 0 and 1.

    How many matrices; how few inputs and outputs they have, by the sum of reciprocals, the least and the mean order;
    the inputs of the last and of the largest; and on how many places of an image a vector looks, as the inputs over the
    outputs of the matrix before: in the mean, in all, and in how many matrices on one alone. The first matrix has the
    inputs that the data give it, and the last the outputs of the classes: neither is counted.
    """
    inputs = np.array([rows for rows, _ in shapes[1:]] or [shapes[0][0]], np.float64)
    outputs = np.array([columns for _, columns in shapes[:-1]] or [shapes[0][1]], np.float64)
    places = np.array([max(rows / before, 1.0) for (_, before), (rows, _) in pairwise(shapes[:-1])] or [1.0])
    return (
        len(shapes) / 20.0,
        math.log(len(shapes)) / 3.0,
        math.log10((1.0 / inputs).sum()) / 3.0,
        math.log10((1.0 / outputs).sum()) / 3.0,
        math.log10(inputs.min()) / 2.0,
        math.log10(outputs.min()) / 2.0,
        float(np.log10(inputs).mean()) / 2.0,
        float(np.log10(outputs).mean()) / 2.0,
        math.log10(shapes[-1][0]) / 3.0,
        math.log10(max(rows for rows, _ in shapes)) / 3.0,
        float(np.log10(places).mean()),
        math.log10(1.0 + (places - 1.0).sum()) / 2.0,
        float((places < 1.5).mean()),
    )


def _stretched(accuracy: Sequence[float] | FloatArray) -> FloatArray:
    """Stretch accuracies near 1, where what matters is the share of errors: -log10 of the errors, from 0 on."""
    return np.asarray(-np.log10(np.maximum(1.0 - np.asarray(accuracy), 1e-3)))


def _stretched_drop(drop: Sequence[float] | FloatArray) -> FloatArray:
    """Give the logarithm of drops, to which one that counts for none is added: they span decades, as errors do."""
    return np.asarray(np.log10(np.maximum(np.asarray(drop), -0.5 * PRIOR.drop) + PRIOR.drop))
