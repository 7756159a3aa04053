"""Measurements of devices in memory: which cells were measured, and every single read of them.

Both are tables of columns rather than rectangles of cells by times: real data lacks some cells at some times, and a
table can be appended to while the measurement runs. Conductance in uS, time in seconds, current in uA, width in ns,
temperature in kelvin.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwloop.durations import format_duration
from hwloop.errors import BadInputError
from hwloop.notebook.card import Cell, card
from hwloop.typing import AnyArray, FloatArray, IndexArray

if TYPE_CHECKING:
    import pandas
    import xarray

MarkArray = NDArray[np.uint8]
"""Marks of cells."""
Attributes = Mapping[str, str | int | float | bool]
"""Attributes of an experiment in a measurement file."""


class Experiment(enum.Enum):
    """The kinds of measurement; the value is the name used in commands and files."""

    PROGRAMMING_CURVE = "programming-curve"
    """Reads after single pulses of known amplitude."""
    PROGRAMMING = "programming"
    """Cells programmed to targets: accepted verify read and relaxed re-reads."""
    DRIFT = "drift"
    """Cells programmed once and read at growing ages."""
    READ_NOISE = "read-noise"
    """Cells left alone and read continuously."""
    PULSE_RESPONSE = "pulse-response"
    """Devices that step, read every few pulses of ramps up and down."""


class Mark(enum.IntEnum):
    """Why a cell is not to be trusted; a fit leaves it out, UNCONVERGED only where the target matters."""

    GOOD = 0
    STUCK_SET = 1
    STUCK_RESET = 2
    UNCONVERGED = 3
    """Program-and-verify gave up on it."""
    OUTLIER = 4
    """Its reads contradict every model of a device."""
    SPENT = 5
    """Its pulse budget ran out."""

    @property
    def stored(self) -> str:
        """Its name in files and in the JSON of commands."""
        return "WILD" if self is Mark.OUTLIER else self.name


@dataclass(frozen=True, repr=False)
class Cells:
    """The measured cells, one entry each; shapes are all (cells,)."""

    address: IndexArray
    """Name of the cell: the flat device index on a chip, or the number used where the data comes from."""
    core: NDArray[np.int32]
    target: FloatArray
    """Conductance that programming aimed at, uS; NaN where there was no target."""
    verify: FloatArray
    """Accepted verify read, uS, biased by its own selection; NaN where there was none."""
    level: NDArray[np.int32]
    """Index of the programmed level; -1 where there are no levels."""
    mark: MarkArray
    """One of `Mark`."""
    name: NDArray[np.str_] | None = None
    """What the cell is called where the data comes from, and its number is only its place; None without names."""

    def __post_init__(self) -> None:
        """Raise BadInputError unless all columns have the same length."""
        _check_lengths(self.columns(), "cells")

    def __len__(self) -> int:
        return int(self.address.size)

    def __repr__(self) -> str:
        return f"<Cells: {len(self):,}, of which {np.count_nonzero(self.mark == Mark.GOOD):,} good>"

    def columns(self) -> dict[str, AnyArray]:
        """Return the columns that are there by their names."""
        return {name: values for name, values in vars(self).items() if values is not None}

    @classmethod
    def at(
        cls,
        address: NDArray[np.integer],
        core: NDArray[np.integer] | None = None,
        target: FloatArray | None = None,
        verify: FloatArray | None = None,
        level: NDArray[np.integer] | None = None,
        mark: MarkArray | None = None,
    ) -> Cells:
        """Make cells by their addresses; a column that is not given says that there is nothing to tell."""
        count = address.size
        return cls(
            address=np.asarray(address, np.int64),
            core=np.zeros(count, np.int32) if core is None else core.astype(np.int32),
            target=np.full(count, np.nan) if target is None else target,
            verify=np.full(count, np.nan) if verify is None else verify,
            level=np.full(count, -1, np.int32) if level is None else level.astype(np.int32),
            mark=np.full(count, Mark.GOOD, np.uint8) if mark is None else mark,
        )


@dataclass(frozen=True, repr=False)
class Reads:
    """Every read, in the order in which it was taken; shapes are all (reads,)."""

    cell: NDArray[np.int32]
    """Index into the cells."""
    time: FloatArray
    """True age: seconds between the cell's last pulse and this read."""
    conductance: FloatArray
    """uS; may be slightly negative, because converters have noise."""
    temperature: FloatArray
    """K; NaN where it was not measured."""
    amplitude: FloatArray | None = None
    """Programming curves alone: peak current of the pulse before this read, uA."""
    width: FloatArray | None = None
    """Programming curves alone: duration of that pulse, ns."""
    voltage: FloatArray | None = None
    """Programming curves of chips driven by voltage: peak voltage of that pulse, V; NaN before the first pulse."""
    nominal: FloatArray | None = None
    """The age that was aimed at, s, where that is known: what a plan called these reads, never used as a time."""

    def __post_init__(self) -> None:
        """Raise BadInputError unless all columns have the same length."""
        _check_lengths(self.columns(), "reads")

    def __len__(self) -> int:
        return int(self.cell.size)

    def __repr__(self) -> str:
        return f"<Reads: {len(self):,} with {', '.join(self.columns())}>"

    def columns(self) -> dict[str, AnyArray]:
        """Return the columns that are there by their names."""
        return {name: values for name, values in vars(self).items() if values is not None}


