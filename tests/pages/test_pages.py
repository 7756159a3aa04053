"""Pages say what their files hold, in words, tables and pictures."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

import hwloop
from hwloop.errors import BadInputError
from hwloop.pages.page import Column, Page, Table
from tests.pages.conftest import KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_has_a_page_with_a_verdict_and_its_origin(results: dict[str, Path], kind: str) -> None:
    page = hwloop.page_of(results[kind])
    assert page.kind.split()[0] == kind
    assert page.verdict.endswith(".")
    assert page.tables
    assert results[kind].name in {Path(fact.text).name for fact in page.provenance}


@pytest.mark.parametrize("kind", KINDS)
def test_a_loaded_result_has_the_page_of_its_file(results: dict[str, Path], kind: str) -> None:
    loaded, by_file = hwloop.page_of(hwloop.load(results[kind])), hwloop.page_of(results[kind])
    assert (loaded.title, loaded.verdict, loaded.tables) == (by_file.title, by_file.verdict, by_file.tables)
    assert [one.name for one in loaded.pictures] == [one.name for one in by_file.pictures]


@pytest.mark.parametrize("kind", KINDS)
def test_every_picture_is_drawn_with_labelled_axes(results: dict[str, Path], kind: str) -> None:
    page = hwloop.page_of(results[kind])
    names = [picture.name for picture in page.pictures]
    assert len(set(names)) == len(names)
    for picture in page.pictures:
        axes = picture.draw(Figure().subplots())
        drawn = [*axes.lines, *axes.patches, *axes.images, *axes.collections]
        assert drawn, picture.name
        assert axes.get_title(), picture.name
        assert picture.caption.endswith("."), picture.name
        named = axes.get_legend_handles_labels()[1]
        assert not named or axes.get_legend() is not None, picture.name
        if axes.lines and picture.name not in ("given-up", "faults", "occupancy", "results"):  # maps and bars
            assert axes.get_xgridlines()[0].get_visible() or axes.get_ygridlines()[0].get_visible(), picture.name
        if picture.name not in ("occupancy", "results"):
            assert axes.get_xlabel(), picture.name
            assert axes.get_ylabel() or picture.name == "history", picture.name


def test_the_page_of_a_run_has_the_numbers_of_the_run(results: dict[str, Path]) -> None:
    run, page = hwloop.load(results["run"]), hwloop.page_of(results["run"])
    low, high = run.mvm_error_interval
    assert page.verdict == f"MVM error {run.mvm_error:.4f} (95 %: {low:.4f} to {high:.4f}), 200s after programming."
    facts = {fact.name: fact.text for fact in page.facts}
    tile = run.tiles[0]
    assert facts["pulses"] == f"{tile.pulses.sum():,}, {tile.pulses_per_device:.2f} a device"
    assert facts["placed on"] == "1 tile of 1 core"
    (row,) = page.tables[0].rows
    assert row[:5] == ("weights", "0", "16 x 12", tile.mvm_error_before, tile.mvm_error)


def test_the_page_of_a_comparison_names_the_best_method(results: dict[str, Path]) -> None:
    found, page = hwloop.load(results["comparison"]), hwloop.page_of(results["comparison"])
    errors = {name: found.mvm_error(name) for name in ("gdp", "iterative")}
    best = min(errors, key=lambda name: errors[name])
    assert page.verdict.startswith(f"{best} is best: MVM error {errors[best]:.4f}, ")
    assert [row[0] for row in page.tables[0].rows] == ["gdp", "iterative", "exact"]
    assert page.tables[0].rows[2][3] == pytest.approx(1.0)


def test_the_page_of_a_drift_study_says_what_is_left_at_the_end(results: dict[str, Path]) -> None:
    study, page = hwloop.load(results["drift"]), hwloop.page_of(results["drift"])
    last = {name: course.mvm_error[-1] for name, course in study.courses.items()}
    assert page.verdict == f"After 1d the MVM error is: none {last['none']:.4f}, column {last['column']:.4f}."


def test_a_stopped_run_says_so_and_has_a_page(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "stopped.h5"
    weights = np.random.default_rng(0).standard_normal((6, 8))
    with hwloop.connect("sim:hermes-core?rows=16&columns=16&seed=1") as chip:
        hwloop.program(chip, weights, "gdp", out=path, progress=stop)
    page = hwloop.page_of(path)
    assert page.verdict.startswith("The run was stopped before its end")
    for picture in page.pictures:
        picture.draw(Figure().subplots())


def test_a_page_tells_an_unknown_picture_from_those_it_has(results: dict[str, Path]) -> None:
    page = hwloop.page_of(results["run"])
    with pytest.raises(BadInputError, match="this run has no picture 'error-vs-stp'; did you mean 'error-vs-step'"):
        page.picture("error-vs-stp")
    with pytest.raises(BadInputError, match="nothing can be drawn of this thing"):
        Page("thing", "title", "verdict", ()).picture("any")


def test_what_has_no_page_is_refused() -> None:
    with pytest.raises(BadInputError, match="a dict has no page"):
        hwloop.page_of({})  # type: ignore[arg-type]
    with pytest.raises(BadInputError, match=r"none\.h5: no such file"):
        hwloop.page_of("none.h5")


@pytest.mark.parametrize(
    ("cell", "text"), [(None, "-"), (math.nan, "-"), ("w", "w"), (1234567, "1,234,567"), (0.07246, "0.0725")]
)
def test_cells_are_written_alike_in_every_medium(cell: str | float | None, text: str) -> None:
    assert Column("of", style=".3g").write(cell) == text


def test_a_column_of_numbers_may_lack_some() -> None:
    table = Table("t", (Column("a"), Column("b")), (("x", None), ("y", 2)))
    assert [table.is_number(0), table.is_number(1)] == [False, True]


def test_a_method_that_takes_no_steps_has_no_picture_of_them() -> None:
    with hwloop.connect("sim:hermes-core?rows=8&columns=8&seed=1") as chip:
        placed = hwloop.page_of(hwloop.program(chip, np.eye(4), "exact"))
        programmed = hwloop.page_of(hwloop.program(chip, np.eye(4), hwloop.GDP(max_steps=2)))
    assert "error-vs-step" not in [picture.name for picture in placed.pictures]
    assert "error-vs-step" in [picture.name for picture in programmed.pictures]
