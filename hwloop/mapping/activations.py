"""Real inputs of a network's layers: ranges and fault correction are fitted to them, results are evaluated on them."""

from __future__ import annotations

from collections.abc import Mapping

from hwloop.mapping.tile import Tile
from hwloop.typing import FloatArray


def of_tile(activations: Mapping[str, FloatArray] | None, tile: Tile) -> FloatArray | None:
    """Return the sample inputs (vectors, rows) of a tile, if there are any."""
    whole = (activations or {}).get(tile.tensor)
    return None if whole is None else whole[:, tile.first_input : tile.first_input + tile.place.rows]
