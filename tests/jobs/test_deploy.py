"""Deploying by names: files, what they do not fit, stops, and drift with accuracy."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import hwloop
from hwloop.calibration.programming.exact import Exact
from hwloop.chip.claims import programmed_over
from hwloop.chip.region import Place
from hwloop.errors import BadInputError, MissingCapabilityError, ProgrammingWarning
from hwloop.files.resume_folder import folder_of
from hwloop.jobs.deploy_files import NetworkFiles, deploy_files, fill
from hwloop.nn.learnt_ranges import save_weights
from tests.conftest import OpenChip
from tests.files.weights.test_aihwkit import tile
from tests.jobs.conftest import CtrlC, OpenWithout
from tests.nn.conftest import IDEAL, NOISY, images, labelled, small_cnn

FACTORY = """
import torch
from torch import nn

def make():
    return nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8, stride=2),
        nn.Flatten(), nn.Linear(32, 5),
    )
"""


@pytest.fixture
def files(tmp_path: Path) -> NetworkFiles:
    """A network's class, weights and data, as files."""
    network = small_cnn()
    (tmp_path / "net.py").write_text(FACTORY)
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    x, y = labelled(network, 300)
    index = np.arange(300)
    np.savez(tmp_path / "d.npz", x=x, y=y, train_index=index[:200], test_index=index[200:])
    return NetworkFiles(f"{tmp_path / 'net.py'}:make", tmp_path / "w.safetensors", tmp_path / "d.npz")


def test_a_network_by_its_files(files: NetworkFiles, open_chip: OpenChip, tmp_path: Path) -> None:
    settings = hwloop.Deployment(out=tmp_path / "net.h5")
    network = deploy_files(files, open_chip(IDEAL), Exact(), settings)
    assert isinstance(network, hwloop.DeployedNetwork)
    told = network.to_json()
    json.dumps(told, allow_nan=False)
    assert (told["accuracy"], told["accuracy_digital"], told["images"]) == (1.0, 1.0, 100)
    assert told["accuracy_interval"][0] == pytest.approx(0.963, abs=1e-3)
    assert told["cores_used"] == 1
    assert [layer["name"] for layer in told["layers"]] == ["0.weight", "3.weight", "5.weight"]
    with h5py.File(tmp_path / "net.h5") as file:
        assert file.attrs["format"] == "hwloop-network"
        assert file["run"].attrs["status"] == "complete"
        assert len(file["network/test_labels"]) == 100
        assert "chip_state" not in file["network"]


def test_learnt_input_ranges_are_taken_over(files: NetworkFiles, open_chip: OpenChip) -> None:
    save_weights(files.weights, small_cnn().state_dict(), {"0.weight": 0.75}, force=True)
    network = deploy_files(files, open_chip(NOISY), Exact(), hwloop.Deployment())
    assert isinstance(network, hwloop.DeployedNetwork)
    scales = {tile.programmed.tile.tensor: tile.input_scale for tile in network.tiles}
    assert scales["0.weight"] == 0.75
    assert scales["5.weight"] != 0.75


def test_a_network_of_aihwkit_brings_weights_kernels_and_ranges(
    files: NetworkFiles, open_chip: OpenChip, tmp_path: Path
) -> None:
    state, content = small_cnn().state_dict(), {}
    for name, values in state.items():
        layer = name.rpartition(".")[0]
        of_matrix = state.get(f"{layer}.weight", values).ndim > 1
        if of_matrix and name.endswith(".weight"):
            content |= tile(f"{layer}.analog_module.", values.flatten(1), input_range=1.25)
        else:
            content[f"{layer}.analog_module.bias" if of_matrix and name.endswith(".bias") else name] = values
    torch.save(content, tmp_path / "analog.pt")
    network = deploy_files(
        replace(files, weights=tmp_path / "analog.pt"), open_chip(NOISY), Exact(), hwloop.Deployment()
    )
    assert isinstance(network, hwloop.DeployedNetwork)
    assert network.to_json()["accuracy_digital"] == 1.0
    assert {one.input_scale for one in network.tiles} == {1.25}


