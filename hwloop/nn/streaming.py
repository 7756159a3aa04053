"""A network that is larger than its chip, streamed through it: the chip is programmed anew for each part in turn."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from hwloop.chip.backend import Backend
from hwloop.chip.info import ChipInfo
from hwloop.errors import BadInputError
from hwloop.mapping.matrix import Matrix
from hwloop.nn.accuracy import Accuracy, Batches, DeployedAccuracy, accuracy_of, as_one
from hwloop.nn.activations import Activations
from hwloop.nn.convert import Converted
from hwloop.nn.network import DeployedNetwork, OpenRun
from hwloop.nn.placement import PlacedMatrix, cores_needed
from hwloop.nn.products import Product
from hwloop.nn.settings import NetworkSettings
from hwloop.typing import Json
from hwloop.units import finite


def passes_of(placed: Sequence[PlacedMatrix], order: Sequence[str], info: ChipInfo) -> list[list[PlacedMatrix]]:
    """Share out the matrices of a network over passes that fit on the chip, in the order in which they are used.

    Parameters
    ----------
    placed
        All matrices.
    order
        Their names in the order of use.
    info
        The chip.

    Raises
    ------
    BadInputError
        For a matrix that is larger than the chip by itself.
    """
    found: list[list[PlacedMatrix]] = []
    for matrix in sorted(placed, key=lambda one: order.index(one.name) if one.name in order else len(order)):
        if cores_needed([matrix], info) > info.cores:
            raise BadInputError(
                f"{matrix.name} alone needs {cores_needed([matrix], info)} cores and {info.name} has {info.cores}: no "
                "pass can hold it; keep it digital (exclude) or use a chip with more cores"
            )
        if found and cores_needed([*found[-1], matrix], info) <= info.cores:
            found[-1].append(matrix)
        else:
            found.append([matrix])
    return found


@dataclass(frozen=True)
class StreamCost:
    """What streaming has cost so far.

    Parameters
    ----------
    passes
        Parts that the network was cut into.
    programmings
        Times that the chip was programmed.
    pulses, pulses_per_programming
        Pulses in all, and of one programming of all parts.
    largest_count
        Pulses that the device which has received most has received, of the chip's budget for one device.
    """

    passes: int
    programmings: int
    pulses: int
    pulses_per_programming: float
    largest_count: int

    def to_json(self) -> dict[str, Json]:
        """Give every value by its name."""
        return {**dataclasses.asdict(self), "pulses_per_programming": finite(self.pulses_per_programming)}


class StreamedNetwork(nn.Module):
    """A network that goes through its chip in passes: every forward of a batch programs the chip once for each.

    Give large batches: the pulses of a pass are spent once for each call, whatever the number of inputs.
    """

    def __init__(
        self,
        converted: Converted,
        passes: Sequence[Sequence[PlacedMatrix]],
        seen: Activations,
        chip: Backend,
        program: Callable[[Sequence[Matrix]], OpenRun],
        settings: NetworkSettings,
    ) -> None:
        """Prepare a network; nothing is programmed before it is used.

        Parameters
        ----------
        converted
            The network.
        passes
            Its matrices, as `passes_of` gives them.
        seen
            Activations of every matrix, and what passes the chip by.
        chip
            The open chip.
        program
            Puts matrices on it and returns what holds them.
        settings
            Ranges.
        """
        super().__init__()
        self.network, self.settings = converted.network, settings
        self.digital = (*converted.digital, *seen.around)
        self._converted, self._passes, self._seen = converted, tuple(map(tuple, passes)), seen
        self._chip, self._program = chip, program
        self._loaded: int | None = None
        self._before = chip.counts
        self._programmings = 0
        self.tested: DeployedAccuracy | None = None
        """Accuracies of the test data that it was deployed with; None without any."""
        for number in range(len(self._passes)):
            self._close(number)
        self.eval()

    @property
    def forward(self) -> Callable[..., torch.Tensor]:  # type: ignore[override]  # torch declares a field
        """What computes the network's outputs, programming the chip as often as another part of it is needed."""
        return self.network

    def accuracy(self, data: Batches) -> Accuracy:
        """Measure the share of right answers, with all inputs in one batch, so that every pass is programmed once."""
        inputs, labels = as_one(data)
        return accuracy_of(self, (inputs, labels), batch=max(1, len(labels)))

    def load(self, number: int) -> None:
        """Program a pass onto the chip, unless it is there."""
        if self._loaded == number:
            return
        if self._loaded is not None:
            self._close(self._loaded)
        self._loaded = None
        matrices = [tensor for matrix in self._passes[number] for tensor in matrix.tensors()]
        open_run = self._program(matrices)
        self._programmings += 1
        part = DeployedNetwork(self._converted, self._passes[number], open_run, torch.empty(0), self.settings)
        part.fit(self._seen.samples, self._seen.learnt)
        self._loaded = number

    def _close(self, number: int) -> None:
        """Let the matrices of a pass that is not on the chip ask for it."""
        for matrix in self._passes[number]:
            for user in matrix.sharing:
                user.layer.products[user.own_name] = _Gate(self, number, matrix)

    def to_json(self) -> dict[str, Json]:
        """Summarise what it reached and what that cost."""
        return {
            "backend": self._chip.uri,
            **({} if self.tested is None else self.tested.to_json()),
            "passes": self.cost().to_json(),
            "digital": [{"name": one.name, "kind": one.kind, "reason": one.reason} for one in self.digital],
        }

    def cost(self) -> StreamCost:
        """Say what streaming has cost so far."""
        spent = self._chip.counts - self._before
        rounds = self._programmings / len(self._passes)
        counts = [int(self._chip.pulse_counts(core).max()) for core in range(self._chip.info.cores)]
        return StreamCost(
            passes=len(self._passes),
            programmings=self._programmings,
            pulses=spent.pulses,
            pulses_per_programming=spent.pulses / rounds if rounds else math.nan,
            largest_count=max(counts),
        )


@dataclass
class _Gate(Product):
    """Stands for the product of a matrix that is not on the chip: brings its pass there and multiplies."""

    network: StreamedNetwork
    number: int
    matrix: PlacedMatrix

    def __call__(self, x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
        """Load the pass, which puts products on the chip in place of the gates, and multiply."""
        self.network.load(self.number)
        user = self.matrix.sharing[0]
        return user.layer.products[user.own_name](x, matrix)
