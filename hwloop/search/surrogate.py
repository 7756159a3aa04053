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
    """

    length: float = 1.0
    length_spread: float = 1.0
    of_genes: float = 16.0
    noise: float = 0.4
    noise_spread: float = 1.0
    starts: tuple[float, ...] = (1.0, 3.0)


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
        fits = [minimize(self._loss, self._start(one), args=(z,), method="L-BFGS-B") for one in PRIOR.starts]
        best = min(fits, key=lambda fit: float(fit.fun)).x
        self.lengths_, self.noise_ = np.exp(best[:-1]), math.exp(best[-1])
        kernel = self._kernel(x, x, self.lengths_) + (self.noise_**2 + 1e-8) * np.eye(len(x))
        self._factor = cho_factor(kernel, lower=True)
        self._alpha = cho_solve(self._factor, z)

    def predict(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Give mean and standard deviation (points,) of the values at features (points, features), without noise."""
        between = self._kernel(x, self._x, self.lengths_)
        mean = between @ self._alpha
        variance = 1.0 - np.einsum("ij,ji->i", between, cho_solve(self._factor, between.T))
        spread = np.sqrt(np.maximum(variance, 0.0)) * self.scale_
        return np.asarray(mean * self.scale_ + self.mean_), np.asarray(spread)

    def _start(self, length: float) -> FloatArray:
        return np.append(np.log(length) + self._prior, math.log(PRIOR.noise))

    def _loss(self, parameters: FloatArray, z: FloatArray) -> float:
        """Compute the negative logarithm of the posterior, up to a constant."""
        lengths, noise = np.exp(np.clip(parameters[:-1], -5, 8)), math.exp(float(np.clip(parameters[-1], -8, 4)))
        kernel = self._kernel(self._x, self._x, lengths) + (noise**2 + 1e-8) * np.eye(len(z))
        factor = cho_factor(kernel, lower=True)
        likelihood = -0.5 * float(z @ cho_solve(factor, z)) - float(np.log(np.diag(factor[0])).sum())
        far = (parameters[:-1] - self._prior) / PRIOR.length_spread
        prior = -0.5 * float(np.square(far).sum())
        prior -= 0.5 * ((float(parameters[-1]) - math.log(PRIOR.noise)) / PRIOR.noise_spread) ** 2
        return -(likelihood + prior)

    @staticmethod
    def _kernel(one: FloatArray, other: FloatArray, lengths: FloatArray) -> FloatArray:
        apart = np.square((one / lengths)[:, None] - (other / lengths)[None]).sum(2)
        d = np.sqrt(5.0 * np.maximum(apart, 0.0))
        return np.asarray((1.0 + d + d**2 / 3.0) * np.exp(-d))


class Surrogate:
    """Predicts accuracy after programming and after a month, and what is lost.

    What is lost has a model of its own. As the difference of two predictions it had the errors of both, though what a
    network reaches at first and what it keeps are lucky or unlucky together; and the mean over a day and a month tells
    networks apart by twice as many measurements.
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
            "accuracy": [_stretched(one.accuracy) for one in trials],
            "month": [_stretched(one.lasting) for one in trials],
            "drop": [0.5 * (one.drop_day + one.drop_month) for one in trials],
        }
        self._models = {name: GaussianProcess(x, np.array(values), lengths) for name, values in wanted.items()}

    def predict(
        self, genomes: Sequence[Genome], takes: Sequence[Footprint]
    ) -> dict[str, tuple[FloatArray, FloatArray]]:
        """Predict 'accuracy' and 'month', both stretched, and 'drop', each with its standard deviation.

        'drop' is the share of all images that is lost of the accuracy after programming, the mean over a day and a
        month.
        """
        x = self._features(genomes, takes)
        return {name: model.predict(x) for name, model in self._models.items()}

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


def _stretched(accuracy: float) -> float:
    """Stretch accuracies near 1, where what matters is the share of errors: -log10 of the errors, from 0 on."""
    return -math.log10(max(1.0 - accuracy, 1e-3))
