"""Compares what two states of a network answer under noise: what decides whether a training is kept."""

from __future__ import annotations

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
    gain_error
        Standard error of their difference over the images.
    """

    before: float
    after: float
    gain_error: float

    @property
    def gain(self) -> float:
        """What the training has gained."""
        return self.after - self.before

    def to_json(self) -> dict[str, Json]:
        """Give every value by its name."""
        return {"before": self.before, "after": self.after, "gain": self.gain, "gain_error": self.gain_error}

    def better(self, certainty: float) -> bool:
        """Tell whether nothing speaks against the training: a gain beyond its error, or not one answer that changed."""
        return self.gain >= certainty * self.gain_error


def compared(before: torch.Tensor, after: torch.Tensor, shares: torch.Tensor) -> Answers:
    """Compare shares of right answers (images,) of two states, by images of weights `shares` whose mean is 1."""
    weights, gains = shares.double(), after - before
    gain = float((weights * gains).mean())
    spread = float((weights * (gains - gain)).std(correction=min(1, len(gains) - 1)))
    return Answers(float((weights * before).mean()), float((weights * after).mean()), spread / math.sqrt(len(gains)))
