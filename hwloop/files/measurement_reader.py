"""Reads measurement files, whole or piece by piece."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from hwloop.errors import BadInputError
from hwloop.files.experiment_writer import plain_attributes
from hwloop.files.hdf5 import open_file
from hwloop.files.measurement_layout import CELL_COLUMNS, MEASUREMENT_FORMAT, READ_COLUMNS, Column
from hwloop.files.measurements import Cells, Experiment, Mark, MarkArray, Measurement, Reads
from hwloop.files.reading import whole
from hwloop.typing import AnyArray
from hwloop.units import conversion


def read_measurements(path: str | Path, experiment: Experiment | None = None) -> list[Measurement]:
    """Read all measurements of a file, or those of one kind, in the order in which they were begun.

    Raises
    ------
    BadInputError
        When the file is missing, foreign, truncated, of a newer version, or lacks a column or unit, and when it has no
        measurement of the kind asked for.
    """
    with open_measurements(path) as stored:
        chosen = [one for one in stored if experiment in (None, one.experiment)]
        if not chosen:
            found = ", ".join(sorted({one.experiment.value for one in stored}))
            kind, has = f" '{experiment.value}'" if experiment else "", f"; it has {found}" if found else ""
            raise BadInputError(f"{path} has no measurement{kind}{has}")
        return [one.measurement() for one in chosen]


@contextmanager
def open_measurements(path: str | Path) -> Iterator[list[StoredExperiment]]:
    """Open the experiments of a file without reading them whole; raises BadInputError as `read_measurements` does."""
    if Path(path).is_file() and not h5py.is_hdf5(path):
        raise BadInputError(
            f"{path} is not a readable HDF5 file; measurements in other formats are brought in with 'hwloop import'"
        )
    with open_file(path, MEASUREMENT_FORMAT) as file:
        with _readable(path):
            stored = [StoredExperiment(group) for group in file.values() if isinstance(group, h5py.Group)]
        yield stored


class StoredExperiment:
    """One experiment of an open file."""

    def __init__(self, group: h5py.Group) -> None:
        """Check the group.

        Raises
        ------
        BadInputError
            For an unknown experiment, and columns that are missing or not equally long.
        """
        self.name = group.name.removeprefix("/")
        attributes = plain_attributes(group)
        kind = attributes.pop("experiment", None)
        known = [experiment.value for experiment in Experiment]
        if kind not in known:
            raise BadInputError(
                f"{group.file.filename}: /{self.name} is of the unknown experiment {kind!r}; known: {', '.join(known)}"
            )
        self.experiment, self.attributes = Experiment(kind), attributes
        self._cells = _Table(group, "cells", CELL_COLUMNS)
        self._reads = _Table(group, "reads", READ_COLUMNS)
        self._where = f"{group.file.filename}: /{self.name}"

    @property
    def cell_count(self) -> int:
        """Number of cells."""
        return self._cells.size

    @property
    def read_count(self) -> int:
        """Number of reads."""
        return self._reads.size

    def cells(self) -> Cells:
        """Read all cells."""
        columns = self._cells.read(0, self._cells.size)
        columns["mark"] = _known_marks(self._cells.column("mark"), columns["mark"], self._where)
        if "name" in columns:
            columns["name"] = np.array([_text(name) for name in columns["name"].tolist()], np.str_)
        return Cells(**columns)

    def reads(self, start: int = 0, stop: int | None = None) -> Reads:
        """Return the reads from `start` to before `stop`, all of them unless told otherwise."""
        return Reads(**self._reads.read(start, self._reads.size if stop is None else stop))

    def chunks(self, size: int = 2**20) -> Iterator[Reads]:
        """Yield all reads in their order, at most `size` at a time, for files larger than memory."""
        for start in range(0, self._reads.size, size):
            yield self.reads(start, min(start + size, self._reads.size))

    def measurement(self) -> Measurement:
        """Read the whole of it into memory."""
        return Measurement(self.experiment, self.cells(), self.reads(), self.attributes)


class _Table:
    """The columns of one table, checked to be there, one-dimensional, equally long and of units that convert."""

    def __init__(self, group: h5py.Group, name: str, columns: Mapping[str, Column]) -> None:
        self._path = group.file.filename
        where = f"{self._path}: {group.name}/{name}"
        table = group.get(name)
        if not isinstance(table, h5py.Group):
            raise BadInputError(f"{where} is missing; it is not a whole measurement file")
        self._columns: dict[str, tuple[h5py.Dataset, Column, tuple[float, float]]] = {}
        for label, column in columns.items():
            dataset = table.get(label)
            if dataset is None and column.optional:
                continue
            if not isinstance(dataset, h5py.Dataset) or dataset.ndim != 1:
                raise BadInputError(f"{where} has no column '{label}'; it is not a whole measurement file")
            units = dataset.attrs.get("units")
            if not isinstance(units, str):
                raise BadInputError(
                    f"{where}/{label} has no units; set its attribute 'units', such as '{column.units}'"
                )
            try:
                self._columns[label] = (dataset, column, conversion(units, column.units))
            except BadInputError as error:
                raise BadInputError(f"{where}/{label}: {error}") from None
        lengths = {label: dataset.shape[0] for label, (dataset, _, _) in self._columns.items()}
        if len(set(lengths.values())) > 1:
            raise BadInputError(f"{where}: columns must be equally long, not {lengths}")
        self.size: int = next(iter(lengths.values()))

    def column(self, label: str) -> h5py.Dataset:
        return self._columns[label][0]

    def read(self, start: int, stop: int) -> dict[str, AnyArray]:
        with _readable(self._path):
            return {
                label: _converted(dataset[start:stop], column, scale)
                for label, (dataset, column, scale) in self._columns.items()
            }


def _converted(values: AnyArray, column: Column, scale: tuple[float, float]) -> AnyArray:
    values = values.astype(np.dtype(column.dtype), copy=False)
    return values if scale == (1.0, 0.0) else values * scale[0] + scale[1]


def _text(stored: bytes | str) -> str:
    return stored.decode("utf-8", "replace") if isinstance(stored, bytes) else stored


def _known_marks(dataset: h5py.Dataset, values: AnyArray, where: str) -> MarkArray:
    """Translate marks by their names in the file into those of this version."""
    names = h5py.check_enum_dtype(dataset.dtype) or {mark.stored: mark.value for mark in Mark}
    table = np.full(256, 255, np.uint8)
    known = {mark.stored: mark for mark in Mark}
    for name, number in names.items():
        if name in known:
            table[number] = known[name]
    marks: MarkArray = table[values]
    if np.any(marks == 255):
        unknown = int(values[np.argmax(marks == 255)])
        name = {number: name for name, number in names.items()}.get(unknown, str(unknown))
        raise BadInputError(f"{where}/cells/mark has the unknown mark '{name}'; known: {', '.join(known)}")
    return marks


@contextmanager
def _readable(path: str | Path) -> Iterator[None]:
    """Turn what HDF5 finds broken inside a file that it could open into a BadInputError."""
    with whole(path, "measurement file", "it is damaged or cut off: copy it again"):
        yield
