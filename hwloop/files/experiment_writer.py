"""One experiment of a measurement file that is being written: its columns grow, its state is replaced."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import h5py
import numpy as np

from hwloop.errors import BadInputError
from hwloop.files.hdf5 import utc_now
from hwloop.files.measurement_layout import CELL_COLUMNS, CHUNK, READ_COLUMNS, Column
from hwloop.files.measurements import Attributes, Cells, Experiment, MarkArray, Reads
from hwloop.typing import AnyArray, FloatArray, State


class ExperimentWriter:
    """One experiment of a file that is being written. Nothing here is on disk for readers before a commit."""

    def __init__(self, group: h5py.Group, deleted: Callable[[], None]) -> None:
        """Go on with an experiment that is there; `deleted` is called when something was, whose room is not used."""
        self.name = group.name.removeprefix("/")
        self._group, self._deleted = group, deleted

    @classmethod
    def begin(
        cls,
        group: h5py.Group,
        experiment: Experiment,
        cells: Cells,
        attributes: Attributes,
        deleted: Callable[[], None],
    ) -> ExperimentWriter:
        """Fill an empty group with an experiment; its status is 'running' until it ends."""
        group.attrs["experiment"] = experiment.value
        group.attrs["status"] = "running"
        group.attrs["started"] = utc_now()
        writer = cls(group, deleted)
        writer.describe(attributes)
        for table, columns in (("cells", CELL_COLUMNS), ("reads", READ_COLUMNS)):
            _make_columns(group.create_group(table), {k: c for k, c in columns.items() if not c.optional})
        writer.append_cells(cells)
        return writer

    @property
    def attributes(self) -> dict[str, str | int | float | bool]:
        """Attributes of the experiment."""
        return plain_attributes(self._group)

    @property
    def cell_count(self) -> int:
        """Number of cells so far."""
        return int(self._group["cells/address"].shape[0])

    def describe(self, attributes: Attributes) -> None:
        """Set attributes of the experiment, replacing earlier ones of the same names."""
        self._group.attrs.update(attributes)

    def append_cells(self, cells: Cells) -> None:
        """Add cells behind those that are there. Raises BadInputError for other columns than those before."""
        table = self._table("cells", CELL_COLUMNS, cells.columns())
        for name, values in cells.columns().items():
            _extend(table[name], values)

    def update_cells(self, *, verify: FloatArray | None = None, mark: MarkArray | None = None) -> None:
        """Replace whole columns of the cells, each (cells,); accepted verify reads are in uS."""
        for name, values in (("verify", verify), ("mark", mark)):
            if values is not None:
                self._group["cells"][name][...] = values

    def append(self, reads: Reads) -> None:
        """Add reads behind those that are there.

        Raises
        ------
        BadInputError
            For reads of cells that do not exist, and of other columns than those before.
        """
        if not len(reads):
            return
        if reads.cell.min() < 0 or reads.cell.max() >= self.cell_count:
            raise BadInputError(
                f"{self.name}: reads name cells {reads.cell.min()} to {reads.cell.max()}, "
                f"but there are {self.cell_count} cells"
            )
        table = self._table("reads", READ_COLUMNS, reads.columns())
        for name, values in reads.columns().items():
            _extend(table[name], values)

    def _table(self, name: str, known: Mapping[str, Column], given: Mapping[str, AnyArray]) -> h5py.Group:
        """Return a table with the columns that are given; the first rows of a table may bring optional ones."""
        table = self._group[name]
        if not next(iter(table.values())).shape[0]:
            _make_columns(table, {k: column for k, column in known.items() if k in given and k not in table})
        if set(given) != set(table):
            raise BadInputError(f"{self.name}: all {name} need the columns {', '.join(table)}, not {', '.join(given)}")
        return table

    @property
    def read_count(self) -> int:
        """Number of reads so far."""
        return int(self._group["reads/time"].shape[0])

    def marks(self) -> MarkArray:
        """Return the mark of every cell so far, (cells,)."""
        marks: MarkArray = self._group["cells/mark"][()]
        return marks

    def keep_state(self, state: State) -> None:
        """Keep named arrays from which an interrupted measurement goes on, replacing earlier ones."""
        group = self._group.require_group("state")
        for name, array in state.items():
            found = group.get(name)
            if found is not None and found.shape == array.shape and found.dtype == array.dtype:
                found[...] = array  # in place: a file would grow by every state that is deleted
                continue
            if found is not None:
                del group[name]
                self._deleted()
            dataset = group.create_dataset(name, data=array)
            dataset.attrs["units"] = "1"
            dataset.attrs["description"] = "part of the state from which an interrupted measurement goes on"

    def state(self) -> dict[str, AnyArray]:
        """Return what `keep_state` kept; empty where there is nothing."""
        found: dict[str, AnyArray] = {}

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
            self._deleted()

    def end(self, status: str) -> None:
        """Say how it ended: 'complete', 'interrupted' or 'failed'."""
        if status != "failed":
            self._group.attrs.pop("error", None)
        self._group.attrs["status"] = status
        self._group.attrs["ended"] = utc_now()


def plain_attributes(group: h5py.Group) -> dict[str, str | int | float | bool]:
    """Return the attributes of a group as plain values."""
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in group.attrs.items()}


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


def _extend(dataset: h5py.Dataset, values: AnyArray) -> None:
    if values.dtype.kind == "U":
        values = values.astype(object)  # strings of any length
    start = dataset.shape[0]
    dataset.resize(start + values.size, axis=0)
    dataset[start:] = values
