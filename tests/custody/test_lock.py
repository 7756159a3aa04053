"""One holder at a time, who is named, and whose death frees what it held."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from hwloop.custody.lock import Holder, Lock, file_in_use, lock_file, lock_named
from hwloop.errors import BadInputError

HOLD = """
import sys
from pathlib import Path
from hwloop.custody.lock import lock_file
sys.argv[0] = "hwloop"
lock = lock_file(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def holder_of(path: Path) -> subprocess.Popen[str]:
    """Another process that holds the lock of a file until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_who_comes_second_learns_who_has_it(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    with holder_of(path) as process:
        with pytest.raises(BadInputError) as caught:
            lock_file(path)
        process.communicate()
    text = str(caught.value)
    assert text.startswith(f"{path} is in use by process {process.pid} on {socket.gethostname()} since 20")
    assert text.endswith(f"(hwloop {path}); wait for it, or give another name")
    assert "\n" not in text


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_death_of_a_holder_frees_it(tmp_path: Path, number: signal.Signals) -> None:
    path = tmp_path / "run.h5"
    with holder_of(path) as process:
        process.send_signal(number)
        process.wait(10)
    assert os.listdir(tmp_path) == [".run.h5.lock"], "what a dead holder leaves is in nobody's way"
    lock_file(path).release()
    assert not os.listdir(tmp_path)


def test_it_holds_within_a_process_too_and_can_be_taken_again(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    first = lock_file(path)
    with pytest.raises(BadInputError, match=f"process {os.getpid()} "):
        lock_file(path)
    first.release()
    second = lock_file(path)
    first.release()  # a second time does nothing, to the next holder either
    with pytest.raises(BadInputError, match="is in use"):
        lock_file(path)
    second.release()


def test_all_names_of_a_file_are_one(tmp_path: Path) -> None:
    (tmp_path / "link.h5").symlink_to(tmp_path / "run.h5")
    lock = lock_file(tmp_path / "run.h5")
    with pytest.raises(BadInputError, match=r"link\.h5 is in use"):
        lock_file(tmp_path / "link.h5")
    lock.release()


def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path: Path) -> None:
    path = tmp_path / ("a" * 255)
    lock = lock_file(path)
    with pytest.raises(BadInputError, match="is in use"):
        lock_file(path)
    lock.release()


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff\xfe", b'{"pid": "x"}', b"[" * 70000])
def test_a_holder_that_does_not_say_who_it_is_holds_it_as_well(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.lock"
    lock = Lock(path, "the chip", "use another")
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=r"^the chip is in use by another process; wait for it, or use another$"):
        Lock(path, "the chip", "use another")
    lock.release()


def test_what_a_holder_says_reaches_no_terminal_unescaped() -> None:
    text = str(Holder(7, "lab\x1b[2J", "2026-01-01", "hwloop\nprogram " + "w" * 500))
    assert text.startswith(r"process 7 on lab\x1b[2J since 2026-01-01 UTC (hwloop\nprogram www")
    assert text.isprintable()
    assert len(text) < 300


def test_the_folder_of_named_locks_is_made_and_must_be_writable(tmp_path: Path) -> None:
    lock = lock_named(tmp_path / "a" / "b", "chip 7", "use another chip")
    with pytest.raises(BadInputError, match=r"^chip 7 is in use by process"):
        lock_named(tmp_path / "a" / "b", "chip 7", "use another chip")
    other = lock_named(tmp_path / "a" / "b", "chip 8", "use another chip")
    other.release()
    lock.release()
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInputError, match=r"chip 7 cannot be locked: .*file"):
        lock_named(tmp_path / "file", "chip 7", "use another chip")


def test_the_file_of_a_lock_says_who_holds_it_to_other_programs_too(tmp_path: Path) -> None:
    lock = lock_file(tmp_path / "run.h5")
    told = json.loads((tmp_path / ".run.h5.lock").read_text())
    lock.release()
    assert told.keys() == {"pid", "host", "since", "command"}
    assert told["pid"] == os.getpid()


def test_a_lock_that_was_given_back_holds_no_file(tmp_path: Path) -> None:
    lock = lock_file(tmp_path / "run.h5")
    assert file_in_use(tmp_path / "run.h5")
    lock.release()
    assert not lock._lock.is_locked
    assert not file_in_use(tmp_path / "run.h5")
    lock.release()
