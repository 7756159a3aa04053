"""Kills long commands at random moments of their CPU time, goes on with them, and compares with ones left alone.

    python benchmarks/kills.py --kills 300 --seed 1
    python benchmarks/kills.py --kills 30 --command calibrate

Every command is killed as often as another: the process by a timer whose default action ends it, in the middle of
whatever it does, and so is whoever goes on with it, until one comes to its end. Counted are kills, files that did not
open after one, and ends that are not bit for bit that of a command that was not killed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import h5py
import numpy as np

import hwloop
from hwloop.errors import HwloopError

CHIP = "sim:hermes-core?rows=64&columns=64&cores=2&seed=1"
COMMANDS: dict[str, list[str]] = {
    "program": ["program", "w.npy", "--backend", CHIP, "--method", "gdp"],
    "program-iterative": ["program", "w.npy", "--backend", CHIP, "--method", "iterative"],
    "program-sgd": ["program", "w.npy", "--backend", CHIP, "--method", "sgd"],
    "calibrate": ["calibrate", "all", "--backend", CHIP],
    "drift": ["drift", "run.h5", "--times", "1s,1h,1d,30d,1y", "--compensation", "none,column,refresh"],
}
"""Long commands, without where they write to."""
TIMES_OF_DAY = {"created", "programmed_utc", "made_utc", "dates", "result_json", "error", "sha256", "run"}
"""Attributes that tell when something was done, or where, or follow from such."""


@dataclass
class Tally:
    """What became of the kills of one command."""

    kills: int = 0
    closed: list[str] = field(default_factory=list)
    """Files that did not open after a kill, and why."""
    wrong: list[str] = field(default_factory=list)
    """Ends that are not those of a command left alone, and where."""


def run(words: list[str], folder: Path, kill_after: float | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command, and kill it after so many seconds of its CPU time."""
    limit = None if kill_after is None else partial(signal.setitimer, signal.ITIMER_PROF, kill_after)
    return subprocess.run(
        [sys.executable, "-m", "hwloop", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        preexec_fn=limit,
    )


def contents(path: Path) -> dict[str, np.ndarray]:
    """Everything in a file but the times of day."""
    found: dict[str, np.ndarray] = {}

    def take(name: str, item: h5py.HLObject) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item[()]
        found.update({f"{name}@{key}": value for key, value in item.attrs.items() if key not in TIMES_OF_DAY})

    with h5py.File(path) as file:
        take("/", file)
        file.visititems(take)
    # What a job has cost in chip seconds is a difference of two times, whose last bits depend on where it began.
    return {name: value for name, value in found.items() if "provenance@" not in name and "chip_seconds" not in name}


def difference(one: Path, other: Path) -> str | None:
    """Name the first thing in which two files differ; None where they are the same."""
    first, second = contents(one), contents(other)
    if first.keys() != second.keys():
        return f"names {sorted(first.keys() ^ second.keys())[:3]}"
    for name, value in first.items():
        floats = getattr(value, "dtype", np.dtype("O")).kind == "f"
        if not np.array_equal(value, second[name], equal_nan=floats):
            return name
    return None


def kill_once(command: str, whole: Path, seconds: float, rng: np.random.Generator, tally: Tally) -> None:
    """Kill a command at a random moment, and those who go on with it, until the end."""
    folder = whole.parent / f"killed-{command}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in ("w.npy", "run.h5"):
        shutil.copyfile(whole.parent / name, folder / name)
    words, out = [*COMMANDS[command], "--out", "out.h5"], folder / "out.h5"
    while True:
        done = run(words, folder, rng.uniform(0.3, 1.0) * seconds)
        if done.returncode == 0:
            break
        if done.returncode > 0:
            tally.wrong.append(f"exit code {done.returncode}: {done.stderr.strip()[-200:]}")
            return
        tally.kills += 1
        try:
            if out.exists():
                hwloop.load(out)
        except HwloopError as error:
            tally.closed.append(str(error))
        if (folder / "out.h5.resume" / "job.json").exists():
            words = ["resume", "out.h5"]
        elif out.exists():
            words = [*COMMANDS[command], "--out", "out.h5", "--force"]
    found = difference(whole, out)
    if found is not None:
        tally.wrong.append(found)


def main() -> int:
    """Kill as often as asked, and tell what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--command", choices=list(COMMANDS), action="append")
    options = parser.parse_args()
    rng, chosen = np.random.default_rng(options.seed), options.command or list(COMMANDS)
    bad = 0
    with tempfile.TemporaryDirectory(prefix="hwloop-kills-") as place:
        folder = Path(place)
        np.save(folder / "w.npy", np.clip(rng.normal(size=(64, 100)), -3, 3))
        run([*COMMANDS["program"], "--out", "run.h5"], folder)
        for command in chosen:
            before = os.times()
            whole, tally = folder / f"{command}.h5", Tally()
            done = run([*COMMANDS[command], "--out", whole.name], folder)
            assert done.returncode == 0, done.stderr
            after = os.times()
            seconds = after.children_user + after.children_system - before.children_user - before.children_system
            while tally.kills < options.kills / len(chosen):
                kill_once(command, whole, seconds, rng, tally)
            bad += len(tally.closed) + len(tally.wrong)
            print(f"{command:18} {seconds:6.1f} s  kills {tally.kills:4}  closed {len(tally.closed)}", flush=True)
            for text in [*tally.closed, *tally.wrong]:
                print(f"    {text}")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
