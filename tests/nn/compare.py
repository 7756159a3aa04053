"""What tests of converted layers share: the same weights and inputs through torch's layer and through ours."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from hwloop.nn.convert import Converted, convert
from hwloop.nn.products import Exact

Result = torch.Tensor | PackedSequence | tuple["Result", ...] | None


class Counting(Exact):
    """Counts its calls and the vectors that it has multiplied."""

    def __init__(self) -> None:
        self.calls, self.vectors = 0, 0

    def __call__(self, x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
        self.calls, self.vectors = self.calls + 1, self.vectors + len(x)
        return super().__call__(x, matrix)


def counting(converted: Converted) -> dict[str, Counting]:
    """Count at every matrix of a network; by path and name."""
    counts = {}
    for path, layer in converted.layers.items():
        for name in layer.matrices():
            layer.products[name] = counts[f"{path}.{name}".lstrip(".")] = Counting()
    return counts


def tensors(result: Result) -> Iterator[torch.Tensor]:
    """Go through all tensors of a result."""
    if isinstance(result, PackedSequence):
        yield result.data
    elif isinstance(result, torch.Tensor):
        yield result
    elif result is not None:
        for part in result:
            yield from tensors(part)


def assert_same(layer: nn.Module, *given: object, **named: object) -> Converted:
    """Check outputs, gradients of inputs and parameters, and the names of the parameters; give what was converted."""
    torch.manual_seed(1)
    inputs = [
        x.detach().clone().requires_grad_() if isinstance(x, torch.Tensor) and x.is_floating_point() else x
        for x in given
    ]
    converted = convert(layer)
    ours = converted.network
    assert list(ours.state_dict()) == list(layer.state_dict())
    assert all(torch.equal(value, layer.state_dict()[name]) for name, value in ours.state_dict().items())
    expected, found = layer(*inputs, **named), ours(*inputs, **named)
    assert isinstance(found, type(expected))
    pairs = list(zip(tensors(expected), tensors(found), strict=True))
    for theirs, our in pairs:
        torch.testing.assert_close(our, theirs, rtol=1e-5, atol=2e-6)
    if not any(theirs.requires_grad for theirs, _ in pairs):
        return converted
    leaves = [x for x in inputs if isinstance(x, torch.Tensor) and x.requires_grad]
    directions = [torch.randn_like(theirs) for theirs, _ in pairs]
    for module, results in ((layer, [a for a, _ in pairs]), (ours, [b for _, b in pairs])):
        loss = sum((result * way).sum() for result, way in zip(results, directions, strict=True))
        parameters = list(module.parameters())
        gradients = torch.autograd.grad(loss, [*leaves, *parameters], retain_graph=True, allow_unused=True)
        if module is layer:
            wanted = gradients
    for theirs, our in zip(wanted, gradients, strict=True):
        assert (our is None) == (theirs is None)
        if theirs is not None:
            torch.testing.assert_close(our, theirs, rtol=1e-4, atol=2e-5)
    return converted
