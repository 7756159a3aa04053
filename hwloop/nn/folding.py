"""Folds what makes the weights of a layer anew in every forward pass, so that plain parameters are left."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import parametrize, prune, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm


def fold(layer: nn.Module) -> None:
    """Make plain parameters of reparametrised ones: weight norm, spectral norm, pruning, parametrizations.

    Parameters
    ----------
    layer
        Changed in place, with what lies below it.
    """
    for module in list(layer.modules()):
        for hook in list(module._forward_pre_hooks.values()):
            if isinstance(hook, WeightNorm):
                remove_weight_norm(module, hook.name)
            elif isinstance(hook, SpectralNorm):
                remove_spectral_norm(module, hook.name)
            elif isinstance(hook, prune.BasePruningMethod):
                prune.remove(module, hook._tensor_name)
        if parametrize.is_parametrized(module):
            _fold_parametrizations(module)


def _fold_parametrizations(module: nn.Module) -> None:
    """Leave what parametrizations give now; torch's own way would change the class, which copies of a module share."""
    lists = dict(module.get_submodule("parametrizations").eval().named_children())  # spectral norm takes no more steps
    with torch.no_grad():
        values = {name: getattr(module, name).clone() for name in lists}
    module.__class__ = parametrize.type_before_parametrizations(module)
    del module._modules["parametrizations"]
    for name, value in values.items():
        trained = [parameter.requires_grad for parameter in lists[name].parameters()]
        if trained:
            module.register_parameter(name, nn.Parameter(value, requires_grad=any(trained)))
        else:
            module.register_buffer(name, value)
