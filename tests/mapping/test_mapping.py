"""From weights to conductances: nothing is lost, nothing overlaps, everything lies inside."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import hwloop
from hwloop.chip.cell_calibration import Devices
from hwloop.chip.info import ChipInfo, PulseLimits
from hwloop.errors import BadInputError
from hwloop.mapping.faults import avoid_bad_devices
from hwloop.mapping.matrix import Matrix
from hwloop.mapping.partition import RANGE_SIGMAS, map_weights, pack
from hwloop.mapping.sharing import MappingSettings
from hwloop.mapping.split import split_devices

CHIP = ChipInfo(
    name="test",
    serial="0",
    cores=3,
    rows=16,
    columns=12,
    devices_per_polarity=2,
    input_bits=8,
    output_bits=8,
    g_max=10.0,
    read_voltage=0.2,
    adc_range=(1.0, 1e6),
    limits=PulseLimits(500.0, 20.0, 2e4, 10_000),
    capabilities=frozenset(),
)
ROOMY = dataclasses.replace(CHIP, cores=100)


@st.composite
def weight_matrices(draw):
    """Matrices of all shapes and scales, dense and sparse, with columns of zeros and with single large weights."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = draw(st.tuples(st.integers(1, 40), st.integers(1, 30)))
    values = rng.standard_t(2, shape) * 10.0 ** draw(st.integers(-12, 12))
    values *= rng.random(shape) < draw(st.sampled_from([0.05, 0.5, 1.0]))
    values[:, rng.random(shape[1]) < draw(st.sampled_from([0.0, 0.3]))] = 0.0
    return values


def rebuilt(tiles, shape):
    """The matrix that the tiles stand for, from their targets and scales alone."""
    matrix = np.full(shape, np.nan)
    for tile in tiles:
        rows, columns = tile.target.shape
        matrix[tile.first_input : tile.first_input + rows, tile.first_output : tile.first_output + columns] = (
            tile.scale * tile.target
        )
    return matrix


# ---- packing ----------------------------------------------------------------------------------------------------


def occupied(places, info):
    """How many rectangles lie on each cell of the chip, (cores, rows, columns)."""
    cells = np.zeros((info.cores, info.rows, info.columns), int)
    for p in places:
        assert min(p.core, p.row, p.column) >= 0
        assert p.core < info.cores
        assert p.row + p.rows <= info.rows
        assert p.column + p.columns <= info.columns
        cells[p.core, p.row : p.row + p.rows, p.column : p.column + p.columns] += 1
    return cells


sizes = st.lists(st.tuples(st.integers(1, 16), st.integers(1, 12)), max_size=40)


@given(sizes)
def test_places_lie_inside_the_cores_and_never_overlap(wanted):
    places = pack(wanted, ROOMY)
    assert [(p.rows, p.columns) for p in places] == wanted
    cells = occupied(places, ROOMY)
    assert cells.max(initial=0) <= 1
    assert cells.sum() == sum(rows * columns for rows, columns in wanted)


@given(sizes)
def test_a_small_chip_holds_them_or_says_that_it_cannot(wanted):
    try:
        places, complaint = pack(wanted, CHIP), ""
    except BadInputError as error:
        places, complaint = [], str(error)
    assert occupied(places, CHIP).max(initial=0) <= 1
    assert len(places) == len(wanted) or "do not fit on test, which has 3 core(s) of 16 x 12 cells" in complaint


def test_small_rectangles_share_a_core():
    places = pack([(4, 6)] * 8, CHIP)
    assert {p.core for p in places} == {0}
    assert occupied(places, CHIP)[0].all()


def test_full_cores_go_one_to_a_core():
    assert [p.core for p in pack([(16, 12)] * 3, CHIP)] == [0, 1, 2]
    with pytest.raises(BadInputError, match=r"768 cells in 4 tiles"):
        pack([(16, 12)] * 4, CHIP)


def test_a_matrix_too_large_for_the_chip_is_refused():
    with pytest.raises(BadInputError, match="use a chip with more cores"):
        map_weights([Matrix("fc1", np.ones((100, 100)))], CHIP)


# ---- mapping ----------------------------------------------------------------------------------------------------


