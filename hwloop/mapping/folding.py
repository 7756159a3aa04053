"""Weights that are kept in parts: norm and direction, spectral norm, pruning masks, scales, low-rank adapters."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from hwloop.errors import BadInputError
from hwloop.mapping.aihwkit import SCALES, layers_of_aihwkit
from hwloop.mapping.tensors import Tensor, numbers
from hwloop.typing import AnyArray, FloatArray

PARAMETRIZED = re.compile(r"^((?:.*\.)?)parametrizations\.([^.]+)\.(.+)$")
"""How torch names what a parametrised tensor is made of."""
ADAPTER = re.compile(r"^(.*?)[._]lora_(A|B|up|down)(\.(?!weight$)[^.]+)?(\.weight)?$")
"""How the two halves of a low-rank adapter are called."""
PLUS = re.compile(r"^(.*?)([._/]?)(g|G|conductances?)_(plus|pos|positive)$")
"""What the conductances of positive devices are called, beside those of negative ones."""
MINUS = {"plus": "minus", "pos": "neg", "positive": "negative"}
"""What their counterparts are called."""
UNFOLDABLE = "is made of parts by a parametrisation that is not known; call remove_parametrizations before saving"

MASKED = "has a mask of its own shape beside it; save the product of the two"


def fold(tensors: Iterable[Tensor]) -> list[Tensor]:
    """Compute weights that are kept in parts, under the names that they have in the network.

    Weight norm in both spellings of torch, spectral norm, pruning by masks, and 8-bit weights with a scale for all or
    for each output. What is made of parts in another way keeps them, and says that it is of no use.
    """
    tensors = layers_of_aihwkit(tensors)
    by_name = {tensor.key: tensor for tensor in tensors if not tensor.aside}
    order = {name: place for place, name in enumerate(by_name)}
    aside = [tensor for tensor in tensors if tensor.aside]
    for name in list(by_name):
        if name in by_name:
            _fold_one(name, by_name, order)
    for name, tensor in list(by_name.items()):
        masks = (f"{name}_mask", f"{name.rpartition('.')[0]}.mask")
        alike = (mask in by_name and by_name[mask].shape == tensor.shape for mask in masks)
        if tensor.number == "float" and name.endswith("weight") and any(alike):
            by_name[name] = dataclasses.replace(tensor, trouble=MASKED)
    return [*sorted(by_name.values(), key=lambda tensor: order[tensor.key]), *aside]


def _fold_one(name: str, by_name: dict[str, Tensor], order: dict[str, int]) -> None:
    """Replace the parts of the tensor that one of them belongs to, if it is the part to begin with."""
    whole, parts, make = _recipe(name, by_name)
    if not parts:
        return
    pieces = [by_name[part] for part in parts]
    order[whole] = order[name]
    for part in parts:
        del by_name[part]
    trouble = next((piece.trouble for piece in pieces if piece.trouble), "") or ("" if make else UNFOLDABLE)
    compute = make or (lambda *given: given[0])
    by_name[whole] = Tensor(
        whole, pieces[0].shape, "float64" if make else pieces[0].dtype,
        lambda: compute(*[numbers(piece).astype(np.float64) for piece in pieces]), trouble=trouble,
        role=pieces[0].role, reading=pieces[0].reading,
    )  # fmt: skip


def _recipe(name: str, by_name: dict[str, Tensor]) -> tuple[str, Sequence[str], Callable[..., AnyArray] | None]:
    """Say what a tensor is part of, of which parts that is made, the largest first, and how."""
    if pair := PLUS.match(name):
        return _pair_recipe(name, pair, by_name)
    inside = PARAMETRIZED.match(name)
    if inside:
        whole, root = f"{inside[1]}{inside[2]}", name.removesuffix(inside[3])
        if inside[3] == "original1" and f"{root}original0" in by_name:
            norm, direction = by_name[f"{root}original0"], by_name[name]
            return whole, (name, f"{root}original0"), _with_norm if _fits(norm, direction) else None
        if inside[3] == "original":
            vectors = (f"{root}0._u", f"{root}0._v")
            known = all(vector in by_name for vector in vectors)
            return whole, (name, *vectors) if known else (name,), _by_spectral_norm if known else None
        return name, (), None
    for ending, other, make in (("_v", "_g", _with_norm), ("_orig", "_mask", _masked)):
        if name.endswith(ending) and by_name[name].ndim > 1:
            whole = name.removesuffix(ending)
            if whole + other in by_name and (ending == "_orig" or _fits(by_name[whole + other], by_name[name])):
                return whole, (name, whole + other), make
    if name.endswith("_orig") and f"{name[:-5]}_u" in by_name and f"{name[:-5]}_v" in by_name:
        return name[:-5], (name, f"{name[:-5]}_u", f"{name[:-5]}_v"), _by_spectral_norm
    return _scaled_recipe(name, by_name)


def _pair_recipe(
    name: str, pair: re.Match[str], by_name: dict[str, Tensor]
) -> tuple[str, Sequence[str], Callable[..., AnyArray] | None]:
    """Say how the weights of pairs of devices follow: their difference, with the scales of a tile of aihwkit."""
    stem, between, what, plus = pair.groups()
    minus = f"{stem}{between}{what}_{MINUS[plus]}"
    if minus not in by_name or by_name[minus].shape != by_name[name].shape or by_name[name].ndim < 2:
        return name, (), None
    scales = [f"{stem}{between}{one}" for one in SCALES if f"{stem}{between}{one}" in by_name]
    rows = by_name[name].shape[0]
    fits = all(by_name[one].size in (1, rows) for one in scales)
    whole = f"{stem}.weight" if between == "." else stem or "weight"
    return whole, (name, minus, *scales), _difference if fits else None


def _difference(plus: FloatArray, minus: FloatArray, *scales: FloatArray) -> FloatArray:
    return _scaled(plus - minus, *scales)


def _scaled_recipe(name: str, by_name: dict[str, Tensor]) -> tuple[str, Sequence[str], Callable[..., AnyArray] | None]:
    """Say with which scale a tensor is kept; integers that may hold several weights each are not unfolded."""
    tensor = by_name[name]
    scales = [one for one in (f"{name}_scale", f"{name}_scale_inv") if one in by_name][:1]
    if tensor.ndim < 2 or not scales:
        return name, (), None
    rows = (tensor.shape[0],)
    fits = all(by_name[one].size == 1 or by_name[one].shape in (rows, (*rows, 1)) for one in scales)
    whole = tensor.number == "float" or tensor.dtype.lower().removeprefix("torch.") in ("int8", "i8")
    return name, (name, *scales), _scaled if fits and whole else None


def _fits(norm: Tensor, direction: Tensor) -> bool:
    """Tell whether a norm belongs to a direction: one for each index along some axes, or a single one."""
    alike = norm.ndim == direction.ndim and all(a in (1, b) for a, b in zip(norm.shape, direction.shape, strict=True))
    return norm.size == 1 or alike


def _with_norm(direction: FloatArray, norm: FloatArray) -> FloatArray:
    """Compute g v / ||v||, the norm over all axes along which g has one value."""
    shape = norm.shape if norm.ndim == direction.ndim else (1,) * direction.ndim
    axes = tuple(axis for axis, length in enumerate(shape) if length == 1 and direction.shape[axis] >= 1)
    kept = norm.reshape(shape)
    length = np.sqrt((direction**2).sum(axis=axes, keepdims=True))
    with np.errstate(invalid="ignore", divide="ignore"):
        result: FloatArray = kept * direction / length
    return result


def _masked(values: FloatArray, mask: FloatArray) -> FloatArray:
    return values * mask


def _by_spectral_norm(values: FloatArray, u: FloatArray, v: FloatArray) -> FloatArray:
    """Divide by the largest singular value, as the vectors of the power iteration give it."""
    for axis in range(2):
        matrix = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)
        if matrix.shape == (u.size, v.size):
            result: FloatArray = values / float(u.ravel() @ matrix @ v.ravel())
            return result
    raise BadInputError(
        f"vectors of a spectral norm have {u.size} and {v.size} values, which do not fit {values.shape}"
    )


def _scaled(values: FloatArray, *scales: FloatArray) -> FloatArray:
    for scale in scales:
        values = values * scale.reshape(-1, *[1] * (values.ndim - 1))
    return values


def merge_adapters(tensors: Sequence[Tensor], scale: float, source: str) -> list[Tensor]:
    """Add low-rank adapters to the weights that they adapt: W + scale B A.

    Parameters
    ----------
    tensors
        All tensors of a network.
    scale
        What stands before B A, lora_alpha / r of most adapters.
    source
        What errors call the tensors.

    Raises
    ------
    BadInputError
        When there is no adapter, half of one, or one that does not fit.
    """
    by_name = {tensor.key: tensor for tensor in tensors}
    halves: dict[str, dict[str, Tensor]] = {}
    for tensor in tensors:
        found = ADAPTER.match(tensor.key) if not tensor.aside else None
        if found and tensor.ndim > 1:
            half = {"up": "B", "down": "A"}.get(found[2], found[2])
            if half in halves.setdefault(found[1], {}):
                raise BadInputError(f"{source}: '{found[1]}' has several adapters; merge them one at a time")
            halves[found[1]][half] = tensor
    if not halves:
        raise BadInputError(f"{source}: holds no low-rank adapter (lora_A and lora_B) to merge")
    gone: set[str] = set()
    merged: list[Tensor] = []
    for name, pair in halves.items():
        merged.append(_merged(name, pair, by_name, scale, source))
        gone |= {tensor.key for tensor in pair.values()} | {merged[-1].key}
    if any("magnitude" in tensor.key for tensor in tensors):
        raise BadInputError(f"{source}: its adapters also rescale weights (DoRA); merge them with the package peft")
    places = {tensor.key: tensor for tensor in merged}
    kept = [places.pop(tensor.key, tensor) for tensor in tensors if tensor.key not in gone or tensor.key in places]
    return [*kept, *places.values()]


def _merged(name: str, pair: dict[str, Tensor], by_name: dict[str, Tensor], scale: float, source: str) -> Tensor:
    if set(pair) != {"A", "B"}:
        raise BadInputError(f"{source}: of the adapter of '{name}' one half is missing")
    a, b = pair["A"], pair["B"]
    bases = (f"{name}.base.weight", f"{name}.base_layer.weight", f"{name}.weight", f"{name}.linear.weight", name)
    base = next((by_name[one] for one in bases if one in by_name), None)
    shape = (b.shape[0], a.shape[1])
    fits = a.ndim == b.ndim == 2 and a.shape[0] == b.shape[1] and (base is None or base.shape == shape)
    if not fits:
        raise BadInputError(f"{source}: the adapter of '{name}' ({b.shape} times {a.shape}) does not fit its weight")

    def load() -> FloatArray:
        product = scale * numbers(b).astype(np.float64) @ numbers(a).astype(np.float64)
        result: FloatArray = product if base is None else numbers(base).astype(np.float64) + product
        return result

    if base is None:
        return Tensor(f"{name}.weight", shape, "float64", load)
    return dataclasses.replace(base, load=load, dtype="float64", storage=None)
