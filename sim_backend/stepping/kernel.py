"""The kernel that applies pulses to devices one after the other, compiled by numba where it is installed.

All that happens to a device is computed in the order in which it happens, one step a coincidence: steps may be as large
as the range, and weights meet their bounds on the way. Rows and columns share their trains, as on the chip, so devices
of a row are pulsed together. Without numba the same functions run as they stand, which is much slower.

What is compiled is kept on disk, by the text of this file and of the kinds of device, so that a changed formula is
compiled anew.
"""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hwloop.devices.compiled import compiled, numba
from hwloop.sim_backend.stepping import exponential, linear, piecewise, power, random_words
from hwloop.typing import CodeArray, FloatArray, IndexArray

Bits = NDArray[np.uint64]
Single = NDArray[np.float32]
Number = Any
"""One element of an array."""


class Trains(NamedTuple):
    """A batch of updates, as `hwloop.chip.updates.Updates` has them, of the lines that are driven at all."""

    x: CodeArray
    d: CodeArray
    length: CodeArray
    row: FloatArray
    """(updates,) probability for each unit of x that a row fires in a slot; of no use to counted trains."""
    column: FloatArray
    """(updates,) the same of columns and d."""
    stochastic: bool
    first: int
    """Device of positive polarity where the first row and the first column meet."""
    width: int
    """Devices from one row to the next."""


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


class Chance(NamedTuple):
    """Where random numbers come from."""

    words: Bits
    """(2,) state of the source of random words."""
    normals: Single
    """(65536,) equally likely normal numbers."""


class Converters(NamedTuple):
    """Converters of the lines that are read, (lines,) each, in codes."""

    gain: Single
    """Codes for one uS."""
    offset: Single
    """Codes."""
    noise: float
    """Standard deviation, codes."""
    top: float
    """Largest code."""


_KINDS = (linear, exponential, power, piecewise)
_linear, _exponential, _power, _piecewise = (compiled(kind.relative) for kind in _KINDS)
_next = random_words.interpreted if numba is None else compiled(random_words.following)


class Way(NamedTuple):
    """One device in one direction."""

    form: int
    up: bool
    scale: Number
    low: Number
    high: Number
    own: Number
    shared: FloatArray
    noise: FloatArray


@compiled
def _way(specimen: Specimen, n: int, up: bool) -> Way:
    """Return what is known of device n in one direction."""
    side = int(up)
    scale, own = specimen.scale[side, n], specimen.own[side, n]
    return Way(specimen.form, up, scale, specimen.low[n], specimen.high[n], own, specimen.shared, specimen.noise)


@compiled
def _bent(way: Way, weight: Number) -> Number:
    """Return the mean step of a device of no linear kind, over the device's scale."""
    if way.form == 2:
        return _exponential(weight, way.up, way.low, way.high, way.own, way.shared)
    if way.form == 3:
        return _power(weight, way.up, way.low, way.high, way.own, way.shared)
    return _piecewise(weight, way.up, way.low, way.high, way.own, way.shared)


@compiled
def _word(words: Bits) -> Number:
    """Draw a random word."""
    drawn, words[0], words[1] = _next(words[0], words[1])
    return drawn


@compiled
def _normal(words: Bits, normals: Single) -> Number:
    """Draw a normal number."""
    return normals[_word(words) >> np.uint64(48)]


@compiled
def _stepped(times: int, way: Way, weight: Number, chance: Chance) -> Number:
    """Return the weight of a device after so many pulses in one direction."""
    up, low, high, noise, words = way.up, way.low, way.high, way.noise, chance.words
    of_scale, of_size, fixed, of_weight = noise[0] * way.scale, noise[1], noise[2], noise[3]
    first, second = words[0], words[1]
    for _ in range(times):
        straight = _linear(weight, up, low, high, way.own, way.shared)
        size = way.scale * (straight if way.form == 0 else _bent(way, weight))
        spread = of_scale + of_size * abs(size) + fixed + of_weight * abs(weight)
        if spread > 0.0:
            drawn, first, second = _next(first, second)
            size += spread * chance.normals[drawn >> np.uint64(48)]
        weight = min(max(weight + size if up else weight - size, low), high)
    words[0], words[1] = first, second
    return weight


@compiled
def _fires(length: int, chance: float, line: Bits, words: Bits) -> None:
    """Draw in which slots a line (words,) fires, slot s being bit s % 64 of word s // 64."""
    one, half, mask = np.uint64(1), np.uint64(32), np.uint64(2**32 - 1)
    threshold = np.uint64(chance * 2.0**32)
    first, second = words[0], words[1]
    for w in range(line.size):
        bits = np.uint64(0)
        for s in range(0, min(length - 64 * w, 64), 2):
            drawn, first, second = _next(first, second)
            pair = np.uint64((drawn >> half) < threshold) | (np.uint64((drawn & mask) < threshold) << one)
            bits |= pair << np.uint64(s)
        if length < 64 * w + 64:  # the second slot of the last pair may be none
            bits &= (one << np.uint64(max(length - 64 * w, 0))) - one
        line[w] = bits
    words[0], words[1] = first, second


