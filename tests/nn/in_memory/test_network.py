"""Networks on devices: convolutions with replicas, recurrent layers, shared and excluded layers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

import hwloop

URI = "sim:rpu-baseline?seed=4&rows=32&columns=32&cores=8"


@pytest.fixture
def chip() -> Iterator[hwloop.Backend]:
    with hwloop.connect(URI) as opened:
        for core in range(opened.info.cores):
            opened.set_adc_range(core, 30.0)  # three weights: fine enough to compare with float
        yield opened


def agrees(net: hwloop.AnalogNetwork, x: torch.Tensor, bound: float) -> None:
    """Check outputs and gradients for inputs against the network with its weights as they are on the chip."""
    for matrix in net.matrices.values():
        read = np.mean([one.weights(200) for one in matrix.replicas], axis=0)
        matrix.source.values()[0].copy_(torch.from_numpy(read))
    x = x.clone().requires_grad_(True)
    y = net(x)
    y.sum().backward()
    on_chip = (y.detach(), x.grad.clone())
    net.forget()
    for module in net.network.modules():
        if hasattr(module, "products"):
            module.products.clear()
    x.grad = None
    digital = net.network(x)
    digital.sum().backward()
    for found, wanted in zip(on_chip, (digital.detach(), x.grad), strict=True):
        assert (found - wanted).abs().max() < bound * max(1.0, float(wanted.abs().max()))


@pytest.mark.parametrize("replicas", [1, 3])
def test_a_convolution_computes_both_ways(chip: hwloop.Backend, replicas: int) -> None:
    torch.manual_seed(0)
    net = hwloop.nn.analog(nn.Conv2d(2, 5, 3, padding=1), chip, hwloop.Periphery(replicas=replicas))
    agrees(net, torch.rand(4, 2, 6, 6) - 0.5, 0.3)  # nine patches add up


def test_an_lstm_computes_both_ways(chip: hwloop.Backend) -> None:
    torch.manual_seed(0)

    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(3, 6, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.lstm(x)[0]

    net = hwloop.nn.analog(Last(), chip)
    assert list(net.matrices) == ["lstm.weight_ih_l0", "lstm.weight_hh_l0"]
    agrees(net, torch.rand(4, 5, 3) - 0.5, 0.15)


def test_replicas_lie_on_cores_of_their_own(chip: hwloop.Backend) -> None:
    net = hwloop.nn.analog(nn.Conv2d(2, 5, 3), chip, hwloop.Periphery(replicas=4))
    cores = [{piece.place.core for piece in one.pieces} for one in net.matrices["weight"].replicas]
    assert sum(map(len, cores)) == len(set.union(*cores))


def test_replicas_share_the_patches_and_keep_their_gradients_apart(chip: hwloop.Backend) -> None:
    net = hwloop.nn.analog(nn.Conv2d(2, 5, 3), chip, hwloop.Periphery(replicas=4))
    net(torch.rand(2, 2, 6, 6)).sum().backward()
    waiting = [one.take() for one in net.matrices["weight"].waiting]
    vectors = [found[0] for found in waiting if found is not None]
    assert [len(one) for one in vectors] == [8, 8, 8, 8]  # of 2 images with 16 patches each
    assert len(np.unique(np.concatenate(vectors).round(6), axis=0)) == 32


def test_every_time_step_is_an_update_of_its_own(chip: hwloop.Backend) -> None:
    net = hwloop.nn.analog(nn.RNN(3, 4, batch_first=True), chip)
    net(torch.rand(2, 5, 3))[0].sum().backward()
    found = net.matrices["weight_hh_l0"].waiting[0].take()
    assert found is not None
    assert len(found[0]) == 2 * 5


def test_transfer_noise_is_in_the_start_weights(chip: hwloop.Backend) -> None:
    model = nn.Linear(30, 30, bias=False)
    nn.init.uniform_(model.weight, -0.5, 0.5)
    errors = []
    for noise in (0.0, 0.2):
        net = hwloop.nn.analog(model, chip, hwloop.Periphery(transfer_noise=noise))
        wanted = model.weight.detach().numpy().T
        errors.append(float(np.std(net.matrices["weight"].replicas[0].weights(50) - wanted)))
    assert errors[0] < 0.02
    assert errors[1] == pytest.approx(0.2 * 0.5, rel=5 / np.sqrt(2 * 900))


def test_what_stays_digital_is_listed_and_trained_by_its_gradient(chip: hwloop.Backend) -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 2))
    net = hwloop.nn.analog(model, chip, exclude=["2"])
    assert list(net.matrices) == ["0.weight"]
    opt = hwloop.optim.AnalogSGD(net, lr=0.1)
    before = net.network[2].weight.clone()
    net(torch.rand(3, 4)).sum().backward()
    opt.step()
    assert not torch.equal(net.network[2].weight, before)


def test_groups_are_refused_with_the_way_out(chip: hwloop.Backend) -> None:
    with pytest.raises(hwloop.BadInputError, match="a matrix of 2 groups cannot be trained in memory; keep its layer"):
        hwloop.nn.analog(nn.Conv2d(4, 4, 3, groups=2), chip)


def test_inputs_that_are_not_finite_are_refused(chip: hwloop.Backend) -> None:
    net = hwloop.nn.analog(nn.Linear(4, 2), chip)
    with pytest.raises(hwloop.BadInputError, match="inputs that are NaN or infinite"):
        net(torch.full((1, 4), float("nan")))


def test_cells_that_were_programmed_over_are_noticed(chip: hwloop.Backend) -> None:
    first = hwloop.nn.analog(nn.Linear(4, 2), chip)
    hwloop.nn.analog(nn.Linear(4, 2), chip)
    with pytest.raises(hwloop.BadInputError, match="were programmed over"):
        first(torch.rand(1, 4))


def test_calibrated_symmetry_points_are_the_zeros_of_what_is_read() -> None:
    uri = "sim:reram-sb?seed=3&rows=8&columns=8&cores=2&symmetry_point_mean=0.2&symmetry_point_spread=0.1"
    with hwloop.connect(uri) as chip:
        calibration = hwloop.calibrate(chip, ["symmetry-point"])
        net = hwloop.nn.analog(nn.Linear(8, 8), chip, calibration=calibration)
        opt = hwloop.optim.TTv2(net)
        known = calibration.cores[0].symmetry_point
        assert known is not None
        fast = opt.updaters["weight"][0].arrays()["fast array"]
        assert net.matrices["weight"].replicas[0].zero is None
        assert fast.zero is not None
        assert fast.zero.mean() == pytest.approx(0.2, abs=4 * 0.1 / 8 + 0.05)
        rows = np.arange(8)
        assert np.allclose(fast.read_rows(rows).mean(), fast.product(np.eye(8)).mean() - fast.zero.mean(), atol=0.1)
        saved = opt.state_dict()
        fast.zero = None
        opt.load_state_dict(saved)
        assert fast.zero is not None


def test_start_weights_beyond_the_range_of_the_devices_are_warned_of(chip: hwloop.Backend) -> None:
    layer = nn.Linear(10, 10)
    with torch.no_grad():
        layer.weight.fill_(0.1)
        layer.weight[:3] = 5.0
    with pytest.warns(hwloop.errors.ProgrammingWarning, match=r"0\.3 of the start weights .* a larger weight_scale"):
        hwloop.nn.analog(layer, chip)


@pytest.mark.parametrize(("asked", "length"), [(5, 5), (10_000, None)])
def test_trains_are_no_longer_than_the_chip_can_send(chip: hwloop.Backend, asked: int, length: int | None) -> None:
    net = hwloop.nn.analog(nn.Linear(4, 3), chip, hwloop.Periphery(train_length=asked))
    (matrix,) = net.matrices.values()
    assert matrix.train_length == (chip.info.stepping.longest if length is None else length)
