"""Takes the disk away from long commands: one that is full, one that cannot be written, files removed, a second writer.

    python benchmarks/disks.py [--tries 4] [--seed 0] [--command program]

Each command of kills.py runs on a small disk in memory (tmpfs; only root can make one). Where the disk has less room
than it needs, it must end with one line, its file must open if there is one, and once there is room it must be gone on
with to the very end of a command that was left alone. On a disk that is read-only, and while another process writes the
same file, it must be refused at once. Where its files are removed while it runs, it must end, and can be begun anew.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from kills import COMMANDS, ENDINGS, GIVEN, WARM, Done, difference, given, run, why_not
from machine import machine

LARGE = 1 << 30
"""Bytes of a disk that is large enough."""


def resized(disk: Path, size: int, how: str = "rw") -> None:
    """Give a disk another size, bytes, or make it read-only."""
    subprocess.run(["mount", "-o", f"remount,size={size},{how}", disk], check=True)


@contextlib.contextmanager
def small_disk(folder: Path, source: Path) -> Iterator[Path]:
    """Mount a disk in memory, with what commands are given on it."""
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={LARGE}", "hwloop-disks", disk], check=True)
    try:
        for name in (one for one in GIVEN if (source / one).exists()):
            shutil.copyfile(source / name, disk / name)
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True)
        disk.rmdir()


def fill(disk: Path, left: int) -> None:
    """Take all room of a disk but for so many bytes; what a command holds of it stays its own."""
    with contextlib.suppress(subprocess.CalledProcessError):  # it has grown in this very moment
        resized(disk, used(disk) + left)


def used(disk: Path) -> int:
    """Return how many bytes of a disk are taken."""
    found = os.statvfs(disk)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


def complaint(done: Done) -> str:
    """Tell what is wrong with how a command ended that was to end with one line; an empty text for nothing."""
    if done.returncode not in (1, 2, 3):
        return f"code {done.returncode}: {done.said[-200:]}"
    if "Traceback" in done.said or "unexpected" in done.said or "fault of hwloop" in done.said:
        return done.said[-300:]
    return "" if "error: " in done.said else f"no error is told: {done.said[-200:]}"


def full(command: str, whole: Path, folder: Path, rng: np.random.Generator, seconds: float | None) -> str:
    """Let a command run out of room, give it room, and go on; tell what became of it.

    Others fill the disk after some part of so many seconds; None where there is little room from the beginning.
    """
    with small_disk(folder, whole.parent) as disk:
        out = disk / f"out{whole.suffix}"
        words, log, page = [*COMMANDS[command], "--out", out.name], folder, os.sysconf("SC_PAGE_SIZE")
        some = page * int(rng.integers(0, 2 + whole.stat().st_size // page // (2 if seconds else 1)))
        if seconds is None:
            resized(disk, used(disk) + 2 * some)
            done = run(words, disk, notes=log)
        else:
            timer = threading.Timer(rng.uniform(0.1, 1.0) * seconds, lambda: fill(disk, some // 8))
            timer.start()
            done = run(words, disk, notes=log)
            timer.join()
        if done.returncode == 0:
            return "there was room"
        if wrong := complaint(done):
            return f"WRONG {wrong}"
        if out.exists() and out.suffix == ".h5" and (reason := why_not(out)) and "resume" not in reason:
            return f"WRONG does not open: {reason}"
        resized(disk, LARGE)
        goes_on = (disk / f"{out.name}.resume" / "job.json").exists() or "hwloop resume" in done.said
        again = run(["resume", out.name] if goes_on else [*words, "--force"], disk, notes=log)
        if again.returncode:
            return f"WRONG then code {again.returncode}: {again.said[-200:]} after {done.said[-300:]}"
        other = difference(whole, out)
        how = "gone on with" if goes_on else "and begun anew"
        return f"WRONG differs in {other}, {how}" if other else f"stopped, {how}"


def read_only(command: str, whole: Path, folder: Path) -> str:
    """Let a command write to a disk that cannot be written."""
    with small_disk(folder, whole.parent) as disk:
        resized(disk, LARGE, "ro")
        done = run([*COMMANDS[command], "--out", f"out{whole.suffix}"], disk, notes=folder)
        return f"WRONG {wrong}" if (wrong := complaint(done)) else "refused"


def removed(command: str, whole: Path, folder: Path, rng: np.random.Generator, seconds: float) -> str:
    """Remove the files of a command while it runs, and begin it anew."""
    with small_disk(folder, whole.parent) as disk:
        out = disk / f"out{whole.suffix}"

        def remove() -> None:
            shutil.rmtree(disk / f"{out.name}.resume", ignore_errors=True)
            out.unlink(missing_ok=True)

        timer = threading.Timer(rng.uniform(0.1, 1.0) * seconds, remove)
        timer.start()
        done = run([*COMMANDS[command], "--out", out.name], disk, notes=folder)
        timer.join()
        if done.returncode and (wrong := complaint(done)):
            return f"WRONG {wrong}"
        again = run([*COMMANDS[command], "--out", out.name, "--force"], disk, notes=folder)
        other = difference(whole, out) if not again.returncode else again.said[-200:]
        if other:
            return f"WRONG anew: {other}"
        return "stopped, and begun anew" if done.returncode else "came to its end, and begun anew"


def two(command: str, whole: Path, folder: Path) -> str:
    """Run a command twice at once, for one file."""
    with small_disk(folder, whole.parent) as disk:
        words = [*COMMANDS[command], "--out", f"out{whole.suffix}"]
        results: list[Done] = []
        notes = [folder / "one", folder / "other"]
        for place in notes:
            place.mkdir(exist_ok=True)
        other = threading.Thread(target=lambda: results.append(run(words, disk, notes=notes[1])))
        other.start()
        results.append(run(words, disk, notes=notes[0]))
        other.join()
        codes = sorted(done.returncode for done in results)
        if codes != [0, 2]:
            return f"WRONG codes {codes}: {[done.said[-150:] for done in results]}"
        loser = next(done for done in results if done.returncode)
        if "in use" not in loser.said and "exists" not in loser.said:
            return f"WRONG {loser.said[-200:]}"
        differs = difference(whole, disk / words[-1])
        return f"WRONG differs in {differs}" if differs else "one of two was refused"


def benchmark() -> int:
    """Try every command, and tell what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--tries", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--command", choices=list(COMMANDS), action="append")
    options = parser.parse_args()
    print(machine())
    rng, chosen, tally = np.random.default_rng(options.seed), options.command or list(COMMANDS), Counter[str]()
    for module in WARM:
        importlib.import_module(module)
    with tempfile.TemporaryDirectory(prefix="hwloop-disks-") as place:
        folder = Path(place)
        os.environ["HOME"] = str(folder / "home")
        (folder / "home").mkdir()
        source = folder / "source"
        source.mkdir()
        given(source, rng, chosen)
        for command in chosen:
            whole = source / f"whole-{command}{ENDINGS.get(command, '.h5')}"
            left = run([*COMMANDS[command], "--out", whole.name], source)
            assert left.returncode == 0, left.said
            longest = 3.0 * left.seconds  # a busy computer
            found = [
                f"full: {full(command, whole, folder, rng, longest if turn else None)}" for turn in range(options.tries)
            ]
            found.append(f"read-only: {read_only(command, whole, folder)}")
            found.append(f"removed: {removed(command, whole, folder, rng, left.seconds)}")
            found.append(f"two writers: {two(command, whole, folder)}")
            for text in found:
                tally[text if "WRONG" not in text else "wrong"] += 1
                print(f"{command:18} {text}", flush=True)
    for text, count in sorted(tally.items()):
        print(f"{count:4}  {text}")
    return int(tally["wrong"] > 0)


if __name__ == "__main__":
    sys.exit(benchmark())
