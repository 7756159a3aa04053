"""Two commands that mean the same file: the second is refused at once, and nothing of the first is lost."""

from __future__ import annotations

import json
import os
import signal
import warnings
from pathlib import Path

import numpy as np

import hwloop
from tests.cli.conftest import BRIEF, Command, Endless
from tests.conftest import gaussian


def test_a_second_program_into_the_same_file_is_refused(endless: Endless, command: Command) -> None:
    endless.wait_for_steps(2)
    for more in ((), ("--force",)):
        second = command("program", "w.npy", *BRIEF, "--out", str(endless.run), *more)
        assert second.exit_code == 2
        assert second.stderr.count("\n") == 1
    assert f"long.h5 is in use by process {endless.pid} on " in second.stderr
    assert "(hwloop program w.npy --backend" in second.stderr
    code, out, _ = endless.end(signal.SIGINT)
    assert code == 1
    assert json.loads(out)["status"] == "interrupted"
    assert hwloop.load(endless.run).interrupted
    assert not Path(".long.h5.lock").exists()


def test_what_a_killed_program_left_is_in_nobodys_way(endless: Endless, command: Command) -> None:
    endless.wait_for_steps(2)
    endless.end(signal.SIGKILL)
    second = command("program", "w.npy", *BRIEF, "--out", str(endless.run), "--force")
    assert second.exit_code == 0, second.stderr
    assert hwloop.load(endless.run).status == "complete"


def test_a_file_that_appears_while_a_run_goes_on_is_not_replaced(command: Command, monkeypatch) -> None:
    from hwloop.files.hdf5 import WholeFileWriter

    commit = WholeFileWriter.commit

    def late(writer: WholeFileWriter, *how: object) -> None:
        Path("run.h5").write_bytes(b"somebody else's")
        commit(writer, *how)

    monkeypatch.setattr(WholeFileWriter, "commit", late)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        result = command("program", "w.npy", *BRIEF, "--out", "run.h5", "--json")
    assert result.exit_code == 0, result.stderr
    assert Path("run.h5").read_bytes() == b"somebody else's"
    assert result.stderr.startswith("warning: run.h5 was put there by somebody else meanwhile and is left as it is;")
    assert json.loads(result.stdout)["run"] == "run-1.h5"
    assert hwloop.load("run-1.h5").status == "complete"


def test_force_through_a_link_fills_the_file_behind_it_with_the_rights_it_had(command: Command) -> None:
    Path("disk").mkdir()
    Path("disk/run.h5").write_bytes(b"old")
    Path("disk/run.h5").chmod(0o640)
    Path("run.h5").symlink_to("disk/run.h5")
    result = command("program", "w.npy", *BRIEF, "--out", "run.h5", "--force")
    assert result.exit_code == 0, result.stderr
    assert Path("run.h5").is_symlink()
    assert hwloop.load("disk/run.h5").status == "complete"
    assert os.stat("disk/run.h5").st_mode & 0o777 == 0o640


def test_a_run_is_as_private_as_the_umask_asks(command: Command) -> None:
    before = os.umask(0o077)
    try:
        assert command("program", "w.npy", *BRIEF, "--out", "run.h5").exit_code == 0
        assert command("calibrate", "dac", "--backend", BRIEF[1], "--out", "c.cal.h5").exit_code == 0
        np.save("v.npy", gaussian(4, 4))
        assert command("compare", "v.npy", "--backend", BRIEF[1], "--methods", "exact", "--out", "c.h5").exit_code == 0
    finally:
        os.umask(before)
    for name in ("run.h5", "c.cal.h5", "c.h5"):
        assert os.stat(name).st_mode & 0o777 == 0o600
