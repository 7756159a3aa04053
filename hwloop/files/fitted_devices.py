"""Device models of what was fitted, as the simulated chip runs on them."""

from __future__ import annotations

import math
from dataclasses import replace

from hwloop.devices.bake import BAKE_CURVES, BakeLaw
from hwloop.devices.drift import DriftModel
from hwloop.devices.programming_curve import ProgrammingCurve
from hwloop.devices.read_noise import ReadNoiseModel
from hwloop.devices.relaxation import CURVES, RelaxationLaw
from hwloop.devices.statistics import Knots, PowerLaw
from hwloop.devices.time_law import TimeLaw
from hwloop.errors import BadInputError
from hwloop.files.models import Fit, Model


def drift_model(model: Model) -> DriftModel | None:
    """Return the fitted drift, or None where none was fitted in a form that is one of single devices."""
    fit = model.fits.get("drift")
    if fit is None or "mean" not in fit.forms:
        return None
    t0 = fit.settings["t0"]
    return DriftModel(t0, fit.settings["g_scale"], fit.statistic("mean"), fit.statistic("spread"), time_law(fit))


def time_law(fit: Fit) -> TimeLaw:
    """Return how a fitted drift goes on with age."""
    values = {row.name: row.value for row in fit.parameters if row.name.startswith("law.")}
    onset = values.get("law.onset", 0.0) / fit.settings["t0"]
    return TimeLaw(onset, values.get("law.curvature", 0.0), values.get("law.bend", 0.0))


def is_relaxation(fit: Fit) -> bool:
    """Tell whether a fit is one of relaxation of resistive memory."""
    return CURVES.keys() <= fit.forms.keys()


def relaxation_law(fit: Fit) -> RelaxationLaw:
    """Return the relaxation of resistive memory that was fitted. Raises BadInputError for a fit of anything else."""
    return RelaxationLaw(
        curves={name: fit.statistic(name) for name in CURVES},
        freedom=(1.0 + fit.value("stay_tail"), 1.0 + fit.value("move_tail")),
        warp=fit.value("warp"),
        exponent=fit.settings["exponent"],
        g_scale=fit.settings["g_scale"],
        first_age=fit.settings["first_age"],
        clock=fit.settings["clock"],
        memory=(1.0 / (1.0 + math.exp(-fit.value("memory"))), fit.value("memory_decades")),
        memory_freedom=fit.settings["memory_freedom"],
    )


def is_bake(fit: Fit) -> bool:
    """Tell whether a fit is one of resistive memory that was baked at several temperatures."""
    return {f"{name}_0" for name in BAKE_CURVES} <= fit.forms.keys()


def bake_law(fit: Fit) -> BakeLaw:
    """Return what bakes do to resistive memory, as fitted. Raises BadInputError for a fit of anything else."""
    places = _numbered(fit, "place")
    return BakeLaw(
        curves={name: tuple(fit.statistic(f"{name}_{b}") for b in range(len(places))) for name in BAKE_CURVES},
        knots=places,
        freedom=(1.0 + fit.value("stay_tail"), 1.0 + fit.value("move_tail")),
        warp=fit.value("warp"),
        g_scale=fit.settings["g_scale"],
        energy=fit.value("energy"),
        reference=fit.settings["reference"],
        measured=tuple(zip(_numbered(fit, "kelvin"), _numbered(fit, "seconds"), strict=True)),
    )


def _numbered(fit: Fit, name: str) -> tuple[float, ...]:
    """Return the settings NAME_0, NAME_1 and so on. Raises BadInputError where there is none."""
    keys = [f"{name}_{k}" for k in range(len(fit.settings))]
    found = tuple(fit.settings[key] for key in keys if key in fit.settings)
    if not found:
        raise BadInputError(f"the {fit.experiment} fit ({fit.family}) has no setting '{name}_0'")
    return found


def read_noise_model(model: Model, t_read: float) -> ReadNoiseModel | None:
    """Return read noise of exponent 1 that has the variance of the fitted Q^2 / f^alpha over the measured frequencies.

    Parameters
    ----------
    model
        A fitted model; where it has no read noise, None is returned.
    t_read
        Duration of one read, seconds, which no spectrum shows.
    """
    fit = model.fits.get("read-noise")
    return None if fit is None else read_noise_of(fit, t_read)


def read_noise_of(fit: Fit, t_read: float) -> ReadNoiseModel:
    """Return the same of a read-noise fit."""
    q, alpha, interval = fit.statistic("q"), fit.value("alpha"), fit.settings["interval"]
    # Of Q^2 / f^alpha over that of Q^2 / f, from one over the length of the series to half the sampling rate.
    low, high = -math.log(fit.settings["samples"] * interval), -math.log(2 * interval)
    ends = [(1 - alpha) * end for end in (low, high)]
    share = (math.exp(ends[1]) - math.exp(ends[0])) / (ends[1] - ends[0]) if ends[1] != ends[0] else 1.0
    factor = math.sqrt(share)
    if isinstance(q, PowerLaw):
        q = replace(q, scale=factor * q.scale, cap=factor * q.cap)
    elif isinstance(q, Knots):
        q = replace(q, values=tuple(factor * value for value in q.values))
    return ReadNoiseModel(t_read, fit.settings["g_scale"], q)


CURVE_FIELDS = ("g_min", "g_max", "midpoint", "steepness", "midpoint_spread", "height_spread", "jitter", "noise")
"""What a programming-curve fit says of a `ProgrammingCurve`; melting point and width are settings of the pulses."""


def programming_curve(model: Model, melt: float) -> ProgrammingCurve | None:
    """Return the fitted curve; `melt` is the melting amplitude, uA, which single RESET pulses do not show."""
    fit = model.fits.get("programming-curve")
    return None if fit is None else curve_of(fit, melt)


def curve_of(fit: Fit, melt: float) -> ProgrammingCurve:
    """Return the same of a programming-curve fit. Raises BadInputError for a fit of anything else."""
    return ProgrammingCurve(melt=melt, width=fit.settings["width"], **{name: fit.value(name) for name in CURVE_FIELDS})
