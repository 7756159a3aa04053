"""Stops commands that use a bench of emulated instruments by a signal, and looks at what they leave on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import hwloop
from hwloop.files.resume_folder import folder_of
from hwloop.jobs.measurements import Measurements
from tests.drivers.bench.emulated import Rig

COMMANDS = {
    "program": ["program", "w.npy", "--method", "iterative"],
    "calibrate": ["calibrate", "devices"],
    "compare": ["compare", "w.npy", "--methods", "iterative"],
    "measure": ["measure", "read-noise", "--cells", "8"],
}
"""Commands that take half a minute or more on four rows and columns, without the chip and where they write to."""
PATIENCE = 120.0
"""Seconds that a busy computer may take to come to the first reading, and to the end."""


@dataclass(frozen=True)
class Stopped:
    """What became of a command that heard a signal."""

    code: int
    said: str
    seconds: float
    """From the signal to its end."""
    path: Path

    @property
    def on_file(self) -> str:
        """What its file says of how it ended; where there is none yet, what is said of the folder that goes on."""
        if not self.path.exists() and folder_of(self.path).exists():
            return "interrupted" if f"hwloop resume {self.path.name} goes on" in self.said else ""
        found = hwloop.load(self.path)
        if isinstance(found, Measurements):
            return str(found[-1].attributes["status"])
        skipped = getattr(found, "skipped", {})
        return "interrupted" if "interrupted" in skipped else str(getattr(found, "status", ""))


def stopped_by(number: signal.Signals, command: str, bench: Rig, folder: Path, lines: int) -> Stopped:
    """Run a command until the source meter has heard so many lines, and send it a signal then."""
    np.save(folder / "w.npy", np.random.default_rng(0).normal(size=(4, 4)))
    out, before = folder / f"{command}.h5", len(bench.source.heard)
    out.unlink(missing_ok=True)
    words = [*COMMANDS[command], "--backend", f"bench:{bench.file}", "--out", out.name]
    process = subprocess.Popen(
        [sys.executable, "-m", "hwloop", *words], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        deadline = time.monotonic() + PATIENCE
        while len(bench.source.heard) < before + lines:
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline, f"{command} did not come to {lines} lines"
            time.sleep(0.01)
        began = time.monotonic()
        process.send_signal(number)
        said, _ = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    return Stopped(process.returncode, said, time.monotonic() - began, out)
