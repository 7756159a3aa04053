"""Measurements drawn from a known model: to see what a planned measurement would tell, and to check the fits.

Everything is in memory and takes no chip: the statistics of `hwloop.devices.model` as they are written down, with
nothing of converters or pulses.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hwloop.devices.drift import DriftModel
from hwloop.devices.read_noise import ReadNoiseModel
from hwloop.devices.statistics import Polynomial
from hwloop.files.measurements import Experiment, Measurement
from hwloop.typing import FloatArray

FIRST_ADDRESS = 1000
"""Address of the first cell of every measurement here; the others follow."""


def drifting(
    drift: DriftModel,
    noise: ReadNoiseModel,
    conductance: FloatArray,
    ages: FloatArray,
    rng: np.random.Generator,
    errors: ReadErrors | None = None,
) -> Measurement:
    """Draw reads of drifting devices.

    Parameters
    ----------
    drift
        Their drift.
    noise
        Read noise of one read, as published.
    conductance
        (cells,) G(t0) in uS.
    ages
        (times,) of the reads, seconds.
    rng
        Draws coefficients first, then the noise.
    errors
        What is different about the noise of these reads.

    Returns
    -------
    Measurement
        Of the experiment `drift`.
    """
    errors = errors or ReadErrors()
    cells = conductance.size
    g = conductance / drift.g_scale
    nu = drift.mean(g) + drift.spread(g) * rng.standard_normal(cells)
    error = rng.standard_normal((ages.size, cells))
    if errors.flicker:
        error = np.linalg.cholesky(_flicker(ages, noise.t_read)) @ error
    reads = np.empty((ages.size, cells))
    for row, age, own in zip(reads, ages.tolist(), error, strict=True):  # ages, not devices
        sigma = errors.scale * noise.relative_sigma(conductance, age)
        row[:] = conductance * (age / drift.t0) ** -nu * (1.0 + sigma * own)
    if errors.constant:
        reads += errors.constant * rng.standard_normal(reads.shape)
    return _measurement(Experiment.DRIFT, reads, ages, {"t0": drift.t0, "g_max": drift.g_scale})


@dataclass(frozen=True)
class ReadErrors:
    """What of the noise of reads is not that of single reads as published."""

    scale: float = 1.0
    """Of the read noise: less than 1 for reads averaged over long times."""
    flicker: bool = False
    """Reads of a device have in common what 1/f noise is since the last pulse; else they are independent."""
    constant: float = 0.0
    """Standard deviation of a further noise of every read, uS, as of a converter."""


def programmed(
    bias: Polynomial, sigma: Polynomial, g_scale: float, target: FloatArray, age: float, rng: np.random.Generator
) -> Measurement:
    """Draw devices programmed to `target` (cells,) in uS and re-read at `age` (seconds), when they have relaxed."""
    g = target / g_scale
    reads = (target + bias(g) + sigma(g) * rng.standard_normal(target.size))[None]
    attributes: dict[str, str | int | float | bool] = {"t0": age, "g_max": g_scale}
    return _measurement(Experiment.PROGRAMMING, reads, np.array([age]), attributes, target=target)


@dataclass(frozen=True)
class Sampling:
    """How a time series is taken."""

    samples: int
    interval: float
    """Seconds between samples."""
    white: float = 0.0
    """Standard deviation of a white noise of each sample, over the conductance."""


def flickering(
    q: FloatArray, conductance: FloatArray, exponent: float, sampling: Sampling, rng: np.random.Generator
) -> Measurement:
    """Draw time series of cells with the relative density Q^2 / f^exponent per Hz and white noise of each sample.

    The 1/f part is drawn in the frequency domain on eight times the length, so that its ends do not meet.

    Parameters
    ----------
    q
        (cells,) Q.
    conductance
        (cells,) in uS.
    exponent
        Of the frequency.
    sampling
        How the series are taken.
    rng
        Draws the 1/f part first.

    Returns
    -------
    Measurement
        Of the experiment `read-noise`.
    """
    length = 8 * sampling.samples
    frequency = np.fft.rfftfreq(length, sampling.interval)
    amplitude = np.zeros_like(frequency)
    amplitude[1:] = np.sqrt(frequency[1:] ** -exponent * length / (2 * sampling.interval) / 2)
    shape = (conductance.size, frequency.size)
    spectrum = amplitude * (rng.standard_normal(shape) + 1j * rng.standard_normal(shape))
    flicker = np.fft.irfft(spectrum, length)[:, : sampling.samples] * q[:, None]
    relative = flicker + sampling.white * rng.standard_normal(flicker.shape)
    reads = (conductance[:, None] * (1.0 + relative)).T
    ages = 10.0 + sampling.interval * np.arange(sampling.samples, dtype=np.float64)
    reads = reads.astype(np.float64)
    return _measurement(Experiment.READ_NOISE, reads, ages, {"g_max": float(conductance.max())})


def _flicker(ages: FloatArray, t_read: float) -> FloatArray:
    """Return the correlation (times, times) of 1/f noise that is zero at age 0, ln((t1 + t2) / |t2 - t1|)."""
    between, sums = np.abs(ages[:, None] - ages), ages[:, None] + ages
    variance = np.log((ages + t_read) / (2 * t_read))
    covariance = np.log(sums / np.where(between > 0, between, sums)) + np.diag(variance)
    return np.asarray(covariance / np.sqrt(variance[:, None] * variance))


def _measurement(
    experiment: Experiment,
    reads: FloatArray,
    ages: FloatArray,
    attributes: dict[str, str | int | float | bool],
    target: FloatArray | None = None,
) -> Measurement:
    """Put reads (times, cells) into the order in which a chip gives them: all cells at one age, then the next."""
    made = Measurement.of(experiment, ages, reads, target, 300.0, attributes)
    return replace(made, cells=replace(made.cells, address=made.cells.address + FIRST_ADDRESS))
