"""Processor time of training in memory, beside aihwkit's compiled tiles where it is installed.

    python benchmarks/training_speed.py [--batch 10] [--epochs 5] [--chip "sim:reram-sb?rows=64&columns=64"]

The MLP 64-32-10 on the training images of data/digits.npz, by a plain loop of torch: forward, backward and step, and
nothing else. hwloop trains on sim:reram-sb, aihwkit on ReRamSBPreset and ChoppedTTv2ReRamSBPreset, in turn, epoch by
epoch, so that a machine with other work is as fast for both; the fastest epoch counts. One thread each.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from machine import machine, verdict
from torch import nn
from torch.nn import functional

import hwloop
from hwloop.errors import ProgrammingWarning

Epoch = Callable[[], None]
ALGORITHMS = {
    "sgd": (hwloop.optim.AnalogSGD, "ReRamSBPreset"),
    "c-ttv2": (hwloop.optim.ChoppedTTv2, "ChoppedTTv2ReRamSBPreset"),
}


def images() -> tuple[torch.Tensor, torch.Tensor]:
    """Return the training images, scaled to their largest value, and their labels."""
    data = np.load(hwloop.data.path("digits.npz"))
    x, y = (torch.as_tensor(data[name][data["train_index"]]) for name in ("images", "labels"))
    x = x.to(torch.float32).flatten(1)
    return x / x.amax(1, keepdim=True), y.to(torch.int64)


def loop(net: Any, optimizer: torch.optim.Optimizer, batch: int) -> Epoch:
    """Return one epoch of a user's own loop."""
    x, y = images()

    def epoch() -> None:
        for part in torch.split(torch.randperm(len(x)), batch):
            optimizer.zero_grad()
            functional.cross_entropy(net(x[part]), y[part]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    return epoch


def ours(name: str, batch: int, uri: str) -> Epoch:
    """Return an epoch of hwloop; its chip stays open."""
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    net = hwloop.nn.analog(model, hwloop.connect(uri))
    return loop(net, ALGORITHMS[name][0](net, lr=0.1), batch)


def theirs(name: str, batch: int) -> Epoch:
    """Return an epoch of aihwkit."""
    analog, optim = importlib.import_module("aihwkit.nn"), importlib.import_module("aihwkit.optim")
    settings = getattr(importlib.import_module("aihwkit.simulator.presets"), ALGORITHMS[name][1])
    first, last = (analog.AnalogLinear(*shape, rpu_config=settings()) for shape in ((64, 32), (32, 10)))
    net = analog.AnalogSequential(first, nn.ReLU(), last)
    optimizer = optim.AnalogSGD(net.parameters(), lr=0.1)
    optimizer.regroup_param_groups(net)
    return loop(net, optimizer, batch)


def fastest(ways: dict[str, Epoch], epochs: int) -> dict[str, float]:
    """Return processor seconds of the fastest epoch of each, after one that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(epochs + 1):
        for name, epoch in ways.items():
            began = time.process_time()
            epoch()
            if number:
                seconds[name].append(time.process_time() - began)
    return {name: min(several) for name, several in seconds.items()}


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--chip", default="sim:reram-sb?rows=64&columns=64")
    parser.add_argument("--only", nargs="*", choices=list(ALGORITHMS))
    options = parser.parse_args()
    warnings.simplefilter("ignore", ProgrammingWarning)
    torch.set_num_threads(1)
    print(machine())
    beside = importlib.util.find_spec("aihwkit") is not None
    if not beside:
        print("aihwkit: skipped, it is not installed")
    for name in options.only or ALGORITHMS:
        ways = {"hwloop": ours(name, options.batch, options.chip)}
        if beside:
            ways["aihwkit"] = theirs(name, options.batch)
        found = fastest(ways, options.epochs)
        told = ", ".join(f"{who} {value:.3f}" for who, value in found.items())
        print(f"{name}, batch {options.batch}, {len(images()[0])} images: {told} CPU s per epoch")
        if beside:
            verdict("  over aihwkit", found["hwloop"] / found["aihwkit"], 2.0, 2)


if __name__ == "__main__":
    main()
