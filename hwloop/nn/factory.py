"""Temporary."""

from torch import nn


def zoo_network(name: str) -> nn.Module:
    """Make."""
    import hwloop.nn.zoo as z

    made: nn.Module = getattr(z, name.split(":")[1])()
    return made


network_from = zoo_network
