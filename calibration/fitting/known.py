"""What is known of the devices beforehand, from another experiment, when one is fitted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch

from hwloop.calibration.fitting.forms import build
from hwloop.devices.drift import DriftModel
from hwloop.devices.read_noise import PUBLISHED_READ_NOISE
from hwloop.devices.statistics import Statistic, UpTo
from hwloop.files.fitted_devices import read_noise_of
from hwloop.files.models import Fit, coefficient_names
from hwloop.typing import FloatArray

if TYPE_CHECKING:
    from hwloop.calibration.fitting.base import AnyFitted

Statistics: TypeAlias = tuple[Statistic, Statistic]
"""Mean and spread of the drift coefficient."""


@dataclass(frozen=True)
class KnownDrift:
    """What is known of the drift of the devices, and how well."""

    t0: float
    """Reference age, seconds."""
    g_scale: float
    """Conductance (uS) that counts as 1."""
    noise_growth: float
    """Growth of a read's relative variance per unit of ln(t / t0), over that at t0."""
    statistics: Callable[[torch.Tensor], Statistics] = field(repr=False)
    """Gives mean and spread of nu for coefficients (p,)."""
    coefficients: FloatArray
    """(p,) as fitted."""
    covariance: FloatArray
    """(p, p) of the coefficients."""

    @classmethod
    def of_model(cls, drift: DriftModel, noise_growth: float = 0.0) -> KnownDrift:
        """Take a drift model for exactly true."""
        own = (drift.mean, drift.spread)
        return cls(drift.t0, drift.g_scale, noise_growth, lambda _: own, np.zeros(0), np.zeros((0, 0)))

    @classmethod
    def of_fit(cls, fitted: AnyFitted) -> KnownDrift | None:
        """Take over what a drift fit tells; None for a family that does not hold for single devices.

        Above the largest conductance that is programmed, where SET devices are and the tails of its last level alone
        were measured, statistics are held, as they are wherever a device model is used.
        """
        forms, settings = fitted.record.forms, fitted.record.settings
        if "mean" not in forms:
            return None
        n = len(coefficient_names(forms["mean"]))

        def statistics(theta: torch.Tensor) -> Statistics:
            return UpTo(1.0, build(forms["mean"], theta[:n])), UpTo(1.0, build(forms["spread"], theta[n:]))

        # Coefficients that the data do not determine are taken as held.
        theta, covariance = fitted.optimum.theta[: 2 * n], fitted.optimum.covariance[: 2 * n, : 2 * n]
        covariance = np.where(np.isinf(covariance), 0.0, covariance)
        return cls(settings["t0"], settings["g_scale"], settings["noise_growth"], statistics, theta, covariance)


@dataclass(frozen=True)
class KnownReadNoise:
    """What is known of the noise of a read."""

    variance: Callable[[FloatArray, float, int], FloatArray] = field(repr=False)
    """Gives the relative variance (n,) of reads of conductances (n,) in uS at an age (s), averaged over so many."""
    source: str
    """Where it is known from, for people."""
    averages: int = 0
    """How many reads were averaged where it was measured, if it holds for so many alone; 0: it holds for any."""

    @classmethod
    def of_spectrum(cls, fit: Fit) -> KnownReadNoise:
        """Take over what a fit of read noise tells; the duration of a read is the published one.

        Reads that are averaged have the 1/f noise of one read that takes as long as all of them.
        """

        def variance(conductance: FloatArray, age: float, averages: int) -> FloatArray:
            duration = PUBLISHED_READ_NOISE.t_read * averages
            model = read_noise_of(fit, duration)
            return np.asarray(model.relative_sigma(conductance, max(age, duration)) ** 2, np.float64)

        return cls(variance, "the read-noise fit")

    @classmethod
    def of_drift(cls, fit: Fit, averages: int = 0) -> KnownReadNoise | None:
        """Take over the noise of the reads, each of so many, that a fit of drift tells; None of one that tells none."""
        if "noise" not in fit.forms:
            return None
        form, t0, g_scale = fit.forms["noise"], fit.settings["t0"], fit.settings["g_scale"]
        values = np.log([fit.value(f"noise.v{k}") for k in range(len(form.at))])
        floor, growth = fit.value("noise.floor"), fit.settings["noise_growth"]

        def variance(conductance: FloatArray, age: float, averages: int) -> FloatArray:
            log_g = np.log(np.maximum(conductance, 1e-9) / g_scale)
            grown = max(1.0 + growth * math.log(max(age, 1e-9) / t0), 0.1)
            falling = np.exp(np.interp(log_g, form.at, values)) * grown
            return np.asarray(falling + (floor / np.maximum(conductance, 1e-9)) ** 2)

        return cls(variance, "the noise of reads in the drift fit", averages)


@dataclass(frozen=True)
class KnownDevice:
    """All that is known of the devices; a family takes of it what it can use."""

    drift: KnownDrift | None = None
    """Brings reads of a programming curve to the age at which the curve is stated."""
    read_noise: KnownReadNoise | None = None
    """Is taken off what re-reads of programmed devices scatter."""
    drift_reads: KnownReadNoise | None = None
    """What is known of reads as those of the drift were taken: better, where others are averaged over as many."""

    def noise_of(self, averages: int) -> KnownReadNoise | None:
        """Return what is known best of reads that are averaged over so many."""
        if self.drift_reads is not None and self.drift_reads.averages == averages:
            return self.drift_reads
        return self.read_noise or self.drift_reads


NOTHING_KNOWN = KnownDevice()
