"""Trainings in memory as jobs: what they give, what is on file, and going on after a stop."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch import nn

import hwloop
from hwloop.errors import BadInputError
from hwloop.jobs.train import TrainingJob
from hwloop.optim import AGAD
from hwloop.optim.training_file import TrainingRecorder
from tests.calibration import made_up
from tests.optim.conftest import URI, network, points

X, Y = points(80, 1)
DATA = {"x_train": X, "y_train": Y, "x_test": points(60, 2)[0], "y_test": points(60, 2)[1]}
BRIEF = hwloop.Training(epochs=2, lr=0.1, batch=20, held_out=0.1, reference_epochs=1)


def stop_after(steps: int) -> hwloop.jobs.progress.Report:  # type: ignore[name-defined]
    calls = 0

    def report(done: int, total: int) -> None:
        nonlocal calls
        calls += done > 0
        if calls > steps:
            raise KeyboardInterrupt

    return report


def train(path: Path, algorithm: str = "agad", **more: object) -> hwloop.Trained:
    with hwloop.connect(URI) as chip:
        return hwloop.train(network(), DATA, chip, algorithm, TrainingJob(training=BRIEF, out=path), **more)  # type: ignore[arg-type]


def numbers(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a file by name."""
    found: dict[str, np.ndarray] = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, one: found.update({name: one[()]}) if isinstance(one, h5py.Dataset) else None)
    return found


def test_the_result_and_its_file_tell_the_same(tmp_path: Path) -> None:
    result = train(tmp_path / "t.h5")
    assert result.status == "complete"
    assert len(result.test_accuracy) == len(result.curves.loss) == len(result.curves.held_out_accuracy) == 2
    assert 0 < result.float_accuracy <= 1
    assert result.pulses_per_device > 0
    assert result.curves.pulses[1] > result.curves.pulses[0] > 0
    told = result.to_json()
    assert told["test_accuracy"] == result.test_accuracy
    read = hwloop.load(tmp_path / "t.h5")
    assert isinstance(read, hwloop.Trained)
    assert read.to_json() == told
    assert read.weights.keys() == {"0.weight", "2.weight"}
    page = hwloop.page_of(tmp_path / "t.h5")
    assert "trained by agad" in page.title
    for picture in page.pictures:
        assert picture.draw(result.plot()) is not None


def test_a_stopped_training_goes_on_to_the_last_bit(tmp_path: Path) -> None:
    train(tmp_path / "whole.h5")
    stopped = train(tmp_path / "t.h5", progress=stop_after(5))
    assert stopped.status == "interrupted"
    assert len(stopped.curves.loss) == 1
    with hwloop.connect(URI) as chip:
        result = hwloop.resume(tmp_path / "t.h5", chip, network=network())
    assert result.status == "complete"
    one, other = numbers(tmp_path / "whole.h5"), numbers(tmp_path / "t.h5")
    assert one.keys() == other.keys()
    assert [name for name in one if not np.array_equal(one[name], other[name], equal_nan=True)] == []
    with pytest.raises(hwloop.BadInputError, match="is complete: there is nothing to go on with"):
        hwloop.resume(tmp_path / "t.h5", network=network())


def test_a_file_alone_opens_nothing_of_the_users(tmp_path: Path) -> None:
    train(tmp_path / "t.h5", progress=stop_after(2))
    with pytest.raises(hwloop.BadInputError, match="hand one of its class over again"):
        hwloop.resume(tmp_path / "t.h5")
    with pytest.raises(hwloop.BadInputError, match="holds another network than the one given"):
        hwloop.resume(tmp_path / "t.h5", network=nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)))


def test_a_trained_network_is_opened_as_it_was_left(tmp_path: Path) -> None:
    result = train(tmp_path / "t.h5")
    net = hwloop.open_trained(tmp_path / "t.h5", network=network())
    with net.chip:
        read = net.read_weights()
        for name, weights in result.weights.items():
            assert np.abs(read[name] - weights).max() < 0.3  # two reads, with the noise of the converters


def test_nan_ends_a_training_and_the_rest_is_on_file(tmp_path: Path) -> None:
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.calls = nn.Linear(3, 2), 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += self.training
            return self.fc(x) * (float("nan") if self.calls > 5 else 1.0)

    with hwloop.connect(URI) as chip:
        job = TrainingJob(training=hwloop.Training(epochs=3, batch=20, reference_epochs=0), out=tmp_path / "t.h5")
        result = hwloop.train(Broken(), DATA, chip, "sgd", job)
    assert result.status == "diverged"
    read = hwloop.load(tmp_path / "t.h5")
    assert read.status == "diverged"
    assert len(read.curves.loss) == 1


def test_bad_input_is_refused_before_anything_is_done() -> None:
    with (
        hwloop.connect("sim:hermes-core?seed=1") as pcm,
        pytest.raises(hwloop.MissingCapabilityError, match="sim:reram-sb or sim:rpu-baseline"),
    ):
        hwloop.train(network(), DATA, pcm)
    with hwloop.connect(URI) as chip:
        with pytest.raises(hwloop.BadInputError, match="no algorithm 'agda' trains in memory; did you mean 'agad'"):
            hwloop.train(network(), DATA, chip, "agda")
        with pytest.raises(hwloop.BadInputError, match="no layer of it can lie on a chip"):
            hwloop.train(nn.Sequential(nn.Flatten()), {**DATA, "y_train": Y * 0, "y_test": Y[:60] * 0}, chip)
        assert chip.counts.pulses == 0


def test_the_calibration_of_another_chip_is_refused_before_a_pulse() -> None:
    with hwloop.connect(URI.replace("seed=4", "seed=5")) as chip:
        other = made_up.calibration(chip)
    with hwloop.connect(URI) as chip:
        with pytest.raises(BadInputError, match="calibrate this chip"):
            hwloop.train(network(), DATA, chip, "agad", TrainingJob(training=BRIEF, calibration=other))
        assert chip.counts.pulses == 0


def test_what_was_done_in_the_middle_of_a_batch_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C twice, or plainly from Python: the file goes on from whole batches, to the same end."""
    train(tmp_path / "whole.h5")
    step, calls = AGAD.step, []

    def stopped(self: AGAD, *more: object) -> object:
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return step(self, *more)

    with monkeypatch.context() as patch:
        patch.setattr(AGAD, "step", stopped)
        patch.setattr(TrainingRecorder, "due", True)
        assert train(tmp_path / "t.h5").status == "interrupted"
    with hwloop.connect(URI) as chip:
        result = hwloop.resume(tmp_path / "t.h5", chip, network=network())
    assert result.to_json()["test_accuracy"] == hwloop.load(tmp_path / "whole.h5").test_accuracy
    one, other = numbers(tmp_path / "whole.h5"), numbers(tmp_path / "t.h5")
    assert all(np.array_equal(one[name], other[name]) for name in one if name.startswith(("weights", "parameters")))
