"""Measurements drawn from a known model: to see what a planned measurement would tell, and to check the fits.

Everything is in memory and takes no chip: the statistics of `hwloop.devices.model` as they are written down, with
nothing of converters or pulses.
"""

from __future__ import annotations

import numpy as np

from hwloop.devices.drift import DriftModel
from hwloop.devices.read_noise import ReadNoiseModel
from hwloop.devices.statistics import Polynomial
from hwloop.files.measurements import Cells, Experiment, Measurement, Reads
from hwloop.typing import FloatArray

FIRST_ADDRESS = 1000


def drifting(
    drift: DriftModel,
    noise: ReadNoiseModel,
    conductance: FloatArray,
    ages: FloatArray,
    rng: np.random.Generator,
    noise_scale: float = 1.0,
    *,
    flicker: bool = False,
    constant: float = 0.0,
) -> Measurement:
    """Devices with G(t0) = conductance (cells,) in uS, read at `ages` (times,) in seconds.

    noise_scale  of the read noise: 1 as published for one read, less for reads averaged over long times
    flicker      reads of a device have in common what 1/f noise is since the last pulse; else they are independent
    constant     standard deviation of a further noise of every read, uS, as of a converter
    """
    cells = conductance.size
    g = conductance / drift.g_scale
    nu = drift.mean(g) + drift.spread(g) * rng.standard_normal(cells)
    error = rng.standard_normal((ages.size, cells))
    if flicker:
        error = np.linalg.cholesky(_flicker(ages, noise.t_read)) @ error
    reads = np.empty((ages.size, cells))
    for row, age, own in zip(reads, ages.tolist(), error, strict=True):  # ages, not devices
        sigma = noise_scale * noise.relative_sigma(conductance, age)
        row[:] = conductance * (age / drift.t0) ** -nu * (1.0 + sigma * own)
    if constant:
        reads += constant * rng.standard_normal(reads.shape)
    return _measurement(Experiment.DRIFT, reads, ages, {"t0": drift.t0, "g_max": drift.g_scale})


def programmed(
    bias: Polynomial, sigma: Polynomial, g_scale: float, target: FloatArray, age: float, rng: np.random.Generator
) -> Measurement:
    """Devices programmed to `target` (cells,) in uS and re-read once they have relaxed."""
    g = target / g_scale
    reads = (target + bias(g) + sigma(g) * rng.standard_normal(target.size))[None]
    attributes: dict[str, str | int | float | bool] = {"t0": age, "g_max": g_scale}
    return _measurement(Experiment.PROGRAMMING, reads, np.array([age]), attributes, target=target)


def flickering(
    q: FloatArray,
    conductance: FloatArray,
    exponent: float,
    white: float,
    samples: int,
    interval: float,
    rng: np.random.Generator,
) -> Measurement:
    """Time series (samples) of cells with the relative density Q^2 / f^exponent per Hz and white noise of each sample.

    The 1/f part is drawn in the frequency domain on eight times the length, so that its ends do not meet.
    """
    length = 8 * samples
    frequency = np.fft.rfftfreq(length, interval)
    amplitude = np.zeros_like(frequency)
    amplitude[1:] = np.sqrt(frequency[1:] ** -exponent * length / (2 * interval) / 2)
    shape = (conductance.size, frequency.size)
    spectrum = amplitude * (rng.standard_normal(shape) + 1j * rng.standard_normal(shape))
    flicker = np.fft.irfft(spectrum, length)[:, :samples] * q[:, None]
    relative = flicker + white * rng.standard_normal(flicker.shape)
    reads = (conductance[:, None] * (1.0 + relative)).T
    ages = 10.0 + interval * np.arange(samples, dtype=np.float64)
    reads = reads.astype(np.float64)
    return _measurement(Experiment.READ_NOISE, reads, ages, {"g_max": float(conductance.max())})


def _flicker(ages: FloatArray, t_read: float) -> FloatArray:
    """Correlation (times, times) of 1/f noise that is zero at age 0: covariance ln((t1 + t2) / |t2 - t1|)."""
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
    """Reads (times, cells) of cells in the order in which a chip gives them: all cells at one age, then the next."""
    times, cells = reads.shape
    columns = {} if target is None else {"target": target}
    return Measurement(
        experiment,
        Cells.at(np.arange(cells) + FIRST_ADDRESS, **columns),
        Reads(
            cell=np.tile(np.arange(cells, dtype=np.int32), times),
            time=np.repeat(ages, cells),
            conductance=reads.ravel(),
            temperature=np.full(times * cells, 300.0),
        ),
        attributes,
    )
