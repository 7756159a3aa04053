"""How well networks are trained in memory, and how fast: the tables of docs/training.md.

    python benchmarks/training.py algorithms --seeds 10 --out algorithms.json
    python benchmarks/training.py algorithms --offset --seeds 10
    python benchmarks/training.py zero-shift     (reference, management, lstm, leak, pair, rapa, transfer)
    python benchmarks/training.py mnist --dataset mnist.npz
    python benchmarks/training.py speed

`algorithms` trains the MLP 64-32-10 on data/digits.npz by each algorithm on sim:reram-sb, one chip a seed, with
symmetry points at the reference or, with --offset, off it by N(0.15, 0.15) of half the range. The other parts are the
cases of `training_cases.py`. Learning rates were chosen on held-out training images (--held-out shows these instead of
the test images). What is done already, by the file given with --out, is not done again. `speed` tells processor seconds
per epoch.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from training_cases import ALGORITHMS, OFFSET, PARTS, Case

import hwloop
from hwloop.errors import ProgrammingWarning

HELD_OUT = 1 / 6


def time_by_core(chip: hwloop.Backend) -> dict[int, float]:
    """Let a chip note from now on how many seconds of products and updates each core has; cores can work at once."""
    seconds: dict[int, float] = {}
    for name in ("mvm", "update"):
        method = getattr(chip, name)

        def noted(core: int, *rest: object, method: Callable[..., object] = method, **more: object) -> object:
            before = chip.counts.chip_seconds
            found = method(core, *rest, **more)
            seconds[core] = seconds.get(core, 0.0) + chip.counts.chip_seconds - before
            return found

        setattr(chip, name, noted)
    return seconds


def trained(case: Case, seed: int, options: argparse.Namespace) -> dict[str, float]:
    """Train once; gives the accuracy at the end, that in float, pulses and time."""
    training = replace(
        case.training, epochs=options.epochs or case.epochs, lr=case.lr, seed=seed,
        held_out=HELD_OUT if options.held_out else 0.0, reference_epochs=0 if options.held_out else -1,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = case.network()
    began = time.process_time()
    with hwloop.connect(f"{case.chip}{'&' if '?' in case.chip else '?'}seed={seed}") as chip:
        if case.adc_range:
            for core in range(chip.info.cores):
                chip.set_adc_range(core, case.adc_range)
        known = hwloop.calibrate(chip, ("symmetry-point",), cores=case.calibrated) if case.calibrated else None
        job, by_core = hwloop.TrainingJob(training, case.periphery, calibration=known), time_by_core(chip)
        result = hwloop.train(network, case.data(options.dataset), chip, case.rule, job)
    reached = result.curves.held_out_accuracy if options.held_out else result.test_accuracy
    return {
        "accuracy": reached[-1],
        "float_accuracy": result.float_accuracy,
        "pulses_per_device": result.pulses_per_device,
        "saturated": result.saturated,
        "chip_seconds": result.curves.chip_seconds[-1],
        "busiest_core_seconds": max(by_core.values()),
        "cpu_seconds": time.process_time() - began,
    }


def part(options: argparse.Namespace) -> None:
    """Train every case of a part with every seed, and show their means."""
    path = Path(options.out) if options.out else None
    done: dict[str, dict[str, float]] = json.loads(path.read_text()) if path and path.exists() else {}
    cases, setting = PARTS.get(options.what, ALGORITHMS), options.what
    if options.what == "algorithms":
        setting = "offset" if options.offset else "aligned"
        cases = {name: replace(one, chip=OFFSET) if options.offset else one for name, one in cases.items()}
    setting += ", held-out" if options.held_out else ""
    for seed in range(options.first, options.first + options.seeds):
        for name in options.only or cases:
            key = f"{name} | {setting} | {options.epochs or cases[name].epochs} epochs | seed {seed}"
            if key not in done:
                done[key] = trained(cases[name], seed, options)
                print(key, done[key], flush=True)
                if path:
                    path.write_text(json.dumps(done, indent=1))
    table(done)


def table(done: Mapping[str, Mapping[str, float]]) -> None:
    rows: dict[str, list[Mapping[str, float]]] = {}
    for key, values in done.items():
        rows.setdefault(" | ".join(key.split(" | ")[:-1]), []).append(values)
    columns = ("what", "part", "epochs", "seeds", "accuracy", "points below float", "pulses per device", "busiest (ms)")
    print(f"\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for name, several in rows.items():
        reached = np.array([one["accuracy"] for one in several])
        below = 100 * np.array([one["float_accuracy"] - one["accuracy"] for one in several])
        error = below.std(ddof=min(1, len(below) - 1)) / np.sqrt(len(below))
        pulses = np.mean([one["pulses_per_device"] for one in several])
        busy = 1000 * np.mean([one.get("busiest_core_seconds", np.nan) for one in several])
        told = f"{reached.mean():.1%} | {below.mean():.1f} +- {error:.1f} | {pulses:,.0f} | {busy:.2f}"
        print(f"| {name} | {len(several)} | {told} |")


def speed(options: argparse.Namespace) -> None:
    """Tell processor seconds per epoch: what two epochs more take, so that compiling and loading are left out."""
    for name in options.only or ALGORITHMS:
        seconds = []
        for epochs in (1, 3):
            asked = argparse.Namespace(epochs=epochs, held_out=True, dataset=options.dataset)
            case = replace(ALGORITHMS[name], training=hwloop.Training(batch=options.batch))
            seconds.append(trained(case, 0, asked)["cpu_seconds"])
        print(f"{name}: {(seconds[1] - seconds[0]) / 2:.2f} CPU s per epoch, batch {options.batch}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["algorithms", *PARTS, "speed"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=0, help="0: those of the case")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--offset", action="store_true")
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--only", nargs="*", help="names of cases")
    parser.add_argument("--dataset", default=str(hwloop.data.path("digits.npz")))
    parser.add_argument("--out")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore", ProgrammingWarning)
    (speed if options.what == "speed" else part)(options)


if __name__ == "__main__":
    main()
