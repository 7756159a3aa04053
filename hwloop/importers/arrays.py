"""Arrays in HDF5 and netCDF files: datasets that a column map names, `time[s]=t,cell=id,conductance[uS]=G`.

The conductance (or resistance, or current) has one axis, or two: of times and of cells. Whatever else is named has its
shape, one of its axes, or is a single number. What netCDF says of values is obeyed: scale, offset, missing values, and
times `seconds since 2023-11-14`, which are moments. Old netCDF (version 3) is read by SciPy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from scipy.io import netcdf_file

from hwloop.errors import BadInputError
from hwloop.importers.checks import Rows
from hwloop.importers.collect import Collector
from hwloop.importers.columns import CODE, KNOWN, ColumnMap, Source, Spread, parse_columns
from hwloop.importers.headers import propose
from hwloop.importers.layout import AUTO, TextOptions
from hwloop.importers.numerals import Numerals
from hwloop.importers.quantities import check, conducted, used
from hwloop.importers.spelling import scale
from hwloop.typing import AnyArray, FloatArray

_CLASSIC = b"CDF"
"""First bytes of an old netCDF file."""


@dataclass(frozen=True)
class Variable:
    """A dataset of numbers, and what its file says of it."""

    data: h5py.Dataset
    """Its entries, also an array; read where they are asked for."""
    attributes: dict[str, str | float]
    """Units, scale, offset and the value that stands for a missing one, as far as they are there."""
    axes: tuple[str, ...]
    """Names of its axes; empty names where they have none."""
    member: str = ""
    """Name of the column, for one column of a table."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape without axes of one entry."""
        return tuple(size for size in self.data.shape if size > 1) or (int(np.prod(self.data.shape)),)

    @property
    def named_axes(self) -> tuple[str, ...]:
        """Names of the axes of `shape`."""
        named = self.axes or ("",) * self.data.ndim
        return tuple(name for name, size in zip(named, self.data.shape, strict=True) if size > 1) or ("",)

    def read(self, part: slice = slice(None)) -> FloatArray:
        """Return a part along its first axis, or all of it, in its own unit; NaN for what is missing."""
        first = next((axis for axis, size in enumerate(self.data.shape) if size > 1), 0)
        at = (slice(None),) * first + (part,)
        raw = self.data[(self.member, *at)] if self.member else self.data[at]
        values = np.asarray(raw, np.float64)
        values = values.reshape([-1, *self.shape[1:]])
        for name in ("_FillValue", "missing_value"):
            if name in self.attributes:
                values = np.where(values == float(self.attributes[name]), np.nan, values)
        scaled = values * float(self.attributes.get("scale_factor", 1.0))
        return scaled + float(self.attributes.get("add_offset", 0.0))

    @property
    def unit(self) -> str | None:
        """Its unit as the file states it."""
        found = self.attributes.get("units", self.attributes.get("unit"))
        return str(found) if found is not None else None


@contextmanager
def variables(path: Path) -> Iterator[dict[str, Variable]]:
    """Open a file of arrays and yield its numeric datasets by their names."""
    if is_classic(path):
        with netcdf_file(path, "r", mmap=False) as old:
            yield {
                name: Variable(one[...], _attributes(one._attributes), tuple(one.dimensions))
                for name, one in old.variables.items()
                if one[...].dtype.kind in "iuf"
            }
        return
    with h5py.File(path, "r") as file:
        found: dict[str, Variable] = {}

        def take(name: str, item: h5py.Group | h5py.Dataset) -> None:
            if not isinstance(item, h5py.Dataset) or not item.shape:
                return
            for member in item.dtype.names or ("",):
                kind = item.dtype[member].kind if member else item.dtype.kind
                if kind in "iufb":
                    found[f"{name}/{member}" if member else name] = Variable(
                        item, _attributes(item.attrs), _axes(item), member
                    )

        file.visititems(take)
        yield found


def is_classic(path: Path) -> bool:
    """Tell whether a file is old netCDF."""
    with path.open("rb") as stream:
        return stream.read(3) == _CLASSIC


