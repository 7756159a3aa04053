"""What was measured is kept somewhere when the disk takes no more: the file beside it, whole and readable."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest

from hwloop.errors import BadInputError
from hwloop.files.measurement_reader import read_measurements
from hwloop.files.measurement_writer import MeasurementWriter
from hwloop.files.measurements import Experiment
from hwloop.files.safe_file import SafeFile
from tests.files.test_measurement_files import some_cells, some_reads


@pytest.fixture
def full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of this test, whose disk takes nothing more once a file is to be put in place; returns the home."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setattr(Path, "home", lambda: home)

    def sync(file: SafeFile) -> None:
        file.error = OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(SafeFile, "sync", sync)
    return home


def test_reads_that_have_no_room_are_kept_at_home_once(tmp_path: Path, full_disk: Path) -> None:
    reads = some_reads(50)
    with MeasurementWriter(tmp_path / "m.h5", "w") as writer:
        one = writer.begin(Experiment.DRIFT, some_cells(), {"backend": "sim:x", "temperature": 300.0, "averages": 4})
        one.append(reads)
        for told in (1, 0):  # later errors tell of it no more, and write no second file
            with pytest.raises(BadInputError, match="No space left on device") as caught:
                writer.commit()
            assert len(getattr(caught.value, "__notes__", [])) == told
        (kept,) = full_disk.iterdir()
        assert kept.name.startswith("m.rescued-")
        assert not (tmp_path / "m.h5").exists()
    (found,) = read_measurements(kept)
    assert np.array_equal(found.reads.conductance, reads.conductance)


def test_without_any_room_the_error_says_so(tmp_path: Path, full_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: SafeFile, path: Path) -> None:
        path.write_bytes(b"x")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(SafeFile, "copy_to", refuse)
    monkeypatch.setattr("hwloop.files.safe_file.tempfile.gettempdir", lambda: str(tmp_path))
    with MeasurementWriter(tmp_path / "m.h5", "w") as writer, pytest.raises(BadInputError) as caught:
        writer.commit()
    assert any("no place was found for what was done" in note for note in caught.value.__notes__)
    assert not list(full_disk.iterdir())
    assert not list(tmp_path.glob("*.rescued-*")), "half a file is no help"
