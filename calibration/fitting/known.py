"""What is known of the devices beforehand, from another experiment, when one is fitted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch

from hwloop.calibration.fitting.forms import build
from hwloop.devices.drift import DriftModel
from hwloop.devices.statistics import Statistic, UpTo
from hwloop.files.models import coefficient_names
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
class KnownDevice:
    """All that is known of the devices; a family takes of it what it can use."""

    drift: KnownDrift | None = None
    """Brings reads of a programming curve to the age at which the curve is stated."""


NOTHING_KNOWN = KnownDevice()
