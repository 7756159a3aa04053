"""Converts a torch module: layers with weight matrices become analog layers, all else stays digital, with a reason."""

from __future__ import annotations

import copy
import fnmatch
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import torch
from torch import nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.nn.utils import parametrize

from hwloop.errors import BadInputError
from hwloop.nn.folding import fold
from hwloop.nn.layers.attention import AnalogAttention
from hwloop.nn.layers.base import AnalogLayer
from hwloop.nn.layers.convolution import AnalogConv, AnalogConvSame, AnalogConvTranspose
from hwloop.nn.layers.linear import AnalogConv1D, AnalogLinear
from hwloop.nn.layers.recurrent import AnalogCell, AnalogRecurrent
from hwloop.registry import suggest

Rule: TypeAlias = Callable[..., AnalogLayer]
"""Makes the analog layer that stands for the layer it is given, and takes over its parameters."""

CONVERSIONS: Mapping[type[nn.Module], Rule] = {
    nn.Linear: AnalogLinear,
    nn.Conv1d: AnalogConv,
    nn.Conv2d: AnalogConv,
    nn.Conv3d: AnalogConv,
    nn.ConvTranspose1d: AnalogConvTranspose,
    nn.ConvTranspose2d: AnalogConvTranspose,
    nn.ConvTranspose3d: AnalogConvTranspose,
    nn.RNN: AnalogRecurrent,
    nn.LSTM: AnalogRecurrent,
    nn.GRU: AnalogRecurrent,
    nn.RNNCell: AnalogCell,
    nn.LSTMCell: AnalogCell,
    nn.GRUCell: AnalogCell,
    nn.MultiheadAttention: AnalogAttention,
}
"""What becomes of each kind of layer; `convert` takes more."""

NAMED: Mapping[tuple[str, str], Rule] = {
    ("transformers", "Conv1D"): AnalogConv1D,
    ("timm", "Linear"): AnalogLinear,
    ("timm", "Conv2dSame"): AnalogConvSame,
}
"""Kinds of layer of packages that hwloop does not need, by the package and the name of the class."""

EXCLUDED, LOOKED_UP = "excluded", "looked up, not multiplied"
"""Reasons why a module is digital: the user's word, and an embedding."""


@dataclass(frozen=True)
class Digital:
    """A module that stays digital.

    Parameters
    ----------
    name, kind
        Its path in the network, and its class.
    reason
        Why it is not on the chip.
    """

    name: str
    kind: str
    reason: str


@dataclass(frozen=True)
class Converted:
    """A network with analog layers in place of the layers that can lie on a chip.

    Parameters
    ----------
    network
        A copy of the network with the layers replaced; products are exact, so that it computes as before.
    layers
        Its analog layers by path, in the order of the network.
    digital
        All else that has parameters or computes, with reasons.
    """

    network: nn.Module
    layers: Mapping[str, AnalogLayer]
    digital: tuple[Digital, ...]


def convert(
    network: nn.Module, exclude: Sequence[str] = (), conversions: Mapping[type[nn.Module], Rule] | None = None
) -> Converted:
    """Convert a copy of a network; the original stays as it is.

    The copy has the parameters, names, hooks, number type and mode (training or not) of the original: a network of
    float64 or bfloat16 goes on computing in it, whatever the chip computes in. It may lie on the meta device.

    Parameters
    ----------
    network
        Any module.
    exclude
        Paths of layers that stay digital, patterns such as 'blocks.*.mlp' among them; what lies below goes with them,
        and a layer that stands at several places stays digital at all of them.
    conversions
        Rules for further kinds of layer, or other rules for known ones.

    Raises
    ------
    BadInputError
        For a pattern that no layer answers to, for compiled networks, for layers whose weights do not exist yet, and
        where nothing is left.
    """
    rules = {**CONVERSIONS, **(conversions or {})}
    whole = copied(network)
    walk = _Walk(rules, _excluded(whole, exclude))
    whole = walk.replaced(whole, "")
    if not walk.layers:
        raise BadInputError(
            f"{type(network).__name__}: no layer of it can lie on a chip; convertible are "
            f"{', '.join(kind.__name__ for kind in rules)}"
        )
    return Converted(whole, walk.layers, tuple(walk.digital))


