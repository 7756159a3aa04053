"""The server bears clients that are slow, silent, or say that they are somebody else."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hwloop.cli import main
from hwloop.errors import BadInputError
from hwloop.web import serving
from hwloop.web.app import make_app, make_site
from hwloop.web.serving import Place, server_of
from tests.web.conftest import run

HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n"


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the address of the client, after a while."""
    if scope["type"] == "http":
        await asyncio.sleep(0.3)
        length = str(len(scope["client"][0])).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
        await send({"type": "http.response.body", "body": scope["client"][0].encode()})


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Listen to signals afterwards as before."""
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


async def served(work: Callable[[int], Awaitable[None]]) -> None:
    """Serve meanwhile."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = server_of(app)
        server.config.timeout_keep_alive = 1
        task = asyncio.create_task(server.serve([listening]))
        try:
            await work(listening.getsockname()[1])
        finally:
            server.should_exit = True
            await task


async def told(port: int, *parts: bytes) -> bytes:
    """Send parts of a request, and return all that comes until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
    try:
        return await asyncio.wait_for(reader.read(), 20)
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


def test_connections_that_ask_nothing_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "SETTINGS", replace(serving.SETTINGS, request=0.2))

    async def work(port: int) -> None:
        whole = HEAD + b"\r\n"
        silent, half, second, slow = await asyncio.gather(
            told(port), told(port, HEAD), told(port, whole + HEAD), told(port, whole)
        )
        assert (silent, half) == (b"", b"")
        assert second.endswith(b"127.0.0.1")  # the first request of it is answered
        assert slow.endswith(b"127.0.0.1")  # an answer may take longer than a request

    run(served(work))


def test_the_address_of_the_log_is_not_what_a_client_says() -> None:
    async def work(port: int) -> None:
        answer = await told(port, HEAD + b"X-Forwarded-For: 6.6.6.6\r\nConnection: close\r\n\r\n")
        assert answer.endswith(b"127.0.0.1")

    run(served(work))


def test_a_terminal_that_is_closed_ends_the_server() -> None:
    async def work() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            server = server_of(app)
            task = asyncio.create_task(server.serve([listening]))
            while not server.started:
                await asyncio.sleep(0.01)
            os.kill(os.getpid(), signal.SIGHUP)
            await asyncio.wait_for(task, 20)

    run(work())


@pytest.mark.parametrize("odd", ["jobs", "token"])
def test_a_folder_that_cannot_be_used_is_said(tmp_path: Path, odd: str) -> None:
    hidden = tmp_path / ".hwloop-web"
    (hidden if odd == "jobs" else hidden / "token" / "x").mkdir(parents=True)
    if odd == "jobs":
        (hidden / "jobs").write_text("no folder")
    with pytest.raises(BadInputError, match="cannot be the data folder"):
        serving.serve(main, Place("127.0.0.1", 0, tmp_path, None, False), lambda address, port: None)


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.3])
def test_the_processes_of_a_server_are_gone_before_it_is(
    delay: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[asyncio.subprocess.Process] = []
    begin = asyncio.create_subprocess_exec

    async def watched(*words: Any, **options: Any) -> asyncio.subprocess.Process:
        begun.append(await begin(*words, **options))
        return begun[-1]

    async def live() -> None:
        site = make_site(main, tmp_path)
        application = make_app(site)
        async with application.router.lifespan_context(application):  # which asks the reader for something
            question = asyncio.create_task(site.files.ask("hello", {}))
            await asyncio.sleep(delay)
            question.cancel()  # as the server does with whom it can no longer answer

    monkeypatch.setattr(asyncio, "create_subprocess_exec", watched)
    asyncio.run(live())  # which cancels once more what is left
    assert len(begun) == 2 or delay == 0.0
    assert all(process.returncode is not None for process in begun)
