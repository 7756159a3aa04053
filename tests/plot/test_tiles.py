"""Figures of a tile: what is drawn is what the record says."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import hwloop
from hwloop.errors import BadInputError
from hwloop.files.runs import TileRecord
from hwloop.plot.cores import occupancy
from hwloop.plot.tiles import (
    difference_map,
    error_by_conductance,
    fault_map,
    outputs_against_ideal,
    pulse_histogram,
    reached_map,
    target_map,
)
from tests.conftest import gaussian

CHIP = "sim:hermes-core?rows=32&columns=32&seed=1&cores=2"


@pytest.fixture(scope="module")
def tile() -> TileRecord:
    with hwloop.connect(CHIP) as chip:
        return hwloop.program(chip, gaussian(24, 30), hwloop.GDP(max_steps=4)).tiles[0]


def test_maps_are_target_reached_and_their_difference(tile: TileRecord) -> None:
    shown = [np.asarray(draw(tile).images[0].get_array()) for draw in (target_map, reached_map, difference_map)]
    assert shown[0] == pytest.approx(tile.tile.target)
    assert shown[2] == pytest.approx(shown[1] - shown[0])
    spans = [draw(tile).images[0].get_clim() for draw in (target_map, reached_map)]
    assert spans[0] == spans[1]  # to be compared by eye


def test_errors_by_conductance_average_to_those_of_the_tile(tile: TileRecord) -> None:
    reached = tile.tile.target + 0.25
    rms, mean, _ = error_by_conductance(dataclasses.replace(tile, reached=reached)).lines
    assert mean.get_ydata() == pytest.approx(0.25)
    assert rms.get_ydata() == pytest.approx(0.25)
    assert np.all(np.diff(rms.get_xdata()) > 0)
    assert len(rms.get_xdata()) == 24
    rms, _, _ = error_by_conductance(tile).lines
    assert (rms.get_ydata() ** 2).mean() == pytest.approx(((tile.reached - tile.tile.target) ** 2).mean(), rel=1e-6)


def test_every_device_is_counted_once(tile: TileRecord) -> None:
    bars = pulse_histogram(tile).patches
    assert sum(bar.get_height() for bar in bars) == tile.pulses.size
    assert sum(bar.get_height() * round(bar.get_x() + bar.get_width() / 2) for bar in bars) == tile.pulses.sum()


def test_stuck_cells_are_told_from_those_given_up(tile: TileRecord) -> None:
    given_up, stuck = np.zeros((2, *tile.tile.target.shape), bool)
    given_up[0, :3], stuck[0, 0] = True, True
    axes = fault_map(dataclasses.replace(tile, unconverged=given_up, stuck=stuck))
    assert np.asarray(axes.images[0].get_array())[0, :4].tolist() == [2, 1, 1, 0]
    words = [text.get_text() for text in axes.get_legend().get_texts()]
    assert words == [f"converged: {given_up.size - 3}", "given up: 2", "a device is stuck: 1"]


def test_perfect_conductances_give_ideal_outputs(tile: TileRecord) -> None:
    axes = outputs_against_ideal(dataclasses.replace(tile, reached=tile.tile.target))
    assert axes.get_title().endswith("relative error 0.0000")
    assert np.abs(axes.lines[2].get_ydata()).max() == 0.0
    off = outputs_against_ideal(dataclasses.replace(tile, reached=1.1 * tile.tile.target))
    assert off.get_title().endswith("relative error 0.1000")


def test_what_was_not_measured_is_not_drawn(tile: TileRecord) -> None:
    bare = dataclasses.replace(tile, reached=None, pulses=None, unconverged=None, stuck=None)
    for draw in (reached_map, difference_map, error_by_conductance, outputs_against_ideal):
        with pytest.raises(BadInputError, match="conductances were not measured"):
            draw(bare)
    with pytest.raises(BadInputError, match="pulses were not counted"):
        pulse_histogram(bare)
    with pytest.raises(BadInputError, match="cells were not judged"):
        fault_map(bare)


def test_cores_show_which_of_their_cells_are_in_use() -> None:
    with hwloop.connect(CHIP) as chip:
        run = hwloop.program(chip, {"a": gaussian(32, 32), "b": gaussian(16, 32)}, "exact")
    axes = occupancy(run.tiles)
    used = [patch for patch in axes.patches if patch.get_fill()]
    assert sum(patch.get_width() * patch.get_height() for patch in used) == pytest.approx(1.5)
    assert axes.get_title() == "Tiles: 2, cores: 2, of each the first 32 x 32 cells"


def test_what_no_name_fits_in_is_told_by_a_legend() -> None:
    with hwloop.connect(CHIP) as chip:
        run = hwloop.program(chip, {"large": gaussian(24, 32), "thin": gaussian(4, 32)}, "exact")
    axes = occupancy(run.tiles)
    assert [text.get_text() for text in axes.texts if not text.get_text().startswith("core")] == ["large"]
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["large", "thin"]


def test_many_cores_have_a_legend_of_what_they_hold() -> None:
    """Where there is no room for words in the squares."""
    weights = {name: gaussian(32, 24, seed=seed) for seed, name in enumerate(("first", "second"))}
    with hwloop.connect("sim:hermes-core?rows=8&columns=8&cores=32&seed=1") as chip:
        run = hwloop.program(chip, weights, "exact")
    axes = occupancy(run.tiles)
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["first", "second"]
    numbers = [text for text in axes.texts if text.get_text().startswith("core ")]
    squares = [box for box in axes.patches if not box.get_fill()]
    assert len(numbers) == len(squares) == 24
    below = sorted({box.get_y() for box in squares}, reverse=True)
    letters = sorted({text.get_position()[1] for text in numbers}, reverse=True)
    assert all(number < square - 0.1 for square, number in zip(below, letters[1:], strict=False))
