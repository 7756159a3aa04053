"""A fingerprint of what a network computes beside its parameters: layers, activations, operations, settings."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from torch import nn
from torch.nn.utils import parametrize

from hwloop.nn.layers.base import AnalogLayer


def structure_of(network: nn.Module) -> str:
    """Return the fingerprint of a converted network.

    It is made of the path and class of every module, of what it shows of its settings, of the names and numbers in its
    forward method, such as `relu`, unless it is torch's or hwloop's own, and of functions that it keeps, such as an
    activation. What changes as a network is used is not in it.
    """
    digest = hashlib.sha256()
    for path, module in network.named_modules():
        digest.update(repr((path, *_told(module))).encode())
    return digest.hexdigest()


def _told(module: nn.Module) -> Iterator[object]:
    kind = parametrize.type_before_parametrizations(module)
    own = isinstance(module, AnalogLayer)
    yield kind.__name__
    yield module.extra_repr()
    forward = getattr(kind, "forward", None)
    code = getattr(forward, "__code__", None)
    if code is not None and not own and kind.__module__.partition(".")[0] != "torch":
        constants = (one for one in code.co_consts if isinstance(one, int | float | str))
        yield code.co_names
        yield [one for one in constants if one != forward.__doc__]
    for name, value in sorted(vars(module).items()):
        if callable(value) and not name.startswith("_"):
            yield name, getattr(value, "__name__", type(value).__name__)
        elif own and isinstance(value, int | float | str | tuple) and name != "training":
            yield name, value
