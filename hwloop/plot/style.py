"""The look of all figures: colours that readers of all kinds of colour vision tell apart, and files of figures."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from hwloop.errors import BadInputError
from hwloop.files import hdf5

FORMATS = (".png", ".svg", ".pdf")
BLACK, BLUE, SKY, ORANGE, GREEN, VERMILION, PURPLE = (
    "#000000", "#0072b2", "#56b4e9", "#e69f00", "#009e73", "#d55e00", "#cc79a7",
)  # fmt: skip
"""The colours of Okabe and Ito (Color Universal Design, 2008)."""
GREY = "#7a7a7a"
"""Of what only helps the eye."""
SERIES = (BLACK, BLUE, SKY, ORANGE, GREEN, VERMILION, PURPLE)
PIXELS_PER_INCH = 110
"""Resolution of bitmaps."""


@dataclass(frozen=True)
class Style:
    """How a figure looks.

    Parameters
    ----------
    size
        Width and height, inches.
    font_size
        Of its texts, points.
    line_width
        Of its lines, points.
    """

    size: tuple[float, float] = (7.0, 4.5)
    font_size: float = 10.0
    line_width: float = 1.5

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Draw what is drawn within in this style."""
        with matplotlib.rc_context(
            {
                "font.size": self.font_size,
                "axes.titlesize": self.font_size,
                "legend.fontsize": self.font_size - 1,
                "lines.linewidth": self.line_width,
                "pdf.fonttype": 42,  # letters stay letters, which journals ask for
            }
        ):
            yield


SCREEN = Style()
"""For a screen, and half a page."""
PAPER = Style(size=(3.5, 2.6), font_size=7.0, line_width=1.0)
"""For one column of a two-column paper, 89 mm."""


class PlainNumbers(LogFormatter):
    """Writes the ticks of a logarithmic axis as 0.07, not as 7 times a power of ten."""

    def __init__(self) -> None:
        super().__init__(labelOnlyBase=False, minor_thresholds=(2, 0.7))

    def __call__(self, x: float, pos: int | None = None) -> str:
        """Write a tick; nothing where there would be too many."""
        return f"{x:g}" if super().__call__(x, pos) else ""


def plain_numbers(axis: Axis) -> None:
    """Let an axis, logarithmic by now, write its ticks as plain numbers."""
    axis.set_major_formatter(PlainNumbers())
    axis.set_minor_formatter(PlainNumbers())


def grid(axes: Axes, axis: Literal["both", "x", "y"] = "both") -> None:
    """Draw the lines of a grid, faint: they help the eye and hide nothing."""
    axes.grid(axis=axis, alpha=0.3)


def check_figure_path(path: str | Path, source: str | Path, *, force: bool) -> Path:
    """Check that a figure of the file `source` can be written to `path`, and return it.

    Raises
    ------
    BadInputError
        For another kind of file, the data's own file, and a file that exists (without force).
    """
    if Path(path).suffix.lower() not in FORMATS:
        raise BadInputError(f"{path}: a plot is a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} file")
    if Path(path).resolve() == Path(source).resolve():
        raise BadInputError(f"{path} is to hold the data; give another name for the plot")
    return hdf5.check_writable(path, force=force)


def axes_of(ax: Axes | None) -> Axes:
    """Return the axes that were given, or those of a new figure, which a notebook shows below its cell."""
    if ax is not None:
        return ax
    if _in_notebook():
        from matplotlib import pyplot

        shown: Axes = pyplot.figure(figsize=SCREEN.size, layout="constrained").subplots()
        return shown
    made: Axes = Figure(figsize=SCREEN.size, layout="constrained").subplots()
    return made


def _in_notebook() -> bool:
    """Tell whether figures of pyplot are shown where they are made."""
    shell = sys.modules.get("IPython")
    return shell is not None and getattr(shell.get_ipython(), "kernel", None) is not None


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure in one step. Raises BadInputError when that fails."""
    content = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none"}):  # text stays text, which can be searched and edited
        figure.savefig(content, format=path.suffix[1:].lower(), dpi=PIXELS_PER_INCH)
    hdf5.replace_file(path, content.getvalue())
