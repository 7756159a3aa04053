"""Measurement files: HDF5, one group per experiment, columns of cells and of reads; docs/measurement-file.md.

The writer appends to a working file beside the measurement file and a commit puts a copy of it in place in one step
of the file system. What stands under the file's name is thus always whole: readers and `h5dump` may open it at any
moment, and a killed process costs what came after its last commit. Memory is bounded by one chunk of reads, so files
may be larger than memory. HDF5's single-writer mode would save the copy, but a killed writer leaves a flag in the file
that makes plain readers refuse it, and it cannot add a group to a file that is open.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import DTypeLike, NDArray

from hwloop.errors import BadInputError
from hwloop.measurements import Cells, Experiment, Mark, Measurement, Reads
from hwloop.store import FORMAT_VERSION, check_writable, open_file
from hwloop.units import conversion

MEASUREMENT_FORMAT = "hwloop-measurement"
CHUNK = 16_384
"""Entries of a column that are stored, compressed and read together."""
READ_AT_ONCE = 1_048_576
"""Reads per chunk of `StoredExperiment.chunks`, unless told otherwise."""

Attributes = Mapping[str, str | int | float | bool]

LOCKING = "best-effort"
"""HDF5 locks the working file where the file system can; it keeps a second writer out."""

MARK_TYPE = h5py.enum_dtype({mark.name: mark.value for mark in Mark}, basetype="u1")
"""Marks carry their names in the file."""


@dataclass(frozen=True)
class Column:
    """A column of a table: its type and unit in files that hwloop writes, and a sentence on what it is."""

    dtype: DTypeLike
    units: str
    meaning: str
    optional: bool = False


CELL_COLUMNS = {
    "address": Column("i8", "1", "name of the cell: flat device index on a chip, or the number used by the source"),
    "core": Column("i4", "1", "core of the chip"),
    "target": Column("f8", "uS", "conductance that programming aimed at; NaN: no target"),
    "verify": Column("f8", "uS", "accepted verify read, biased by its own selection; NaN: none"),
    "level": Column("i4", "1", "index of the programmed level; -1: no levels"),
    "mark": Column(MARK_TYPE, "1", "GOOD, or why the cell is not to be trusted"),
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


def utc_now() -> str:
    """The present in UTC, ISO 8601 with microseconds."""
    return datetime.now(UTC).isoformat()


# ---- reading -------------------------------------------------------------------------------------------------------


def read_measurements(path: str | Path, experiment: Experiment | None = None) -> list[Measurement]:
    """All measurements of a file, or those of one kind, in memory and in the order in which they were begun.

    Raises BadInputError when the file is missing, foreign, truncated, of a newer version, or lacks a column or unit,
    and when it has no measurement of the kind asked for.
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
    """The experiments of a file, to be looked at without reading them whole. Raises BadInputError as above."""
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
        """Check the group. Raises BadInputError for an unknown experiment, and columns that are missing or uneven."""
        self.name = group.name.removeprefix("/")
        self.attributes: dict[str, str | int | float | bool] = {
            name: value.item() if isinstance(value, np.generic) else value for name, value in group.attrs.items()
        }
        kind = self.attributes.pop("experiment", None)
        known = [experiment.value for experiment in Experiment]
        if kind not in known:
            raise BadInputError(
                f"{group.file.filename}: /{self.name} is of the unknown experiment {kind!r}; known: {', '.join(known)}"
            )
        self.experiment = Experiment(kind)
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
        """All cells."""
        columns = self._cells.read(0, self._cells.size)
        columns["mark"] = _known_marks(self._cells.column("mark"), columns["mark"], self._where)
        return Cells(**columns)

    def reads(self, start: int = 0, stop: int | None = None) -> Reads:
        """Reads `start` to `stop`, all of them unless told otherwise."""
        return Reads(**self._reads.read(start, self._reads.size if stop is None else stop))

    def chunks(self, size: int = READ_AT_ONCE) -> Iterator[Reads]:
        """All reads in their order, at most `size` at a time, for files larger than memory."""
        for start in range(0, self._reads.size, size):
            yield self.reads(start, min(start + size, self._reads.size))

    def measurement(self) -> Measurement:
        """The whole of it in memory."""
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

    def read(self, start: int, stop: int) -> dict[str, NDArray[Any]]:
        with _readable(self._path):
            return {
                label: _converted(dataset[start:stop], column, scale)
                for label, (dataset, column, scale) in self._columns.items()
            }


def _converted(values: NDArray[Any], column: Column, scale: tuple[float, float]) -> NDArray[Any]:
    values = values.astype(np.dtype(column.dtype), copy=False)
    return values if scale == (1.0, 0.0) else values * scale[0] + scale[1]


