"""Pulsed updates: stochastic pulse trains on rows and columns meet in the devices, which step once a coincidence.

An update is an outer product of a row vector x and a column vector d of whole numbers. Every row and every column is
driven by a train of pulse slots. In a slot, row i fires with the probability `row_probability` |x_i| / levels, column j
with `column_probability` |d_j| / levels, where levels is `info.stepping.levels`; all of them independently, and anew in
every slot. Where both fire, the device at (i, j) makes one step: up for x_i d_j > 0, down for x_i d_j < 0. The mean
number of steps of a device is thus length |x_i d_j| row_probability column_probability / levels^2 (Gokmen and Vlasov,
Frontiers in Neuroscience 10, 333, 2016). A batch holds many updates, which are applied in order.

Counted trains are not stochastic: row i fires in the first |x_i| slots and column j in the first |d_j|, so the device
makes exactly min(|x_i|, |d_j|) steps. They write what an algorithm has counted out in digital.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from hwloop.errors import BadInputError
from hwloop.typing import CodeArray, FloatArray


@dataclass(frozen=True)
class SteppingDevices:
    """What a chip says of devices that pulses move in small steps, up and down.

    A cell is a stepping device of positive polarity less a reference device of negative polarity. Updates step the
    former; `pulse` steps either one, up by SET and down by RESET, whatever its amplitude within the limits.
    """

    step: float
    """Nominal size of one step where up and down are equally large, uS."""
    low: float
    """Smallest signed conductance of a nominal cell, uS."""
    high: float
    """Largest signed conductance of a nominal cell, uS."""
    levels: int
    """Largest integer of an update: a row or column driven by it fires with the full probability."""
    longest: int
    """Slots of the longest pulse train."""
    amplitude: float
    """Peak current of a step pulse made by `pulse`, uA."""
    width: float
    """Duration of it, ns."""
    slot_seconds: float
    """Time of one slot of a train."""
    pair: bool = False
    """Whether both polarities only step up: an update downwards then steps the device of negative polarity."""

    def __post_init__(self) -> None:
        """Check that there are such devices."""
        positive = (self.step, self.amplitude, self.width, self.slot_seconds, self.levels, self.longest)
        # Not `value <= 0`: NaN must not pass.
        if not all(0 < value < math.inf for value in positive) or not -math.inf < self.low < self.high < math.inf:
            raise BadInputError(f"no devices step like this: {self}")

    @property
    def half_range(self) -> float:
        """Half the way from the smallest to the largest conductance of a cell, uS: one unit of weight."""
        return (self.high - self.low) / 2

    @property
    def states(self) -> float:
        """Steps from one end of the range to the other."""
        return (self.high - self.low) / self.step


@dataclass(frozen=True)
class PulseTrains:
    """How the updates of a batch are sent; one value for all of them, or one for each (updates,)."""

    length: ArrayLike = 31
    """Slots of the trains, from 0, which leaves an update out, to `info.stepping.longest`."""
    row_probability: ArrayLike = 1.0
    """Probability with which a row driven by the largest integer fires in a slot."""
    column_probability: ArrayLike = 1.0
    """The same of a column."""
    stochastic: bool = True
    """Whether slots fire at random; else integers count the slots that fire, and probabilities must be 1."""


@dataclass(frozen=True)
class Updates:
    """A batch of updates that passed the checks of the contract, in the order in which they are applied.

    x                   (updates, rows) signed integers
    d                   (updates, columns) signed integers
    length              (updates,) slots of the trains
    row_probability     (updates,) probability that a row driven by the largest integer fires in a slot
    column_probability  (updates,) the same of a column
    stochastic          whether slots fire at random; else |x| and |d| count the slots that fire, from the first on
    """

    x: CodeArray
    d: CodeArray
    length: CodeArray
    row_probability: FloatArray
    column_probability: FloatArray
    stochastic: bool

    def __len__(self) -> int:
        return int(self.length.size)

    @cached_property
    def slots(self) -> int:
        """Slots of all trains: no device can make more steps."""
        return int(self.length.sum())

    @cached_property
    def reached(self) -> tuple[slice, slice]:
        """Neighbouring rows and columns, beyond which nothing is driven; empty slices where nothing is."""
        return driven_lines(self.x), driven_lines(self.d)

    def most_pulses(self) -> CodeArray:
        """Return the most steps (rows, columns) that each device may make in this batch, whatever fires."""
        most = np.zeros((self.x.shape[1], self.d.shape[1]), np.int32)
        rows, columns = self.reached
        x, d, inside = self.x[:, rows], self.d[:, columns], most[rows, columns]
        if self.stochastic:
            slots = (x != 0) * self.length[:, None].astype(np.float64)
            inside += (slots.T @ (d != 0).astype(np.float64)).astype(np.int32)
            return most
        for of_row, of_column in zip(np.abs(x), np.abs(d), strict=True):
            driven = np.flatnonzero(of_row)
            inside[driven] += np.minimum(of_row[driven, None], of_column[None, :])
        return most


def driven_lines(values: CodeArray) -> slice:
    """Return the neighbouring lines of (vectors, lines) beyond which all are zero; none where all of them are."""
    lines = np.flatnonzero(values.any(0))
    return slice(int(lines[0]), int(lines[-1]) + 1) if lines.size else slice(0, 0)


def per_update(values: ArrayLike, count: int, what: str, whole: bool) -> FloatArray:
    """Return one number for each update (count,).

    Raises
    ------
    BadInputError
        For what is neither one real number nor one for each; with `whole`, for what is no integer. Its message begins
        with `what`.
    """
    kinds, called = ("iu", "whole number") if whole else ("iuf", "number")
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadInputError(f"{what} must be a {called}, or one for each update: {error}") from error
    if array.dtype.kind not in kinds or array.shape not in ((), (count,)):
        raise BadInputError(
            f"{what} must be a {called}, or one for each of {count} updates, not {array.dtype} of shape {array.shape}"
        )
    return array.astype(np.float64) if array.ndim else np.full(count, float(array))
