"""Nonidealities one at a time, against closed forms."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

import hwloop
from hwloop.chip.info import ChipInfo
from hwloop.devices.drift import Aging, DriftModel
from hwloop.devices.model import DeviceModel
from hwloop.devices.read_noise import ReadNoiseModel
from hwloop.devices.statistics import Polynomial
from hwloop.nn.cells import CellModel, Cells
from hwloop.nn.noise_aware import ChipNoise, NoisyProduct
from hwloop.nn.nonidealities import (
    Drift,
    GainSpread,
    InputRange,
    InputRounding,
    Nonideality,
    OffsetSpread,
    OutputNoise,
    OutputRange,
    OutputRounding,
    ProgrammingNoise,
    ReadNoise,
    StuckDevices,
    WireResistance,
)

SIZE = (1, 400, 500)
"""200 000 cells: a standard deviation is known to 0.16 %."""


@pytest.fixture(scope="module")
def info() -> ChipInfo:
    with hwloop.connect("sim:hermes-core") as chip:
        return chip.info


def plain_model(info: ChipInfo, nu: float = 0.05, spread: float = 0.02, q: float = 0.03) -> DeviceModel:
    """Devices whose statistics do not hang on their conductance."""
    assert info.device_model is not None
    drift = DriftModel(20.0, 10.0, Polynomial((nu,)), Polynomial((spread,)))
    return dataclasses.replace(
        info.device_model, drift=drift, read_noise=ReadNoiseModel(250e-9, 10.0, Polynomial((q,)))
    )


def cells_at(
    model: CellModel, target: float | torch.Tensor, age: float = 20.0, together: float = 1e-3, fitted: float = 20.0
) -> Cells:
    whole = torch.full(SIZE, target) if isinstance(target, float) else target
    converters = torch.zeros(2, 1, 1, whole.shape[2])
    return Cells(model, whole, whole, age, fitted, together, converters, torch.Generator().manual_seed(3))


def test_programming_leaves_what_the_table_says(info: ChipInfo) -> None:
    model = CellModel.of(info)
    for target in (0.0, 4.0, -15.0):
        cells = cells_at(model, target)
        off = ProgrammingNoise(1.0).cells(cells) - target
        expected = np.interp(abs(target), np.linspace(0, model.largest, model.programming.size), model.programming)
        assert float(off.std()) == pytest.approx(float(expected), rel=0.01)
        assert float(off.mean()) == pytest.approx(0.0, abs=4 * float(expected) / math.sqrt(off.numel()))
    doubled = ProgrammingNoise(2.0).cells(cells_at(model, 4.0)) - 4.0
    assert float(doubled.std()) == pytest.approx(
        2 * float((ProgrammingNoise(1.0).cells(cells_at(model, 4.0)) - 4).std())
    )


def test_what_is_unknown_is_as_published_and_scaled(info: ChipInfo) -> None:
    bare = dataclasses.replace(info, device_model=None, devices_per_polarity=1, g_max=25.0)
    g = np.linspace(0.0, 1.0, 512)
    published = 0.26348 + 1.9650 * g - 1.1731 * g**2
    assert CellModel.of(bare).programming == pytest.approx(published)
    smaller = dataclasses.replace(bare, g_max=10.0)
    assert CellModel.of(smaller).programming == pytest.approx(0.4 * published)


def test_a_measured_residual_comes_first(info: ChipInfo) -> None:
    rng, target = np.random.default_rng(3), np.linspace(0.5, 10.0, 3000)
    reached = target + 0.4 * rng.standard_normal(target.size)
    fitted = hwloop.fit(hwloop.Measurement.of("programming", [25.0], [reached], target), "polynomial-2")
    one = dataclasses.replace(info, devices_per_polarity=1)
    found = CellModel.of(one, fitted).programming[50:-50]
    assert found == pytest.approx(0.4, rel=0.12)


def test_devices_make_up_the_cell(info: ChipInfo) -> None:
    cells = cells_at(CellModel.of(info), torch.linspace(-20.7, 20.7, 1001).reshape(1, 1, -1))
    devices = cells.on_devices()
    assert devices.sum(0) == pytest.approx(cells.target.abs(), abs=1e-4)
    assert float(devices.min()) >= 0.0
    assert float(devices.max()) <= info.g_max * 1.001


def test_drift_is_that_of_the_devices(info: ChipInfo) -> None:
    one = dataclasses.replace(info, devices_per_polarity=1)
    model = CellModel.of(one, plain_model(info))
    left = Drift(1.0).cells(cells_at(model, 8.0, age=20.0 * math.e**10)) / 8.0
    logs = left.log()  # -10 nu, nu normal with mean 0.05 and standard deviation 0.02
    assert float(logs.mean()) == pytest.approx(-0.5, abs=4 * 0.2 / math.sqrt(logs.numel()))
    assert float(logs.std()) == pytest.approx(0.2, rel=0.01)
    assert torch.equal(Drift(1.0).cells(cells_at(model, 8.0, age=20.0)), torch.full(SIZE, 8.0))


def test_targets_hold_at_the_age_that_they_are_meant_for(info: ChipInfo) -> None:
    one, day = dataclasses.replace(info, devices_per_polarity=1), 86_400.0
    assert info.device_model is not None
    law = dataclasses.replace(info.device_model.drift, spread=Polynomial((0.0,)))  # not where its pieces meet
    model = CellModel.of(one, dataclasses.replace(info.device_model, drift=law))
    targets = torch.linspace(1.5, 8.0, 200_000).reshape(SIZE)
    there = Drift(1.0).cells(cells_at(model, targets, age=day, fitted=day))
    assert there.numpy() == pytest.approx(targets.numpy(), rel=1e-5)
    before = Drift(1.0).cells(cells_at(model, targets, age=law.t0, fitted=day)).double().numpy()
    assert before * Aging(law).factor(before, day) == pytest.approx(targets.numpy(), rel=1e-3)


def test_two_devices_drift_apart(info: ChipInfo) -> None:
    model = CellModel.of(info, plain_model(info))
    cells = cells_at(model, 12.0, age=20.0 * math.e**5)
    shares = np.asarray([float(part) for part in cells.on_devices()[:, 0, 0, 0]]) / 12.0
    left = Drift(1.0).cells(cells) / 12.0
    log_normal = math.exp(0.1**2) - 1
    expected = math.exp(-0.25 + 0.1**2 / 2) * math.sqrt(log_normal * float((shares**2).sum()))
    assert float(left.std()) == pytest.approx(expected, rel=0.01)


def test_read_noise_is_split_into_slow_and_fast(info: ChipInfo) -> None:
    one = dataclasses.replace(info, devices_per_polarity=1)
    cells = cells_at(CellModel.of(one, plain_model(info)), 8.0, age=1e5, together=1e-2)
    whole = (8.0 * 0.03) ** 2 * math.log((1e5 + 250e-9) / 500e-9)
    slow = float((ReadNoise(1.0).cells(cells) - 8.0).var())
    fast = ReadNoise(1.0).variance(cells)
    assert fast is not None
    assert float(fast.mean()) == pytest.approx((8.0 * 0.03) ** 2 * math.log(1e-2 / 500e-9), rel=1e-3)
    assert slow + float(fast.mean()) == pytest.approx(whole, rel=0.01)


def test_stuck_devices_keep_cells_from_where_they_cannot_go(info: ChipInfo) -> None:
    one = dataclasses.replace(info, devices_per_polarity=1)
    reached = StuckDevices(0.1).cells(cells_at(CellModel.of(one), 8.0))
    values, counts = torch.unique(reached, return_counts=True)
    share = dict(zip(values.tolist(), (counts / reached.numel()).tolist(), strict=True))
    # The positive device is healthy (90 %), SET or RESET (5 % each), and so is the negative one: nine cases.
    assert share[8.0] == pytest.approx(0.81 + 0.045 + 0.045, rel=0.01)
    assert share[0.0] == pytest.approx(0.045 + 0.0025 + 0.045 + 0.0025, rel=0.05)
    g_max = float(np.float32(info.g_max))
    assert share[g_max] == pytest.approx(0.0025, rel=0.2)
    assert share[-g_max] == pytest.approx(0.0025, rel=0.2)
    assert torch.equal(StuckDevices(0.0).cells(cells_at(CellModel.of(one), 8.0)), torch.full(SIZE, 8.0))


def test_wires_lower_what_is_far_away(info: ChipInfo) -> None:
    cells = cells_at(CellModel.of(info), torch.full((2, 64, 32), 10.0))
    left = WireResistance(5.0).cells(cells) / 10.0
    assert float(left[0, -1, 0]) > float(left[0, 0, -1])  # sensed at the last row, driven at the first column
    assert float(left.max()) < 1.0
    assert torch.equal(left[0], left[1])


def test_converters_round_and_clip(info: ChipInfo) -> None:
    u = torch.linspace(-1.5, 1.5, 3001)[None, None]
    cells = cells_at(CellModel.of(info), torch.zeros(1, 1, 1))
    assert torch.equal(InputRounding(3.0).inputs(u), torch.round(u * 3) / 3)
    assert torch.equal(OutputRounding(3.0).outputs(u, cells), torch.round(u * 3) / 3)
    assert torch.equal(InputRange(0.5).inputs(u), u.clamp(-0.5, 0.5))
    assert torch.equal(OutputRange(1.0).outputs(u, cells), u.clamp(-1, 1))
    noise = OutputNoise(2.0, 100).outputs(torch.zeros(1, 100_000, 1), cells)
    assert float(noise.std()) == pytest.approx(0.02, rel=0.01)


def test_columns_have_gains_and_offsets_of_their_own(info: ChipInfo) -> None:
    cells = dataclasses.replace(
        cells_at(CellModel.of(info), 1.0), converters=torch.tensor([[[[1.0, -2.0]]], [[[3.0, 0.0]]]])
    )
    s = torch.ones(1, 4, 2)
    assert GainSpread(0.1).outputs(s, cells)[0, 0].tolist() == pytest.approx([1.1, 0.8])
    assert OffsetSpread(2.0, 100).outputs(s, cells)[0, 0].tolist() == pytest.approx([1.06, 1.0])


@pytest.mark.parametrize(
    ("part", "factor", "amount"),
    [
        (InputRounding(8.0), 2.0, 7.0),
        (OutputRounding(3.0), 16.0, 2.0),
        (InputRange(1.0), 4.0, 0.25),
        (ProgrammingNoise(1.5), 2.0, 3.0),
        (StuckDevices(0.0), 4.0, 4e-4),
    ],
)
def test_raising(part: Nonideality, factor: float, amount: float) -> None:
    assert part.raised(factor).amount == pytest.approx(amount)


def test_what_is_raised_to_its_end_says_so() -> None:
    assert InputRounding(8.0).raised(1000.0).at_its_end
    assert not InputRounding(8.0).at_its_end
    assert StuckDevices(0.6).raised(2.0).at_its_end


def test_ramps_spare_converters() -> None:
    assert ProgrammingNoise(1.0).ramped(0.5).amount == 0.5
    assert InputRounding(8.0).ramped(0.5).amount == 8.0
    assert OutputRange(1.0).ramped(0.5).amount == 1.0


@pytest.mark.parametrize("amount", [-1.0, math.nan, math.inf])
def test_amounts_that_are_none(amount: float) -> None:
    with pytest.raises(hwloop.BadInputError, match=r"programming noise: .* is no amount"):
        ProgrammingNoise(amount)


@pytest.mark.parametrize("part", [InputRounding(4.0), InputRange(0.5), OutputRounding(4.0), OutputRange(0.5),
                                  WireResistance(1.0), ProgrammingNoise(1.0), StuckDevices(0.1), Drift(1.0),
                                  ReadNoise(1.0), GainSpread(0.1), OffsetSpread(3.0), OutputNoise(1.0)],
                         ids=lambda part: part.name)  # fmt: skip
def test_what_is_not_random_is_the_same_in_every_draw(info: ChipInfo, part: Nonideality) -> None:
    random = torch.Generator().manual_seed(2)
    weights, x = torch.randn(1, 40, 6, generator=random), torch.randn(20, 40, generator=random)
    noise = dataclasses.replace(ChipNoise.of(info, (3600.0,)), parts=(part,))
    products = []
    for seed in (1, 2):
        product = NoisyProduct(noise, seed)
        product.fit_ranges(x, weights)
        products.append(product(x, weights).detach())
    assert torch.equal(*products) is not part.random
