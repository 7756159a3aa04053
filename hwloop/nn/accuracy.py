"""Accuracy of a classifier, with its interval."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import torch
from numpy.typing import ArrayLike
from torch import nn

from hwloop.errors import BadInputError
from hwloop.typing import Json

Batches: TypeAlias = "Iterable[tuple[torch.Tensor, torch.Tensor]] | tuple[ArrayLike, ArrayLike]"
"""Inputs and labels: a pair of arrays, or batches such as a DataLoader gives."""


@dataclass(frozen=True)
class Accuracy:
    """Share of right answers.

    Parameters
    ----------
    correct, total
        Right answers, and all.
    """

    correct: int
    total: int

    @property
    def value(self) -> float:
        """Share of right answers, from 0 to 1."""
        return self.correct / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """Two ends of the 95 % interval of the accuracy on other data of the same kind (Wilson, JASA 22, 209, 1927)."""
        z, n, p = 1.959964, self.total, self.value
        middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)

    def __float__(self) -> float:
        return self.value

    def __repr__(self) -> str:
        low, high = self.interval
        return f"{self.value:.4f} ({low:.4f} to {high:.4f})"

    def to_json(self) -> dict[str, Json]:
        """Give value and interval by the names of the command's JSON."""
        return {"accuracy": self.value, "accuracy_interval": list(self.interval), "images": self.total}


@dataclass(frozen=True)
class DeployedAccuracy:
    """How well a network answered its test data when it was deployed.

    Parameters
    ----------
    on_chip, digital
        Accuracy through the chip, and of the digital network.
    age
        Seconds after the end of programming at which the chip was asked.
    """

    on_chip: Accuracy
    digital: Accuracy
    age: float

    def to_json(self) -> dict[str, Json]:
        """Give the accuracies by the names of the command's JSON."""
        return {
            **self.on_chip.to_json(),
            "accuracy_digital": self.digital.value,
            "accuracy_digital_interval": list(self.digital.interval),
            "accuracy_age_seconds": self.age,
        }


def accuracy_of(network: nn.Module, data: Batches, batch: int = 500) -> Accuracy:
    """Count the right answers of a classifier.

    Parameters
    ----------
    network
        Gives (batch, classes); the largest output is its answer.
    data
        Inputs and labels.
    batch
        Images at a time, of arrays.

    Raises
    ------
    BadInputError
        For inputs and labels that do not belong together, labels beyond the network's outputs, outputs that are NaN,
        and no data.
    """
    correct = total = 0
    with torch.no_grad():
        for inputs, labels in batches(data, batch):
            outputs = network(inputs)
            check_scores(outputs, labels)
            if bool(torch.isnan(outputs).any()):
                raise BadInputError("the network's outputs are NaN; look at its inputs and weights")
            correct += int((outputs.argmax(1).cpu() == labels.cpu()).sum())
            total += len(labels)
    if not total:
        raise BadInputError("no data to compute an accuracy from")
    return Accuracy(correct, total)


def batches(data: Batches, batch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Give inputs and labels as batches of tensors. Raises BadInputError for pairs that do not belong together."""
    if batch < 1:
        raise BadInputError(f"batch={batch}: a batch has one image at least")
    if isinstance(data, tuple | list) and len(data) == 2 and not isinstance(data[0], tuple | list):
        inputs, labels = torch.as_tensor(data[0]), torch.as_tensor(data[1])
        if inputs.dim() < 1 or labels.dim() != 1 or len(inputs) != len(labels):
            raise BadInputError(f"inputs {tuple(inputs.shape)} and labels {tuple(labels.shape)} do not belong together")
        for part in range(0, len(labels), batch):
            yield inputs[part : part + batch], labels[part : part + batch]
        return
    for pair in data:
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise BadInputError("data must be a pair (inputs, labels), or give such pairs, as a DataLoader does")
        yield torch.as_tensor(pair[0]), torch.as_tensor(pair[1])


def as_one(data: Batches) -> tuple[torch.Tensor, torch.Tensor]:
    """Put batches of inputs and labels together. Raises BadInputError for none."""
    parts = list(batches(data, 2**31))
    if not parts:
        raise BadInputError("no data to compute an accuracy from")
    return torch.cat([inputs for inputs, _ in parts]), torch.cat([labels for _, labels in parts])


def check_scores(outputs: torch.Tensor, labels: torch.Tensor) -> None:
    """Raise BadInputError for outputs that are no class scores, and for labels that are none of their classes."""
    if not isinstance(outputs, torch.Tensor) or outputs.dim() != 2 or len(outputs) != len(labels):
        raise BadInputError("labels need a network that gives one row of class scores for each input")
    check_labels(labels, outputs.shape[1])


def check_labels(labels: torch.Tensor, classes: int) -> None:
    """Raise BadInputError for labels that are no classes of a network."""
    if labels.is_floating_point() or labels.is_complex() or labels.dim() != 1:
        shape = tuple(labels.shape)
        raise BadInputError(f"labels must be whole numbers, one for each input, not {labels.dtype} {shape}")
    labels = labels.long()  # torch cannot compare all whole numbers
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise BadInputError(
            f"labels run from {int(labels.min())} to {int(labels.max())}, and the network has {classes} outputs"
        )
