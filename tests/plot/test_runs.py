"""Figures: written whole as PNG and SVG, with labelled axes, units, the noise floor and every method."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from hwloop.errors import BadInputError
from hwloop.files import hdf5
from hwloop.jobs.program import Progress
from hwloop.jobs.tasks import Task, compare_to_file, program_to_file
from hwloop.plot.runs import check_plot_path, plot_drift, plot_runs
from tests.conftest import gaussian

CHIP = "sim:hermes-core?rows=32&columns=32&seed=1"


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    """A matrix of 12 outputs and 40 inputs on four cores: a tile of 32 x 12 cells and one of 8 x 12."""
    path = tmp_path_factory.mktemp("plots") / "w.npy"
    np.save(path, gaussian(12, 40))
    return Task(str(path), CHIP + "&cores=4")


@pytest.fixture(scope="module")
def comparison(task: Task) -> Path:
    """A comparison of three methods, twice each."""
    path = Path(task.weights).with_name("cmp.h5")
    settings = {"gdp": {"max_steps": "6"}, "iterative": {"max_steps": "4"}}
    compare_to_file(task, ["iterative", "gdp", "exact"], path, settings=settings, repeats=2)
    return path


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`drawn(source, floor)` draws a file, of runs or of drift, and gives the figure."""
    kept: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: kept.append(figure))

    def draw(source: Path, floor: float | None = None, *, drift: bool = False) -> Figure:
        if drift:
            plot_drift(source, tmp_path / "plot.png")
        else:
            plot_runs(source, tmp_path / "plot.png", floor)
        return kept[-1]

    return draw


def texts(svg: Path) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg.read_text())


def test_png_is_an_image_with_colours(comparison: Path, tmp_path: Path) -> None:
    plot_runs(comparison, tmp_path / "cmp.png", floor=0.06)
    pixels = imread(tmp_path / "cmp.png")
    assert pixels.shape[0] > 1000
    assert pixels.shape[1] > 1000
    assert len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)) > 100


def test_svg_has_its_words_as_text(comparison: Path, tmp_path: Path) -> None:
    plot_runs(comparison, tmp_path / "cmp.svg", floor=0.0612)
    words = texts(tmp_path / "cmp.svg")
    assert words.count("conductance, uS") == 9
    assert words.count("row (input)") == words.count("column (output)") == 9
    assert {"step", "relative MVM error", "noise floor 0.0612", "iterative, measured", "gdp, measured"} <= set(words)
    assert {f"{method}: w, core 0" for method in ("iterative", "gdp", "exact")} <= set(words)
    assert any(word.startswith("reached - target, rms ") and word.endswith(" uS") for word in words)


def test_the_errors_drawn_are_those_of_the_file(task: Task, drawn, tmp_path: Path) -> None:
    result = program_to_file(task, "gdp", tmp_path / "run.h5", settings={"max_steps": "6"})
    against_step, results = drawn(tmp_path / "run.h5", 0.05).axes[:2]
    curve, star, floor = against_step.get_lines()
    assert len(curve.get_ydata()) == 7
    assert (star.get_xdata()[0], star.get_ydata()[0]) == (6, result["cores"][0]["mvm_error"])
    assert set(floor.get_ydata()) == {0.05}
    assert against_step.get_yscale() == "log"
    assert [bar.get_height() for bar in results.patches] == [result["mvm_error"]]


def test_maps_show_the_largest_tile(comparison: Path, drawn) -> None:
    figure = drawn(comparison)
    images = [axes.images[0] for axes in figure.axes if axes.images and axes.get_xlabel() == "column (output)"]
    assert [image.get_array().shape for image in images] == [(32, 12)] * 9
    target, reached, difference = (np.asarray(image.get_array()) for image in images[:3])
    assert difference == pytest.approx(reached - target)
    assert len({image.get_clim() for image in images[2::3]}) == 1  # to be compared between methods
    assert images[0].get_clim() == images[1].get_clim()


def test_bars_show_medians_and_dots_the_repeats(comparison: Path, drawn) -> None:
    results = drawn(comparison).axes[1]
    dots = [line.get_ydata() for line in results.get_lines()]
    assert [len(errors) for errors in dots] == [2, 2, 2]
    assert [bar.get_height() for bar in results.patches] == pytest.approx([np.mean(errors) for errors in dots])


def test_a_stopped_run_is_drawn_as_far_as_it_came(task: Task, drawn, tmp_path: Path) -> None:
    def stop(progress: Progress) -> None:
        raise KeyboardInterrupt

    program_to_file(task, "exact", tmp_path / "run.h5", observer=stop)
    against_step, results = drawn(tmp_path / "run.h5").axes
    assert not against_step.get_lines()
    assert against_step.get_legend() is None
    assert not results.patches


def test_a_plot_replaces_the_earlier_one_whole(comparison: Path, tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "cmp.png"
    path.write_bytes(b"earlier")

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("cannot draw")

    with monkeypatch.context() as patch:
        patch.setattr(Figure, "savefig", fail)
        with pytest.raises(RuntimeError):
            plot_runs(comparison, path)
    assert path.read_bytes() == b"earlier"
    plot_runs(comparison, path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_where_a_plot_can_go(tmp_path: Path) -> None:
    assert check_plot_path(tmp_path / "a.PNG", tmp_path / "a.h5", force=False) == tmp_path / "a.PNG"
    (tmp_path / "there.svg").touch()
    assert check_plot_path(tmp_path / "there.svg", tmp_path / "a.h5", force=True)
    for name, complaint in (
        ("a.pdf", r"a\.pdf: a plot is a \.png or \.svg file"),
        ("a", "a plot is a"),
        ("there.svg", r"there\.svg exists; use --force"),
        ("missing/a.png", "missing does not exist"),
        ("run.png", "is to hold the data"),
    ):
        with pytest.raises(BadInputError, match=complaint):
            check_plot_path(tmp_path / name, tmp_path / "run.png", force=False)


def test_passings_of_the_limit_are_in_sight(drawn, tmp_path: Path) -> None:
    """One from 2 days to 9, one from 3 days on, one never: two bars, the open one with an arrow at the edge."""
    day = 86400.0
    crossings = {"none": (2 * day, 4 * day, 9 * day), "column": (3 * day, 30 * day, np.inf), "refresh": (np.inf,) * 3}
    with hdf5.WholeFileWriter(tmp_path / "d.h5", hdf5.DRIFT_FORMAT) as writer:
        hdf5.put_attributes(
            writer.file,
            {
                "compensations": ",".join(crossings),
                "limit": 0.15,
                "mvm_error_in_run": 0.1,
                "run": "r.h5",
                "backend": "b",
            },
        )
        hdf5.put(writer.file, "calibrated", 20.0, "s", "age of the columns")
        for name, ages in crossings.items():
            group = writer.file.create_group(f"compensations/{name}")
            for what, units in (("measured_at", "s"), ("mvm_error", "1"), ("pulses", "1")):
                hdf5.append(group, what, 1.0 if what != "pulses" else 0.0, units, "a number")
            hdf5.put(group, "passes_limit", ages, "s", "when")
        writer.commit()
    axes = drawn(tmp_path / "d.h5", drift=True).axes[0]
    bars = [bar.get_segments()[0][:, 0] for bar in axes.collections]
    assert np.allclose(bars[0], [2 * day, 9 * day])
    assert np.allclose(bars[1], [3 * day, 45 * day])
    assert len(bars) == 2
    assert axes.get_xlim()[1] == pytest.approx(45 * day)
    assert [line.get_xdata() for line in axes.lines if line.get_marker() == ">"] == [[45 * day]]
