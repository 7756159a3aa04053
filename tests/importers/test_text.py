"""Delimited text: numbers, units, cells, and everything that is left out."""

from __future__ import annotations

import gzip
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from hwloop.errors import BadInputError
from hwloop.files.measurements import Experiment
from tests.importers.conftest import Import

MAP = "cell,time[s],conductance[uS]"


def test_a_plain_file(imported: Import) -> None:
    found, report = imported("7,0,5.0\n3,0,2.0\n7,10,4.5\n3,10,1.5\n", MAP)
    assert found.experiment is Experiment.DRIFT
    assert found.cells.address.tolist() == [7, 3], "in the order of the file"
    assert found.reads.cell.tolist() == [0, 1, 0, 1]
    assert found.reads.time.tolist() == [0, 0, 10, 10]
    assert found.reads.conductance.tolist() == [5.0, 2.0, 4.5, 1.5]
    assert np.all(np.isnan(found.reads.temperature))
    assert (report.rows, report.reads, report.cells, report.dropped) == (4, 4, 2, {})
    assert found.attributes["source"] == "lab.csv"
    assert len(str(found.attributes["source_sha256"])) == 64


@pytest.mark.parametrize("delimiter", ["\t", ",", ";", " ", "   "])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_delimiters_and_line_ends_are_found(imported: Import, delimiter: str, end: str) -> None:
    rows = [["1", "0", "5.5"], ["2", "0", "6.5"]]
    found, _ = imported(end.join(delimiter.join(row) for row in rows), MAP)
    assert found.reads.conductance.tolist() == [5.5, 6.5]


def test_quoted_fields_and_marks_in_ignored_columns(imported: Import) -> None:
    found, report = imported('"1","0","5.5"\n"2",0,"x"\n', MAP)
    assert found.reads.conductance.tolist() == [5.5]
    assert report.dropped["not a number"].first_line == 2
    found, _ = imported("1,0,5,a;b;c\n", MAP + ",")
    assert found.reads.conductance.tolist() == [5]


def test_a_first_line_with_a_bad_number_is_no_header(imported: Import) -> None:
    found, report = imported("1,0,oops\n1,1,5\n", MAP)
    assert found.reads.conductance.tolist() == [5]
    assert report.dropped["not a number"].first_line == 1


def test_decimal_commas_are_found(imported: Import) -> None:
    found, _ = imported("1;0,5;3,2\n", MAP)
    assert (found.reads.time.tolist(), found.reads.conductance.tolist()) == ([0.5], [3.2])


def test_a_comma_that_may_be_either_is_asked_about(imported: Import) -> None:
    with pytest.raises(BadInputError, match=r"'1,000' may have a decimal comma or a comma between thousands"):
        imported("1;1,000;3\n", MAP)
    assert imported("1;1,000;3\n", MAP, decimal=",")[0].reads.time.tolist() == [1]
    assert imported("1;1,000;3\n", MAP, decimal=".")[0].reads.time.tolist() == [1000]


def test_numbers_of_cells_cores_and_levels_are_whole(imported: Import) -> None:
    text = "1,0,0,1,5\n1e300,0,0,1,5\n1,x,0,1,5\n1,0.5,0,1,5\n1,,1,1,5\n2,0,0,1.5,5\n2,0,0,,5\n"
    found, report = imported(text, "cell,core,time[s],level,conductance[uS]")
    assert found.cells.address.tolist() == [1, 2]
    assert found.cells.level.tolist() == [1, -1]
    assert {reason: d.count for reason, d in report.dropped.items()} == {
        "cell is no whole number": 1,
        "not a number": 1,
        "core is no whole number": 2,
        "level is no whole number": 1,
    }


def test_header_comments_blank_lines_and_a_byte_order_mark(imported: Import) -> None:
    text = "\ufeff# measured on a Friday\naddr,t,g\n\n1,0,5\n# a pause\n1,10,4\n"
    found, report = imported(text, MAP)
    assert found.reads.conductance.tolist() == [5, 4]
    assert report.dropped == {}


