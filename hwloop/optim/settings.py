"""Settings of a training in memory, how it went, and where it is: plain values, without a word of torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from hwloop.calibration.settings import Settings
from hwloop.errors import BadInputError
from hwloop.registry import suggest
from hwloop.typing import FloatArray

SCHEDULES = ("cosine", "constant")
"""How the learning rates go over the training."""


@dataclass(frozen=True)
class Training(Settings):
    """Settings of a training in memory that do not belong to its algorithm."""

    epochs: int = 30
    """Times that all images are seen."""
    lr: float = 0.0
    """Learning rate of the matrices at its highest; 0: the algorithm's own."""
    digital_lr: float = 0.1
    """Learning rate of biases and other digital parameters at its highest."""
    batch: int = 32
    """Images between two updates of the weights; each of them is an update of its own."""
    schedule: str = SCHEDULES[0]
    """'cosine': rates fall to zero along a cosine; 'constant': they stay."""
    held_out: float = 0.0
    """Share of the training images that is not trained on, to choose settings by; test images are for the end."""
    refresh_every: int = 10
    """Batches from one refresh of pairs of devices that step up alone to the next; 0: never. Other chips need none."""
    reference_epochs: int = -1
    """Epochs of the same network in float, to compare with; -1: as many as on the chip, 0: none."""
    seed: int = 0
    """Of start weights drawn anew, the order of the images, and all else that is drawn outside of the chip."""

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise BadInputError(f"setting schedule='{self.schedule}': {suggest(self.schedule, SCHEDULES)}")
        for name, low, high in (
            ("epochs", 0, 1_000_000), ("lr", 0.0, 1e6), ("digital_lr", 0.0, 1e6), ("batch", 1, 1_000_000),
            ("held_out", 0.0, 0.9), ("refresh_every", 0, 1_000_000), ("reference_epochs", -1, 1_000_000),
            ("seed", 0, 2**53),
        ):  # fmt: skip
            self._require(name, low, high)

    def rate(self, step: int, steps: int) -> float:
        """Give the learning rates of a step over their highest."""
        return 1.0 if self.schedule == "constant" else 0.5 * (1.0 + math.cos(math.pi * step / max(steps, 1)))


@dataclass
class Curves:
    """How a training went, an entry for each epoch.

    Parameters
    ----------
    loss
        Mean of the training images as they were trained on.
    test_accuracy, held_out_accuracy
        Through the chip; empty without such images.
    pulses
        Pulses of all devices so far, start weights included.
    chip_seconds
        Time on the chip so far.
    """

    loss: list[float] = field(default_factory=list)
    test_accuracy: list[float] = field(default_factory=list)
    held_out_accuracy: list[float] = field(default_factory=list)
    pulses: list[float] = field(default_factory=list)
    chip_seconds: list[float] = field(default_factory=list)

    def columns(self) -> dict[str, FloatArray]:
        """Return those that are there, (epochs,) each, by name; NaN for an epoch that was not finished."""
        found = {}
        for name, values in vars(self).items():
            if values:
                found[name] = np.full(len(self.loss), np.nan)
                found[name][: len(values)] = values[: len(self.loss)]
        return found


@dataclass
class Position:
    """Where a training is.

    Parameters
    ----------
    epoch, batch
        What comes next.
    loss
        Sum over the batches of this epoch so far.
    pulses, chip_seconds
        What it has cost so far.
    """

    epoch: int = 0
    batch: int = 0
    loss: float = 0.0
    pulses: float = 0.0
    chip_seconds: float = 0.0
