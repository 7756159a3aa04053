"""Products with the noise of a chip."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

import hwloop
from hwloop.nn.blocks import Blocks, per_weight
from hwloop.nn.convert import convert
from hwloop.nn.noise_aware import COMPENSATIONS, ChipNoise, NoisyNetwork, NoisyProduct
from hwloop.nn.nonidealities import (
    Drift,
    InputRange,
    InputRounding,
    OutputRange,
    OutputRounding,
    ProgrammingNoise,
    ReadNoise,
    StuckDevices,
)
from hwloop.nn.products import Exact
from hwloop.nn.ranges import RangeSettings, choose
from tests.conftest import gaussian

YEAR = 365 * 86400.0


@pytest.fixture(scope="module")
def noise() -> ChipNoise:
    with hwloop.connect("sim:hermes-core") as chip:
        return ChipNoise.of(chip.info, (200.0, YEAR), parameters=chip.parameters())


def weights(outputs: int = 32, inputs: int = 64, groups: int = 1) -> torch.Tensor:
    values = [torch.tensor(gaussian(outputs, inputs, seed).T, dtype=torch.float32) for seed in range(groups)]
    return torch.stack(values)


def uniform(vectors: int, inputs: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(vectors, inputs, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def product_of(noise: ChipNoise, x: torch.Tensor, matrix: torch.Tensor, seed: int = 0) -> NoisyProduct:
    made = NoisyProduct(noise, seed)
    made.fit_ranges(x, matrix)
    return made


def computed(noise: ChipNoise, x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return product_of(noise, x, matrix)(x, matrix)


@pytest.mark.parametrize("shape", [(1, 64, 32), (1, 600, 10), (4, 9, 3), (2, 300, 5)])
def test_without_nonidealities_it_is_exact(noise: ChipNoise, shape: tuple[int, int, int]) -> None:
    groups, inputs, outputs = shape
    matrix, x = weights(outputs, inputs, groups), uniform(50, groups * inputs)
    assert computed(noise.only(), x, matrix) == pytest.approx(Exact()(x, matrix), abs=2e-4)


def test_blocks_come_together_again() -> None:
    blocks = Blocks.of((2, 300, 5), 256)
    assert (blocks.tiles, blocks.rows) == (2, 256)
    assert blocks.cut(torch.zeros(2, 300, 5)).shape == (4, 256, 5)
    assert blocks.cut_inputs(torch.zeros(7, 600)).shape == (4, 7, 256)
    assert blocks.join(torch.ones(4, 7, 5)).tolist() == torch.full((7, 10), 2.0).tolist()


def test_every_column_uses_the_whole_range(noise: ChipNoise) -> None:
    matrix = weights()
    conductance = matrix * per_weight(matrix, noise.cell.largest)
    assert conductance.abs().amax(1) == pytest.approx(torch.full((1, 32), noise.cell.largest))
    assert per_weight(torch.zeros(1, 3, 2), 20.0).tolist() == [[[1.0, 1.0]]]


def test_the_noise_of_cells_is_that_of_their_sigma(noise: ChipNoise) -> None:
    """The mean squared error of outputs to uniform inputs is a third of the summed variance of a column's weights."""
    matrix, x = weights(64, 256), uniform(4000, 256)
    off = computed(noise.only(ProgrammingNoise(1.0)), x, matrix) - Exact()(x, matrix)
    scale = per_weight(matrix, noise.cell.largest)
    grid = np.linspace(0.0, noise.cell.largest, noise.cell.programming.size)
    sigma = np.interp((matrix * scale).abs().numpy(), grid, noise.cell.programming) / scale.numpy()
    expected = (sigma**2).sum(1).mean() / 3
    assert float(off.square().mean()) == pytest.approx(expected, rel=0.06)


def test_fast_read_noise_is_anew_for_every_vector(noise: ChipNoise) -> None:
    matrix = weights(16, 64)
    x = uniform(1, 64).repeat(20_000, 1)
    chip = dataclasses.replace(noise.only(ReadNoise(1.0)), together=200.0)  # nothing is slower
    product = product_of(chip, x, matrix)
    y = product(x, matrix).detach()
    draw = product._draw
    assert draw is not None
    assert draw.variance is not None
    expected = (x[:1].square() @ draw.variance[0]).sqrt() / draw.slope[0]
    assert y.std(0) == pytest.approx(expected[0], rel=0.02)
    assert y.mean(0) == pytest.approx(Exact()(x[:1], matrix)[0], abs=0.05)


