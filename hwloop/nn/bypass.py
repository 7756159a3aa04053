"""Finds multiplications that pass the chip by: code that reads the weights of a layer and multiplies by them itself."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from hwloop.nn.convert import EXCLUDED, LOOKED_UP, Converted, Digital, MatrixOf, matrices_of
from hwloop.nn.products import EXACT, Product

MULTIPLICATIONS = frozenset(
    (
        "mm", "addmm", "_addmm_activation", "bmm", "baddbmm", "mv", "addmv", "dot", "vdot", "matmul",
        "linear", "einsum", "tensordot", "bilinear", "_trilinear", "convolution", "conv1d", "conv2d",
        "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "inner", "mkldnn_linear",
        "mkldnn_rnn_layer", "lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "rnn_tanh_cell",
        "rnn_relu_cell", "_native_multi_head_attention", "_transformer_encoder_layer_fwd",
    )
)  # fmt: skip
"""Operations of torch that multiply vectors by matrices: those its functions come down to, with gradients recorded or
without (where fewer are taken apart), and fused ones."""


class Watch(TorchDispatchMode):
    """Watches passes of a converted network: which of its matrices are never used, which are used around the chip.

    For example::

        with Watch(converted) as watch:
            converted.network(x)
        watch.never_called, watch.bypassed

    Every way through the network that counts later has to be gone while it watches. The products of the layers are at
    work as ever, exact ones, recording ones or a chip's.
    """

    def __init__(self, converted: Converted) -> None:
        """Get ready to watch a network."""
        super().__init__()
        self._converted = converted
        self._calls = {one.name: 0 for one in _matrices(converted)}
        self._digital: dict[str, str] = {}
        self._within_product = False
        self._names: dict[int, str] = {}

    def __enter__(self) -> Watch:
        """Begin to watch."""
        for one in _matrices(self._converted):
            known = one.layer.products.get(one.own_name, EXACT)
            one.layer.products[one.own_name] = _Watched(known, self._counted(one.name))
        self._names = {
            parameter.untyped_storage().data_ptr(): name
            for name, parameter in self._converted.network.named_parameters()
            if parameter.dim() > 1
        }
        super().__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the products back."""
        super().__exit__(kind, error, trace)
        for one in _matrices(self._converted):
            watched = one.layer.products.pop(one.own_name)
            if isinstance(watched, _Watched) and watched.product is not EXACT:
                one.layer.products[one.own_name] = watched.product

    def __torch_dispatch__(
        self,
        func: torch._ops.OpOverload,
        types: tuple[type, ...],
        args: tuple[torch.Tensor, ...] = (),
        kwargs: Mapping[str, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Note the weights that an operation multiplies by, and run it."""
        operation = str(func.overloadpacket).rpartition(".")[2]
        if operation in MULTIPLICATIONS and not self._within_product:
            for tensor in _tensors([*args, *(kwargs or {}).values()]):
                name = self._names.get(tensor.untyped_storage().data_ptr()) if tensor.device.type != "meta" else None
                if name is not None:
                    self._digital.setdefault(name, operation)
        result: torch.Tensor = func(*args, **(kwargs or {}))
        return result

    @property
    def never_called(self) -> tuple[Digital, ...]:
        """The matrices of converted layers that no pass has used, by their names in the state dict."""
        reason = (
            "no pass multiplied by it: the network does not use it, or code around the layer reads its weights and "
            "multiplies by itself; exclude the layer, or give a conversion for the module around it"
        )
        return tuple(Digital(name, self._kind(name), reason) for name, calls in self._calls.items() if not calls)

    @property
    def bypassed(self) -> tuple[Digital, ...]:
        """The weights that the network multiplied by outside of its converted layers, by their names.

        Left out are those of excluded modules, and those that a module which `Converted.digital` lists has itself. An
        embedding is not left out: it is listed because it is looked up, and that something multiplies by it besides,
        as a tied output may, is nothing that one expects.
        """
        return tuple(
            Digital(
                name,
                self._kind(name),
                f"multiplied by in float, by code that reads it ({operation}), and not on the chip",
            )
            for name, operation in self._digital.items()
            if not self._is_listed(name.rpartition(".")[0])
        )

    def _is_listed(self, path: str) -> bool:
        """Tell whether a module is known to multiply digitally."""
        for digital in self._converted.digital:
            below = digital.reason == EXCLUDED and path.startswith(f"{digital.name}.")
            if below or (digital.name == path and digital.reason != LOOKED_UP):
                return True
        return False

    def _kind(self, name: str) -> str:
        """Say what the layer is of which a matrix is."""
        path = name.rpartition(".")[0]
        layer = self._converted.layers.get(path)
        return layer.kind if layer is not None else type(self._converted.network.get_submodule(path)).__name__

    def _counted(self, name: str) -> Callable[[Callable[[], torch.Tensor]], torch.Tensor]:
        def count(multiply: Callable[[], torch.Tensor]) -> torch.Tensor:
            self._calls[name] += 1
            self._within_product = True
            try:
                return multiply()
            finally:
                self._within_product = False

        return count


class _Watched(Product):
    """Hands its work to a product, and lets it be counted."""

    def __init__(self, product: Product, count: Callable[[Callable[[], torch.Tensor]], torch.Tensor]) -> None:
        self.product, self._count = product, count

    def __call__(self, x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
        return self._count(lambda: self.product(x, matrix))


def _matrices(converted: Converted) -> Iterator[MatrixOf]:
    """List the matrices of a network, those that share their cells one by one."""
    return itertools.chain.from_iterable(matrices_of(converted))


def _tensors(values: Iterable[torch.Tensor | Iterable[torch.Tensor]]) -> Iterator[torch.Tensor]:
    """Go through the tensors among arguments, in lists too."""
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)
