"""Fine-tunes the digital part of a network on outputs that its chip really gave."""

from __future__ import annotations

import copy
import fnmatch
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from hwloop.calibration.settings import Settings
from hwloop.errors import BadInputError
from hwloop.nn.accuracy import Batches, as_one, check_scores
from hwloop.nn.network import DeployedNetwork
from hwloop.registry import suggest


@dataclass(frozen=True)
class Tuning(Settings):
    """How the digital parameters of a network are trained on what its chip gives."""

    epochs: int = 5
    """Times that the data go through the chip."""
    batch: int = 100
    """Inputs of a step."""
    rate: float = 1e-3
    """Learning rate of Adam at the first step; it falls to zero along a half cosine."""
    seed: int = 0
    """Of the order of the data."""

    def __post_init__(self) -> None:
        self._require("epochs", 1, 100_000)
        self._require("batch", 1, 1e9)
        self._require("rate", 1e-12, 1e3)
        self._require("seed", 0, 2**31 - 1)


def digital_parameters(network: DeployedNetwork) -> dict[str, nn.Parameter]:
    """List the parameters of a network that lie on no chip: biases, norms, and layers that stayed digital."""
    on_chip = {id(user.layer.parameter_of(user.own_name)) for matrix in network.placed for user in matrix.sharing}
    return {name: value for name, value in network.network.named_parameters() if id(value) not in on_chip}


def tune(
    network: DeployedNetwork, data: Batches, parameters: Sequence[str] = ("*",), settings: Tuning | None = None
) -> list[float]:
    """Train digital parameters of a deployed classifier on the outputs of its chip as it is now.

    Every step sends its inputs through the chip; gradients pass it as through the digital matrices. Cells are not
    touched, and batch norms keep their statistics.

    Parameters
    ----------
    network
        The network; what was learnt stays in it.
    data
        Training inputs and labels.
    parameters
        Names of digital parameters, or patterns such as '*bias'.
    settings
        How.

    Returns
    -------
    list
        Mean cross-entropy of each epoch.

    Raises
    ------
    BadInputError
        For a pattern that no digital parameter answers to, for labels that the network does not have, and where a loss
        is not finite: the parameters are then what they were before.
    ChipError
        When the chip fails.
    """
    settings = settings or Tuning()
    chosen = _chosen(network, parameters)
    inputs, labels = as_one(data)
    before = copy.deepcopy([value.detach() for value in chosen.values()])
    optimiser = torch.optim.Adam(chosen.values(), settings.rate)
    steps = settings.epochs * math.ceil(len(labels) / settings.batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    order = torch.Generator().manual_seed(settings.seed)
    losses = []
    for _ in range(settings.epochs):
        total = 0.0
        for part in torch.split(torch.randperm(len(labels), generator=order), settings.batch):
            outputs = network(inputs[part])
            check_scores(outputs, labels[part])
            loss = functional.cross_entropy(outputs, labels[part].long())
            if not bool(torch.isfinite(loss)):
                with torch.no_grad():
                    for value, old in zip(chosen.values(), before, strict=True):
                        value.copy_(old)
                raise BadInputError("the loss is not finite: the parameters are as before; try a smaller rate")
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            schedule.step()
            total += loss.item() * len(part)
        losses.append(total / len(labels))
    return losses


def _chosen(network: DeployedNetwork, patterns: Sequence[str]) -> dict[str, nn.Parameter]:
    if not isinstance(network, DeployedNetwork):
        raise BadInputError(
            f"{type(network).__name__} is not whole on a chip; tune what hwloop.deploy gives without passes"
        )
    known = digital_parameters(network)
    found: dict[str, nn.Parameter] = {}
    for pattern in patterns:
        named = fnmatch.filter(known, pattern)
        if not named:
            raise BadInputError(f"no digital parameter is called '{pattern}'; {suggest(pattern, list(known))}")
        found |= {name: known[name] for name in named}
    if not found:
        raise BadInputError("no digital parameter was named; give names or patterns, such as '*bias'")
    if frozen := next((name for name, value in found.items() if not value.requires_grad), None):
        raise BadInputError(f"'{frozen}' is frozen (requires_grad is False); leave it out, or let it be trained")
    return found