def test_a_header_that_is_a_column_map_needs_no_other(imported: Import) -> None:
    found, _ = imported("cell,time[min],conductance[S],temperature[degC]\n1,1,5e-6,25\n")
    assert found.reads.time.tolist() == [60]
    assert found.reads.conductance[0] == pytest.approx(5)
    assert found.reads.temperature[0] == pytest.approx(298.15)


def test_resistance_and_current_become_conductance(imported: Import) -> None:
    found, _ = imported("1,0,200\n", "cell,time[s],resistance[kohm]")
    assert found.reads.conductance[0] == pytest.approx(5)
    found, _ = imported("1,0,1e-6,0.2\n", "cell,time[s],current[A],voltage[V]")
    assert found.reads.conductance[0] == pytest.approx(5)
    found, _ = imported("1,0,200,5.1\n", "cell,time[s],resistance[kohm],conductance[uS]")
    assert found.reads.conductance[0] == 5.1, "a conductance that is given is taken"


def test_a_wrong_unit_shows_where_conductance_and_resistance_are_given(imported: Import) -> None:
    lines = "cell,time,R,G\n1,0,2e5,5e-6\n2,0,oops,4e-6\n3,0,1e5,nan\n4,0,1e5,0\n"
    found, _ = imported(lines, "cell,time[s],resistance[ohm],conductance[S]")
    assert found.reads.conductance == pytest.approx([5, 4]), "a bad resistance is no fault of the conductance"
    with pytest.raises(BadInputError, match=r"contradict each other \(0\.005 uS, 2e\+05 ohm\); check their columns"):
        imported(lines, "cell,time[s],resistance[ohm],conductance[mS]")


def test_ignored_columns_may_hold_anything(imported: Import) -> None:
    found, report = imported("good,1,0,5\n???,1,10,4\n,1,20,3\n", ",cell,time[s],conductance[uS]")
    assert found.reads.conductance.tolist() == [5, 4, 3]
    assert report.dropped == {}


def test_levels_targets_and_verify_reads_belong_to_the_cell(imported: Import) -> None:
    text = "1,0,5,3,4.9,5.1\n1,10,4,9,9,9\n2,0,6,,,\n"
    found, _ = imported(text, MAP + ",level,target[uS],verify[uS]")
    assert found.cells.level.tolist() == [3, -1]
    np.testing.assert_array_equal(found.cells.target, [4.9, np.nan])
    np.testing.assert_array_equal(found.cells.verify, [5.1, np.nan])


def test_everything_that_is_left_out_is_counted_by_reason_with_its_first_line(imported: Import) -> None:
    lines = [
        "1,0,5",
        "1,10,nan",  # 2
        "1,10,",  # 3
        "1,20,-0.1",  # 4
        "1,30,0",  # 5
        "1,40,oops",  # 6
        "1,50",  # 7
        "1,60,1,1",  # 8
        "1.5,60,1",  # 9
        "x,60,1",  # 10
        "1,-1,4",  # 11
        "1,inf,4",  # 12
        "1,100,4",
        "1,100,4",  # 14
        "1,90,4",  # 15
        "2,90,4",
        "1,1_0,4",  # 17
    ]
    found, report = imported("\n".join(lines) + "\n", MAP)
    assert found.reads.conductance.tolist() == [5, 4, 4]
    assert {reason: (d.count, d.first_line) for reason, d in report.dropped.items()} == {
        "wrong number of columns": (2, 7),
        "not a number": (3, 6),
        "cell is no whole number": (1, 9),
        "time is missing or not finite": (1, 12),
        "time is negative": (1, 11),
        "conductance is missing or not finite": (2, 2),
        "conductance is zero or negative": (2, 4),
        "time runs backwards within a cell": (1, 15),
        "repeats the row before of the same cell": (1, 14),
    }
    assert report.rows == len(lines) == report.reads + sum(d.count for d in report.dropped.values())
    assert json.loads(str(found.attributes["import_report"])) == report.to_json()