@compiled
def _lines(values: CodeArray, unit: FloatArray, length: CodeArray, stochastic: bool, lines: Bits, words: Bits) -> None:
    """Fill in the slots of lines (lines, updates, words) that are zero: at random, or the first ones by count."""
    for u in range(values.shape[0]):
        for i in range(values.shape[1]):
            value = abs(values[u, i])
            if value and stochastic:
                _fires(length[u], value * unit[u], lines[i, u], words)
            else:
                for s in range(min(value, length[u])):
                    lines[i, u, s >> 6] |= np.uint64(1) << np.uint64(s & 63)


@compiled
def _bits(word: Number) -> int:
    """Count the bits of a word: in pairs, in fours, in bytes, whose sums a product adds up."""
    word -= (word >> np.uint64(1)) & np.uint64(0x5555555555555555)
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return int((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


def _kernel_of_updates(sources: int) -> Callable[[Trains, Specimen, State, Chance], None]:
    """Return what applies a batch of updates.

    What is compiled is kept on disk by what its closure holds, so `sources` tells one text of the kinds from another.
    """

    def apply(trains: Trains, specimen: Specimen, state: State, chance: Chance) -> None:
        updates, rows = trains.x.shape
        columns, per_train = trains.d.shape[1], (trains.length.max() + 63) // 64
        across = np.zeros((rows, updates, per_train), np.uint64)
        along = np.zeros((columns, updates, per_train), np.uint64)
        _lines(trains.x, trains.row, trains.length, trains.stochastic, across, chance.words)
        _lines(trains.d, trains.column, trains.length, trains.stochastic, along, chance.words)
        driven = np.empty(updates, np.int64)
        sides = 2 if specimen.pair and sources >= 0 else 1
        for i in range(rows):
            count = 0
            for u in range(updates):
                if across[i, u].any():
                    driven[count] = u
                    count += 1
            for j in range(columns if count else 0):
                for side in range(sides):
                    n = trains.first + i * trains.width + j + side * (state.weights.size // 2)
                    received, weight = 0, np.float64(state.weights[n])
                    for k in range(count):
                        u, times = driven[k], 0
                        for w in range(per_train):
                            both = across[i, u, w] & along[j, u, w]
                            if both:
                                times += _bits(both)
                        up = (trains.x[u, i] > 0) == (trains.d[u, j] > 0)
                        if times and not (specimen.pair and up != (side == 0)):
                            received += times
                            weight = _stepped(times, _way(specimen, n, up or specimen.pair), weight, chance)
                    if received:
                        state.counts[n] += received
                        state.weights[n] = state.seen[n] = weight
                        if specimen.write > 0.0:
                            state.seen[n] += specimen.write * _normal(chance.words, chance.normals)

    return compiled(apply, kept=True)


def _kernel_of_pulses(sources: int) -> Callable[[IndexArray, bool, Specimen, State, Chance], None]:
    """Return what applies one pulse each to some devices, kept as the kernel of updates is."""

    def fire(devices: IndexArray, up: bool, specimen: Specimen, state: State, chance: Chance) -> None:
        for n in devices if sources >= 0 else devices[:0]:
            state.weights[n] = _stepped(1, _way(specimen, n, up), state.weights[n], chance)
            state.seen[n] = state.weights[n]
            if specimen.write > 0.0:
                state.seen[n] += specimen.write * _normal(chance.words, chance.normals)

    return compiled(fire, kept=True)


def _kernel_of_converters(sources: int) -> Callable[[Single, CodeArray, Converters, Chance], None]:
    """Return what turns sums (vectors, lines) in uS into codes, kept as the kernel of updates is."""

    def convert(sums: Single, codes: CodeArray, converters: Converters, chance: Chance) -> None:
        top = converters.top if sources >= 0 else 0.0
        for v in range(sums.shape[0]):
            for j in range(sums.shape[1]):
                code = converters.offset[j] + converters.gain[j] * sums[v, j]
                code += converters.noise * _normal(chance.words, chance.normals)
                codes[v, j] = min(max(np.rint(code), -top), top)

    return compiled(convert, kept=True)


_TEXT = zlib.crc32("".join(map(inspect.getsource, (*_KINDS, random_words))).encode())
apply, fire, convert = _kernel_of_updates(_TEXT), _kernel_of_pulses(_TEXT), _kernel_of_converters(_TEXT)
