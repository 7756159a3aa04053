"""Kills long commands at random moments of their CPU time, goes on with them, and compares with ones left alone.

    python benchmarks/kills.py --kills 300 --seed 1
    python benchmarks/kills.py --kills 30 --command calibrate --command retrain
    python benchmarks/kills.py --kills 30 --stop SIGTERM
    python benchmarks/kills.py --kills 100 --often

Every command runs in a copy of this process, which has loaded all modules already. It is killed as often as another: by
a timer whose default action ends it, in the middle of whatever it does, and so is whoever goes on with it, until one
comes to its end. Counted are kills, files that did not
open after one, and ends that are not bit for bit that of a command that was not killed. With `--stop` commands are
asked to stop instead, by a signal that they hear: their file must say that they were, and be gone on with in the same
way. With `--often`, states and commits come twenty times a second, so that more kills meet them.
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
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import h5py
import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file

import hwloop
import hwloop.data
from hwloop.cli import main
from hwloop.errors import HwloopError
from hwloop.files.hdf5 import CommitTimer
from hwloop.jobs.measurements import Measurements

CHIP = "sim:hermes-core?rows=64&columns=64&cores=2&seed=1"
NETWORK = ["--network", "hwloop.nn.zoo:digits_mlp", "--weights", "digits_mlp.safetensors", "--dataset", "digits.npz"]
WIDE = "sim:hermes-core?rows=64&columns=64&cores=16&seed=1"
COMMANDS: dict[str, list[str]] = {
    "program": ["program", "w.npy", "--backend", CHIP, "--method", "gdp"],
    "program-iterative": ["program", "w.npy", "--backend", CHIP, "--method", "iterative"],
    "program-sgd": ["program", "w.npy", "--backend", CHIP, "--method", "sgd"],
    "calibrate": ["calibrate", "all", "--backend", CHIP],
    "drift": ["drift", "run.h5", "--times", "1s,1h,1d,30d,1y", "--compensation", "none,column,refresh"],
    "compare": ["compare", "w.npy", "--backend", CHIP, "--methods", "gdp,iterative,exact"],
    "workers": ["program", "w.npy", "--backend", CHIP.replace("cores=2", "cores=4"), "--workers", "1"],
    "deploy": ["deploy", *NETWORK, "--backend", WIDE, "--set", "max_steps=10"],
    "drift-network": ["drift", "net.h5", "--times", "1s,1d,1y", "--compensation", "none,column"],
    "measure": ["measure", "drift", "--backend", CHIP, "--cells", "4000", "--until", "1d"],
    "fit": ["fit", "meas.h5", "--family", "log-clip"],
    "retrain": ["retrain", *NETWORK, "--backend", WIDE, "--epochs", "4"],
    "train": [
        *["train", "--network", "hwloop.nn.zoo:digits_mlp", "--dataset", "few.npz", "--algorithm", "tiki-taka"],
        *["--backend", "sim:reram-sb?rows=64&columns=64&cores=16&seed=1", "--epochs", "4"],
    ],
    "search": [
        *["search", "--dataset", "few.npz", "--chip", "sim:hermes-64?rows=64&columns=64", "--params", "4k"],
        *["--budget", "5", "--set", "first=3", "--set", "batch=1", "--set", "epochs=1", "--set", "twins=1"],
        *["--set", "images=40", "--set", "vectors=64", "--set", "method=exact", "--set", "generations=2"],
    ],
}
"""Long commands, without where they write to."""
ENDINGS = {"fit": ".json", "retrain": ".safetensors"}
"""Of files that are no HDF5."""
TIMES_OF_DAY = {
    "created",
    "programmed_utc",
    "made_utc",
    "dates",
    "dates_json",
    "started",
    "ended",
    "result_json",
    "wall_seconds",
    "error",
    "sha256",
    "run",
    "run_id",
    "session",
}
"""Attributes that tell when something was done, or where, or follow from such."""


@dataclass
class Tally:
    """What became of the kills of one command."""

    kills: int = 0
    closed: list[str] = field(default_factory=list)
    """Files that did not open after a kill, and why."""
    wrong: list[str] = field(default_factory=list)
    """Ends that are not those of a command left alone, and where; stopped commands whose file does not say so."""
    slowest: float = 0.0
    """Seconds from a signal to the end of a command that heard it, at most."""


UNLIKE = {"created", "checksum"}
"""What differs between two model files of the same fit."""


WARM = (
    "torch", "scipy.optimize", "hwloop.sim_backend.chip", "hwloop.cli.program", "hwloop.cli.resume",
    "hwloop.jobs.program", "hwloop.jobs.parallel_again", "hwloop.jobs.compare", "hwloop.jobs.calibrate",
    "hwloop.jobs.drift", "hwloop.jobs.deploy_files", "hwloop.jobs.measure_again", "hwloop.jobs.fit",
    "hwloop.jobs.retrain", "hwloop.jobs.train", "hwloop.jobs.search", "hwloop.search.evolution", "hwloop.jobs.load",
)  # fmt: skip
"""Modules that are loaded before commands begin, so that kills fall into their work."""


@dataclass(frozen=True)
class Done:
    """What became of a command: its exit code, negative where a signal ended it, and what it printed."""

    returncode: int
    said: str
    seconds: float
    """CPU time of its own process, without that of workers; of one that was killed, not known."""
    stopping: float = 0.0
    """Seconds from the signal that it heard to its end."""


def run(
    words: list[str],
    folder: Path,
    kill_after: float | None = None,
    stop: signal.Signals | None = None,
    notes: Path | None = None,
) -> Done:
    """Run a command in a copy of this process, and kill it, or have it stop, after so many seconds of its CPU time.

    What it says and took is noted in its folder, or in another one.
    """
    notes = notes or folder
    taken, heard = notes / "seconds", notes / "heard"
    taken.write_text("nan")
    heard.unlink(missing_ok=True)

    def ask(number: int, frame: FrameType | None) -> None:
        heard.write_text(str(time.monotonic()))
        os.kill(os.getpid(), stop or signal.SIGKILL)

    child, log = os.fork(), notes / "log"
    if not child:
        code = 70
        try:
            os.chdir(folder)
            stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(stream, 1)
            os.dup2(stream, 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
            signal.signal(signal.SIGPROF, signal.SIG_DFL if stop is None else ask)
            signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background has it ignored
            signal.setitimer(signal.ITIMER_PROF, kill_after or 0.0)
            main(words, "hwloop")
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
        finally:
            taken.write_text(str(time.process_time()))
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    stopping = time.monotonic() - float(heard.read_text()) if heard.exists() else 0.0
    said = log.read_text(errors="replace")
    return Done(os.waitstatus_to_exitcode(status), said, float(taken.read_text()), stopping)


def contents(path: Path) -> dict[str, np.ndarray]:
    """Everything in a file but the times of day."""
    if path.suffix == ".safetensors":
        return load_file(path)
    if path.suffix == ".json":
        told = json.loads(path.read_text())
        return {name: np.array(json.dumps(value)) for name, value in told.items() if name not in UNLIKE}
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


def says_stopped(out: Path, said: str) -> bool:
    """Tell whether a command that heard a signal says so: in its file, or, where there is none yet, in words."""
    if not out.exists():
        return "stopped" in said or "nothing" in said or "resume" in said
    return status_of(out) == "interrupted" or f"hwloop resume {out} goes on" in why_not(out)


def kill_once(
    command: str, whole: Path, seconds: float, rng: np.random.Generator, tally: Tally, stop: signal.Signals | None
) -> None:
    """Kill a command at a random moment, and those who go on with it, until the end."""
    folder = whole.parent / f"killed-{command}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in (one for one in GIVEN if (whole.parent / one).exists()):
        shutil.copyfile(whole.parent / name, folder / name)
    out = folder / f"out{whole.suffix}"
    words = [*COMMANDS[command], "--out", out.name]
    while True:
        done = run(words, folder, rng.uniform(0.02, 1.0) * seconds, stop)
        seconds *= 1.1  # who goes on repeats what came after the last state, at times all of it
        if done.returncode == 0 or (done.returncode <= 1 and is_complete(command, out)):
            break
        tally.slowest = max(tally.slowest, done.stopping)
        tally.kills += 1
        if done.returncode > 1 or (done.returncode == 1 and (stop is None or not says_stopped(out, done.said))):
            tally.wrong.append(f"exit code {done.returncode}: {done.said.strip()[-200:]}")
            return
        try:
            if out.exists() and not (command == "deploy" and "deployed to its end" in why_not(out)):
                load_file(out) if out.suffix == ".safetensors" else hwloop.load(out)
        except HwloopError as error:
            tally.closed.append(str(error))
        if (folder / f"{out.name}.resume" / "job.json").exists() or (command in GROWING and out.exists()):
            words = ["resume", out.name]
        elif out.exists():
            words = [*COMMANDS[command], "--out", out.name, "--force"]
    found = difference(whole, out)
    if found is not None:
        tally.wrong.append(found)


def why_not(path: Path) -> str:
    """Tell why a file does not open; an empty text where it does."""
    try:
        hwloop.load(path)
    except HwloopError as error:
        return str(error)
    return ""


def is_complete(command: str, out: Path) -> bool:
    """Tell whether a command was killed or stopped behind the end of its work."""
    left = (out.parent / f"{out.name}.resume").exists()
    return status_of(out) == "complete" and (command in GROWING or not left)


def status_of(path: Path) -> str:
    """Return what a file says of how its job ended; an empty text where it says nothing, or there is none."""
    if path.suffix == ".safetensors" and path.exists():
        with safe_open(path, "np") as file:
            return "interrupted" if "interrupted" in str(file.metadata()) else ""
    if why_not(path):
        return ""
    found = hwloop.load(path)
    if isinstance(found, Measurements):
        return str(found[-1].attributes["status"]) if found else ""
    skipped = {"interrupted", "unfinished"} & set(getattr(found, "skipped", {}))
    return "interrupted" if skipped else str(getattr(found, "status", ""))


GROWING = ("measure", "train")
"""Commands that go on with their file, and have no folder beside it."""
GIVEN = ("w.npy", "run.h5", "net.h5", "meas.h5", "digits_mlp.safetensors", "digits.npz", "few.npz")
"""Files that commands are given."""
FEW = 300
"""Images in the small data set."""
FEWER = {"4000": "400"}
"""Cells of the measurement that is fitted, in the place of those that are measured."""


def given(folder: Path, rng: np.random.Generator, chosen: Sequence[str]) -> None:
    """Make what the chosen commands are given."""
    np.save(folder / "w.npy", np.clip(rng.normal(size=(64, 100)), -3, 3))
    for name in ("digits_mlp.safetensors", "digits.npz"):
        shutil.copyfile(hwloop.data.path(name), folder / name)
    with np.load(folder / "digits.npz") as all_:
        some = {"images": all_["images"][:FEW], "labels": all_["labels"][:FEW]}
    np.savez(folder / "few.npz", **some, train_index=np.arange(FEW * 2 // 3), test_index=np.arange(FEW * 2 // 3, FEW))
    for command, name in (("program", "run.h5"), ("deploy", "net.h5"), ("measure", "meas.h5")):
        if any(name in COMMANDS[one] for one in chosen):
            words = [FEWER.get(word, word) for word in COMMANDS[command]]
            done = run([*words, "--out", name], folder)
            assert done.returncode == 0, done.said


def benchmark() -> int:
    """Kill as often as asked, and tell what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--command", choices=list(COMMANDS), action="append")
    parser.add_argument("--stop", choices=["SIGTERM", "SIGHUP", "SIGINT"])
    parser.add_argument("--often", action="store_true")
    options = parser.parse_args()
    rng, chosen = np.random.default_rng(options.seed), options.command or list(COMMANDS)
    stop = signal.Signals[options.stop] if options.stop else None
    if options.often:
        CommitTimer.spent = lambda timer, _: setattr(timer, "_due", time.monotonic() + 0.05)  # type: ignore
    bad = 0
    for module in WARM:
        importlib.import_module(module)
    with tempfile.TemporaryDirectory(prefix="hwloop-kills-") as place:
        folder = Path(place)
        given(folder, rng, chosen)
        for command in chosen:
            whole, tally = folder / f"whole-{command}{ENDINGS.get(command, '.h5')}", Tally()
            done = run([*COMMANDS[command], "--out", whole.name], folder)
            assert done.returncode == 0, done.said
            seconds = done.seconds
            while tally.kills < options.kills / len(chosen):
                kill_once(command, whole, seconds, rng, tally, stop)
            bad += len(tally.closed) + len(tally.wrong)
            print(
                f"{command:18} {seconds:6.1f} s  {options.stop or 'kills'} {tally.kills:4}  closed {len(tally.closed)}"
                f"  wrong {len(tally.wrong)}" + (f"  stopped within {tally.slowest:.1f} s" if stop else ""),
                flush=True,
            )
            for text in [*tally.closed, *tally.wrong]:
                print(f"    {text}")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(benchmark())
