"""The look of all figures: colours that readers of all kinds of colour vision tell apart, and files of figures."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hwloop.errors import BadInputError
from hwloop.files import hdf5

FORMATS = (".png", ".svg")
BLACK, BLUE, SKY, ORANGE, GREEN, VERMILION, PURPLE = (
    "#000000", "#0072b2", "#56b4e9", "#e69f00", "#009e73", "#d55e00", "#cc79a7",
)  # fmt: skip
"""The colours of Okabe and Ito (Color Universal Design, 2008)."""
SERIES = (BLACK, BLUE, SKY, ORANGE, GREEN, VERMILION, PURPLE)
PIXELS_PER_INCH = 110
"""Resolution of bitmaps."""


def check_figure_path(path: str | Path, source: str | Path, *, force: bool) -> Path:
    """Check that a figure of the file `source` can be written to `path`, and return it.

    Raises
    ------
    BadInputError
        For another kind of file, the data's own file, and a file that exists (without force).
    """
    if Path(path).suffix.lower() not in FORMATS:
        raise BadInputError(f"{path}: a plot is a {' or '.join(FORMATS)} file")
    if Path(path).resolve() == Path(source).resolve():
        raise BadInputError(f"{path} is to hold the data; give another name for the plot")
    return hdf5.check_writable(path, force=force)


def axes_of(ax: Axes | None) -> Axes:
    """Return the axes that were given, or those of a new figure."""
    if ax is not None:
        return ax
    made: Axes = Figure(figsize=(7, 4.5), layout="constrained").subplots()
    return made


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure in one step. Raises BadInputError when that fails."""
    content = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none"}):  # text stays text, which can be searched and edited
        figure.savefig(content, format=path.suffix[1:].lower(), dpi=PIXELS_PER_INCH)
    hdf5.replace_file(path, content.getvalue())
