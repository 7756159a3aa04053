"""What is left out of an import, and what is only asked about: each with its reason, its count and its first line."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from hwloop.typing import BoolArray, FloatArray, IndexArray, Json

Rows = dict[str, FloatArray]
"""Columns of rows in hwloop's units, each (rows,)."""
FAULTS = (
    "",
    "not a number",
    "out-of-range code of an instrument, such as 9.9e37 or OVLD",
    "the last line may be cut off: it has no line end",
)
"""What may be wrong with a field of a row, which `Rows` has as the column 'fault'."""

BACKWARDS = "time runs backwards within a cell"
"""A reason to leave a row out, which cells that were measured anew have."""
CLOCK = "time is a clock's, not an age: --start-age counts ages from the first read of each cell"
"""A reason to leave a row out."""
FUTURE = "time is no moment of our days in this unit: is it in milliseconds?"
"""A reason to leave a row out."""
NON_POSITIVE = "conductance is zero or negative"
"""A reason to leave a row out, which currents that are counted the other way round have."""


@dataclass(frozen=True)
class Plausible:
    """Within what reads of devices lie; what lies outside is asked about, not left out."""

    lowest: float = 1e-3
    """Conductance, uS: one nS. S taken for uS lies below it."""
    highest: float = 5e3
    """Conductance, uS: 200 ohm. uS taken for S or mS lies above it."""
    coldest: float = 273.15
    """Temperature, K. Degrees C taken for K lie below it, those of a bake as well."""
    hottest: float = 550.0
    """Temperature, K. K taken for degrees C lie above it."""
    oldest: float = 3.2e8
    """Age, seconds: ten years."""
    clock: float = 1e9
    """Time, seconds: 32 years. A time since 1970 lies above it."""
    future: float = 1e11
    """Time since 1970, seconds: the year 5138. Milliseconds since 1970 taken for seconds lie above it."""
    growth: float = 1.2
    """Ages of a drift measurement grow by this factor at least, from a thousand seconds on, or are no ages."""

    def questions(self, rows: Rows) -> Iterator[tuple[str, BoolArray]]:
        """Yield what is to be asked, and about which rows (rows,)."""
        conductance, time = np.abs(rows["conductance"]), rows["time"]
        yield f"conductance below {self.lowest:g} uS: is it in another unit?", conductance < self.lowest
        yield f"conductance above {self.highest:g} uS: is it in another unit?", conductance > self.highest
        yield f"age over {self.oldest / 3.156e7:.0f} years: is it in another unit?", time > self.oldest
        if "temperature" in rows:
            kelvin = rows["temperature"]
            yield f"temperature below {self.coldest:g} K: is it in degrees C?", kelvin < self.coldest
            yield f"temperature above {self.hottest:g} K: is it in K, not degrees C?", kelvin > self.hottest


@dataclass
class Dropped:
    """Rows that were left out, or are asked about, for one reason, and the first line (or row) where it happened."""

    count: int
    """Number of rows."""
    first_line: int
    """Line (or row) where it happened first, counted from 1."""
    file: str = ""
    """The file of that line, where there are several."""

    def to_json(self) -> dict[str, Json]:
        """Return what `hwloop import --json` prints."""
        return {name: value for name, value in vars(self).items() if value != ""}

    def where(self) -> str:
        """Say where it happened first."""
        return f"line {self.first_line}" + (f" of {self.file}" if self.file else "")


@dataclass(repr=False)
class ImportReport:
    """What came of an import."""

    rows: int = 0
    """Rows that were looked at."""
    reads: int = 0
    """Reads that were imported."""
    cells: int = 0
    """Cells that they are of."""
    conductance: tuple[float, float] = (math.inf, -math.inf)
    """Smallest and largest, uS: a wrong unit shows here."""
    time: tuple[float, float] = (math.inf, -math.inf)
    """Smallest and largest age, seconds."""
    dropped: dict[str, Dropped] = field(default_factory=dict)
    """By reason, in the words that the user reads."""
    questions: dict[str, Dropped] = field(default_factory=dict)
    """Reads that came in and are not plausible, by what is to be asked about them."""
    notes: list[str] = field(default_factory=list)
    """What was taken without being said by the file or the user."""
    file: str = ""
    """The file that is being read, where there are several."""

    def drop(self, reason: str, lines: IndexArray) -> None:
        """Count lines (n,) that were left out."""
        self._count(self.dropped, reason, lines)

    def ask(self, question: str, lines: IndexArray) -> None:
        """Count lines (n,) that are to be asked about."""
        self._count(self.questions, question, lines)

    def note(self, text: str) -> None:
        """Tell something once."""
        if text not in self.notes:
            self.notes.append(text)

    def take(self, time: FloatArray, conductance: FloatArray) -> None:
        """Count reads (n,) that were imported; ages in seconds, conductances in uS."""
        self.reads += time.size
        self.time = min(self.time[0], float(time.min())), max(self.time[1], float(time.max()))
        low, high = self.conductance
        self.conductance = min(low, float(conductance.min())), max(high, float(conductance.max()))

    def to_json(self) -> dict[str, Json]:
        """Return what `hwloop import --json` prints and the measurement file keeps."""
        return {
            "rows": self.rows,
            "reads": self.reads,
            "cells": self.cells,
            "conductance_range": list(self.conductance),
            "time_range": list(self.time),
            "dropped": {reason: found.to_json() for reason, found in self.dropped.items()},
            "questions": {question: found.to_json() for question, found in self.questions.items()},
            "notes": list(self.notes),
        }

    def __repr__(self) -> str:
        return f"<ImportReport: {self.reads:,} reads of {self.cells:,} cells from {self.rows:,} rows>"

    def _count(self, table: dict[str, Dropped], reason: str, lines: IndexArray) -> None:
        if not lines.size:
            return
        first = int(lines.min())
        found = table.setdefault(reason, Dropped(0, first, self.file))
        found.count += int(lines.size)
        if found.file == self.file:
            found.first_line = min(found.first_line, first)
