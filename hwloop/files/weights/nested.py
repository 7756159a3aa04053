"""The network in a checkpoint: a state dict lies beside metrics, optimisers and averages of itself."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from hwloop.errors import printable
from hwloop.mapping.tensors import Tensor

CONTAINERS = (
    "state_dict", "model_state_dict", "model_state", "model", "module", "network", "net", "net_state_dict", "weights",
    "params", "parameters", "state",
)  # fmt: skip
"""What a network is called in a checkpoint, the most telling names first."""
OTHER = re.compile(r"optim|sched|scaler|callback|loop|hparam|config|args|rng|random|hist|metric|meta$|_metadata$", re.I)
"""What parts of a checkpoint are called that hold no network."""
PARAMETER = re.compile(
    r"(^|[._/])(weight|bias|kernel|gamma|beta|scale|running_mean|running_var|num_batches_tracked|embedding)s?$"
    r"|(weight|bias)_\w+$|_(weight|bias)$|(^|[._/])[wWbB]\d*$|lora_"
)
"""How the name of a parameter ends."""


@dataclass
class Node:
    """One dictionary of a checkpoint."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    """What it holds itself."""
    parts: dict[str, Node] = field(default_factory=dict)
    """Dictionaries in it."""
    keys: set[str] = field(default_factory=set)
    """All its keys."""

    def is_optimizer(self) -> bool:
        """Tell whether it is the state of an optimiser."""
        return "param_groups" in self.keys

    def is_network(self) -> bool:
        """Tell by the names whether its own tensors are the parameters of a network."""
        return any(PARAMETER.search(name) and tensor.ndim > 1 for name, tensor in self.tensors.items())

    def is_layer(self) -> bool:
        """Tell whether it has the parameters of one layer, by their bare names."""
        return self.is_network() and not any("." in name for name in self.tensors)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Give the shape of each tensor."""
        return {name: one.shape for name, one in self.tensors.items()}


def network_in(root: Node) -> list[Tensor]:
    """Find the network in a checkpoint.

    Parameters
    ----------
    root
        The dictionary that the file holds.

    Returns
    -------
    list of Tensor
        The tensors of the network by their names in it, and all others by their full names, with the reason why they
        stand `aside`. Where a checkpoint has several networks of the same names, all of them stand aside.
    """
    networks = {key: part for key, part in root.parts.items() if _has_network(key, part)}
    chosen = next((key for key in CONTAINERS if key in networks), None)
    if root.is_network() and (chosen is None or not root.is_layer()):
        return [*root.tensors.values(), *_aside(root, "", "is beside the network", own=False)]
    if not networks:
        return [*root.tensors.values(), *_aside(root, "", "is of no network", own=False)]
    if chosen is None and len(networks) == 1 and not next(iter(networks.values())).is_layer():
        (chosen,) = networks
    if chosen is not None:
        rest = Node(root.tensors, {key: part for key, part in root.parts.items() if key != chosen})
        why = f"is beside the network in '{printable(chosen)}'"
        return [*network_in(networks[chosen]), *_aside(rest, "", why)]
    rest = Node(root.tensors, {key: part for key, part in root.parts.items() if key not in networks})
    taken = [_prefixed(one, key) for key, part in networks.items() for one in network_in(part)]
    same = _alternatives(networks)
    if same:
        names = ", ".join(printable(key) for key in same)
        why = f"is in one of several networks with the same names ({names})"
        taken = [dataclasses.replace(one, aside=one.aside or why) for one in taken]
    return [*taken, *_aside(rest, "", "is beside the networks")]


def _has_network(key: str, part: Node) -> bool:
    if part.is_optimizer() or OTHER.search(key):
        return False
    return part.is_network() or any(_has_network(inner, one) for inner, one in part.parts.items())


def _alternatives(networks: dict[str, Node]) -> list[str]:
    """Name the networks of which another has the same tensors; layers are alike by nature."""
    large = {key: part for key, part in networks.items() if part.tensors and not part.is_layer()}
    return [
        key for key, part in large.items()
        if any(other is not part and other.shapes() == part.shapes() for other in large.values())
    ]  # fmt: skip


def _aside(node: Node, prefix: str, why: str, *, own: bool = True) -> Iterator[Tensor]:
    """List everything under a node, by its full name, as what is passed over."""
    if own:
        for one in node.tensors.values():
            yield dataclasses.replace(one, key=f"{prefix}{one.key}", aside=why)
    for key, part in node.parts.items():
        if not part.is_optimizer():
            yield from _aside(part, f"{prefix}{key}.", why)


def _prefixed(tensor: Tensor, part: str) -> Tensor:
    return dataclasses.replace(tensor, key=f"{part}.{tensor.key}")
