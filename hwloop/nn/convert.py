"""Converts a torch module: layers with weight matrices become analog layers, all else stays digital, with a reason."""

from __future__ import annotations

import copy
import fnmatch
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import nn
from torch.nn.utils import parametrize, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from hwloop.errors import BadInputError
from hwloop.nn.layers.base import AnalogLayer
from hwloop.nn.layers.convolution import AnalogConv, AnalogConvTranspose
from hwloop.nn.layers.linear import AnalogConv1D, AnalogLinear
from hwloop.registry import suggest

Rule: TypeAlias = Callable[..., AnalogLayer]
"""Makes the analog layer that stands for the layer it is given, and takes over its parameters."""

CONVERSIONS: Mapping[type[nn.Module], Rule] = {
    nn.Linear: AnalogLinear,
    nn.Conv1d: AnalogConv,
    nn.Conv2d: AnalogConv,
    nn.Conv3d: AnalogConv,
    nn.ConvTranspose1d: AnalogConvTranspose,
    nn.ConvTranspose2d: AnalogConvTranspose,
    nn.ConvTranspose3d: AnalogConvTranspose,
}
"""What becomes of each kind of layer; `convert` takes more."""


@dataclass(frozen=True)
class Digital:
    """A module that stays digital.

    Parameters
    ----------
    name, kind
        Its path in the network, and its class.
    reason
        Why it is not on the chip.
    """

    name: str
    kind: str
    reason: str


@dataclass(frozen=True)
class Converted:
    """A network with analog layers in place of the layers that can lie on a chip.

    Parameters
    ----------
    network
        A copy of the network with the layers replaced; products are exact, so that it computes as before.
    layers
        Its analog layers by path, in the order of the network.
    digital
        All else that has parameters or computes, with reasons.
    """

    network: nn.Module
    layers: Mapping[str, AnalogLayer]
    digital: tuple[Digital, ...]


def convert(
    network: nn.Module, exclude: Sequence[str] = (), conversions: Mapping[type[nn.Module], Rule] | None = None
) -> Converted:
    """Convert a copy of a network; the original stays as it is.

    Parameters
    ----------
    network
        Any module.
    exclude
        Paths of layers that stay digital, patterns such as 'blocks.*.mlp' among them; what lies below goes with them.
    conversions
        Rules for further kinds of layer, or other rules for known ones.

    Raises
    ------
    BadInputError
        For a pattern that no layer answers to, for layers whose weights do not exist yet, and where nothing is left.
    """
    rules = {**CONVERSIONS, **(conversions or {})}
    whole = copy.deepcopy(network)
    excluded = _excluded(whole, exclude)
    made: dict[int, AnalogLayer] = {}
    layers: dict[str, AnalogLayer] = {}
    digital: list[Digital] = []

    def replaced(module: nn.Module, path: str) -> nn.Module:
        if path in excluded:
            digital.append(Digital(path, type(module).__name__, "excluded"))
            return module
        if id(module) in made:  # one layer at several places of the network
            return made[id(module)]
        rule = _rule(module, rules)
        if rule is not None:
            _check_initialised(module, path)
            _fold(module)
            layer = rule(module)
            layer._forward_hooks, layer._forward_pre_hooks = module._forward_hooks, module._forward_pre_hooks
            made[id(module)] = layers[path] = layer
            return layer
        reason = _reason(module)
        if reason:
            digital.append(Digital(path, _kind(module), reason))
        for name, child in list(module.named_children()):
            setattr(module, name, replaced(child, f"{path}.{name}" if path else name))
        return module

    whole = replaced(whole, "")
    if not layers:
        raise BadInputError(
            f"{type(network).__name__}: no layer of it can lie on a chip; convertible are "
            f"{', '.join(kind.__name__ for kind in rules)}"
        )
    return Converted(whole, layers, tuple(digital))


