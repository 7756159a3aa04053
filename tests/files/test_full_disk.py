"""A disk that is full, a size limit, a folder that is gone: a clear line, no crash, and what was done is somewhere."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

import hwloop
from hwloop.errors import BadInputError
from hwloop.files.measurement_reader import read_measurements
from hwloop.files.resume_folder import folder_of
from hwloop.files.safe_file import SafeFile
from hwloop.jobs.import_measurement import import_measurement
from tests.conftest import OpenChip, gaussian

CHIP = "sim:hermes-core?rows=32&columns=32&seed=1"

FillUp = Callable[[int], None]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with room."""
    place = tmp_path / "home"
    place.mkdir()
    monkeypatch.setenv("HOME", str(place))
    return place


@pytest.fixture
def fill_up(monkeypatch: pytest.MonkeyPatch) -> FillUp:
    """`fill_up(n)` makes the disk take n more bytes at random places, and then nothing."""
    write = os.pwrite

    def fill(room: int) -> None:
        left = room

        def limited(descriptor: int, data: bytes, at: int) -> int:
            nonlocal left
            left -= len(data)
            if left < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(descriptor, data, at)

        monkeypatch.setattr(os, "pwrite", limited)

    return fill


@pytest.mark.parametrize("room", [0, 100, 3000, 50_000])
def test_hdf5_closes_a_file_that_the_disk_did_not_take_and_all_of_it_can_be_saved(
    room: int, tmp_path: Path, fill_up: FillUp
) -> None:
    fill_up(room)
    disk, values = SafeFile(tmp_path / "full.h5", keep=False), np.arange(20_000.0)
    with h5py.File(disk, "w") as file:
        file["values"] = values
        file.attrs["name"] = "x" * 1000
        file.flush()
        assert np.array_equal(file["values"], values)
    assert disk.error is not None
    disk.copy_to(tmp_path / "elsewhere.h5")
    disk.close()
    with h5py.File(tmp_path / "elsewhere.h5") as file:
        assert np.array_equal(file["values"], values)
        assert file.attrs["name"] == "x" * 1000


def table(folder: Path, rows: int) -> Path:
    """Reads made elsewhere, as a table."""
    path = folder / "reads.csv"
    lines = (f"{cell},{time},{5 + cell % 7}" for cell in range(rows // 10) for time in range(1, 11))
    path.write_text("cell,time[s],conductance[uS]\n" + "\n".join(lines))
    return path


def test_an_import_that_does_not_fit_is_kept_elsewhere(tmp_path: Path, home: Path, fill_up: FillUp) -> None:
    fill_up(4000)
    with pytest.raises(BadInputError, match=r"m.h5 cannot be written \(No space left on device\)") as caught:
        import_measurement(table(tmp_path, 3000), out=tmp_path / "m.h5")
    assert not (tmp_path / "m.h5").exists()
    (place,) = home.iterdir()
    assert caught.value.__notes__ == [f"what was done is in {place}"]
    assert sum(len(one.reads) for one in read_measurements(place)) == 3000


def test_a_measurement_that_does_not_fit_is_kept_elsewhere(
    tmp_path: Path, home: Path, fill_up: FillUp, open_chip: OpenChip
) -> None:
    fill_up(20_000)
    with pytest.raises(BadInputError, match="cannot be written"):
        hwloop.measure(open_chip(CHIP), "read-noise", cells=40, levels=2, samples=400, out=tmp_path / "m.h5")
    (place,) = home.iterdir()
    assert len(read_measurements(place)[0].cells) == 40


def test_a_size_limit_ends_an_import_with_one_line(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "hwloop", "import", str(table(tmp_path, 40_000)), "--out", "m.h5"]
    script = 'ulimit -f 8; exec "$@"'
    done = subprocess.run(
        ["bash", "-c", script, "bash", *words], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2, done.stderr
    assert "m.h5 cannot be written (File too large)" in done.stderr
    assert "no place was found" in done.stderr


def test_a_folder_that_goes_while_a_run_goes_on_costs_nothing(tmp_path: Path, home: Path, open_chip: OpenChip) -> None:
    folder = tmp_path / "results"
    folder.mkdir()

    def remove(done: int, total: int) -> None:
        if done == total and folder.exists():
            shutil.rmtree(folder)

    with pytest.raises(BadInputError) as caught:
        hwloop.program(
            open_chip(CHIP), gaussian(12, 16), hwloop.GDP(max_steps=6), out=folder / "run.h5", progress=remove
        )
    (place,) = home.iterdir()
    assert f"what was done is in {place}" in "; ".join(caught.value.__notes__)
    kept = hwloop.load(place)
    assert kept.tiles[0].pulses.sum() > 0


def test_a_last_commit_that_fails_keeps_a_complete_run(
    tmp_path: Path, home: Path, open_chip: OpenChip, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def refuse(source: str, target: Path) -> None:
        if Path(target) == tmp_path / "run.h5":
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    def full_from_now_on(done: int, total: int) -> None:
        if done == total:
            monkeypatch.setattr(os, "replace", refuse)

    with pytest.raises(BadInputError, match="No space left") as caught:
        hwloop.program(
            open_chip(CHIP),
            gaussian(12, 16),
            hwloop.GDP(max_steps=6),
            out=tmp_path / "run.h5",
            progress=full_from_now_on,
        )
    (place,) = home.iterdir()
    assert f"what was done is in {place}" in caught.value.__notes__
    assert hwloop.load(place).status == "complete"
    monkeypatch.setattr(os, "replace", replace)
    assert hwloop.resume(tmp_path / "run.h5").status == "complete"
    assert not folder_of(tmp_path / "run.h5").exists()
