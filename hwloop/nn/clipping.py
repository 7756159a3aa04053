"""Clips the weights of columns, so that few of them do not use up the range of all others."""

from __future__ import annotations

import torch

from hwloop.nn.convert import MatrixOf


def clip_columns(matrix: MatrixOf, sigmas: float) -> None:
    """Clip the weights of every column at a number of their standard deviations.

    Parameters are changed through the gradient of the matrix, which moves every weight by what is to be taken off it,
    however the matrix is made of them.
    """
    values = matrix.layer.matrices()[matrix.own_name]
    with torch.no_grad():
        limit = sigmas * values.std(1, correction=0, keepdim=True)
        beyond = values - torch.minimum(torch.maximum(values, -limit), limit)
    if not beyond.any():
        return
    parameters = [one for one in matrix.layer.parameters() if one.requires_grad]
    moves = torch.autograd.grad(values, parameters, beyond, allow_unused=True)
    with torch.no_grad():
        for parameter, move in zip(parameters, moves, strict=True):
            if move is not None:
                parameter.sub_(move)
