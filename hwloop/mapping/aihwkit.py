"""Layers of a network that aihwkit has converted: what its tiles hold becomes weights, biases and input ranges again.

A layer of aihwkit 1.2 keeps its matrix on a tile, or on an array of tiles that share rows and columns. A tile has
normalised weights, which its scales multiply in digital, maybe the bias as a last column, and the range of its inputs.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from hwloop.mapping.tensors import Role, Tensor, numbers
from hwloop.typing import FloatArray

TILE = re.compile(r"^((?:.*\.)?)(shared_weights|tile\.weight)$")
"""What a tile calls its normalised weights: those that are simulated by its library, or by torch."""
PLACE = re.compile(r"^((?:.*\.)?)(?:analog_module\.)(?:array\.(\d+)\.(\d+)\.)?$")
"""What stands before the names of a tile: the layer, and which inputs and outputs of an array it has."""
SCALES = ("mapping_scales", "out_scaling_alpha")
"""By which a tile multiplies its outputs in digital (`get_scales`): of the mapping, and learnt ones."""
KEPT_ELSEWHERE = ("analog_ctx", "alpha", "input_range_update_idx", "input_range", *SCALES)
"""What else a tile holds, which is computed into weights or of no concern."""
RANGE = "is an input range, which 'hwloop deploy' takes over"
NORMALISED = (
    "holds the normalised weights of a tile of aihwkit, turned round, incomplete or away from their scales; "
    "save layer.get_weights()[0] of each layer by its name"
)
AGED = (
    "is on a tile of aihwkit that was aged, with compensation of its drift; save the network before "
    "drift_analog_weights, or layer.get_weights()[0] of each layer by its name"
)


@dataclass
class _Layer:
    """The tiles of a layer, by the inputs and outputs that they have."""

    tiles: dict[tuple[int, int], str] = field(default_factory=dict)
    """Place -> what stands before the names of the tile."""
    first: str = ""
    """Name of the tensor whose place in the file the layer takes."""


def layers_of_aihwkit(tensors: Iterable[Tensor]) -> list[Tensor]:
    """Compute the weights and biases of layers of aihwkit, under the names that they have in the network.

    Input ranges that were learnt stand aside, one of every tile, as `LAYER.input_range`. Weights that cannot be told
    from what there is say so. All other tensors are as they were.
    """
    given = list(tensors)
    by_name = {tensor.key: tensor for tensor in given if not tensor.aside}
    layers: dict[str, _Layer] = {}
    for name in by_name:
        found = TILE.match(name)
        place = PLACE.match(found[1]) if found else None
        if found:
            layer = layers.setdefault(place[1] if place else found[1], _Layer(first=name))
            layer.tiles[(int(place[2] or 0), int(place[3] or 0)) if place else (0, 0)] = found[1]
    made: dict[str, list[Tensor]] = {}
    gone: set[str] = set()
    for name, layer in layers.items():
        made[layer.first] = _layer(name, layer, by_name)
        for prefix in layer.tiles.values():
            gone |= {f"{prefix}{one}" for one in (*KEPT_ELSEWHERE, "shared_weights", "tile.weight", "bias")}
        gone.add(f"{name}analog_module.bias")
    kept: list[Tensor] = []
    for tensor in given:
        if tensor.key in made and not tensor.aside:
            kept += made[tensor.key]
        elif tensor.aside or tensor.key not in gone:
            left = tensor.key.rpartition(".")[2] == "analog_tile_weights" and not tensor.aside
            kept.append(dataclasses.replace(tensor, trouble=NORMALISED) if left else tensor)
    return kept


def _layer(name: str, layer: _Layer, by_name: dict[str, Tensor]) -> list[Tensor]:
    """Make the tensors of a layer."""
    rows = sorted({place[1] for place in layer.tiles})
    columns = sorted({place[0] for place in layer.tiles})
    tiles = [[_Tile.of(layer.tiles.get((i, j)), by_name) for i in columns] for j in rows]
    trouble = next((tile.trouble for line in tiles for tile in line if tile.trouble), "")
    heights = [line[0].outputs for line in tiles]
    widths = [tile.inputs for tile in tiles[0]]
    if any([tile.outputs for tile in line] != [h] * len(line) for line, h in zip(tiles, heights, strict=True)) or any(
        [tile.inputs for tile in line] != widths for line in tiles
    ):
        trouble = trouble or NORMALISED
    shape = (sum(heights), sum(widths))

    def weights() -> FloatArray:
        return np.block([[tile.values()[:, : tile.inputs] for tile in line] for line in tiles])

    made = [Tensor(f"{name}weight", shape, "float64", weights, trouble=trouble, role=Role.WEIGHT, flat=True)]
    own = next((by_name[one] for one in (f"{name}analog_module.bias", f"{name}bias") if one in by_name), None)
    if own is not None:
        made.append(dataclasses.replace(own, key=f"{name}bias"))
    elif any(tile.biased for line in tiles for tile in line):

        def bias() -> FloatArray:
            return np.concatenate([sum((t.values()[:, t.inputs] for t in line if t.biased), 0.0) for line in tiles])

        made.append(Tensor(f"{name}bias", shape[:1], "float64", bias, trouble=trouble))
    ranges = [tile.input_range for line in tiles for tile in line if tile.input_range is not None]
    if ranges:
        values = np.array(ranges)
        made.append(Tensor(f"{name}input_range", values.shape, "float64", lambda: values, aside=RANGE))
    return made


@dataclass(frozen=True)
class _Tile:
    """One tile."""

    outputs: int
    inputs: int
    biased: bool
    """Whether the bias is one more column."""
    pieces: tuple[Tensor, ...]
    """Normalised weights and scales."""
    trouble: str = ""
    input_range: float | None = None
    """Where it was learnt."""

    @classmethod
    def of(cls, prefix: str | None, by_name: dict[str, Tensor]) -> _Tile:
        """Look at what a tile holds; None for one that is missing."""
        if prefix is None:
            return cls(0, 0, False, (), NORMALISED)
        weights = next(by_name[prefix + one] for one in ("shared_weights", "tile.weight") if prefix + one in by_name)
        context = by_name.get(f"{prefix}analog_ctx")
        outputs, inputs = weights.shape if weights.ndim == 2 else (0, 0)
        biased = context is not None and context.shape == (outputs, inputs - 1)
        turned = context is not None and context.ndim == 2 and context.shape != (outputs, inputs) and not biased
        scales = [by_name[prefix + one] for one in SCALES if prefix + one in by_name]
        fits = all(one.size in (1, outputs) and one.ndim <= 2 for one in scales)
        trouble = next((one.trouble for one in (weights, *scales) if one.trouble), "")
        if weights.ndim != 2 or turned or not fits:
            trouble = trouble or NORMALISED
        if _number(by_name.get(f"{prefix}alpha"), 1.0) != 1.0:
            trouble = trouble or AGED
        learnt = _number(by_name.get(f"{prefix}input_range_update_idx"), 1.0) > 0
        value = _number(by_name.get(f"{prefix}input_range"), 0.0)
        own = value if learnt and 0 < value < np.inf else None
        return cls(outputs, inputs - biased, biased, (weights, *scales), trouble, own)

    def values(self) -> FloatArray:
        """Compute the weights (outputs, inputs), with the bias behind them where it is a column."""
        weights, *scales = (numbers(piece).astype(np.float64) for piece in self.pieces)
        for scale in scales:
            weights = weights * scale.reshape(-1, 1)
        return weights


def _number(tensor: Tensor | None, missing: float) -> float:
    """Read a tensor of one value."""
    if tensor is None or tensor.size != 1 or tensor.trouble or tensor.number == "other":
        return missing
    return float(numbers(tensor).reshape(-1)[0])
