"""MVM error of a GDP-programmed core while it ages, with each compensation, on every preset, against the bounds.

    python benchmarks/drift.py [--seeds 3] [--first 1]

256 x 256 Gaussian matrix clipped at 3 sigma. The first seed is refreshed at every time, the others at a year alone.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from machine import machine, verdict
from programming import clipped_gaussian

import hwloop
from hwloop.calibration.drift.registry import make_compensation
from hwloop.calibration.drift.study import CompensationOutcome, DriftStudy
from hwloop.durations import format_duration, parse_durations
from hwloop.files.runs import read_run
from hwloop.jobs.tasks import Task, program_to_file

PRESETS = ("hermes-core", "hermes-64", "pcm-90nm", "pcm-ideal")
TIMES = parse_durations("1s,1h,1d,30d,1y")
DIGITAL = ("none", "global", "column", "predictive")
AIHWKIT = (
    "aihwkit 1.2.0, published PCM model, one-shot, weights alone: 0.114 at 20 s, 0.51 after a year, 0.187 with its "
)


def held(run: Path, uri: str, refreshed: tuple[float, ...]) -> list[dict[str, CompensationOutcome]]:
    """What every compensation reached at each of TIMES, refresh at some of them."""
    rows = []
    with hwloop.connect(uri) as chip:
        holding = DriftStudy(read_run(run), chip)
        for age in TIMES:
            holding.wait_until(age)
            names = (*DIGITAL, "refresh") if age in refreshed else DIGITAL
            rows.append(holding.evaluate([make_compensation(name) for name in names]))
    return rows


def programmed_again(uri: str, weights: Path, seed: int, first: Path) -> tuple[float, float]:
    """MVM error and pulses per device of programming everything anew on the chip that has aged for the last time."""
    with hwloop.connect(uri) as chip:
        DriftStudy(read_run(first), chip).wait_until(TIMES[-1])
        run = hwloop.program(chip, hwloop.load_weights(str(weights)), "gdp", seed=seed + 100)
        return run.mvm_error, float(run.tiles[0].pulses.mean())


def main() -> None:
    """Print a table per preset and seed, then reached against bound."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=1)
    arguments = parser.parse_args()
    print(machine())
    print(AIHWKIT + "\n")
    verdicts: list[tuple[str, float, float]] = []
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for preset in PRESETS:
            ratios: dict[str, list[float]] = {"global/none": [], "column/global": [], "predictive/global": []}
            again: list[tuple[float, float]] = []
            for seed in range(arguments.first, arguments.first + arguments.seeds):
                if seed > arguments.first and preset in ("hermes-64", "pcm-ideal"):  # the same core; nothing random
                    continue
                uri, weights = f"sim:{preset}?seed={seed}", Path(folder) / "w.npy"
                np.save(weights, clipped_gaussian(256, 256, seed))
                run = Path(folder) / "run.h5"
                result = program_to_file(Task(str(weights), uri, seed=seed), "gdp", run, force=True)
                everywhere = seed == arguments.first and preset != "hermes-64"
                rows = held(run, uri, TIMES if everywhere else TIMES[-1:])
                error, pulses = programmed_again(uri, weights, seed, run)
                report(uri, result, rows, error, pulses)
                for row in rows:
                    for pair, values in ratios.items():
                        over, under = pair.split("/")
                        values.append(row[over].mvm_error / row[under].mvm_error)
                refresh = rows[-1]["refresh"]
                spent = refresh.pulses / refresh.held[0].region.size
                again.append((spent / pulses, refresh.mvm_error / error))
            for pair, values in ratios.items():
                bound = 1.1 if pair.startswith("predictive") else 1.005
                verdicts.append((f"{preset}: largest ratio of errors, {pair}", max(values), bound))
            if preset != "pcm-ideal":  # it neither drifts nor needs a refresh
                verdicts.append(
                    (f"{preset}: refresh at 1y, pulses over those of programming", max(a[0] for a in again), 1 / 3)
                )
                verdicts.append(
                    (f"{preset}: refresh at 1y, error over that of programming", max(a[1] for a in again), 1.0)
                )
    print("the largest of all seeds and times:")
    for row in verdicts:
        verdict(*row)
    print(f"\n{time.perf_counter() - began:.0f} s")


def report(uri: str, result: dict, rows: list[dict[str, CompensationOutcome]], error: float, pulses: float) -> None:
    """The table of one chip."""
    print(f"{uri}: {result['mvm_error']:.4f} when programmed, {result['seconds_after_programming']:g} s after")
    print("        " + "".join(f"{name:>12}" for name in (*DIGITAL, "refresh")) + "   pulses/device")
    for age, row in zip(TIMES, rows, strict=True):
        cells = [f"{row[name].mvm_error:12.4f}" if name in row else f"{'-':>12}" for name in (*DIGITAL, "refresh")]
        spent = f"{row['refresh'].pulses / row['refresh'].held[0].region.size:12.3f}" if "refresh" in row else ""
        print(f"{format_duration(age):>8}" + "".join(cells) + spent)
    print(
        f"all programmed again at {format_duration(TIMES[-1])}: {error:.4f} with {pulses:.3f} pulses/device\n",
        flush=True,
    )


if __name__ == "__main__":
    main()
