"""The product of a trained matrix: forward and backward go through its devices, and what they were given is kept.

The gradient of the digital weight is never made. Inputs and errors wait, in the order in which the errors came back,
for the optimiser, which turns them into pulses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch.autograd.function import FunctionCtx

from hwloop.errors import BadInputError
from hwloop.nn.in_memory.matrix import TrainedMatrix
from hwloop.nn.products import Product
from hwloop.typing import FloatArray, IndexArray


class InMemory(Product):
    """Multiplies through the devices that hold a matrix."""

    def __init__(self, matrix: TrainedMatrix, check: Callable[[], None]) -> None:
        """Multiply by a matrix, after `check` has found nothing against it each time."""
        self.matrix, self._check = matrix, check

    def __call__(self, x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
        """Send vectors through the chip. Raises BadInputError for inputs that are not finite, or lost cells."""
        self._check()
        y: torch.Tensor = _Passes.apply(x, matrix, self.matrix)
        return y


class _Kept(FunctionCtx):
    """What a forward pass leaves for the backward pass."""

    inputs: FloatArray
    matrix: TrainedMatrix
    which: IndexArray | None
    """Replica of each vector; None where there is one alone."""
    needs_input_grad: tuple[bool, ...]


class _Passes(torch.autograd.Function):
    """Forward and backward pass of vectors; the digital matrix only says whether its layer is trained."""

    @staticmethod
    def forward(ctx: _Kept, x: torch.Tensor, values: torch.Tensor, matrix: TrainedMatrix) -> torch.Tensor:
        """Multiply (vectors, inputs) by the matrix."""
        inputs = _numbers(x, "inputs")
        ctx.inputs, ctx.matrix = inputs, matrix
        ctx.which = matrix.share_out(len(inputs)) if len(matrix.replicas) > 1 else None
        y = np.empty((len(inputs), matrix.shape[1]))
        for number, mine in _parts(ctx.which, len(matrix.replicas)):
            y[mine] = matrix.replicas[number].forward(inputs[mine])
        return torch.from_numpy(y * matrix.scale).to(x.device, x.dtype)

    @staticmethod
    def backward(ctx: _Kept, gradient: torch.Tensor) -> tuple[torch.Tensor | None, None, None]:
        """Keep inputs and errors for the update, and send the errors back where somebody needs them."""
        errors, matrix = _numbers(gradient, "errors"), ctx.matrix
        back = np.empty((len(errors), matrix.shape[0])) if ctx.needs_input_grad[0] else None
        for number, mine in _parts(ctx.which, len(matrix.replicas)):
            if ctx.needs_input_grad[1]:
                matrix.waiting[number].add(ctx.inputs[mine], errors[mine])
            if back is not None:
                back[mine] = matrix.replicas[number].backward(errors[mine])
        sent = None if back is None else torch.from_numpy(back * matrix.scale).to(gradient.device, gradient.dtype)
        return sent, None, None


def _numbers(values: torch.Tensor, what: str) -> FloatArray:
    """Return (vectors, ...) as float64. Raises BadInputError for what is not finite; `what` says what they are."""
    numbers: FloatArray = values.detach().to("cpu", torch.float64).numpy()
    if not np.isfinite(numbers).all():
        raise BadInputError(f"an analog layer was given {what} that are NaN or infinite; lower the learning rate")
    return numbers


def _parts(which: IndexArray | None, replicas: int) -> Iterator[tuple[int, slice | IndexArray]]:
    """Yield the replicas that have vectors, with these."""
    if which is None:
        yield 0, slice(None)
        return
    for number in range(replicas):
        mine = np.flatnonzero(which == number)
        if len(mine):
            yield number, mine
