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
    of_genes
        By how much longer that of a gene is where the shapes of the matrices are known, too.
    noise, noise_spread
        Standard deviation of the noise over that of all values.
    starts
        From which the likelihood is climbed.
    drop
        A drop that tells as good as nothing, as a share of all images: less than it is what measurements differ by.
    """

    length: float = 1.0
    length_spread: float = 1.0
    of_genes: float = 16.0
    noise: float = 0.4
    noise_spread: float = 1.0
    starts: tuple[float, ...] = (1.0, 3.0)
    drop: float = 0.02


PRIOR = Prior()
"""Of all surrogates."""


class GaussianProcess:
    """A Gaussian process with a Matern 5/2 kernel and a length scale for each feature, by maximum posterior.

    Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, chapters 4 and 5.
    """

    def __init__(self, x: FloatArray, y: FloatArray, lengths: FloatArray | None = None) -> None:
        """Fit it to values (points,) at features (points, features); `lengths` are the prior's, of each feature."""
        self._prior = np.log(np.full(x.shape[1], PRIOR.length) if lengths is None else lengths)
        self.mean_, self.scale_ = float(y.mean()), float(y.std()) or 1.0
        self._x, z = x, (y - self.mean_) / self.scale_
        apart = np.square(x[:, None] - x[None])
        starts = [self._start(one) for one in PRIOR.starts]
        fits = [minimize(self._loss, one, args=(apart, z), method="L-BFGS-B", jac=True) for one in starts]
        best = min(fits, key=lambda fit: float(fit.fun)).x
        self.lengths_, self.noise_ = np.exp(best[:-1]), math.exp(best[-1])
        kernel = _matern(apart @ self.lengths_**-2.0)[0] + (self.noise_**2 + 1e-8) * np.eye(len(x))
        self._factor = cho_factor(kernel, lower=True)
        self._alpha = cho_solve(self._factor, z)

    def predict(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Give mean and standard deviation (points,) of the values at features (points, features), without noise."""
        between = _matern(np.square((x[:, None] - self._x[None]) / self.lengths_).sum(2))[0]
        mean = between @ self._alpha
        variance = 1.0 - np.einsum("ij,ji->i", between, cho_solve(self._factor, between.T))
        spread = np.sqrt(np.maximum(variance, 0.0)) * self.scale_
        return np.asarray(mean * self.scale_ + self.mean_), np.asarray(spread)

    def _start(self, length: float) -> FloatArray:
        return np.append(np.log(length) + self._prior, math.log(PRIOR.noise))

    def _loss(self, parameters: FloatArray, apart: FloatArray, z: FloatArray) -> tuple[float, FloatArray]:
        """Compute the negative logarithm of the posterior, up to a constant, and its gradient.

        Parameters
        ----------
        parameters
            Logarithms of the length scales, and that of the noise.
        apart
            (points, points, features) squared differences of the features.
        z
            (points,) values of mean 0 and variance 1.
        """
        inside = np.clip(parameters, [-5.0] * (len(parameters) - 1) + [-8.0], [8.0] * (len(parameters) - 1) + [4.0])
        shares, noise = np.exp(-2.0 * inside[:-1]), math.exp(2.0 * inside[-1])
        kernel, slope = _matern(apart @ shares)
        factor = cho_factor(kernel + (noise + 1e-8) * np.eye(len(z)), lower=True)
        inverse = cho_solve(factor, np.eye(len(z)))
        alpha = inverse @ z
        value = 0.5 * float(z @ alpha) + float(np.log(np.diag(factor[0])).sum())
        # Of a matrix K that depends on t, half of what z'inv(K)z + log|K| changes by is the sum of `each` * dK/dt.
        each = 0.5 * (inverse - np.outer(alpha, alpha))
        of_lengths = -2.0 * shares * np.tensordot(each * slope, apart, 2)
        gradient = np.append(of_lengths, 2.0 * noise * np.trace(each)) * (inside == parameters)
        far = parameters - np.append(self._prior, math.log(PRIOR.noise))
        widths = np.append(np.full(len(self._prior), PRIOR.length_spread), PRIOR.noise_spread)
        return value + 0.5 * float(np.square(far / widths).sum()), gradient + far / widths**2


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
        lengths = np.full(x.shape[1], PRIOR.length)
        if self._by_shape:
            lengths[: len(space.genes)] *= PRIOR.of_genes
        wanted = {
            "accuracy": _stretched([one.accuracy for one in trials]),
            "month": _stretched([one.lasting for one in trials]),
            "drop": _stretched_drop([0.5 * (one.drop_day + one.drop_month) for one in trials]),
        }
        self._models = {name: GaussianProcess(x, values, lengths) for name, values in wanted.items()}

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
    """Tell what noise will meet: how many matrices, how few inputs and outputs they have, and the inputs of the last.

    The first matrix has the inputs that the data give it, and the last the outputs of the classes: neither is counted.
    """
    inputs = sum(1.0 / rows for rows, _ in shapes[1:]) or 1.0 / shapes[0][0]
    outputs = sum(1.0 / columns for _, columns in shapes[:-1]) or 1.0 / shapes[0][1]
    return len(shapes) / 20.0, math.log10(inputs) / 3.0, math.log10(outputs) / 3.0, math.log10(shapes[-1][0]) / 3.0


def _stretched(accuracy: Sequence[float] | FloatArray) -> FloatArray:
    """Stretch accuracies near 1, where what matters is the share of errors: -log10 of the errors, from 0 on."""
    return np.asarray(-np.log10(np.maximum(1.0 - np.asarray(accuracy), 1e-3)))


def _stretched_drop(drop: Sequence[float] | FloatArray) -> FloatArray:
    """Give the logarithm of drops, to which one that counts for none is added: they span decades, as errors do."""
    return np.asarray(np.log10(np.maximum(np.asarray(drop), -0.5 * PRIOR.drop) + PRIOR.drop))
