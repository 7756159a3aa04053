"""How long a cell keeps its rank among its like: the correlation of scores of its reads."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import torch

from hwloop.calibration.fitting.layout import Block, Coefficient
from hwloop.calibration.fitting.likelihood import LogLikelihood, Optimum, covariance, maximise, tensor
from hwloop.calibration.fitting.relaxation.settings import RelaxationSettings
from hwloop.calibration.fitting.relaxation.table import RelaxationTable
from hwloop.typing import BoolArray, FloatArray

MEMORY = Block(
    "memory",
    (
        Coefficient("memory", "1", "logit of the correlation of ranks of reads that follow each other at once"),
        Coefficient("memory_decades", "1", "decades of time in which that falls to 1/e", log=True, start=1.0),
    ),
)
"""What is fitted of ranks, once it is known what is predicted of each read by itself."""


def remembered(scores: FloatArray, table: RelaxationTable, settings: RelaxationSettings) -> Optimum:
    """Fit `MEMORY` to pairs of reads by the likelihood of pairs under a Student's t copula.

    Parameters
    ----------
    scores
        (cells, reads) Student's t with the ranks of reads among what was predicted of them.
    table
        When they were read.
    settings
        How far apart the reads of a pair are at most, and degrees of freedom of the scores.
    """
    furthest = min(settings.lags, scores.shape[1] - 1)
    pairs = [_pair(scores, table.decades, table.there, lag) for lag in range(1, furthest + 1)]
    start = np.array([item.start for item in MEMORY.coefficients])
    if not any(bool(known.any()) for *_, known in pairs):
        return Optimum(start, np.full((2, 2), np.nan), 0.0, False)
    likelihood = _likelihood(pairs, settings.memory_freedom)
    found = maximise(likelihood, start, reach=6.0)
    return Optimum(found.theta, covariance(likelihood, found.theta), found.log_likelihood, found.converged)


Pair: TypeAlias = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
"""Scores (cells, pairs) of the later and the earlier read, decades between them, and whether there are both."""


def _pair(scores: FloatArray, decades: FloatArray, there: BoolArray, lag: int) -> Pair:
    known = there[:, lag:] & there[:, :-lag]
    apart = np.abs(decades[:, lag:] - decades[:, :-lag])
    return tensor(scores[:, lag:]), tensor(scores[:, :-lag]), tensor(apart), torch.as_tensor(known)


def _likelihood(pairs: list[Pair], freedom: float) -> LogLikelihood:
    def each(theta: torch.Tensor) -> torch.Tensor:
        total = torch.zeros(len(pairs[0][0]), dtype=torch.float64)
        for later, earlier, apart, known in pairs:
            r = torch.sigmoid(theta[0]) * torch.exp(-apart / torch.exp(theta[1]))
            rest = 1.0 - r**2
            joint = (later**2 + earlier**2 - 2.0 * r * later * earlier) / rest
            density = -0.5 * torch.log(rest) - (0.5 * freedom + 1.0) * torch.log1p(joint / freedom)
            total = total + torch.where(known, density, 0.0).sum(1)
        return total

    return each
