"""Text that comes from elsewhere is shown on a terminal, and never obeyed by it."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from hwloop.cli.terminal import lines, shown_streams, wrapped
from tests.cli.conftest import BRIEF, ONE_THREAD, Command
from tests.conftest import gaussian

NASTY = "fc\x1b[2J\x1b]0;title\x07\r\n\x9b31m\u202e\x00\x7f\ttail"
"""Clears the screen, sets the title, goes back, adds a line, colours, turns the direction of writing."""


def harmless(text: str, allowed: str = "\n") -> bool:
    return all(one.isprintable() or one in allowed for one in text)


def test_everything_but_newlines_and_tabs_is_escaped_in_what_goes_out() -> None:
    assert lines("plain text\n  of two lines\n") == "plain text\n  of two lines\n"
    assert lines("grün … µ\n") == "grün … µ\n"
    assert lines("\x1b[31mred\x9b0m\n") == "\\x1b[31mred\\x9b0m\n"
    assert lines("\udcff\u202e") == "\\udcff\\u202e"


def test_the_streams_of_a_command_escape_whoever_writes(capsys: pytest.CaptureFixture[str]) -> None:
    with shown_streams():
        print("out \x1b[1m")
        print("error \x07", file=sys.stderr)
        sys.stdout.writelines(["a\x1b", "b\n"])
    print("\x1b")
    captured = capsys.readouterr()
    assert captured.out == "out \\x1b[1m\na\\x1bb\n\x1b\n"
    assert captured.err == "error \\x07\n"


def test_what_the_encoding_of_a_terminal_lacks_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii", write_through=True))
    with shown_streams():
        print("…")
    assert raw.getvalue() == b"\\u2026\n"


def test_names_of_tensors_reach_the_terminal_escaped(command: Command, folder: Path) -> None:
    save_file({NASTY + ".weight": gaussian(8, 8).astype(np.float32)}, folder / "w.safetensors")
    for words in (
        ("program", "w.safetensors", *BRIEF, "--method", "gdp", "--out", "run.h5"),
        ("evaluate", "run.h5"),
        ("drift", "run.h5", "--times", "1h", "--compensation", "none", "--out", "d.h5"),
    ):
        done = command(*words)
        assert done.exit_code == 0, done.output
        assert harmless(done.output), words
    told = command("evaluate", "run.h5", "--json").stdout
    assert harmless(told)
    assert json.loads(told)


def test_names_of_files_reach_the_terminal_escaped(command: Command, folder: Path) -> None:
    for name in (b"a\x1b[31m.npy", b"b\nerror: forged.npy", b"c\xff.npy"):
        path = os.fsdecode(name)
        done = command("program", path, *BRIEF, "--out", "run.h5")
        assert done.exit_code == 2
        assert harmless(done.output)
        assert done.stderr.count("\n") == 1


@pytest.fixture
def instrument() -> Iterator[int]:
    """Answers *IDN? with what a terminal would obey; gives its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        while True:
            try:
                link, _ = listener.accept()
            except OSError:
                return
            with link:
                if link.recv(100):
                    link.sendall(b"MAKER\x1b[2J,\x9bMODEL\r,\x00123,1.0\n")

    thread = threading.Thread(target=answer)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)


def test_answers_of_instruments_reach_the_terminal_escaped(command: Command, instrument: int) -> None:
    for words in (
        ("info", f"visa:TCPIP::127.0.0.1::{instrument}::SOCKET"),
        ("discover", "--address", f"127.0.0.1:{instrument}"),
    ):
        done = command(*words)
        assert harmless(done.output), done.output
        assert "MAKER" in done.output


def test_a_real_process_escapes_too(folder: Path) -> None:
    words = [sys.executable, "-m", "hwloop", "evaluate", "no\x1b[2Jsuch\nfile.h5"]
    done = subprocess.run(words, env={**os.environ, **ONE_THREAD}, capture_output=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr == b"error: no\\x1b[2Jsuch\\nfile.h5: no such file\n"


def test_texts_are_broken_where_the_terminal_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    words = " ".join(["word"] * 60)
    for asked, width in ((None, 120), ("40", 40)):
        if asked:
            monkeypatch.setenv("COLUMNS", asked)
        told = wrapped(words, "first: ", "    ").splitlines()
        assert told[0].startswith("first: word")
        assert all(line.startswith("    word") for line in told[1:])
        assert width - 5 <= max(map(len, told)) <= width
