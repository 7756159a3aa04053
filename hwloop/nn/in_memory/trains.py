"""From numbers to pulse trains: update management, which decides how often rows and columns fire.

A row fires in a slot of a train with a probability proportional to its input, a column likewise, and a device at their
crossing makes one step for each slot in which both fire: the mean is the outer product (Gokmen and Vlasov, Frontiers in
Neuroscience 10, 333, 2016).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from hwloop.chip.updates import PulseTrains
from hwloop.errors import ProgrammingWarning
from hwloop.nn.in_memory.settings import Periphery
from hwloop.typing import BoolArray, CodeArray, FloatArray, IndexArray


@dataclass(frozen=True)
class Trains:
    """A batch of updates as a chip takes them.

    Parameters
    ----------
    x, d
        (updates, rows) and (updates, columns) codes.
    length
        (updates,) slots; none where nothing is to be changed.
    rows, columns
        (updates,) probabilities of a row, and of a column, that is driven by the largest code.
    wanted
        Coincidences at the strongest pair of an update that the learning rate asks for, in the mean of the batch.
    """

    x: CodeArray
    d: CodeArray
    length: IndexArray
    rows: FloatArray
    columns: FloatArray
    wanted: float

    @property
    def some(self) -> BoolArray:
        """(updates,) which of them have any slot."""
        return self.length > 0

    def pulses_of(self, which: BoolArray) -> PulseTrains:
        """Give the trains of some updates."""
        return PulseTrains(self.length[which], self.rows[which], self.columns[which])


def trains_of(x: FloatArray, d: FloatArray, strength: float, levels: int, longest: int, settings: Periphery) -> Trains:
    """Make pulse trains whose mean number of coincidences is `strength` times the outer product.

    How much of a product each side has in its probability is a matter of gains: with update management both sides fire
    with the same largest probability (Gokmen, Onen and Haensch, Frontiers in Neuroscience 11, 538, 2017).

    Parameters
    ----------
    x, d
        (updates, rows) and (updates, columns).
    strength
        Learning rate over the mean step of a device; negative to descend.
    levels
        Code that stands for the largest magnitude.
    longest
        Slots of a train at most.
    settings
        What is managed.
    """
    x_max, d_max = np.abs(x).max(1, initial=0.0), np.abs(d).max(1, initial=0.0)
    wanted = abs(strength) * x_max * d_max
    length = np.where(wanted > 0, float(longest), 0.0)
    if settings.length_management:
        length = np.minimum(np.ceil(wanted), longest)
    slots = np.maximum(length, 1.0)
    if settings.update_management:
        rows = columns = np.minimum(np.sqrt(wanted / slots), 1.0)
    else:
        gain = np.sqrt(abs(strength) / slots)
        rows, columns = np.minimum(gain * x_max, 1.0), np.minimum(gain * d_max, 1.0)
    codes_x, codes_d = _codes(x, x_max, levels), _codes(d if strength > 0 else -d, d_max, levels)
    return Trains(
        codes_x, codes_d, length.astype(np.int64), rows, columns, float(wanted.mean()) if len(wanted) else 0.0
    )


def _codes(values: FloatArray, largest: FloatArray, levels: int) -> CodeArray:
    scale = levels / np.where(largest > 0, largest, 1.0)
    codes: CodeArray = np.rint(values * scale[:, None]).astype(np.int32)
    return codes


class TrainWarning:
    """Warns once when a learning rate asks for more pulses, in the mean, than a train has."""

    def __init__(self, name: str, memory: float = 0.99) -> None:
        """Begin for a matrix, by its name in messages; `memory` is what the mean keeps from batch to batch."""
        self._name, self._memory = name, memory
        self._mean: float | None = None
        self._warned = False

    def note(self, wanted: float, length: int) -> None:
        """Take note of how many coincidences the strongest pairs of a batch have asked for in the mean."""
        before = wanted if self._mean is None else self._mean
        self._mean = self._memory * before + (1 - self._memory) * wanted
        if self._mean > length and not self._warned:
            self._warned = True
            warnings.warn(
                f"{self._name}: its learning rate asks for {self._mean:.0f} pulses where a train has {length}; larger "
                f"gradients count as this many. Lower the rate, or take longer trains (train_length)",
                ProgrammingWarning,
                stacklevel=2,
            )
