"""Files of arc2control, written here as its own H5DataStore and retention module write them (H5DS 0.2)."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from hwloop.errors import BadInputError
from hwloop.files.measurements import Experiment
from hwloop.importers.files import ImportOptions, import_file
from hwloop.importers.layout import TextOptions
from tests.importers.conftest import Import

READ, PULSE, PULSEREAD = 1, 2, 3
TIMESERIES = [
    ("current", "<f4"),
    ("voltage", "<f4"),
    ("pulse_width", "<f4"),
    ("read_voltage", "<f4"),
    ("op_type", "<u4"),
]
RETENTION = [("read_voltage", "<f4"), ("current", "<f4"), ("tstamp_s", "<u8"), ("tstamp_us", "<u8")]


class Store:
    """Writes the layout of arc2control's H5DataStore, attribute by attribute."""

    def __init__(self, path: Path, minor: int = 2) -> None:
        self.path = path
        with h5py.File(path, "w") as file:
            for name, value in {
                "CLASS": "GROUP",
                "PYTABLES_FORMAT_VERSION": "2.1",
                "H5DS_VERSION_MAJOR": 0,
                "H5DS_VERSION_MINOR": minor,
                "TITLE": path.name,
                "words": 32,
                "bits": 32,
            }.items():
                file.attrs[name] = value
            for name in ("crossbar", "crosspoints", "synthetics"):
                file.create_group(name).attrs["CLASS"] = "GROUP"
            for name in ("voltage", "current"):
                file["crossbar"].create_dataset(name, shape=(32, 32), dtype=np.float32)
            file["crossbar"].attrs["words"] = file["crossbar"].attrs["bits"] = 32

    def timeseries(self, word: int, bit: int, rows: list[tuple[float, float, float, float, int]]) -> None:
        """A biasing history in a table that is longer than what is in use."""
        with h5py.File(self.path, "r+") as file:
            name = f"W{word:02d}B{bit:02d}"
            table = (
                file["crosspoints"]
                .create_group(name)
                .create_dataset("timeseries", shape=(1000,), dtype=TIMESERIES, maxshape=(None,), chunks=True)
            )
            table[: len(rows)] = np.array(rows, TIMESERIES)
            for attribute, value in {"NROWS": len(rows), "TITLE": name, "CLASS": "TABLE", "BASE_SIZE": 1000}.items():
                table.attrs[attribute] = value

    def retention(self, word: int, bit: int, stamp: int, rows: list[tuple[float, float, int, int]]) -> None:
        """A table of the retention module: of fixed size, so that its NROWS stays 0."""
        with h5py.File(self.path, "r+") as file:
            name = f"crosspoints/W{word:02d}B{bit:02d}/experiments/RET_{stamp}"
            table = file.create_dataset(name, shape=(len(rows),), dtype=RETENTION)
            for field, _ in RETENTION:
                table[:, field] = np.array(rows, RETENTION)[field]
            for attribute, value in {
                "NROWS": 0,
                "TITLE": name,
                "CLASS": "TABLE",
                "TSTAMP": stamp,
                "crosspoints": [[word, bit]],
                "BASE_SIZE": len(rows),
            }.items():
                table.attrs[attribute] = value


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "bench.h5")


def test_retention_tables_have_true_times(imported: Import, store: Store) -> None:
    read = (1e-6, 0.2, 0.0, 0.2, READ)
    store.timeseries(3, 7, [read, read])
    store.retention(3, 7, 111, [(0.2, 1.0e-6, 1_700_000_000, 900_000), (0.2, 0.9e-6, 1_700_000_002, 100_000)])
    store.retention(3, 7, 222, [(0.2, 0.8e-6, 1_700_000_500, 0), (0.2, 0.7e-6, 1_700_000_501, 0)])
    store.retention(0, 1, 333, [(0.5, 2.0e-6, 1_700_000_000, 0), (0.5, 1.9e-6, 1_700_000_001, 0)])
    found, report = imported(store.path, start=10.0)
    assert found.experiment is Experiment.DRIFT
    assert report.reads == 6
    # Tables of the same crosspoint are runs of their own: what happened in between is not in them.
    assert found.cells.address.tolist() == [1, 3 * 32 + 7, 3 * 32 + 7]
    np.testing.assert_allclose(found.reads.time, [10, 11, 10, 11.2, 10, 11], atol=1e-6)
    np.testing.assert_allclose(found.reads.conductance, [4, 3.8, 5, 4.5, 4, 3.5], rtol=1e-6)
    assert found.attributes["time_origin"] == "first read of each retention table"


