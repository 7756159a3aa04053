"""Accuracy of the zoo's networks on a chip: after programming, and after a year with each compensation.

    python benchmarks/networks.py [--backend sim:hermes-64] [--chips 5] [--networks digits_cnn,digits_lstm]
    python benchmarks/networks.py --methods gdp,iterative --backend sim:pcm-90nm --networks digits_cnn

Every chip has a seed of its own, from --first-seed on. Losses are points below the digital network on the same 500 test
images, means over the chips with their standard errors; the images are the same for all chips, so that their sampling
does not enter the loss. Ranges, columns, compensations and statistics come from training images alone.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from machine import machine

import hwloop
from hwloop.files.weights import read_state_dict
from hwloop.jobs.deploy_files import fill
from hwloop.nn.datasets import read_dataset
from hwloop.nn.factory import zoo_network

DATA = Path(__file__).parent.parent / "data"
NETWORKS = ("digits_mlp", "digits_cnn", "digits_transformer", "digits_lstm")
COMPENSATIONS = ("none", "global", "column", "predictive", "batchnorm", "column+batchnorm")


def losses(name: str, uri: str, method: str, age: str) -> dict[str, float]:
    """Deploy a network on one chip; return points below digital as deployed and with each compensation at an age."""
    data, network = read_dataset(DATA / "digits.npz"), zoo_network(f"hwloop.nn.zoo:{name}")
    weights = DATA / f"{name}.safetensors"
    fill(network, read_state_dict(weights), str(weights))
    chosen = np.random.default_rng(0).permutation(len(data.x_train))[:500]
    test = (torch.from_numpy(data.x_test), torch.from_numpy(data.y_test))
    with hwloop.connect(uri) as chip:
        settings = hwloop.Deployment(test=test)
        net = hwloop.deploy(network, chip, data.x_train[chosen], method, settings=settings)
        assert isinstance(net, hwloop.DeployedNetwork)
        assert net.tested is not None
        digital = net.tested.digital.value
        found = {"deployed": 100 * (digital - net.tested.on_chip.value)}
        net.age(age)
        has_norm = any(isinstance(part, torch.nn.BatchNorm2d) for part in network.modules())
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
    arguments = parser.parse_args()
    print(machine(), "\n")
    for name in arguments.networks.split(","):
        for method in arguments.methods.split(","):
            begin = time.perf_counter()
            joint = "&" if "?" in arguments.backend else "?"
            every = [
                losses(name, f"{arguments.backend}{joint}seed={arguments.first_seed + k}", method, arguments.age)
                for k in range(arguments.chips)
            ]
            wall = (time.perf_counter() - begin) / arguments.chips
            print(f"{name} by {method} on {arguments.backend}, {arguments.chips} chips, {wall:.0f} s each")
            for what in every[0]:
                print(f"  {what:<24} {mean_and_error([one[what] for one in every])} points below digital", flush=True)


if __name__ == "__main__":
    main()
