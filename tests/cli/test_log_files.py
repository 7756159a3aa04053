"""Log files: where they go, what they begin with, and which make room."""

from __future__ import annotations

import logging
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from hwloop.cli import logs
from hwloop.cli.logs import META, WIRE, Asked, LateFile, Said, _make_room, _path_for, log_of_run, logged
from hwloop.errors import BadInputError


def context(asked: object = None, **params: object) -> SimpleNamespace:
    return SimpleNamespace(meta={} if asked is None else {META: asked}, info_name="program", params=params)


def record(text: str, name: str = "hwloop.jobs") -> logging.LogRecord:
    return logging.LogRecord(name, logging.INFO, "", 0, "%s", (text,), None)


def test_a_file_is_made_at_its_first_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["hwloop", "show", "a b.h5"])
    late = LateFile(tmp_path / "logs" / "a.log")
    late.setFormatter(logging.Formatter("%(message)s"))
    assert not late.begun
    assert not late.path.exists()
    for text in ("one", "two"):
        late.emit(record(text))
    assert late.begun
    late.close()
    first, *rest = late.path.read_text().splitlines()
    assert re.fullmatch(r"hwloop show 'a b\.h5' \(Python 3\.\d+\.\d+, \w+ \w+\)", first)
    assert rest == ["one", "two"]


def test_a_file_that_cannot_be_written_is_told_of_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a").write_text("no folder")
    late = LateFile(tmp_path / "a" / "b.log")
    for text in ("one", "two"):
        late.emit(record(text))
    assert capsys.readouterr().err.count("warning: no log is kept: ") == 1
    late.close()


def test_what_commands_say_themselves_is_not_said_twice() -> None:
    said: list[str] = []
    handler = Said(said.append)
    handler.emit(record("step\n1"))
    handler.emit(record("hello", "hwloop.cli.common"))
    handler.emit(record("hello", "other.hwloop.x"))
    assert said == ["jobs: step\\n1", "other.hwloop.x: hello"]


@pytest.mark.parametrize(
    ("verbose", "wire", "level", "of_wire"),
    [(0, False, logging.INFO, logging.CRITICAL), (1, False, logging.INFO, logging.CRITICAL),
     (2, True, logging.DEBUG, logging.DEBUG)],
)  # fmt: skip
def test_levels_are_those_that_were_asked_for_and_come_back(
    tmp_path: Path, verbose: int, wire: bool, level: int, of_wire: int
) -> None:
    logger, said = logging.getLogger("hwloop"), list[str]()
    before = (logger.level, logging.getLogger(WIRE).level, list(logger.handlers))
    with logged(context(Asked(verbose, str(tmp_path / "a.log"), wire)), said.append):  # type: ignore[arg-type]
        assert (logger.level, logging.getLogger(WIRE).level) == (level, of_wire)
        assert log_of_run() is None
        logging.getLogger("hwloop.jobs").info("now")
        assert log_of_run() == tmp_path / "a.log"
    assert said == (["jobs: now"] if verbose else [])
    assert (logger.level, logging.getLogger(WIRE).level, logger.handlers) == before
    assert log_of_run() is None
    assert (tmp_path / "a.log").read_text().splitlines()[-1].endswith("INFO    hwloop.jobs: now")


def test_without_options_there_is_no_log(tmp_path: Path) -> None:
    before = list(logging.getLogger("hwloop").handlers)
    with logged(context(), print):  # type: ignore[arg-type]
        assert logging.getLogger("hwloop").handlers == before


@pytest.mark.parametrize("suffix", [".h5", ".json", ".npz", ".npy", ".safetensors", ".toml"])
def test_a_log_is_added_to_no_other_kind_of_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    assert _path_for(context(), str(path)) == path  # type: ignore[arg-type]
    path.write_text("x")
    with pytest.raises(BadInputError, match="would be added to a file of another kind"):
        _path_for(context(), str(path))  # type: ignore[arg-type]


def test_a_log_goes_into_a_folder_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    assert _path_for(context(), str(tmp_path / "a.txt")) == tmp_path / "a.txt"  # type: ignore[arg-type]
    for path in (tmp_path, tmp_path / "none" / "a.log"):
        with pytest.raises(BadInputError, match=r"^log .* cannot be written; give another place"):
            _path_for(context(), str(path))  # type: ignore[arg-type]


def test_a_log_of_its_own_is_named_after_moment_command_and_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "log_folder", lambda: tmp_path)
    named = _path_for(context(out="runs/r.h5"), None).name  # type: ignore[arg-type]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d-\d{6}-\d{6}-program-r\.h5\.log", named)
    assert _path_for(context(out=None), None).name.endswith("-program.log")  # type: ignore[arg-type]


def test_the_oldest_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "RULES", logs.LogRules(kept=2))
    for name in ("c.log", "a.log", "b.log", "z.txt"):
        (tmp_path / name).write_text("x")
    _make_room(tmp_path)
    assert sorted(one.name for one in tmp_path.iterdir() if one.suffix in (".log", ".txt")) == [
        "b.log",
        "c.log",
        "z.txt",
    ]
    _make_room(tmp_path / "none")
