"""How a network lies on a chip, in words; and its tensors as plain values, there and back."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hwloop.nn.checkpoint import below, course_again, course_told, joined, parts
from hwloop.nn.convert import Digital
from hwloop.nn.report import LayerRow, MappingReport, _numbers
from hwloop.nn.retraining import Course, Epoch
from hwloop.nn.stored import described, tensor_again, tensor_on_file

INFO = SimpleNamespace(name="hermes", cores=8, rows=10, columns=20)
ROWS = (
    LayerRow("fc1.weight", "Linear", (1, 16, 12), (0, 1, 2), 192, 1, (), 0.05),
    LayerRow("conv", "Conv2d", (4, 3, 2), (2, 5), 96, 3, ("a", "b"), math.nan),
)
DIGITAL = (
    Digital("relu", "ReLU", "has no weights"),
    Digital("", "Module", "was not called"),
    Digital("gelu", "ReLU", "has no weights"),
)


def test_a_report_has_a_line_for_each_matrix_and_a_reason_for_what_stays_digital() -> None:
    report = MappingReport(INFO, ROWS, DIGITAL)  # type: ignore[arg-type]
    assert report.cores_used == 4
    assert report.utilisation == pytest.approx(288 / 800)
    assert str(report).splitlines() == [
        "4 of 8 core(s) of hermes, 36% of their cells",
        "",
        "matrix                shape  cores      MVM error",
        "fc1.weight          16 x 12  0-2        0.0500",
        "conv              4 x 3 x 2  2, 5          -    3 copies  shared with a, b",
        "",
        "MVM errors are those of the network's own activations.",
        "",
        "digital:",
        "  relu, gelu (ReLU): has no weights",
        "  the network (Module): was not called",
    ]


def test_a_report_as_json() -> None:
    told = MappingReport(INFO, ROWS, DIGITAL).to_json()  # type: ignore[arg-type]
    assert told["layers"] == [
        {
            "name": "fc1.weight", "kind": "Linear", "groups": 1, "inputs": 16, "outputs": 12, "cores": [0, 1, 2],
            "cells": 192, "replicas": 1, "shared_with": [], "mvm_error": 0.05,
        },
        {
            "name": "conv", "kind": "Conv2d", "groups": 4, "inputs": 3, "outputs": 2, "cores": [2, 5], "cells": 96,
            "replicas": 3, "shared_with": ["a", "b"], "mvm_error": None,
        },
    ]  # fmt: skip
    assert told["digital"][1] == {"name": "", "kind": "Module", "reason": "was not called"}  # type: ignore[index]


def test_a_report_of_nothing() -> None:
    report = MappingReport(INFO, (), ())  # type: ignore[arg-type]
    assert report.cores_used == 0
    assert math.isnan(report.utilisation)
    assert "digital:" not in str(report)


@pytest.mark.parametrize(
    ("cores", "told"),
    [((), ""), ((3,), "3"), ((3, 4), "3-4"), ((0, 1, 2, 3), "0-3"), ((0, 2), "0, 2"), ((0, 2, 7), "0, 2, 7")],
)
def test_numbers_of_cores_are_brief(cores: tuple[int, ...], told: str) -> None:
    assert _numbers(cores) == told


# ---- tensors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(6, dtype=torch.int64).reshape(2, 3), torch.tensor(2.5, dtype=torch.float64),
        torch.tensor([1.0, -2.0], dtype=torch.bfloat16), torch.tensor([True, False]), torch.zeros(0, 3),
        torch.arange(6.0).reshape(2, 3).T,
    ],
)  # fmt: skip
def test_tensors_of_every_kind_come_back(tensor: torch.Tensor) -> None:
    content = tensor_on_file(tensor)
    assert (content.dtype, content.ndim, content.size) == (np.uint8, 1, tensor.numel() * tensor.element_size())
    again = tensor_again(content, described(tensor))
    assert again.dtype == tensor.dtype
    assert torch.equal(again, tensor)


def test_what_is_no_type_of_numbers_is_refused() -> None:
    assert described(torch.zeros(2, 1)) == ["float32", [2, 1]]
    with pytest.raises(ValueError, match="'load' is no type of numbers"):
        tensor_again(np.zeros(4, np.uint8), ["load", [1]])


def test_a_checkpoint_is_put_together_again() -> None:
    tensors = {"now/a": torch.ones(2), "now/b/c": torch.zeros(1), "best/a": torch.full((2,), 3.0)}
    state = dict(parts(tensors, {"epoch": 3}))
    assert list(state) == ["told", *tensors]
    found, told = joined(state)
    assert told["epoch"] == 3
    assert {name: one.tolist() for name, one in found.items()} == {name: one.tolist() for name, one in tensors.items()}
    assert {name: one.tolist() for name, one in below(found, "now").items()} == {"a": [1.0, 1.0], "b/c": [0.0]}
    with pytest.raises(KeyError):
        joined({name: one for name, one in state.items() if name != "best/a"})


def test_the_course_of_a_training_comes_back() -> None:
    names = list(Epoch.__dataclass_fields__)
    epochs = [Epoch(**{name: float(at + 10 * epoch) for at, name in enumerate(names)}) for epoch in range(2)]
    course = Course(epochs, 1)
    again = course_again(course_told(course))
    assert (again.epochs, again.best) == (epochs, 1)
