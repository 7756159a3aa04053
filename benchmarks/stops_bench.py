"""Stops commands on a bench of emulated instruments by signals, and looks at what they leave on.

    python benchmarks/stops_bench.py [--stops 24] [--seed 0] [--command program]

A 2450, a 33600A and a 707B are emulated on sockets around a simulated crossbar. A command gets Ctrl-C, SIGTERM or
SIGHUP once the source meter has heard some number of lines, drawn by chance. It must end with exit code 1, all outputs
off and all relays open, no relay switched under voltage, and its file must say that it was stopped.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from machine import machine

sys.path.insert(0, str(Path(__file__).parents[1]))  # the instruments are tools of the tests
from tests.drivers.bench.emulated import rig
from tests.drivers.bench.stopping import COMMANDS, Stopped, stopped_by

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LINES = 3000
"""Lines that a source meter has heard, at most, when the signal comes."""


def complaints(found: Stopped, idle: bool, violations: list[str]) -> list[str]:
    """List what must not be."""
    told = [f"code {found.code}: {found.said[-200:]}"] if found.code != 1 or "Traceback" in found.said else []
    told += [] if idle else ["not idle"]
    told += [f"{len(violations)} violations, {violations[0]}"] if violations else []
    if not told and found.on_file != "interrupted":
        told.append(f"its file says '{found.on_file}'")
    return told


def main() -> int:
    """Stop commands as often as asked, and tell what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--stops", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--command", choices=list(COMMANDS), action="append")
    options = parser.parse_args()
    print(machine())
    rng, chosen, tally = np.random.default_rng(options.seed), options.command or list(COMMANDS), Counter[str]()
    slowest, bad = 0.0, 0
    with tempfile.TemporaryDirectory(prefix="hwloop-stops-") as place:
        folder = Path(place)
        os.environ["HWLOOP_LEDGER"] = str(folder / "ledger.sqlite")
        for turn in range(options.stops):
            command, number = chosen[turn % len(chosen)], SIGNALS[turn // len(chosen) % len(SIGNALS)]
            with rig(folder) as bench:
                found = stopped_by(number, command, bench, folder, int(rng.integers(1, LINES)))
                told = complaints(found, bench.idle, bench.crossbar.violations)
            slowest = max(slowest, found.seconds)
            tally[f"{command} {number.name}"] += 1
            bad += bool(told)
            for text in told:
                print(f"{command}, {number.name}: {text}")
    for name, count in sorted(tally.items()):
        print(f"{name:20} {count:4}")
    print(f"{options.stops} stops, {bad} bad, the slowest took {slowest:.1f} s")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
