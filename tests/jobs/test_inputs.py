"""At the door of every job: what stands for weights and for durations becomes an object, or is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from hwloop.errors import BadInputError
from hwloop.jobs.inputs import UsedCalibration, Weights, calibration_from, seconds, weights_from

W = np.arange(6.0).reshape(2, 3)


def test_whatever_holds_the_same_weights_gives_the_same_matrix(tmp_path: Path) -> None:
    np.save(tmp_path / "w.npy", W)
    layer = nn.Linear(3, 2, bias=False).double()
    layer.weight.data[:] = layer.weight.new_tensor(W)
    by_file = weights_from(tmp_path / "w.npy")
    for given, name in ((W, "array"), ({"weights": W}, "arrays"), (nn.Sequential(layer), "Sequential")):
        found = weights_from(given)
        assert found.name == name
        assert [one.values.tolist() for one in found.matrices] == [one.values.tolist() for one in by_file.matrices]
    assert by_file.name == str(tmp_path / "w.npy")
    assert by_file.sha256 == hashlib.sha256((tmp_path / "w.npy").read_bytes()).hexdigest()


def test_a_fingerprint_is_of_names_shapes_and_values() -> None:
    first = weights_from({"w": W})
    assert first.sha256 == weights_from({"w": W.copy()}).sha256 == weights_from({"w": np.asfortranarray(W)}).sha256
    others = [{"v": W}, {"w": W + 1}, {"w": W.reshape(3, 2)}, {"w": W, "v": W}]
    assert len({first.sha256, *(weights_from(one).sha256 for one in others)}) == 5


def test_matrices_and_weights_are_taken_as_they_are() -> None:
    made = weights_from(W)
    assert weights_from(made) is made
    again = weights_from(list(made.matrices))
    assert (again.name, again.matrices, again.sha256) == ("matrices", made.matrices, made.sha256)
    assert isinstance(made, Weights)


def test_a_calibration_that_is_none_stays_none() -> None:
    assert calibration_from(None) is None
    used = UsedCalibration(None)  # type: ignore[arg-type]
    assert calibration_from(used) is used


@pytest.mark.parametrize(("given", "found"), [("1.5h", 5400.0), (3, 3.0), (2.5, 2.5), (np.float32(4), 4.0)])
def test_durations(given: str | float, found: float) -> None:
    assert seconds(given) == found


@pytest.mark.parametrize("given", [True, None, [1.0]])
def test_what_is_no_duration(given: object) -> None:
    with pytest.raises(BadInputError, match="is no duration; give seconds, or a text such as '1h'"):
        seconds(given)  # type: ignore[arg-type]
