"""Ranges of the converters around a layer: static ones from sample activations, or scales that follow every vector.

A small range clips large values, a large one rounds coarsely. The sample shows how often values are large. For those
that are larger than any in it, the excess over a high threshold is taken as exponential, as the excesses of most
distributions are (Pickands, Ann. Statist. 3, 119, 1975): fine converters then leave room for them, coarse ones do not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hwloop.calibration.settings import Settings
from hwloop.chip.info import Capability, ChipInfo
from hwloop.errors import BadInputError
from hwloop.mapping.activations import Sample, sample_of
from hwloop.typing import AnyArray, FloatArray

INPUT_RANGES = ("error", "percentile", "dynamic")


@dataclass(frozen=True)
class RangeSettings(Settings):
    """How the inputs and outputs of a network's layers are brought into the ranges of the converters."""

    inputs: str = "error"
    """'error': one scale for each tile, that of the least error on sample activations; 'percentile': one scale for each
    tile, the `percentile` of the magnitudes of its sample activations; 'dynamic': every vector is scaled to its own
    largest magnitude (noise management)."""
    percentile: float = 99.9
    """Percentile of the magnitudes other than zero that drives a converter fully, where `inputs` is 'percentile'."""
    bound_management: int = 0
    """Times that a vector whose outputs saturate is repeated, each time at half the scale."""
    vectors: int = 1024
    """Sample input vectors of each matrix that ranges and columns are fitted to."""
    fewest: int = 6
    """Sample vectors, at least, to which columns are fitted; with fewer, those of programming stay."""
    candidates: int = 24
    """Full scales of the inputs that are tried; of converter ranges twice as many are."""
    values: int = 2**15
    """Outputs, about, on which a converter range is tried: those of all columns to some of the sample vectors."""

    def __post_init__(self) -> None:
        if self.inputs not in INPUT_RANGES:
            raise BadInputError(f"setting inputs='{self.inputs}' is unknown; known: {', '.join(INPUT_RANGES)}")
        self._require("percentile", 50, 100)
        self._require("bound_management", 0, 20)
        self._require("vectors", 64, 1_000_000)
        self._require("fewest", 6, 1_000_000)
        self._require("candidates", 2, 1000)
        self._require("values", 1000, 10**8)

    @property
    def dynamic(self) -> bool:
        """Whether every vector has a scale of its own."""
        return self.inputs == "dynamic"


@dataclass(frozen=True)
class Ranges:
    """Scales of one tile.

    Parameters
    ----------
    input_scale
        Input that drives a converter fully, in the network's units; 1 where every vector has its own.
    full_scale
        Converter range, uS.
    """

    input_scale: float
    full_scale: float


def vector_scales(x: AnyArray) -> FloatArray:
    """Return the largest magnitude of each of the vectors (vectors, rows), as (vectors, 1); 1 for a vector of zeros."""
    largest: FloatArray = np.abs(x).max(1, keepdims=True).astype(np.float64)  # no single has a subnormal's inverse
    return np.where(largest > 0, largest, 1.0)


@dataclass(frozen=True)
class Converters:
    """What ranges are chosen for.

    Parameters
    ----------
    input_steps, output_steps
        Steps from zero to the end of the range.
    adc_range
        Smallest and largest range of the output converters, uS.
    """

    input_steps: int
    output_steps: int
    adc_range: tuple[float, float] = (0.0, math.inf)

    @classmethod
    def of(cls, info: ChipInfo, standing: float | None = None) -> Converters:
        """Describe the converters of a chip; `standing` is a range in uS that cannot be changed, where one is known."""
        if standing is None or Capability.ADC_RANGE in info.capabilities:
            return cls(info.input_max, info.code_max, info.adc_range)
        return cls(info.input_max, info.code_max, (standing, standing))


def choose(
    target: FloatArray,
    info: ChipInfo,
    adc_range: float,
    activations: FloatArray | Sample,
    settings: RangeSettings,
    input_scale: float | None = None,
) -> Ranges | None:
    """Choose the ranges of one tile.

    Parameters
    ----------
    target
        (rows, columns) signed conductances, uS.
    info, adc_range
        The chip, and the range of its converters as it stands, which stays where it cannot be set; uS.
    activations
        (vectors, rows) sample inputs in the network's units, which may be weighted.
    settings
        How.
    input_scale
        Input that drives a converter fully, where it is known; None to choose it.

    Returns
    -------
    Ranges or None
        None where all outputs are zero: nothing can be chosen, and nothing is lost by any range.
    """
    converters, sample = Converters.of(info, adc_range), sample_of(activations)
    vectors, scale = sample.vectors, 1.0
    if settings.dynamic:
        vectors = vectors / vector_scales(vectors)
    elif input_scale is None:
        scale = best_input_scale(target, converters, vectors, settings, sample.weights)
    else:
        scale = input_scale
    sums = (vectors / scale) @ target
    if not sums.any():
        return None
    return Ranges(scale, best_full_scale(sums, converters, settings, sample.weights))


