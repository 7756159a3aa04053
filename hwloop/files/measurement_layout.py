"""Columns of measurement files: their names, kinds, units and meanings."""

from __future__ import annotations

from dataclasses import dataclass

import h5py
from numpy.typing import DTypeLike

from hwloop.files.measurements import Mark

MEASUREMENT_FORMAT = "hwloop-measurement"
"""The `format` attribute of measurement files."""
CHUNK = 16_384
"""Entries of a column that are stored, compressed and read together."""

MARK_TYPE = h5py.enum_dtype({mark.stored: mark.value for mark in Mark}, basetype="u1")
"""Marks carry their names in the file."""


@dataclass(frozen=True)
class Column:
    """A column of a table: its type and unit in files that hwloop writes, and a sentence on what it is."""

    dtype: DTypeLike
    """Type of its entries."""
    units: str
    """Unit of its entries; '1' for a bare number."""
    meaning: str
    """What it is, for people who open the file."""
    optional: bool = False
    """Whether some experiments do without it."""


CELL_COLUMNS = {
    "address": Column("i8", "1", "name of the cell: flat device index on a chip, or the number used by the source"),
    "core": Column("i4", "1", "core of the chip"),
    "target": Column("f8", "uS", "conductance that programming aimed at; NaN: no target"),
    "verify": Column("f8", "uS", "accepted verify read, biased by its own selection; NaN: none"),
    "level": Column("i4", "1", "index of the programmed level; -1: no levels"),
    "mark": Column(MARK_TYPE, "1", "GOOD, or why the cell is not to be trusted"),
    "name": Column(h5py.string_dtype(), "1", "what the source calls the cell", optional=True),
}
READ_COLUMNS = {
    "cell": Column("i4", "1", "index into the columns of cells/"),
    "time": Column("f8", "s", "true age: time between the cell's last pulse and this read"),
    "conductance": Column("f8", "uS", "conductance; slightly negative values are converter noise"),
    "temperature": Column("f8", "K", "temperature; NaN: not measured"),
    "amplitude": Column("f8", "uA", "peak current of the pulse before this read", optional=True),
    "width": Column("f8", "ns", "duration of the pulse before this read", optional=True),
    "voltage": Column("f8", "V", "peak voltage of the pulse before this read; NaN: no pulse yet", optional=True),
    "nominal": Column("f8", "s", "age that was aimed at", optional=True),
}
