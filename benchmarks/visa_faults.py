"""Random faults at random moments of a programming run: how many runs finish, how the others end.

    python benchmarks/visa_faults.py [--runs 2000] [--seed 0]

Two series: the driver's calls alone, and whole jobs of `hwloop program` into a run file. Each run is compared with the
same run without faults. The first that hangs, accepts wrong data, does anything to the chip that the run without faults
does not, or lacks on file what was done, ends the benchmark with an AssertionError.
The 2 000 runs of both series take about an hour; how long is printed.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from machine import machine

import hwloop

sys.path.insert(0, str(Path(__file__).parents[1]))  # the trial is one of the tests' tools
from tests.drivers.link_trial import LinkTrial, Outcome
from tests.drivers.store_trial import StoreTrial

CHIP = "sim:hermes-core?seed=3&rows=16&columns=16"


JOBS = (hwloop.GDP(max_steps=6), hwloop.ProgramVerify(max_steps=4, averages=4))


def main() -> None:
    """Print the tallies."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0, help="seed of the first run; the others follow")
    parser.add_argument("--faults", type=int, default=2, help="mean number of faults in a run")
    parser.add_argument("--timeout", type=float, default=0.1, help="the driver's timeout, seconds")
    parser.add_argument("--only", choices=("driver", "jobs"), help="leave out the other series")
    options = parser.parse_args()
    print(machine(), flush=True)
    seeds = range(options.seed, options.seed + options.runs)
    if options.only != "jobs":
        trial = LinkTrial(CHIP, options.timeout)
        _series("runs of the driver alone", (trial.random(seed, options.faults) for seed in seeds))
    if options.only != "driver":
        trials = [StoreTrial(CHIP, method, options.timeout) for method in JOBS]
        chosen = (trials[seed % len(trials)].random(seed, options.faults) for seed in seeds)
        _series(f"jobs into a run file ({', '.join(method.name for method in JOBS)} in turns)", chosen)
    print("no wrong data was accepted, and nothing reached the chip that the run without faults does not do")


def _series(what: str, runs: Iterable[Outcome]) -> None:
    begin = time.monotonic()
    outcomes = list(runs)
    print(
        f"{len(outcomes)} {what} with {sum(o.struck for o in outcomes)} faults in {time.monotonic() - begin:.0f} s: "
        f"{sum(o.finished for o in outcomes)} finished with the right result, {sum(bool(o.error) for o in outcomes)} "
        f"stopped with an error, the longest took {max(o.seconds for o in outcomes):.2f} s",
        flush=True,
    )
    for error, count in Counter(_kind(o.error) for o in outcomes if o.error).most_common():
        print(f"{count:6d}  {error}")


def _kind(error: str) -> str:
    """Return an error without what differs from run to run."""
    return re.sub(r"\d+::SOCKET|'[^']*'", "...", error.split(", first:")[0])[:110]


if __name__ == "__main__":
    main()