class _Walk:
    """Goes through a network from its root, once through every module, wherever else it stands."""

    def __init__(self, rules: Mapping[type[nn.Module], Rule], excluded: set[int]) -> None:
        self._rules, self._excluded = rules, excluded
        self._done: dict[int, nn.Module] = {}
        self._keep: list[nn.Module] = []
        self.layers: dict[str, AnalogLayer] = {}
        self.digital: list[Digital] = []

    def replaced(self, module: nn.Module, path: str, parent: nn.Module | None = None) -> nn.Module:
        """Return what stands for a module that `parent` calls."""
        if id(module) not in self._done:
            self._keep.append(module)  # no other module may take its identity
            self._done[id(module)] = self._new(module, path, parent)
        return self._done[id(module)]

    def _new(self, module: nn.Module, path: str, parent: nn.Module | None) -> nn.Module:
        if id(module) in self._excluded:
            return self._stays(module, path, EXCLUDED)
        if type(module) is NonDynamicallyQuantizableLinear and not isinstance(parent, AnalogLayer):
            return self._stays(module, path, "the layer around it reads its weights and multiplies by them itself")
        rule = _rule(module, self._rules)
        if rule is not None:
            _check_initialised(module, path)
            if any(parameter.is_complex() for parameter in module.parameters()):
                return self._stays(module, path, "its weights are complex numbers")
            fold(module)
            layer = rule(module)
            _keep_hooks(layer, module)
            self.layers[path] = layer
            self._descend(layer, path)
            return layer
        reason = _reason(module, self._rules)
        if reason:
            self._stays(module, path, reason)
        self._descend(module, path)
        if short := _without_shortcut(module):
            self._stays(module, path, short)
        return module

    def _stays(self, module: nn.Module, path: str, reason: str) -> nn.Module:
        self.digital.append(Digital(path, _kind(module), reason))
        return module

    def _descend(self, module: nn.Module, path: str) -> None:
        """Replace the children of a module, each at every name that it has there."""
        for name, child in module._modules.items():
            if child is not None and name != "parametrizations":
                module._modules[name] = self.replaced(child, f"{path}.{name}" if path else name, module)


def copied(network: nn.Module) -> nn.Module:
    """Copy a network, also one whose weights were made by hooks of the forward pass and still know of it."""
    for path, module in network.named_modules():
        if isinstance(module, torch.jit.ScriptModule) or "_orig_mod" in module._modules:
            raise BadInputError(
                f"{path or type(network).__name__}: it is compiled, and its layers cannot be replaced any more; give "
                f"the module that it was made of"
            )
    made = [value for module in network.modules() for value in vars(module).values() if isinstance(value, torch.Tensor)]
    return copy.deepcopy(network, {id(value): value.detach().clone() for value in made if not value.is_leaf})


def _excluded(network: nn.Module, patterns: Sequence[str]) -> set[int]:
    """Find the modules that patterns name. Raises BadInputError for a pattern that names nothing."""
    modules = {path: module for path, module in network.named_modules(remove_duplicate=False) if path}
    found: set[int] = set()
    for pattern in patterns:
        named = fnmatch.filter(modules, pattern)
        if not named:
            raise BadInputError(f"exclude: the network has no layer '{pattern}'; {suggest(pattern, list(modules))}")
        found.update(id(modules[path]) for path in named)
    return found


def _rule(module: nn.Module, rules: Mapping[type[nn.Module], Rule]) -> Rule | None:
    """Find the rule for a layer: of its class, or of one that it computes exactly as."""
    kind = parametrize.type_before_parametrizations(module)
    if "forward" in vars(module):  # put in the place of its class's
        return None
    named = NAMED.get((kind.__module__.partition(".")[0], kind.__name__))
    if named is not None:
        return rules.get(kind, named)
    known = next((base for base in kind.__mro__ if base in rules), None)
    return None if known is None or _computes_otherwise(kind, known) else rules[known]