def test_a_common_loss_is_made_up_for(noise: ChipNoise) -> None:
    """After a year a third of the conductance is gone; the scales of columns leave what differs from cell to cell."""
    matrix, x = weights(64, 256), uniform(2000, 256)
    product = product_of(noise.only(Drift(1.0)), x, matrix)
    product.redraw(YEAR)
    y, ideal = product(x, matrix).detach(), Exact()(x, matrix)
    draw = product._draw
    assert draw is not None
    left = float((draw.cells.now * draw.cells.target).sum() / draw.cells.target.square().sum())
    assert 0.5 < left < 0.75
    assert float((y * (ideal - y)).sum() / ideal.square().sum()) == pytest.approx(0.0, abs=0.005)  # least squares
    assert 0.1 < float((y - ideal).norm() / ideal.norm()) < 0.3


def test_agrees_with_the_simulated_chip(noise: ChipNoise) -> None:
    """Exact targets, read at the reference age: noise and converters alone, on the pulse-level chip and here."""
    matrix, x = weights(64, 256), uniform(2000, 256)
    with hwloop.connect("sim:hermes-core?seed=1&columns=64") as chip:
        there = hwloop.program(chip, matrix[0].T.numpy(), "exact").mvm_error
    parts = [part for part in noise.parts if not isinstance(part, ProgrammingNoise)]
    off = computed(noise.only(*parts), x, matrix) - Exact()(x, matrix)
    assert float(off.norm() / Exact()(x, matrix).norm()) == pytest.approx(there, rel=0.06)


def test_noise_holds_until_it_is_drawn_anew(noise: ChipNoise) -> None:
    matrix, x = weights(), uniform(20, 64)
    product = product_of(noise.only(ProgrammingNoise(1.0), Drift(1.0)), x, matrix)
    first = product(x, matrix)
    assert torch.equal(product(x, matrix), first)
    product.redraw()
    assert not torch.equal(product(x, matrix), first)
    product.redraw(seed=0)
    assert torch.equal(product(x, matrix), first)
    product.redraw(seed=1)
    assert not torch.equal(product(x, matrix), first)


def test_the_global_random_state_is_left_alone(noise: ChipNoise) -> None:
    matrix, x = weights(), uniform(20, 64)
    state = torch.get_rng_state()
    product_of(noise, x, matrix)(x, matrix)
    assert torch.equal(torch.get_rng_state(), state)


# ---- ranges and gradients ----------------------------------------------------------------------------------------


def test_ranges_are_those_of_a_chip(noise: ChipNoise) -> None:
    """A matrix that fits one tile is given the ranges that its tile has when it is deployed."""
    matrix, x = weights(16, 64), uniform(400, 64).square()
    with hwloop.connect("sim:hermes-core") as chip:
        target = (matrix * per_weight(matrix, noise.cell.largest))[0].double().numpy()
        chosen = choose(target, chip.info, chip.adc_range(0), x.double().numpy(), RangeSettings())
    product = product_of(noise, x, matrix)
    assert chosen is not None
    assert float(product.input_range.detach().exp()) == pytest.approx(chosen.input_scale)
    assert product.output_range.exp().tolist() == pytest.approx([chosen.full_scale], rel=0.1)  # of clipped inputs


def test_learnt_ranges_stay_within_the_converters(noise: ChipNoise) -> None:
    low, high = noise.adc_range
    product = NoisyProduct(noise, 0)
    for far, near in ((low / 10, low), (high * 10, high)):
        with torch.no_grad():
            product.output_range.copy_(torch.tensor([far]).log())
        product.hold_range()
        assert product.output_range.exp().tolist() == pytest.approx([near])
    product.fit_ranges(uniform(100, 4) * 1e-3, torch.eye(4)[None] * 1e-3)
    assert low <= float(product.output_range.detach().exp()) <= high


