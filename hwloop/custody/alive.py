"""Whether a process is still the one that it was: numbers of processes are given out again, moments are not."""

from __future__ import annotations

import subprocess
from pathlib import Path


def started(pid: int) -> str:
    """Return what tells a running process from a later one of the same number; empty where none runs."""
    if pid < 1:
        return ""
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            words = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            return ""
        state, ticks = words[0], words[19]
        return "" if state in ("Z", "X") else ticks  # one that has ended and that nobody has asked after yet
    command = ["ps", "-o", "state=,lstart=", "-p", str(pid)]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False).stdout.split()
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return " ".join(told[1:]) if told and not told[0].startswith("Z") else ""


def runs(pid: int, since: str) -> bool:
    """Tell whether the process that `started` gave `since` for still runs."""
    return bool(since) and started(pid) == since
