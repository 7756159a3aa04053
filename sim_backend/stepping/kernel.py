"""The kernel that applies pulses to devices one after the other, compiled by numba where it is installed.

All that happens to a device is computed in the order in which it happens, one step a coincidence: steps may be as large
as the range, and weights meet their bounds on the way. Rows and columns share their trains, as on the chip, so devices
of a row are pulsed together. Without numba the same functions run as they stand, which is much slower.

What is compiled is kept on disk, by the text of this file and of the kinds of device, so that a changed formula is
compiled anew.
"""

from __future__ import annotations

import importlib
import inspect
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from hwloop.sim_backend.stepping import exponential, linear, piecewise, power, soft_bounds
from hwloop.typing import CodeArray, FloatArray, IndexArray

Bits = NDArray[np.uint64]
Single = NDArray[np.float32]
Number = Any
"""One element of an array."""
F = TypeVar("F", bound=Callable[..., Number])

numba: Any = None
with suppress(ImportError):
    numba = importlib.import_module("numba")


class Trains(NamedTuple):
    """A batch of updates, as `hwloop.chip.updates.Updates` has them."""

    x: CodeArray
    d: CodeArray
    length: CodeArray
    row: FloatArray
    """(updates,) probability for each unit of x that a row fires in a slot; of no use to counted trains."""
    column: FloatArray
    """(updates,) the same of columns and d."""
    stochastic: bool


class Specimen(NamedTuple):
    """The devices of a core, as `hwloop.sim_backend.stepping.law.Devices` has them, (devices,) or (2, devices)."""

    form: int
    scale: Single
    low: Single
    high: Single
    own: Single
    shared: FloatArray
    noise: FloatArray
    """(4,) step-to-step spread over the device's scale, over its mean step, and in weights: a constant and a slope."""
    write: float
    """Standard deviation of the noise that a pulse leaves to be seen, weight."""
    pair: bool
    """Whether a step down of a cell is a step up of its device of negative polarity."""


class State(NamedTuple):
    """What pulses change, (devices,) each: devices of positive polarity, then those of negative."""

    weights: Single
    seen: Single
    """Weights with the write noise of the last pulse."""
    counts: CodeArray
    """Pulses received."""


def _compiled(function: F, kept: bool = False) -> F:
    """Return the function, compiled where that is possible, and `kept` on disk."""
    if numba is None:
        return function
    try:
        done: F = numba.njit(function, cache=kept, nogil=True)
    except RuntimeError:  # there is no folder to keep in what is compiled
        done = numba.njit(function, nogil=True)
    return done


_KINDS = (linear, soft_bounds, exponential, power, piecewise)
_linear, _soft_bounds, _exponential, _power, _piecewise = (_compiled(kind.relative) for kind in _KINDS)


@_compiled
def _relative(specimen: Specimen, n: int, up: bool, weight: Number) -> Number:
    """Return the mean step of device n from a weight, over the device's scale."""
    low, high, own, shared = specimen.low[n], specimen.high[n], specimen.own[int(up), n], specimen.shared
    if specimen.form == 0:
        return _linear(weight, up, low, high, own, shared)
    if specimen.form == 1:
        return _soft_bounds(weight, up, low, high, own, shared)
    if specimen.form == 2:
        return _exponential(weight, up, low, high, own, shared)
    if specimen.form == 3:
        return _power(weight, up, low, high, own, shared)
    return _piecewise(weight, up, low, high, own, shared)


@_compiled
def _stepped(specimen: Specimen, n: int, up: bool, weight: Number, rng: np.random.Generator) -> Number:
    """Return the weight of device n after one pulse."""
    scale, noise = specimen.scale[int(up), n], specimen.noise
    size = scale * _relative(specimen, n, up, weight)
    spread = noise[0] * scale + noise[1] * abs(size) + noise[2] + noise[3] * abs(weight)
    if spread > 0.0:
        size += spread * rng.standard_normal()
    weight = weight + size if up else weight - size
    return min(max(weight, specimen.low[n]), specimen.high[n])


@_compiled
def _words(values: CodeArray, unit: FloatArray, trains: Trains, words: Bits, rng: np.random.Generator) -> None:
    """Fill in which slots fire: (lines, updates, words), slot s being bit s % 64 of word s // 64."""
    one = np.uint64(1)
    for u in range(values.shape[0]):
        length = trains.length[u]
        for i in range(values.shape[1]):
            value = abs(values[u, i])
            if value == 0:
                continue
            chance = value * unit[u]
            for s in range(length):
                if rng.random() < chance if trains.stochastic else s < value:
                    words[i, u, s >> 6] |= one << np.uint64(s & 63)


@_compiled
def _pulsed(cell: Number, word: Number, up: bool, specimen: Specimen, state: State, rng: np.random.Generator) -> None:
    """Step the device that updates of a cell reach, once for each bit of a word."""
    n = cell
    if specimen.pair and not up:
        n, up = cell + state.weights.size // 2, True
    weight: Number = state.weights[n]
    one, count = np.uint64(1), 0
    while word:
        weight = np.float32(_stepped(specimen, n, up, weight, rng))
        word &= word - one
        count += 1
    state.weights[n] = weight
    state.counts[n] += count


def _kernels(sources: int) -> tuple[Callable[..., None], Callable[..., None]]:
    """Return what applies a batch of updates, and what applies one pulse each to some devices.

    What is compiled is kept on disk by what its closure holds, so `sources` tells one text of the kinds from another.
    """

    def apply(trains: Trains, specimen: Specimen, state: State, rng: np.random.Generator) -> None:
        updates, rows = trains.x.shape
        columns, words = trains.d.shape[1], (trains.length.max() + 63) // 64
        across = np.zeros((rows, updates, words), np.uint64)
        along = np.zeros((columns, updates, words), np.uint64)
        _words(trains.x, trains.row, trains, across, rng)
        _words(trains.d, trains.column, trains, along, rng)
        driven = np.empty(updates, np.int64)
        for i in range(rows if sources >= 0 else 0):
            count = 0
            for u in range(updates):
                if across[i, u].any():
                    driven[count] = u
                    count += 1
            for j in range(columns if count else 0):
                for k in range(count):
                    u = driven[k]
                    for w in range(words):
                        met = across[i, u, w] & along[j, u, w]
                        if met:
                            up = (trains.x[u, i] > 0) == (trains.d[u, j] > 0)
                            _pulsed(i * columns + j, met, up, specimen, state, rng)
        for n in range(state.weights.size):
            if state.counts[n]:
                state.seen[n] = state.weights[n]
                if specimen.write > 0.0:
                    state.seen[n] += specimen.write * rng.standard_normal()

    def fire(devices: IndexArray, up: bool, specimen: Specimen, state: State, rng: np.random.Generator) -> None:
        for k in range(devices.size if sources >= 0 else 0):
            n = devices[k]
            state.weights[n] = _stepped(specimen, n, up, state.weights[n], rng)
            state.seen[n] = state.weights[n]
            if specimen.write > 0.0:
                state.seen[n] += specimen.write * rng.standard_normal()

    return _compiled(apply, kept=True), _compiled(fire, kept=True)


apply, fire = _kernels(zlib.crc32("".join(map(inspect.getsource, _KINDS)).encode()))
