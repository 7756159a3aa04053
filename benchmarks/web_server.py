"""`hwloop web` as a process of its own, for tests and benchmarks that look at it from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from browser import DIRECT


@dataclass
class Server:
    """A server that runs.

    Parameters
    ----------
    process, address, port
        Its process, the address with the token, and the port.
    """

    process: subprocess.Popen[str]
    address: str
    port: int

    @property
    def root(self) -> str:
        """Address without the token."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def token(self) -> str:
        """The token."""
        return self.address.partition("token=")[2]

    def get(self, path: str) -> bytes:
        """Ask for a page, as a program does."""
        request = urllib.request.Request(f"{self.root}{path}", headers={"Authorization": f"Bearer {self.token}"})
        with DIRECT.open(request, timeout=60) as answer:
            return bytes(answer.read())

    def kill(self) -> None:
        """End it as a crash does."""
        self.process.kill()
        self.process.communicate()


def start(data: Path, port: int = 0) -> Server:
    """Start a server, and wait until it listens."""
    words = ["web", "--data", str(data), "--port", str(port), "--no-open", "--json"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "hwloop", *words], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    text = ""
    for line in process.stdout:
        text += line
        if line.startswith("}"):
            break
    told = json.loads(text)
    return Server(process, told["address"], told["port"])


@contextmanager
def serving(data: Path) -> Iterator[Server]:
    """Run a server meanwhile, and end the jobs that it has left."""
    server = start(data)
    try:
        yield server
    finally:
        server.process.send_signal(signal.SIGTERM)
        server.process.communicate(timeout=60)
        end_jobs(data)


def end_jobs(data: Path) -> None:
    """End the processes of all jobs of a data folder."""
    from hwloop.custody.alive import runs
    from hwloop.web.jobs import JobFolder

    for job in JobFolder(data / ".hwloop-web" / "jobs").all():
        pid, since = job.process()
        if runs(pid, since):
            os.kill(pid, signal.SIGKILL)


def until(condition: Callable[[], Any], seconds: float = 60.0, every: float = 0.1) -> Any:
    """Wait until something is so, and return it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(every)
    raise TimeoutError("it did not become so")
