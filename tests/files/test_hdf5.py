"""Run files: whole at every moment, with units, and refused with a reason when they cannot be used."""

from __future__ import annotations

import errno
import itertools
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from hwloop.errors import BadInputError
from hwloop.files import hdf5, output

NOT_ROOT = pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")


def written(path: Path, kind: str = hdf5.RUN_FORMAT) -> Path:
    with hdf5.WholeFileWriter(path, kind) as writer:
        hdf5.put(writer.file, "reached", np.arange(6.0).reshape(2, 3), "uS", "a small map")
        writer.commit()
    return path


# ---- writing -----------------------------------------------------------------------------------------------------


def test_a_committed_file_is_plain_hdf5_with_its_format(tmp_path: Path) -> None:
    with h5py.File(written(tmp_path / "run.h5")) as file:
        assert file.attrs["format"] == "hwloop-run"
        assert file.attrs["format_version"] == hdf5.FORMAT_VERSION
        assert file["reached"].shape == (2, 3)


def test_nothing_is_on_disk_before_the_first_commit(tmp_path: Path) -> None:
    with hdf5.WholeFileWriter(tmp_path / "run.h5", hdf5.RUN_FORMAT):
        assert [item.name for item in tmp_path.iterdir()] == [".run.h5.lock"]
    assert not list(tmp_path.iterdir())


def test_an_error_leaves_what_was_committed_last(tmp_path: Path) -> None:
    def spoil(writer: hdf5.WholeFileWriter) -> None:
        writer.file.attrs["status"] = "running"
        writer.commit()
        writer.file.attrs["status"] = "complete"
        raise RuntimeError("the chip fell off the bench")

    with (
        pytest.raises(RuntimeError, match="fell off"),
        hdf5.WholeFileWriter(tmp_path / "run.h5", hdf5.RUN_FORMAT) as writer,
    ):
        spoil(writer)
    with hdf5.open_file(tmp_path / "run.h5", hdf5.RUN_FORMAT) as file:
        assert file.attrs["status"] == "running"


def test_a_reader_keeps_the_version_it_opened(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    with hdf5.WholeFileWriter(path, hdf5.RUN_FORMAT) as writer:
        hdf5.append(writer.file, "mvm_error", 0.3, "1", "error of each step")
        writer.commit()
        with hdf5.open_file(path, hdf5.RUN_FORMAT) as earlier:
            hdf5.append(writer.file, "mvm_error", 0.2, "1", "error of each step")
            writer.commit()
            assert earlier["mvm_error"][:].tolist() == [0.3]
        with hdf5.open_file(path, hdf5.RUN_FORMAT) as later:
            assert later["mvm_error"][:].tolist() == [0.3, 0.2]
    assert [item.name for item in tmp_path.iterdir()] == ["run.h5"]


def test_commits_that_are_slow_become_rare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moments = itertools.count()  # every look at the clock is a second later, so that a commit takes a second
    monkeypatch.setattr(hdf5.time, "monotonic", lambda: float(next(moments)))
    commits = []
    monkeypatch.setattr(output, "replace_file", lambda path, content, new: commits.append(path))
    with hdf5.WholeFileWriter(tmp_path / "run.h5", hdf5.RUN_FORMAT) as writer:
        for _ in range(100):
            writer.commit_if_due()
    # A commit takes three looks, then five seconds pass until the next: about one in six times.
    assert 15 <= len(commits) <= 20


def test_commits_take_a_share_of_the_time_and_are_never_far_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(hdf5.time, "monotonic", lambda: now)
    timer = hdf5.CommitTimer(share=0.1, longest=10.0)
    assert timer.due(), "the first at once"
    with timer.committing():
        now += 0.5
    for later, due in ((4.9, False), (5.1, True)):
        now = 100.5 + later
        assert timer.due() is due, "half a second in five"
    timer.spent(30.0)
    began = now
    for later, due in ((9.9, False), (10.1, True)):
        now = began + later
        assert timer.due() is due


def test_quick_commits_are_not_nearer_than_the_shortest_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(hdf5.time, "monotonic", lambda: now)
    timer = hdf5.CommitTimer(share=0.1, shortest=2.0)
    timer.spent(0.0)
    for later, due in ((1.9, False), (2.1, True)):
        now = 100.0 + later
        assert timer.due() is due


@pytest.mark.parametrize("value", ["a word", "µS\nand more", "", True, 7, -(2**40), 0.1, float("nan"), None])
def test_attributes_are_those_that_h5py_writes(tmp_path: Path, value: hdf5.Attribute) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        one, other = file.create_group("one"), file.create_group("other")
        hdf5.put_attributes(one, {"earlier": 1, "name": value})
        other.attrs["name"] = "" if value is None else value
        found, expected = one.attrs.get_id("name"), other.attrs.get_id("name")
        assert found.get_type().equal(expected.get_type())
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        assert repr(one.attrs["name"]) == repr(other.attrs["name"])
        del found  # HDF5 does not replace an attribute that is open
        hdf5.put_attributes(one, {"name": "another"})
        assert dict(one.attrs) == {"earlier": 1, "name": "another"}


def test_a_commit_that_fails_is_tried_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5.time, "monotonic", lambda: 7.0)
    timer = hdf5.CommitTimer()
    with pytest.raises(OSError, match="full"), timer.committing():
        raise OSError("full")
    assert timer.due()


