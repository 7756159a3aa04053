"""Deployments, studies of networks and trainings that are killed or stopped end as if nothing had happened."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import hwloop
from hwloop.chip.info import Capability
from hwloop.errors import BadInputError
from hwloop.files.resume_folder import folder_of
from hwloop.jobs.drift_asked import NetworkFile
from hwloop.jobs.retrain import Output, retrain_into
from tests.jobs.conftest import CtrlC, OpenWithout
from tests.jobs.test_resume import Kill
from tests.killing import killed_after

CHIP = "sim:hermes-core?rows=16&columns=16&cores=2&seed=1"
METHOD = hwloop.GDP(max_steps=4)


def net(seed: int = 3) -> nn.Module:
    """A small classifier with batch norm and dropout."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(12, 10), nn.BatchNorm1d(10), nn.ReLU(), nn.Dropout(0.2), nn.Linear(10, 3)).eval()


def data(count: int = 90) -> tuple[np.ndarray, np.ndarray]:
    """Three classes of points that overlap little."""
    rng = np.random.default_rng(2)
    y = rng.integers(3, size=count)
    return (rng.normal(size=(count, 12)) + 2 * y[:, None]).astype(np.float32), y


def deployed(out: Path, chip: hwloop.Backend | None = None, progress: object = False) -> object:
    settings = hwloop.Deployment(test=data(60), out=out, seed=5, progress=progress)
    if chip is not None:
        return hwloop.deploy(net(), chip, data()[0], METHOD, settings=settings)
    with hwloop.connect(CHIP) as opened:
        return hwloop.deploy(net(), opened, data()[0], METHOD, settings=settings)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a deployment that was never stopped."""
    path = tmp_path_factory.mktemp("whole") / "net.h5"
    deployed(path)
    return path


def same_network(one: Path, other: Path) -> None:
    first, second = (hwloop.load_network(path, net()) for path in (one, other))
    assert first.tested == second.tested
    for mine, its in zip(first.tiles, second.tiles, strict=True):
        np.testing.assert_array_equal(
            mine.programmed.region.backend.pulse_counts(0), its.programmed.region.backend.pulse_counts(0)
        )
        assert mine.input_scale == its.input_scale
    x = torch.tensor(data(8)[0])
    assert torch.equal(first(x), second(x))


@pytest.mark.parametrize("steps", [5])
def test_a_killed_deployment_ends_as_if_it_had_not_been(whole: Path, tmp_path: Path, steps: int) -> None:
    out = tmp_path / "net.h5"
    assert killed_after(60, lambda: deployed(out, progress=Kill(steps)))
    network = hwloop.resume(out, network=net(seed=99))  # weights of the module do not matter
    assert network.tested is not None
    same_network(out, whole)
    assert not folder_of(out).exists()


def test_one_that_was_killed_while_it_was_fitted_goes_on_there(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hwloop.nn.network import DeployedNetwork

    out = tmp_path / "net.h5"

    def interrupted(network: DeployedNetwork) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(DeployedNetwork, "accuracy", interrupted)
        with pytest.raises(KeyboardInterrupt):
            deployed(out)
    hwloop.resume(out, network=net())
    same_network(out, whole)


def test_a_stopped_deployment_on_a_real_chip_goes_on(open_without: OpenWithout, tmp_path: Path) -> None:
    out, chip = tmp_path / "net.h5", open_without(CHIP, Capability.STATE)
    with pytest.raises(KeyboardInterrupt):
        deployed(out, chip, CtrlC(4))
    network = hwloop.resume(out, chip, network=net())
    assert network.tested.on_chip.value == pytest.approx(network.tested.digital.value, abs=0.15)


def test_a_module_of_python_must_be_handed_over(tmp_path: Path) -> None:
    out = tmp_path / "net.h5"
    with pytest.raises(KeyboardInterrupt):
        deployed(out, progress=CtrlC(4))
    with pytest.raises(BadInputError, match=r"given as a module in Python.*network=module"):
        hwloop.resume(out)
    with pytest.raises(BadInputError, match="another network"):
        hwloop.resume(out, network=nn.Linear(3, 3))


# ---- drift -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [2, 3])
def test_a_stopped_study_of_a_network_goes_on(whole: Path, tmp_path: Path, steps: int) -> None:
    asked = {"times": ["1s", "1h", "30d"], "compensations": ["none", "global+batchnorm"], "data": data(60)}
    alone = hwloop.drift(NetworkFile(whole, net()), out=tmp_path / "alone.h5", **asked)
    out = tmp_path / "drift.h5"
    assert hwloop.drift(NetworkFile(whole, net()), out=out, progress=CtrlC(steps), **asked).status == "interrupted"
    found = hwloop.resume(out, network=net(seed=99))
    assert found.status == "complete"
    for name, course in alone.courses.items():
        np.testing.assert_array_equal(course.mvm_error, found.courses[name].mvm_error)
        np.testing.assert_array_equal(course.accuracy, found.courses[name].accuracy)
    with pytest.raises(BadInputError, match="is complete"):
        hwloop.resume(out)


# ---- training ----------------------------------------------------------------------------------------------------

TRAINING = hwloop.Retraining(epochs=4, batch=16, draws=2, test_draws=2, calibration=32, certainty=0.0, lr=0.01)


def trained(out: Path, progress: object = False, force: bool = False) -> hwloop.Retrained:
    return retrain_into(Output(out, force, progress=progress), net(), data(), CHIP, TRAINING)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a training that was never stopped."""
    path = tmp_path_factory.mktemp("alone") / "net.safetensors"
    trained(path)
    return path


