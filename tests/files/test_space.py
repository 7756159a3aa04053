"""Room on the disk is asked for, and held."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

import pytest

from hwloop.errors import BadInputError
from hwloop.files import hdf5, output
from hwloop.files.space import Spare, check_space, in_words


def test_what_there_is_no_room_for_is_refused_in_one_line(tmp_path: Path) -> None:
    check_space(tmp_path / "run.h5", 1000)
    with pytest.raises(BadInputError, match=r"run.h5: the job will need up to 1e\+09 GB there, and .* are free; make"):
        check_space(tmp_path / "run.h5", 10**18)


def test_room_is_taken_and_given_up(tmp_path: Path) -> None:
    spare = Spare(tmp_path / "spare", 1 << 20)
    assert (tmp_path / "spare").stat().st_blocks * 512 >= 1 << 20
    assert spare.give_up()
    assert not spare.give_up()
    assert not list(tmp_path.iterdir())


def test_a_file_that_has_no_room_any_more_takes_what_was_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spare, replace = tmp_path / "spare", output.replace_file

    def full(path: Path, content: bytes, *, new: bool = False) -> None:
        if spare.exists():
            raise BadInputError(os.strerror(errno.ENOSPC))
        replace(path, content, new=new)

    monkeypatch.setattr(output, "replace_file", full)
    with hdf5.WholeFileWriter(tmp_path / "run.h5", hdf5.RUN_FORMAT) as file:
        spare.touch()  # somebody else's: it is not this file's to give up
        with pytest.raises(BadInputError):
            file.commit()
        file.hold(spare, 1000)
        file.commit()
    assert (tmp_path / "run.h5").is_file()
    assert not spare.exists()


def test_no_room_to_hold_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    said = r"there is no room for 1 MB .No space left on device.; make room"
    file = hdf5.WholeFileWriter(tmp_path / "run.h5", hdf5.RUN_FORMAT)
    with contextlib.closing(file), pytest.raises(BadInputError, match=said):
        file.hold(tmp_path / "spare", 10**6)
    assert [path.name for path in tmp_path.iterdir()] == []


def test_sizes_are_written_for_people() -> None:
    assert [in_words(size) for size in (10, 5600, 4_210_000, 3 * 10**9)] == ["0.01 kB", "5.6 kB", "4.21 MB", "3 GB"]