def _known_marks(dataset: h5py.Dataset, values: NDArray[Any], where: str) -> NDArray[np.uint8]:
    """Marks as this version numbers them, by the names in the file."""
    names = h5py.check_enum_dtype(dataset.dtype) or {mark.name: mark.value for mark in Mark}
    table = np.full(256, 255, np.uint8)
    for name, number in names.items():
        if name in Mark.__members__:
            table[number] = Mark[name]
    marks: NDArray[np.uint8] = table[values]
    if np.any(marks == 255):
        unknown = int(values[np.argmax(marks == 255)])
        name = {number: name for name, number in names.items()}.get(unknown, str(unknown))
        raise BadInputError(f"{where}/cells/mark has the unknown mark '{name}'; known: {', '.join(Mark.__members__)}")
    return marks


@contextmanager
def _readable(path: str | Path) -> Iterator[None]:
    """What HDF5 finds broken inside a file that it could open becomes a BadInputError."""
    try:
        yield
    except BadInputError:
        raise
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise BadInputError(f"{path} is damaged or cut off ({str(error).splitlines()[0]})") from None


# ---- writing -------------------------------------------------------------------------------------------------------


class MeasurementWriter:
    """Appends experiments and their reads to a measurement file; see the module's text.

        with MeasurementWriter("meas.h5", append=True) as writer:
            drift = writer.begin(Experiment.DRIFT, cells, {"backend": "sim:hermes-core?seed=3"})
            drift.append(reads)
            writer.commit()                  # from here on readers see it
            drift.end("complete")
            writer.finish()

    Without `finish`, what came after the last commit is lost.
    """

    def __init__(self, path: str | Path, *, append: bool = False, force: bool = False) -> None:
        """Start a new file, or go on with an existing one when `append` is set.

        Raises BadInputError when the file exists (without append or force), is no measurement file, cannot be
        written, or is being written by another process.
        """
        keep = append and Path(path).exists()
        self.path = check_writable(path, force=force or keep)
        self._working = self.path.absolute().with_name(f".{self.path.name}.writing")
        self._fresh = self._working.with_suffix(".commit")
        self.committed = False
        self._loose = False
        if keep:
            open_file(self.path, MEASUREMENT_FORMAT).close()
        _check_unused(self._working, self.path)
        with _writable(self.path):
            if keep:
                shutil.copyfile(self.path, self._working)
            self.file = h5py.File(self._working, "r+" if keep else "w", locking=LOCKING)
        if not keep:
            self.file.attrs["format"] = MEASUREMENT_FORMAT
            self.file.attrs["format_version"] = FORMAT_VERSION
            self.file.attrs["created"] = utc_now()
            self.file.attrs["hwloop_version"] = importlib.metadata.version("hwloop")

    def begin(self, experiment: Experiment, cells: Cells, attributes: Attributes | None = None) -> ExperimentWriter:
        """A new experiment after those that are there; its status is 'running' until it ends."""
        group = self.file.create_group(f"{len(self.file):04d}_{experiment.value}")
        group.attrs["experiment"] = experiment.value
        group.attrs["status"] = "running"
        group.attrs["started"] = utc_now()
        writer = ExperimentWriter(group, self)
        writer.describe(attributes or {})
        _make_columns(group.create_group("cells"), CELL_COLUMNS)
        _make_columns(group.create_group("reads"), {k: c for k, c in READ_COLUMNS.items() if not c.optional})
        writer.append_cells(cells)
        return writer

    def reopen(self, name: str) -> ExperimentWriter:
        """An experiment that is there already, by the name of its group, to go on with it."""
        return ExperimentWriter(self.file[name], self)

    def experiments(self) -> list[ExperimentWriter]:
        """Those that are there already, oldest first."""
        return [ExperimentWriter(group, self) for group in self.file.values()]

    def commit(self) -> None:
        """Replace what stands under the file's name by what was written so far."""
        self.file.flush()
        with _writable(self.path):
            shutil.copyfile(self._working, self._fresh)
            _sync(self._fresh)
            os.replace(self._fresh, self.path)
        self.committed = True

    def finish(self) -> None:
        """Put everything in place and close. Room that deleted chip states left in the file is given back first."""
        with _writable(self.path):
            final = self._packed() if self._loose else self._working
            self.file.close()
            _sync(final)
            os.replace(final, self.path)
        self.committed = True
        self._clean()

    def close(self) -> None:
        """Release the working file; what was not committed is lost."""
        if self.file:
            self.file.close()
            self._clean()

    def _clean(self) -> None:
        self._working.unlink(missing_ok=True)
        self._fresh.unlink(missing_ok=True)

    def loosen(self) -> None:
        """Note that something was deleted, so that `finish` gives its room back."""
        self._loose = True

    def _packed(self) -> Path:
        """A copy without the room of what was deleted, which HDF5 does not give back by itself."""
        with h5py.File(self._fresh, "w", locking=LOCKING) as target:
            target.attrs.update(self.file.attrs)
            for name in self.file:
                self.file.copy(name, target)
        return self._fresh

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class ExperimentWriter:
    """One experiment of a file that is being written. Nothing here is on disk for readers before a commit."""

    def __init__(self, group: h5py.Group, writer: MeasurementWriter) -> None:
        """Use `MeasurementWriter.begin` or `reopen`."""
        self.name = group.name.removeprefix("/")
        self._group, self._writer = group, writer

    @property
    def attributes(self) -> dict[str, Any]:
        """Attributes of the experiment."""
        return dict(self._group.attrs)

    @property
    def cell_count(self) -> int:
        """Number of cells so far."""
        return int(self._group["cells/address"].shape[0])

    def describe(self, attributes: Attributes) -> None:
        """Set attributes of the experiment, replacing earlier ones of the same names."""
        self._group.attrs.update(attributes)

    def append_cells(self, cells: Cells) -> None:
        """Add cells behind those that are there."""
        for name in CELL_COLUMNS:
            _extend(self._group["cells"][name], getattr(cells, name))

    def update_cells(self, **columns: NDArray[np.generic]) -> None:
        """Replace whole columns of the cells, each (cells,)."""
        for name, values in columns.items():
            self._group["cells"][name][...] = values

    def append(self, reads: Reads) -> None:
        """Add reads behind those that are there. Raises BadInputError for reads of cells that do not exist."""
        if not len(reads):
            return
        if reads.cell.min() < 0 or reads.cell.max() >= self.cell_count:
            raise BadInputError(
                f"{self.name}: reads name cells {reads.cell.min()} to {reads.cell.max()}, "
                f"but there are {self.cell_count} cells"
            )
        table = self._group["reads"]
        given = {name: column for name, column in READ_COLUMNS.items() if getattr(reads, name) is not None}
        if not table["time"].shape[0]:
            _make_columns(table, {name: column for name, column in given.items() if name not in table})
        if set(given) != set(table):
            raise BadInputError(f"{self.name}: all reads need the columns {', '.join(table)}, not {', '.join(given)}")
        for name in given:
            _extend(table[name], getattr(reads, name))

    @property
    def read_count(self) -> int:
        """Number of reads so far."""
        return int(self._group["reads/time"].shape[0])

    def marks(self) -> NDArray[np.uint8]:
        """Mark of every cell so far, (cells,)."""
        marks: NDArray[np.uint8] = self._group["cells/mark"][()]
        return marks

    def keep_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Keep named arrays from which an interrupted measurement goes on, replacing earlier ones."""
        group = self._group.require_group("state")
        for name, array in state.items():
            found = group.get(name)
            if found is not None and found.shape == array.shape and found.dtype == array.dtype:
                found[...] = array  # in place: a file would grow by every state that is deleted
                continue
            if found is not None:
                del group[name]
                self._writer.loosen()
            dataset = group.create_dataset(name, data=array)
            dataset.attrs["units"] = "1"
            dataset.attrs["description"] = "part of the state from which an interrupted measurement goes on"

    def state(self) -> dict[str, NDArray[Any]]:
        """What `keep_state` kept; empty where there is nothing."""
        found: dict[str, NDArray[Any]] = {}

        def take(name: str, item: h5py.Group | h5py.Dataset) -> None:
            if isinstance(item, h5py.Dataset):
                found[name] = item[()]

        if "state" in self._group:
            self._group["state"].visititems(take)
        return found

    def drop_state(self) -> None:
        """Forget the state, as nothing goes on from here."""
        if "state" in self._group:
            del self._group["state"]
            self._writer.loosen()

    def end(self, status: str) -> None:
        """Say how it ended: 'complete', 'interrupted' or 'failed'."""
        if status != "failed":
            self._group.attrs.pop("error", None)
        self._group.attrs["status"] = status
        self._group.attrs["ended"] = utc_now()


def _make_columns(table: h5py.Group, columns: Mapping[str, Column]) -> None:
    for name, column in columns.items():
        dataset = table.create_dataset(
            name,
            shape=(0,),
            maxshape=(None,),
            chunks=(CHUNK,),
            dtype=column.dtype,
            shuffle=True,
            compression="gzip",
            compression_opts=1,
        )
        dataset.attrs["units"] = column.units
        dataset.attrs["description"] = column.meaning


def _extend(dataset: h5py.Dataset, values: NDArray[Any]) -> None:
    start = dataset.shape[0]
    dataset.resize(start + values.size, axis=0)
    dataset[start:] = values


def _check_unused(working: Path, path: Path) -> None:
    """Raise BadInputError when another process has the working file open for writing; a killed one has not."""
    if not working.exists():
        return
    try:
        h5py.File(working, "r+", locking=LOCKING).close()
    except BlockingIOError:
        raise BadInputError(f"{path} is being written by another process; wait for it, or use another name") from None
    except OSError:
        return  # what a killed process left half written


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    """A full disk and the like, as one line."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error).splitlines()[0]
        raise BadInputError(f"{path} cannot be written ({reason}); give another place") from None


def _sync(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
