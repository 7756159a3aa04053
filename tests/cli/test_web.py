"""`hwloop web` before it serves: what it needs, what it makes, and one server for a folder."""

from __future__ import annotations

import importlib
import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from hwloop.cli.web import is_loopback
from hwloop.custody.lock import lock_named
from tests.cli.conftest import Command, arguments


def test_without_its_extra_it_says_how_to_get_it(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "hwloop.web.serving", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    result = command("web", "--data", "lab")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: hwloop web needs uvicorn, of the extra 'web': pip install 'hwloop[web]'")
    assert not Path("lab").exists()


def test_a_folder_has_one_server(command: Command) -> None:
    Path("lab/.hwloop-web").mkdir(parents=True)
    lock = lock_named(Path("lab/.hwloop-web").resolve(), f"the data folder {Path('lab').resolve()}", "")
    result = command("web", "--data", "lab", "--port", "0")
    lock.release()
    assert result.exit_code == 2
    assert "is in use by process" in result.stderr
    assert result.stderr.rstrip().endswith("give another --data")


def test_a_folder_that_cannot_be_made_is_said(command: Command) -> None:
    result = command("web", "--data", "w.npy")
    assert result.exit_code == 2
    assert "w.npy" in result.stderr


def test_it_makes_its_folder_with_examples_and_ends_when_it_is_asked_to() -> None:
    words = arguments("web", "--data", "lab", "--port", "0", "--no-open", "--json")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        text = ""
        while not text.endswith("}\n"):
            text += process.stdout.readline()
        process.terminate()
        out, errors = process.communicate(timeout=60)
    told = json.loads(text)
    assert told["address"].startswith(f"http://127.0.0.1:{told['port']}/?token=")
    assert (out, errors) == ("", "")
    assert Path("lab/data/digits_mlp.safetensors").exists()
    token = Path("lab/.hwloop-web/token")
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert told["address"].endswith(token.read_text().strip())  # the same the next time: open pages stay open


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("short", "line 1: expected TOKEN or NAME TOKEN"), ("", "holds no token"), ("a b c", "line 1")],
)
def test_a_file_of_tokens_is_looked_at(command: Command, text: str, complaint: str) -> None:
    Path("t").write_text(text)
    Path("t").chmod(0o600)
    result = command("web", "--token-file", "t")
    assert (result.exit_code, complaint in result.stderr) == (2, True)
    Path("t").write_text("anna 0123456789abcdef0123456789abcdef\n")
    Path("t").chmod(0o644)
    assert "can be read by others" in command("web", "--token-file", "t").stderr


def test_others_are_let_in_with_a_warning(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("t").write_text("anna 0123456789abcdef0123456789abcdef\nbert 1123456789abcdef0123456789abcdef\n")
    Path("t").chmod(0o600)
    asked: list[object] = []
    monkeypatch.setattr(
        importlib.import_module("hwloop.web.serving"), "serve", lambda commands, place, opened: asked.append(place)
    )
    result = command("web", "--host", "0.0.0.0", "--token-file", "t", "--no-open")
    assert "warning: whoever knows a token can use the chips" in result.stderr
    (place,) = asked
    assert (place.public, [name for name, _ in place.tokens.known]) == (True, ["anna", "bert"])  # type: ignore[attr-defined]


def test_this_machines_own_addresses() -> None:
    assert [is_loopback(one) for one in ("127.0.0.1", "::1", "localhost", "127.9.9.9")] == [True] * 4
    assert [is_loopback(one) for one in ("0.0.0.0", "::", "10.0.0.1", "bench.lab")] == [False] * 4
