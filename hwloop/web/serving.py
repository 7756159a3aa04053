"""Runs the server until it is stopped."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from hwloop.custody.lock import lock_named
from hwloop.data import copy_examples
from hwloop.errors import BadInputError, LinkError, said
from hwloop.web.app import guarded, load, make_site
from hwloop.web.settings import HIDDEN, SETTINGS
from hwloop.web.site import Site
from hwloop.web.tokens import Tokens, kept_token


@dataclass(frozen=True)
class Place:
    """Where the server listens, and which folder it serves.

    Parameters
    ----------
    host, port
        Address; port 0 takes a free one.
    folder
        Data folder, which is made, with the example data, where it is missing.
    tokens
        Who is let in; None for a token of the folder's own.
    public
        Whether others than this machine can reach it.
    """

    host: str
    port: int
    folder: Path
    tokens: Tokens | None
    public: bool


def serve(commands: click.Group, place: Place, opened: Callable[[str, int], None]) -> None:
    """Serve pages until the process is asked to end; jobs that run go on.

    Parameters
    ----------
    commands
        All commands.
    place
        Where, and what.
    opened
        Told the address with the token, and the port, once the server listens.

    Raises
    ------
    BadInputError
        For a folder that cannot be made, or that another server serves.
    LinkError
        Where the address cannot be listened on.
    """
    _prepare(place.folder)
    lock = lock_named(place.folder / HIDDEN, f"the data folder {place.folder}", "give another --data")
    try:
        with contextlib.suppress(KeyboardInterrupt), _listening(place) as listening:  # it is how a server ends
            port = listening.getsockname()[1]
            tokens, site = _opened(commands, place)
            load(site)
            logging.getLogger("uvicorn.error").addFilter(_is_a_fault)
            shown = "127.0.0.1" if place.host in ("0.0.0.0", "::") else place.host
            if ":" in shown:
                shown = f"[{shown}]"
            address = f"http://{shown}:{port}/?token={tokens.known[0][1]}"
            server = server_of(guarded(site, tokens, place.host, port), lambda: opened(address, port))
            server.run([listening])
    finally:
        lock.release()


class Patient(H11Protocol):
    """A connection that is closed when its request does not come within some seconds.

    Whoever has no token could otherwise open connections without end, until there is no file left to accept one with.
    """

    _over: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Begin to wait for the request."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take in some of a request: it is to be whole within the time that its beginning has left."""
        super().data_received(data)
        if self._is_asked:
            self._stop_waiting()
        elif self._over is None:
            self._wait()

    @property
    def _is_asked(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self) -> None:
        self._over = self.loop.call_later(SETTINGS.request, self._end)

    def _stop_waiting(self) -> None:
        if self._over is not None:
            self._over.cancel()
            self._over = None

    def _end(self) -> None:
        self._over = None
        if not self._is_asked and not self.transport.is_closing():
            self.transport.abort()


class Announced(uvicorn.Server):
    """A server that tells when it answers and hears the signals that end it: one sent earlier may be lost."""

    def __init__(self, config: uvicorn.Config, opened: Callable[[], None]) -> None:
        """Call `opened` once that is so."""
        super().__init__(config)
        self._opened = opened

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer, and tell it."""
        await super().startup(sockets)
        self._opened()


def server_of(app: ASGIApp, opened: Callable[[], None] = lambda: None) -> uvicorn.Server:
    """Make the server of an application: silent, with bounds on what may come, and ended by a terminal that closes."""
    config = uvicorn.Config(
        app,
        log_level="error",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=2,
        ws="none",
        http=Patient,
        proxy_headers=False,  # else whoever asks could choose the address that the log tells
        h11_max_incomplete_event_size=2**16,
    )
    server = Announced(config, opened)
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup has it
        signal.signal(signal.SIGHUP, server.handle_exit)
    return server


def _is_a_fault(record: logging.LogRecord) -> bool:
    """Tell whether something is to be told of: not that a server which ends leaves somebody without an answer."""
    error = record.exc_info[1] if record.exc_info else None
    return not (isinstance(error, asyncio.CancelledError) or record.getMessage().startswith("Cancel "))


def _prepare(folder: Path) -> None:
    """Make the data folder, with the example data in it."""
    try:
        new = not folder.exists() or not any(folder.iterdir())
        (folder / HIDDEN).mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _no_data_folder(folder, error) from None
    if new:
        copy_examples(folder)


def _opened(commands: click.Group, place: Place) -> tuple[Tokens, Site]:
    """Find out who is let in, and open what the data folder holds of jobs."""
    try:
        tokens = place.tokens or kept_token(place.folder / HIDDEN / "token")
        return tokens, make_site(commands, place.folder, public=place.public)
    except OSError as error:
        raise _no_data_folder(place.folder, error) from None


def _no_data_folder(folder: Path, error: OSError) -> BadInputError:
    return BadInputError(f"{folder} cannot be the data folder ({said(error)}); give another --data")


def _listening(place: Place) -> socket.socket:
    """Listen at the address. Raises LinkError where that cannot be."""
    family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
    try:
        return socket.create_server((place.host, place.port), family=family, backlog=256)
    except OSError as error:
        raise LinkError(
            f"cannot listen on {place.host}:{place.port}: {error.strerror}; try another --port or --host"
        ) from None