def test_calibration_data_are_training_images_alone(files: NetworkFiles, open_chip: OpenChip) -> None:
    network = deploy_files(files, open_chip(IDEAL), Exact(), hwloop.Deployment())
    assert isinstance(network, hwloop.DeployedNetwork)
    with np.load(files.dataset) as data:
        trained, tested = data["x"][:200], data["x"][200:]
    assert len(network.inputs) == 200
    assert {one.tobytes() for one in network.inputs.numpy()} == {one.tobytes() for one in trained}
    np.testing.assert_array_equal(network.test[0], tested)


def test_a_network_in_training_mode_is_deployed_as_it_answers(open_chip: OpenChip) -> None:
    network = small_cnn().train()
    statistics = network[1].running_mean.clone()
    data = labelled(small_cnn())
    found = hwloop.deploy(network, open_chip(IDEAL), images(200), "exact", settings=hwloop.Deployment(test=data))
    assert found.tested.on_chip.value == 1.0
    assert network.training
    assert torch.equal(network[1].running_mean, statistics)


def test_a_network_may_do_without_mvm_errors_but_not_its_file(open_chip: OpenChip, tmp_path: Path) -> None:
    """Columns are calibrated by the same vectors either way, so that it answers the same."""
    records = []
    for settings in (
        hwloop.Deployment(errors=False), hwloop.Deployment(), hwloop.Deployment(errors=False, out=tmp_path / "net.h5")
    ):  # fmt: skip
        network = hwloop.deploy(small_cnn(), open_chip(IDEAL), images(200), "exact", settings=settings)
        records.append(network.open_run.record)
    assert [np.isfinite(one.mvm_error) for one in records] == [False, True, True]
    assert [all(np.isfinite(tile.mvm_error) for tile in one.tiles) for one in records] == [False, True, True]
    for one, other in zip(records[0].tiles, records[1].tiles, strict=True):
        assert one.correction.gain == pytest.approx(other.correction.gain)
        assert one.correction.offset == pytest.approx(other.correction.offset, abs=1e-9)


def test_a_network_whose_cells_were_programmed_over_answers_no_more(open_chip: OpenChip, tmp_path: Path) -> None:
    chip, x = open_chip(IDEAL), images(40)
    first = hwloop.deploy(small_cnn(), chip, x, "exact")
    assert isinstance(first, hwloop.DeployedNetwork)
    first.save(tmp_path / "first.h5")
    second = hwloop.deploy(small_cnn(), chip, x, "exact")
    complaint = "the cells of this network were programmed over, by .*; deploy it again"
    with pytest.raises(BadInputError, match=complaint):
        first(x)
    with pytest.raises(BadInputError, match=complaint):
        first.compensate("column")
    second(x)
    third = hwloop.load_network(tmp_path / "first.h5", small_cnn(), chip)
    third(x)
    with pytest.raises(BadInputError, match=r"programmed over, by what .*first\.h5 holds"):
        second(x)
    hwloop.program(chip, np.ones((2, 3)), "exact")
    with pytest.raises(BadInputError, match=complaint):
        third(x)


def test_networks_on_cores_of_their_own_leave_each_other_alone(open_chip: OpenChip) -> None:
    chip = open_chip("sim:pcm-ideal?cores=2&rows=64&columns=40")
    net = hwloop.deploy(small_cnn(), chip, images(40), "exact")
    assert isinstance(net, hwloop.DeployedNetwork)
    used = {tile.programmed.tile.place.core for tile in net.tiles}
    free = Place(1 - min(used), 0, 0, 4, 4) if len(used) == 1 else Place(0, 60, 36, 4, 4)
    programmed_over(chip, [free], "another one")
    net(images(5))


