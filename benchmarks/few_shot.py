"""Learning in sessions on simulated chips, beside averages in float.

    python benchmarks/few_shot.py                                               digits, five chips
    python benchmarks/few_shot.py --network small_resnet --dataset mnist.npz    other images, as `hwloop fewshot` takes
    python benchmarks/few_shot.py --levels 1                                    signs alone, as in the paper

Each chip has its own seed, which also chooses the classes that are new, the examples and the network's start weights.
A line for each chip, and the medians: points below float after the last session, and a day later with compensation.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from machine import machine

import hwloop
from hwloop.nn import MemorySettings, zoo


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="digits_cnn", choices=zoo.NAMES)
    parser.add_argument("--dataset", default=str(hwloop.data.path("digits.npz")))
    parser.add_argument("--backend", default="sim:hermes-64")
    parser.add_argument("--chips", type=int, default=5)
    parser.add_argument("--seed", type=int, default=901, help="of the first chip")
    parser.add_argument("--levels", type=int, default=MemorySettings().levels)
    parser.add_argument("--dimension", type=int, default=hwloop.FewShot().dimension)
    given = parser.parse_args()
    print(machine())
    below: list[float] = []
    after_a_day: list[float] = []
    for seed in range(given.seed, given.seed + given.chips):
        begun = time.process_time()
        torch.manual_seed(seed)
        network = getattr(zoo, given.network)()
        settings = hwloop.FewShot(seed=seed, dimension=given.dimension)
        with hwloop.connect(f"{given.backend}?seed={seed}") as chip:
            memory = MemorySettings(levels=given.levels, seed=seed)
            found = hwloop.fewshot(network, given.dataset, chip, settings, memory=memory)
            reads = chip.counts.device_reads
        last, aged = found.last_session, found.at("compensated")
        below.append(100 * (last.in_float.value - last.on_chip.value))
        after_a_day.append(100 * (aged.in_float.value - aged.on_chip.value))
        pulses = max(one.pulses_per_device for one in found.asked)
        print(
            f"seed {seed}: float {last.in_float.value:.3f}, chip {last.on_chip.value:.3f}, a day later "
            f"{found.at('aged').on_chip.value:.3f}, compensated {aged.on_chip.value:.3f}; {pulses:.2f} pulses per "
            f"device and example, {reads} device reads; {time.process_time() - begun:.0f} s of CPU",
            flush=True,
        )
    print(
        f"points below float, median: {statistics.median(below):.1f}; a day later {statistics.median(after_a_day):.1f}"
    )


if __name__ == "__main__":
    main()
