"""Kills a process at a moment of its own CPU time, as the system would: nothing of it runs any more."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable


def killed_after(seconds: float, work: Callable[[], object]) -> bool:
    """Do work in a copy of this process that is killed after so many seconds of CPU; tell whether it was.

    The timer ends the process by the default action of its signal, which is that of SIGKILL: in the middle of
    whatever it does.
    """
    child = os.fork()
    if not child:
        try:
            signal.signal(signal.SIGPROF, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_PROF, seconds)
            work()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])