@given(weight_matrices(), st.sampled_from(["column", "core"]), st.integers(1, 3))
def test_targets_times_scale_are_the_weights(values, scale, devices):
    info = dataclasses.replace(ROOMY, devices_per_polarity=devices)
    tiles = map_weights([Matrix("w", values)], info, MappingSettings(scale=scale))
    assert rebuilt(tiles, values.shape) == pytest.approx(values, rel=1e-12, abs=0)
    assert all(np.array_equal(tile.weights, tile.target * tile.scale) for tile in tiles)
    assert all(np.abs(tile.target).max() <= info.g_max * devices * (1 + 1e-12) for tile in tiles)
    assert occupied([tile.place for tile in tiles], info).max() == 1


@given(weight_matrices())
def test_column_scaling_uses_the_full_range_of_every_column(values):
    for tile in map_weights([Matrix("w", values)], ROOMY):
        largest = np.abs(tile.target).max(axis=0)
        assert np.all(np.isclose(largest, 20.0) | (largest == 0.0))


@given(weight_matrices())
def test_core_scaling_has_one_scale_for_the_tile(values):
    for tile in map_weights([Matrix("w", values)], ROOMY, MappingSettings(scale="core")):
        assert np.ptp(tile.scale) == 0
        assert np.abs(tile.target).max() == pytest.approx(20.0) or not tile.target.any()


@pytest.mark.parametrize("tiny", [1e-300, 1e-310, 5e-324])
def test_weights_at_the_edge_of_the_number_format_stay_finite(tiny):
    (tile,) = map_weights([Matrix("w", np.array([[tiny, 1.0], [-tiny, 0.5]]))], CHIP)
    assert np.all(np.isfinite(tile.target))
    assert np.abs(tile.target).max() <= 20.0 * (1 + 1e-12)
    assert tile.weights == pytest.approx(np.array([[tiny, 1.0], [-tiny, 0.5]]), abs=1e-307)


def test_a_column_of_zeros_maps_to_zeros():
    (tile,) = map_weights([Matrix("w", np.array([[0.0, 1.0], [0.0, -2.0]]))], CHIP)
    assert tile.target[:, 0].tolist() == [0.0, 0.0]
    assert np.all(np.isfinite(tile.scale))


def test_several_matrices_keep_their_names_and_order():
    tiles = map_weights([Matrix("a", np.ones((20, 5))), Matrix("b", np.ones((3, 3)))], CHIP)
    assert [(t.tensor, t.first_input, t.first_output) for t in tiles] == [("a", 0, 0), ("a", 16, 0), ("b", 0, 0)]


def test_the_converter_range_covers_four_sigma_of_the_widest_column():
    """A sum of n cells of conductance g under uniform inputs in [-1, 1] has the variance n g^2 / 3."""
    values = np.ones((12, 2))
    values[:, 1] = [1, *[0] * 11]
    (tile,) = map_weights([Matrix("w", values)], CHIP)
    assert tile.full_scale == pytest.approx(RANGE_SIGMAS * 20.0 * math.sqrt(12 / 3))


@pytest.mark.parametrize(("limits", "expected"), [((1.0, 50.0), 50.0), ((500.0, 900.0), 500.0)])
def test_the_converter_range_stays_within_the_chips(limits, expected):
    (tile,) = map_weights([Matrix("w", np.ones((12, 2)))], dataclasses.replace(CHIP, adc_range=limits))
    assert tile.full_scale == expected


@pytest.mark.parametrize(
    ("name", "known"), [("scale", "column, core"), ("split", "auto, fill, even"), ("clip", "none, auto")]
)
def test_an_unknown_setting_lists_the_known_ones(name, known):
    with pytest.raises(BadInputError, match=f"mapping {name} 'best' is unknown; known: {known}"):
        MappingSettings(**{name: "best"})


# ---- splitting over the devices of a cell -----------------------------------------------------------------------


@given(arrays(np.float64, (3, 4), elements=st.floats(-30, 30)), st.integers(3, 5), st.sampled_from(["fill", "even"]))
def test_devices_add_up_to_the_cell(target, devices, split):
    parts = split_devices(target, np.full((2, devices, *target.shape), 10.0), split)
    assert parts.shape == (2, devices, 3, 4)
    assert parts.min() >= 0.0
    assert parts.max() <= 10.0 * (1 + 1e-12)
    sums = parts.sum(axis=1)
    assert sums[0] - sums[1] == pytest.approx(target, abs=1e-12)
    assert np.all((sums[0] == 0) | (sums[1] == 0)), "one polarity of a cell stays empty"