def test_histories_have_no_times_of_their_own(imported: Import, store: Store) -> None:
    store.timeseries(0, 0, [(1e-6, 0.2, 0.0, 0.2, READ)] * 3)
    with pytest.raises(BadInputError, match=r"have no times.* such as --interval"):
        imported(store.path)
    found, _ = imported(store.path, interval=0.5)
    assert found.experiment is Experiment.READ_NOISE
    np.testing.assert_allclose(found.reads.time, [0, 0.5, 1.0])
    assert found.attributes["time_origin"] == "assumed: rows every 0.5 s"


def test_reads_know_the_pulse_before_them(imported: Import, store: Store) -> None:
    store.timeseries(
        1,
        2,
        [
            (1.0e-6, 0.2, 0.0, 0.2, READ),
            (9.0e-6, 1.5, 1e-6, 0.2, PULSE),
            (2.0e-6, 0.2, 0.0, 0.2, READ),
            (3.0e-6, 2.0, 2e-6, 0.2, PULSEREAD),
            (2.9e-6, 0.2, 0.0, 0.2, READ),
        ],
    )
    found, _ = imported(store.path, interval=1.0)
    assert found.experiment is Experiment.PROGRAMMING_CURVE
    assert found.cells.address.tolist() == [34]
    np.testing.assert_allclose(found.reads.conductance, [5, 10, 15, 14.5], rtol=1e-6)
    np.testing.assert_allclose(found.reads.time, [0, 1, 0, 1])
    np.testing.assert_allclose(found.reads.voltage, [np.nan, 1.5, 2.0, 2.0], rtol=1e-6)
    np.testing.assert_allclose(found.reads.width, [np.nan, 1000, 2000, 2000], rtol=1e-6)


