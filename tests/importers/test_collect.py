"""Rows of numbers become cells and reads: what is left out, and how cells are told apart, chunk after chunk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hwloop.errors import BadInputError
from hwloop.files.measurements import Cells, Experiment, Reads
from hwloop.importers.collect import Collector


class Memory:
    """A measurement file that keeps what it is given."""

    def __init__(self) -> None:
        self.cells: list[Cells] = []
        self.reads: list[Reads] = []

    def begin(self, *told: object) -> Memory:
        return self

    def append(self, reads: Reads) -> None:
        self.reads.append(reads)

    def append_cells(self, cells: Cells) -> None:
        self.cells.append(cells)

    @property
    def cell_count(self) -> int:
        return sum(len(cells) for cells in self.cells)

    def column(self, name: str, of: str = "reads") -> list[float]:
        return [value for part in getattr(self, of) for value in getattr(part, name).tolist()]


def collector(experiment: Experiment = Experiment.DRIFT, **how: object) -> tuple[Collector, Memory]:
    memory = Memory()
    return Collector(memory, experiment, {}, **how), memory


def rows(first: int = 1, **columns: list[float]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    count = len(columns["time"])
    return {name: np.array(values, float) for name, values in columns.items()}, first + np.arange(count)


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("cell", 1.5, "cell is no whole number"),
        ("cell", 2.0**53, "cell is no whole number"),
        ("cell", np.nan, "cell is no whole number"),
        ("core", 0.5, "core is no whole number"),
        ("core", 2048.0, "core is no whole number"),
        ("level", 0.5, "level is no whole number"),
        ("level", 2.0**31, "level is no whole number"),
        ("time", np.nan, "time is missing or not finite"),
        ("time", -1e-9, "time is negative"),
        ("conductance", np.inf, "conductance is missing or not finite"),
        ("conductance", 0.0, "conductance is zero or negative"),
    ],
)
def test_a_row_that_cannot_be_used_is_counted_with_its_line(column: str, value: float, reason: str) -> None:
    taken, memory = collector()
    columns = {
        "cell": [1.0] * 3,
        "core": [0.0] * 3,
        "level": [2.0] * 3,
        "time": [1.0, 2.0, 3.0],
        "conductance": [5.0] * 3,
    }
    columns[column][1] = value
    taken.take(*rows(first=10, **columns))
    assert {why: (found.count, found.first_line) for why, found in taken.report.dropped.items()} == {reason: (1, 11)}
    assert memory.column("time") == [1.0, 3.0]
    assert (taken.report.rows, taken.report.reads) == (3, 2)


def test_the_largest_numbers_pass_and_unknown_levels_too() -> None:
    taken, memory = collector(keep_non_positive=True)
    taken.take(*rows(cell=[2.0**53 - 1, 3.0], level=[2.0**31 - 1, np.nan], time=[0.0, 0.0], conductance=[0.0, -1.0]))
    assert not taken.report.dropped
    assert memory.column("address", "cells") == [2**53 - 1, 3]
    assert memory.column("level", "cells") == [2**31 - 1, -1]


def test_cells_are_numbered_as_the_file_names_them_over_all_chunks() -> None:
    taken, memory = collector()
    taken.take(*rows(cell=[7, 3, 7], time=[1, 1, 2], conductance=[5, 6, 4], target=[50, 60, 50]))
    taken.take(*rows(first=4, cell=[9, 3, 1], time=[1, 2, 1], conductance=[7, 5, 8], target=[90, 60, 10]))
    assert memory.column("address", "cells") == [7, 3, 9, 1]
    assert memory.column("target", "cells") == [50, 60, 90, 10]
    assert memory.column("cell") == [0, 1, 0, 2, 1, 3]
    assert memory.column("conductance") == [5, 6, 4, 7, 5, 8]
    report = taken.finish(Path("x"))
    assert (report.rows, report.reads, report.cells) == (6, 6, 4)
    assert (report.conductance, report.time) == ((4.0, 8.0), (1.0, 2.0))


def test_cells_of_several_cores_are_told_apart() -> None:
    taken, memory = collector()
    taken.take(*rows(cell=[1, 1, 1], core=[0, 2047, 0], time=[1, 1, 2], conductance=[5, 6, 4]))
    assert memory.column("cell") == [0, 1, 0]
    assert memory.column("core", "cells") == [0, 2047]
    assert memory.column("address", "cells") == [1, 1]


@pytest.mark.parametrize(
    ("column", "value", "message"), [("cell", 2.0**40, "0 to 2.40"), ("core", -1.0, "not be negative")]
)
def test_numbers_that_cannot_be_told_apart_are_refused(column: str, value: float, message: str) -> None:
    taken, _ = collector()
    with pytest.raises(BadInputError, match=message):
        taken.take(*rows(**({"cell": [1.0], "core": [1.0], "time": [1.0], "conductance": [5.0]} | {column: [value]})))


def test_a_split_makes_another_cell_of_every_value() -> None:
    taken, memory = collector(split_by="voltage")
    taken.take(*rows(cell=[1, 1, 1, 1], voltage=[0.2, 0.1, 0.2, 0.1], time=[5, 1, 6, 2], conductance=[5, 6, 4, 3]))
    taken.take(*rows(cell=[1, 1], voltage=[0.1, 0.3], time=[3, 1], conductance=[2, 9]))
    assert memory.column("cell") == [0, 1, 0, 1, 1, 2]
    assert not taken.report.dropped
    with pytest.raises(BadInputError, match="nothing is called 'voltage' among the columns"):
        taken.take(*rows(cell=[1], time=[9], conductance=[1]))


def test_there_are_at_most_4096_values_to_split_by() -> None:
    taken, _ = collector(split_by="run")
    many = np.arange(4096.0).tolist()
    taken.take(*rows(run=many, time=many, conductance=[5.0] * 4096))
    with pytest.raises(BadInputError, match="'run' has more than 4096 values"):
        taken.take(*rows(run=[9999.0], time=[1.0], conductance=[5.0]))


def test_time_that_runs_backwards_within_a_cell_is_left_out_in_and_between_chunks() -> None:
    taken, memory = collector()
    taken.take(*rows(cell=[1, 2, 1, 1, 2], time=[5, 1, 4, 6, 2], conductance=[5, 6, 4, 3, 2]))
    taken.take(*rows(first=6, cell=[1, 2, 1], time=[5.5, 3, 6], conductance=[1, 1, 9]))
    assert memory.column("time") == [5, 1, 6, 2, 3, 6]
    (found,) = taken.report.dropped.values()
    assert list(taken.report.dropped) == ["time runs backwards within a cell"]
    assert (found.count, found.first_line) == (2, 3)


def test_programming_curves_begin_a_new_age_with_every_pulse() -> None:
    taken, memory = collector(Experiment.PROGRAMMING_CURVE)
    taken.take(*rows(cell=[1, 1], time=[5, 1], conductance=[5, 5], amplitude=[200, 210]))
    assert memory.column("time") == [5, 1]
    assert memory.column("amplitude") == [200, 210]


def test_a_row_that_repeats_the_one_before_of_its_cell_is_left_out() -> None:
    taken, memory = collector()
    taken.take(*rows(cell=[1, 2, 1, 1, 2], time=[1, 1, 1, 1, 1], conductance=[5, 5, 5, 4, 5]))
    taken.take(*rows(first=6, cell=[1, 2, 1], time=[1, 1, 1], conductance=[4, 6, 5], repeat=[0, 0, 0]))
    assert memory.column("conductance") == [5, 5, 4, 6, 5]
    found = taken.report.dropped["repeats the row before of the same cell"]
    assert (found.count, found.first_line) == (3, 3)
    again, kept = collector()
    again.take(*rows(cell=[1, 1], time=[1, 1], conductance=[5, 5], repeat=[0, 1]))
    assert kept.column("conductance") == [5, 5]


def test_what_holds_nothing_says_why() -> None:
    taken, _ = collector()
    with pytest.raises(BadInputError, match=r"file\.csv has no rows of data"):
        taken.finish(Path("file.csv"))
    taken.pass_over("no number", np.array([7, 3]))
    taken.take(*rows(first=9, cell=[1, 1], time=[-1, 1], conductance=[5, 0]))
    with pytest.raises(
        BadInputError, match=r"nothing could be imported from 4 rows: no number \(2, first in line 3\); .*"
    ):
        taken.finish(Path("file.csv"))


def test_a_report_says_what_it_counted() -> None:
    taken, _ = collector()
    taken.take(*rows(cell=[1, 1], time=[1, 2], conductance=[5, 4], temperature=[300, 301]))
    taken.pass_over("no number", np.array([], int))
    report = taken.finish(Path("x"))
    assert report.to_json() == {
        "rows": 2, "reads": 2, "cells": 1, "conductance_range": [4.0, 5.0], "time_range": [1.0, 2.0], "dropped": {},
        "questions": {}, "notes": [],
    }  # fmt: skip
    assert repr(report) == "<ImportReport: 2 reads of 1 cells from 2 rows>"
