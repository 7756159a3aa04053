"""Kills a worker of a Dask cluster that programs a fleet of chips behind sockets, and looks at what came of it.

    pip install 'hwloop[dask]'
    python benchmarks/fleet.py [--chips 4] [--seed 1]

Every chip is an emulated instrument in a process of its own, and belongs to one worker. One worker is killed once its
chip has received pulses; the cluster starts it anew, as a lab's service would. The run must come to its end with every
tile as good as on a chip that was left alone. A chip whose worker lived must have received the pulses that the run file
tells and no more, and the other one at most those of a second program.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import dask
import distributed
import numpy as np
from kills_socket import served
from machine import machine, verdict

import hwloop
from hwloop.jobs.run import Run

BOUND = 1.1
"""Error of a tile over that of one whose worker lived."""


@contextmanager
def cluster(names: list[str]) -> Iterator[distributed.SpecCluster]:
    """Start a scheduler and a worker of each name, which is started again when it dies."""
    options = {"nthreads": 1, "dashboard": False, "host": "127.0.0.1", "silence_logs": 50}
    workers = {name: {"cls": distributed.Nanny, "options": options} for name in names}
    scheduler = {"cls": distributed.Scheduler, "options": {"dashboard": False, "host": "127.0.0.1"}}
    patient = dask.config.set({"distributed.deploy.lost-worker-timeout": "300 s"})  # on a busy computer
    with patient, distributed.SpecCluster(scheduler=scheduler, workers=workers, silence_logs=50) as made:
        yield made


def pulses(uri: str) -> int:
    """Ask a chip how many pulses its devices have received in all."""
    with hwloop.connect(uri) as chip:
        counts = chip.export_state().get("ledger/0")
    return 0 if counts is None else int(counts.sum())


def sent(ledger: Path) -> int:
    """Return how many pulses a ledger knows to have been sent by all."""
    try:
        with contextlib.closing(sqlite3.connect(f"{ledger.as_uri()}?mode=ro", uri=True, timeout=5)) as database:
            return int(database.execute("SELECT coalesce(sum(pulses), 0) FROM sessions").fetchone()[0])
    except sqlite3.OperationalError:  # not made yet
        return 0


def killed_in_the_middle(
    job: subprocess.Popen[bytes], cluster: distributed.SpecCluster, name: str, ledger: Path, pulses: int
) -> None:
    """Kill a worker once all together have sent so many pulses."""
    while sent(ledger) < pulses and job.poll() is None:
        time.sleep(0.05)
    with distributed.Client(cluster, set_as_default=False) as client:
        process = client.run(os.getpid, workers=[cluster.workers[name].worker_address])
    os.kill(next(iter(process.values())), signal.SIGKILL)
    print(
        f"killed {name} after {sent(ledger)} pulses of all; the job {'was done' if job.poll() is not None else 'ran'}"
    )


def main() -> int:
    """Program the fleet, kill a worker, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chips", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(machine())
    rng, names = np.random.default_rng(options.seed), [f"bench{n}" for n in range(options.chips)]
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        folder = Path(place)
        uris = []
        for name in names:
            (folder / name).mkdir()
            uris.append(stack.enter_context(served(folder / name)))
        os.environ["HWLOOP_LEDGER"] = str(folder / "ledger.sqlite")
        made = stack.enter_context(cluster(names))
        np.save(folder / "w.npy", np.clip(rng.normal(size=(64, 64 * options.chips)), -3, 3))
        (folder / "fleet.toml").write_text(
            "".join(f'[[chip]]\nbackend = "{uri}"\nworker = "{name}"\n' for uri, name in zip(uris, names, strict=True))
        )
        words = ["program", "w.npy", "--fleet", "fleet.toml", "--scheduler", made.scheduler_address, "--out", "run.h5"]
        log = folder / "log"
        with log.open("w") as stream:
            job = subprocess.Popen([sys.executable, "-m", "hwloop", *words, "-v"], cwd=folder, stderr=stream)
            killed_in_the_middle(job, made, names[1], folder / "ledger.sqlite", options.chips * 4 * 64 * 64)
            code = job.wait(timeout=600)
        print(log.read_text()[-2000:] if code else f"exit code {code}")
        run = hwloop.load(folder / "run.h5")
        assert isinstance(run, Run)
        errors = np.array([tile.mvm_error for tile in run.tiles])
        told = np.array([0 if tile.pulses is None else int(tile.pulses.sum()) for tile in run.tiles])
        received = np.array([pulses(uri) for uri in uris])
    lived = np.arange(options.chips) != 1
    print("errors", errors.round(4), "pulses told", told, "received", received)
    verdict("error of the tile whose worker was killed, over the others' mean", errors[1] / errors[lived].mean(), BOUND)
    verdict("pulses on the other chips that the file does not tell", float(np.abs(received - told)[lived].max()), 0.0)
    verdict("pulses on its chip, over those of the other chips' mean", received[1] / received[lived].mean(), 2.0)
    return int(code != 0)


if __name__ == "__main__":
    sys.exit(main())
