"""Figures of explicit memories: how well classes are found again as more of them are learnt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes

from hwloop.plot.style import BLUE, GREY, ORANGE, axes_of, grid

if TYPE_CHECKING:
    from hwloop.nn.memory.few_shot import Asked


def accuracy_by_session(asked: Sequence[Asked], ax: Axes | None = None) -> Axes:
    """Draw accuracy against the classes that are known, with its 95 % interval, beside that of float arithmetic."""
    axes = axes_of(ax)
    taught = [one for one in asked if one.moment.startswith("session")]
    classes = np.array([one.classes for one in taught])
    values = np.array([one.on_chip.value for one in taught])
    ends = np.array([one.on_chip.interval for one in taught]).T
    axes.errorbar(classes, values, np.abs(ends - values), fmt="o-", color=BLUE, capsize=3, label="on the chip")
    axes.plot(classes, [one.in_float.value for one in taught], "s--", color=GREY, label="in float")
    later = [one for one in asked if one not in taught]
    for number, (one, marker) in enumerate(zip(later, "vD", strict=False), 1):
        beside = one.classes + 0.05 * number * (classes[-1] - classes[0])
        axes.plot(beside, one.on_chip.value, marker, color=ORANGE, label=one.moment)
    axes.set(xlabel="classes that are known", ylabel="accuracy on their test images", title="Learning in sessions")
    axes.set_xticks(classes)
    grid(axes)
    axes.legend(fontsize="small")
    return axes
