"""What is seen of a figure, as plain values that a test can compare."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.lines import Line2D


def words(axes: Axes) -> tuple[str, str, str]:
    """Title, and what the axes are of."""
    return axes.get_title(), axes.get_xlabel(), axes.get_ylabel()


def legend(axes: Axes) -> list[str]:
    """Entries of the legend; none without one."""
    found = axes.get_legend()
    return [one.get_text() for one in found.get_texts()] if found else []


def line(axes: Axes, label: str) -> Line2D:
    """The line of a label."""
    (found,) = [one for one in axes.get_lines() if one.get_label() == label]
    return found


def points(axes: Axes, label: str) -> list[tuple[float, float]]:
    """Where the points of a line are."""
    found = line(axes, label)
    return [(float(x), float(y)) for x, y in zip(found.get_xdata(), found.get_ydata(), strict=True)]


def grid(axes: Axes) -> tuple[float | None, float | None]:
    """How strong the lines of the grid are, those of x and those of y; None where there are none."""
    each = (axes.get_xgridlines()[0], axes.get_ygridlines()[0])
    return tuple(one.get_alpha() if one.get_visible() else None for one in each)  # type: ignore[return-value]


FAINT = (0.3, 0.3)
"""The grid of most figures: it helps the eye and hides nothing."""
