"""Drift with a coefficient per device: the families `spline` and `log-clip`, and `onset` and `curved` of other laws.

settings      thresholds, sizes and tolerances
covariance    what the noise of one device's reads at different ages has in common
growth        how that noise grows with age, and what of it is constant in uS, from residuals
lines         each device reduced to its own G(t0) and nu
noise         the noise of reads, learnt from many lines
screen        stuck devices and outliers
table         all of these in one entry per device
tilt          the slope of the density of conductances
grid          the likelihood of noisy devices, integrated over G(t0) and nu
layout        where the coefficients lie in the parameter vector
likelihood    the likelihood of all devices, and its scores
law           how drift goes on with age: onset, curvature
smoothness    how smooth mean and spread are, by what the data say
start         where the search begins
prediction    a later read from the earlier ones
cleaning      heavy tails and cells that switch, taken off the reads
residuals     checks of a fit
figures       diagrams
family        the families themselves
other_noise   those of reads with other noise than a normal one
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hwloop.calibration.fitting.drift.family import CurvedDrift as CurvedDrift
    from hwloop.calibration.fitting.drift.family import DriftFamily as DriftFamily
    from hwloop.calibration.fitting.drift.family import LogClipDrift as LogClipDrift
    from hwloop.calibration.fitting.drift.family import OnsetDrift as OnsetDrift
    from hwloop.calibration.fitting.drift.family import SplineDrift as SplineDrift
    from hwloop.calibration.fitting.drift.other_noise import HeavyTailedDrift as HeavyTailedDrift
    from hwloop.calibration.fitting.drift.other_noise import TelegraphDrift as TelegraphDrift


FAMILIES = {
    **dict.fromkeys(("CurvedDrift", "DriftFamily", "LogClipDrift", "OnsetDrift", "SplineDrift"), "family"),
    **dict.fromkeys(("HeavyTailedDrift", "TelegraphDrift"), "other_noise"),
}
"""Family -> its module."""


def __getattr__(name: str) -> type:
    """Load the families when they are first asked for."""
    if name not in FAMILIES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    found: type = getattr(importlib.import_module(f"{__name__}.{FAMILIES[name]}"), name)
    return found