def assert_same_weights(one: Path, other: Path) -> None:
    from safetensors.torch import load_file

    first, second = load_file(one), load_file(other)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("batches", [2, 6, 17])
def test_a_killed_training_ends_as_if_it_had_not_been(alone: Path, tmp_path: Path, batches: int) -> None:
    out = tmp_path / "net.safetensors"
    assert killed_after(60, lambda: trained(out, Kill(batches)))
    found = hwloop.resume(out, network=net(seed=99))
    assert found.status == "complete"
    assert len(found.course.epochs) == 5
    assert_same_weights(out, alone)
    assert not folder_of(out).exists()


def test_a_stopped_training_has_its_best_on_file_and_goes_on(alone: Path, tmp_path: Path) -> None:
    out = tmp_path / "net.safetensors"
    assert trained(out, CtrlC(12)).status == "interrupted"
    assert out.is_file()
    assert hwloop.resume(out, network=net(), progress=CtrlC(6)).status == "interrupted"
    hwloop.resume(out, network=net())
    assert_same_weights(out, alone)


def test_a_file_that_was_put_there_meanwhile_is_not_replaced_by_a_training(alone: Path, tmp_path: Path) -> None:
    out = tmp_path / "net.safetensors"
    assert killed_after(60, lambda: trained(out, Kill(6)))
    out.write_bytes(alone.read_bytes())
    with pytest.raises(BadInputError, match="is not of the job"):
        hwloop.resume(out, network=net())


def test_a_file_that_force_was_to_replace_is_replaced_by_who_goes_on(alone: Path, tmp_path: Path) -> None:
    out = tmp_path / "net.safetensors"
    out.write_bytes(b"an older one")
    assert killed_after(60, lambda: trained(out, Kill(6), force=True))
    assert out.read_bytes() == b"an older one"
    assert hwloop.resume(out, network=net()).status == "complete"


def test_what_cannot_be_trained_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(BadInputError):
        retrain_into(Output(tmp_path / "a.safetensors"), net(), (np.zeros((4, 5)), np.zeros(4, int)), CHIP, TRAINING)
    assert not list(tmp_path.iterdir())
