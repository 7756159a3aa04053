"""What a command says of itself becomes state, curves and a time that is left."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hwloop.cli.events import Events, Pace, summary, told
from hwloop.jobs.progress import TileProgress
from hwloop.web.curve import curve_of
from hwloop.web.feed import Live, Point
from tests.conftest import gaussian


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def tile(error: float, core: int = 0) -> TileProgress:
    return TileProgress(core, "fc1.weight", 3, 10, error, 1.5)


def test_steps_are_written_by_a_thread_and_the_last_one_is_kept(tmp_path: Path) -> None:
    events = Events(tmp_path / "e", Pace(shortest=0.01))
    events.begin(["program"])
    for step in range(5):
        events.note(done=step, total=4)
        events.phase(f"gdp: step {step}")
    events.tile(0, tile(0.25))
    events.end(0)
    found = lines(tmp_path / "e")
    assert (found[0]["event"], found[0]["pid"]) == ("began", os.getpid())
    assert found[-1] == {"event": "ended", "at": found[-1]["at"], "code": 0}
    steps = [one for one in found if one["event"] == "step"]
    assert steps[-1]["done"] == 4 or any(one.get("done") == 4 for one in steps)
    assert 1 <= len(steps) <= 6


def test_tiles_are_summed_up_and_those_of_another_part_forgotten(tmp_path: Path) -> None:
    told_of = summary([tile(0.1), tile(math.nan, 1), tile(0.4, 2), tile(0.2, 3)], most=2)
    assert (told_of["number"], told_of["error"], told_of["largest"], told_of["smallest"]) == (4, 0.2, 0.4, 0.1)
    assert [row[0] for row in told_of["worst"]] == [2, 3]
    events = Events(tmp_path / "e", Pace(shortest=60))
    events.phase("iterative: step 1")
    events.tile(0, tile(0.1))
    events.phase("gdp: step 0")
    events.tile(1, tile(0.3))
    events.end(0)
    (step,) = [one for one in lines(tmp_path / "e") if one["event"] == "step"]
    assert step["tiles"]["number"] == 1


@pytest.mark.parametrize(
    ("end", "code"), [(None, 0), (SystemExit(3), 3), (SystemExit("text"), 1), (KeyboardInterrupt(), 1)]
)
def test_the_end_is_told_with_its_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: BaseException | None, code: int
) -> None:
    monkeypatch.setenv("HWLOOP_EVENTS", str(tmp_path / "e"))
    if end is None:
        with told(["x"]):
            assert "HWLOOP_EVENTS" not in os.environ  # what a command starts is not the command
    else:
        with pytest.raises(type(end)), told(["x"]):
            raise end
    assert lines(tmp_path / "e")[-1]["code"] == code


def test_a_real_command_tells_what_it_does(tmp_path: Path) -> None:
    np.save(tmp_path / "w.npy", gaussian(12, 16))
    words = ["program", "w.npy", "--backend", "sim:hermes-core?rows=32&columns=32&seed=1", "--set", "max_steps=6"]
    environment = os.environ | {"HWLOOP_EVENTS": "e", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "hwloop", *words, "--out", "r.h5"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=60)
    live = Live()
    for event in lines(tmp_path / "e"):
        live.take(event)
    assert (live.code, live.share, live.tiles) == (0, 1.0, 1)
    assert live.rows[0][1] == "w"


def step(at: float, done: int, **more: object) -> dict[str, object]:
    return {"event": "step", "at": at, "done": done, "total": 100, **more}


def test_the_time_left_is_that_of_the_pace() -> None:
    live = Live()
    live.take({"event": "began", "at": 1000.0})
    for second in range(1, 21):
        live.take(step(1000.0 + second, second))
    assert live.left(1020.0) == pytest.approx(80.0, rel=0.05)
    assert live.share == 0.2
    live.take({"event": "ended", "at": 1030.0, "code": 1})
    assert (live.left(1030.0), live.share) == (None, 0.2)


def test_a_curve_keeps_a_bounded_number_of_points_and_its_ends() -> None:
    live = Live()
    for done in range(2000):
        error = 0.5 / (1 + done)
        live.take(
            step(
                done,
                1,
                phase="gdp: x",
                tiles={"number": 1, "done": done, "error": error, "smallest": error, "largest": error},
            )
        )
    points = live.curves["gdp"]
    assert len(points) <= 240
    assert (points[0].step, points[-1].step) == (0, 1999)
    assert [one.step for one in points] == sorted(one.step for one in points)


ODD = (
    {},
    {"event": "step", "done": "x", "total": None},
    {"event": "step", "tiles": 3},
    {"event": "step", "tiles": {"worst": "abc", "error": []}},
    {"event": "ended", "code": "0"},
    {"event": 5, "at": {}},
)


@pytest.mark.parametrize("event", ODD)
def test_a_line_of_another_version_breaks_nothing(event: dict[str, object]) -> None:
    Live().take(event)


def test_the_curve_is_within_its_frame() -> None:
    points = [Point(float(n), 0.3 / (n + 1), 0.2 / (n + 1), 0.5 / (n + 1)) for n in range(30)]
    curve = curve_of({"gdp": points, "iterative": points[:9]})
    assert curve is not None
    for line in curve.lines:
        for pair in f"{line.path} {line.band}".split():
            x, y = map(float, pair.split(","))
            assert curve.left <= x <= curve.width
            assert 0 <= y <= curve.bottom
    assert curve_of({"gdp": points[:1]}) is None
    assert curve_of({}) is None
