"""Measurement files: what is written is what is read, whatever happens in between."""

from __future__ import annotations

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from hwloop.errors import BadInputError
from hwloop.files.measurement_reader import open_measurements, read_measurements
from hwloop.files.measurement_writer import MeasurementWriter, Mode
from hwloop.files.measurements import Cells, Experiment, Mark, Reads
from hwloop.files.seal import SEAL_SIZE


def some_cells(count: int = 3) -> Cells:
    return Cells.at(
        np.arange(100, 100 + count),
        target=np.linspace(1.0, 9.0, count),
        level=np.arange(count, dtype=np.int32),
        mark=np.where(np.arange(count) == 1, Mark.STUCK_SET, Mark.GOOD).astype(np.uint8),
    )


def some_reads(count: int, seed: int = 0, cells: int = 3, **more: np.ndarray) -> Reads:
    rng = np.random.default_rng(seed)
    return Reads(
        cell=rng.integers(0, cells, count, dtype=np.int32),
        time=rng.uniform(1, 100, count),
        conductance=rng.normal(5, 2, count),
        temperature=np.full(count, 300.0),
        **more,
    )


def write_one(path: Path, reads: Reads | None = None, experiment: Experiment = Experiment.DRIFT) -> Path:
    with MeasurementWriter(path, "a") as writer:
        one = writer.begin(
            experiment, some_cells(), {"backend": "sim:hermes-core", "temperature": 300.0, "averages": 4}
        )
        one.append(reads or some_reads(10))
        one.end("complete")
        writer.finish()
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "meas.h5"


def test_round_trip_keeps_every_column_and_attribute(path: Path) -> None:
    reads = some_reads(5, amplitude=np.linspace(100, 400, 5), width=np.full(5, 100.0), nominal=np.full(5, 1.0))
    [found] = read_measurements(write_one(path, reads, Experiment.PROGRAMMING_CURVE))
    assert found.experiment is Experiment.PROGRAMMING_CURVE
    for name, column in some_cells().columns().items():
        np.testing.assert_array_equal(getattr(found.cells, name), column)
        assert getattr(found.cells, name).dtype == column.dtype
    for name, column in vars(reads).items():
        np.testing.assert_array_equal(getattr(found.reads, name), column)
    assert found.attributes["backend"] == "sim:hermes-core"
    assert found.attributes["temperature"] == 300.0
    assert found.attributes["averages"] == 4
    assert found.attributes["status"] == "complete"
    assert str(found.attributes["started"]).endswith("+00:00")


def test_several_experiments_in_one_file_also_of_the_same_kind(path: Path) -> None:
    for experiment in (Experiment.DRIFT, Experiment.PROGRAMMING, Experiment.DRIFT):
        write_one(path, experiment=experiment)
    assert [one.experiment.value for one in read_measurements(path)] == ["drift", "programming", "drift"]
    assert len(read_measurements(path, Experiment.DRIFT)) == 2
    with pytest.raises(BadInputError, match=r"no measurement 'read-noise'; it has drift, programming"):
        read_measurements(path, Experiment.READ_NOISE)


