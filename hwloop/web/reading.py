"""Asks the reader's process, one question at a time, and starts it anew where it has failed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

from hwloop.errors import BadInputError, HwloopError
from hwloop.typing import Json
from hwloop.web.processes import command_of, end
from hwloop.web.settings import SETTINGS

LARGEST = "64 MiB"
"""What an answer may be at most."""


class Reader:
    """A process of its own that reads files for the server."""

    def __init__(self, folder: Path) -> None:
        """Work in the data folder; the process is started by the first question."""
        self.folder = folder
        self._lock = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None

    async def ask(self, what: str, about: Mapping[str, Json]) -> Json:
        """Ask something.

        Raises
        ------
        BadInputError
            With what the reader says of the file, and where it fails or takes too long.
        """
        async with self._lock:
            try:
                async with asyncio.timeout(SETTINGS.read):
                    told = await self._exchange(json.dumps({"ask": what, "about": about}).encode() + b"\n")
            except TimeoutError:
                await self._end()
                raise BadInputError(f"reading this took more than {SETTINGS.read:g} s and was given up") from None
            except asyncio.CancelledError:
                await self._end()  # its answer would be taken for the next one's
                raise
        if "error" in told:
            raise BadInputError(str(told["error"]))
        return told.get("told")

    async def _exchange(self, line: bytes) -> dict[str, Json]:
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                *command_of(("web", "--reader")),
                cwd=self.folder,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                limit=2**26,
            )
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(line)
            await process.stdin.drain()
            answer = await process.stdout.readline()
        except (OSError, ValueError):
            answer = b""
        if not answer:
            await self._end()
            raise BadInputError("reading this failed; the file may be damaged")
        told: dict[str, Json] = json.loads(answer)
        return told

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            await end(process)

    async def close(self) -> None:
        """End the process, once the question that is being asked is answered or given up."""
        async with self._lock:
            await self._end()


async def quietly(reader: Reader, what: str, about: Mapping[str, Json]) -> Json:
    """Ask something that may fail; None where it does."""
    try:
        return await reader.ask(what, about)
    except HwloopError:
        return None
