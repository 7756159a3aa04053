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
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from hwloop.errors import BadInputError
from hwloop.files.hdf5 import FORMAT_VERSION, check_writable, open_file
from hwloop.files.measurement_layout import CELL_COLUMNS, CHUNK, MEASUREMENT_FORMAT, READ_COLUMNS, Attributes, Column
from hwloop.files.measurements import Cells, Experiment, Reads

LOCKING = "best-effort"
"""HDF5 locks the working file where the file system can; it keeps a second writer out."""


def utc_now() -> str:
    """The present in UTC, ISO 8601 with microseconds."""
    return datetime.now(UTC).isoformat()


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
