"""A tile of a run as lines of CSV, one for each device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO

import numpy as np

from hwloop.errors import printable
from hwloop.typing import AnyArray, Json


@dataclass(frozen=True)
class Field:
    """A column of the table."""

    title: str
    """What the header calls it, with its unit."""
    array: str
    """Array of a tile that it shows."""
    axes: str
    """Those of `AXES` that the array has."""


AXES = "pdrc"
"""A letter for each axis of devices: polarity, device, row, column."""
FIELDS = (
    Field("input", "input", "r"),
    Field("output", "output", "c"),
    Field("device_target_uS", "device_target", AXES),
    Field("cell_target_uS", "target", "rc"),
    Field("cell_reached_uS", "reached", "rc"),
    Field("cell_lean_uS", "lean", "rc"),
    Field("pulses", "pulses", AXES),
    Field("last_pulse_age_s", "last_pulse_age", AXES),
    Field("last_reset_uA", "last_reset", AXES),
    Field("stuck", "stuck_devices", AXES),
    Field("cell_stuck", "stuck", "rc"),
    Field("cell_unconverged", "unconverged", "rc"),
    Field("weight_per_uS", "scale", "c"),
    Field("column_gain", "column_gain", "c"),
    Field("column_offset", "column_offset", "c"),
)
"""What follows the place of each device; a field without an array stays empty."""
PLACE = ("tensor", "core", "row", "column", "polarity", "device")


def write_table(
    stream: IO[bytes],
    about: Mapping[str, Json],
    corner: tuple[int, int],
    arrays: Mapping[str, AnyArray],
    shape: tuple[int, int, int, int],
    *,
    header: bool,
) -> None:
    """Write the lines of one tile.

    Parameters
    ----------
    stream
        Where to.
    about
        Name of the tensor and number of the core.
    corner
        Row and column of the core at which the tile begins.
    arrays
        Arrays of the tile by name.
    shape
        (2, K, rows, columns) of its devices; lines come in this order.
    header
        Whether the names of the columns come first.
    """
    if header:
        stream.write((",".join([*PLACE, *(field.title for field in FIELDS)]) + "\n").encode())
    fixed = f"{_quoted(printable(str(about['tensor'])))},{about['core']}"
    rows, columns = (corner[axis] + np.arange(shape[2 + axis]) for axis in (0, 1))
    places = [_texts(rows, "r", shape), _texts(columns, "c", shape)]
    places += [_texts(np.array(["+", "-"]), "p", shape), _texts(np.arange(shape[1]), "d", shape)]
    shown = [_texts(arrays[field.array], field.axes, shape) if field.array in arrays else None for field in FIELDS]
    every = [one if one is not None else _texts(np.array(""), "", shape) for one in (*places, *shown)]
    for polarity in range(shape[0]):
        for device in range(shape[1]):
            for line in _lines([one[polarity, device] for one in every]):
                stream.write(f"{fixed},{line}\n".encode())


def _lines(fields: list[AnyArray]) -> Iterator[str]:
    """Join the fields of every device."""
    return map(",".join, zip(*(field.ravel().tolist() for field in fields), strict=True))


def _texts(values: AnyArray, axes: str, shape: tuple[int, int, int, int]) -> AnyArray:
    """Write values that have some of the axes as texts with all of them; every value is written once."""
    if values.dtype.kind == "b":
        values = values.astype(np.int64)
    write = repr if values.dtype.kind == "f" else str
    # 64-bit texts of 32-bit numbers would show digits that nobody measured.
    plain = map(str, values.ravel()) if values.dtype == np.float32 else map(write, values.ravel().tolist())
    texts = np.array([text if text != "nan" else "" for text in plain], dtype=object)
    own = tuple(length if axis in axes else 1 for axis, length in zip(AXES, shape, strict=True))
    return np.broadcast_to(texts.reshape(own), shape)


def _quoted(text: str) -> str:
    """Quote a text where CSV needs it."""
    doubled = text.replace('"', '""')
    return f'"{doubled}"' if any(mark in text for mark in ',"\n\r') else text
