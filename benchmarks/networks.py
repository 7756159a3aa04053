"""Accuracy of the zoo's networks on a chip: after programming, and after a year with each compensation.

    python benchmarks/networks.py [--backend sim:hermes-64] [--chips 5] [--networks digits_cnn,digits_lstm]
    python benchmarks/networks.py --methods gdp,iterative --backend sim:pcm-90nm --networks digits_cnn
    python benchmarks/networks.py --chips 20 --first-seed 801 --backend "sim:hermes-64?level=statistical" --retrain 30

With --retrain every network is measured as it was and after so many epochs of noise-aware training for the same kind of
chip, against the digital accuracy that it had before; --set gives other settings of the training.
Every chip has a seed of its own, from --first-seed on. Losses are points below the digital network on the same 500 test
images, means over the chips with their standard errors; the images are the same for all chips, so that their sampling
does not enter the loss. Ranges, columns, compensations and statistics come from training images alone.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from machine import machine
from torch import nn

import hwloop
from hwloop.durations import parse_duration
from hwloop.files.weights import read_state_dict
from hwloop.jobs.deploy_files import fill
from hwloop.nn.datasets import read_dataset
from hwloop.nn.factory import zoo_network

DATA = Path(__file__).parent.parent / "data"
NETWORKS = ("digits_mlp", "digits_cnn", "digits_transformer", "digits_lstm")
COMPENSATIONS = ("none", "global", "column", "predictive", "batchnorm", "column+batchnorm")


@dataclass(frozen=True)
class Trained:
    """A network, the inputs that drive converters fully where they were learnt, and its accuracy before it learnt."""

    network: nn.Module
    ranges: Mapping[str, float] = field(default_factory=dict)
    digital: float | None = None


def as_brought(name: str) -> Trained:
    """Load a network of the zoo with its weights."""
    network, weights = zoo_network(f"hwloop.nn.zoo:{name}"), DATA / f"{name}.safetensors"
    fill(network, read_state_dict(weights), str(weights))
    return Trained(network)


def retrained(name: str, uri: str, settings: hwloop.Retraining) -> Trained:
    """Train a network of the zoo for a kind of chip, and say how that went."""
    began = time.process_time()
    made = hwloop.retrain(as_brought(name).network, DATA / "digits.npz", uri, settings)
    assert made.before is not None
    assert made.after is not None
    before, after, cpu = 100 * made.before.digital, 100 * made.after.digital, time.process_time() - began
    kept = f"epoch {made.course.best} of {settings.epochs} kept"
    print(f"{name}: {kept}, digital {before:.1f} to {after:.1f} %, {cpu:.0f} s of CPU time", flush=True)
    return Trained(made.network, made.input_ranges, made.before.digital)


def losses(given: Trained, uri: str, method: str, arguments: argparse.Namespace) -> dict[str, float]:
    """Deploy a network on one chip; return points below digital as deployed and with each compensation at an age."""
    age = arguments.age
    data, network = read_dataset(DATA / "digits.npz"), given.network
    chosen = np.random.default_rng(0).permutation(len(data.x_train))[:500]
    test = (torch.from_numpy(data.x_test), torch.from_numpy(data.y_test))
    with hwloop.connect(uri) as chip:
        settings = hwloop.Deployment(test=test, input_ranges=given.ranges, age=arguments.target_age)
        net = hwloop.deploy(network, chip, data.x_train[chosen], method, settings=settings)
        assert isinstance(net, hwloop.DeployedNetwork)
        assert net.tested is not None
        digital = net.tested.digital.value if given.digital is None else given.digital
        found = {"deployed": 100 * (digital - net.tested.on_chip.value)}
        net.age(age)
        has_norm = any(isinstance(part, nn.BatchNorm2d) for part in network.modules())
        for compensation in COMPENSATIONS:
            if has_norm or "batchnorm" not in compensation:
                net.compensate(compensation)
                found[f"{age} {compensation}"] = 100 * (digital - net.accuracy().value)
    return found


def mean_and_error(values: Sequence[float]) -> str:
    """Write a mean with its standard error."""
    spread = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return f"{statistics.fmean(values):6.2f} +- {spread:.2f}"


def main() -> None:
    """Deploy every network on every chip with every method, and print the losses."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="sim:hermes-64")
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--methods", default="gdp")
    parser.add_argument("--chips", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=401)
    parser.add_argument("--age", default="1y")
    parser.add_argument("--target-age", metavar="AGE", help="at which targets hold (default: the chip's own)")
    parser.add_argument("--retrain", type=int, default=0, metavar="EPOCHS")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of the training")
    arguments = parser.parse_args()
    told = dict(one.split("=", 1) for one in arguments.set)
    age = parse_duration(arguments.target_age or "0s")
    settings = hwloop.Retraining.parse({"epochs": str(arguments.retrain), "age": str(age), **told})
    print(machine(), "\n")
    for name in arguments.networks.split(","):
        for method in arguments.methods.split(","):
            before = measure(f"{name} by {method}", as_brought(name), method, arguments)
            if arguments.retrain:
                made = retrained(name, arguments.backend, settings)
                after = measure(f"{name} retrained, by {method}", made, method, arguments)
                for what in before[0]:
                    gains = [one[what] - other[what] for one, other in zip(before, after, strict=True)]
                    print(f"  gained: {what:<16} {mean_and_error(gains)} points", flush=True)


def measure(told: str, given: Trained, method: str, arguments: argparse.Namespace) -> list[dict[str, float]]:
    """Deploy a network on every chip, print the losses, and return them."""
    begin = time.perf_counter()
    joint = "&" if "?" in arguments.backend else "?"
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.chips)
    every = [losses(given, f"{arguments.backend}{joint}seed={seed}", method, arguments) for seed in seeds]
    wall = (time.perf_counter() - begin) / arguments.chips
    print(f"{told} on {arguments.backend}, {arguments.chips} chips, {wall:.0f} s each")
    for what in every[0]:
        print(f"  {what:<24} {mean_and_error([one[what] for one in every])} points below digital", flush=True)
    return every


if __name__ == "__main__":
    main()
