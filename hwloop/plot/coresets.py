"""Figures of coresets: what a budget of bits was spent on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes

from hwloop.plot.style import BLUE, ORANGE, SKY, axes_of

if TYPE_CHECKING:
    from hwloop.calibration.coresets import Row


def shares_of_budget(rows: Sequence[Row], ax: Axes | None = None) -> Axes:
    """Draw the bits that each tensor of each host got, with its points, bits of a value and bound beside the bar."""
    axes = axes_of(ax)
    hosts = list(dict.fromkeys(row.host for row in rows))
    names = [row.tensor if len(hosts) == 1 else f"{row.tensor}, {row.host}" for row in rows]
    places, bits = np.arange(len(rows)), np.array([row.bits for row in rows])
    colours = [(BLUE, SKY, ORANGE)[hosts.index(row.host) % 3] for row in rows]
    axes.barh(places, bits / 1000.0, color=colours)
    for place, row in zip(places, rows, strict=True):
        text = f" {row.choice.points} points of {row.choice.bits} bits, bound {row.choice.bound:.2g}"
        axes.text(row.bits / 1000.0, float(place), text, va="center", fontsize="small")
    axes.set(xlabel="thousand bits", title="What the budget was spent on", xlim=(0, 1.9 * float(bits.max()) / 1000.0))
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    return axes
