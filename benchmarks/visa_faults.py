"""Random faults at random moments of a programming run: how many runs finish, how the others end.

    python benchmarks/visa_faults.py [--runs 2000] [--seed 0]

Each run is compared with the same run without faults; the first that hangs, accepts wrong data, or does anything to the
chip that the run without faults does not, ends the benchmark with an AssertionError.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

from machine import machine

sys.path.insert(0, str(Path(__file__).parents[1]))  # the trial is one of the tests' tools
from tests.drivers.link_trial import LinkTrial

CHIP = "sim:hermes-core?seed=3&rows=16&columns=16"


def main() -> None:
    """Print the tally."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0, help="seed of the first run; the others follow")
    parser.add_argument("--faults", type=int, default=2, help="mean number of faults in a run")
    parser.add_argument("--timeout", type=float, default=0.1, help="the driver's timeout, seconds")
    options = parser.parse_args()
    print(machine())
    trial = LinkTrial(CHIP, options.timeout)
    begin = time.monotonic()
    outcomes = [trial.random(seed, options.faults) for seed in range(options.seed, options.seed + options.runs)]
    print(
        f"{options.runs} runs with {sum(o.struck for o in outcomes)} faults in {time.monotonic() - begin:.0f} s: "
        f"{sum(o.finished for o in outcomes)} finished with the right result, the longest took "
        f"{max(o.seconds for o in outcomes):.2f} s"
    )
    for error, count in Counter(o.error.split(",")[0][:100] for o in outcomes if o.error).most_common():
        print(f"{count:6d}  {error}")
    print("no wrong data was accepted, and nothing reached the chip that the run without faults does not do")


if __name__ == "__main__":
    main()
