"""Fitted models in the simulators that they are exported to, beside a chip that nothing was fitted to.

    python benchmarks/peers.py [--seed 1] [--cells 16000] [--weights 1000000]

One simulated chip is measured and fitted, and the model is exported. Devices of another chip are programmed to 16
levels and read once at ages of 200 s, an hour, a day and a year. What aihwkit 1.2 and CrossSim 3.2 make of the export
has the same means and standard deviations, or the fit, the export or its use is wrong. Converters are out of the way:
the simulators have their own, and exports none. A simulator that is not installed is passed over with a line.

Then the cost: CPU time to program and age a tensor of weights, over that of aihwkit's own PCM model.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
import torch
from machine import machine, verdict

import hwloop
from hwloop.typing import FloatArray

Reader: TypeAlias = Callable[[FloatArray, float], FloatArray]
"""From targets (uS) and an age (s) to what a simulator reads (uS)."""
AGES = {"200s": 200.0, "1h": 3600.0, "1d": 86400.0, "1y": 365.25 * 86400.0}
LEVELS = 16
DRAWS = 20_000
"""Devices that a simulator draws at every level and age."""


def fitted(uri: str, cells: int, folder: Path) -> Path:
    """Measure a chip, fit programming, drift and read noise, and return the model file."""
    with hwloop.connect(uri) as chip:
        measured = [
            hwloop.measure(chip, "programming", cells=cells, levels=LEVELS, seed=1),
            hwloop.measure(chip, "drift", cells=cells, levels=LEVELS, until="1d", seed=2),
            hwloop.measure(chip, "read-noise", cells=cells // 8, seed=3),
        ]
    hwloop.fit(measured, out=folder / "model.json")
    return folder / "model.json"


def seen(uri: str, count: int) -> tuple[FloatArray, dict[str, list[FloatArray]]]:
    """Return the levels of a fresh chip's devices (uS), and what single reads of them give, by age and level.

    They are programmed as those that the model was fitted to, with as many reads in a verification.
    """
    with hwloop.connect(uri) as chip:
        cells = hwloop.measure(chip, "programming", cells=count, levels=LEVELS, seed=4, ages="20s").cells
        reached, begun = [np.flatnonzero((cells.mark == 0) & (cells.level == k)) for k in range(LEVELS)], chip.now()
        read: dict[str, list[FloatArray]] = {}
        for name, age in AGES.items():
            chip.wait(begun + age - 20.0 - chip.now())
            read[name] = [chip.read(int(cells.core[own[0]]), cells.address[own], 1) for own in reached]
    return np.array([cells.target[own].mean() for own in reached]), read


def loaded(path: Path) -> ModuleType:
    """Import an exported module by its file."""
    specification = importlib.util.spec_from_file_location(path.stem, path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[path.stem] = module
    specification.loader.exec_module(module)
    return module


def aihwkit(code: Any) -> Reader:
    """Return what aihwkit reads of devices programmed to targets (uS), at an age."""

    def read(targets: FloatArray, age: float) -> FloatArray:
        model, target = code.noise_model, torch.tensor(targets, dtype=torch.float32)
        programmed = model.apply_programming_noise_to_conductance(target)
        coefficients = model.generate_drift_coefficients(target)
        since = max(age - code.START, 0.0)
        return np.asarray(model.apply_drift_noise_to_conductance(programmed, coefficients, since), np.float64)

    return read


def crosssim(code: Any) -> Reader:
    """Return what CrossSim reads of devices programmed to targets (uS), at an age."""
    simulator = importlib.import_module("simulator")
    importlib.import_module("simulator.backend").ComputeBackend(use_gpu=False)  # as a core of CrossSim does

    def read(targets: FloatArray, age: float) -> FloatArray:
        parameters, since = simulator.CrossSimParameters(), max(age - code.START, 0.0)
        code.configure(parameters.xbar.device, time=since)
        device = code.FittedDevice(parameters.xbar.device, parameters.xbar.device.drift_error)
        normalised = (targets / code.G_MAX).astype(np.float32)
        drifted = device.drift_error(normalised, since) if since else device.programming_error(normalised)
        return np.asarray(device.read_noise(drifted), np.float64) * float(code.G_MAX)

    return read


PEERS = {"aihwkit": ("aihwkit", aihwkit), "crosssim": ("simulator", crosssim)}


def compare(name: str, read: Reader, targets: FloatArray, truth: dict[str, list[FloatArray]]) -> None:
    """Print the worst and the median deviation of means and standard deviations of a simulator from the chip's."""
    shape = (len(truth), LEVELS)
    means, spreads = np.zeros(shape), np.zeros(shape)
    for row, (age, levels) in enumerate(truth.items()):
        for column, (target, reads) in enumerate(zip(targets, levels, strict=True)):
            simulated = read(np.full(DRAWS, target), AGES[age])
            means[row, column] = simulated.mean() / reads.mean() - 1.0
            spreads[row, column] = simulated.std() / reads.std() - 1.0
    chance = 1.0 / np.sqrt(2 * min(len(reads) for levels in truth.values() for reads in levels))
    print(f"{name}: 16 levels; by chance alone a spread is off by {chance:.3f} (one standard error)")
    for row, age in enumerate(truth):
        verdict(f"  {age}: means, median relative deviation", float(np.median(np.abs(means[row]))), 0.05)
        verdict(
            f"  {age}: standard deviations, median relative deviation", float(np.median(np.abs(spreads[row]))), 0.05
        )
        worst = int(np.abs(spreads[row]).argmax())
        print(
            f"    mean deviation {means[row].mean():+.3f} and {spreads[row].mean():+.3f}; worst standard deviation "
            f"{spreads[row, worst]:+.3f}, at {targets[worst]:.2f} uS"
        )


def cost(model: Any, weights: int) -> float:
    """CPU seconds that a model of aihwkit takes to program and age a tensor of weights for one day."""
    target = torch.rand(weights) * 25.0
    begin = time.process_time()
    programmed = model.apply_programming_noise_to_conductance(target)
    coefficients = model.generate_drift_coefficients(target)
    model.apply_drift_noise_to_conductance(programmed, coefficients, 86400.0)
    return time.process_time() - begin


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="sim:pcm-90nm?adc_noise=0&adc_bits=16")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cells", type=int, default=16_000)
    parser.add_argument("--weights", type=int, default=1_000_000)
    options = parser.parse_args()
    print(machine())
    sys.path.append(sys.path.pop(0))  # this folder has a simulator.py, which is not CrossSim's package
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = fitted(f"{options.backend}&seed={options.seed}", options.cells, folder)
        targets, truth = seen(f"{options.backend}&seed={options.seed + 1}", options.cells)
        for peer, (package, reader) in PEERS.items():
            if importlib.util.find_spec(package) is None:
                print(f"{peer}: skipped, it is not installed")
                continue
            hwloop.export(model, peer, folder / f"export_{peer}.py")
            code = loaded(folder / f"export_{peer}.py")
            compare(peer, reader(code), targets, truth)
            if peer == "aihwkit":
                own = importlib.import_module("aihwkit.inference").PCMLikeNoiseModel(g_max=25.0)
                ours, theirs = (min(cost(one, options.weights) for _ in range(5)) for one in (code.noise_model, own))
                verdict("  CPU time of weights, over aihwkit's own model", ours / theirs, 2.0, 2)


if __name__ == "__main__":
    main()
