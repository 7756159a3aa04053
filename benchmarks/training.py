"""How well networks are trained in memory, and how fast: the tables of docs/training.md.

    python benchmarks/training.py algorithms --seeds 10 --out algorithms.json
    python benchmarks/training.py algorithms --offset --seeds 10
    python benchmarks/training.py speed

`algorithms` trains the MLP 64-32-10 on data/digits.npz by each algorithm on sim:reram-sb, one chip a seed, with
symmetry points at the reference or, with --offset, off it by N(0.15, 0.15) of half the range. Learning rates were
chosen on held-out training images (--held-out shows these instead of the test images). What is done already, by the
file given with --out, is not done again. `speed` tells processor seconds per epoch.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

import hwloop
from hwloop.errors import ProgrammingWarning
from hwloop.optim import (
    AGADRule,
    ChoppedTTv2Rule,
    HamiltonianRule,
    MixedPrecisionRule,
    Rule,
    SGDRule,
    TikiTakaRule,
    TTv2Rule,
)

DATA = hwloop.data.path("digits.npz")
CHIP = "sim:reram-sb?seed={seed}&rows=64&columns=64&symmetry_point_mean={off}&symmetry_point_spread={off}"
HELD_OUT = 1 / 6


@dataclass(frozen=True)
class Way:
    """An algorithm with the settings that were chosen on held-out images."""

    rule: Rule
    lr: float
    weight_scale: float = 1.0
    batch: int = 32


WAYS: Mapping[str, Way] = {
    "sgd": Way(SGDRule(), 0.1),
    "tiki-taka": Way(TikiTakaRule(), 1.0, 0.5),
    "ttv2": Way(TTv2Rule(), 0.1, 0.5),
    "c-ttv2": Way(ChoppedTTv2Rule(), 0.1, 0.5),
    "agad": Way(AGADRule(), 0.1, 0.5),
    "shd": Way(HamiltonianRule(), 1.0, 0.5),
    "mixed-precision": Way(MixedPrecisionRule(), 0.3),
}
"""Every algorithm."""


class MLP(nn.Module):
    """Two linear layers, 64 -> 32 -> 10, of images scaled to their largest value."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.fc1, self.fc2 = nn.Linear(64, 32), nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Give the scores of images."""
        x = x.flatten(1)
        scores: torch.Tensor = self.fc2(torch.relu(self.fc1(x / x.amax(1, keepdim=True))))
        return scores


def trained(way: Way, seed: int, options: argparse.Namespace) -> dict[str, float]:
    """Train once; gives the accuracy at the end, that in float, pulses and time."""
    held_out = HELD_OUT if options.held_out else 0.0
    training = hwloop.Training(
        epochs=options.epochs, lr=way.lr, batch=way.batch, digital_lr=0.1, seed=seed, held_out=held_out,
        reference_epochs=0 if options.held_out else -1,
    )  # fmt: skip
    job = hwloop.TrainingJob(training, hwloop.Periphery(weight_scale=way.weight_scale))
    began = time.process_time()
    with hwloop.connect(CHIP.format(seed=seed, off=0.15 if options.offset else 0)) as chip:
        result = hwloop.train(MLP(seed), DATA, chip, way.rule, job)
    reached = result.curves.held_out_accuracy if options.held_out else result.test_accuracy
    return {
        "accuracy": reached[-1],
        "float_accuracy": result.float_accuracy,
        "pulses_per_device": result.pulses_per_device,
        "saturated": result.saturated,
        "cpu_seconds": time.process_time() - began,
    }


def algorithms(options: argparse.Namespace) -> None:
    path = Path(options.out) if options.out else None
    done: dict[str, dict[str, float]] = json.loads(path.read_text()) if path and path.exists() else {}
    setting = f"{'offset' if options.offset else 'aligned'}{', held-out' if options.held_out else ''}"
    for seed in range(options.first, options.first + options.seeds):
        for name in options.only or WAYS:
            key = f"{name} | {setting} | {options.epochs} epochs | seed {seed}"
            if key not in done:
                done[key] = trained(WAYS[name], seed, options)
                print(key, done[key], flush=True)
                if path:
                    path.write_text(json.dumps(done, indent=1))
    table(done)


def table(done: Mapping[str, Mapping[str, float]]) -> None:
    rows: dict[str, list[Mapping[str, float]]] = {}
    for key, values in done.items():
        rows.setdefault(" | ".join(key.split(" | ")[:-1]), []).append(values)
    print("\n| algorithm | symmetry points | epochs | seeds | accuracy | points below float | pulses per device |")
    print("|---|---|---|---|---|---|---|")
    for name, several in rows.items():
        reached = np.array([one["accuracy"] for one in several])
        below = 100 * np.array([one["float_accuracy"] - one["accuracy"] for one in several])
        error = below.std(ddof=min(1, len(below) - 1)) / np.sqrt(len(below))
        pulses = np.mean([one["pulses_per_device"] for one in several])
        print(f"| {name} | {len(several)} | {reached.mean():.1%} | {below.mean():.1f} +- {error:.1f} | {pulses:,.0f} |")


def speed(options: argparse.Namespace) -> None:
    """Tell processor seconds per epoch: what two epochs more take, so that compiling and loading are left out."""
    for name in options.only or WAYS:
        seconds = []
        for epochs in (1, 3):
            asked = argparse.Namespace(epochs=epochs, offset=False, held_out=True)
            seconds.append(trained(dataclasses.replace(WAYS[name], batch=options.batch), 0, asked)["cpu_seconds"])
        print(f"{name}: {(seconds[1] - seconds[0]) / 2:.2f} CPU s per epoch, batch {options.batch}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["algorithms", "speed"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--offset", action="store_true")
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--only", nargs="*", choices=list(WAYS))
    parser.add_argument("--out")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore", ProgrammingWarning)
    {"algorithms": algorithms, "speed": speed}[options.what](options)


if __name__ == "__main__":
    main()