def best_input_scale(
    target: FloatArray,
    converters: Converters,
    activations: FloatArray,
    settings: RangeSettings,
    weights: FloatArray | None = None,
) -> float:
    """Choose what drives an input converter fully; 1 for inputs of zeros.

    Parameters
    ----------
    target
        (..., rows, columns) weights, or conductances, in any unit.
    converters
        How finely inputs are rounded.
    activations
        (..., vectors, rows) sample inputs.
    settings
        How.
    weights
        (vectors,) of two-dimensional sample inputs; None: all the same.
    """
    magnitudes = np.abs(activations)
    largest = float(magnitudes.max())
    if largest == 0:
        return 1.0
    if settings.inputs == "percentile":
        return _percentile(magnitudes, settings.percentile, weights)
    count = max(32, settings.values // (4 * target.shape[-1]))
    # Evenly spaced: a sample that was never full lies in the order of the data, which may be that of their classes.
    stride = -(-activations.shape[-2] // count) if weights is None else 1  # a weighted sample is small as it is
    tried, matrix = activations[..., ::stride, :].astype(np.float32), target.astype(np.float32)
    top, tail = converters.input_steps, Tail.of(magnitudes, weights)
    power = float(np.square(target).sum(-2).mean())  # of one unit on every input, mean over columns
    scales = largest * np.geomspace(0.25, 1.5, settings.candidates)
    errors = []
    for scale in scales:
        step = np.float32(scale / top)
        rounded = np.clip(np.rint(tried / step), -top, top) * step
        wrong = np.square((rounded - tried) @ matrix)
        mean = np.mean(wrong) if weights is None else np.average(wrong.mean(-1), weights=weights)
        errors.append(float(mean) + power * tail.unseen(float(scale)))
    return float(scales[np.argmin(errors)])


def best_full_scale(
    sums: FloatArray, converters: Converters, settings: RangeSettings, weights: FloatArray | None = None
) -> float:
    """Choose the converter range for sums (vectors, columns) in uS, whose vectors may have weights (vectors,)."""
    # Whole vectors: a stride through all values would look at the same few columns again and again.
    stride = max(1, sums.size // settings.values) if weights is None else 1
    values = np.abs(sums[::stride]).reshape(-1).astype(np.float32)
    each = None if weights is None else np.repeat(weights, sums.shape[1])
    tail, top = Tail.of(np.abs(sums[::stride]), weights), converters.output_steps
    low, high = converters.adc_range
    ranges = np.unique(np.clip(values.max() * np.geomspace(0.1, 2.0, 2 * settings.candidates), low, high))
    steps = (ranges[:, None] / top).astype(np.float32)
    wrong = values / steps
    np.minimum(np.rint(wrong, out=wrong), top, out=wrong)
    wrong *= steps
    wrong -= values
    errors = np.average(np.square(wrong, out=wrong), axis=1, weights=each) + [tail.unseen(float(one)) for one in ranges]
    return float(ranges[np.argmin(errors)])


def _percentile(magnitudes: FloatArray, percentile: float, weights: FloatArray | None) -> float:
    """Find a percentile of the magnitudes (vectors, rows) other than zero, each of which counts as its vector does."""
    nonzero = magnitudes > 0
    values = magnitudes[nonzero]
    if weights is None:
        return float(np.percentile(values, percentile))
    each = np.broadcast_to(weights[:, None], magnitudes.shape)[nonzero]
    order = np.argsort(values)
    # As numpy's, for weights of one: the first value has the rank 0, the last one the rank 100 %.
    ranks = np.cumsum(each[order]) - each[order]
    return float(np.interp(percentile / 100.0 * ranks[-1], ranks, values[order]))


@dataclass(frozen=True)
class Tail:
    """Values beyond a high threshold, whose excess is exponential.

    Parameters
    ----------
    values
        The largest of a sample, from the threshold up.
    size
        Of the whole sample, by its weights where it has any.
    weights
        Of the values; None: all the same.
    """

    values: FloatArray
    size: float
    weights: FloatArray | None = None

    @classmethod
    def of(cls, magnitudes: FloatArray, weights: FloatArray | None = None) -> Tail:
        """Take the largest hundredth of a sample (vectors, values), whose vectors may have weights (vectors,)."""
        values = magnitudes.reshape(-1)
        if weights is None:
            count = max(1, values.size // 100)
            return cls(np.partition(values, values.size - count)[-count:], values.size)
        each = np.repeat(weights, magnitudes.shape[-1])
        order = np.argsort(values)[::-1]
        beyond = np.cumsum(each[order])
        count = max(1, int(np.searchsorted(beyond, beyond[-1] / 100.0, side="right")))
        return cls(values[order[:count]], float(beyond[-1]), each[order[:count]])

    def unseen(self, limit: float) -> float:
        """Compute by how much the mean square of what exceeds a limit is larger than in the sample; 0 if it is not."""
        threshold = float(self.values.min())
        excess = float(np.average(self.values, weights=self.weights)) - threshold
        if limit < threshold or excess <= 0:
            return 0.0
        counted = np.ones(self.values.size) if self.weights is None else self.weights
        expected = counted.sum() * 2.0 * excess**2 * np.exp(-(limit - threshold) / excess)
        seen = (counted * np.square(np.maximum(self.values - limit, 0.0))).sum()
        return max(float(expected - seen), 0.0) / self.size
