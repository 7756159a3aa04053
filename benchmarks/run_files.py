"""How much of the time of a run its files take, and how large the run file is, for each core.

    python benchmarks/run_files.py [--cores 1] [--seed 1]

Weights that fill so many cores of `sim:hermes-64` are programmed by GDP into a run file. What its files take is the CPU
time of this process inside of what keeps the run (the file, its commits, the journal and the states of the chip beside
it), without that of the chip inside; the share is that of all CPU time. Bounds: 5 %, and 300 MB for 64 cores.
"""

from __future__ import annotations

import argparse
import functools
import json
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine

import hwloop
from hwloop.errors import NeedsNote
from hwloop.jobs.program import Programming
from hwloop.jobs.recorders import Recorder
from hwloop.jobs.recording import Recording

SHARE, BYTES = 0.05, 300e6 / 64
"""What files may take of the time, and bytes of the run file for each core."""
CELLS = 256
"""Rows and columns of a core."""


@dataclass
class Clock:
    """Seconds of CPU inside of some functions, without those of others that they call."""

    seconds: float = 0.0
    inside: bool = False

    def within(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Count the time of a function."""
        return self._counted(function, inside=True)

    def without(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Leave the time of a function out, where one that is counted calls it."""
        return self._counted(function, inside=False)

    def _counted(self, function: Callable[..., Any], *, inside: bool) -> Callable[..., Any]:
        @functools.wraps(function)
        def counted(*given: Any, **named: Any) -> Any:
            if self.inside == inside:
                return function(*given, **named)
            self.inside, began = inside, time.process_time()
            try:
                return function(*given, **named)
            finally:
                self.seconds += (time.process_time() - began) * (1 if inside else -1)
                self.inside = not inside

        return counted


def count_files(clock: Clock) -> None:
    """Count the time of all that keeps a run."""
    for name in ("make_sure", "begin", "step", "programmed", "finish"):
        setattr(Recorder, name, clock.within(getattr(Recorder, name)))
    Programming._exported_state = clock.within(Programming._exported_state)  # type: ignore[method-assign]
    Recording.leave = clock.within(Recording.leave)  # type: ignore[method-assign]
    ask = clock.within(Recording.ask)
    Recording.ask = lambda self, name, hook, *asked: ask(self, name, clock.without(hook), *asked)  # type: ignore


def measured(cores: int, seed: int, out: Path) -> dict[str, float]:
    """Program so many cores, and tell what it took."""
    rng, clock = np.random.default_rng(seed), Clock()
    weights = {f"layer{k}": rng.normal(size=(CELLS, CELLS)).clip(-3, 3).astype(np.float32) for k in range(cores)}
    with hwloop.connect(f"sim:hermes-64?seed={seed}") as chip:
        hwloop.program(chip, {"warm": weights["layer0"][:32]}, hwloop.GDP(max_steps=2))
    count_files(clock)
    with hwloop.connect(f"sim:hermes-64?seed={seed}") as chip:
        clock.seconds, began, wall = 0.0, time.process_time(), time.monotonic()
        run = hwloop.program(chip, weights, "gdp", out=out, force=True)
    whole = time.process_time() - began
    return {
        "cpu_seconds": whole,
        "wall_seconds": time.monotonic() - wall,
        "in_files": clock.seconds,
        "share": clock.seconds / whole,
        "bytes_per_core": out.stat().st_size / cores,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "mvm_error": run.mvm_error,
    }


def main() -> int:
    """Print what was measured, and fail beyond a bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    warnings.simplefilter("ignore", NeedsNote)
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        found = measured(options.cores, options.seed, Path(folder) / "run.h5")
    print(json.dumps({"cores": options.cores} | {name: round(value, 4) for name, value in found.items()}))
    return int(found["share"] > SHARE or found["bytes_per_core"] > BYTES)


if __name__ == "__main__":
    sys.exit(main())
