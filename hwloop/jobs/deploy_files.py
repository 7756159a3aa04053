"""Deploys a network that is named: by its class, the file of its weights, and the data to fit and to test it on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from hwloop.calibration.programming.base import Method
from hwloop.chip.backend import Backend
from hwloop.errors import BadInputError
from hwloop.files.weights import read_state_dict
from hwloop.jobs.deploy import Deployment, Plan, plan_of
from hwloop.nn.convert import convert
from hwloop.nn.datasets import read_dataset
from hwloop.nn.factory import network_from
from hwloop.nn.learnt_ranges import read_input_ranges
from hwloop.nn.network import DeployedNetwork
from hwloop.nn.settings import NetworkNames
from hwloop.nn.streaming import StreamedNetwork
from hwloop.typing import AnyArray


@dataclass(frozen=True)
class NetworkFiles:
    """Where a trained network and its data are found.

    Parameters
    ----------
    network
        MODULE:FACTORY that makes the module.
    weights, dataset
        Files.
    exclude
        Paths of layers that stay digital, or patterns.
    images
        Training images, at most, from which ranges, columns and batch statistics are taken.
    """

    network: str
    weights: str | Path
    dataset: str | Path
    exclude: tuple[str, ...] = ()
    images: int = 500


def deploy_files(
    files: NetworkFiles, chip: Backend, method: Method, settings: Deployment
) -> DeployedNetwork | StreamedNetwork:
    """Put a network on a chip and test it there; see `hwloop.deploy`.

    Whether it fits is known from shapes alone, before its weights are read.

    Raises
    ------
    BadInputError, MissingCapabilityError
        For anything that cannot be used, before anything is sent to the chip.
    """
    module = network_from(files.network)
    plan_of(convert(module, files.exclude, settings.conversions), chip, settings)
    fill(module, read_state_dict(files.weights, shapes_of(module)), str(files.weights))
    dataset = read_dataset(files.dataset)
    learnt = read_input_ranges(files.weights)
    settings = dataclasses.replace(settings, test=dataset.test, input_ranges={**learnt, **settings.input_ranges})
    plan = Plan.of(module, chip, dataset.sample(files.images, settings.seed), files.exclude, settings)
    names = NetworkNames.of(files.network, files.weights, files.dataset)
    return plan.put_on(
        chip, method, dataclasses.replace(names, exclude=tuple(files.exclude), replicas=settings.replicas)
    )


def shapes_of(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """Give the shape of everything that a network's state dict has."""
    return {name: tuple(values.shape) for name, values in network.state_dict().items()}


def fill(network: nn.Module, state: Mapping[str, torch.Tensor | AnyArray], source: str) -> None:
    """Give a network the weights of a state dict. Raises BadInputError when they are another network's."""
    tensors = {name: torch.as_tensor(values) for name, values in state.items()}
    own = network.state_dict()
    missing = [name for name in own if name not in tensors]
    unknown = [name for name in tensors if name not in own]
    shapes = [name for name in own if name in tensors and own[name].shape != tensors[name].shape]
    kind = type(network).__name__
    if shapes:
        name = shapes[0]
        raise BadInputError(
            f"{source}: '{name}' has the shape {tuple(tensors[name].shape)}, and {kind} needs {tuple(own[name].shape)}"
        )
    if missing or unknown:
        lacks = f"lacks {_some(missing)}" if missing else ""
        more = f"has {_some(unknown)}, which the network does not know" if unknown else ""
        raise BadInputError(f"{source} does not fit {kind}: it {' and '.join(filter(None, (lacks, more)))}")
    network.load_state_dict(tensors)
    network.eval()


def _some(names: list[str]) -> str:
    """Name the first few."""
    shown = ", ".join(f"'{name}'" for name in names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
