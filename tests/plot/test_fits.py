"""Figures of fits: a line for the model, points for what was measured, bars and bands where they are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_hex

from hwloop.calibration.fitting.panels import Panel, Series
from hwloop.errors import BadInputError
from hwloop.plot.fits import PALETTE, _draw, draw_fits, draw_panel, figure_paths
from hwloop.plot.style import BLUE, VERMILION

X, Y = np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0, 7.0])


def panel(*series: Series, **scales: bool) -> Panel:
    return Panel("a title", "age (s)", "nu", series, **scales)


def test_a_line_has_its_band_and_points_have_their_bars() -> None:
    axes = draw_panel(panel(Series("model", X, Y, Y - 1, Y + 1, line=True), Series("seen", X, Y + 1, Y, Y + 3)))
    (band,) = [one for one in axes.collections if one.get_alpha() == 0.15]
    corners = band.get_paths()[0].vertices
    assert (corners[:, 1].min(), corners[:, 1].max()) == (3.0, 8.0)
    (bars,) = axes.containers
    assert [segment[:, 1].tolist() for segment in bars[2][0].get_segments()] == [[4, 7], [5, 8], [7, 10]]
    line = next(one for one in axes.lines if one.get_linestyle() == "-")
    assert line.get_xdata().tolist() == X.tolist()
    assert (to_hex(line.get_color()), to_hex(bars[0].get_color())) == (VERMILION, BLUE)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["model", "seen"]
    assert (axes.get_title(), axes.get_xlabel(), axes.get_ylabel()) == ("a title", "age (s)", "nu")


def test_a_bar_or_band_needs_both_its_ends() -> None:
    half = [Series("model", X, Y, low=Y - 1, line=True), Series("seen", X, Y, high=Y + 1), Series("too", X, Y, low=Y)]
    axes = draw_panel(panel(*half))
    assert not axes.collections
    assert not axes.containers
    assert [line.get_marker() for line in axes.lines] == [".", ".", "None"]


def test_several_series_of_a_kind_have_colours_of_their_own() -> None:
    axes = draw_panel(panel(*[Series(str(k), X, Y + k) for k in range(7)]))
    assert [to_hex(line.get_color()) for line in axes.lines] == [*PALETTE, PALETTE[0]]


@pytest.mark.parametrize(
    ("log_x", "log_y", "negative", "bottom"),
    [(False, False, False, True), (True, False, True, False), (True, True, False, False)],
)
def test_an_axis_of_what_is_never_negative_begins_at_zero(
    log_x: bool, log_y: bool, negative: bool, bottom: bool
) -> None:
    other = Series("other", X, Y - 10 if negative else Y)
    axes = draw_panel(panel(Series("seen", X, Y), other, log_x=log_x, log_y=log_y))
    assert (axes.get_xscale(), axes.get_yscale()) == ("log" if log_x else "linear", "log" if log_y else "linear")
    assert (axes.get_ylim()[0] == 0) == bottom


@pytest.mark.parametrize(
    ("panels", "shape", "hidden"), [(1, (1, 1), 0), (2, (1, 2), 0), (3, (2, 2), 1), (5, (3, 2), 1)]
)
def test_panels_are_laid_out_in_two_columns(panels: int, shape: tuple[int, int], hidden: int) -> None:
    figure = _draw("all", [panel(Series("seen", X, Y))] * panels)
    assert len(figure.axes) == shape[0] * shape[1]
    assert [axes.get_visible() for axes in figure.axes] == [True] * panels + [False] * hidden
    assert figure.get_size_inches().tolist() == pytest.approx([6.2 * shape[1], 4.3 * shape[0]])
    assert figure.get_suptitle() == "all"


def test_every_experiment_has_a_figure_of_each_kind(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "figures"
    paths = draw_fits({"drift": [panel(Series("seen", X, Y))]}, {"drift": "Drift"}, folder, force=False)
    assert paths == [str(folder / "drift.png"), str(folder / "drift.svg")]
    assert "Drift" in (folder / "drift.svg").read_text()
    with pytest.raises(BadInputError, match="exists"):
        figure_paths(["drift"], folder, force=False)
    assert figure_paths(["drift"], folder, force=True) == {"drift": [folder / "drift.png", folder / "drift.svg"]}


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInputError, match="file cannot be made a folder for figures"):
        figure_paths(["drift"], tmp_path / "file", force=False)