def test_negative_conductances_are_kept_on_request(imported: Import) -> None:
    found, report = imported("1,0,5\n1,1,-0.1\n1,2,0\n", MAP, keep_non_positive=True)
    assert found.reads.conductance.tolist() == [5, -0.1, 0]
    assert report.dropped == {}


def test_repetitions_at_the_same_time_are_told_apart_by_their_number(imported: Import) -> None:
    found, _ = imported("1,1,42,0\n1,1,42,1\n1,1,43,2\n", MAP + ",repeat")
    assert found.reads.conductance.tolist() == [42, 42, 43]


def test_cells_measured_anew_are_split(imported: Import) -> None:
    text = "1,0,5,100\n2,0,6,100\n1,9,4,100\n1,0,3,140\n1,9,2,140\n"
    columns = MAP + ",temperature[degC]"
    _, report = imported(text, columns)
    assert report.dropped["time runs backwards within a cell"].count == 1
    found, report = imported(text, columns, split_by="temperature")
    assert report.dropped == {}
    assert found.cells.address.tolist() == [1, 2, 1]
    assert found.reads.cell.tolist() == [0, 1, 0, 2, 2]


def test_cores_tell_cells_apart(imported: Import) -> None:
    found, _ = imported("0,5,0,1\n1,5,0,2\n0,5,1,3\n", "core,cell,time[s],conductance[uS]")
    assert found.cells.core.tolist() == [0, 1]
    assert found.cells.address.tolist() == [5, 5]
    assert found.reads.cell.tolist() == [0, 1, 0]


def test_rows_of_samples_become_time_series(imported: Import) -> None:
    found, report = imported(
        "3,0.5,1e-6,2e-6,3e-6\n8,0,4e-6,,6e-6\n", "level,time[s],conductance[S]...", sample_rate=10
    )
    assert found.experiment is Experiment.READ_NOISE
    assert found.cells.level.tolist() == [3, 8]
    assert found.cells.address.tolist() == [0, 1]
    np.testing.assert_allclose(found.reads.time, [0.5, 0.6, 0.7, 0.0, 0.2])
    np.testing.assert_allclose(found.reads.conductance, [1, 2, 3, 4, 6])
    assert report.dropped["conductance is missing or not finite"].count == 1


def test_codes_become_conductances_by_a_stated_step(imported: Import) -> None:
    found, _ = imported("1,0,42\n", "cell,time[s],conductance[code]", code_step=2.0)
    assert found.reads.conductance.tolist() == [84]


def test_programming_curves_have_a_new_age_after_each_pulse(imported: Import) -> None:
    found, report = imported("1,1,5,100\n1,0.5,4,200\n1,0.5,4,300\n", MAP + ",amplitude[uA]")
    assert found.experiment is Experiment.PROGRAMMING_CURVE
    assert report.dropped == {}
    assert found.reads.amplitude is not None
    assert found.reads.amplitude.tolist() == [100, 200, 300]


def test_every_quantity_lands_in_its_own_column(imported: Import) -> None:
    columns = "nominal_time[s],core,width[us],temperature[K],cell,amplitude[uA],pulse_voltage[mV],time[ms],"
    found, _ = imported("11,2,3,4,5,6,7,8,9,10,11,12\n", columns + "conductance[nS],verify[uS],level,target[uS]")
    reads, cells = found.reads, found.cells
    assert found.experiment is Experiment.PROGRAMMING_CURVE
    assert {name: pytest.approx(values[0]) for name, values in reads.columns().items()} == {
        "cell": 0, "nominal": 11.0, "width": 3000.0, "temperature": 4.0, "amplitude": 6.0, "voltage": 0.007,
        "time": 0.008, "conductance": 0.009,
    }  # fmt: skip
    assert {name: pytest.approx(values[0]) for name, values in cells.columns().items()} == {
        "address": 5, "core": 2, "verify": 10.0, "level": 11, "target": 12.0, "mark": 0,
    }  # fmt: skip