def test_what_makes_up_for_drift(noise: ChipNoise) -> None:
    """Without it outputs shrink as the cells do; one factor leaves what differs between columns, gains the cells."""
    matrix, x = weights(32, 256), uniform(500, 256)
    matrix[:, :, ::2] *= torch.linspace(0, 1, 256)[:, None] ** 4  # mostly small, and those drift more
    ideal, lost, error = Exact()(x, matrix), {}, {}
    for compensation in COMPENSATIONS:
        chip = dataclasses.replace(noise.only(Drift(1.0)), compensation=compensation)
        product = product_of(chip, x, matrix)
        product.redraw(YEAR)
        y = product(x, matrix).detach()
        lost[compensation] = 1 - float((y * ideal).sum() / ideal.square().sum())
        error[compensation] = float((y - ideal).norm() / ideal.norm())
    assert 0.2 < lost["none"] < 0.5
    assert abs(lost["global"]) < 0.05
    assert error["column"] < error["global"] < error["none"]
    with pytest.raises(hwloop.BadInputError, match="compensation 'colum' of noise: did you mean 'column'"):
        dataclasses.replace(noise, compensation="colum")


def test_without_compensation_columns_are_as_they_were_fitted(noise: ChipNoise) -> None:
    """At the age at which columns are fitted, what would make up for drift later makes no difference."""
    matrix, x = weights(), uniform(50, 64)
    chips = [dataclasses.replace(noise, compensation=one, ages=(noise.fitted,)) for one in COMPENSATIONS]
    first, *others = (computed(chip, x, matrix) for chip in chips)
    assert all(other == pytest.approx(first, abs=1e-3) for other in others)


def test_gradients_of_weights_are_those_of_the_exact_product(noise: ChipNoise) -> None:
    """Where nothing is clipped or scaled anew, rounding and noise do not change the gradient to the weights."""
    x = uniform(30, 64)
    matrix = weights().requires_grad_()
    parts = [part for part in noise.parts if not isinstance(part, InputRounding | InputRange | OutputRange)]
    product = product_of(noise.only(*parts), x, matrix.detach())
    product.redraw(YEAR)
    toward = uniform(30, 32, seed=5)
    (found,) = torch.autograd.grad((product(x, matrix) * toward).sum(), matrix)
    (ideal,) = torch.autograd.grad((Exact()(x, matrix) * toward).sum(), matrix)
    assert found == pytest.approx(ideal, abs=1e-4)


def test_gradients_of_inputs_go_through_the_noisy_weights(noise: ChipNoise) -> None:
    x, matrix = uniform(30, 64).requires_grad_(), weights()
    product = product_of(noise.only(ProgrammingNoise(5.0)), x.detach(), matrix)
    (found,) = torch.autograd.grad(product(x, matrix).sum(), x)
    draw = product._draw
    assert draw is not None
    held = draw.cells.now[0] / draw.slope[0]
    assert found == pytest.approx(held.sum(1).expand(30, 64), abs=1e-3)


def test_gradients_of_an_input_range(noise: ChipNoise) -> None:
    """What is clipped moves with the range; what is inside only by its rounding."""
    matrix, chip = torch.ones(1, 1, 1), noise.only(InputRounding(8.0), InputRange(1.0))
    product = NoisyProduct(chip, 0)
    with torch.no_grad():
        product.input_range.copy_(torch.tensor(2.0).log())
    for x, slope in ((5.0, 2.0), (-5.0, -2.0), (0.5, None)):
        (found,) = torch.autograd.grad(product(torch.tensor([[x]]), matrix).sum(), product.input_range)
        if slope is None:
            assert abs(float(found)) < 2 / 127
        else:
            assert float(found) == pytest.approx(slope, rel=1e-5)


def test_an_output_range_saturates(noise: ChipNoise) -> None:
    matrix = torch.ones(1, 4, 1)
    product = NoisyProduct(noise.only(OutputRounding(8.0), OutputRange(1.0)), 0)
    with torch.no_grad():
        product.output_range.copy_(torch.tensor([2 * noise.cell.largest]).log())  # two of four inputs
    assert product(torch.ones(1, 4), matrix).item() == pytest.approx(2.0)
    assert product(torch.full((1, 4), 0.25), matrix).item() == pytest.approx(1.0, abs=2 / 127)


