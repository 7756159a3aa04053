"""The weights of a torch module, whose layers tell what each of them is."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import torch
from torch import nn

from hwloop.mapping.choice import renamed
from hwloop.mapping.layouts import Reading
from hwloop.mapping.names import without_wrappers
from hwloop.mapping.tensors import Role, Tensor, torch_tensor

PLAIN = Reading("outputs-first")
TURNED = "inputs first in this layer"
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
DENSE = (nn.Linear, nn.Bilinear, nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)
TABLES = (nn.Embedding, nn.EmbeddingBag)
PARTS = ("weight_v", "weight_orig", "weight_u", "weight_g", "weight_mask")
"""What torch keeps a computed weight in; the first two have the shape of the weight itself."""


def module_tensors(module: nn.Module) -> list[Tensor]:
    """Describe the parameters and buffers of a module, each with its role and with the reading that its layer gives.

    Parameters
    ----------
    module
        A network, or a layer. Weights that are computed of others, by weight norm and the like, are computed.
    """
    found: dict[str, Tensor] = {}
    for path, layer in module.named_modules():
        if ".parametrizations" in f".{path}":
            continue
        for name, values in _own(layer):
            key = f"{path}.{name}" if path else name
            found[key] = _described(layer, name, key, values)
    return renamed(found.values(), without_wrappers(found))


def _own(layer: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Give the tensors of a layer itself, the computed ones in place of what they are computed of."""
    parametrized = getattr(layer, "parametrizations", None)
    if isinstance(parametrized, nn.ModuleDict):
        for name in parametrized:
            with torch.no_grad():
                yield name, getattr(layer, name)
    for name, values in [*layer._parameters.items(), *layer._buffers.items()]:
        if values is not None:
            yield name, values


def _described(layer: nn.Module, name: str, key: str, values: torch.Tensor) -> Tensor:
    if nn.parameter.is_lazy(values):
        return Tensor(
            key,
            (1, 1) if name.startswith("weight") else (),
            "float",
            lambda: values,
            trouble="has no values yet; run the network once",
        )
    tensor = torch_tensor(key, values)
    role, reading = _known(layer, name, values)
    return dataclasses.replace(tensor, role=role, reading=reading)


def _known(layer: nn.Module, name: str, values: torch.Tensor) -> tuple[Role | None, Reading | None]:
    """Tell the role of a tensor from its layer; None for what its name must tell, such as parts of a weight norm."""
    if (name in PARTS and values.dim() < 2) or name in ("weight_g", "weight_mask"):
        return None, None
    if name.startswith("bias") or values.dim() < 2:
        return Role.BIAS, None
    if isinstance(layer, TABLES):
        return Role.EMBEDDING, None
    if name in layer._buffers and name not in PARTS:
        return Role.BUFFER, None
    if isinstance(layer, CONVOLUTIONS):
        return Role.WEIGHT, Reading("outputs-first", layer.groups)
    if isinstance(layer, TRANSPOSED):
        return Role.WEIGHT, Reading("transposed", layer.groups)
    if isinstance(layer, DENSE):
        return Role.WEIGHT, PLAIN
    if type(layer).__name__ == "Conv1D" and hasattr(layer, "nf") and values.dim() == 2:
        return Role.WEIGHT, Reading("inputs-first", why=TURNED)
    if isinstance(layer, nn.LayerNorm | nn.modules.batchnorm._NormBase | nn.GroupNorm):
        return Role.NORM, None
    return None, None
