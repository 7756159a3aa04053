"""What a command keeps of what it did: a log file of every run, stderr on request, and never a secret."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import hwloop
from hwloop.cli import logs
from hwloop.custody.places import log_folder
from tests.cli.conftest import BRIEF, CHIP, Command

PROGRAM = ("program", "w.npy", *BRIEF, "--out", "run.h5")
NOBODY = "visa:TCPIP::127.0.0.1::1::SOCKET?timeout=0.5"


def kept() -> list[Path]:
    return sorted(log_folder().glob("*.log"))


def test_a_run_leaves_a_log_of_its_own_and_nothing_beside_it(command: Command, folder: Path) -> None:
    before = set(folder.iterdir())
    assert command(*PROGRAM).exit_code == 0
    assert {one.name for one in set(folder.iterdir()) - before} == {"run.h5"}
    (log,) = kept()
    assert re.fullmatch(r"[\d-]+-program-run\.h5\.log", log.name)
    text = log.read_text()
    assert f"hwloop.chip.registry: opened {CHIP}" in text
    assert "closed sim:hermes-core after" in text
    assert all(
        re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (INFO|WARNING) +hwloop", one) for one in text.splitlines()
    )


def test_a_log_is_named_and_added_to(command: Command) -> None:
    for name in ("a.h5", "b.h5"):
        assert command(*PROGRAM[:-1], name, "--log", "mine.txt").exit_code == 0
    assert Path("mine.txt").read_text().count("opened") == 2
    assert kept() == []


@pytest.mark.parametrize("path", ["w.npy", "no/such/folder/log.txt"])
def test_a_log_never_goes_into_another_file(command: Command, path: str) -> None:
    done = command(*PROGRAM, "--log", path)
    assert done.exit_code == 2
    assert done.stderr.startswith(f"error: log {path} ")
    assert done.stderr.count("\n") == 1


def test_verbose_says_what_goes_on_and_twice_every_call(command: Command) -> None:
    once = command("evaluate", "run.h5", "-v") if command(*PROGRAM).exit_code == 0 else None
    twice = command("evaluate", "run.h5", "-vv")
    assert "chip.registry: opened" in once.stderr
    assert "chip.callers: mvm(" not in once.stderr
    assert "chip.callers: mvm(" in twice.stderr
    assert command("evaluate", "run.h5").stderr == ""


@pytest.mark.parametrize("as_json", [False, True])
def test_a_failed_link_points_to_its_log(command: Command, as_json: bool) -> None:
    done = command("info", NOBODY, *(["--json"] if as_json else []))
    assert done.exit_code == 3
    (log,) = kept()
    assert f"; the log is {log}" in (done.stdout if as_json else done.stderr)
    assert "Traceback" in log.read_text()
    assert "Traceback" not in done.output


def test_bad_input_has_no_use_for_a_log(command: Command) -> None:
    done = command("info", "sim:hermes-core?sed=1")
    assert done.exit_code == 2
    assert "log" not in done.stderr


def test_the_wire_is_there_on_request_and_the_token_is_not(folder: Path) -> None:
    token, chip = "a token of this laboratory", "sim:pcm-ideal?rows=4&columns=4"
    (folder / "chip.token").touch(mode=0o600)
    (folder / "chip.token").write_text(token)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    serve = [sys.executable, "-m", "hwloop", "serve", "--chip", chip, "--port", "0", "--token-file", "chip.token"]
    with subprocess.Popen(serve, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as server:
        try:
            port = int(server.stdout.readline().decode().split("::")[2])
            info = [
                sys.executable,
                "-m",
                "hwloop",
                "info",
                f"visa:TCPIP::127.0.0.1::{port}::SOCKET?token_file=chip.token",
            ]
            subprocess.run(
                [*info, "--log", "a.txt", "--log-wire", "-vv"], env=environment, check=True, capture_output=True
            )
            subprocess.run([*info, "--log", "b.txt"], env=environment, check=True, capture_output=True)
        finally:
            server.kill()
    with_wire, without = (folder / "a.txt").read_text(), (folder / "b.txt").read_text()
    assert "hwloop.scpi.wire_log: " in with_wire
    assert "*IDN?" in with_wire
    assert "hwloop.scpi.wire_log" not in without
    assert token not in with_wire + without


def test_old_logs_make_room(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "RULES", logs.LogRules(kept=3))
    log_folder().mkdir(parents=True)
    for number in range(5):
        (log_folder() / f"2020-01-0{number}.log").touch()
    command("info", CHIP)
    assert len(kept()) == 4
    assert kept()[0].name == "2020-01-02.log"


def test_a_log_that_cannot_be_written_stops_nothing(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWLOOP_LOGS", "/dev/null/logs")
    done = command("info", CHIP)
    assert done.exit_code == 0
    assert done.stderr.count("warning: no log is kept") == 1


def test_the_library_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    with hwloop.connect(CHIP):
        logging.getLogger("hwloop.chip.registry").warning("nobody asked")
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("hwloop").level == logging.NOTSET
