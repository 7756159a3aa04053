"""Figures of fitted models: what was fitted, by conductance, with its intervals."""

from __future__ import annotations

import textwrap

import numpy as np
from matplotlib.axes import Axes

from hwloop.durations import format_duration
from hwloop.errors import BadInputError
from hwloop.files.fitted_devices import bake_law, curve_of, is_bake
from hwloop.files.models import BY_CONDUCTANCE, Fit, coefficient_names
from hwloop.files.predictions import distribution, level_meaning
from hwloop.plot.style import BLUE, GREY, SKY, VERMILION, axes_of, grid


def statistic_by_conductance(fit: Fit, name: str, ax: Axes | None = None) -> Axes:
    """Draw a statistic of a fit at its knots, with 95 % intervals.

    Raises
    ------
    BadInputError
        For a statistic that is not given by its values at conductances.
    """
    known = [own for own, form in fit.forms.items() if form.kind in BY_CONDUCTANCE]
    if name not in known:
        raise BadInputError(f"the fit has no statistic '{name}' by conductance; there are {', '.join(known) or 'none'}")
    axes = axes_of(ax)
    wanted = [f"{name}.{coefficient}" for coefficient in coefficient_names(fit.forms[name])]
    rows = [row for row in fit.parameters if row.name in wanted]
    at = np.exp(np.array(fit.forms[name].at)) * fit.settings.get("g_scale", 1.0)
    value = np.array([row.value for row in rows])
    low, high = np.array([[row.low, row.high] for row in rows], np.float64).T
    found = np.isfinite(low) & np.isfinite(high)
    axes.plot(at, value, "-", color=VERMILION, lw=1)
    axes.errorbar(
        at[found], value[found], [(value - low)[found], (high - value)[found]], fmt="o", color=BLUE, capsize=3
    )
    axes.plot(at[~found], value[~found], "x", color=BLUE)
    meaning = rows[0].meaning.partition(" at ")[0]
    meaning = meaning.rstrip(", ")
    said = f"{meaning}, {rows[0].unit}" if rows[0].unit != "1" else meaning
    axes.set(xlabel="conductance, uS", ylabel=textwrap.fill(said, 40))
    axes.set(xscale="log", title=f"{fit.experiment}: {name}")
    grid(axes)
    return axes


def statistic_by_formula(fit: Fit, name: str, ax: Axes | None = None) -> Axes:
    """Draw a statistic of a fit that is a formula of the conductance, over the conductances that were measured.

    Raises BadInputError for a statistic that the fit does not have.
    """
    axes, scale = axes_of(ax), fit.settings.get("g_scale", 1.0)
    low, high = fit.conductance_range
    at = np.linspace(max(low, 1e-3 * high), high, 300)
    axes.plot(at, np.asarray(fit.statistic(name)(at / scale)), "-", color=BLUE)
    rows = [row for row in fit.parameters if row.name.startswith(f"{name}.")]
    unit = rows[0].unit if rows and rows[0].unit != "1" else ""
    said = rows[0].meaning.partition(":")[0] if rows else name
    what = "target" if fit.experiment == "programming" else "conductance"
    axes.set(xlabel=f"{what}, uS", ylabel=textwrap.fill(f"{said}, {unit}" if unit else said, 40))
    axes.set(title=f"{fit.experiment}: {name}")
    grid(axes)
    return axes


def fitted_programming_curve(fit: Fit, ax: Axes | None = None) -> Axes:
    """Draw the fitted programming curve, with its spread between devices and between pulses, one sigma each.

    Raises BadInputError for a fit of anything else.
    """
    if "width" not in fit.settings:
        raise BadInputError(f"the {fit.experiment} fit ({fit.family}) is not one of a programming curve")
    curve, axes = curve_of(fit, melt=0.0), axes_of(ax)
    reach = 6.0 * curve.steepness + 2.0 * curve.midpoint_spread
    amplitude = np.linspace(max(curve.midpoint - reach, 0.0), curve.midpoint + reach, 300)
    nominal = curve.conductance(amplitude)
    other = [curve.conductance(amplitude + side * curve.midpoint_spread) for side in (-1.0, 1.0)]
    sigma = curve.pulse_sigma(nominal)
    axes.fill_between(amplitude, other[1], other[0], color=SKY, alpha=0.3, label="between devices")
    axes.plot(amplitude, nominal, color=BLUE, label="typical device")
    for side in (-1.0, 1.0):
        axes.plot(
            amplitude, nominal + side * sigma, "--", color=VERMILION, label="between pulses" if side > 0 else None
        )
    axes.set(xlabel="amplitude, uA", ylabel="conductance after a RESET pulse, uS", title="programming curve, as fitted")
    axes.legend()
    grid(axes)
    return axes


def predicted_by_level(fit: Fit, ax: Axes | None = None) -> Axes:
    """Draw quantiles of what devices of each level read at the last measured age; of bakes, at the ends.

    Raises BadInputError for a fit that predicts no conductances.
    """
    axes, (low, high) = axes_of(ax), fit.conductance_range
    level = np.linspace(max(low, 1e-3 * high), high, 40)
    for (said, age, kelvin), colour in zip(_shown_ages(fit), (BLUE, VERMILION), strict=False):
        predicted = distribution(fit, age, level, kelvin)
        for share, style in ((0.05, ":"), (0.5, "-"), (0.95, "--")):
            axes.plot(level, predicted.quantile(share) - level, style, color=colour, label=f"{share:.0%}, {said}")
    axes.axhline(0.0, color=GREY, lw=0.8)
    axes.set(
        xlabel=f"conductance {level_meaning(fit)}, uS",
        ylabel="predicted change, uS",
        title=f"{fit.experiment}: predicted by level",
    )
    axes.legend()
    grid(axes)
    return axes


def predicted_by_time(fit: Fit, ax: Axes | None = None) -> Axes:
    """Draw quantiles of what devices of a middle level read against time, to a hundred times what was measured.

    Raises BadInputError for a fit that predicts no conductances.
    """
    axes, (low, high), (start, end) = axes_of(ax), fit.conductance_range, fit.time_range
    level, kelvin = 0.5 * (low + high), _shown_ages(fit)[-1][2]
    age = np.geomspace(max(start, 1e-6 * end), 100.0 * end, 60)
    predicted = distribution(fit, age, level, kelvin)
    for share, style in ((0.05, ":"), (0.5, "-"), (0.95, "--")):
        axes.plot(age, predicted.quantile(share), style, color=BLUE, label=f"{share:.0%}")
    axes.axvspan(end, age[-1], color=GREY, alpha=0.15, label="not measured")
    at = "" if kelvin is None or len(_shown_ages(fit)) < 2 else f" at {kelvin:.0f} K"
    axes.set(xlabel="age, s", ylabel="predicted conductance, uS", title=f"{level:.3g} uS {level_meaning(fit)}{at}")
    axes.set_xscale("log")
    axes.legend()
    grid(axes)
    return axes


def _shown_ages(fit: Fit) -> list[tuple[str, float, float | None]]:
    """Return what to call them, ages (s) and temperatures (K) at which predictions are shown."""
    if not is_bake(fit):
        return [(format_duration(fit.time_range[1]), fit.time_range[1], None)]
    measured = sorted(bake_law(fit).measured)
    ends = measured if len(measured) == 1 else [measured[0], measured[-1]]
    where = [f" at {kelvin:.0f} K" if len(ends) > 1 else "" for kelvin, _ in ends]
    return [(format_duration(age) + at, age, kelvin) for (kelvin, age), at in zip(ends, where, strict=True)]
