"""Make the files in data/ that stand for what a lab has: measurements as text, and activations.

The conductances are those of data/example_measurement.h5, written as instruments and notebooks write them; the
activations are those of data/digits_mlp.safetensors for some training images. From the root of the repository:

    python examples/lab_files.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from hwloop.files.measurement_reader import read_measurements
from hwloop.files.measurements import Experiment
from hwloop.nn.datasets import read_dataset

CELLS = 40
IMAGES = 100
VOLTS = (0.1, 0.2)


def main() -> None:
    """Write the text files and the activations."""
    parser = argparse.ArgumentParser(description="Make the files in data/ that stand for what a lab has.")
    parser.add_argument("--data", type=Path, default=Path("data"), help="where all of them lie (default: data)")
    data = parser.parse_args().data
    drift = next(
        one for one in read_measurements(data / "example_measurement.h5") if one.experiment is Experiment.DRIFT
    )
    reads, level = drift.reads, drift.cells.level
    rows = [
        (int(cell), float(time), float(conductance))
        for cell, time, conductance in zip(reads.cell, reads.time, reads.conductance, strict=True)
        if cell % (len(level) // CELLS) == 0 and conductance > 0
    ]
    write(
        data / "lab.csv",
        "cell,time[s],resistance[ohm],operator,level",
        [f"{cell},{time:.4g},{1e6 / conductance:.5g},mk,{level[cell]}" for cell, time, conductance in rows],
    )
    cells = sorted({cell for cell, _, _ in rows})
    for number, chosen in enumerate(cells[-2:], 1):
        lines = [f"{time:.4g},{1e3 / conductance:.5g}" for cell, time, conductance in rows if cell == chosen]
        write(data / f"dev{number}.csv", "Time (s),R (kOhm)", lines)
    write(
        data / "analyser.csv",
        "Time (s),Voltage (V),Current (uA)",
        [
            f"{time:.4g},{volt},{conductance * volt:.5g}"
            for cell, time, conductance in rows
            for volt in VOLTS
            if cell == cells[-1]
        ],
    )
    np.savez_compressed(data / "activations.npz", **activations(data))


def write(path: Path, head: str, lines: list[str]) -> None:
    """Write a text file and say so."""
    path.write_text("\n".join([head, *lines, ""]), encoding="utf-8")
    print(f"{path}: {len(lines)} rows")


def activations(data: Path) -> dict[str, np.ndarray]:
    """Give the inputs (images, rows) of each matrix of the network, by the names of the weights."""
    weights, found = load_file(data / "digits_mlp.safetensors"), {}
    x = torch.from_numpy(read_dataset(data / "digits.npz").x_train[:IMAGES]).float() / 16
    for layer in ("fc1", "fc2", "fc3"):
        found[f"{layer}.weight"] = x.numpy().round(4)
        x = torch.relu(x @ weights[f"{layer}.weight"].T + weights[f"{layer}.bias"])
    return found


if __name__ == "__main__":
    main()
