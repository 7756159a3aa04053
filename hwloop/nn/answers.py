"""Compares what two states of a network answer under noise: what decides whether a training is kept."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch

from hwloop.typing import Json


@dataclass(frozen=True)
class Answers:
    """Shares of right answers under noise, before and after a training.

    Parameters
    ----------
    before, after
        Means over images and draws of the noise.
    gain, gain_error
        What the training has gained, and the standard error of it over the images.
    """

    before: float
    after: float
    gain: float
    gain_error: float

    def to_json(self) -> dict[str, Json]:
        """Give every value by its name."""
        return dataclasses.asdict(self)

    def better(self, certainty: float) -> bool:
        """Tell whether nothing speaks against the training: a gain beyond its error, or not one answer that changed."""
        return self.gain >= certainty * self.gain_error


def compared(before: torch.Tensor, after: torch.Tensor, shares: torch.Tensor) -> Answers:
    """Compare shares of right answers (images,) of two states, by images of weights `shares` whose mean is 1."""
    weights, gains = shares.double(), after - before
    gain = float((weights * gains).mean())
    spread = float((weights * (gains - gain)).std(correction=min(1, len(gains) - 1)))
    return Answers(
        float((weights * before).mean()), float((weights * after).mean()), gain, spread / math.sqrt(len(gains))
    )
