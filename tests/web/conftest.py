"""Pages asked in this process, without a network: a data folder, its site, and a browser of a few lines."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

import numpy as np
import pytest

from hwloop.cli import main
from hwloop.typing import Json
from hwloop.web.app import make_app, make_site
from hwloop.web.guard import Guard, names_of
from hwloop.web.reader import asks_of
from hwloop.web.reading import Reader
from hwloop.web.site import Site
from hwloop.web.tokens import Tokens, cookie_of
from tests.conftest import gaussian

T = TypeVar("T")
TOKEN = "a-token-of-anna-0123456789"
TOKENS = Tokens((("anna", TOKEN), ("bert", "a-token-of-bert-9876543210")))
HOST = "127.0.0.1:8642"
CHIP = "sim:hermes-core?rows=32&columns=32&seed=1"


@dataclass
class Answer:
    """What the server answers."""

    status: int
    headers: dict[str, str]
    text: str


@dataclass
class Asker:
    """Sends requests, by default as a browser that has opened the pages does."""

    site: Site
    headers: Mapping[str, str] = field(
        default_factory=lambda: {
            "host": HOST,
            "cookie": f"hwloop-8642={cookie_of(TOKEN)}",
            "sec-fetch-site": "same-origin",
            "origin": f"http://{HOST}",
        }
    )

    def __post_init__(self) -> None:
        self.app = Guard(make_app(self.site), TOKENS, self.site.diary, "127.0.0.1", 8642, names_of("127.0.0.1"))

    def __call__(self, method: str, path: str, content: bytes = b"", **headers: str) -> Answer:
        """Send one request; a header that is given as '' is left out."""
        return asyncio.run(self.ask(method, path, content, **headers))

    def get(self, path: str, **headers: str) -> Answer:
        return self("GET", path, **headers)

    def post(self, path: str, values: Mapping[str, Any], **headers: str) -> Answer:
        content = urlencode(values, doseq=True).encode()
        return self("POST", path, content, content_type="application/x-www-form-urlencoded", **headers)

    async def ask(self, method: str, path: str, content: bytes = b"", **headers: str) -> Answer:
        told = {**self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in told.items() if value],
            "client": ("127.0.0.1", 40000),
            "server": ("127.0.0.1", 8642),
        }
        sent: list[dict[str, Any]] = []
        parts = [{"type": "http.request", "body": content, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if not parts:
                await asyncio.Event().wait()  # the client stays
            return parts.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        start = next(one for one in sent if one["type"] == "http.response.start")
        body = b"".join(one.get("body", b"") for one in sent if one["type"] == "http.response.body")
        found = {name.decode(): value.decode("latin-1") for name, value in start["headers"]}
        return Answer(start["status"], found, body.decode("utf-8", "replace"))


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """A data folder with w.npy in it: 12 outputs, 16 inputs."""
    folder = tmp_path / "lab"
    folder.mkdir()
    np.save(folder / "w.npy", gaussian(12, 16))
    return folder


class ReaderHere(Reader):
    """Answers in this process what the reader answers in its own."""

    async def ask(self, what: str, about: Mapping[str, Json]) -> Json:
        told = {key: str(self.folder / str(value)) if key == "path" else value for key, value in about.items()}
        return asks_of(main)[what](told)


@pytest.fixture
def site(lab: Path) -> Iterator[Site]:
    found = make_site(main, lab)
    found.files = found.forms = ReaderHere(lab)
    yield found
    for job in found.queue.open_jobs():  # what a test has started
        found.queue.stop(job, "test")
    wait_for(found, lambda: found.queue.idle)


@pytest.fixture
def ask(site: Site) -> Asker:
    return Asker(site)


def wait_for(site: Site, condition: Any, seconds: float = 30.0) -> None:
    """Look after the queue until something is so."""

    async def look() -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                await site.queue.look()
                await asyncio.sleep(0.02)

    asyncio.run(look())


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)
