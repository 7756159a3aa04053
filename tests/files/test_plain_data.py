"""Plain objects, fingerprints of files, and measurements made of arrays: there and back, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hwloop.errors import BadInputError
from hwloop.files.hdf5 import FINGERPRINT, fingerprint
from hwloop.files.measurements import Experiment, Mark, Measurement
from hwloop.files.plain_data import entry_of, value_of


@dataclass(frozen=True)
class Inner:
    """Holds anything."""

    value: Any


@dataclass(frozen=True)
class Outer:
    """Holds two of them."""

    first: Inner
    second: tuple[Inner, ...]


def back(value: Any) -> Any:
    return value_of(entry_of(value), [Inner, Outer])


@pytest.mark.parametrize(
    "value",
    [
        None, True, 3, 2.5, "text", (1, (2, None)), {"a": (1,), "b": {"c": "d"}},
        datetime(2026, 3, 4, 5, 6, tzinfo=UTC), Outer(Inner(1), (Inner("a"), Inner((2.5,)))), (), {},
    ],
)  # fmt: skip
def test_plain_values_come_back_as_they_were(value: object) -> None:
    found = back(value)
    assert found == value
    assert type(found) is type(value)


def test_arrays_keep_their_type_and_place() -> None:
    first, second = np.array([1, 2], np.int16), np.array([[0.5]], np.float32)
    entry = entry_of({"a": first, "b": Inner((second, first))})
    assert entry.told == {
        "value": {
            "named": {
                "a": {"array": 0},
                "b": {
                    "object": "Inner",
                    "fields": {"value": {"several": [{"array": 1}, {"array": 2}]}},
                },
            }
        }
    }
    found = value_of(entry, [Inner])
    assert (found["a"].dtype, found["a"].tolist()) == (np.int16, [1, 2])
    assert (found["b"].value[0].dtype, found["b"].value[0].tolist()) == (np.float32, [[0.5]])
    assert back(np.float64(2.5)) == 2.5
    assert type(back(np.int64(3))) is int


@pytest.mark.parametrize("value", [Inner, [1], {1, 2}, object()])
def test_what_is_not_plain_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="is no plain value"):
        entry_of(value)


def test_classes_that_were_not_named_are_not_made() -> None:
    with pytest.raises(KeyError):
        value_of(entry_of(Inner(1)), [Outer])


# ---- fingerprints --------------------------------------------------------------------------------------------


def made(path: Path, **changed: Any) -> str:
    """The fingerprint of a file of which one thing may be changed."""
    say = {
        "name": "x",
        "values": np.array([1, 2, 3, 4], np.int16),
        "of_file": 1,
        "of_group": "a",
        "own": "abc",
    } | changed
    with h5py.File(path, "w") as file:
        file.attrs["seed"] = say["of_file"]
        file.attrs[FINGERPRINT] = say["own"]
        group = file.create_group("g")
        group.attrs["text"] = say["of_group"]
        group[say["name"]] = say["values"]
        return fingerprint(file)


def test_a_fingerprint_tells_names_attributes_types_shapes_and_values(tmp_path: Path) -> None:
    first = made(tmp_path / "a.h5")
    assert len(first) == 64
    assert made(tmp_path / "b.h5") == first
    assert made(tmp_path / "b.h5", own="another") == first
    values = np.array([1, 2, 3, 4], np.int16)
    others = [
        made(tmp_path / "b.h5", **{name: value})
        for name, value in (
            ("name", "y"), ("of_file", 2), ("of_group", "b"), ("values", values.astype(np.uint16)),
            ("values", values.reshape(2, 2)), ("values", values[::-1].copy()),
        )
    ]  # fmt: skip
    assert len({first, *others}) == 7


# ---- measurements of arrays ----------------------------------------------------------------------------------

READS = np.array([[5.0, 8.0], [np.nan, 7.9], [4.5, 7.0]])


def test_a_read_is_left_out_where_there_was_none() -> None:
    one = Measurement.of("programming", [1.0, 10.0, 60.0], READS, [6.0, 9.0], 300.0, attributes={"chip": "hermes"})
    assert one.reads.cell.tolist() == [0, 1, 1, 0, 1]
    assert one.reads.time.tolist() == [1.0, 1.0, 10.0, 60.0, 60.0]
    assert one.reads.conductance.tolist() == [5.0, 8.0, 7.9, 4.5, 7.0]
    assert set(one.reads.temperature) == {300.0}
    assert one.cells.target is not None
    assert one.cells.target.tolist() == [6.0, 9.0]
    assert (one.experiment, one.attributes) == (Experiment.PROGRAMMING, {"chip": "hermes"})
    assert np.isnan(Measurement.of(Experiment.DRIFT, [1.0, 2.0, 3.0], READS).cells.target).all()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("drift", [1.0, 2.0], READS), r"time \(2,\) and conductance \(3, 2\) must be \(times,\) and \(times, cells\)"),
        (("drift", [[1.0], [2.0], [3.0]], READS), r"time \(3, 1\)"),
        (("drift", [1.0, 2.0, 3.0], READS[:, 0]), r"conductance \(3,\) must be"),
        (("drift", [1.0, 2.0, 3.0], READS[:, :, None]), r"conductance \(3, 2, 1\) must be"),
        (("drift", [1.0, 2.0, 3.0], READS, [1.0, 2.0, 3.0]), r"target \(3,\) must have a value for each of 2 cells"),
        (("drift", [1.0, 2.0, 3.0], READS, [[1.0, 2.0]]), r"target \(1, 2\) must have"),
        (
            ("programming-curve", [1.0], READS[:1]),
            "experiment 'programming-curve': arrays of ages and conductances are",
        ),
        ((Experiment.PULSE_RESPONSE, [1.0], READS[:1]), "experiment 'pulse-response'"),
        (("drif", [1.0], READS[:1]), "experiment 'drif'"),
    ],
)
def test_arrays_that_are_no_measurement(words: tuple[Any, ...], complaint: str) -> None:
    with pytest.raises(BadInputError, match=complaint):
        Measurement.of(*words)


def test_a_table_has_a_row_for_each_read_with_what_is_known_of_its_cell() -> None:
    one = Measurement.of("drift", [1.0, 10.0, 60.0], READS, attributes={"backend": "sim:x"})
    one.cells.mark[1] = Mark.STUCK_RESET
    table = one.table()
    assert list(table)[:2] == ["experiment", "cell"]
    assert table["mark"].tolist() == ["good", "stuck_reset", "stuck_reset", "good", "stuck_reset"]
    assert set(table["experiment"]) == {"drift"}
    assert {len(column) for column in table.values()} == {5}
    html = one._repr_html_()
    assert [word in html for word in ("1s to 1min", "sim:x", ">1<", ">5<")] == [True] * 4
    assert repr(one) == "<Measurement of drift: 2 cells, 5 reads>"
