"""Tasks for executors: plain functions of a module, as other processes need them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from hwloop.errors import InstrumentError, LimitError

Tell = Callable[[str], None]


def square(task: int, tell: Tell) -> int:
    """Say two words; later tasks are quicker, so that they are done in another order than they were given."""
    tell(f"begin {task}")
    time.sleep(0.3 if task == 0 else 0.01)
    tell(f"end {task}")
    return task * task


def process(task: int, tell: Tell) -> tuple[int, str]:
    """Say in which process it runs, and with how many threads."""
    time.sleep(0.1)
    return os.getpid(), os.environ.get("OMP_NUM_THREADS", "")


def endless(task: str, tell: Tell) -> str:
    """Go on until it shall stop, and return what was done."""
    Path(f"{task}.pid").write_text(str(os.getpid()))
    try:
        while True:
            tell("going on")
            time.sleep(0.02)
    except KeyboardInterrupt:
        return f"{task} stopped"


def failing(task: int, tell: Tell) -> int:
    """Fail at the task 1, with an error that does not survive pickling or one that does."""
    if task == 1:
        raise InstrumentError(-222, "data out of range", "PULSE")
    if task == 2:
        error = LimitError("too much")
        error.add_note("what was done is on file")
        raise error
    return task


def dying(task: str, tell: Tell) -> str:
    """Die without a word, so often as the file says."""
    path = Path(task)
    left = int(path.read_text())
    if left:
        path.write_text(str(left - 1))
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"
