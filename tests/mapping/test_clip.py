"""Clipping of heavy tails: where it pays, what it costs, and that the weights asked for stay what is judged by."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import hwloop
from hwloop.chip.info import ChipInfo
from hwloop.errors import BadInputError
from hwloop.mapping.clip import Clipping, ClipSearch, clip_levels
from hwloop.mapping.faults import avoid_bad_devices
from hwloop.mapping.matrix import Matrix
from hwloop.mapping.partition import map_weights
from hwloop.mapping.sharing import MappingSettings
from hwloop.mapping.split_table import SplitTable
from hwloop.mapping.tile import Tile

TOP = 20.0


def flat_table(variance: float) -> SplitTable:
    target = np.array([0.0, TOP])
    return SplitTable(target, np.stack([target / 2, target / 2]), np.full(2, variance))


def info() -> ChipInfo:
    with hwloop.connect("sim:hermes-core?rows=256&columns=8") as chip:
        return chip.info


def mapped(weights: np.ndarray, **settings: str) -> Tile:
    (tile,) = map_weights([Matrix("w", weights)], info(), MappingSettings(**settings))
    return tile


def test_constant_noise_clips_where_the_derivative_is_zero() -> None:
    # One weight of 1 among n zeros, noise of variance v at conductances up to TOP: at level c the squared error is
    # (1 - c)^2 + n v (c / TOP)^2, least at c = 1 / (1 + n v / TOP^2).
    n, variance = 100, 4.0
    weights = np.zeros((n, 1))
    weights[0] = 1.0
    found = clip_levels(weights, np.ones((1, 1)), flat_table(variance), ClipSearch(levels=2000))
    assert float(found[0, 0]) == pytest.approx(1.0 / (1.0 + n * variance / TOP**2), rel=2e-3)


def test_without_noise_nothing_is_clipped() -> None:
    weights = np.random.default_rng(1).standard_t(3, (64, 5))
    largest = np.abs(weights).max(0, keepdims=True)
    assert np.array_equal(clip_levels(weights, largest, flat_table(0.0)), largest)


def test_one_scale_for_all_columns_has_one_level() -> None:
    weights = np.zeros((100, 3))
    weights[0, 1] = 1.0
    level = clip_levels(weights, np.ones((1, 1)), flat_table(4.0), ClipSearch(levels=2000))
    assert level.shape == (1, 1)
    assert float(level[0, 0]) == pytest.approx(1.0 / (1.0 + 300 * 4.0 / TOP**2), rel=2e-3)


def test_the_cost_counts_what_lies_above_the_level() -> None:
    weights = np.array([[3.0, -1.0], [-2.0, 1.0]])
    cost = Clipping.of(weights, np.array([[2.0, 1.0]]))
    assert cost.share == 0.25
    assert cost.error == pytest.approx(1.0 / np.sqrt(15.0))
    assert str(cost).startswith("25.00% of the weights clipped")
    assert Clipping.of(np.zeros((2, 2)), np.ones((1, 2))) == Clipping(0.0, 0.0)


# ---- tiles -------------------------------------------------------------------------------------------------------


def clipped(weights: np.ndarray, scale: str = "column") -> Tile:
    return mapped(weights, clip="auto", scale=scale)


@pytest.mark.parametrize("scale", ["column", "core"])
def test_targets_are_clipped_and_the_weights_are_those_that_were_given(scale: str) -> None:
    weights = np.random.default_rng(3).standard_normal((256, 8))
    tile = clipped(weights, scale)
    assert tile.clipping is not None
    assert tile.clipping.share > 0
    full = info().g_max * 2
    assert np.abs(tile.target).max() == pytest.approx(full)
    assert tile.weights == pytest.approx(weights, abs=1e-12)
    kept = tile.target * tile.scale
    beyond = np.abs(weights) > tile.scale * full * (1 + 1e-12)
    assert beyond.mean() == pytest.approx(tile.clipping.share)
    assert kept[~beyond] == pytest.approx(weights[~beyond])
    assert np.linalg.norm(kept - weights) / np.linalg.norm(weights) == pytest.approx(tile.clipping.error)
    if scale == "core":
        assert len(set(tile.scale)) == 1


def test_no_clipping_is_asked_for_by_default() -> None:
    tile = mapped(np.eye(8))
    assert tile.clipping is None
    assert tile.lean is None


@pytest.mark.parametrize("split", ["fill", "even", "auto"])
def test_every_split_can_be_clipped_and_keeps_its_own_table(split: str) -> None:
    tile = mapped(np.eye(8), split=split, clip="auto")
    assert tile.split == split
    assert (tile.table is not None) == (split == "auto")
    assert tile.clipping is not None


def test_columns_that_change_places_take_their_clipping_along() -> None:
    from hwloop.chip.cell_calibration import Devices

    weights = np.random.default_rng(3).standard_normal((256, 8))
    tile, chip = clipped(weights), info()
    assert chip.device_model is not None
    known = Devices.nominal(chip.device_model, chip.device_shape)
    usable = np.random.default_rng(1).random(known.usable.shape) > 0.1
    moved = avoid_bad_devices(tile, dataclasses.replace(known, usable=usable), chip)
    assert moved.order is not None
    assert list(moved.order) != list(range(8))
    assert moved.in_output_order(moved.weights) == pytest.approx(weights, abs=1e-12)


# ---- without a model ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", ["split", "clip"])
def test_what_needs_a_device_model_says_how_to_measure_one(asked: str) -> None:
    unknown = dataclasses.replace(info(), device_model=None)
    with pytest.raises(BadInputError, match=f"--{asked} auto needs a model of the devices, and none is known; measure"):
        map_weights([Matrix("w", np.eye(4))], unknown, MappingSettings(**{asked: "auto"}))


def test_the_default_split_is_the_best_that_is_known() -> None:
    unknown = dataclasses.replace(info(), device_model=None)
    assert map_weights([Matrix("w", np.eye(4))], unknown)[0].split == "fill"
    assert map_weights([Matrix("w", np.eye(4))], info())[0].split == "auto"
    single = dataclasses.replace(info(), devices_per_polarity=1)
    assert map_weights([Matrix("w", np.eye(4))], single)[0].split == "fill"
    assert map_weights([Matrix("w", np.eye(4))], info(), MappingSettings(split="fill"))[0].table is None


def test_the_model_of_a_core_is_asked_for_once_for_all_that_share_it() -> None:
    two = dataclasses.replace(info(), cores=2)
    model = two.device_model
    assert model is not None
    other = dataclasses.replace(model, curve=dataclasses.replace(model.curve, noise=1.0))
    weights = np.random.default_rng(1).standard_normal((256, 16))
    first, second = map_weights([Matrix("w", weights)], two, model_of=lambda place: model if place.core == 0 else other)
    assert first.table is not None
    assert second.table is not None
    assert np.any(first.table.variance != second.table.variance)
