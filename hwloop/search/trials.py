"""Networks that were evaluated, the front of the best of them, and its hypervolume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from hwloop.search.space import Genome
from hwloop.typing import FloatArray, Json


@dataclass(frozen=True)
class Footprint:
    """What a network takes of a chip.

    Parameters
    ----------
    weights, cores
        Weights of its matrices, and cores that hold them.
    latency
        Seconds of its MVMs one after the other; NaN where the chip does not tell.
    shapes
        (inputs, outputs) of each of its matrices, from the first layer to the last; files do not keep them.
    """

    weights: int
    cores: int
    latency: float
    shapes: tuple[tuple[int, int], ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class Trial:
    """A network that was trained and evaluated.

    Parameters
    ----------
    genome
        Its genes.
    network
        Its name, MODULE:FACTORY, or its genes in words.
    footprint
        What it takes.
    in_float
        Accuracy of the digital network on the held-out images.
    programmed, day, month
        Accuracy on each twin: after programming, and at the two later ages, compensated.
    again
        Accuracy after a month of each further training, on other images and fresh twins; only the best have any.
    """

    genome: Genome
    network: str
    footprint: Footprint
    in_float: float
    programmed: tuple[float, ...]
    day: tuple[float, ...]
    month: tuple[float, ...]
    again: tuple[float, ...] = ()

    @property
    def accuracy(self) -> float:
        """Mean accuracy over the twins, after programming."""
        return float(np.mean(self.programmed))

    @property
    def drop_day(self) -> float:
        """What is lost of it in a day."""
        return self.accuracy - float(np.mean(self.day))

    @property
    def drop_month(self) -> float:
        """What is lost of it in a month."""
        return self.accuracy - float(np.mean(self.month))

    @property
    def lasting(self) -> float:
        """Mean accuracy after a month."""
        return float(np.mean(self.month))

    @property
    def proven(self) -> float:
        """Mean accuracy after a month over all trainings."""
        return float(np.mean([self.lasting, *self.again]))

    def to_json(self) -> dict[str, Json]:
        """Give every value by its name."""
        return {
            "genome": list(self.genome), "network": self.network, "weights": self.footprint.weights,
            "cores": self.footprint.cores,
            "latency_seconds": self.footprint.latency if np.isfinite(self.footprint.latency) else None,
            "accuracy_float": self.in_float, "accuracy": self.accuracy, "drop_day": self.drop_day,
            "drop_month": self.drop_month, "accuracy_month": self.lasting,
            "accuracy_month_again": list(self.again),
        }  # fmt: skip


def objectives(trials: Sequence[Trial]) -> FloatArray:
    """Give (trials, 2) accuracy after programming and drop over a month, the first to rise, the second to fall."""
    return np.array([[one.accuracy, one.drop_month] for one in trials], np.float64).reshape(len(trials), 2)


def front(trials: Sequence[Trial]) -> list[int]:
    """Find the trials to which no other is better in accuracy and in drop, by rising drop; one of equal ones.

    A drop below zero counts as none: a network that knows nothing may seem to have learnt something in a month.
    """
    values = _counted(objectives(trials))
    found: list[int] = []
    for number in np.lexsort((-values[:, 0], values[:, 1])):
        if not found or values[number, 0] > values[found[-1], 0]:
            found.append(int(number))
    return found


def hypervolume(trials: Sequence[Trial], worst: tuple[float, float] = (0.0, 1.0)) -> float:
    """Compute the area that a front covers, from the worst accuracy and drop on: larger is better.

    Parameters
    ----------
    trials
        Networks.
    worst
        Accuracy and drop of the corner that is covered from.
    """
    values = _counted(objectives([trials[number] for number in front(trials)]))
    area, reached = 0.0, worst[0]
    for accuracy, drop in values:  # by rising drop, and so by rising accuracy
        area += max(accuracy - reached, 0.0) * max(worst[1] - drop, 0.0)
        reached = max(reached, accuracy)
    return area


def _counted(values: FloatArray) -> FloatArray:
    """Give objectives with drops of zero in place of those below."""
    return np.column_stack([values[:, 0], np.maximum(values[:, 1], 0.0)])


def finalists(trials: Sequence[Trial], count: int) -> list[int]:
    """Find the networks that are the most accurate after a month; the smaller ones of equals first."""
    order = sorted(range(len(trials)), key=lambda one: (-trials[one].lasting, trials[one].footprint.weights, one))
    return order[:count]


def winner(trials: Sequence[Trial]) -> int:
    """Choose the network that is the most accurate after a month, of those that were trained the most often.

    Of a hundred networks the one that looks best has also been lucky; what it reaches in further trainings has not been
    chosen for that.
    """
    often = max(len(one.again) for one in trials)
    tried = [number for number, one in enumerate(trials) if len(one.again) == often]
    return max(tried, key=lambda number: (trials[number].proven, -trials[number].footprint.weights, -number))
