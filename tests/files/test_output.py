"""A file that a job writes: one writer, replaced in one step, and nobody else's file is touched."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from hwloop.errors import BadInputError, OutputWarning
from hwloop.files import output
from hwloop.files.output import OutputFile, replace_file, write_file


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664), (0o027, 0o640)])
def test_a_new_file_has_the_permissions_that_the_umask_leaves(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        write_file(tmp_path / "run.h5", b"one", force=False)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "run.h5").stat().st_mode) == mode


def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    path.write_bytes(b"old")
    path.chmod(0o640)
    write_file(path, b"new", force=True)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_force_through_a_link_replaces_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    real, link = tmp_path / "disk" / "run.h5", tmp_path / "run.h5"
    real.write_bytes(b"old")
    link.symlink_to(real)
    write_file(link, b"new", force=True)
    assert link.is_symlink()
    assert real.read_bytes() == b"new"
    assert os.listdir(tmp_path / "disk") == ["run.h5"]


def test_a_link_that_leads_nowhere_yet_is_filled(tmp_path: Path) -> None:
    (tmp_path / "run.h5").symlink_to(tmp_path / "later.h5")
    write_file(tmp_path / "run.h5", b"new", force=False)
    assert (tmp_path / "later.h5").read_bytes() == b"new"
    assert (tmp_path / "run.h5").is_symlink()


def test_a_second_writer_is_refused_even_by_force(tmp_path: Path) -> None:
    file = OutputFile(tmp_path / "run.h5", force=False)
    with pytest.raises(BadInputError, match=r"run\.h5 is in use by process \d+ on .*; wait for it, or give"):
        OutputFile(tmp_path / "run.h5", force=True)
    file.close()
    OutputFile(tmp_path / "run.h5", force=True).close()


def test_a_file_that_appears_meanwhile_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    file = OutputFile(path, force=False)
    path.write_bytes(b"somebody else's")
    (tmp_path / "run-1.h5").write_bytes(b"and another")
    with pytest.warns(OutputWarning, match=r"run\.h5 was put there by somebody else .* goes on in .*run-2\.h5"):
        file.replace(b"hours of work")
    assert file.path == tmp_path / "run-2.h5"
    file.replace(b"hours of work, and one more")
    file.close()
    found = {item.name: item.read_bytes() for item in tmp_path.iterdir()}
    assert found == {
        "run.h5": b"somebody else's",
        "run-1.h5": b"and another",
        "run-2.h5": b"hours of work, and one more",
    }


def test_a_file_that_takes_the_place_of_ours_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    file = OutputFile(path, force=False)
    file.replace(b"first")
    file.replace(b"second, longer")
    (tmp_path / "other").write_bytes(b"somebody else's")
    os.replace(tmp_path / "other", path)
    with pytest.warns(OutputWarning, match="goes on in"):
        file.replace(b"third")
    file.close()
    assert path.read_bytes() == b"somebody else's"
    assert (tmp_path / "run-1.h5").read_bytes() == b"third"


def test_a_file_that_vanishes_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    file = OutputFile(path, force=False)
    file.replace(b"first")
    path.unlink()
    file.replace(b"second")
    file.close()
    assert path.read_bytes() == b"second"


def test_a_file_that_appears_between_look_and_write_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.h5"
    link = os.link

    def late(source: Path, target: Path) -> None:
        if target == path:
            path.write_bytes(b"somebody else's")
        link(source, target)

    monkeypatch.setattr(output.os, "link", late)
    file = OutputFile(path, force=False)
    with pytest.warns(OutputWarning, match="goes on in"):
        file.replace(b"mine")
    file.close()
    assert path.read_bytes() == b"somebody else's"
    assert (tmp_path / "run-1.h5").read_bytes() == b"mine"


def test_a_file_system_without_hard_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(output.os, "link", none)
    write_file(tmp_path / "run.h5", b"mine", force=False)
    assert (tmp_path / "run.h5").read_bytes() == b"mine"
    with pytest.raises(FileExistsError):
        replace_file(tmp_path / "run.h5", b"again", new=True)
    assert os.listdir(tmp_path) == ["run.h5"]


def test_going_on_with_a_file_replaces_it_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    path.write_bytes(b"half")
    file = OutputFile.going_on(path)
    file.replace(b"whole")
    file.close()
    assert path.read_bytes() == b"whole"
