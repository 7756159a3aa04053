"""Folds what makes the weights of a layer anew in every forward pass, so that plain parameters are left."""

from __future__ import annotations

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
            for name in list(module.get_submodule("parametrizations")._modules):
                parametrize.remove_parametrizations(module, name, leave_parametrized=True)