def test_the_pulse_before_is_known_across_chunks(
    imported: Import, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    kinds = rng.choice([READ, PULSE, PULSEREAD], 200, p=[0.8, 0.1, 0.1])
    rows = [(1e-6 * k, 1.0 + k, 1e-6, 0.2, int(kind)) for k, kind in enumerate(kinds, start=1)]
    store.timeseries(0, 0, rows)
    whole, _ = imported(store.path, interval=1.0)
    monkeypatch.setattr("hwloop.importers.arc2control.Arc2File.rows_at_once", 7)
    parts, _ = imported(store.path, interval=1.0)
    for name, column in vars(whole.reads).items():
        np.testing.assert_array_equal(getattr(parts.reads, name), column)


def test_reads_at_no_voltage_are_left_out(imported: Import, store: Store) -> None:
    store.timeseries(0, 0, [(1e-6, 0.2, 0.0, 0.2, READ), (1e-6, 0.0, 0.0, 0.0, READ), (-1e-6, 0.2, 0.0, 0.2, READ)])
    _, report = imported(store.path, interval=1.0)
    assert report.reads == 1
    assert report.dropped["conductance is missing or not finite"].first_line == 2
    assert report.dropped["conductance is zero or negative"].first_line == 3


def test_version_01_has_the_same_layout(imported: Import, tmp_path: Path) -> None:
    old = Store(tmp_path / "old.h5", minor=1)
    old.timeseries(0, 0, [(1e-6, 0.2, 0.0, 0.2, READ)])
    found, _ = imported(old.path, interval=1.0)
    assert found.reads.conductance[0] == pytest.approx(5)


def test_other_and_broken_files_are_refused(tmp_path: Path, store: Store) -> None:
    def refused(path: Path, message: str) -> None:
        with pytest.raises(BadInputError, match=message):
            import_file(path, tmp_path / "out.h5", ImportOptions(interval=1.0))
        assert not (tmp_path / "out.h5").exists()

    store.timeseries(0, 0, [(1e-6, 0.2, 0.0, 0.2, READ)] * 900)
    content = store.path.read_bytes()
    with h5py.File(store.path, "r+") as file:
        file["crosspoints/W00B00/timeseries"].attrs["NROWS"] = 5000
    refused(store.path, r"how many rows are in use \(NROWS\)")
    with h5py.File(store.path, "r+") as file:
        file.attrs["H5DS_VERSION_MINOR"] = 3
    refused(store.path, r"H5DS version 0\.3; known are those up to 0\.2")
    with h5py.File(store.path, "r+") as file:
        file.attrs["H5DS_VERSION_MINOR"] = "two"
    refused(store.path, r"H5DS version 0\.two; known are those up to 0\.2")
    with h5py.File(store.path, "r+") as file:
        file.attrs["H5DS_VERSION_MINOR"] = 2
        del file["crosspoints/W00B00"]
    refused(store.path, "no crosspoints: nothing was measured")
    store.path.write_bytes(content[: len(content) // 2])
    refused(store.path, "damaged or cut off")
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["x"] = 1
    refused(tmp_path / "foreign.h5", "HDF5 of an unknown kind")
    refused(tmp_path / "missing.csv", "does not exist")
    refused(tmp_path, "is a folder")


def test_options_that_the_file_has_no_use_for_are_refused(tmp_path: Path, store: Store) -> None:
    def refused(options: ImportOptions, message: str) -> None:
        with pytest.raises(BadInputError, match=message):
            import_file(store.path, tmp_path / "out.h5", options)

    store.timeseries(0, 0, [(1e-6, 0.2, 0.0, 0.2, READ)] * 9)
    refused(ImportOptions(interval=1.0, start=5.0), "no retention tables, whose age --start-age is")
    refused(ImportOptions(interval=1.0, split_by="level"), "leave the options for text out")
    refused(ImportOptions(TextOptions("cell")), "leave the options for text out")
    store.retention(0, 0, 1, [(0.2, 1e-6, 1_700_000_000, 0), (0.2, 1e-6, 1_700_000_001, 0)])
    refused(ImportOptions(interval=1.0), "times of their own; leave --interval out")


def test_stamps_that_jitter_keep_the_order_of_their_rows(imported: Import, store: Store) -> None:
    rng = np.random.default_rng(2)
    stamps = 1_700_000_000 + np.arange(100.0) + np.append(0, rng.normal(0, 0.8, 99))
    rows = [(0.2, 1e-6 - 1e-10 * k, int(stamp), int(stamp % 1 * 1e6)) for k, stamp in enumerate(stamps.tolist())]
    store.retention(0, 0, 1, rows)
    found, report = imported(store.path, start=1.0)
    assert report.dropped == {}
    assert np.all(np.diff(found.reads.conductance) < 0), "in their order"
    assert np.all(np.diff(found.reads.time) >= 0)
    np.testing.assert_allclose(found.reads.time, 1 + np.arange(100), atol=2.5)
    assert "run backwards by up to" in report.notes[0]


def test_a_clock_that_was_set_is_no_jitter(imported: Import, store: Store) -> None:
    stamps = [0, 1, 2, 3, 1, 2, 3, 4]
    store.retention(0, 0, 1, [(0.2, 1e-6 - 1e-9 * k, 1_700_000_000 + s, 0) for k, s in enumerate(stamps)])
    found, report = imported(store.path)
    assert found.reads.time.tolist() == [0, 1, 2, 3, 3, 4]
    assert report.dropped["time runs backwards within a cell"].count == 2
