"""The file of a calibration: files written before still open, and a hostile one costs no more than looking at it."""

from __future__ import annotations

import gzip
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

import hwloop
from hwloop.calibration.certificate.certificate import Calibration
from hwloop.calibration.certificate.layout import LARGEST_SMALL
from hwloop.errors import BadInputError
from tests.calibration import made_up

CHIP = "sim:hermes-core?rows=16&columns=12&seed=1"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with hwloop.connect(CHIP) as chip:
        made_up.calibration(chip).save(tmp_path / "c.h5")
    return tmp_path / "c.h5"


def test_arrays_of_cells_and_devices_are_packed_and_lists_are_exact(path: Path) -> None:
    with h5py.File(path) as file:
        cells, offsets = (file[f"cores/0000/converters/{name}"] for name in ("cells", "offset"))
        assert (cells.ndim, cells.dtype, cells.compression, cells.shuffle) == (2, np.float32, "gzip", True)
        assert (offsets.ndim, offsets.dtype, offsets.compression) == (1, np.float64, None)
        shift = file["cores/0000/programming_curve/shift"]
        assert (shift.ndim, shift.dtype, shift.compression) == (4, np.float32, "gzip")


def test_a_file_of_format_1_still_opens(tmp_path: Path) -> None:
    """Written before the fields of its results were renamed, and compared with what it said then."""
    stored = Path(__file__).with_name("format-1.cal.h5.gz")
    (tmp_path / "old.cal.h5").write_bytes(gzip.decompress(stored.read_bytes()))
    old = Calibration.load(tmp_path / "old.cal.h5")
    assert old.measured() == [
        "devices", "converters", "gains", "trims", "wires", "programming_curve", "ranges", "floor",
    ]  # fmt: skip
    assert (old.chip.name, old.chip.rows, old.seed, old.temperature) == ("sim:hermes-core", 16, 5, 300.0)
    with h5py.File(tmp_path / "old.cal.h5") as file:
        converters = file["cores/0000/converters"]
        for field, stored_name in (
            ("second_order", "square"),
            ("third_order_sigma", "cubic_sigma"),
            ("row_second_order", "row_square"),
            ("row_third_order", "row_cubic"),
            ("unresponsive", "silent"),
            ("offset", "offset"),
        ):
            assert np.array_equal(getattr(old.cores[0].converters, field), converters[stored_name][()]), field
        assert old.cores[0].programming_curve.midpoint == file["cores/0000/programming_curve/midpoint"][()]


def test_names_in_files_stay(path: Path) -> None:
    with h5py.File(path) as file:
        group = file["cores/0000/converters"]
        assert {"square", "square_sigma", "cubic", "cubic_sigma", "row_square", "row_cubic", "silent"} <= set(group)
        assert "second_order" not in group
        assert group["square"].attrs["description"].startswith("second-order deviation of each column's ADC")


def changed(path: Path, change: Callable[[h5py.File], None]) -> None:
    with h5py.File(path, "r+") as file:
        change(file)


def put(name: str, shape: tuple[int, ...], kind: object = "f4") -> Callable[[h5py.File], None]:
    """Put a dataset that takes no room on disk, whatever its shape, in the place of another."""

    def change(file: h5py.File) -> None:
        if name in file:
            del file[name]
        file.create_dataset(name, shape=shape, dtype=kind, chunks=True, compression="gzip")

    return change


def larger_chip(file: h5py.File) -> None:
    """State a geometry that allows 3 GB for one dataset."""
    file["chip"].attrs["rows"] = file["chip"].attrs["columns"] = 20_000
    for part in file["cores/0000"].values():
        for name in list(part):
            if part[name].shape:
                put(part[name].name, (20_000, 20_000))(file)


def many_links(file: h5py.File) -> None:
    """State a million cores that are all the same one, of a size that a single one may have."""
    file["chip"].attrs["cores"] = 1_000_000
    file["chip"].attrs["rows"] = file["chip"].attrs["columns"] = 1000
    put("cores/0000/gains/gain", (1000, 1000))(file)
    file["cores/0000/gains/gain"][...] = 0
    for name in list(file["cores/0000"]):
        for item in list(file[f"cores/0000/{name}"].values()):
            if item.shape and item.shape != (1000, 1000):
                put(item.name, (1000,))(file)
    for number in range(1, 200):
        file[f"cores/{number:04d}"] = file["cores/0000"]


HOSTILE = {
    "a large dataset": (put("cores/0000/gains/gain", (100_000, 100_000)), "gains/gain says it takes 40000000000 b"),
    "a large unknown one": (put("notes", (100_000, 100_000)), "notes says it takes 40000000000 bytes"),
    "a large chip": (larger_chip, "says it takes 1600000000 bytes"),
    "another shape": (put("cores/0000/gains/gain", (10, 10)), r"gains/gain has the shape \(10, 10\)"),
    "one core many times": (many_links, "would take more than 67 MB in memory"),
    "texts": (put("cores/0000/gains/gain", (12,), h5py.string_dtype()), "gains/gain holds no numbers"),
    "cores that are a number": (
        lambda file: (file.__delitem__("cores"), file.create_dataset("cores", data=1.0)),
        "not a whole calibration file",
    ),
    "a chip that is a number": (
        lambda file: (file.__delitem__("chip"), file.create_dataset("chip", data=1.0)),
        "not a whole calibration file",
    ),
    "rows that are a list": (lambda file: file["chip"].attrs.__setitem__("rows", [1, 2]), "not a whole calibration f"),
    "costs that are a list": (lambda file: file.attrs.__setitem__("cost_json", "[1]"), "cost_json is no JSON object"),
    "dates that are numbers": (lambda file: file.attrs.__setitem__("dates_json", '{"a": 1}'), "dates_json is no JSON"),
    "deep JSON": (lambda file: file.attrs.__setitem__("settings_json", "[" * 30_000), "not a whole calibration file"),
    "a date beyond the calendar": (
        lambda file: file.attrs.__setitem__("created", "9999-12-31T00:00:00+00:00"),
        "a date beyond the calendar",
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_is_refused_before_it_costs_anything(path: Path, kind: str) -> None:
    change, complaint = HOSTILE[kind]
    changed(path, change)
    tracemalloc.start()
    try:
        with pytest.raises(BadInputError, match=complaint):
            Calibration.load(path)
        assert tracemalloc.get_traced_memory()[1] < LARGEST_SMALL / 4
    finally:
        tracemalloc.stop()


def test_a_calibration_is_a_line_and_a_table(path: Path) -> None:
    known = Calibration.load(path)
    assert repr(known).startswith("<Calibration of sim:hermes-core simulated-1")
    assert repr(known).endswith(", 2026-01-02: devices, converters, gains, trims, programming curve of 1 core>")
    for part in (known.cores[0], *known.cores[0].parts().values()):
        assert "\n" not in repr(part)
        assert len(repr(part)) < 120
    table = known._repr_html_()
    assert table.count("<tr>") == 6
    assert re.search(">converters</td><td[^>]*>2026-01-02 03:04</td><td[^>]*>2026-01-09</td>", table)