def _excluded(network: nn.Module, patterns: Sequence[str]) -> set[str]:
    """Find the paths that patterns name. Raises BadInputError for a pattern that names nothing."""
    paths = [path for path, _ in network.named_modules(remove_duplicate=False) if path]
    found: set[str] = set()
    for pattern in patterns:
        named = fnmatch.filter(paths, pattern)
        if not named:
            raise BadInputError(f"exclude: the network has no layer '{pattern}'; {suggest(pattern, paths)}")
        found.update(named)
    return found


def _rule(module: nn.Module, rules: Mapping[type[nn.Module], Rule]) -> Rule | None:
    """Find the rule for a layer: of its class, or of one that it computes exactly as."""
    if type(module).__name__ == "Conv1D" and type(module).__module__.startswith("transformers."):
        return rules.get(type(module), AnalogConv1D)
    for kind in type(module).__mro__:
        if kind in rules and vars(kind).get("forward") is _forward(module):
            return rules[kind]
    return None


def _forward(module: nn.Module) -> Callable[..., torch.Tensor]:
    """Return what computes a module: the `forward` of the first class that has one."""
    found: Callable[..., torch.Tensor] = next(
        vars(kind)["forward"] for kind in type(module).__mro__ if "forward" in vars(kind)
    )
    return found


def _check_initialised(module: nn.Module, path: str) -> None:
    if any(isinstance(parameter, nn.parameter.UninitializedParameter) for parameter in module.parameters()):
        raise BadInputError(f"{path}: its size is not known yet; run the network once on data before deploying it")


def _fold(module: nn.Module) -> None:
    """Make plain parameters of reparametrised ones: weight norm, spectral norm and the like."""
    for hook in list(module._forward_pre_hooks.values()):
        if isinstance(hook, WeightNorm):
            remove_weight_norm(module, hook.name)
        elif isinstance(hook, SpectralNorm):
            remove_spectral_norm(module, hook.name)
    if parametrize.is_parametrized(module):
        for name in list(module.get_submodule("parametrizations")._modules):
            parametrize.remove_parametrizations(module, str(name), leave_parametrized=True)


def _kind(module: nn.Module) -> str:
    return type(module).__name__


def _reason(module: nn.Module) -> str:
    """Say why a module that no rule knows is digital; empty for a mere container."""
    own = list(module.named_parameters(recurse=False))
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return "batch norm: one factor and offset per channel, applied with those of the columns"
    if isinstance(module, nn.Embedding | nn.EmbeddingBag):
        return "looked up, not multiplied"
    if any(parameter.dim() >= 2 for _, parameter in own):
        return f"no conversion is known for {_kind(module)}; its own arithmetic stays digital"
    if own:
        return "its parameters multiply element by element"
    return "" if any(True for _ in module.children()) or isinstance(module, nn.Identity) else "has no weights"


@dataclass(frozen=True)
class MatrixOf:
    """One matrix of a converted network.

    Parameters
    ----------
    name
        Path of the layer and name of the matrix, as in the network's state dict where they agree.
    layer, own_name
        The layer, and what the matrix is called there.
    """

    name: str
    layer: AnalogLayer
    own_name: str

    def values(self) -> torch.Tensor:
        """Give the matrix, (groups, inputs, outputs)."""
        return self.layer.matrices()[self.own_name].detach()


def matrices_of(converted: Converted) -> Iterator[tuple[MatrixOf, ...]]:
    """List the matrices of a network; those that share one parameter come together, to be placed once.

    Yields
    ------
    tuple of MatrixOf
        The first names the cells.
    """
    together: dict[tuple[int, torch.Size], list[MatrixOf]] = {}
    for path, layer in converted.layers.items():
        for own, values in layer.matrices().items():
            key = (id(layer.parameter_of(own)), values.shape)
            together.setdefault(key, []).append(MatrixOf(f"{path}.{own}" if path else own, layer, own))
    for sharing in together.values():
        yield tuple(sharing)