@pytest.mark.parametrize(("characters", "cells"), [(1, 40), (17, 120), (100, 300)])
def test_no_cell_is_lost_between_chunks(imported: Import, characters: int, cells: int) -> None:
    address = np.random.default_rng(3).permutation(cells)
    found, report = imported("".join(f"{cell},0,{cell + 1}\n" for cell in address), MAP, block=characters)
    assert (report.rows, report.reads, report.cells) == (cells, cells, cells)
    np.testing.assert_array_equal(found.cells.address, address)
    np.testing.assert_array_equal(found.reads.conductance, found.cells.address[found.reads.cell] + 1)


def test_a_cell_goes_backwards_or_repeats_across_chunks_too(imported: Import) -> None:
    found, report = imported("1,10,5\n2,0,7\n1,9,4\n2,0,7\n1,10,6\n1,11,6\n", MAP, block=1)
    assert found.reads.time.tolist() == [10, 0, 10, 11]
    assert {reason: (d.count, d.first_line) for reason, d in report.dropped.items()} == {
        "time runs backwards within a cell": (1, 3),
        "repeats the row before of the same cell": (1, 4),
    }


def test_the_chunks_do_not_show(imported: Import) -> None:
    rng = np.random.default_rng(1)
    rows = [
        f"{c},{t},{g:.6g}" for t in range(60) for c, g in zip(rng.permutation(40), rng.normal(2, 1, 40), strict=True)
    ]
    for k in rng.choice(len(rows), 30, replace=False):
        rows[k] = rng.choice([rows[k - 1], rows[k].replace(",", ",x", 1), "5,3,1", rows[k] + ",1"])
    whole, report = imported("\n".join(rows) + "\n", MAP)
    parts, again = imported("\n".join(rows) + "\n", MAP, block=500)
    assert again == report
    for table in ("cells", "reads"):
        for name, column in vars(getattr(whole, table)).items():
            np.testing.assert_array_equal(getattr(getattr(parts, table), name), column)


def test_order_and_repetitions_against_a_plain_loop(imported: Import) -> None:
    rng = np.random.default_rng(2)
    cells, times, values = rng.integers(0, 5, 400), rng.integers(0, 40, 400), rng.integers(1, 3, 400)
    text = "".join(f"{c},{t},{g}\n" for c, t, g in zip(cells, times, values, strict=True))
    latest: dict[int, int] = {}
    before: dict[int, tuple[int, int]] = {}
    expected = []
    for c, t, g in zip(cells.tolist(), times.tolist(), values.tolist(), strict=True):
        if t >= latest.get(c, -1) and before.get(c) != (t, g):
            expected.append((c, t, g))
        latest[c] = max(t, latest.get(c, -1))
        before[c] = (t, g)
    found, _ = imported(text, MAP)
    rows = zip(found.cells.address[found.reads.cell], found.reads.time, found.reads.conductance, strict=True)
    assert [tuple(map(int, row)) for row in rows] == expected


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        ("1,0,5,7\n", MAP, "--columns names 3 columns, and line 1 has 4: '1,0,5,7'"),
        ("# x\n1,0\n", MAP, "--columns names 3 columns, and line 2 has 2: '1,0'"),
        ("1,0,5\n", None, "give --columns, as the first line is no column map"),
        ("cell,time[s],g\n1,0,5\n", None, "give --columns, as the first line is no column map"),
        ("", MAP, "has no lines of data"),
        ("# nothing\n\n", MAP, "has no lines of data"),
        ("a,b,c\n", MAP, "lab.csv has no rows of data"),
        ("1,0,nan\n", MAP, "conductance is missing or not finite (1, first in line 1)"),
        ("1,5\n", "cell,conductance[uS]", "no time[s] among the columns"),
        ("1,5,6\n", "level,conductance[uS]...", "rows of samples need their rate"),
        (b"1,\0\0\0,5\n\0\0\1\2\3", MAP, "no text in UTF-8"),
        (gzip.compress(b"1,0,5\n" * 10_000, mtime=0)[:-20], MAP, "cut off or damaged"),
        (gzip.compress(b"1,0,5\n" * 10_000, mtime=0)[:50] + b"#" * 30, MAP, "cut off or damaged"),
    ],
)
def test_what_cannot_be_imported_is_refused_and_leaves_nothing(
    imported: Import, tmp_path: Path, text: str | bytes, columns: str | None, message: str
) -> None:
    with pytest.raises(BadInputError, match=re.escape(message)) as caught:
        imported(text, columns)
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == ["lab.csv"]


