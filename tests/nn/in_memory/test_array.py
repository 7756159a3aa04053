"""The three passes of an array of devices, against float products and outer products."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import hwloop
from hwloop.nn.in_memory.array import DeviceArray
from hwloop.nn.in_memory.cells import Cells
from hwloop.nn.in_memory.settings import Periphery
from hwloop.nn.in_memory.several import SeveralDevices

RNG = np.random.default_rng(3)


@pytest.fixture
def chip() -> Iterator[hwloop.Backend]:
    with hwloop.connect("sim:rpu-baseline?seed=4&rows=12&columns=10&cores=6&adc_noise=0") as opened:
        yield opened


def array(chip: hwloop.Backend, shape: tuple[int, int] = (12, 10), **settings: float) -> DeviceArray:
    return DeviceArray(Cells(chip), shape, Periphery(**settings), "matrix", np.random.default_rng(1))  # type: ignore[arg-type]


def adc_step(one: DeviceArray) -> float:
    """Weight that one output code stands for."""
    return one.chip.adc_range(0) / one.chip.info.code_max / one.devices.half_range


def test_forward_and_backward_are_products_with_the_weights(chip: hwloop.Backend) -> None:
    one = array(chip)
    one.write(RNG.uniform(-0.3, 0.3, one.shape))
    weights = one.weights(averages=200)
    x, d = RNG.uniform(-1, 1, (40, 12)), 1e-4 * RNG.uniform(-1, 1, (40, 10))
    # Rounding of codes: half a step of the output, and of each input's 1/126, all uniform.
    inputs = 1 / 126 / np.sqrt(3) * np.sqrt(np.square(weights).sum(0).max())
    bound = 5 * np.hypot(adc_step(one) / np.sqrt(12), inputs)
    assert np.abs(one.forward(x) - x @ weights).max() < bound
    assert np.abs(one.backward(d) - d @ weights.T).max() < 1e-4 * bound  # errors are small, their codes are not


def test_without_noise_management_small_vectors_are_lost(chip: hwloop.Backend) -> None:
    one = array(chip, noise_management=0)
    one.write(RNG.uniform(-0.3, 0.3, one.shape))
    assert not one.backward(1e-4 * RNG.uniform(-1, 1, (5, 10))).any()


def test_bound_management_repeats_what_saturates(chip: hwloop.Backend) -> None:
    chip.set_adc_range(0, 10.0)  # a column sum of one weight
    managed, plain = array(chip), array(chip, bound_management=0)
    managed.write(np.full(managed.shape, 0.4))
    plain.pieces = managed.pieces
    x = np.ones((1, 12))
    wanted = x @ managed.weights(averages=200)
    assert np.abs(managed.forward(x) - wanted).max() < 0.3
    assert plain.forward(x).max() <= 1.01
    assert wanted.min() > 3


def test_a_matrix_larger_than_a_core_lies_on_several(chip: hwloop.Backend) -> None:
    one = array(chip, (20, 13))
    assert [(piece.place.rows, piece.place.columns) for piece in one.pieces] == [(12, 10), (12, 3), (8, 10), (8, 3)]
    one.write(RNG.uniform(-0.3, 0.3, one.shape))
    weights, x = one.weights(averages=200), RNG.uniform(-1, 1, (10, 20))
    assert np.abs(one.forward(x) - x @ weights).max() < 0.3
    assert np.abs(one.backward(x[:, :13]) - x[:, :13] @ weights.T).max() < 0.3


def test_an_update_adds_the_outer_product_in_the_mean(chip: hwloop.Backend) -> None:
    one = array(chip)
    x, d = RNG.uniform(-1, 1, (1, 12)), RNG.uniform(-1, 1, (1, 10))
    before, times = one.weights(averages=1000), 400
    one.update(np.repeat(x, times, 0), np.repeat(d, times, 0), 5e-4)
    moved = (one.weights(averages=1000) - before) / times
    # Steps of devices differ by 30 %: their mean over the array is what is known, to 0.3 / sqrt(120) of it.
    share = (moved * (x.T @ d)).sum() / np.square(x.T @ d).sum()
    assert share == pytest.approx(5e-4, rel=4 * 0.3 / np.sqrt(120) * 1.5)


def test_counted_steps_are_exact(chip: hwloop.Backend) -> None:
    one = array(chip)
    steps = RNG.integers(-70, 70, (5, 10)).astype(np.int32)
    rows = np.array([0, 3, 4, 8, 11])
    before = one.pulses()
    one.step_rows(rows, steps)
    wanted = np.zeros(one.shape)
    wanted[rows] = np.abs(steps)
    assert np.array_equal(one.pulses() - before, wanted)


def test_stochastic_rounding_keeps_the_mean(chip: hwloop.Backend) -> None:
    one = array(chip, rounding="stochastic", input_bits=3)
    codes = one._codes(np.full((4000, 1), 0.4))
    top = chip.info.input_max
    assert set(codes.reshape(-1)) == {round(top / 3), round(top * 2 / 3)}
    assert codes.mean() / top == pytest.approx(0.4, abs=4 * 0.14 / np.sqrt(4000))


def test_a_chip_that_cannot_update_says_what_to_use() -> None:
    with (
        hwloop.connect("sim:hermes-core?seed=1") as pcm,
        pytest.raises(hwloop.MissingCapabilityError, match="train on a chip of devices that step"),
    ):
        array(pcm)


def test_a_full_chip_says_what_to_do(chip: hwloop.Backend) -> None:
    cells = Cells(chip)
    for _ in range(6):
        cells.take(12, 10, "fc1")
    with pytest.raises(hwloop.BadInputError, match=r"fc1 \(1 x 1 cells\) does not fit on sim:rpu-baseline"):
        cells.take(1, 1, "fc1")


@pytest.mark.parametrize("significance", [1.0, 0.25])
def test_several_devices_add_up(chip: hwloop.Backend, significance: float) -> None:
    cells, random = Cells(chip), np.random.default_rng(2)
    parts = [DeviceArray(cells, (12, 10), Periphery(), f"part {k}", random) for k in range(3)]
    one = SeveralDevices(parts, significance, random)
    wanted = RNG.uniform(-0.5, 0.5, one.shape)
    assert one.write(wanted) < 0.05
    assert np.sqrt(np.mean((one.weights(averages=200) - wanted) ** 2)) < 0.05
    x = RNG.uniform(-1, 1, (10, 12))
    assert np.abs(one.forward(x) - x @ one.weights(averages=200)).max() < 0.5
    before = one.weights(averages=500)
    one.update(np.ones((300, 12)), np.ones((300, 10)), 3e-4)
    assert (one.weights(averages=500) - before).mean() == pytest.approx(0.09, rel=0.15)


def test_a_refresh_empties_full_pairs_and_keeps_their_weights() -> None:
    """Pulses up and down in turn fill both devices of a pair; one with a single full device needs no refresh."""
    with hwloop.connect("sim:pcm-pair?seed=4&rows=12&columns=10&cores=1&states=400&cycle_spread=0") as chip:
        one = array(chip)
        rows, ways = np.arange(12), np.ones((12, 10), np.int32)
        ways[:, :5] = 0
        for _ in range(200):
            one.step_rows(rows, ways)
            one.step_rows(rows, -ways)
        ways[:, 1], ways[:, 2:] = 1, 0
        for _ in range(400):
            one.step_rows(rows, ways)
        before, pulses = one.weights(), chip.counts.pulses
        assert one.refresh(0.6, 0.25) == 12 * 5
        emptied = chip.counts.pulses - pulses
        assert emptied >= 2 * 12 * 5  # both devices of each pair are reset by counted pulses
        assert np.array_equal(one.pulses() > 400, np.broadcast_to([0] + [0] + 3 * [0] + 5 * [1], (12, 10)))
        left = one.weights() - before
        assert np.abs(left[:, :5]).max() < 0.02  # converter noise alone
        # Half a step of an empty device, 9 times as large as a nominal one, and as much spread.
        assert np.sqrt(np.mean(left[:, 5:] ** 2)) < 9 * one.step / 2
        assert one.refresh(0.6, 0.25) == 0
    with hwloop.connect("sim:ecram?rows=12&columns=10&cores=1") as chip:
        assert array(chip).refresh(0.1, 0.1) == 0
        assert chip.counts.pulses == chip.counts.device_reads == 0
