"""A network and its data as a job that can be gone on with keeps them: plain values and arrays, and no code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from hwloop.errors import BadInputError
from hwloop.files.reading import whole
from hwloop.files.resume_folder import ResumeFolder, listed, plain
from hwloop.nn.factory import zoo_network
from hwloop.typing import AnyArray, Json


def tensor_on_file(values: torch.Tensor) -> AnyArray:
    """Return a tensor as (bytes,), whatever numpy knows of its numbers."""
    flat: AnyArray = values.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy()
    return flat


def described(values: torch.Tensor) -> Json:
    """Return what makes a tensor again of its bytes: the type of its numbers, and its shape."""
    return [str(values.dtype).removeprefix("torch."), list(values.shape)]


def tensor_again(content: AnyArray, told: Json) -> torch.Tensor:
    """Make a tensor again of what `tensor_on_file` and `described` gave."""
    name, shape = listed(told)
    kind = getattr(torch, str(name))
    if not isinstance(kind, torch.dtype):
        raise ValueError(f"'{name}' is no type of numbers")
    sizes = [int(str(one)) for one in listed(shape)]
    flat = torch.from_numpy(np.array(content, np.uint8))
    return flat.view(kind).reshape(sizes) if flat.numel() else torch.empty(sizes, dtype=kind)


@dataclass(frozen=True)
class StoredModule:
    """The weights of a network and where its class comes from, as a job keeps them.

    Parameters
    ----------
    factory
        MODULE:FACTORY; empty for a module that was given.
    state
        Its state dict.
    """

    factory: str
    state: Mapping[str, torch.Tensor]

    @classmethod
    def of(cls, network: nn.Module, factory: str) -> StoredModule:
        """Take the tensors of a module; what else it keeps beside them comes with its class."""
        state = network.state_dict()
        return cls(factory, {name: one for name, one in state.items() if isinstance(one, torch.Tensor)})

    def told(self) -> Json:
        """Give it as plain values."""
        return {"factory": self.factory, "tensors": [[name, described(one)] for name, one in self.state.items()]}

    def arrays(self) -> list[AnyArray]:
        """Give its weights as arrays."""
        return [tensor_on_file(one) for one in self.state.values()]

    @classmethod
    def again(cls, folder: ResumeFolder, given: nn.Module | None) -> nn.Module:
        """Make the module again: one of the zoo by its name, any other of the module given, with the weights on file.

        Raises BadInputError where none is given that must be, and for one of another class.
        """
        told = folder.job()
        with whole(folder.path, "job folder", "begin the job anew"):
            network = plain(told["network"])
            factory, rows = str(network["factory"]), [listed(row) for row in listed(network["tensors"])]
            content = folder.arrays("network")
            state = {str(name): tensor_again(one, how) for (name, how), one in zip(rows, content, strict=True)}
        if given is None and not factory:
            raise BadInputError(
                f"{folder.out}: the network was given as a module in Python; go on there, with one of its class: "
                "hwloop.resume(path, network=module)"
            )
        made = given if given is not None else zoo_network(factory)
        own = made.state_dict()
        fitting = {name: one.shape for name, one in own.items() if isinstance(one, torch.Tensor)}
        if fitting != {name: one.shape for name, one in state.items()}:
            raise BadInputError(f"{folder.out} was begun with another network than the one given; give that one")
        made.load_state_dict({**own, **state})
        return made.eval()