def test_a_calibration_without_a_file_cannot_stand_in_a_network_file(open_chip: OpenChip, tmp_path: Path) -> None:
    chip = open_chip(NOISY)
    known = hwloop.calibrate(chip, ["adc"], cores=[0])
    settings = hwloop.Deployment(calibration=known, out=tmp_path / "net.h5")
    with pytest.raises(BadInputError, match=r"save it \(calibration\.save"):
        hwloop.deploy(small_cnn(), chip, images(40), "exact", settings=settings)
    net = hwloop.deploy(small_cnn(), chip, images(40), "exact", settings=hwloop.Deployment(calibration=known))
    with pytest.raises(BadInputError, match=r"save it \(calibration\.save"):
        net.save(tmp_path / "net.h5")
    known.save(tmp_path / "chip.cal.h5")
    settings = hwloop.Deployment(calibration=tmp_path / "chip.cal.h5", out=tmp_path / "net.h5")
    hwloop.deploy(small_cnn(), chip, images(40), "exact", settings=settings)
    again = hwloop.load_network(tmp_path / "net.h5", small_cnn())
    assert again.open_run.calibration is not None
    again.open_run.backend.close()


def test_a_stop_leaves_the_run_on_file(open_chip: OpenChip, tmp_path: Path) -> None:
    settings = hwloop.Deployment(out=tmp_path / "net.h5", progress=CtrlC(4))
    with pytest.raises(KeyboardInterrupt, match=r"hwloop resume .*net\.h5 goes on"):
        hwloop.deploy(small_cnn(), open_chip(NOISY), images(100), "gdp", settings=settings)
    with h5py.File(tmp_path / "net.h5") as file:
        assert file["run"].attrs["status"] == "interrupted"
    with pytest.raises(BadInputError, match=r"not deployed to its end; hwloop resume .*net\.h5 goes on with it"):
        hwloop.load_network(tmp_path / "net.h5", small_cnn())
    folder_of(tmp_path / "net.h5").rename(tmp_path / "elsewhere")
    with pytest.raises(BadInputError, match="not deployed to its end; deploy it again"):
        hwloop.load_network(tmp_path / "net.h5", small_cnn())


def test_weights_multiplied_around_the_chip_are_told(open_chip: OpenChip) -> None:
    class Around(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.linear(self.a(x), self.b.weight)

    with pytest.warns(ProgrammingWarning, match=r"b\.weight \(Linear\)"):
        found = hwloop.deploy(Around(), open_chip(IDEAL), torch.rand(50, 6), "exact")
    assert "b.weight" in {one.name for one in found.mapping_report().digital}


def test_a_chip_without_products_is_refused(open_without: OpenWithout) -> None:
    chip = open_without(IDEAL, hwloop.Capability.MVM)
    with pytest.raises(MissingCapabilityError, match="a network on a chip"):
        hwloop.deploy(small_cnn(), chip, images(10), "exact")


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (torch.zeros(0, 2, 6, 6), "calibration data are empty"),
        (torch.full((3, 2, 6, 6), torch.nan), "calibration data contain NaN"),
        (torch.zeros(5, 3, 6, 6), "does not take the data"),
        ([["a"]], "no array"),
    ],
)
def test_data_that_cannot_calibrate(open_chip: OpenChip, data: object, complaint: str) -> None:
    chip = open_chip(IDEAL)
    with pytest.raises(BadInputError, match=complaint):
        hwloop.deploy(small_cnn(), chip, data, "exact")
    assert chip.counts.pulses == 0


