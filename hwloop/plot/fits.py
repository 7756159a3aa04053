"""Figures of fits: what was measured against what the model says, one file per experiment and format."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hwloop.calibration.fitting.base import Panel, Series
from hwloop.errors import BadInputError
from hwloop.files import hdf5
from hwloop.plot.runs import FORMATS

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's colours, as in `hwloop.plot.runs`."""
FIT_COLOUR = "#d55e00"
ALONE = "#0072b2"


def draw_fits(
    fits: Mapping[str, Sequence[Panel]], titles: Mapping[str, str], folder: str | Path, *, force: bool
) -> list[str]:
    """Draw the panels of each experiment, under its title, to FOLDER/EXPERIMENT.png and .svg; returns the paths.

    Raises BadInputError as `figure_paths` does.
    """
    paths = figure_paths(fits, folder, force=force)
    for name, panels in fits.items():
        figure = _draw(titles[name], panels)
        for path in paths[name]:
            content = io.BytesIO()
            with matplotlib.rc_context({"svg.fonttype": "none"}):
                figure.savefig(content, format=path.suffix[1:], dpi=110)
            hdf5.replace_file(path, content.getvalue())
    return [str(path) for group in paths.values() for path in group]


def figure_paths(names: Iterable[str], folder: str | Path, *, force: bool) -> dict[str, list[Path]]:
    """Where the figures of experiments go, by name, in a folder that is made.

    Raises BadInputError when the folder cannot be made or a file exists (without force).
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInputError(f"{folder} cannot be made a folder for figures ({error.strerror})") from None
    paths = {name: [folder / f"{name}{suffix}" for suffix in FORMATS] for name in names}
    for path in (path for group in paths.values() for path in group):
        hdf5.check_writable(path, force=force)
    return paths


def _draw(title: str, panels: Sequence[Panel]) -> Figure:
    columns = min(len(panels), 2)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(6.2 * columns, 4.3 * rows), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for place, panel in zip(axes, panels, strict=False):
        _draw_panel(place, panel)
    for place in axes[len(panels) :]:
        place.set_visible(False)
    return figure


def _draw_panel(axes: Axes, panel: Panel) -> None:
    lines = [series for series in panel.series if series.line]
    points = [series for series in panel.series if not series.line]
    for kind, alone in ((points, ALONE), (lines, FIT_COLOUR)):
        for index, series in enumerate(kind):
            _draw_series(axes, series, alone if len(kind) == 1 else PALETTE[index % len(PALETTE)])
    axes.set(title=panel.title, xlabel=panel.x, ylabel=panel.y)
    axes.set_xscale("log" if panel.log_x else "linear")
    axes.set_yscale("log" if panel.log_y else "linear")
    axes.grid(alpha=0.3)
    if not panel.log_y and all((series.y >= 0).all() for series in panel.series):
        axes.set_ylim(bottom=0)
    axes.legend(fontsize="small")


def _draw_series(axes: Axes, series: Series, colour: str) -> None:
    if series.line:
        axes.plot(series.x, series.y, "-", color=colour, label=series.label)
        if series.low is not None and series.high is not None:
            axes.fill_between(series.x, series.low, series.high, color=colour, alpha=0.15)
    elif series.low is not None and series.high is not None:
        error = [series.y - series.low, series.high - series.y]
        axes.errorbar(series.x, series.y, error, fmt=".", color=colour, label=series.label, capsize=2)
    else:
        axes.plot(series.x, series.y, ".", color=colour, label=series.label, ms=5)
