"""A growing curve, as the lines of an SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hwloop.web.feed import Point


@dataclass(frozen=True)
class Line:
    """A line of a curve.

    Parameters
    ----------
    name, number
        What it shows, and which colour it has.
    path, band
        Points of the median, and around what lies between smallest and largest.
    last
        Last value, as a text.
    """

    name: str
    number: int
    path: str
    band: str
    last: str


@dataclass(frozen=True)
class Mark:
    """A mark of an axis: where it is, and its text."""

    at: float
    text: str


@dataclass(frozen=True)
class Curve:
    """All that an SVG of a curve needs; pixels within `width` and `height`.

    Parameters
    ----------
    lines, rising, marks
        Its lines, and the marks of both axes.
    width, height, left, bottom
        Size, and where the axes are.
    """

    lines: tuple[Line, ...]
    rising: tuple[Mark, ...]
    marks: tuple[Mark, ...]
    width: int = 640
    height: int = 260
    left: int = 56
    bottom: int = 222


def curve_of(curves: Mapping[str, Sequence[Point]]) -> Curve | None:
    """Make the curve of errors against steps, the errors on a logarithmic axis; None where there is nothing yet."""
    known = {name: [one for one in points if one.error > 0] for name, points in curves.items()}
    known = {name: points for name, points in known.items() if len(points) > 1}
    if not known:
        return None
    size = Curve((), (), ())
    every = [one for points in known.values() for one in points]
    low = math.log10(min(one.smallest if one.smallest > 0 else one.error for one in every))
    high = math.log10(max(one.largest for one in every))
    if high - low < 0.05:
        low, high = low - 0.05, high + 0.05
    last = max(one.step for one in every) or 1.0

    def across(step: float) -> float:
        return round(size.left + (size.width - size.left - 12) * step / last, 1)

    def up(error: float) -> float:
        share = (math.log10(max(error, 10**low)) - low) / (high - low)
        return round(size.bottom - (size.bottom - 14) * share, 1)

    lines = []
    for number, (name, points) in enumerate(known.items()):
        path = " ".join(f"{across(one.step)},{up(one.error)}" for one in points)
        over = [f"{across(one.step)},{up(one.largest)}" for one in points]
        under = [f"{across(one.step)},{up(one.smallest)}" for one in reversed(points)]
        lines.append(Line(name or "MVM error", number % 4, path, " ".join(over + under), f"{points[-1].error:.4f}"))
    rising = tuple(Mark(up(value), f"{value:g}") for value in _values(10**low, 10**high))
    marks = tuple(Mark(across(step), f"{step:g}") for step in _steps(last))
    return Curve(tuple(lines), rising, marks)


def _steps(last: float) -> list[float]:
    """Choose round numbers of steps, about five of them."""
    unit = 10.0 ** math.floor(math.log10(max(last, 1.0) / 4))
    width = max(next(unit * factor for factor in (1, 2, 5, 10) if last / (unit * factor) <= 5), 1.0)
    return [width * number for number in range(int(last / width) + 1)]


def _values(low: float, high: float) -> list[float]:
    """Choose round values between two: 1, 2 and 5 of each decade."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [float(f"{digit}e{decade}") for decade in decades for digit in (1, 1.5, 2, 3, 5, 7)]
    within = [one for one in found if low <= one <= high]
    return within[:: max(1, math.ceil(len(within) / 6))]
