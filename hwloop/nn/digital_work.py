"""Counts what a network computes digitally beside its chip, by the operations of torch that it comes down to."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from hwloop.nn.bypass import MULTIPLICATIONS

MOVES = frozenset(
    (
        "clone", "copy", "to_copy", "cat", "stack", "constant_pad_nd", "reflection_pad1d", "reflection_pad2d",
        "reflection_pad3d", "replication_pad1d", "replication_pad2d", "replication_pad3d", "index", "index_select",
        "index_put", "gather", "scatter", "embedding", "repeat", "roll", "flip", "im2col", "unsafe_view", "fill",
        "lift_fresh", "local_scalar_dense", "empty_like", "zeros_like", "ones_like", "full_like", "new_zeros",
        "new_empty", "new_ones", "new_full", "resize", "native_channel_shuffle", "pixel_shuffle", "scalar_tensor",
    )
)  # fmt: skip
"""Operations of torch that only bring values to another place, besides those that give views."""


class DigitalWork(TorchDispatchMode):
    """Counts the operations of all that torch does while it is entered, but for what is done `aside`.

    A product of matrices counts as its multiplications and additions; anything else as the largest tensor among its
    inputs and outputs, one operation for each value. Views, copies and look-ups count as nothing.

    Parameters
    ----------
    operations
        Number of operations by name, as torch calls them.
    uncounted
        Names of fused operations whose work it cannot tell.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        super().__init__()
        self.operations: Counter[str] = Counter()
        self.uncounted: set[str] = set()
        self._aside = False

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Leave out what is computed within."""
        self._aside = True
        try:
            yield
        finally:
            self._aside = False

    def __torch_dispatch__(
        self,
        func: torch._ops.OpOverload,
        types: tuple[type, ...],
        args: tuple[torch.Tensor, ...] = (),
        kwargs: Mapping[str, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Run an operation and count it."""
        given = dict(kwargs or {})
        result: torch.Tensor = func(*args, **given)
        if not self._aside:
            self._count(func, args, given, result)
        return result

    def _count(
        self,
        func: torch._ops.OpOverload,
        args: tuple[torch.Tensor, ...],
        kwargs: Mapping[str, torch.Tensor],
        result: torch.Tensor,
    ) -> None:
        packet = func.overloadpacket
        own = str(packet).rpartition(".")[2]
        name = own.strip("_")
        inputs = list(_tensors([*args, *kwargs.values()]))
        if func.is_view or name in MOVES or not inputs:
            return
        if packet in flop_registry:
            self.operations[name] += flop_registry[packet](*args, **kwargs, out_val=result)
        elif own in MULTIPLICATIONS:
            self.uncounted.add(name)
        else:
            self.operations[name] += max(tensor.numel() for tensor in [*inputs, *_tensors([result])])


def _tensors(values: Iterable[torch.Tensor | Iterable[torch.Tensor]]) -> Iterator[torch.Tensor]:
    """Go through the tensors among values, in lists too."""
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)
