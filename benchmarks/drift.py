"""MVM error of a GDP-programmed core while it ages, with each compensation, on every preset, against the bounds.

    python benchmarks/drift.py [--seeds 3] [--first 1]

256 x 256 Gaussian matrix clipped at 3 sigma. The first seed is refreshed at every time, the others at a year alone.
It takes some minutes, and prints how long it took.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from machine import machine, verdict
from programming import clipped_gaussian

import hwloop
from hwloop.calibration.drift.outcome import CompensationOutcome
from hwloop.calibration.drift.registry import compensation_from
from hwloop.calibration.drift.study import DriftStudy
from hwloop.durations import format_duration, parse_durations

PRESETS = ("hermes-core", "hermes-64", "pcm-90nm", "pcm-ideal")
TIMES = parse_durations("1s,1h,1d,30d,1y")
DIGITAL = ("none", "global", "column", "predictive")
AIHWKIT = (
    "aihwkit 1.2.0, published PCM model, one-shot, weights alone: 0.114 at 20 s, 0.51 after a year, 0.187 then with "
    "its best compensation"
)


def studied(run: hwloop.Run, uri: str, refreshed: tuple[float, ...]) -> list[dict[str, CompensationOutcome]]:
    """Return what every compensation reached at each of TIMES, refresh at some of them."""
    rows = []
    with hwloop.connect(uri) as chip:
        study = DriftStudy(run.record, chip)
        for age in TIMES:
            study.wait_until(age)
            names = (*DIGITAL, "refresh") if age in refreshed else DIGITAL
            rows.append(study.evaluate([compensation_from(name) for name in names]))
    return rows


def programmed_again(uri: str, weights: np.ndarray, seed: int, first: hwloop.Run) -> tuple[float, float]:
    """MVM error and pulses per device of programming everything anew on the chip that has aged for the last time."""
    with hwloop.connect(uri) as chip:
        DriftStudy(first.record, chip).wait_until(TIMES[-1])
        run = hwloop.program(chip, weights, "gdp", seed=seed + 100)
        return run.mvm_error, run.tiles[0].pulses_per_device


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
    for preset in PRESETS:
        ratios: dict[str, list[float]] = {"global/none": [], "column/global": [], "predictive/global": []}
        again: list[tuple[float, float]] = []
        for seed in range(arguments.first, arguments.first + arguments.seeds):
            if seed > arguments.first and preset in ("hermes-64", "pcm-ideal"):  # the same core; nothing random
                continue
            uri, weights = f"sim:{preset}?seed={seed}", clipped_gaussian(256, 256, seed)
            with hwloop.connect(uri) as chip:
                run = hwloop.program(chip, weights, "gdp", seed=seed)
            everywhere = seed == arguments.first and preset != "hermes-64"
            rows = studied(run, uri, TIMES if everywhere else TIMES[-1:])
            error, pulses = programmed_again(uri, weights, seed, run)
            report(uri, run, rows, error, pulses)
            for row in rows:
                for pair, values in ratios.items():
                    over, under = pair.split("/")
                    values.append(row[over].mvm_error / row[under].mvm_error)
            refresh = rows[-1]["refresh"]
            spent = refresh.pulses / refresh.tiles[0].region.size
            again.append((spent / pulses, refresh.mvm_error / error))
        for pair, values in ratios.items():
            bound = 1.1 if pair.startswith("predictive") else 1.005
            verdicts.append((f"{preset}: largest ratio of errors, {pair}", max(values), bound))
        if preset != "pcm-ideal":  # it neither drifts nor needs a refresh
            verdicts.append(
                (f"{preset}: refresh at 1y, pulses over those of programming", max(a[0] for a in again), 1 / 3)
            )
            verdicts.append((f"{preset}: refresh at 1y, error over that of programming", max(a[1] for a in again), 1.0))
    print("the largest of all seeds and times:")
    for line in verdicts:
        verdict(*line)
    print(f"\n{time.perf_counter() - began:.0f} s")


def report(uri: str, run: hwloop.Run, rows: list[dict[str, CompensationOutcome]], error: float, pulses: float) -> None:
    """Print the table of one chip."""
    print(f"{uri}: {run.mvm_error:.4f} when programmed, {run.age:g} s after")
    print("        " + "".join(f"{name:>12}" for name in (*DIGITAL, "refresh")) + "   pulses/device")
    for age, row in zip(TIMES, rows, strict=True):
        cells = [f"{row[name].mvm_error:12.4f}" if name in row else f"{'-':>12}" for name in (*DIGITAL, "refresh")]
        spent = f"{row['refresh'].pulses / row['refresh'].tiles[0].region.size:12.3f}" if "refresh" in row else ""
        print(f"{format_duration(age):>8}" + "".join(cells) + spent)
    print(
        f"all programmed again at {format_duration(TIMES[-1])}: {error:.4f} with {pulses:.3f} pulses/device\n",
        flush=True,
    )


if __name__ == "__main__":
    main()
