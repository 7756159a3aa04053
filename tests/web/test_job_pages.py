"""What the page of a job offers: to stop it, to end it, to go on with it, and to begin it again; without a process."""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hwloop.cli import main
from hwloop.custody.alive import started
from hwloop.web import costs, reader
from hwloop.web.composing import Composed
from hwloop.web.costs import cost_of
from hwloop.web.fields import form_of, values_of
from hwloop.web.job_pages import RESUMED, _growing, _last_words, _resumed, _serves, resumes, tail
from hwloop.web.jobs import Asked, Job, Status
from hwloop.web.settings import SETTINGS
from hwloop.web.site import Site
from tests.web.conftest import CHIP, Asker, run

PROGRAM = ("program", "w.npy", "--backend", CHIP, "--out", "one.h5")
REAL = "visa:TCPIP::127.0.0.1::5025::SOCKET"


def add(site: Site, *words: str, out: str = "", at: float = 1e9) -> Job:
    return site.queue.add(Asked(words, ("a",), "anna", at, out))


def ended(job: Job, code: int = 1, seconds: float = 5.0, began: float = 100.0) -> Job:
    """Make a job one that has ended, by what it has written."""
    job.note("start.json", {"at": began})
    rows = ({"event": "began", "at": began}, {"event": "ended", "at": began + seconds, "code": code})
    job.events.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return job


def running(job: Job) -> Job:
    """Make a job one that runs: as this process, which nobody sends a signal."""
    job.note("start.json", {"at": time.time(), "pid": os.getpid(), "started": started(os.getpid())})
    job.events.write_text('{"event": "began", "at": 100.0}\n')
    return job


@pytest.fixture(autouse=True)
def sent(monkeypatch: pytest.MonkeyPatch, site: Site) -> Iterator[list[str]]:
    """Signals that would have been sent; nobody waits for the jobs, which have no process."""
    found: list[str] = []
    monkeypatch.setattr("hwloop.web.processes._send", lambda job, number: found.append(number.name))
    yield found
    site.queue._open.clear()


def diary(site: Site) -> list[str]:
    """What was done last, and to what."""
    last = json.loads(site.diary.path.read_text().splitlines()[-1])
    assert last["token"] == "anna"
    return [last["action"], last["what"]]


def test_a_stop_is_asked_for_by_a_button_and_so_is_another(ask: Asker, site: Site, sent: list[str]) -> None:
    job = running(add(site, *PROGRAM))
    for times in (1, 2):
        answer = ask.post(f"/jobs/{job.name}/stop", {})
        assert (answer.status, answer.headers["location"]) == (303, f"/jobs/{job.name}")
        told = job.told("stop.json")
        assert (told["times"], told["by"]) == (times, "anna")
    assert sent == ["SIGTERM", "SIGTERM"]
    assert job.status() is Status.STOPPING
    assert diary(site) == ["stop", job.name]


def test_a_process_is_ended_only_by_who_is_sure(ask: Asker, site: Site, sent: list[str]) -> None:
    job = running(add(site, *PROGRAM))
    ask.post(f"/jobs/{job.name}/stop", {})
    page = ask.post(f"/jobs/{job.name}/stop", {"how": "kill"})
    assert page.status == 200
    assert job.name in page.text
    assert sent == ["SIGTERM"]
    answer = ask.post(f"/jobs/{job.name}/stop", {"how": "kill", "sure": "yes"})
    assert (answer.status, answer.headers["location"]) == (303, f"/jobs/{job.name}")
    assert sent == ["SIGTERM", "SIGKILL"]
    assert job.told("stop.json")["killed"]
    assert diary(site) == ["kill", job.name]


def test_more_is_offered_when_a_stop_was_asked_for_a_while_ago(ask: Asker, site: Site) -> None:
    job = running(add(site, *PROGRAM))
    texts = []
    for ago in (0.0, SETTINGS.stop_again + 5.0):
        job.note("stop.json", {"at": time.time() - ago, "times": 1})
        texts.append(ask.get(f"/jobs/{job.name}/live").text)
    assert ["Stop at once" in text for text in texts] == [False, True]


