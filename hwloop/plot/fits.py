"""Figures of fits: what was measured against what the model says, one file per experiment and format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hwloop.calibration.fitting.panels import Panel, Series
from hwloop.errors import BadInputError
from hwloop.files import hdf5
from hwloop.plot.style import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION, axes_of, grid, save_figure

PALETTE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
"""Colours of several series of one kind."""
WRITTEN = (".png", ".svg")
"""Kinds of file in which each figure of a fit is written."""


def draw_fits(
    fits: Mapping[str, Sequence[Panel]], titles: Mapping[str, str], folder: str | Path, *, force: bool
) -> list[str]:
    """Draw the panels of each experiment, under its title, to FOLDER/EXPERIMENT.png and .svg; return the paths.

    Raises BadInputError as `figure_paths` does.
    """
    paths = figure_paths(fits, folder, force=force)
    for name, panels in fits.items():
        figure = _draw(titles[name], panels)
        for path in paths[name]:
            save_figure(figure, path)
    return [str(path) for group in paths.values() for path in group]


def figure_paths(names: Iterable[str], folder: str | Path, *, force: bool) -> dict[str, list[Path]]:
    """Say where the figures of experiments go, by name, in a folder that is made.

    Raises BadInputError when the folder cannot be made or a file exists (without force).
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInputError(f"{folder} cannot be made a folder for figures ({error.strerror})") from None
    paths = {name: [folder / f"{name}{suffix}" for suffix in WRITTEN] for name in names}
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
        draw_panel(panel, place)
    for place in axes[len(panels) :]:
        place.set_visible(False)
    return figure


def draw_panel(panel: Panel, ax: Axes | None = None) -> Axes:
    """Draw one diagram of a fit, on `ax` or new axes, and return them."""
    axes = axes_of(ax)
    lines = [series for series in panel.series if series.line]
    points = [series for series in panel.series if not series.line]
    for kind, alone in ((points, BLUE), (lines, VERMILION)):
        for index, series in enumerate(kind):
            _draw_series(axes, series, alone if len(kind) == 1 else PALETTE[index % len(PALETTE)])
    axes.set(title=panel.title, xlabel=panel.x, ylabel=panel.y)
    axes.set_xscale("log" if panel.log_x else "linear")
    axes.set_yscale("log" if panel.log_y else "linear")
    grid(axes)
    if not panel.log_y and all((series.y >= 0).all() for series in panel.series):
        axes.set_ylim(bottom=0)
    axes.legend(fontsize="small")
    return axes


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
