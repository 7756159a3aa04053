"""The base of converted layers: parameters keep the names of the original layer, multiplications go to products."""

from __future__ import annotations

import abc

import torch
from torch import nn

from hwloop.nn.products import EXACT, Product


class AnalogLayer(nn.Module, abc.ABC):
    """A layer whose weight matrices are multiplied by products, on a chip or not.

    A subclass takes over the parameters of the layer that it stands for, under their names, so that `state_dict` is
    that of the original. It writes `matrices` and `forward`, and multiplies by nothing but `multiply`.
    """

    def __init__(self, kind: str) -> None:
        """Begin with exact products; `kind` is what the original layer is called in reports."""
        super().__init__()
        self.kind = kind
        self.products: dict[str, Product] = {}
        """Product of each matrix by its name; a matrix without one is multiplied in float."""

    @abc.abstractmethod
    def matrices(self) -> dict[str, torch.Tensor]:
        """Give the matrices by name, each (groups, inputs, outputs), as functions of the parameters.

        Gradients flow through them to the parameters.
        """

    def matrix(self, name: str) -> torch.Tensor:
        """Give one of the matrices; a layer that multiplies by many in turn need not make all of them each time."""
        return self.matrices()[name]

    def parameter_of(self, name: str) -> nn.Parameter:
        """Return the parameter that a matrix is a view of: layers that share it share the cells on the chip.

        Parameters
        ----------
        name
            A name that `matrices` gives; unless overridden, it is the parameter's own.
        """
        return self.get_parameter(name)

    def multiply(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """Multiply inputs by a matrix.

        Parameters
        ----------
        name
            Of the matrix.
        x
            (..., groups * inputs).

        Returns
        -------
        Tensor
            (..., groups * outputs), of the type of the inputs whatever the product computes in.
        """
        product = self.products.get(name, EXACT)
        flat = product(x.reshape(-1, x.shape[-1]), self.matrix(name))
        return flat.reshape(*x.shape[:-1], flat.shape[-1]).to(x.dtype)

    def extra_repr(self) -> str:
        """Say what the layer stands for."""
        return self.kind


def share(layer: nn.Module, original: nn.Module) -> None:
    """Let a converted layer hold what the original one holds, under the same names.

    Parameters and buffers are the original's own, so that weights that layers share stay shared. So are public
    attributes, such as `in_features` or `hidden_size`, because networks read them of their layers.
    """
    for name, parameter in original._parameters.items():  # without a bias, its name stands for None
        layer.register_parameter(name, parameter)
    for name, buffer in original._buffers.items():
        layer.register_buffer(name, buffer, name not in original._non_persistent_buffers_set)
    for name, child in original._modules.items():
        layer.add_module(name, child)
    for name, value in vars(original).items():
        if not name.startswith("_") and not hasattr(layer, name):
            setattr(layer, name, value)
    layer.training = original.training
