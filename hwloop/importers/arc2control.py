"""HDF5 files of arc2control, the control software of the ArC TWO instrument: biasing histories of crosspoints.

Layout as in arc2control/h5utils.py and docs/api_storage.rst, H5DS version 0.1 and 0.2 (github.com/arc-instruments/
arc2control at commit d081223dea07), and in arc2control/modules/retention/retention.py (commit 35821fcf296a):

    attributes H5DS_VERSION_MAJOR, H5DS_VERSION_MINOR, words, bits
    crosspoints/WxxByy/timeseries            current (A), voltage (V), pulse_width (s), read_voltage (V), op_type;
                                             its attribute NROWS says how many rows are in use
    crosspoints/WxxByy/experiments/RET_...   retention: read_voltage (V), current (A), tstamp_s, tstamp_us (UTC)

op_type has bit 0 set for a read and bit 1 for a pulse. A timeseries has no times. Retention tables have, and are what
is imported where there are any; they do not say when the crosspoint was programmed, so ages count from a table's first
read. A crosspoint's address is word * bits + bit.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import h5py
import numpy as np
from numpy.typing import NDArray

from hwloop.errors import BadInputError
from hwloop.importers.checks import Rows
from hwloop.importers.collect import Collector
from hwloop.typing import FloatArray, IndexArray

VERSIONS = ("0.0", "0.1", "0.2")
"""Versions of the layout that are known."""
RETENTION = {"read_voltage", "current", "tstamp_s", "tstamp_us"}
"""Columns of a retention table."""
TIMESERIES = {"current", "voltage", "pulse_width", "read_voltage", "op_type"}
"""Columns of a biasing history."""


class Operation(enum.IntFlag):
    """Bits of the column op_type."""

    READ = 1
    PULSE = 2


class Arc2File:
    """An open file of arc2control."""

    rows_at_once: ClassVar[int] = 2**20
    """Rows of a biasing history that are read at a time."""
    jitter: ClassVar[float] = 0.1
    """Share of a retention table's time that its stamps may run backwards by, as they jitter."""

    def __init__(self, file: h5py.File, path: Path) -> None:
        """Check the layout.

        Raises
        ------
        BadInputError
            When it is another layout, or a newer one than those that are known.
        """
        self._path = path
        attributes = file.attrs
        version = f"{attributes['H5DS_VERSION_MAJOR']}.{attributes['H5DS_VERSION_MINOR']}"
        if version not in VERSIONS:
            raise BadInputError(f"{path} has H5DS version {version}; known are those up to {VERSIONS[-1]}")
        bits = attributes.get("bits")
        if not isinstance(bits, int | np.integer) or bits < 1 or not isinstance(file.get("crosspoints"), h5py.Group):
            raise BadInputError(f"{path} is not a whole file of arc2control: no size, or no group 'crosspoints'")
        self._bits = int(bits)
        self._crosspoints = file["crosspoints"]

    @staticmethod
    def recognises(file: h5py.File) -> bool:
        """Tell whether a file claims to be one."""
        return "H5DS_VERSION_MAJOR" in file.attrs and "H5DS_VERSION_MINOR" in file.attrs

    @property
    def crosspoints(self) -> int:
        """Number of crosspoints."""
        return len(self._crosspoints)

    def has_retention(self) -> bool:
        """Tell whether there are tables with times."""
        return any(True for _ in self._retention())

    def has_pulses(self) -> bool:
        """Tell whether a timeseries has a pulse in it."""
        return any(np.any(table["op_type"] & Operation.PULSE) for _, _, table in self._timeseries())

    def take_retention(self, collector: Collector, start: float) -> None:
        """Hand over all retention tables; the first read of each is `start` seconds old."""
        uneasy, worst = 0, 0.0
        for number, (address, dataset) in enumerate(self._retention()):
            used = int(dataset.attrs.get("NROWS", 0)) or dataset.shape[0]  # tables of fixed size leave NROWS at 0
            table = dataset[:used]
            lines = np.arange(1, used + 1)
            written = table["tstamp_s"] > 0
            collector.pass_over("row was never written", lines[~written])
            table, lines = table[written], lines[written]
            if not table.size:
                continue
            moment = 10**6 * table["tstamp_s"].astype(np.int64) + table["tstamp_us"].astype(np.int64)
            elapsed, jitter = self._in_order(1e-6 * (moment - moment[0]))
            rows = self._conductances(address, table["current"], table["read_voltage"])
            rows["time"] = start + elapsed
            rows["episode"] = np.full(table.size, float(number))
            rows["repeat"] = np.arange(table.size, dtype=np.float64)  # equal reads at equal times are two reads
            collector.take(rows, lines)
            if jitter:
                uneasy, worst = uneasy + 1, max(worst, jitter)
        if uneasy:
            collector.report.note(
                f"time stamps of {uneasy} retention tables run backwards by up to {worst:.3g} s: reads are kept in "
                "their order, at times halfway between the latest stamp before and the earliest one after"
            )

    def _in_order(self, stamps: FloatArray) -> tuple[FloatArray, float]:
        """Return times (rows,) that never run backwards, and by how much the stamps do, seconds.

        Stamps that jitter are put in the order of their rows. A step back by more than a share of the whole is no
        jitter: a clock was set. It is left as it is.
        """
        back = float(np.max(-np.diff(stamps), initial=0.0))
        if not 0 < back <= self.jitter * np.ptp(stamps):
            return stamps, 0.0
        latest = np.maximum.accumulate(stamps)
        earliest = np.minimum.accumulate(stamps[::-1])[::-1]
        times = (latest + earliest) / 2
        return times - times[0], back

    def take_timeseries(self, collector: Collector, interval: float) -> None:
        """Hand over all reads of the biasing histories, taking rows as `interval` seconds apart."""
        pulsed = self.has_pulses()
        state: dict[int, FloatArray] = {}
        for address, first, table in self._timeseries():
            at, height, width = _last_pulses(table, state.get(address))
            state[address] = np.array([at[-1] - table.size, height[-1], width[-1]], np.float64)
            read = (table["op_type"] & Operation.READ) > 0
            rows = self._conductances(address, table["current"][read], table["read_voltage"][read])
            since = (np.arange(table.size) - at)[read]
            rows["time"] = interval * since.astype(np.float64)
            if pulsed:
                rows |= {"pulse_voltage": height[read], "width": width[read]}
            collector.take(rows, first + np.flatnonzero(read) + 1)

    def _conductances(self, address: int, current: NDArray[np.float32], volts: NDArray[np.float32]) -> Rows:
        with np.errstate(divide="ignore", invalid="ignore"):
            conductance = 1e6 * current.astype(np.float64) / volts.astype(np.float64)
        return {"cell": np.full(current.size, float(address)), "conductance": conductance}

    def _retention(self) -> Iterator[tuple[int, h5py.Dataset]]:
        for address, group in self._groups():
            found: list[h5py.Dataset] = []
            group.visititems(lambda _, item, found=found: found.append(item) if _has(item, RETENTION) else None)
            yield from ((address, dataset) for dataset in found)

    def _timeseries(self) -> Iterator[tuple[int, int, NDArray[np.void]]]:
        """Yield address, number of the first row, and rows, piece by piece."""
        for address, group in self._groups():
            dataset = group.get("timeseries")
            if dataset is None:
                continue
            if not _has(dataset, TIMESERIES):
                expected = ", ".join(sorted(TIMESERIES))
                raise BadInputError(f"{self._path}: {dataset.name} lacks columns; expected {expected}")
            rows = int(dataset.attrs.get("NROWS", -1))
            if not 0 <= rows <= dataset.shape[0]:
                raise BadInputError(f"{self._path}: {dataset.name} does not say how many rows are in use (NROWS)")
            for start in range(0, rows, self.rows_at_once):
                yield address, start, dataset[start : min(start + self.rows_at_once, rows)]

    def _groups(self) -> Iterator[tuple[int, h5py.Group]]:
        for name, group in self._crosspoints.items():
            match = re.fullmatch(r"W(\d+)B(\d+)", name)
            if match is None or not isinstance(group, h5py.Group):
                raise BadInputError(f"{self._path}: 'crosspoints/{name}' is no crosspoint, such as W03B07")
            yield int(match[1]) * self._bits + int(match[2]), group


def _has(item: h5py.Group | h5py.Dataset, names: set[str]) -> bool:
    return isinstance(item, h5py.Dataset) and names <= set(item.dtype.names or ())


def _last_pulses(table: NDArray[np.void], before: FloatArray | None) -> tuple[IndexArray, FloatArray, FloatArray]:
    """Find for each row the row of the last pulse, its height (V) and width (ns); `before` is that of the rows before.

    Rows before any pulse count from the first row, with NaN for the pulse.
    """
    start = np.array([0.0, np.nan, np.nan]) if before is None else before
    number = np.where(table["op_type"] & Operation.PULSE, np.arange(table.size), -1)
    last = np.maximum.accumulate(number)
    at = np.where(last >= 0, last, int(start[0]))
    height = np.where(last >= 0, table["voltage"][last], start[1])
    width = np.where(last >= 0, 1e9 * table["pulse_width"][last].astype(np.float64), start[2])
    return at, height.astype(np.float64), width
