"""The pages in a real browser, on a real server: composed, run, watched, stopped, gone on with, whatever is killed."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest

from hwloop.custody.alive import runs
from hwloop.web.guard import REFUSED
from hwloop.web.jobs import Job, JobFolder, Status
from tests.conftest import gaussian

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from browser import browser, missing
from web_server import Server, end_jobs, start, until

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

CHIP = "sim:hermes-core?rows=32&columns=32&seed=1"
BRIEF = f"hwloop program w.npy --backend '{CHIP}' --set max_steps=6"
ENDLESS = f"hwloop program w.npy --backend '{CHIP}' --set max_steps=10000 --set max_vectors=1000000000"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lab")
    np.save(folder / "w.npy", gaussian(12, 16))
    (folder / "<img src=x onerror=alert(1)>.npy").write_bytes(b"odd")
    return folder


class Lab:
    """A server that can be killed, and started again at the same address."""

    def __init__(self, data: Path) -> None:
        self.data, self.server = data, start(data)

    def again(self) -> None:
        self.server = start(self.data, self.server.port)

    def jobs(self) -> list[Job]:
        return JobFolder(self.data / ".hwloop-web" / "jobs").all()


@pytest.fixture(scope="module")
def lab(data: Path) -> Iterator[Lab]:
    found = Lab(data)
    yield found
    found.server.process.terminate()
    found.server.process.communicate(timeout=60)
    end_jobs(data)


@pytest.fixture(scope="module")
def window(lab: Lab) -> Iterator[Any]:
    with browser() as found:
        found.resize(1024)
        found.visit(f"{lab.server.root}/?token=wrong")
        assert found.text().strip() == REFUSED.strip()
        found.visit(lab.server.address)
        until(lambda: found.address == f"{lab.server.root}/")
        found.complaints()
        yield found


def compose(window: Any, server: Server, line: str) -> None:
    window.visit(f"{server.root}/compose?line={quote(line)}")


def test_an_experiment_from_its_form_to_its_report(lab: Lab, window: Any) -> None:
    compose(window, lab.server, BRIEF)
    cost = until(lambda: "chip time" in window.text("#cost") and window.text("#cost"))
    assert "up to" in cost
    window.click("Run", "button")
    until(lambda: window.address.startswith(f"{lab.server.root}/jobs/"))
    until(lambda: "done" in window.text("#live"))
    window.click("Report")
    until(lambda: "MVM error" in window.text(".verdict"))
    assert window.text("h1") == "program-1.h5"
    window.run("for (const one of document.images) one.loading = 'eager'")  # else those far below wait to be seen
    until(lambda: window.run("return [...document.images].every(one => one.complete && one.naturalWidth > 0)"))
    for width in (390, 1024, 1920):
        for dark in (False, True):
            window.resize(width, dark=dark)
            assert window.faults() == [], (width, dark)
    window.resize(1024)
    window.click("Open as a form")
    until(lambda: window.address.startswith(f"{lab.server.root}/compose"))
    shown = window.text(".code pre").replace("\\\n", " ")
    assert shlex.split(shown)[:-1] == shlex.split(BRIEF + " --out")
    assert window.complaints() == []


def test_a_server_is_killed_and_the_job_goes_on_and_stops_and_goes_on(lab: Lab, window: Any) -> None:
    compose(window, lab.server, ENDLESS)
    window.click("Run", "button")
    until(lambda: "programming, step" in window.text("#live"))
    (job,) = [one for one in lab.jobs() if one.status().open]
    pid, since = job.process()
    window.run("location.reload()")
    until(lambda: "running" in window.text("#live"))
    lab.server.kill()
    until(lambda: "does not answer" in window.text("#live"))
    assert runs(pid, since)
    lab.again()
    steps = [until(lambda: "programming, step" in window.text("#live") and window.text(".phase"))]  # by itself
    until(lambda: window.text(".phase") not in ("", steps[0]))
    first = window.another_window()
    window.visit(f"{lab.server.root}/jobs")
    until(lambda: "running" in window.text("main"))
    window.click("Stop", "button")
    until(lambda: "stop" in window.text("#live"))
    window.go_to_window(first)
    until(lambda: "stopped" in window.text("#live"))  # nobody loaded this one again
    assert job.status() is Status.STOPPED
    until(lambda: not runs(pid, since))
    window.click("Go on", "button")
    until(lambda: "programming, step" in window.text("#live"))
    (again,) = [one for one in lab.jobs() if one.status().open]
    assert again.asked.words[0] == "resume"
    os.kill(again.process()[0], 9)
    until(lambda: "killed" in window.text("#live"))
    assert "can be gone on with" in window.text("#live")


def test_hostile_names_are_shown_and_every_page_is_without_fault(lab: Lab, window: Any) -> None:
    window.complaints()
    for path in (
        "/",
        "/compose",
        "/compose?line=hwloop+program",
        "/compose?line=hwloop+train",
        "/jobs",
        "/files",
        "/chips",
        "/log",
    ):
        window.visit(f"{lab.server.root}{path}")
        for width in (390, 1024, 1920):
            for dark in (False, True):
                window.resize(width, dark=dark)
                assert window.faults() == [], (path, width, dark)
    window.visit(f"{lab.server.root}/files")
    assert "<img src=x onerror=alert(1)>.npy" in window.text("main")
    window.click("<img src=x")
    assert window.text("h1") == "<img src=x onerror=alert(1)>.npy"
    assert window.complaints() == []
    assert window.requests() == []


def test_a_keyboard_is_enough(lab: Lab, window: Any) -> None:
    window.resize(1024)
    window.visit(lab.server.root)
    window.press("\ue004")  # tab
    assert window.run("return document.activeElement.className") == "skip"
    for _ in range(7):
        window.press("\ue004")
    assert window.run("return document.activeElement.innerText").startswith("Compare two methods")
    window.press("\ue007")  # enter
    until(lambda: window.text("h1") == "compare")
    labelled = (
        "return [...document.querySelectorAll('input:not([type=hidden]), select, textarea')]"
        ".filter(one => !one.labels?.length && !one.ariaLabel).map(one => one.name)"
    )
    assert window.run(labelled) == []