def test_every_dataset_says_its_units_and_what_it_is(path: Path) -> None:
    write_one(path)
    found = []

    def look(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            found.append(name)
            assert item.attrs["units"]
            assert item.attrs["description"]

    with h5py.File(path) as file:
        file.visititems(look)
        assert h5py.check_enum_dtype(file["0000_drift/cells/mark"].dtype)["STUCK_SET"] == Mark.STUCK_SET
    assert len(found) == 10


def test_tables_show_themselves_in_one_line(path: Path) -> None:
    [found] = read_measurements(write_one(path))
    assert repr(found) == "<Measurement of drift: 3 cells, 10 reads>"
    assert repr(found.cells) == "<Cells: 3, of which 2 good>"
    assert repr(found.reads) == "<Reads: 10 with cell, time, conductance, temperature>"


def test_every_column_comes_back_as_itself(path: Path) -> None:
    n = 4
    columns = {name: 10.0 * k + np.arange(n) for k, name in enumerate(("amplitude", "width", "voltage", "nominal"), 1)}
    cells = Cells.at(
        np.arange(7, 7 + n), core=np.full(n, 1), target=np.full(n, 2.0), verify=np.full(n, 3.0), level=np.full(n, 4)
    )
    reads = some_reads(n, cells=n, **columns)
    with MeasurementWriter(path) as writer:
        one = writer.begin(Experiment.PROGRAMMING_CURVE, cells)
        one.append(reads)
        one.append(reads)
        one.update_cells(verify=np.full(n, 5.0))
        writer.finish()
    [found] = read_measurements(path)
    for name, column in reads.columns().items():
        np.testing.assert_array_equal(found.reads.columns()[name], np.tile(column, 2), err_msg=name)
    for name, value in {"core": 1, "target": 2.0, "verify": 5.0, "level": 4, "mark": Mark.GOOD}.items():
        assert np.all(found.cells.columns()[name] == value), name
    assert found.cells.address.tolist() == [7, 8, 9, 10]
    with h5py.File(path) as file:
        units = {name: file["0000_programming-curve/reads"][name].attrs["units"] for name in reads.columns()}
    assert units == {
        "cell": "1", "time": "s", "conductance": "uS", "temperature": "K", "amplitude": "uA", "width": "ns",
        "voltage": "V", "nominal": "s",
    }  # fmt: skip


def test_a_finished_file_is_whole_before_its_writer_is_left(path: Path) -> None:
    with MeasurementWriter(path) as writer:
        writer.begin(Experiment.DRIFT, some_cells()).append(some_reads(10))
        writer.finish()
        assert not writer.file, "closed, so that nothing is written to what has its name already"
        assert len(read_measurements(path)[0].reads) == 10


def test_an_outlier_keeps_the_name_that_files_have_for_it(path: Path) -> None:
    with MeasurementWriter(path) as writer:
        writer.begin(Experiment.DRIFT, Cells.at(np.arange(2), mark=np.array([Mark.OUTLIER, Mark.SPENT], np.uint8)))
        writer.finish()
    with h5py.File(path) as file:
        names = h5py.check_enum_dtype(file["0000_drift/cells/mark"].dtype)
    assert names["WILD"] == 4
    assert "OUTLIER" not in names
    assert read_measurements(path)[0].cells.mark.tolist() == [Mark.OUTLIER, Mark.SPENT]


def test_chunks_give_all_reads_in_order_without_reading_them_whole(path: Path) -> None:
    reads = some_reads(1000)
    write_one(path, reads)
    with open_measurements(path) as [stored]:
        assert (stored.cell_count, stored.read_count) == (3, 1000)
        parts = list(stored.chunks(300))
    assert [len(part) for part in parts] == [300, 300, 300, 100]
    np.testing.assert_array_equal(np.concatenate([part.time for part in parts]), reads.time)


def test_readers_see_each_commit_while_the_file_is_written(path: Path) -> None:
    with MeasurementWriter(path) as writer:
        one = writer.begin(Experiment.DRIFT, some_cells())
        assert not path.exists()
        for k in range(3):
            one.append(some_reads(10, seed=k))
            writer.commit()
            [found] = read_measurements(path)
            assert len(found.reads) == 10 * (k + 1)
            assert found.attributes["status"] == "running"
        one.append(some_reads(10, seed=9))
    assert len(read_measurements(path)[0].reads) == 30, "what was not committed is lost, no more"
    assert os.listdir(path.parent) == [path.name]


def test_an_interrupted_experiment_goes_on(path: Path) -> None:
    with MeasurementWriter(path) as writer:
        one = writer.begin(Experiment.DRIFT, some_cells())
        one.append(some_reads(10))
        one.keep_state({"clock": np.array(12.5), "core0/g": np.arange(200_000.0)})
        writer.commit()
    with_state = path.stat().st_size
    with MeasurementWriter(path, "a") as writer:
        [again] = writer.experiments()
        np.testing.assert_array_equal(again.state()["core0/g"], np.arange(200_000.0))
        assert again.state()["clock"] == 12.5
        again.append(some_reads(5))
        again.update_cells(mark=np.full(3, Mark.SPENT, np.uint8))
        again.drop_state()
        again.end("complete")
        writer.finish()
    [found] = read_measurements(path)
    assert len(found.reads) == 15
    assert found.cells.mark.tolist() == [Mark.SPENT] * 3
    assert path.stat().st_size < with_state - 1_000_000, "the room of the state is given back"


KILLED = """
import sys, numpy as np
from hwloop.files.measurement_writer import MeasurementWriter
from hwloop.files.measurements import Cells, Experiment, Reads
with MeasurementWriter(sys.argv[1]) as writer:
    one = writer.begin(Experiment.READ_NOISE, Cells.at(np.arange(1)))
    for k in range(100_000):
        n = 2000
        one.append(Reads(np.zeros(n, np.int32), np.arange(k * n, (k + 1) * n, dtype=float), np.ones(n), np.ones(n)))
        writer.commit()
        print(k, flush=True)
"""


@pytest.mark.parametrize("delay", [0.0, 0.0037, 0.0081, 0.0143])
def test_a_killed_writer_leaves_a_whole_file_and_no_lock(path: Path, delay: float) -> None:
    with subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(20):
            committed = int(process.stdout.readline())
        time.sleep(delay)  # somewhere within an append, a flush, a copy or a rename
        process.send_signal(signal.SIGKILL)
        committed = max([committed, *map(int, process.stdout.read().split())])

    [found] = read_measurements(path)
    count = len(found.reads)
    assert count in (2000 * (committed + 1), 2000 * (committed + 2))
    np.testing.assert_array_equal(found.reads.time, np.arange(count))
    if shutil.which("h5dump"):
        subprocess.run(["h5dump", "-H", str(path)], check=True, capture_output=True)
    write_one(path)  # goes on, whatever working file the killed process left
    assert len(read_measurements(path)) == 2
    assert os.listdir(path.parent) == [path.name]


def test_a_second_writer_is_refused(path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(BadInputError, match="is in use by process"):
            MeasurementWriter(path, "a")
        process.kill()


@pytest.mark.parametrize("mode", ["a", "w"])
def test_a_second_writer_harms_nothing_of_the_first(path: Path, mode: Mode) -> None:
    write_one(path, some_reads(7))
    with MeasurementWriter(path, "a") as first:
        one = first.begin(Experiment.PROGRAMMING, some_cells())
        one.append(some_reads(20))
        with pytest.raises(BadInputError, match=r"meas\.h5 is in use by process .*; wait for it, or"):
            MeasurementWriter(path, mode)
        one.append(some_reads(5))
        first.finish()
    assert [len(found.reads) for found in read_measurements(path)] == [7, 25]
    write_one(path)  # and now it may
    assert len(read_measurements(path)) == 3


def test_a_link_in_place_of_the_working_file_is_not_followed(path: Path) -> None:
    precious = path.with_name("precious.txt")
    precious.write_text("mine")
    path.with_name(f".{path.name}.writing").symlink_to(precious)
    write_one(path)
    assert precious.read_text() == "mine"
    assert not path.is_symlink()


def test_what_cannot_be_begun_leaves_nothing(path: Path) -> None:
    path.write_bytes(b"no HDF5")
    with pytest.raises(BadInputError, match="not a readable HDF5 file"):
        MeasurementWriter(path, "a")
    assert os.listdir(path.parent) == [path.name]


def test_parts_in_other_files_are_refused_when_a_file_is_gone_on_with(path: Path) -> None:
    write_one(path)
    with h5py.File(path, "r+") as file:
        file["elsewhere"] = h5py.ExternalLink("other.h5", "/")
    with pytest.raises(BadInputError, match="has parts in other files"):
        MeasurementWriter(path, "a")


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_are_those_that_the_user_gives_new_files(path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        with MeasurementWriter(path) as writer:
            writer.begin(Experiment.DRIFT, some_cells())
            writer.commit()
            assert stat.S_IMODE(path.stat().st_mode) == mode
            writer.finish()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_private_file_stays_private(path: Path) -> None:
    write_one(path)
    path.chmod(0o600)
    write_one(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_existing_file_is_replaced_only_by_force(path: Path) -> None:
    write_one(path)
    with pytest.raises(BadInputError, match="exists; use --force"):
        MeasurementWriter(path)
    with MeasurementWriter(path, "w") as writer:
        writer.begin(Experiment.PROGRAMMING, some_cells()).end("complete")
        writer.finish()
    assert [one.experiment for one in read_measurements(path)] == [Experiment.PROGRAMMING]


@pytest.mark.parametrize(
    ("unit", "factor", "column"),
    [
        ("nS", 1e-3, "conductance"),
        ("mS", 1e3, "conductance"),
        ("S", 1e6, "conductance"),
        ("\N{MICRO SIGN}S", 1, "conductance"),
        ("ms", 1e-3, "time"),
        ("min", 60, "time"),
        ("h", 3600, "time"),
    ],
)
def test_units_convert(path: Path, unit: str, factor: float, column: str) -> None:
    reads = some_reads(10)
    write_one(path, reads)
    with h5py.File(path, "r+") as file:
        file[f"0000_drift/reads/{column}"].attrs["units"] = unit
    [found] = read_measurements(path)
    np.testing.assert_allclose(getattr(found.reads, column), factor * getattr(reads, column), rtol=1e-12)


def test_degrees_celsius_become_kelvin(path: Path) -> None:
    write_one(path)
    with h5py.File(path, "r+") as file:
        file["0000_drift/reads/temperature"].attrs["units"] = "degC"
    np.testing.assert_allclose(read_measurements(path)[0].reads.temperature, 573.15)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda g: g["reads/time"].attrs.__delitem__("units"), "/0000_drift/reads/time has no units"),
        (lambda g: g["reads/time"].attrs.__setitem__("units", "uS"), "time: the unit 'uS' cannot be read as s"),
        (lambda g: g["reads/time"].attrs.__setitem__("units", "fortnight"), "unit 'fortnight'"),
        (lambda g: g["cells"].__delitem__("mark"), "cells has no column 'mark'"),
        (lambda g: g.__delitem__("reads"), "/0000_drift/reads is missing"),
        (lambda g: g["reads/time"].resize((3,)), "reads: columns must be equally long"),
        (lambda g: g.attrs.__setitem__("experiment", "bake"), "unknown experiment 'bake'"),
        (lambda g: g["reads/cell"].__setitem__(0, 77), "reads name cells 0 to 77, but there are 3 cells"),
        (lambda g: g.file.attrs.__setitem__("format_version", 2), "format version 2; this hwloop reads up to 1"),
        (lambda g: g.file.attrs.__setitem__("format", "hwloop-run"), "no hwloop-measurement file"),
    ],
)
def test_a_spoilt_file_is_refused_with_the_place_and_the_reason(path: Path, spoil: object, message: str) -> None:
    write_one(path)
    with h5py.File(path, "r+") as file:
        spoil(file["0000_drift"])  # type: ignore[operator]
    with pytest.raises(BadInputError, match=re.escape(message)) as caught:
        read_measurements(path)
    assert str(path) in str(caught.value) or "reads name cells" in message
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("names", [{"GOOD": 0, "SCRATCHED": 1}, {"SCRATCHED": 1, "GOOD": 0, "LOST": 7}])
def test_an_unknown_mark_is_named(path: Path, names: dict[str, int]) -> None:
    write_one(path)
    with h5py.File(path, "r+") as file:
        cells = file["0000_drift/cells"]
        del cells["mark"]
        cells.create_dataset("mark", data=np.array([0, 1, 0], "u1"), dtype=h5py.enum_dtype(names, basetype="u1"))
        cells["mark"].attrs["units"] = "1"
    with pytest.raises(BadInputError, match="unknown mark 'SCRATCHED'; known: GOOD, STUCK_SET"):
        read_measurements(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(path: Path, share: float) -> None:
    write_one(path, some_reads(100_000))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(BadInputError, match=r"not a readable HDF5 file|damaged"):
        read_measurements(path)


def test_damage_inside_the_data_is_one_line(path: Path) -> None:
    write_one(path, some_reads(100_000))
    with h5py.File(path) as file:
        at = file["0000_drift/reads/conductance"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[at.byte_offset : at.byte_offset + at.size] = bytes(at.size)
    path.write_bytes(content)
    with pytest.raises(BadInputError, match="changed or damaged since it was written"):
        read_measurements(path)
    path.write_bytes(content[:-SEAL_SIZE])
    with pytest.raises(BadInputError, match="damaged or cut off") as caught:
        read_measurements(path)
    assert "\n" not in str(caught.value)


def test_reads_of_cells_that_do_not_exist_are_refused(path: Path) -> None:
    with MeasurementWriter(path) as writer:
        one = writer.begin(Experiment.DRIFT, some_cells(2))
        with pytest.raises(BadInputError, match="but there are 2 cells"):
            one.append(some_reads(50, cells=3))


def test_all_reads_of_an_experiment_have_the_same_columns(path: Path) -> None:
    with MeasurementWriter(path) as writer:
        one = writer.begin(Experiment.PROGRAMMING_CURVE, some_cells())
        one.append(some_reads(5))
        with pytest.raises(BadInputError, match="all reads need the columns"):
            one.append(some_reads(5, amplitude=np.ones(5)))


def test_the_example_in_the_repository_has_one_experiment_of_each_kind() -> None:
    example = Path(__file__).parents[2] / "data" / "example_measurement.h5"
    assert example.stat().st_size < 300_000
    found = read_measurements(example)
    # Devices of phase-change memory do not step: a pulse response is of other chips.
    assert {one.experiment for one in found} == set(Experiment) - {Experiment.PULSE_RESPONSE}
    assert all(one.attributes["status"] == "complete" for one in found)
    assert all(np.all(one.reads.time > 0) for one in found)


def test_columns_are_kept_in_pieces_that_are_read_one_at_a_time(path: Path) -> None:
    write_one(path, some_reads(20_000))
    with h5py.File(path) as file:
        datasets: list[h5py.Dataset] = []
        file.visititems(lambda _, item: datasets.append(item) if isinstance(item, h5py.Dataset) else None)
        of_reads = [one for one in datasets if one.shape == (20_000,)]
        assert {one.chunks for one in of_reads} == {(16_384,)}
        assert len(of_reads) >= 4