@pytest.mark.parametrize(
    ("code", "killed", "command", "left", "offered"),
    [
        (1, False, "program", True, True),
        (3, False, "program", True, True),
        (1, False, "program", False, False),
        (0, False, "program", True, False),
        (2, False, "program", True, False),
        (1, False, "evaluate", True, False),
        (1, False, "measure", False, True),
        (1, False, "train", False, True),
    ],
)
def test_what_was_left_of_a_job_can_be_gone_on_with(
    site: Site, lab: Path, code: int, killed: bool, command: str, left: bool, offered: bool
) -> None:
    """Measurements and trainings go on from their file, others from what lies beside it."""
    job = ended(add(site, command, "w.npy", "--out", "one.h5", out="one.h5"), code)
    (lab / "one.h5").write_text("x")
    if left:
        (lab / "one.h5.resume").mkdir()
        (lab / "one.h5.resume" / "job.json").write_text("{}")
    site.queue._open.clear()
    assert resumes(site, job, job.status()) is offered
    assert not resumes(site, job, Status.RUNNING)
    other = add(site, "show", "one.h5", out="one.h5")
    assert not resumes(site, job, job.status()), "another job is at the file"
    ended(other)


def test_a_job_without_a_file_is_not_gone_on_with(site: Site, lab: Path) -> None:
    job = ended(add(site, "measure", "drift"))
    site.queue._open.clear()
    assert not resumes(site, job, Status.STOPPED)
    assert "evaluate" not in RESUMED


def test_what_went_on_goes_on_by_how_it_was_begun(site: Site, lab: Path) -> None:
    first = ended(add(site, "measure", "drift", "--out", "m.h5", out="m.h5"))
    again = ended(add(site, "resume", "m.h5", out="m.h5", at=2e9))
    alone = ended(add(site, "resume", "n.h5", out="n.h5", at=3e9))
    for name in ("m.h5", "n.h5"):
        (lab / name).write_text("x")
    site.queue._open.clear()
    assert [resumes(site, job, Status.STOPPED) for job in (first, again, alone)] == [True, True, False]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (PROGRAM, ("resume", "one.h5")),
        (
            ("program", "w.npy", "--backend", REAL, "--workers", "3"),
            ("resume", "one.h5", "--backend", REAL, "--workers", "3"),
        ),
        (("resume", "one.h5", "--backend", REAL), ("resume", "one.h5", "--backend", REAL)),
    ],
)  # fmt: skip
def test_a_chip_that_is_there_is_named_again(site: Site, words: tuple[str, ...], expected: tuple[str, ...]) -> None:
    job = ended(add(site, *words, out="one.h5"))
    assert _resumed(site, job) == expected


def test_going_on_is_a_job_of_its_own(ask: Asker, site: Site, lab: Path) -> None:
    job = ended(add(site, *PROGRAM, out="one.h5"))
    site.queue._open.clear()
    assert ask.post(f"/jobs/{job.name}/resume", {}).status == 400
    (lab / "one.h5.resume").mkdir()
    (lab / "one.h5.resume" / "job.json").write_text("{}")
    answer = ask.post(f"/jobs/{job.name}/resume", {})
    (fresh,) = site.queue.open_jobs()
    assert (answer.status, answer.headers["location"]) == (303, f"/jobs/{fresh.name}")
    assert (fresh.asked.words, fresh.asked.chips) == (("resume", "one.h5"), ("a",))
    assert (fresh.asked.by, fresh.asked.out) == ("anna", "one.h5")
    assert diary(site) == ["resume", f"{fresh.name}: hwloop resume one.h5"]
    fresh.note("stop.json", {})
    site.queue._open.clear()


def test_what_a_job_has_printed_is_given_to_its_end(ask: Asker, site: Site) -> None:
    job = ended(add(site, *PROGRAM))
    assert tail(job, "stdout") == ""
    (job.folder / "stdout").write_text("a" * SETTINGS.output + "the end\n")
    (job.folder / "stderr").write_text("note: x\nerror: no weights\nand more\n\n")
    assert tail(job, "stdout") == "a" * (SETTINGS.output - 8) + "the end\n"
    assert ask.get(f"/jobs/{job.name}/output").text == f"{tail(job, 'stdout')}\n{tail(job, 'stderr')}"
    assert _last_words(job) == "error: no weights"
    (job.folder / "stderr").write_text("error: one\nstopped at step 3\n")
    assert _last_words(job) == "stopped at step 3"
    (job.folder / "stderr").write_text("a warning\n")
    assert _last_words(job) == ""


