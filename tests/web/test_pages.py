"""Pages of files and jobs: headlines, reports, downloads, and streams from which nothing is lost."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import time
from pathlib import Path
from urllib.parse import quote, unquote

import pytest

import hwloop
from hwloop.cli import main
from hwloop.errors import BadInputError
from hwloop.web.jobs import Asked, Job
from hwloop.web.reading import Reader
from hwloop.web.site import Site
from tests.web.conftest import CHIP, Asker, run


@pytest.fixture
def runs(lab: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two runs, as the command writes them."""
    monkeypatch.chdir(lab)
    for name, method in (("one.h5", "gdp"), ("other.h5", "exact")):
        words = ["program", "w.npy", "--backend", CHIP, "--method", method, "--out", name]
        main([*words, *(["--set", "max_steps=4"] if method == "gdp" else [])], standalone_mode=False)
    return ["one.h5", "other.h5"]


def test_files_have_headlines_reports_and_downloads(ask: Asker, lab: Path, runs: list[str]) -> None:
    error = hwloop.load(lab / "one.h5").mvm_error
    ask.get("/files")  # which asks for the headlines
    listed = ask.get("/files").text
    assert f"{error:.4f}"[:5] in listed
    assert ask.get("/files?kind=run&text=other").text.count('class="name"') == 1
    shown = ask.get("/files/view/one.h5").text
    assert "MVM error" in shown
    assert "/files/picture/one.h5?name=" in shown
    raw = ask.get("/files/get/one.h5")
    assert raw.headers["content-disposition"].startswith("attachment")
    assert raw.headers["content-type"] == "application/octet-stream"
    table = ask.get("/files/table/one.h5")
    assert float(next(csv.DictReader(io.StringIO(table.text)))["mvm_error"]) == pytest.approx(error)
    assert "<!doctype html>" in ask.get("/files/report/one.h5").text
    assert ask.get("/files/picture/one.h5?name=error-vs-step").headers["content-type"] == "image/png"
    svg = ask.get("/files/picture/one.h5?name=error-vs-step&as=svg")
    assert svg.headers["content-disposition"].startswith("attachment")  # a browser never runs what is in it
    assert ask.get("/files/picture/one.h5?name=nope").status == 400
    assert ask.get("/files/picture/one.h5?as=exe").status == 400


def test_files_stand_side_by_side(ask: Asker, runs: list[str]) -> None:
    page = ask.get("/files/together?name=one.h5&name=other.h5")
    assert page.status == 200
    assert page.text.count("<img") == 2
    for wrong in ("", "?name=one.h5", "?name=one.h5&name=../x.h5", "?name=one.h5&name=w.npy"):
        assert ask.get(f"/files/together{wrong}").status == 400


def test_a_file_opens_as_the_form_that_makes_it(ask: Asker, site: Site, runs: list[str]) -> None:
    words = ("program", "w.npy", "--backend", CHIP, "--out", "one.h5", "--force")
    site.queue.jobs.add(Asked(words, ("x",), "anna", time.time(), "one.h5")).note("stop.json", {})
    line = unquote(ask.get("/files/form/one.h5").headers["location"])
    assert line == f"/compose?line=hwloop program w.npy --backend '{CHIP}' --out one-1.h5"
    with hwloop.connect(CHIP) as chip:  # made in Python: what is stored tells the command
        hwloop.program(chip, "w.npy", hwloop.GDP(max_steps=3), out="mine.h5")
    line = unquote(ask.get("/files/form/mine.h5").headers["location"])
    assert "--set max_steps=3" in line
    assert "--out mine-1.h5" in line


def test_a_job_is_changed_and_run_again_under_another_name(ask: Asker, site: Site, runs: list[str]) -> None:
    words = ("program", "w.npy", "--backend", CHIP, "--out", "one.h5")
    job = site.queue.jobs.add(Asked(words, ("x",), "anna", time.time(), "one.h5"))
    job.note("stop.json", {})
    line = unquote(ask.get(f"/jobs/{job.name}/again").headers["location"])
    assert line.endswith("--out one-1.h5")


def write(job: Job, *events: dict[str, object]) -> None:
    with job.events.open("a") as stream:
        for event in events:
            stream.write(json.dumps({"at": time.time(), **event}) + "\n")


def read_stream(text: str) -> list[tuple[str, dict[str, object]]]:
    """Read what is pushed: of each line its place and content."""
    found = []
    for part in text.split("\n\n"):
        told = dict(line.split(": ", 1) for line in part.splitlines() if line.count(": "))
        if told.get("event") == "line":
            found.append((told["id"], json.loads(told["data"])))
    return found


def test_nothing_is_lost_by_who_comes_late_or_again(ask: Asker, site: Site) -> None:
    job = site.queue.jobs.add(Asked(("x",), ("c",), "anna", time.time()))
    job.note("start.json", {"at": 1.0})
    said = [{"event": "said", "text": f"line {number}\n\u2028 <b>"} for number in range(5)]
    write(job, {"event": "began"}, *said, {"event": "ended", "code": 0})
    pushed = ask.get(f"/jobs/{job.name}/events")
    lines = read_stream(pushed.text)
    assert [one["event"] for _, one in lines] == ["began", *["said"] * 5, "ended"]
    assert pushed.text.rstrip().endswith("event: end\ndata: end")
    middle = lines[2][0]
    again = read_stream(ask.get(f"/jobs/{job.name}/events", last_event_id=middle).text)
    assert again == lines[3:]
    assert read_stream(ask.get(f"/jobs/{job.name}/events?after={middle}").text) == lines[3:]
    assert ask.get(f"/jobs/{job.name}/events?after=-5&x=y").status == 200
    shown = ask.get(f"/jobs/{job.name}").text
    assert "<b>" not in shown.split("<main")[1].split("What it says")[1].split("</ul>")[0]


def test_pages_of_what_is_not_there_say_so(ask: Asker) -> None:
    for path in ("/jobs/none", "/jobs/none/events", "/files/view/none.h5", "/new/none", "/nowhere", "/static/none.js"):
        answer = ask.get(path)
        assert answer.status in (400, 404)
        assert "Traceback" not in answer.text
    for path in ("/jobs/none/stop", "/jobs/none/resume", "/jobs/..%2f/stop"):
        assert ask.post(path, {}).status in (400, 404)
    assert ask.get("/jobs/none/stop").status in (404, 405)  # nothing is done by a link


def test_the_readers_process_answers_fails_and_answers_again(lab: Path) -> None:
    (lab / "damaged.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(50))
    reader = Reader(lab)

    async def talk() -> None:
        assert await reader.ask("hello", {}) == "hello"
        with pytest.raises(BadInputError, match=r"damaged\.h5"):
            await reader.ask("page", {"path": "damaged.h5"})
        assert reader._process is not None
        reader._process.kill()
        with pytest.raises(BadInputError, match="failed"):
            await reader.ask("hello", {})
        assert await reader.ask("hello", {}) == "hello"
        await reader.close()
        await asyncio.sleep(0.05)

    run(talk())


def test_texts_of_a_file_are_escaped(ask: Asker, lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "<script>alert(1)</script>.npy".replace("/", "_")
    (lab / name).write_bytes((lab / "w.npy").read_bytes())
    monkeypatch.chdir(lab)
    main(["program", name, "--backend", CHIP, "--method", "exact", "--out", "odd.h5"], standalone_mode=False)
    page = ask.get("/files/view/odd.h5").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert quote("<") not in page.split("facts")[1].split("</dl>")[0]