def test_fill_loads_the_first_device_before_the_second():
    parts = split_devices(np.array([[4.0, 13.0, -16.0]]), np.full((2, 2, 1, 3), 10.0))
    assert parts[0, :, 0].tolist() == [[4.0, 10.0, 0.0], [0.0, 3.0, 0.0]]
    assert parts[1, :, 0].tolist() == [[0.0, 0.0, 10.0], [0.0, 0.0, 6.0]]


def test_even_gives_each_device_the_same():
    parts = split_devices(np.array([[4.0, -16.0]]), np.full((2, 2, 1, 2), 10.0), "even")
    assert parts[0, :, 0].tolist() == [[2.0, 0.0], [2.0, 0.0]]
    assert parts[1, :, 0].tolist() == [[0.0, 8.0], [0.0, 8.0]]


# ---- bad devices ------------------------------------------------------------------------------------------------


def devices_with_stuck(rate, seed, held=0.0):
    """Devices of a whole core of CHIP, of which a share is stuck at `held` uS."""
    rng = np.random.default_rng(seed)
    with hwloop.connect("sim:hermes-core") as chip:
        known = Devices.nominal(chip.info.device_model, CHIP.device_shape)
    usable = rng.random(CHIP.device_shape) >= rate
    return dataclasses.replace(known, usable=usable, stuck_at=np.where(usable, 0.0, held))


def out_of_reach(tile, devices):
    """Squared uS, summed, by which cells miss their targets with devices as targeted and bad ones as they stay."""
    placed = tile.device_targets(CHIP, devices) + devices.stuck_at
    reached = placed[0].sum(0) - placed[1].sum(0)
    return float(np.square(reached - tile.target).sum())


@pytest.mark.parametrize("held", [0.0, 9.0])
@pytest.mark.parametrize("seed", range(5))
def test_sparing_loses_less_and_never_the_place_of_an_output(seed, held):
    weights = np.random.default_rng(seed).standard_normal((16, 12))
    (tile,) = map_weights([Matrix("w", weights)], CHIP)
    devices = devices_with_stuck(0.08, seed, held)
    spared = avoid_bad_devices(tile, devices, CHIP)
    assert out_of_reach(spared, devices) <= out_of_reach(tile, devices) + 1e-9
    np.testing.assert_allclose(spared.in_output_order(spared.weights), weights)
    assert sorted(spared.order) == list(range(12))


def test_sparing_is_the_best_of_all_orders():
    weights = np.random.default_rng(1).standard_normal((16, 5))
    (tile,) = map_weights([Matrix("w", weights)], CHIP)
    whole = devices_with_stuck(0.15, 3)
    devices = dataclasses.replace(
        whole, **{f.name: getattr(whole, f.name)[..., :5] for f in dataclasses.fields(whole) if f.name != "model"}
    )
    best = min(
        out_of_reach(
            dataclasses.replace(tile, target=tile.target[:, list(order)], scale=tile.scale[list(order)]), devices
        )
        for order in itertools.permutations(range(5))
    )
    assert out_of_reach(avoid_bad_devices(tile, devices, CHIP), devices) == pytest.approx(best)


def test_bad_devices_are_not_aimed_at_and_others_make_up_for_them():
    (tile,) = map_weights([Matrix("w", np.full((16, 12), 0.4))], CHIP)  # 8 uS, which one device can do
    devices = devices_with_stuck(0.0, 0)
    usable = devices.usable.copy()
    usable[0, 0] = False
    targets = tile.device_targets(CHIP, dataclasses.replace(devices, usable=usable))
    assert not targets[0, 0].any()
    np.testing.assert_allclose(targets[0, 1], np.minimum(tile.target, targets[0, 1].max()))
    held = dataclasses.replace(devices, usable=usable, stuck_at=np.where(usable, 0.0, 3.0))
    beside = tile.device_targets(CHIP, held)
    np.testing.assert_allclose(beside[0, 1], np.minimum(tile.target - 3.0, beside[0, 1].max()))


def test_good_devices_leave_a_tile_as_it_is():
    (tile,) = map_weights([Matrix("w", np.random.default_rng(0).standard_normal((16, 12)))], CHIP)
    good = devices_with_stuck(0.0, 0)
    assert avoid_bad_devices(tile, good, CHIP) is tile
    np.testing.assert_array_equal(tile.device_targets(CHIP, good), tile.device_targets(CHIP))
    one = dataclasses.replace(good, usable=good.usable & (np.arange(12) != 7))
    assert len(set(avoid_bad_devices(tile, one, CHIP).order)) == 12