def test_a_full_disk_keeps_the_earlier_file_and_leaves_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.h5"
    path.write_bytes(b"earlier")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(output.os, "fsync", full)
    with pytest.raises(BadInputError, match=r"run\.h5 cannot be written \(No space left on device\)"):
        hdf5.replace_file(path, b"later")
    assert path.read_bytes() == b"earlier"
    assert [item.name for item in tmp_path.iterdir()] == ["run.h5"]


# ---- where a file can go -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("there.h5", "there.h5 exists; use --force"),
        ("folder", "folder is a folder; give a file name"),
        ("missing/run.h5", "the folder .*missing does not exist"),
        ("there.h5/run.h5", "the folder .*there.h5 does not exist|cannot be written"),
        ("x" * 300, "cannot be written"),
    ],
)
def test_unusable_outputs_are_refused(tmp_path: Path, name: str, complaint: str) -> None:
    (tmp_path / "there.h5").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(BadInputError, match=complaint):
        hdf5.check_writable(tmp_path / name, force=False)


def test_force_replaces_files_but_never_folders_or_devices(tmp_path: Path) -> None:
    (tmp_path / "there.h5").touch()
    assert hdf5.check_writable(tmp_path / "there.h5", force=True) == tmp_path / "there.h5"
    with pytest.raises(BadInputError, match="is a folder"):
        hdf5.check_writable(tmp_path, force=True)
    with pytest.raises(BadInputError, match="is a device or a pipe"):
        hdf5.check_writable(os.devnull, force=True)


@NOT_ROOT
def test_a_folder_without_permission_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(BadInputError, match=r"run\.h5 cannot be written \(Permission denied\)"):
        hdf5.check_writable(tmp_path / "run.h5", force=False)


# ---- datasets and attributes -------------------------------------------------------------------------------------


def test_arrays_carry_units_and_meaning(tmp_path: Path) -> None:
    with hdf5.open_file(written(tmp_path / "run.h5"), hdf5.RUN_FORMAT) as file:
        assert dict(file["reached"].attrs) == {"units": "uS", "description": "a small map"}
        assert hdf5.get(file, "reached", "uS").tolist() == [[0, 1, 2], [3, 4, 5]]
        with pytest.raises(BadInputError, match="reached has units 'uS', expected 'nS'"):
            hdf5.get(file, "reached", "nS")
        with pytest.raises(BadInputError, match="has no dataset 'target'"):
            hdf5.get(file, "target", "uS")


def test_putting_again_replaces(tmp_path: Path) -> None:
    with hdf5.WholeFileWriter(tmp_path / "run.h5", hdf5.RUN_FORMAT) as writer:
        for values in ([1.0], [2.0, 3.0]):
            hdf5.put(writer.file, "gain", values, "1", "column gains")
        assert hdf5.get(writer.file, "gain", "1").tolist() == [2.0, 3.0]


def test_attributes_know_no_none(tmp_path: Path) -> None:
    with hdf5.WholeFileWriter(tmp_path / "run.h5", hdf5.RUN_FORMAT) as writer:
        hdf5.put_attributes(writer.file, {"tensor": None, "seed": 3, "method": "gdp"})
        assert [writer.file.attrs[name] for name in ("tensor", "seed", "method")] == ["", 3, "gdp"]


# ---- opening -----------------------------------------------------------------------------------------------------


def newer(path: Path) -> None:
    with h5py.File(written(path), "a") as file:
        file.attrs["format_version"] = hdf5.FORMAT_VERSION + 1


def versionless(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["format"] = hdf5.RUN_FORMAT


def foreign(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["temperature"] = np.arange(5)


def truncated(path: Path) -> None:
    content = written(path).read_bytes()
    path.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: path.write_bytes(b""), "not a readable HDF5 file"),
        (lambda path: path.write_text("not HDF5"), "not a readable HDF5 file"),
        (truncated, "not a readable HDF5 file .*truncated"),
        (foreign, "is no hwloop-run file"),
        (lambda path: written(path, hdf5.COMPARISON_FORMAT), "is no hwloop-run file.*'hwloop-comparison'"),
        (newer, "format version 2; this hwloop reads up to 1: upgrade"),
        (versionless, "format version None"),
    ],
)
def test_files_that_are_no_runs_are_named(tmp_path: Path, make, complaint: str) -> None:
    path = tmp_path / "run.h5"
    make(path)
    with pytest.raises(BadInputError, match=rf"run\.h5.* {complaint}|run\.h5: {complaint}"):
        hdf5.open_file(path, hdf5.RUN_FORMAT)


# ---- attributes --------------------------------------------------------------------------------------------------


def test_attributes_are_read_back_as_plain_values(tmp_path: Path) -> None:
    values = {"text": "gdp", "count": 7, "share": 0.25, "flag": True, "none": None, "infinite": float("inf")}
    with hdf5.WholeFileWriter(tmp_path / "run.h5", hdf5.RUN_FORMAT) as writer:
        hdf5.put_attributes(writer.file.create_group("settings"), values)
        writer.commit()
    with hdf5.open_file(tmp_path / "run.h5", hdf5.RUN_FORMAT) as file:
        found = hdf5.get_attributes(file["settings"])
    assert found == values | {"none": ""}
    assert {name: type(value) for name, value in found.items()} == {
        "text": str, "count": int, "share": float, "flag": bool, "none": str, "infinite": float,
    }  # fmt: skip


def test_attributes_that_are_no_plain_values_are_left_out(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["array"] = [1.0, 2.0]
        file.attrs["empty"] = h5py.Empty("f8")
        file.attrs["complex"] = 1j
        file.attrs["number"] = np.float32(0.5)
        assert hdf5.get_attributes(file) == {"number": 0.5}
        assert hdf5.get_attributes(file.create_group("none")) == {}
