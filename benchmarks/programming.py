"""How close each method comes to the noise floor: 256 x 256 Gaussian matrix clipped at 3 sigma, median over seeds.

    python benchmarks/programming.py [--backend sim:hermes-core] [--seeds 5]

Excess is the error over the floor in quadrature, sqrt(error^2 - floor^2).
It takes about ten seconds a seed on two idle cores.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
from machine import machine, verdict

import hwloop
from hwloop.calibration.programming.registry import method_from

METHODS = ("exact", "gdp", "iterative", "sgd")


def clipped_gaussian(rows: int, columns: int, seed: int) -> np.ndarray:
    """Draw normal weights, redrawn where they lie beyond 3 sigma."""
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((columns, rows))
    while (far := np.abs(weights) > 3).any():
        weights[far] = rng.standard_normal(far.sum())
    return weights


def main() -> None:
    """Program with every method on every seed and print medians against their bounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="sim:hermes-core")
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    print(machine(), "\n")
    print("method      seed   error    excess   pulses/device  reads/device  MVM vectors   chip s   wall s")
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in METHODS}
    for seed in range(1, arguments.seeds + 1):
        weights = hwloop.matrices({"gaussian": clipped_gaussian(256, 256, seed)})
        for name in METHODS:
            with hwloop.connect(f"{arguments.backend}?seed={seed}") as chip:
                chip.mvm(0, np.zeros((1, chip.info.rows), np.int32))  # makes the specimen, which is not programming
                begin = time.perf_counter()
                run = hwloop.program(chip, weights, method_from(name), seed=seed)
                wall = time.perf_counter() - begin
            tile = run.tiles[0]
            assert tile.pulses is not None
            floor = rows["exact"][-1]["error"] if name != "exact" else run.mvm_error
            row = {
                "error": run.mvm_error,
                "ratio": run.mvm_error / floor,
                "excess": max(run.mvm_error**2 - floor**2, 0.0) ** 0.5,
                "pulses": tile.pulses_per_device,
                "reads": float(tile.steps.device_reads[-1]) / tile.pulses.size,
                "mvms": float(tile.steps.mvms[-1]),
                "chip": float(tile.steps.chip_time[-1]),
                "wall": wall,
            }
            rows[name].append(row)
            print(
                f"{name:<11} {seed:>4}  {row['error']:.4f}   {row['excess']:.4f}   {row['pulses']:>8.2f}      "
                f"{row['reads']:>8.1f}     {row['mvms']:>8.0f}    {row['chip']:>7.1f}  {row['wall']:>6.2f}",
                flush=True,
            )

    def median(name: str, key: str) -> float:
        return statistics.median(row[key] for row in rows[name])

    print()
    verdict("GDP: MVM error over the noise floor", median("gdp", "ratio"), 1.15)
    verdict("GDP: excess over that of iterative", median("gdp", "excess") / median("iterative", "excess"), 0.6)
    verdict("GDP: excess over that of plain SGD", median("gdp", "excess") / median("sgd", "excess"), 0.7)
    verdict("GDP: MVM vectors per core", median("gdp", "mvms"), 20_000, 0)
    verdict("GDP: pulses per device", median("gdp", "pulses"), 2.0)
    verdict("GDP: device reads", median("gdp", "reads"), 0, 0)
    verdict("GDP: wall seconds of one core, measurement included", median("gdp", "wall"), 3.0)


if __name__ == "__main__":
    main()
