"""Scale of the inputs and range of the converters for given weights and inputs.

A small range clips large outputs, a large one rounds coarsely; the same holds for the inputs. Both are chosen together
by computing, for every candidate, what ideal devices behind real converters would answer to sample inputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from hwloop.chip.info import ChipInfo
from hwloop.devices.normal import normal_density
from hwloop.errors import BadInputError
from hwloop.mapping.activations import Sample, sample_of
from hwloop.typing import AnyArray, FloatArray, Json
from hwloop.units import value

SAMPLES = 512
"""Input vectors that are tried on every candidate."""
INPUT_CANDIDATES = 16
"""Full scales of the inputs that are tried."""
RANGE_CANDIDATES = 48
"""Converter ranges that are tried with each."""
LARGEST_RANGE = 1.6
"""Largest candidate for the range over the largest of the sample outputs."""
LARGEST_CLIPPED = 0.25
"""Smallest candidate for an input's full scale over its largest magnitude."""


@dataclass(frozen=True)
class RangeResult:
    """Scales that minimise the error of clipping, rounding and noise, and the relative error that is left."""

    input_scale: float = value("1", "activation that the largest input code stands for")
    full_scale: float = value("uS", "converter range")
    error: float = value("1", "relative error of the outputs by both converters")
    input_error: float = value("1", "part of clipped and rounded inputs")
    output_error: float = value("1", "part of clipped, rounded and noisy outputs")
    clipped_inputs: float = value("1", "share of inputs beyond the scale")
    clipped_outputs: float = value("1", "share of outputs beyond the range")

    def to_json(self) -> dict[str, Json]:
        """Give every value by its name."""
        return {name: number if np.isfinite(number) else None for name, number in vars(self).items()}


def choose_ranges(
    target: FloatArray,
    info: ChipInfo,
    inputs: FloatArray | Sample | None = None,
    adc_noise: float = 0.0,
    seed: int = 0,
) -> RangeResult:
    """Choose the scale of the inputs and the range of the converters that leave the smallest error.

    Parameters
    ----------
    target
        (rows, columns) signed conductances, uS.
    info
        The chip.
    inputs
        (vectors, rows) activations in any unit, which may be weighted; None: uniform in [-1, 1], at a fixed scale of 1.
    adc_noise
        Standard deviation of the converters' noise, LSB.
    seed
        Seed of the sample inputs and of the noise.

    Raises
    ------
    BadInputError
        For inputs of another width, for what is no number, and for outputs that are all zero.
    """
    if not np.all(np.isfinite(target)):
        raise BadInputError("ranges: conductances contain NaN or infinity")
    if not 0 <= adc_noise < np.inf:
        raise BadInputError(f"ranges: adc_noise={adc_noise:g} LSB is no standard deviation")
    rng = np.random.default_rng(seed)
    if inputs is None:
        sample = Sample(rng.uniform(-1, 1, (SAMPLES, len(target))))
        scales = np.ones(1)
    else:
        sample = checked_inputs(inputs, len(target)).drawn(SAMPLES, rng)
        largest = float(np.abs(sample.vectors).max())
        if largest == 0:
            raise BadInputError("ranges: all sample inputs are zero; give real activations")
        scales = largest * np.geomspace(LARGEST_CLIPPED, 1.0, INPUT_CANDIDATES)
    ideal = sample.vectors @ target
    power = _mean(ideal**2, sample.shares)
    if power == 0:
        raise BadInputError("ranges: these weights answer zero to all sample inputs; nothing can be chosen")
    noise = adc_noise * rng.standard_normal(ideal.shape)
    samples = _Samples(sample.vectors, target, ideal, power, noise, sample.shares)
    tried = [
        _result(samples, float(scale), float(full_scale), info)
        for scale in scales
        for full_scale in _range_candidates(ideal / scale, info)
    ]
    if inputs is not None:
        return min(tried, key=lambda result: result.error)
    # These samples are random: fine converters must not count on the largest of them being the largest there is.
    return min(tried, key=lambda result: result.error**2 + _unseen_clipping(ideal, result.full_scale) / power)


def _range_candidates(sums: FloatArray, info: ChipInfo) -> FloatArray:
    low, high = info.adc_range
    largest = float(np.abs(sums).max())
    candidates = np.clip(largest * np.geomspace(0.1, LARGEST_RANGE, RANGE_CANDIDATES), low, high)
    return np.unique(candidates)


def _unseen_clipping(sums: FloatArray, full_scale: float) -> float:
    """Compute the mean square (uS^2) that clipping takes of normal sums, beyond what it takes of these.

    Parameters
    ----------
    sums
        (vectors, columns) outputs to independent inputs about zero; the normal sums have their variances, uS.
    full_scale
        Range of the converters, uS.
    """
    sigma = np.maximum(sums.std(0), 1e-300)
    a = full_scale / sigma
    expected = 2.0 * sigma**2 * ((1.0 + a**2) * special.ndtr(-a) - a * normal_density(a))
    seen = np.mean(np.maximum(np.abs(sums) - full_scale, 0.0) ** 2)
    return max(float(expected.mean() - seen), 0.0)


@dataclass(frozen=True)
class _Samples:
    """What every candidate is tried on: inputs, conductances, ideal outputs, their mean square, noise, and shares."""

    activations: FloatArray
    target: FloatArray
    ideal: FloatArray
    power: float
    noise: FloatArray
    shares: FloatArray


def _result(samples: _Samples, scale: float, full_scale: float, info: ChipInfo) -> RangeResult:
    """Compute what real converters with these scales would leave of the sample outputs."""
    ideal, power, shares = samples.ideal, samples.power, samples.shares
    whole = np.rint(samples.activations / scale * info.input_max)
    drive = np.clip(whole, -info.input_max, info.input_max) / info.input_max
    sums = drive @ samples.target
    codes = np.rint(sums / full_scale * info.code_max + samples.noise)
    seen = np.clip(codes, -info.code_max, info.code_max) * full_scale / info.code_max * scale
    return RangeResult(
        input_scale=scale,
        full_scale=full_scale,
        error=float(np.sqrt(_mean((seen - ideal) ** 2, shares) / power)),
        input_error=float(np.sqrt(_mean((sums * scale - ideal) ** 2, shares) / power)),
        output_error=float(np.sqrt(_mean((seen - sums * scale) ** 2, shares) / power)),
        clipped_inputs=_mean(np.abs(whole) > info.input_max, shares),
        clipped_outputs=_mean(np.abs(codes) > info.code_max, shares),
    )


def _mean(values: AnyArray, shares: FloatArray) -> float:
    """Average over columns, and over vectors by their shares, whose mean is 1."""
    return float(np.mean(values.mean(1) * shares))


def checked_inputs(inputs: FloatArray | Sample, rows: int) -> Sample:
    """Check sample activations (vectors, rows). Raises BadInputError for another shape and for what is no number."""
    sample = sample_of(inputs)
    activations = sample.vectors
    if activations.ndim != 2 or activations.shape[1] != rows or not len(activations):
        raise BadInputError(f"ranges: sample inputs must have the shape (vectors, {rows}), not {activations.shape}")
    if not np.all(np.isfinite(activations)):
        raise BadInputError("ranges: sample inputs contain NaN or infinity")
    return sample
