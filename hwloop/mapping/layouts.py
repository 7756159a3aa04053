"""Which axis of a weight is which, and the matrix that follows; what has no right reading is named."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hwloop.mapping.roles import LOOKUP, bias_of, natural, parts_of
from hwloop.mapping.tensors import Tensor
from hwloop.typing import AnyArray, FloatArray

LAYOUTS = ("outputs-first", "inputs-first", "depthwise", "transposed")
SIDES = LAYOUTS[:2]
DEPTHWISE_NAME = re.compile(r"(^|_)(dw|depthwise)|dwconv|conv_?dw", re.I)
TRANSPOSED_NAME = re.compile(r"deconv|conv_?t(rans\w*)?\d*$|transpose|up_?conv|tconv", re.I)
GPT = ("c_attn", "c_fc", "c_proj", "q_attn")
"""Layers that transformers keeps inputs-first, and others under the same names outputs-first."""
WIDENINGS = {"c_attn": 3, "c_fc": 4}
"""Outputs of such a layer for each of its inputs."""


@dataclass(frozen=True)
class Reading:
    """How a tensor becomes a matrix."""

    layout: str
    """One of `LAYOUTS`."""
    groups: int = 1
    """Groups of a convolution, whose matrices stand on a diagonal."""
    why: str = ""
    """What it follows from, where it is not the usual one."""
    trouble: str = ""
    """Why there is no right reading; empty where there is one."""


def matrix_of(values: AnyArray, reading: Reading) -> FloatArray:
    """Arrange weights as (inputs, outputs).

    A convolution has the inputs of a patch as rows, in the order of the file: channels x kernel where outputs come
    first, kernel x channels where inputs do. A transposed one has a row for each input channel, and a column for each
    output channel and place of the kernel, whose overlaps are added digitally. Groups stand on a diagonal.
    """
    array = np.asarray(values, np.float64)
    if reading.layout == "inputs-first":
        flat: FloatArray = array.reshape(-1, array.shape[-1])
        return flat
    if reading.layout == "depthwise" and reading.why == KERAS_ORDER:
        *kernel, channels, multiplier = array.shape
        spread = np.zeros((math.prod(kernel), channels, channels, multiplier))
        each = np.arange(channels)
        spread[:, each, each] = array.reshape(-1, channels, multiplier)
        return spread.reshape(-1, channels * multiplier)
    groups = array.shape[0] if reading.layout == "depthwise" else reading.groups
    blocks = array.reshape(groups, array.shape[0] // groups, -1)
    if reading.layout != "transposed":
        blocks = blocks.transpose(0, 2, 1)
    if groups == 1:
        only: FloatArray = blocks[0]
        return only
    rows, columns = blocks.shape[1:]
    diagonal = np.zeros((groups, rows, groups, columns))
    each = np.arange(groups)
    diagonal[each, :, each] = blocks
    return diagonal.reshape(groups * rows, groups * columns)


KERAS_ORDER = "a depthwise kernel of Keras"


def readings(chosen: Sequence[Tensor], tensors: Sequence[Tensor], default: str | None) -> dict[str, Reading]:
    """Tell how each chosen weight becomes a matrix, from names, shapes and biases of the whole network.

    Parameters
    ----------
    chosen
        Weights whose layout the caller has not given one by one.
    tensors
        All tensors of the network, in their order.
    default
        The layout given for all, or None.
    """
    by_name = {tensor.key: tensor for tensor in tensors}
    convolutions = [tensor for tensor in chosen if tensor.ndim > 2]
    dense = [tensor for tensor in chosen if tensor.ndim == 2]
    found = {tensor.key: _dense(tensor, by_name, default) for tensor in dense}
    if default is None:
        _settle(dense, found)
    order = [tensor for tensor in tensors if tensor.ndim >= 1]
    if [one.key for one in order] == sorted(one.key for one in order):
        order.sort(key=lambda tensor: natural(tensor.key))
    network = _Convolutions(order, by_name, {tensor.key for tensor in dense}, default)
    return found | {tensor.key: network.reading(tensor) for tensor in convolutions}


# ---- matrices ------------------------------------------------------------------------------------------------


def _dense(tensor: Tensor, by_name: Mapping[str, Tensor], default: str | None) -> Reading:
    bias = bias_of(tensor, by_name)
    told = _by_bias(tensor.shape, bias)
    if default is not None:
        if told in SIDES and told != default and bias is not None:
            return Reading(default, trouble=f"is {told} by its bias of {bias.size} values; give --layout NAME={told}")
        return Reading(default)
    if told == "neither" and bias is not None:
        why = f"has the shape {tensor.shape} and a bias of {bias.size} values, which fits neither order of its axes"
        return Reading(SIDES[0], trouble=f"{why}; give --layout NAME={SIDES[0]} or {SIDES[1]}")
    if is_keras(tensor):
        return Reading("inputs-first", why="as Keras stores kernels")
    return Reading(told or "", why="by its bias" if told == "inputs-first" else "")


def _by_bias(shape: tuple[int, ...], bias: Tensor | None) -> str:
    """Tell the layout of a matrix from the size of its bias; empty where that tells nothing."""
    if bias is None:
        return ""
    if shape[0] == shape[1] == bias.size:
        return ""
    if bias.size == shape[0]:
        return "outputs-first"
    return "inputs-first" if bias.size == shape[1] else "neither"


def _settle(dense: Sequence[Tensor], found: dict[str, Reading]) -> None:
    """Fill in what biases leave open: from layers of the same name, else the usual order."""
    evidence: dict[str, set[str]] = {}
    for tensor in dense:
        layer = _family(tensor.key)
        layout = found[tensor.key].layout or _by_widening(layer, tensor.shape)
        if layout and not found[tensor.key].trouble:
            evidence.setdefault("c_" if layer in GPT else layer, set()).add(layout)
    turned = any("inputs-first" in sides for layer, sides in evidence.items() if layer != "c_")
    for tensor in dense:
        if found[tensor.key].layout or found[tensor.key].trouble:
            continue
        layer = _family(tensor.key)
        sides = evidence.get("c_" if layer in GPT else layer, set())
        if len(sides) == 1:
            (layout,) = sides
            why = "as its block's widths and biases tell" if layer in GPT else "as others of its name"
            found[tensor.key] = Reading(layout, why=why if layout == "inputs-first" else "")
        elif sides or turned or layer in GPT:
            why = f"has the shape {tensor.shape}, and which axis is inputs is not told"
            found[tensor.key] = Reading(SIDES[0], trouble=f"{why}; give --layout NAME={SIDES[0]} or {SIDES[1]}")
        else:
            found[tensor.key] = Reading(SIDES[0])


def _family(name: str) -> str:
    """Give what layers of one kind have in common in their names."""
    parts = [part for part in parts_of(name) if not part.isdigit()]
    named = parts[-2] if len(parts) > 1 and parts[-1] == "weight" else parts[-1] if parts else ""
    return named if named in GPT else re.sub(r"\d+", "", named)


def _by_widening(layer: str, shape: tuple[int, ...]) -> str:
    factor = WIDENINGS.get(layer)
    if factor is None or shape[0] == shape[1]:
        return ""
    if shape[1] == factor * shape[0]:
        return "inputs-first"
    return "outputs-first" if shape[0] == factor * shape[1] else ""


def is_keras(tensor: Tensor) -> bool:
    """Tell whether a weight is called as Keras and Flax call theirs, which have inputs first."""
    return parts_of(tensor.key)[-1].endswith("kernel")


# ---- convolutions --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class KernelSizes:
    """What size kernels have."""

    usual: int = 7
    """Longest side of a kernel that is not taken for a number of channels, where the channels are no more than this."""

    def inputs_first(self, shape: tuple[int, ...]) -> bool:
        """Tell whether a shape of four axes is that of (kernel, kernel, inputs, outputs)."""
        if len(shape) != 4 or shape[0] != shape[1]:
            return False
        return shape[2] != shape[3] or (shape[0] <= self.usual < shape[2])


@dataclass(frozen=True)
class _Convolutions:
    """The convolutions of a network, which tell of each other what they are."""

    order: Sequence[Tensor]
    by_name: Mapping[str, Tensor]
    dense: set[str]
    default: str | None

    def reading(self, tensor: Tensor) -> Reading:
        """Tell how a kernel becomes a matrix."""
        name = parts_of(tensor.key)
        turned = is_keras(tensor) or self.default == "inputs-first"
        if turned and "depthwise" in "/".join(name).lower():
            return Reading("depthwise", why=KERAS_ORDER)
        trouble = self._trouble(tensor, name)
        if trouble:
            ways = "hwloop deploy --network and a module in Python know the layer; else give --layout"
            return Reading(SIDES[0], trouble=f"{trouble}: {ways} NAME={'|'.join(LAYOUTS)}")
        return (
            Reading("inputs-first", why="" if self.default else "as Keras stores kernels")
            if turned
            else Reading(SIDES[0])
        )

    def _trouble(self, tensor: Tensor, name: Sequence[str]) -> str:
        """Say why a kernel is not surely one of an ordinary convolution; empty where it is."""
        outputs, inputs, _ = self._sizes(tensor)
        shape = f"has the shape {tensor.shape}"
        if tensor.ndim > 5 or any("expert" in part for part in name):
            return f"{shape}, which is no kernel but several weights in one"
        turned = is_keras(tensor) or self.default == "inputs-first"
        if not turned and KernelSizes().inputs_first(tensor.shape):
            return f"{shape}, with its inputs first as it seems"
        witness = self._witness(tensor)
        if witness is not None and witness != outputs:
            kind = "transposed" if witness == inputs else "grouped or transposed"
            return f"{shape} and a bias or normalisation of {witness} values, so it is a {kind} convolution"
        sure = witness is not None and outputs != inputs
        if not sure and any(TRANSPOSED_NAME.search(part) for part in name[:-1]):
            return f"{shape} and by its name is a transposed convolution"
        if not sure and self._beside_transposed(tensor):
            return f"{shape} as a transposed convolution beside it, and may be one"
        if inputs == 1 and outputs > 1:
            return "" if self._is_first(tensor, name) else f"{shape} and may be a depthwise convolution"
        return self._chain(tensor, name, sure=sure)

    def _sizes(self, tensor: Tensor) -> tuple[int, int, tuple[int, ...]]:
        shape = tensor.shape
        if is_keras(tensor) or self.default == "inputs-first":
            return shape[-1], shape[-2], shape[:-2]
        return shape[0], shape[1], shape[2:]

    def _witness(self, tensor: Tensor) -> int | None:
        """Find how many outputs a kernel has by its bias, or by the normalisation after it."""
        bias = bias_of(tensor, self.by_name)
        if bias is not None:
            return bias.size
        if f"{tensor.key.rpartition('.')[0]}.bias" in self.by_name:
            return -1
        place = next((place for place, one in enumerate(self.order) if one.key == tensor.key), len(self.order))
        after = self.order[place + 1] if place + 1 < len(self.order) else None
        vector = after is not None and after.ndim == 1 and parts_of(after.key)[-1] in ("weight", "gamma")
        return after.size if vector and after is not None and _next_to(tensor.key, after.key) else None

    def _beside_transposed(self, tensor: Tensor) -> bool:
        """Tell whether a convolution with a kernel of the same size is surely transposed."""
        kernel = self._sizes(tensor)[2]
        for one in self._kernels():
            outputs, inputs, size = self._sizes(one)
            if size == kernel and outputs != inputs and inputs == self._witness(one):
                return True
        return False

    def _kernels(self) -> list[Tensor]:
        return [one for one in self.order if one.ndim > 2 and one.number == "float" and parts_of(one.key)[-1] != "bias"]

    def _is_first(self, tensor: Tensor, name: Sequence[str]) -> bool:
        """Tell whether a kernel of one input is the beginning of a network that takes one channel."""
        if any(DEPTHWISE_NAME.search(part) for part in name):
            return False
        if any(LOOKUP.search(part) for one in self.order if one.ndim == 2 for part in parts_of(one.key)[-2:]):
            return False
        weights = [one for one in self.order if one.ndim >= 2 and (one.ndim > 2 or min(one.shape) > 1)]
        if not weights or weights[0].key != tensor.key or len(weights) < 2:
            return False
        outputs, after = self._sizes(tensor)[0], weights[1]
        if after.ndim == 2:
            return after.shape[1] % outputs == 0 and after.shape[1] > outputs
        _, inputs, kernel = self._sizes(after)
        return inputs == 1 or (inputs == outputs and math.prod(kernel) > 1)

    def _chain(self, tensor: Tensor, name: Sequence[str], *, sure: bool) -> str:
        """Compare the inputs of a kernel with the outputs of those before it."""
        kernels = self._kernels()
        place = next((place for place, one in enumerate(kernels) if one.key == tensor.key), 0)
        outputs, inputs, _ = self._sizes(tensor)
        shape = f"has the shape {tensor.shape}"
        if not sure and self._backward(kernels, place):
            return f"{shape} and may be a transposed convolution"
        if place == 0:
            return ""
        before = self._sizes(kernels[place - 1])[0]
        others = {self._sizes(one)[0] for one in kernels if one is not kernels[place]}
        if _next_to(kernels[place - 1].key, tensor.key, apart=9) or _numbered(kernels[place - 1].key, tensor.key):
            others = {before}
        grouped = (p for p in sorted(others) if p > inputs and p % inputs == 0 and outputs % (p // inputs) == 0)
        if inputs not in others and next(grouped, None) is not None:
            return f"{shape} and may be a grouped convolution"
        return ""

    def _backward(self, kernels: Sequence[Tensor], place: int) -> bool:
        """Tell whether a kernel fits its neighbours only if its inputs and outputs change places."""
        sizes = [self._sizes(one) for one in kernels]
        pairs = [(a, b) for a, b in itertools.pairwise(range(len(sizes))) if kernels[a].ndim == kernels[b].ndim]
        forward = {(a, b) for a, b in pairs if sizes[a][0] == sizes[b][1] and sizes[a][1] != sizes[b][0]}
        backward = {(a, b) for a, b in pairs if sizes[a][0] != sizes[b][1] and sizes[a][1] == sizes[b][0]}
        plain = {
            (a, b)
            for a, b in backward
            if 1 not in (math.prod(sizes[a][2]), math.prod(sizes[b][2]))
            and sizes[a][0] != sizes[a][1]
            and sizes[b][0] != sizes[b][1]
        }
        suspects = backward if len(backward) > len(forward) else plain
        return any(place in pair for pair in suspects)


def _numbered(name: str, other: str) -> bool:
    """Tell whether two layers of one block are called by numbers that follow each other, such as conv1 and conv2."""
    a, b = parts_of(name)[:-1], parts_of(other)[:-1]
    if len(a) != len(b) or not a or a[:-1] != b[:-1]:
        return False
    one, next_one = (re.fullmatch(r"(.*\D)(\d+)", part) for part in (a[-1], b[-1]))
    return one is not None and next_one is not None and one[1] == next_one[1] and int(next_one[2]) - int(one[2]) == 1


def _next_to(name: str, other: str, apart: int = 1) -> bool:
    """Tell whether two tensors belong to layers that follow each other in a numbered sequence."""
    a, b = parts_of(name)[:-1], parts_of(other)[:-1]
    if len(a) != len(b) or not a or a[:-1] != b[:-1]:
        return False
    return a[-1].isdigit() and b[-1].isdigit() and 0 < int(b[-1]) - int(a[-1]) <= apart
