"""Tables of splits: closed forms, and what holds of every table."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import hwloop
from hwloop.devices.model import DeviceModel
from hwloop.errors import BadInputError
from hwloop.mapping.split import split_devices
from hwloop.mapping.split_table import (
    DeviceErrors,
    SplitModel,
    SplitTable,
    best_path,
    beyond,
    device_errors,
    split_table,
    table_of,
)

pytestmark = pytest.mark.numerical

POINTS = 64
G = np.linspace(0.0, 10.0, POINTS + 1)
STEP = G[1]
NOTHING = np.zeros_like(G)


def hermes() -> DeviceModel:
    with hwloop.connect("sim:hermes-core") as chip:
        assert chip.info.device_model is not None
        return chip.info.device_model


def best(noise: np.ndarray, trim: np.ndarray = NOTHING, devices: int = 2) -> SplitTable:
    return split_table(DeviceErrors(G, noise, trim), devices)


# ---- closed forms ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("devices", [2, 3])
def test_equal_linear_noise_is_shared_evenly(devices: int) -> None:
    # The sum of squares g1^2 + g2^2 + ... at a given sum is least where all are equal.
    table = best((0.05 * G) ** 2, devices=devices)
    assert np.abs(table.devices - table.target / devices).max() <= STEP
    assert table.variance[-1] == pytest.approx(devices * 0.5**2)


def test_noise_that_only_counts_how_far_both_go_is_the_same_however_it_is_shared() -> None:
    table = best(0.3 * G)
    assert table.variance == pytest.approx(0.3 * table.target)


def test_concave_noise_is_left_on_one_device_until_it_is_full() -> None:
    table = best(np.sqrt(G))
    filled = np.sort(split_devices(table.target[None], np.full((2, 2, 1, len(G) * 2 - 1), 10.0))[0, :, 0], axis=0)
    assert np.sort(table.devices, axis=0) == pytest.approx(filled)


def test_a_quiet_trimmer_keeps_one_device_low_against_even_sharing() -> None:
    noise, trim = (0.05 * G) ** 2, (0.1 * G) ** 2
    table = best(noise, trim)
    lower = table.devices.min(0)
    middle = np.abs(table.target - 8.0).argmin()
    # With a and T - a: the derivative of 0.0025 (a^2 + (T - a)^2) + 0.01 a^2 is zero at a = T / 6.
    assert lower[middle] == pytest.approx(8.0 / 6.0, abs=1.5 * STEP)


def test_without_noise_of_any_kind_nothing_is_lost() -> None:
    assert best(NOTHING).variance.max() == 0.0


def test_the_path_is_the_cheapest_of_all() -> None:
    cost = np.random.default_rng(3).random((4, 5))
    first, last = best_path(cost)
    found = cost[first, last].sum()
    paths = []
    for ups in itertools.combinations(range(7), 4):  # the steps out of seven that raise the last index
        j = np.cumsum([0, *(int(step in ups) for step in range(7))])
        paths.append(cost[np.arange(8) - j, j].sum())
    assert found == pytest.approx(min(paths))
    assert (first[0], last[0], first[-1], last[-1]) == (0, 0, 3, 4)


def test_what_a_normal_error_exceeds_room_by_agrees_with_drawn_errors() -> None:
    room, sigma = np.array([0.0, 0.5, 2.0]), 0.8
    drawn = np.random.default_rng(1).normal(0.0, sigma, (200_000, 1))
    squares = np.maximum(drawn - room, 0.0) ** 2
    error = squares.std(0) / np.sqrt(len(drawn))
    assert np.all(np.abs(beyond(room, sigma) - squares.mean(0)) < 4 * error)
    assert beyond(room, sigma)[0] == pytest.approx(sigma**2 / 2)
    assert beyond(room, 0.0).tolist() == [0.0, 0.0, 0.0]


# ---- what holds of every table -----------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    arrays(np.float64, POINTS + 1, elements=st.floats(0, 5)),
    arrays(np.float64, POINTS + 1, elements=st.floats(0, 5)),
    st.integers(1, 3),
)
def test_tables_rise_continuously_and_add_up(noise: np.ndarray, trim: np.ndarray, devices: int) -> None:
    table = best(noise, trim, devices)
    assert table.devices.shape == (devices, devices * POINTS + 1)
    assert table.devices.sum(0) == pytest.approx(table.target)
    assert np.diff(table.target) == pytest.approx(STEP)
    steps = np.diff(table.devices, axis=1)
    assert steps.min() >= 0.0
    assert steps.max() <= STEP * (1 + 1e-9)
    between = np.random.default_rng(0).uniform(0, table.target[-1], 50)
    assert table.shares(between).sum(0) == pytest.approx(between)


@settings(max_examples=20, deadline=None)
@given(arrays(np.float64, POINTS + 1, elements=st.floats(0, 5)))
def test_filling_is_never_expected_to_do_better(noise: np.ndarray) -> None:
    errors, table = DeviceErrors(G, noise, NOTHING), best(noise)
    capacity = np.full((2, 2, 1, len(table.target)), 10.0)
    filled = table_of(errors, split_devices(table.target[None], capacity, "fill")[0, :, 0])
    assert filled.target == pytest.approx(table.target)
    assert table.variance.sum() <= filled.variance.sum() + 1e-9


CAPACITIES = arrays(np.float64, (2, 2, 3, 4), elements=st.one_of(st.just(0.0), st.floats(1.0, 10.5)))


@settings(max_examples=100, deadline=None)
@given(arrays(np.float64, (3, 4), elements=st.floats(-25, 25)), CAPACITIES)
def test_capacities_are_kept_and_what_fill_reaches_is_reached(target: np.ndarray, capacity: np.ndarray) -> None:
    parts = split_devices(target, capacity, "auto", best((0.05 * G) ** 2, 0.1 * G))
    assert parts.min() >= 0.0
    assert np.all(parts <= capacity * (1 + 1e-12))
    assert parts.sum(1) == pytest.approx(split_devices(target, capacity, "fill").sum(1), abs=1e-9)


def test_one_device_per_polarity_has_nothing_to_share() -> None:
    target = np.random.default_rng(1).uniform(-12, 12, (3, 4))
    capacity = np.full((2, 1, 3, 4), 10.0)
    parts = split_devices(target, capacity, "auto", best((0.1 * G) ** 2, devices=1))
    assert parts == pytest.approx(split_devices(target, capacity, "fill"), abs=1e-12)


def test_the_split_auto_without_a_table_is_an_error() -> None:
    with pytest.raises(BadInputError, match="the split 'auto' needs its table"):
        split_devices(np.ones((1, 1)), np.ones((2, 2, 1, 1)), "auto")


# ---- variances of a device ---------------------------------------------------------------------------------------


def test_noise_is_read_noise_and_drift_at_the_target_age() -> None:
    model, quiet = hermes(), SplitModel(last_look=0.5, points=4)
    age = model.drift.t0
    errors = device_errors(model, 10.0, (age,), quiet)
    g = np.array([2.5, 5.0, 7.5, 10.0])
    read = g * model.read_noise.relative_sigma(g, age)
    drift = g * model.drift.spread(g / model.drift.g_scale) * np.log(1.5 / 0.5)
    assert errors.conductance[1:] == pytest.approx(g)
    assert errors.noise[1:] == pytest.approx(read**2 + drift**2)
    assert errors.noise[0] == 0.0


def test_trimming_leaves_its_share_of_the_pulse_noise_and_what_there_is_no_room_for() -> None:
    model = hermes()
    low, high = (device_errors(model, 10.0, (200.0,), SplitModel(trim_share=share)) for share in (1.0, 3.0))
    sigma = model.curve.pulse_sigma(np.maximum(low.conductance, model.curve.g_min))
    assert high.trim - low.trim == pytest.approx(2.0 * sigma**2)
    assert low.trim[-1] == pytest.approx(sigma[-1] ** 2 + sigma.max() ** 2 / 2)
    assert low.trim[128] == pytest.approx(sigma[128] ** 2, rel=1e-3)


def test_a_span_of_ages_is_the_mean_of_what_each_age_brings() -> None:
    model = hermes()
    now, both, twice = (device_errors(model, 10.0, (200.0, *(3600.0,) * n)).noise for n in range(3))
    assert device_errors(model, 10.0, (200.0, 200.0)).noise == pytest.approx(now)
    assert 3 * twice - now == pytest.approx(2 * (2 * both - now))
    assert both[-1] > now[-1]


def test_devices_are_looked_up_at_the_conductance_they_have_at_the_reference_age() -> None:
    # An hour on they have drifted down: those that shall be 5 uS then are higher at the reference age.
    model = hermes()
    reference = 5.0
    for _ in range(50):
        reference = 5.0 / float(model.drift.factor(np.float64(reference), 3600.0))
    read = 5.0 * float(model.read_noise.relative_sigma(np.float64(reference), 3600.0))
    drift = 5.0 * float(model.drift.spread(np.float64(reference / model.drift.g_scale))) * np.log(3.0)
    errors = device_errors(model, 10.0, (3600.0,), SplitModel(points=2))
    assert errors.noise[1] == pytest.approx(read**2 + drift**2, rel=1e-4)


def test_the_table_of_the_preset_is_better_than_fill_and_even_where_weights_lie() -> None:
    errors = device_errors(hermes(), 10.35, (200.0,))
    table = split_table(errors, 2)
    target = np.abs(np.random.default_rng(1).normal(0.0, 7.0, 2000)).clip(0, 20.7)
    capacity = np.full((2, 2, 1, len(table.target)), 10.35)
    expected = {
        split: table_of(errors, split_devices(table.target[None], capacity, split)[0, :, 0])
        .expected_variance(target)
        .mean()
        for split in ("fill", "even")
    }
    assert table.expected_variance(target).mean() < 0.85 * expected["fill"]
    assert table.expected_variance(-target).mean() < 0.99 * expected["even"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"points": 1}, "split points=1 is outside 2 to 10000"),
        ({"trim_share": -1.0}, "split trim_share=-1 is outside 0 to 100"),
        ({"last_look": 0.0}, "split last_look=0 is outside 1e-06 to 1"),
    ],
)
def test_settings_are_checked(change: dict[str, float], text: str) -> None:
    with pytest.raises(BadInputError, match=text):
        dataclasses.replace(SplitModel(), **change)
