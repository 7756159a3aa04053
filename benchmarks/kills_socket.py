"""Kills long commands that use a chip behind a socket, goes on with them, and looks at what the chip has received.

    python benchmarks/kills_socket.py --kills 100 --seed 1 [--command program]

`hwloop serve` lends a simulated chip out over a socket, and lives on while the commands that use it are killed at
random moments of their CPU time; see kills.py. After every kill the chip is asked what its devices have received: the
ledger must hold no less for any device, and at most one batch more than after the kill before. Measurements and
comparisons put a chip that has a state back to an earlier one, and its own count with it, while the ledger counts on:
of them only the first is asked. The result at the end must be as good as that of a command that was left alone, on a
chip of its own.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from kills import WARM, run, status_of

import hwloop
from hwloop.cli import main
from hwloop.errors import HwloopError
from hwloop.jobs.compare import Comparison
from hwloop.jobs.run import Run

SERVED = "sim:hermes-core?rows=64&columns=64&seed=1"
COMMANDS = {
    "program": ["program", "w.npy", "--method", "gdp"],
    "program-iterative": ["program", "w.npy", "--method", "iterative"],
    "calibrate": ["calibrate", "all"],
    "measure": ["measure", "drift", "--cells", "2000", "--until", "1h"],
    "compare": ["compare", "w.npy", "--methods", "gdp,iterative"],
}
"""Long commands, without the chip and where they write to."""
REWINDING = {"measure", "compare"}
"""Commands that put a chip which has a state back to an earlier one."""
WORSE = 1.1
"""Error of a run that was killed, over that of one left alone, which is no longer the same quality."""


@dataclass
class Tally:
    """What became of the kills of one command."""

    kills: int = 0
    ends: list[float] = field(default_factory=list)
    """Error of what came to its end, over that of a command that was left alone."""
    wrong: list[str] = field(default_factory=list)
    above: int = 0
    """Most pulses by which a device stood higher in the ledger than on the chip, above what it did before a kill."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Lend a fresh chip out in a process of its own, and keep its life in a ledger of its own; give its URI."""
    os.environ["HWLOOP_LEDGER"] = str(folder / "ledger.sqlite")
    log = folder / "served"
    log.unlink(missing_ok=True)
    child = os.fork()
    if not child:
        stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(stream, 1)
        os.dup2(stream, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        try:
            main(["serve", "--chip", SERVED, "--port", "0", "--json"], "hwloop")
        finally:
            os._exit(0)
    try:
        while not (log.exists() and log.read_text().rstrip().endswith("}")):
            time.sleep(0.05)
        yield json.loads(log.read_text())["uri"]
    finally:
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)


def excess(uri: str) -> np.ndarray:
    """Return by how much each device stands higher in the ledger than on the chip."""
    with hwloop.connect(uri) as chip:
        state = chip.export_state()
        size = chip.info.devices_per_core
        try:
            known = hwloop.ledger(chip).cores.get(0, np.zeros(size, np.int32)).reshape(-1)
        except HwloopError:  # nothing was ever sent
            known = np.zeros(size, np.int32)
    behind: np.ndarray = known.astype(int) - state.get("ledger/0", np.zeros(size, np.int32))
    return behind


def quality(path: Path) -> float:
    """Return the error of a result; 1 for a calibration or measurement, which has none and is whole if it opens."""
    found = hwloop.load(path)
    if isinstance(found, Run):
        return found.mvm_error
    if isinstance(found, Comparison):
        return float(np.mean([run.mvm_error for runs in found.runs.values() for run in runs]))
    return 1.0


def kill_once(
    words: list[str], folder: Path, seconds: float, whole: float, rng: np.random.Generator, tally: Tally
) -> None:
    """Kill a command at a random moment, and those who go on with it, until the end."""
    with served(folder) as uri:
        begun = [*words, "--backend", uri, "--out", "out.h5"]
        out, asked, before, longest = folder / "out.h5", begun, np.zeros(1, int), seconds
        while True:
            done = run(asked, folder, rng.uniform(0.02, 1.4) * longest)
            longest *= 1.1  # who goes on over a link repeats its way and measures again, which takes time too
            if done.returncode > 0:
                tally.wrong.append(f"exit code {done.returncode}: {done.said.strip()[-300:]}")
                return
            now = excess(uri)
            if now.min() < 0:
                tally.wrong.append(f"a device has {-now.min()} pulses that the ledger does not know")
            tally.above = max(tally.above, 0 if words[0] in REWINDING else int((now - before).max()))
            before = now
            if done.returncode == 0 or (done.returncode < 0 and words[0] == "measure" and status_of(out) == "complete"):
                tally.ends.append(quality(out) / whole)
                return
            tally.kills += 1
            if (folder / "out.h5.resume" / "job.json").exists() or (words[0] == "measure" and out.exists()):
                asked = ["resume", out.name, "--backend", uri]
            else:
                asked = [*begun, "--force"]


def benchmark() -> int:
    """Kill as often as asked, and tell what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--command", choices=list(COMMANDS), action="append")
    options = parser.parse_args()
    for module in (*WARM, "hwloop.drivers.visa_chip", "hwloop.cli.serve", "pyvisa_py", "hwloop.cli.measure"):
        importlib.import_module(module)
    rng, bad, chosen = np.random.default_rng(options.seed), 0, options.command or list(COMMANDS)
    with tempfile.TemporaryDirectory(prefix="hwloop-kills-") as place:
        for command in chosen:
            folder, tally = Path(place) / command, Tally()
            folder.mkdir()
            np.save(folder / "w.npy", np.clip(np.random.default_rng(1).normal(size=(64, 64)), -3, 3))
            with served(folder) as uri:
                before = os.times().children_user
                done = run([*COMMANDS[command], "--backend", uri, "--out", "whole.h5"], folder)
                assert done.returncode == 0, done.said
                seconds = os.times().children_user - before
            whole = quality(folder / "whole.h5")
            while tally.kills < options.kills / len(chosen):
                for name in ("out.h5.resume", "ledger.sqlite"):
                    shutil.rmtree(folder / name, ignore_errors=True)
                for path in [*folder.glob("ledger.sqlite*"), *folder.glob("out*.h5")]:
                    path.unlink()
                kill_once(COMMANDS[command], folder, seconds, whole, rng, tally)
            worst = max(tally.ends, default=0.0)
            bad += len(tally.wrong) + (worst > WORSE) + (tally.above > 1)
            print(
                f"{command:18} {seconds:5.1f} s  kills {tally.kills:4}  ends {len(tally.ends):3}  worst {worst:.3f} of "
                f"one left alone  ledger above by {tally.above if command not in REWINDING else '-'} at most",
                flush=True,
            )
            for text in tally.wrong:
                print(f"    {text}")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(benchmark())
