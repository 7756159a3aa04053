"""Figure of the cores of a chip: which cells of each hold what."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

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
    axes, gap = axes_of(ax), 0.12  # between two cores, in their size
    places = [tile.tile.place for tile in tiles]
    cores = sorted({place.core for place in places})
    rows = max(place.row + place.rows for place in places)
    columns = max(place.column + place.columns for place in places)
    wide = math.ceil(math.sqrt(len(cores)))
    corner = {core: ((1 + gap) * (at % wide), -(1 + gap) * (at // wide)) for at, core in enumerate(cores)}
    tensors = list(dict.fromkeys(tile.tile.tensor for tile in tiles))
    for core, (left, top) in corner.items():
        axes.add_patch(Rectangle((left, top - 1.0), 1.0, 1.0, fill=False, edgecolor=GREY, lw=0.8))
        axes.text(left, top + 0.01, f"core {core}", fontsize="x-small", va="bottom", clip_on=True)
    for tile, place in zip(tiles, places, strict=True):
        left, top = corner[place.core]
        x, y = left + place.column / columns, top - (place.row + place.rows) / rows
        width, height = place.columns / columns, place.rows / rows
        colour = SERIES[1 + tensors.index(tile.tile.tensor) % (len(SERIES) - 1)]
        axes.add_patch(Rectangle((x, y), width, height, facecolor=colour, edgecolor="white", lw=0.5, alpha=0.6))
        if len(cores) <= 16 and min(width, height) > 0.2:  # there is room for a word
            axes.text(x + width / 2, y + height / 2, tile.tile.tensor, fontsize="x-small", ha="center", va="center")
    axes.set(title=f"Tiles: {len(tiles)}, cores: {len(cores)}, of each the first {rows} x {columns} cells")
    axes.set_aspect("equal")
    axes.autoscale_view()
    axes.set_axis_off()
    return axes
