"""A training as it is between two epochs, as named arrays: from these it goes on as if it had never been stopped."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from hwloop.files.resume_folder import listed, plain
from hwloop.nn.stored import described, tensor_again, tensor_on_file
from hwloop.typing import AnyArray, Json

if TYPE_CHECKING:
    from hwloop.nn.noise_aware import NoisyNetwork
    from hwloop.nn.retraining import Course

TOLD = "told"
"""Name of the array with the text that describes the others."""


class Checkpoints(Protocol):
    """Keeps the state of a training, and gives that from which it shall go on."""

    def keep(self, epochs: int, state: Iterable[tuple[str, AnyArray]]) -> None:
        """Keep a state in place of earlier ones; `epochs` are behind it."""

    def last(self) -> Mapping[str, AnyArray] | None:
        """Return the state to begin with; None: the training is new."""


def parts(tensors: Mapping[str, torch.Tensor], more: Mapping[str, Json]) -> Iterator[tuple[str, AnyArray]]:
    """Yield tensors and plain values as named arrays, from which `joined` makes them again."""
    told = {**more, "tensors": {name: described(one) for name, one in tensors.items()}}
    yield TOLD, np.frombuffer(json.dumps(told).encode(), np.uint8)
    for name, one in tensors.items():
        yield name, tensor_on_file(one)


def joined(state: Mapping[str, AnyArray]) -> tuple[dict[str, torch.Tensor], Mapping[str, Json]]:
    """Make tensors and plain values again of what `parts` gave. Raises KeyError or ValueError for what is not whole."""
    told: Mapping[str, Json] = json.loads(state[TOLD].tobytes())
    rows = plain(told["tensors"])
    return {name: tensor_again(state[name], how) for name, how in rows.items()}, told


def tensors_of(
    noisy: NoisyNetwork,
    best: tuple[Mapping[str, torch.Tensor], list[torch.Tensor]],
    optimizer: torch.optim.Optimizer,
) -> dict[str, torch.Tensor]:
    """Gather the tensors of a training: network and ranges now and at their best, optimiser, random states."""
    found = {f"now/{name}": one for name, one in _state(noisy).items()}
    found |= {f"range/{number}": one.detach() for number, one in enumerate(noisy.ranges())}
    found |= {f"best/{name}": one for name, one in best[0].items() if isinstance(one, torch.Tensor)}
    found |= {f"best range/{number}": one for number, one in enumerate(best[1])}
    found |= {f"random/{name}": one for name, one in noisy.random_states().items()}
    for number, kept in optimizer.state_dict()["state"].items():
        found |= {f"optimizer/{number}/{key}": one for key, one in kept.items() if isinstance(one, torch.Tensor)}
    return found | {"global random": torch.get_rng_state()}


def put_back(found: Mapping[str, torch.Tensor], noisy: NoisyNetwork, optimizer: torch.optim.Optimizer) -> None:
    """Bring network, ranges, optimiser and random states back to what `tensors_of` gave."""
    noisy.network.load_state_dict({**noisy.network.state_dict(), **below(found, "now")})
    with torch.no_grad():
        for part, (_, value) in zip(noisy.ranges(), below(found, "range").items(), strict=True):
            part.copy_(value)
    noisy.set_random_states(below(found, "random"))
    told = optimizer.state_dict()
    for name, value in below(found, "optimizer").items():
        number, key = name.split("/", 1)
        told["state"].setdefault(int(number), {})[key] = value
    optimizer.load_state_dict(told)
    torch.set_rng_state(found["global random"])


def below(found: Mapping[str, torch.Tensor], folder: str) -> dict[str, torch.Tensor]:
    """Return the tensors whose names begin with `folder/`, by the rest of their names."""
    return {name.removeprefix(f"{folder}/"): one for name, one in found.items() if name.startswith(f"{folder}/")}


def course_told(course: Course) -> Json:
    """Give the course of a training as plain values."""
    return {"epochs": [dataclasses.asdict(epoch) for epoch in course.epochs], "best": course.best}


def course_again(told: Json) -> Course:
    """Make the course again of what `course_told` gave."""
    from hwloop.nn.retraining import Course, Epoch

    values = plain(told)
    rows = [{key: float(str(one)) for key, one in plain(row).items()} for row in listed(values["epochs"])]
    return Course([Epoch(**row) for row in rows], int(str(values["best"])))


def _state(noisy: NoisyNetwork) -> dict[str, torch.Tensor]:
    return {name: one for name, one in noisy.network.state_dict().items() if isinstance(one, torch.Tensor)}
