"""The log of who did what: a line of JSON for each action, in the data folder."""

from __future__ import annotations

import json
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path

from hwloop.errors import printable
from hwloop.web.settings import SETTINGS


@dataclass(frozen=True)
class Who:
    """Who asks: the address that the request came from, and the name of the token."""

    address: str
    name: str


@dataclass(frozen=True)
class Diary:
    """A file to which actions are added."""

    path: Path

    def note(self, who: Who, action: str, what: str = "") -> None:
        """Add a line; a disk that is full keeps nobody from stopping a job."""
        told = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "address": who.address,
            "token": who.name,
            "action": action,
            "what": printable(what)[:2000],
        }
        try:
            if self.path.exists() and self.path.stat().st_size > SETTINGS.diary:
                os.replace(self.path, self.path.with_suffix(".before"))
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(told) + "\n")
        except OSError:
            return


@dataclass
class Refusals:
    """Wrong tokens in the log: a line now and then, so that nobody can fill it until what others did is gone."""

    _last: float = -math.inf
    _more: int = 0

    def note(self, diary: Diary, address: str) -> None:
        """Write down that somebody had a wrong token; of many in a short time, how many it were, with the next."""
        now = time.monotonic()
        if now - self._last < SETTINGS.refusals:
            self._more += 1
            return
        more = f", and {self._more} more since the last line on this" if self._more else ""
        diary.note(Who(address, "-"), "refuse", f"a wrong token{more}")
        self._last, self._more = now, 0
