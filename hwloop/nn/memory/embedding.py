"""What a network sees in an image before it scores it: the network without its last layer, as vectors of one length."""

from __future__ import annotations

import copy
import math
from collections import OrderedDict

import torch
from torch import nn

from hwloop.errors import BadInputError


def embedding_of(network: nn.Module, sample: torch.Tensor, dimension: int, seed: int) -> nn.Module:
    """Copy a network without its last linear layer, followed by a random projection; both are ordinary layers.

    A projection onto independent normal directions keeps angles (Johnson and Lindenstrauss 1984), and gives every
    element of a vector a share in everything that the network saw. `deploy` puts it on a chip with the rest.

    Parameters
    ----------
    network
        Ends in a linear layer, whose outputs are its scores. It stays as it is.
    sample
        Some inputs, to find that layer.
    dimension
        Elements of the vectors; 0 leaves out the projection.
    seed
        Of the projection.

    Returns
    -------
    nn.Module
        Takes what the network takes, and gives (inputs, dimension); its part `body` is the network without the layer.

    Raises
    ------
    BadInputError
        For a network that does not end in a linear layer.
    """
    body = copy.deepcopy(network).eval()
    path, width = _head_of(body, sample)
    parent, _, name = path.rpartition(".")
    setattr(body.get_submodule(parent), name, nn.Identity())
    parts: OrderedDict[str, nn.Module] = OrderedDict(body=body)
    if dimension:
        projection = nn.Linear(width, dimension, bias=False)
        drawn = torch.randn(dimension, width, generator=torch.Generator().manual_seed(seed)) / math.sqrt(width)
        projection.weight = nn.Parameter(drawn)
        parts["projection"] = projection
    return nn.Sequential(parts)


def _head_of(network: nn.Module, sample: torch.Tensor) -> tuple[str, int]:
    """Find the linear layer whose output a network gives; its path and the number of its inputs."""
    given: dict[str, torch.Tensor] = {}

    def keep(path: str) -> object:
        return lambda _module, _inputs, output: given.update({path: output})

    layers = {path: one for path, one in network.named_modules() if isinstance(one, nn.Linear)}
    hooks = [one.register_forward_hook(keep(path)) for path, one in layers.items()]  # type: ignore[arg-type]
    try:
        with torch.no_grad():
            scores = network(sample)
    finally:
        for hook in hooks:
            hook.remove()
    for path, output in given.items():
        if path and isinstance(scores, torch.Tensor) and output is scores:
            return path, layers[path].in_features
    raise BadInputError(
        f"{type(network).__name__} does not end in a linear layer that gives its scores; give a network that does, as "
        "those of hwloop.nn.zoo"
    )
