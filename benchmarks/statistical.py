"""Speed of the statistical chip: many weights programmed, drifted to a day and read once, and the memory it takes.

    python benchmarks/statistical.py [--weights 100e6] [--threads 2] [--devices 1|2] [--aihwkit]

With --aihwkit the same is done by aihwkit's inference tiles, with its PCM noise model, where it is installed.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import resource
import time
from collections.abc import Iterator

import numpy as np
import torch

import hwloop
from hwloop.calibration.programming.registry import method_from
from hwloop.calibration.programming.targets import programmer
from hwloop.chip.info import ChipInfo
from hwloop.chip.targets import Targets
from hwloop.durations import parse_duration
from hwloop.mapping.matrix import Matrix
from hwloop.mapping.partition import map_weights
from hwloop.sim_backend.statistical.chip import StatisticalChip

PRESETS = {1: "pcm-90nm", 2: "hermes-core"}
"""By devices per polarity."""


def targets(info: ChipInfo, cores: int) -> Iterator[Targets]:
    """Yield Gaussian targets for whole cores, cut at three standard deviations."""
    rng, largest = np.random.default_rng(1), info.devices_per_polarity * info.g_max
    for core in range(cores):
        values = rng.standard_normal((info.rows, info.columns), dtype=np.float32)
        yield Targets(core, 0, 0, np.clip(values / 3, -1, 1) * np.float32(largest))


def measure(devices: int, weights: int, at_once: int) -> None:
    cores = -(-weights // 65_536)
    uri = f"sim:{PRESETS[devices]}?cores={cores}&level=statistical"
    with hwloop.connect(uri) as chip:
        assert isinstance(chip, StatisticalChip)
        info = chip.info
        (tile,) = map_weights([Matrix("w", np.eye(info.rows, info.columns))], info)
        by, age = programmer(method_from("gdp"), tile), info.reference_age
        began = time.perf_counter()
        chip.program_targets([Targets(0, 0, 0, np.zeros((info.rows, info.columns)))], age, by)
        learnt = time.perf_counter() - began
        wanted = targets(info, cores)
        x = np.random.default_rng(2).integers(-127, 128, (1, info.rows)).astype(np.int32)
        programming, reading = Stopwatch(), Stopwatch()
        for first in range(0, cores, at_once):
            part = [next(wanted) for _ in range(min(at_once, cores - first))]
            with programming:
                chip.program_targets(part, age, by)
        with reading:
            chip.wait(parse_duration("1d"))
            chip.mvms(dict.fromkeys(range(cores), x))
    count, wall = cores * 65_536 / 1e6, programming.wall + reading.wall
    each = 1e3 * (programming.cpu + reading.cpu) / count
    print(
        f"{devices} device(s) per polarity, {count:.0f} M weights, {torch.get_num_threads()} threads: "
        f"{count / wall:.1f} M weights/s\n"
        f"  programmed in {programming.wall:.2f} s, drifted and read in {reading.wall:.2f} s\n"
        f"  {each:.1f} ns of CPU time a weight; learnt once before in {learnt:.1f} s; at most {peak_memory():.2f} GiB"
    )


class Stopwatch:
    """Adds up the seconds, by the clock and of CPU time, that are spent in its `with`."""

    def __init__(self) -> None:
        self.wall, self.cpu = 0.0, 0.0

    def __enter__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def __exit__(self, *error: object) -> None:
        self.wall += time.perf_counter() - self._began[0]
        self.cpu += time.process_time() - self._began[1]


def peak_memory() -> float:
    """Return the most memory that this process has had, GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure_aihwkit(weights: int) -> None:
    if importlib.util.find_spec("aihwkit") is None:
        print("aihwkit: skipped, it is not installed (pip install aihwkit)")
        return
    model = importlib.import_module("aihwkit.inference").PCMLikeNoiseModel(g_max=25.0)
    tensor = torch.empty(256, 256).normal_().clamp_(-3, 3).div_(3)
    repeats, began = -(-weights // tensor.numel()), time.perf_counter()
    x = torch.randn(1, 256)
    for _ in range(repeats):
        programmed, drift = model.apply_programming_noise(tensor)
        x @ model.apply_drift_noise(programmed, drift, parse_duration("1d"))
    seconds = time.perf_counter() - began
    print(f"aihwkit's noise model: {repeats * tensor.numel() / seconds / 1e6:.1f} M weights/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=float, default=100e6)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--devices", type=int, choices=sorted(PRESETS), default=None)
    parser.add_argument("--at-once", type=int, default=64, help="cores whose targets are handed over in one call")
    parser.add_argument("--aihwkit", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for devices in sorted(PRESETS) if options.devices is None else [options.devices]:
        measure(devices, int(options.weights), options.at_once)
    if options.aihwkit:
        measure_aihwkit(int(options.weights))


if __name__ == "__main__":
    main()