def _computes_otherwise(kind: type[nn.Module], known: type[nn.Module]) -> bool:
    """Tell whether a subclass replaces a method, or makes a property, that `known` computes with."""
    harmless = ("extra_repr", "reset_parameters", "_reset_parameters")
    of_known = list(itertools.takewhile(lambda base: base is not nn.Module, known.__mro__))
    used = {name for base in of_known for name in (*vars(base), *vars(base).get("__annotations__", ()))}
    used = {name for name in used if not name.startswith("__") and name not in harmless} | {"forward", "__call__"}
    between = itertools.takewhile(lambda base: base is not known, kind.__mro__)
    replaced = {
        name for base in between for name, value in vars(base).items() if callable(value) or hasattr(value, "fget")
    }
    return bool(used & replaced)


def _check_initialised(module: nn.Module, path: str) -> None:
    if any(isinstance(parameter, nn.parameter.UninitializedParameter) for parameter in module.parameters()):
        raise BadInputError(f"{path}: its size is not known yet; run the network once on data before deploying it")


def _keep_hooks(layer: AnalogLayer, module: nn.Module) -> None:
    """Hand on the hooks around forward and backward; folding has taken away those that made weights."""
    for name in vars(nn.Module()):
        if name.startswith(("_forward", "_backward", "_is_full_backward")):
            vars(layer)[name] = vars(module)[name]


def _without_shortcut(module: nn.Module) -> str:
    """Have a transformer of torch call its layers, where it would compute with their weights by one fused operation.

    Returns
    -------
    str
        What differs after it, if anything does.
    """
    if isinstance(module, nn.TransformerEncoderLayer):
        module.activation_relu_or_gelu = 0  # torch's name for an activation that the fused operation does not know
    if isinstance(module, nn.TransformerEncoder) and module.use_nested_tensor:
        module.use_nested_tensor = False
        return "its outputs at padded places are those of training, where torch's fused operation leaves zeros"
    return ""


def _kind(module: nn.Module) -> str:
    return parametrize.type_before_parametrizations(module).__name__


def _reason(module: nn.Module, rules: Mapping[type[nn.Module], Rule]) -> str:
    """Say why a module that no rule knows is digital; empty for a mere container."""
    own = list(module.parameters(recurse=parametrize.is_parametrized(module)))
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return "batch norm: one factor and offset per channel, applied with those of the columns"
    if isinstance(module, nn.Embedding | nn.EmbeddingBag):
        return LOOKED_UP
    if known := next((base for base in type(module).__mro__ if base in rules), None):
        return f"computes otherwise than {known.__name__}, which it is derived from; no conversion is known for it"
    if any(sum(size > 1 for size in parameter.shape) > 1 for parameter in own):
        return f"no conversion is known for {_kind(module)}; its own arithmetic stays digital"
    if own:
        return "its parameters act element by element"
    return "" if any(True for _ in module.children()) or isinstance(module, nn.Identity) else "has no weights"


@dataclass(frozen=True)
class MatrixOf:
    """One matrix of a converted network.

    Parameters
    ----------
    name
        Path of the layer and name of the matrix, as in the network's state dict where they agree.
    layer, own_name
        The layer, and what the matrix is called there.
    """

    name: str
    layer: AnalogLayer
    own_name: str

    def values(self) -> torch.Tensor:
        """Give the matrix, (groups, inputs, outputs)."""
        return self.layer.matrices()[self.own_name].detach()


class _SharedView(NamedTuple):
    """What layers share that read one parameter in the same way; turned, it is another matrix."""

    parameter: int
    shape: torch.Size
    strides: tuple[int, ...]


def matrices_of(converted: Converted) -> Iterator[tuple[MatrixOf, ...]]:
    """List the matrices of a network; those that share one parameter come together, to be placed once.

    Yields
    ------
    tuple of MatrixOf
        The first names the cells.
    """
    together: dict[_SharedView, list[MatrixOf]] = {}
    for path, layer in converted.layers.items():
        for own, values in layer.matrices().items():
            key = _SharedView(id(layer.parameter_of(own)), values.shape, values.stride())
            together.setdefault(key, []).append(MatrixOf(f"{path}.{own}" if path else own, layer, own))
    for sharing in together.values():
        yield tuple(sharing)