class Wordless(nn.Linear):
    """Refuses its inputs without saying why."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise ValueError


def test_a_network_that_refuses_its_inputs_without_a_word(open_chip: OpenChip) -> None:
    network = nn.Sequential(nn.Linear(72, 3), Wordless(3, 3))
    with pytest.raises(BadInputError, match=r"does not take the data .*: ValueError$"):
        hwloop.deploy(network, open_chip(IDEAL), images(10).flatten(1), "exact", exclude=["1"])


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf"), 1e-320])
def test_learnt_ranges_that_are_none(open_chip: OpenChip, value: float) -> None:
    settings = hwloop.Deployment(input_ranges={"0.weight": value})
    with pytest.raises(BadInputError, match=r"input_ranges: '0\.weight' has"):
        hwloop.deploy(small_cnn(), open_chip(IDEAL), images(10), "exact", settings=settings)


def test_activations_that_are_no_number(open_chip: OpenChip) -> None:
    network = small_cnn()
    with torch.no_grad():
        network[1].weight.fill_(3e38)
    with pytest.raises(BadInputError, match=r"3\.weight: the network's own activations there are NaN or infinite"):
        hwloop.deploy(network, open_chip(IDEAL), images(20), "exact")


def test_weights_that_are_no_number(open_chip: OpenChip) -> None:
    network = small_cnn()
    with torch.no_grad():
        network[5].weight[1, 2] = torch.inf
    with pytest.raises(BadInputError, match=r"5\.weight has weights that are NaN or infinite"):
        hwloop.deploy(network, open_chip(IDEAL), images(20), "exact")


def test_what_does_not_fit_is_refused_before_weights_are_read(files: NetworkFiles, open_chip: OpenChip) -> None:
    Path(files.weights).write_bytes(b"no weights at all")
    with pytest.raises(BadInputError, match="needs 4 cores"):
        deploy_files(files, open_chip("sim:pcm-ideal?rows=20&columns=8"), Exact(), hwloop.Deployment())


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda state: state.pop("0.bias"), r"lacks '0\.bias'"),
        (lambda state: state.update(extra=torch.zeros(1)), "has 'extra', which the network does not know"),
        (lambda state: state.update({"5.weight": torch.zeros(2, 2)}), r"'5\.weight' has the shape \(2, 2\)"),
        (lambda state: state.clear(), "and 8 more"),
    ],
)
def test_weights_of_another_network(change: object, complaint: str) -> None:
    state = dict(small_cnn().state_dict())
    change(state)
    with pytest.raises(BadInputError, match=complaint):
        fill(small_cnn(), state, "w.pt")


# ---- drift -----------------------------------------------------------------------------------------------------


def test_drift_of_a_network_has_its_accuracy(open_chip: OpenChip, tmp_path: Path) -> None:
    network = small_cnn()
    with torch.no_grad():
        network[5].bias -= network(images(300)).mean(0)
    settings = hwloop.Deployment(test=labelled(network, 200))
    found = hwloop.deploy(network, open_chip(NOISY), images(200), "gdp", settings=settings)
    names = ["none", "column", "column+batchnorm", "refresh"]
    study = hwloop.drift(found, times=["1h", "1y"], compensations=names, out=tmp_path / "d.h5")
    shares = {name: study.courses[name].accuracy for name in names}
    assert all(values.shape == (2, 3) for values in shares.values())
    assert all((np.diff(values[:, [1, 0, 2]]) > 0).all() for values in shares.values())
    assert shares["column"][1, 0] > shares["none"][1, 0] + 0.1
    assert shares["refresh"][1, 0] > shares["none"][1, 0] + 0.1
    tiles = sum(tile.programmed.tile.tensor.startswith("3.weight") for tile in found.tiles)
    vectors = 36 + 4 * tiles + 1  # places of the first convolution and of the second one, and the linear layer
    assert (study.courses["column+batchnorm"].mvms - study.courses["column"].mvms).tolist() == [200.0 * vectors] * 2
    told = study.to_json()["compensations"]["column"]
    assert told["accuracy"] == shares["column"][:, 0].tolist()
    assert len(told["accuracy_interval"]) == 2
    again = hwloop.load(tmp_path / "d.h5")
    np.testing.assert_array_equal(again.courses["refresh"].accuracy, shares["refresh"])
    assert found.compensation == "none"


def test_what_only_networks_have(open_chip: OpenChip, tmp_path: Path) -> None:
    chip = open_chip(NOISY)
    run = hwloop.program(chip, {"w": np.random.default_rng(0).standard_normal((6, 5))}, "exact")
    with pytest.raises(BadInputError, match="'column\\+batchnorm' is one of networks"):
        hwloop.drift(run, chip, ["1d"], ["column+batchnorm"])
    with pytest.raises(BadInputError, match="a run has no accuracy"):
        hwloop.drift(run, chip, ["1d"], ["column"], data=labelled(small_cnn()))
    bare = hwloop.deploy(nn.Sequential(nn.Flatten(), nn.Linear(72, 5)), open_chip(NOISY), images(50), "exact")
    with pytest.raises(BadInputError, match="no batch norm"):
        hwloop.drift(bare, times=["1d"], compensations=["batchnorm"])
    with pytest.raises(BadInputError, match="deployed without test data"):
        hwloop.drift(bare, times=["1d"], compensations=["column"])
