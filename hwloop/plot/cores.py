"""Figure of the cores of a chip: which cells of each hold what."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.patches import Patch, Rectangle

from hwloop.files.runs import TileRecord
from hwloop.plot.style import GREY, SERIES, axes_of


def occupancy(tiles: Sequence[TileRecord], ax: Axes | None = None) -> Axes:
    """Draw the cores that hold tiles, as squares side by side, and the rectangles of their cells that are in use.

    Parameters
    ----------
    tiles
        What was placed. A core is drawn as large as the farthest cells that any of them uses.
    ax
        Axes to draw on; None for new ones.
    """
    axes, gap, below = axes_of(ax), 0.12, 0.24  # between two cores, in their size; the number of the next stands below
    places = [tile.tile.place for tile in tiles]
    cores = sorted({place.core for place in places})
    rows = max(place.row + place.rows for place in places)
    columns = max(place.column + place.columns for place in places)
    wide = math.ceil(math.sqrt(len(cores)))
    corner = {core: ((1 + gap) * (at % wide), -(1 + below) * (at // wide)) for at, core in enumerate(cores)}
    tensors = list(dict.fromkeys(tile.tile.tensor for tile in tiles))
    named: set[str] = set()
    for core, (left, top) in corner.items():
        axes.add_patch(Rectangle((left, top - 1.0), 1.0, 1.0, fill=False, edgecolor=GREY, lw=0.8))
        axes.text(left, top + 0.01, f"core {core}", fontsize="x-small", va="bottom", clip_on=True)
    for tile, place in zip(tiles, places, strict=True):
        left, top = corner[place.core]
        x, y = left + place.column / columns, top - (place.row + place.rows) / rows
        width, height = place.columns / columns, place.rows / rows
        colour = _colour(tensors, tile.tile.tensor)
        axes.add_patch(Rectangle((x, y), width, height, facecolor=colour, edgecolor="white", lw=0.5, alpha=0.6))
        letters = 0.017 * wide * len(tile.tile.tensor)
        if len(cores) <= 16 and min(width, height) > 0.2 and width > letters:  # there is room for the name
            named.add(tile.tile.tensor)
            axes.text(x + width / 2, y + height / 2, tile.tile.tensor, fontsize="x-small", ha="center", va="center")
    if len(named) < len(tensors) < len(SERIES):  # each has a colour of its own
        patches = [Patch(facecolor=_colour(tensors, one), alpha=0.6, label=one) for one in tensors]
        axes.legend(handles=patches, fontsize="x-small", loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=2)
    axes.set(title=f"Tiles: {len(tiles)}, cores: {len(cores)}, of each the first {rows} x {columns} cells")
    axes.set_aspect("equal")
    axes.autoscale_view()
    axes.set_axis_off()
    return axes


def _colour(tensors: Sequence[str], tensor: str) -> str:
    """Return the colour of a tensor, by its place among all; the first of the series is for other things."""
    return SERIES[1 + tensors.index(tensor) % (len(SERIES) - 1)]
