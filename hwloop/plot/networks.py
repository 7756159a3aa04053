"""Figures of networks: error of each matrix, and how much of each nonideality a network bears."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from hwloop.errors import BadInputError
from hwloop.nn.sensitivity import Limit
from hwloop.plot.style import BLUE, GREY, VERMILION, axes_of, grid, plain_numbers


def errors_of_matrices(errors: Mapping[str, float], ax: Axes | None = None) -> Axes:
    """Draw a bar for the MVM error of each matrix of a network, in the network's order from the top."""
    axes = axes_of(ax)
    names = list(errors)
    axes.barh(names, [errors[name] for name in names], color=BLUE)
    axes.invert_yaxis()
    axes.set(xlabel="relative MVM error", title="Error of each matrix")
    grid(axes, "x")
    return axes


def strengths_borne(limits: Sequence[Limit], ax: Axes | None = None) -> Axes:
    """Draw the strength of each nonideality, or of all in one layer, at which a network's accuracy has fallen.

    One that was borne as far as was tried has an arrow at the edge. Raises BadInputError without any.
    """
    if not limits:
        raise BadInputError("nothing was tried before the study was stopped")
    axes = axes_of(ax)
    lost = np.array([np.isfinite(one.value) for one in limits])
    factors = np.array([one.factor for one in limits], np.float64)
    edge = 2 * max([1.0, *factors[lost & np.isfinite(factors)]])
    rows = np.arange(len(limits))
    axes.plot(factors[lost], rows[lost], "o", color=BLUE, label="accuracy has fallen")
    borne = axes.plot(np.full((~lost).sum(), edge), rows[~lost], ">", color=GREY)
    if not lost.all():
        borne[0].set_label("all that was tried is borne")
    axes.hlines(rows[lost], 1.0, factors[lost], color=BLUE, lw=1, alpha=0.5)
    axes.axvline(1.0, color=VERMILION, ls="--", label="this chip")
    axes.set_yticks(rows, [one.name for one in limits])
    axes.invert_yaxis()
    axes.set(xlabel="strength, in the chip's own", xscale="log", title="What the network bears")
    plain_numbers(axes.xaxis)
    grid(axes, "x")
    axes.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=3)
    return axes