@dataclass(frozen=True, repr=False)
class Measurement:
    """One experiment: what was measured, on which cells, with what came out."""

    experiment: Experiment
    cells: Cells
    reads: Reads
    attributes: Attributes = field(default_factory=dict)
    """Where it comes from: chip, backend, UTC, settings; for people and for the fingerprint of a fit."""

    def __post_init__(self) -> None:
        """Raise BadInputError when reads name cells that do not exist."""
        index = self.reads.cell
        if index.size and (index.min() < 0 or index.max() >= len(self.cells)):
            raise BadInputError(
                f"{self.experiment.value}: reads name cells {index.min()} to {index.max()}, "
                f"but there are {len(self.cells)} cells"
            )

    @classmethod
    def of(
        cls,
        experiment: str | Experiment,
        time: ArrayLike,
        conductance: ArrayLike,
        target: ArrayLike | None = None,
        temperature: float = np.nan,
        attributes: Attributes = MappingProxyType({}),
    ) -> Measurement:
        """Make a measurement of arrays of one's own: every cell read at the same ages.

        Parameters
        ----------
        experiment
            'drift', 'programming' or 'read-noise'.
        time
            (times,) seconds between the last pulse of the cells and each read.
        conductance
            (times, cells) uS; NaN where a cell was not read.
        target
            (cells,) uS that programming aimed at; None where there was no target.
        temperature
            K at all reads; NaN for one that is not known.
        attributes
            Where it comes from, such as ``g_max``.

        Examples
        --------
        Two cells that were read a second and ten seconds after their last pulse:

        >>> Measurement.of("drift", [1.0, 10.0], [[5.0, 8.0], [4.8, 7.9]])
        <Measurement of drift: 2 cells, 4 reads>

        Raises
        ------
        BadInputError
            For arrays of other shapes, a kind that is unknown, and programming curves, whose reads have pulses.
        """
        with_pulses = (Experiment.PROGRAMMING_CURVE, Experiment.PULSE_RESPONSE)
        kinds = {kind.value: kind for kind in Experiment if kind not in with_pulses}
        kind = experiment.value if isinstance(experiment, Experiment) else experiment
        if kind not in kinds:
            raise BadInputError(f"experiment '{kind}': arrays of ages and conductances are {', '.join(kinds)}")
        ages, values = np.asarray(time, np.float64), np.asarray(conductance, np.float64)
        aims = None if target is None else np.asarray(target, np.float64)
        if ages.ndim != 1 or values.shape[:1] != ages.shape or values.ndim != 2:
            raise BadInputError(f"time {ages.shape} and conductance {values.shape} must be (times,) and (times, cells)")
        if aims is not None and aims.shape != values.shape[1:]:
            raise BadInputError(f"target {aims.shape} must have a value for each of {values.shape[1]} cells")
        row, cell = np.nonzero(~np.isnan(values))
        reads = Reads(
            cell=cell.astype(np.int32),
            time=ages[row],
            conductance=values[row, cell],
            temperature=np.full(row.size, temperature),
        )
        return cls(kinds[kind], Cells.at(np.arange(values.shape[1]), target=aims), reads, attributes)

    def to_dataframe(self) -> pandas.DataFrame:
        """Return a pandas table with a row for each read and what is known of its cell; needs `hwloop[pandas]`."""
        from hwloop.notebook.tables import dataframe

        return dataframe(self.table())

    def to_xarray(self) -> xarray.Dataset:
        """Return an xarray dataset of all reads, and beside them the measured cells; needs `hwloop[xarray]`."""
        from hwloop.files.datasets import dataset_of_measurement

        return dataset_of_measurement(self)

    def table(self) -> dict[str, AnyArray]:
        """Lay the columns of the cells beside those of the reads, by name."""
        cell = self.reads.cell
        cells = {name: values[cell] for name, values in self.cells.columns().items() if name != "mark"}
        mark = np.array([kind.name.lower() for kind in Mark])[self.cells.mark[cell]]
        reads = {name: values for name, values in self.reads.columns().items() if name != "cell"}
        kind = np.full(cell.size, self.experiment.value)
        return {"experiment": kind, "cell": cell, **cells, "mark": mark, **reads}

    def __repr__(self) -> str:
        return f"<Measurement of {self.experiment.value}: {len(self.cells):,} cells, {len(self.reads):,} reads>"

    def _repr_html_(self) -> str:
        ages = self.reads.time
        facts: dict[str, Cell] = {
            "cells": len(self.cells),
            "good cells": int((self.cells.mark == Mark.GOOD).sum()),
            "reads": len(self.reads),
        }
        if ages.size:
            facts["ages"] = f"{format_duration(float(ages.min()))} to {format_duration(float(ages.max()))}"
        told = str(self.attributes.get("chip", self.attributes.get("backend", "")))
        return card(f"Measurement of {self.experiment.value}", told, facts)


def _check_lengths(columns: Mapping[str, AnyArray], name: str) -> None:
    sizes = {label: column.shape for label, column in columns.items()}
    if len(set(sizes.values())) > 1 or any(len(shape) != 1 for shape in sizes.values()):
        raise BadInputError(f"{name}: columns must be one-dimensional and equally long, not {sizes}")