def test_a_file_for_each_cell(imported: Import, tmp_path: Path) -> None:
    for name, g in (("dev2", 5.0), ("dev10", 7.0)):
        (tmp_path / f"{name}.csv").write_text(f"# resistance (ohm),time (s)\n{1e6 / g},0\noops,1\n{1e6 / g + 1},2\n")
    found, report = imported([tmp_path / "dev2.csv", tmp_path / "dev10.csv"], "auto", start=1.0)
    assert found.cells.name is not None
    assert found.cells.name.tolist() == ["dev2", "dev10"]
    assert found.cells.address.tolist() == [0, 1]
    assert found.reads.cell.tolist() == [0, 0, 1, 1]
    assert found.reads.time.tolist() == [1, 3, 1, 3]
    assert found.reads.conductance[::2] == pytest.approx([5, 7])
    assert found.attributes["source"] == "dev2.csv, dev10.csv"
    assert report.dropped["not a number"].to_json() == {"count": 2, "first_line": 3, "file": "dev2.csv"}


def test_files_that_say_their_cells_are_one_measurement(imported: Import, tmp_path: Path) -> None:
    (tmp_path / "monday.csv").write_text("cell,time[s],conductance[uS]\n1,0,5\n2,0,6\n")
    (tmp_path / "friday.csv").write_text("cell,time[s],conductance[uS]\n2,9,5.5\n1,9,4.5\n")
    found, _ = imported([tmp_path / "monday.csv", tmp_path / "friday.csv"])
    assert found.cells.address.tolist() == [1, 2]
    assert found.reads.cell.tolist() == [0, 1, 1, 0]
    assert found.cells.name is None


def test_names_of_cells_are_kept_over_all_chunks(imported: Import) -> None:
    rng = np.random.default_rng(5)
    which = rng.integers(0, 40, 400)
    text = "".join(f"K{c}\N{GREEK SMALL LETTER BETA},{t},{c + 1}.{t:03}\n" for t, c in enumerate(which))
    found, _ = imported(text, "cell[name],time[s],conductance[uS]", block=100)
    assert found.cells.name is not None
    names = found.cells.name[found.reads.cell]
    assert names.tolist() == [f"K{c}\N{GREEK SMALL LETTER BETA}" for c in which]
    assert found.cells.name.tolist() == list(dict.fromkeys(names.tolist())), "in the order of the file"


def test_word_and_bit_line_are_a_cell(imported: Import) -> None:
    found, _ = imported("3,7,1,5\n3,8,1,6\n3,7,2,4\n", "word,bit,time[s],conductance[uS]")
    assert found.cells.name is not None
    assert found.cells.name.tolist() == ["W3B7", "W3B8"]
    assert found.reads.cell.tolist() == [0, 1, 0]
    found, _ = imported("WL3,BL7,1,5\n", "word,bit,time[s],conductance[uS]")
    assert found.cells.name is not None
    assert found.cells.name.tolist() == ["WL3/BL7"]


