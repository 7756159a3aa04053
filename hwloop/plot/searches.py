"""Figures of searches: accuracy against drop, with the front of the best networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes

from hwloop.plot.style import BLUE, GREY, ORANGE, axes_of, grid

if TYPE_CHECKING:
    from hwloop.search.trials import Trial


def accuracy_against_drop(trials: Sequence[Trial], ax: Axes | None = None) -> Axes:
    """Draw the accuracy of networks after programming against what they lose of it in a month, and the front."""
    from hwloop.search.trials import front, objectives, winner

    axes, values = axes_of(ax), objectives(trials)
    best = values[front(trials)]
    chosen = values[winner(trials)]
    axes.plot(100 * values[:, 1], 100 * values[:, 0], "o", color=GREY, alpha=0.5, label=f"{len(trials)} networks")
    axes.step(100 * best[:, 1], 100 * best[:, 0], "o-", where="post", color=BLUE, label="front")
    axes.plot(100 * chosen[1], 100 * chosen[0], "D", color=ORANGE, label="winner")
    axes.set(xlabel="drop over a month, points", ylabel="accuracy after programming, %", title="Networks of a search")
    grid(axes)
    axes.legend(fontsize="small")
    return axes


def best_so_far(trials: Sequence[Trial], ax: Axes | None = None) -> Axes:
    """Draw the accuracy after a month of every network in the order of the search, and the best of them so far."""
    axes = axes_of(ax)
    lasting = 100 * np.array([one.lasting for one in trials])
    number = np.arange(1, len(trials) + 1)
    axes.plot(number, lasting, "o", color=GREY, alpha=0.5, label="each")
    axes.step(number, np.maximum.accumulate(lasting), where="post", color=BLUE, label="best so far")
    axes.set(xlabel="networks", ylabel="accuracy after a month, %", title="Course of a search")
    grid(axes)
    axes.legend(fontsize="small")
    return axes
