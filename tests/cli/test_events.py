"""What a command writes of itself for whoever watches it, line by line."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest

from hwloop.cli import events
from hwloop.cli.events import VARIABLE, Events, Pace, Told, present, summary, told
from hwloop.jobs.progress import TileProgress


def tile(core: int, error: float, done: int = 1, pulses: float = 2.0) -> TileProgress:
    return TileProgress(core, f"w{core}", done, 10, error, pulses)


def written(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    ("elapsed", "between"), [(0.0, 0.25), (1000.0, 0.25), (4000.0, 1.0), (20_000.0, 5.0), (1e9, 5.0)]
)
def test_lines_become_rarer_with_time(elapsed: float, between: float) -> None:
    assert Pace().between(elapsed) == between


def test_tiles_are_summed_up_and_the_worst_listed() -> None:
    tiles = [tile(0, 0.1, 1, 1.0), tile(1, math.nan, 2, 2.0), tile(2, 0.4, 3, 3.00006), tile(3, 0.2, 4, 4.0)]
    assert summary(tiles, 3) == {
        "number": 4, "pulses": 2.5, "done": 10, "total": 40, "error": 0.2, "largest": 0.4, "smallest": 0.1,
        "worst": [[2, "w2", 3, 10, 0.4, 3.0], [3, "w3", 4, 10, 0.2, 4.0], [0, "w0", 1, 10, 0.1, 1.0]],
    }  # fmt: skip
    unknown = summary([tile(1, math.nan)], 3)
    assert "error" not in unknown
    assert unknown["worst"] == [[1, "w1", 1, 10, None, 2.0]]


@pytest.fixture
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Events:
    """Events that no thread writes."""
    monkeypatch.setattr(events, "Thread", lambda **_: type("Never", (), {"start": lambda self: None})())
    return Events(tmp_path / "e.jsonl")


def test_a_line_has_what_is_new_since_the_last_one(quiet: Events) -> None:
    quiet.begin(["program", "w.npy"])
    quiet._step()  # nothing is new
    quiet.note(done=1, total=4)
    quiet.phase("programming")
    quiet.note(done=2)
    quiet._step()
    quiet.note(done=3)
    quiet.say("x" * 3000)
    quiet.end(1)
    lines = written(quiet.path)
    assert all(isinstance(line.pop("at"), float) for line in lines)
    began, step, said, last, ended = lines
    assert (began["event"], began["pid"], began["words"]) == ("began", os.getpid(), ["program", "w.npy"])
    assert step == {"event": "step", "done": 2, "total": 4, "phase": "programming"}
    assert said == {"event": "said", "text": "x" * 2000}
    assert last == {"event": "step", "done": 3}
    assert ended == {"event": "ended", "code": 1}


def test_tiles_of_another_part_are_forgotten(quiet: Events) -> None:
    quiet.phase("gdp: first")
    quiet.tile(0, tile(0, 0.1))
    quiet.phase("gdp: second")
    quiet.tile(1, tile(1, 0.2))
    quiet._step()
    quiet.tile(2, tile(2, 0.3))
    quiet.phase("exact: first")
    quiet._step()
    first, second = written(quiet.path)
    assert first["tiles"]["number"] == 2  # type: ignore[index]
    assert first["phase"] == "gdp: second"
    assert "tiles" not in second
    quiet.phase("measuring")
    quiet.tile(3, tile(3, 0.1))
    quiet._step()
    assert written(quiet.path)[-1]["tiles"]["number"] == 1  # type: ignore[index]


def test_a_disk_that_is_full_stops_no_job(tmp_path: Path) -> None:
    Events(tmp_path / "none" / "e.jsonl").say("hello")


@pytest.mark.parametrize(
    ("end", "code"),
    [(None, 0), (SystemExit(3), 3), (SystemExit("why"), 1), (SystemExit(None), 0), (KeyError("x"), 1)],
)
def test_how_a_command_ended_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: BaseException | None, code: int
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "e.jsonl"))
    monkeypatch.setattr(events.signal, "signal", lambda *_: None)

    def work() -> None:
        with told(["show"]):
            assert present() is not None
            assert VARIABLE not in os.environ  # what it starts itself is not told
            if end is not None:
                raise end

    if end is None:
        work()
    else:
        with pytest.raises(type(end)):
            work()
    assert written(tmp_path / "e.jsonl")[-1]["code"] == code
    assert present() is None


def test_nothing_is_told_where_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with told(["show"]):
        assert present() is None


def test_a_report_tells_both(quiet: Events) -> None:
    shown: list[object] = []

    class Show:
        def __call__(self, done: int, total: int) -> None:
            shown.append((done, total))

        def phase(self, text: str) -> None:
            shown.append(text)

        def tile(self, number: int, tile: TileProgress) -> None:
            shown.append(number)

    report = Told(Show(), quiet)
    report(1, 2)
    report.phase("a: b")
    report.tile(5, tile(0, 0.5))
    quiet._step()
    assert shown == [(1, 2), "a: b", 5]
    (line,) = written(quiet.path)
    assert (line["done"], line["total"], line["phase"]) == (1, 2, "a: b")
    assert line["tiles"]["largest"] == 0.5  # type: ignore[index]
