"""Figures: written whole as PNG and SVG, with labelled axes, units, the noise floor and every method."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure
from matplotlib.image import imread

import hwloop
from hwloop.errors import BadInputError
from hwloop.files.runs import RunRecord
from hwloop.plot.runs import draw_runs, error_against_step, results_of_methods
from hwloop.plot.style import axes_of, check_figure_path
from hwloop.plot.tiles import conductance_map
from tests.conftest import gaussian

CHIP = "sim:hermes-core?rows=32&columns=32&seed=1&cores=4"
WEIGHTS = {"w": gaussian(12, 40)}
"""12 outputs and 40 inputs on four cores: a tile of 32 x 12 cells and one of 8 x 12."""
SIX_STEPS = hwloop.GDP(max_steps=6)

Records = list[list[RunRecord]]


@pytest.fixture(scope="module")
def comparison() -> Records:
    """A comparison of three methods, twice each."""
    methods = [hwloop.ProgramVerify(max_steps=4), SIX_STEPS, hwloop.Exact()]
    found = hwloop.compare(CHIP, WEIGHTS, methods, repeats=2)
    return [[run.record for run in runs] for runs in found.runs.values()]


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`drawn(runs, floor)` draws runs, and gives the figure."""
    kept: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: kept.append(figure))

    def draw(runs: Records, floor: float | None = None) -> Figure:
        draw_runs(runs, tmp_path / "plot.png", floor)
        return kept[-1]

    return draw


def texts(svg: Path) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg.read_text())


def test_png_is_an_image_with_colours(comparison: Records, tmp_path: Path) -> None:
    draw_runs(comparison, tmp_path / "cmp.png", floor=0.06)
    pixels = imread(tmp_path / "cmp.png")
    assert pixels.shape[0] > 1000
    assert pixels.shape[1] > 1000
    assert len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)) > 100


def test_svg_has_its_words_as_text(comparison: Records, tmp_path: Path) -> None:
    draw_runs(comparison, tmp_path / "cmp.svg", floor=0.0612)
    words = texts(tmp_path / "cmp.svg")
    assert words.count("conductance, uS") == 9
    assert words.count("row (input)") == words.count("column (output)") == 9
    assert {"step", "relative MVM error", "noise floor 0.0612", "iterative, measured", "gdp, measured"} <= set(words)
    assert {f"{method}: w, core 0" for method in ("iterative", "gdp", "exact")} <= set(words)
    assert any(word.startswith("reached - target, rms ") and word.endswith(" uS") for word in words)


def test_the_errors_drawn_are_those_of_the_run(drawn) -> None:
    with hwloop.connect(CHIP) as chip:
        run = hwloop.program(chip, WEIGHTS, SIX_STEPS)
    against_step, results = drawn([[run.record]], 0.05).axes[:2]
    curve, star, floor = against_step.get_lines()
    assert curve.get_ydata() == pytest.approx(run.tiles[0].steps.mvm_error, nan_ok=True)
    assert len(curve.get_ydata()) == 7
    assert (star.get_xdata()[0], star.get_ydata()[0]) == (6, run.tiles[0].mvm_error)
    assert set(floor.get_ydata()) == {0.05}
    assert against_step.get_yscale() == "log"
    assert [bar.get_height() for bar in results.patches] == [run.mvm_error]


def test_axes_can_be_given_or_made(comparison: Records) -> None:
    """Each part of the figure is a function of its own that draws on any axes and returns them."""
    with hwloop.connect(CHIP) as chip:
        run = hwloop.program(chip, WEIGHTS, SIX_STEPS)
    mine = Figure().subplots()
    assert run.plot(mine) is mine
    assert len(mine.get_lines()) == len(run.plot().get_lines()) == 2
    for draw, data in (
        (error_against_step, comparison[0]),
        (results_of_methods, comparison),
        (conductance_map, run.tiles[0].reached),
    ):
        mine = Figure().subplots()
        assert draw(data, mine) is mine
        assert draw(data).get_xlabel() == mine.get_xlabel()


def test_a_map_of_zeros_has_colours_too() -> None:
    low, high = conductance_map(np.zeros((3, 4))).images[0].get_clim()
    assert low == -high < 0


def test_maps_show_the_largest_tile(comparison: Records, drawn) -> None:
    figure = drawn(comparison)
    images = [axes.images[0] for axes in figure.axes if axes.images and axes.get_xlabel() == "column (output)"]
    assert [image.get_array().shape for image in images] == [(32, 12)] * 9
    target, reached, difference = (np.asarray(image.get_array()) for image in images[:3])
    assert difference == pytest.approx(reached - target)
    assert len({image.get_clim() for image in images[2::3]}) == 1  # to be compared between methods
    widest = max(np.sqrt(np.mean(np.square(image.get_array()))) for image in images[2::3])
    assert images[2].get_clim() == pytest.approx((-3 * widest, 3 * widest))
    assert images[0].get_clim() == images[1].get_clim()


def test_bars_show_medians_and_dots_the_repeats(comparison: Records, drawn) -> None:
    results = drawn(comparison).axes[1]
    dots = [line.get_ydata() for line in results.get_lines()]
    assert [len(errors) for errors in dots] == [2, 2, 2]
    assert [bar.get_height() for bar in results.patches] == pytest.approx([np.mean(errors) for errors in dots])


def test_a_stopped_run_is_drawn_as_far_as_it_came(drawn) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with hwloop.connect(CHIP) as chip:
        run = hwloop.program(chip, WEIGHTS, "exact", progress=stop)
    against_step, results = drawn([[run.record]]).axes
    assert not against_step.get_lines()
    assert against_step.get_legend() is None
    assert not results.patches


def test_a_plot_replaces_the_earlier_one_whole(comparison: Records, tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "cmp.png"
    path.write_bytes(b"earlier")

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("cannot draw")

    with monkeypatch.context() as patch:
        patch.setattr(Figure, "savefig", fail)
        with pytest.raises(RuntimeError, match="cannot draw"):
            draw_runs(comparison, path)
    assert path.read_bytes() == b"earlier"
    draw_runs(comparison, path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_where_a_plot_can_go(tmp_path: Path) -> None:
    assert check_figure_path(tmp_path / "a.PNG", tmp_path / "a.h5", force=False) == tmp_path / "a.PNG"
    (tmp_path / "there.svg").touch()
    assert check_figure_path(tmp_path / "there.svg", tmp_path / "a.h5", force=True)
    for name, complaint in (
        ("a.gif", r"a\.gif: a plot is a \.png, \.svg or \.pdf file"),
        ("a", "a plot is a"),
        ("there.svg", r"there\.svg exists; use --force"),
        ("missing/a.png", "missing does not exist"),
        ("run.png", "is to hold the data"),
    ):
        with pytest.raises(BadInputError, match=complaint):
            check_figure_path(tmp_path / name, tmp_path / "run.png", force=False)


def test_a_notebook_shows_a_figure_that_is_made_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = pyplot.get_fignums()
    axes_of(None)
    assert pyplot.get_fignums() == before, "elsewhere nobody closes what pyplot keeps"
    monkeypatch.setattr("hwloop.plot.style._in_notebook", lambda: True)
    figure = axes_of(None).figure
    assert figure in [pyplot.figure(number) for number in pyplot.get_fignums()]
    pyplot.close(figure)