def _attributes(stored: Mapping[str, AnyArray]) -> dict[str, str | float]:
    """Return the attributes that say how values are meant, as text and numbers."""
    found: dict[str, str | float] = {}
    for name in ("units", "unit", "scale_factor", "add_offset", "_FillValue", "missing_value"):
        value = stored.get(name)
        if isinstance(value, bytes):
            found[name] = value.decode("utf-8", "replace")
        elif isinstance(value, str):
            found[name] = value
        elif value is not None and np.size(value) == 1:
            item = np.asarray(value).ravel()[0]
            found[name] = (
                str(item) if isinstance(item, str) else item.decode() if isinstance(item, bytes) else float(item)
            )
    return found


def _axes(item: h5py.Dataset) -> tuple[str, ...]:
    """Return the names of a dataset's axes: those of the scales that netCDF attaches, or of its labels."""
    names = []
    for axis, dimension in enumerate(item.dims):
        scales = [str(other.name) for other in dimension.values()]
        itself = str(item.name) if item.attrs.get("CLASS") in (b"DIMENSION_SCALE", "DIMENSION_SCALE") else ""
        names.append(scales[0] if scales else itself if item.ndim == 1 and axis == 0 else dimension.label)
    return tuple(names)


@dataclass(frozen=True)
class ArraysImport:
    """The datasets of a file that a map names."""

    path: Path
    columns: ColumnMap
    options: TextOptions
    rows_at_once: int = 2**18
    """Entries that are read at a time."""

    @classmethod
    def of(cls, path: Path, found: dict[str, Variable], options: TextOptions) -> ArraysImport:
        """Find the datasets of a map.

        Raises BadInputError for a map that names none, or some that are not there, and where there is no map.
        """
        text = options.columns
        if text is None or text == AUTO:
            likely = _likely(found)
            if text is None or not likely:
                why = f'; it looks like --columns "{likely}", which --columns auto takes' if likely else ""
                names = ", ".join(f"{name} {one.shape}" for name, one in list(found.items())[:12])
                raise BadInputError(
                    f"{path}: name its datasets, such as --columns time[s]=t,conductance[S]=G; it has {names}{why}"
                )
            text = likely
        columns = _parsed(text, options)
        check(columns, options)
        for source in columns.sources:
            if source.form or columns.spread is not Spread.NONE:
                raise BadInputError(f"{path} holds arrays: names, dates and further columns are for text")
            if not source.path:
                raise BadInputError(f"{path} holds arrays: name the dataset of each column, such as {source.name}=NAME")
            if source.path.strip("/") not in found:
                names = ", ".join(list(found)[:20])
                raise BadInputError(f"{path} has no numeric dataset '{source.path}'; it has {names}")
        return cls(path, columns, options)

    def take(self, found: dict[str, Variable], collector: Collector) -> None:
        """Hand over all rows, in the order of times."""
        sources = used(self.columns)
        read = {source.name: found[source.path.strip("/")] for source in sources}
        main = next(read[name] for name in ("conductance", "resistance", "current", "shunt_voltage") if name in read)
        shape, axes = main.shape, main.named_axes
        if len(shape) > 2:
            raise BadInputError(f"{self.path}: an array of shape {shape} has more axes than times and cells")
        placed = {name: self._axis(name, variable, shape, axes) for name, variable in read.items()}
        if len(shape) == 2 and "cell" not in read and placed.get("time") is None:
            raise BadInputError(f"{self.path}: which axis is of cells? name a time along the other one, or the cells")
        step = max(1, self.rows_at_once // int(np.prod(shape[1:])))
        for start in range(0, shape[0], step):
            part = slice(start, min(start + step, shape[0]))
            size = (part.stop - start, *shape[1:])
            rows: Rows = {}
            for source in sources:
                name, whole = source.name, placed[source.name] == 1 or read[source.name].shape == (1,) != shape
                values = self._column(source, read[name], slice(None) if whole else part)
                axis = placed[name]
                if axis is not None and len(shape) > 1:
                    values = np.expand_dims(values, 1 - axis)
                rows[name] = np.broadcast_to(values, size)
            if len(shape) == 2 and "cell" not in rows:
                number = np.arange(start, part.stop)[:, None] if placed["time"] == 1 else np.arange(shape[1])
                rows["cell"] = np.broadcast_to(number, size)
            self._hand_over(rows, part, shape, collector)

    def _hand_over(self, rows: Rows, part: slice, shape: tuple[int, ...], collector: Collector) -> None:
        """Give rows to the collector, each named by its place in the array, counted from 1."""
        flat = {name: values.ravel().astype(np.float64) for name, values in rows.items()}
        over = np.any([np.isfinite(values) & (np.abs(values) >= Numerals().code) for values in flat.values()], axis=0)
        if np.any(over):
            flat["fault"] = np.where(over, 2.0, 0.0)  # its place in `FAULTS`
        place = part.start * int(np.prod(shape[1:])) + np.arange(1, over.size + 1, dtype=np.int64)
        collector.take(conducted(flat, self.options), place)

    def moments(self, found: dict[str, Variable]) -> bool:
        """Tell whether times are said to count from a date."""
        source = self.columns.source("time")
        unit = found[source.path.strip("/")].unit if source is not None else None
        return unit is not None and _since(unit) is not None

    def _column(self, source: Source, variable: Variable, part: slice) -> FloatArray:
        """Return a part of a dataset in hwloop's unit."""
        base = KNOWN[source.name]
        values = variable.read(part)
        if not base or source.unit == CODE:
            return values * source.factor
        unit = source.unit or variable.unit
        if unit is None:
            raise BadInputError(
                f"{self.path}: '{source.path}' does not say its unit; give it: {source.name}[{base}]={source.path}"
            )
        try:
            factor, offset = scale(_since(unit) or unit, base)
        except BadInputError as error:
            raise BadInputError(f"{self.path}: '{source.path}': {error}") from None
        return values * factor + offset

    def _axis(self, name: str, variable: Variable, shape: tuple[int, ...], axes: tuple[str, ...]) -> int | None:
        """Return the axis of the conductance that a dataset runs along, None for one of its shape or of one entry."""
        if variable.shape == (1,) or variable.shape == shape:
            same = variable.shape == shape and len(shape) == 2 and axes[0] and variable.named_axes == axes[::-1]
            if same and axes[0] != axes[1]:
                raise BadInputError(f"{self.path}: the axes of the {name} stand the other way round")
            return None
        along = [k for k, size in enumerate(shape) if variable.shape == (size,)]
        named = [k for k in along if axes[k] and axes[k] == variable.named_axes[0]]
        if len(named) == 1 or len(along) == 1:
            return (named or along)[0]
        what = "may run along either axis" if along else "fits no axis"
        raise BadInputError(f"{self.path}: the {name} of shape {variable.shape} {what} of {shape}")


def _since(unit: str) -> str | None:
    """Return the unit of times that count from a date, None for other units."""
    match = re.fullmatch(r"\s*([A-Za-z]+)\s+since\s+\S.*", unit)
    return match[1] if match else None


def _parsed(text: str, options: TextOptions) -> ColumnMap:
    return parse_columns(text, options.code_step, voltage_known=options.read_voltage is not None)


def _likely(found: dict[str, Variable]) -> str:
    """Return the map that the names of datasets most likely mean, empty where none is known."""
    parts = []
    for path, variable in found.items():
        proposal = propose([path.rpartition("/")[2]], [variable.unit or ""])
        if proposal.columns and not (proposal.doubts and variable.unit is None):
            name = proposal.columns.partition("[")[0]
            parts.append((name, f"{name}={path}" if variable.unit or not KNOWN[name] else ""))
    names = [name for name, _ in parts]
    if len(set(names)) < len(names) or not all(part for _, part in parts):
        return ""
    return (
        ",".join(part for _, part in parts)
        if "conductance" in names or "resistance" in names or "current" in names
        else ""
    )