def test_columns_of_cells_and_of_repeats(imported: Import) -> None:
    found, _ = imported("t,A,B\n1,5,6\n2,4,5\n", "time[s],conductance[uS]:cells")
    assert found.cells.name is not None
    assert found.cells.name.tolist() == ["A", "B"]
    assert found.reads.conductance.tolist() == [5, 6, 4, 5]
    found, _ = imported("7,1,5,5,4\n7,2,4,,3\n", "cell,time[s],conductance[uS]:repeats")
    assert found.cells.address.tolist() == [7]
    assert found.reads.time.tolist() == [1, 1, 1, 2, 2]
    assert found.reads.conductance.tolist() == [5, 5, 4, 4, 3], "a repeat is no row written twice"


def test_a_split_keeps_the_identity_of_a_cell(imported: Import) -> None:
    text = "FIB7,1,5,300\nFIB8,1,6,300\nFIB7,1,4,350\n"
    found, _ = imported(text, "cell[name],time[s],conductance[uS],temperature[K]", split_by="temperature")
    assert found.cells.name is not None
    assert found.cells.name.tolist() == ["FIB7", "FIB8", "FIB7"]
    assert found.cells.address.tolist() == [0, 1, 0]
    assert found.attributes["split_by"] == "temperature"
    found, _ = imported("1,1,1e-6,0.2\n1,1,2e-6,0.5\n", "cell,time[s],current[A],voltage[V]", split_by="voltage")
    assert found.cells.address.tolist() == [1, 1]


def test_reads_without_times_are_evenly_paced_if_the_user_says_so(imported: Import) -> None:
    found, _ = imported("1,5\n2,6\n1,oops\n1,4\n", "cell,conductance[uS]", interval=0.5, start=1.0)
    assert found.reads.time.tolist() == [1, 1, 2], "a read that cannot be used was taken all the same"
    assert found.attributes["time_origin"] == "assumed: reads every 0.5 s"
    with pytest.raises(
        BadInputError, match="line 2 has another number of columns, and ages counted by rows need every"
    ):
        imported("1,5\n2\n1,4\n", "cell,conductance[uS]", interval=0.5)


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ("temperature=300", [1, 2]), ("temperature!=300", [3, 4]), ("temperature>=3.1e2", [3, 4]), ("state=ok", [1, 3]),
        ("State != ok", [2, 4]), ("#5=ok", [1, 3]), ("time<3", [1, 2]), ("conductance <= 4", [2, 3, 4]),
    ],
)  # fmt: skip
def test_conditions_that_rows_must_meet(imported: Import, condition: str, kept: list[int]) -> None:
    text = "cell,time,G,T,state\n1,1,5,300,ok\n1,2,4,300.0,no\n1,3,3,310,ok\n1,4,2,310,\n"
    found, report = imported(text, "cell,time[s],conductance[uS],temperature[K],", where=(condition,))
    assert found.reads.time.tolist() == kept
    assert report.dropped[f"not where {condition}"].count == 4 - len(kept)


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("colour=red", "no column is called 'colour'; there are cell"),
        ("cell", "expected a column, one of"),
        ("#9=1", "there is no column 9"),
        ("cell>few", "only numbers can be larger or smaller"),
    ],
)
def test_conditions_that_cannot_be_met_are_refused(imported: Import, condition: str, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        imported("1,1,5\n", MAP, where=(condition,))


def test_a_shunt_in_series_takes_its_share_of_the_voltage(imported: Import) -> None:
    columns = "cell,time[s],shunt_voltage[mV],source_voltage[V]"
    found, _ = imported("1,1,100,0.3\n", columns, shunt=1e5)  # 1 uA through 0.2 V
    assert found.reads.conductance[0] == pytest.approx(5)
    with pytest.raises(BadInputError, match="--shunt is for a shunt_voltage"):
        imported("1,1,5\n", MAP, shunt=1e5)
