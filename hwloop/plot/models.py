"""Figures of fitted models: what was fitted, by conductance, with its intervals."""

from __future__ import annotations

import textwrap

import numpy as np
from matplotlib.axes import Axes

from hwloop.errors import BadInputError
from hwloop.files.models import BY_CONDUCTANCE, Fit, coefficient_names
from hwloop.plot.style import BLUE, VERMILION, axes_of


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
    axes.grid(alpha=0.3)
    return axes
