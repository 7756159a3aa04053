"""The same seeds, the same results: what experiments read and a calibration finds on simulated chips, as numbers.

They are those of small chips, on which nothing is decided by a last bit, and hold on every CPU. A change that moves
them is made on purpose; `python -m tests.calibration.test_same_results` then writes them anew. That results are right
is for other tests to say, against what the simulated chips are made of; here nearly any change of any part shows.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hwloop
from hwloop.calibration.programming.exact import Exact
from hwloop.files.measurements import Measurement
from hwloop.typing import Json

WRITTEN = Path(__file__).with_name("same_results.json")
"""What was found when it was written down."""
SMALL = "rows=16&columns=12&seed=5&adc_bits=16"
EXPERIMENTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "programming curve": ("pcm-90nm", "programming-curve", {"cells": 40, "points": 10, "repeats": 2}),
    "drift": ("hermes-core", "drift", {"cells": 60, "levels": 4, "until": 3e4, "per_decade": 3}),
    "programming": ("pcm-90nm", "programming", {"cells": 60}),
    "read noise": ("pcm-90nm", "read-noise", {"cells": 9, "samples": 100}),
    "pulse response": ("ecram", "pulse-response", {"cells": 20, "pulses": 40, "read_every": 4, "cycles": 2}),
}
CALIBRATIONS = {
    "with wires": f"sim:hermes-core?{SMALL}&stuck_rate=0.01&wire_resistance=3&adc_nonlinearity=20&adc_gain_spread=0.1",
}
COMPENSATIONS = ("none global column", "predictive")


def weighted(values: Any) -> list[float]:
    """Mean, and mean with weights that are alike for no two places; -7 stands for what is no number."""
    flat = np.asarray(values, np.float64).ravel()
    flat = np.where(np.isfinite(flat), flat, -7.0)
    return [float(flat.mean()), float(flat @ np.cos(1.0 + 0.7 * np.arange(flat.size)) / flat.size)]


def measured(name: str) -> dict[str, list[float]]:
    """Say what an experiment read, column by column."""
    preset, experiment, settings = EXPERIMENTS[name]
    with hwloop.connect(f"sim:{preset}?{SMALL}") as chip:
        found: Measurement = hwloop.measure(chip, experiment, **settings)
        spent = dataclasses.asdict(chip.counts)
    told = {name: weighted(column) for name, column in vars(found.reads).items() if column is not None}
    told |= {f"{name} of a cell": weighted(getattr(found.cells, name)) for name in ("target", "verify", "mark")}
    return told | {f"spent {name}": [float(number)] for name, number in spent.items()}


def calibrated(name: str) -> dict[str, list[float]]:
    """Say what a calibration found, value by value."""
    with hwloop.connect(CALIBRATIONS[name]) as chip:
        found = hwloop.calibrate(chip)
        spent = dataclasses.asdict(chip.counts)
    told = {
        f"{part}.{item.name}": weighted(getattr(result, item.name))
        for part, result in found.cores[0].parts().items()
        for item in dataclasses.fields(result)
    }
    return told | {f"spent {name}": [float(number)] for name, number in spent.items()}


def aged(compensations: str) -> dict[str, list[float]]:
    """Say what a study of drift finds with a compensation, on weights that were placed exactly."""
    weights = np.random.default_rng(4).normal(0.0, 0.3, (12, 16))
    with hwloop.connect(f"sim:pcm-90nm?{SMALL}") as chip:
        run = hwloop.program(chip, {"w": weights}, Exact())
        found = hwloop.drift(run, chip, ["1h", "30d"], compensations.split(), probes=20)
        spent = dataclasses.asdict(chip.counts)
    told = {f"number {k}": [value] for k, value in enumerate(numbers(found.to_json()))}
    return told | {f"spent {name}": [float(number)] for name, number in spent.items()}


def numbers(found: Json) -> Iterator[float]:
    """List all numbers of a result in their order, but for seconds that it took."""
    if isinstance(found, dict):
        for name, value in found.items():
            yield from () if "wall" in name else numbers(value)
    elif isinstance(found, list):
        for value in found:
            yield from numbers(value)
    elif isinstance(found, int | float):
        yield float(found)


def everything() -> dict[str, dict[str, list[float]]]:
    found = {name: measured(name) for name in EXPERIMENTS} | {name: calibrated(name) for name in CALIBRATIONS}
    return found | {f"aged, {names}": aged(names) for names in COMPENSATIONS}


def compare(found: dict[str, list[float]], name: str, tolerance: float) -> None:
    written = json.loads(WRITTEN.read_text())[name]
    assert [*found] == [*written]
    for one, values in found.items():
        size = sum(abs(number) for number in written[one])
        assert values == pytest.approx(written[one], rel=tolerance, abs=tolerance * size + 1e-9), one


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_reads_what_it_did(name: str) -> None:
    compare(measured(name), name, 1e-4)


@pytest.mark.parametrize("name", CALIBRATIONS)
def test_a_calibration_finds_what_it_did(name: str) -> None:
    compare(calibrated(name), name, 2e-3)


@pytest.mark.parametrize("names", COMPENSATIONS)
def test_a_study_of_drift_finds_what_it_did(names: str) -> None:
    compare(aged(names), f"aged, {names}", 1e-3)


if __name__ == "__main__":
    rows = [
        f"{json.dumps(name)}: {json.dumps({one: [float(f'{x:.7g}') for x in values] for one, values in told.items()})}"
        for name, told in everything().items()
    ]
    WRITTEN.write_text("{\n" + ",\n".join(rows) + "\n}\n")