def test_an_instrument_that_is_served_tells_its_address(ask: Asker, site: Site) -> None:
    job = running(add(site, "serve"))
    assert _serves(job) == ""
    (job.folder / "stdout").write_text(f"serving at {REAL}; stop with Ctrl-C\n")
    assert _serves(job) == REAL
    assert REAL in ask.get(f"/jobs/{job.name}/live").text
    ended(job)
    assert REAL not in ask.get(f"/jobs/{job.name}/live").text


def test_a_file_that_grows_has_a_picture_that_changes_now_and_then(
    site: Site, lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hwloop.web.job_pages.time.time", lambda: 10 * SETTINGS.redraw + 1.0)
    (lab / "a b.h5").write_text("x")
    (lab / "w.csv").write_text("x")
    assert _growing(site, add(site, "drift", out="a b.h5")) == "/files/picture/a%20b.h5?name=&v=10"
    assert _growing(site, add(site, "drift", out="none.h5")) == ""
    assert _growing(site, add(site, "drift", out="w.csv")) == ""
    for job in site.queue.open_jobs():
        job.note("stop.json", {})
    site.queue._open.clear()


# ---- what an experiment will take ---------------------------------------------------------------------------------


def composed(*words: str) -> Composed:
    form = form_of(main, words)
    return Composed(form, values_of(form, words[len(form.path) :]))


def test_earlier_jobs_of_the_kind_tell_how_long_it_takes(site: Site) -> None:
    """The last three that were done, and of no other command or kind of measurement."""
    for number, seconds in enumerate((1.0, 2.0, 3.0, 4.0)):
        ended(add(site, "measure", "drift", at=1e9 + number), 0, seconds)
    ended(add(site, "measure", "drift", at=2e9), 1, 50.0)
    ended(add(site, "measure", "read-noise", at=2e9), 0, 60.0)
    site.queue._open.clear()
    assert sorted(costs._before(site, ("measure", "drift"))) == [2.0, 3.0, 4.0]
    assert costs._before(site, ("measure", "read-noise")) == [60.0]
    assert costs._before(site, ("fit",)) == []


def test_a_rehearsal_tells_or_fails_in_a_sentence(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = composed(*PROGRAM)
    told = '{"chip_seconds": 90, "pulses_per_device": 2.5, "memory_bytes": 1000}'
    monkeypatch.setattr(costs, "command_of", lambda words: ["echo", told])
    found = run(cost_of(site, asked, asked_for=False))
    assert found.problem == ""
    assert found.rows == (
        ("", (("chip time", "up to 1.5min"), ("pulses a device", "up to 2.5"), ("memory", "up to 1 kB"))),
    )
    monkeypatch.setattr(costs, "command_of", lambda words: ["echo", '{"error": "no weights"}'])
    assert run(cost_of(site, asked, asked_for=False)).problem == "no weights"
    monkeypatch.setattr(costs, "command_of", lambda words: ["false"])
    assert run(cost_of(site, asked, asked_for=False)).problem == "the rehearsal failed"


# ---- what is asked of the other process ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ({"ask": "hello", "about": {}}, {"told": "hello"}),
        ({"ask": "page", "about": {"path": "none.h5"}}, {"error": "none.h5: no such file"}),
        ({"ask": "page", "about": {}}, {"error": "KeyError: path"}),
        ({"ask": "chip options", "about": {"target": "nope"}}, {"told": []}),
        ({"ask": "chip of", "about": {"path": "w.npy"}}, {"told": ""}),
    ],
)
def test_every_request_is_answered_with_a_line(line: dict[str, object], answer: dict[str, object]) -> None:
    answers = io.StringIO()
    reader._answer(reader.asks_of(main), json.dumps(line), answers)
    assert json.loads(answers.getvalue()) == answer
    assert answers.getvalue().count("\n") == 1


def test_options_of_a_preset_have_units_and_what_they_mean() -> None:
    told = {one["name"]: one for one in reader._chip_options({"target": "pcm-90nm"})}
    assert (told["seed"]["default"], told["seed"]["unit"]) == ("0", "")
    assert told["seed"]["help"] == "which specimen of the chip"
    assert (told["rows"]["unit"], told["adc_offset_spread"]["unit"]) == ("", "LSB")
    assert told["rows"]["default"] == "256"
    assert told["rows"]["help"]
    assert "states" in {one["name"] for one in reader._chip_options({"target": "rpu-baseline"})}