# ---- networks ----------------------------------------------------------------------------------------------------


def small_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 10))


def test_a_network_of_noisy_products(noise: ChipNoise) -> None:
    x = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    plain = small_network().eval()
    noisy = NoisyNetwork(convert(plain), noise, seed=1)
    noisy.fit_ranges(x)
    assert list(noisy.products) == ["0.weight", "3.weight"]
    with torch.no_grad():
        ideal, first = plain(x), noisy.network(x)
        noisy.use(())
        assert noisy.network(x) == pytest.approx(ideal, abs=1e-6)
        noisy.use(["3.weight"])
        only_last = noisy.network(x)
    assert 0 < float((only_last - ideal).norm()) < float((first - ideal).norm()) < 0.5 * float(ideal.norm())
    assert noisy.input_ranges()["0.weight"] == pytest.approx(1.0, abs=0.05)


def test_a_recurrent_layer_keeps_its_noise_through_all_steps(noise: ChipNoise) -> None:
    torch.manual_seed(0)
    plain = nn.RNN(8, 16, batch_first=True, nonlinearity="relu")
    noisy = NoisyNetwork(convert(plain), noise.only(ProgrammingNoise(3.0)), seed=1)
    x = uniform(6, 5 * 8).reshape(6, 5, 8)
    noisy.fit_ranges(x)
    with torch.no_grad():
        first, _ = noisy.network(x)
        again, _ = noisy.network(x)
        ideal, _ = plain(x)
    assert torch.equal(first, again)
    assert 0 < float((first - ideal).norm()) < float(ideal.norm())


def test_shared_weights_share_their_cells(noise: ChipNoise) -> None:
    first, second = nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False)
    second.weight = first.weight
    noisy = NoisyNetwork(convert(nn.Sequential(first, nn.Tanh(), second)), noise)
    assert list(noisy.products) == ["0.weight"]
    assert set(noisy.input_ranges()) == {"0.weight", "2.weight"}


# ---- chips -------------------------------------------------------------------------------------------------------


def test_a_chip_says_what_it_is() -> None:
    with hwloop.connect("sim:hermes-core?adc_bits=6&read_noise=3&stuck_rate=0.01&adc_noise=0.5") as chip:
        noise = ChipNoise.of(chip.info, parameters=chip.parameters(), corrected=True)
    amounts = {part.name: part.amount for part in noise.parts}
    assert amounts["output bits"] == 6.0
    assert amounts["input bits"] == 8.0
    assert amounts["read noise"] == 3.0
    assert amounts["stuck devices"] == 0.01
    assert amounts["output noise"] == 0.5
    assert amounts["output gain spread"] == 0.02
    assert noise.ages == (200.0,)


def test_an_ideal_chip_has_no_noise() -> None:
    with hwloop.connect("sim:pcm-ideal?adc_bits=16&dac_bits=16") as chip:
        noise = ChipNoise.of(chip.info, (20.0, YEAR), parameters=chip.parameters())
    matrix, x = weights(), uniform(200, 64)
    product = product_of(noise, x, matrix)
    product.redraw(YEAR)
    ideal = Exact()(x, matrix)
    assert float((product(x, matrix).detach() - ideal).norm() / ideal.norm()) < 1e-3


def test_parts_of_a_chip(noise: ChipNoise) -> None:
    assert all(part.amount > 0 for part in noise.raised(2.0).parts)
    assert not any(isinstance(part, StuckDevices) for part in noise.raised(2.0).parts)  # it has none
    assert noise.age(0.0) == 200.0
    assert noise.age(1.0) == pytest.approx(YEAR)
    assert noise.age(0.5) == pytest.approx((200.0 * YEAR) ** 0.5)


@pytest.mark.parametrize("ages", [(3.0, 2.0), (0.0, 1.0), (-5.0,), (1.0, float("inf")), (1.0, float("nan"))])
def test_ages_that_are_none(noise: ChipNoise, ages: tuple[float, ...]) -> None:
    with pytest.raises(hwloop.BadInputError, match="ages"):
        dataclasses.replace(noise, ages=ages)
