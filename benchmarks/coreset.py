"""Coresets at a tenth of the bits, beside the full set of activations and a uniform subsample of equal bits.

    python benchmarks/coreset.py                                five seeds, two networks of the digits
    python benchmarks/coreset.py --share 0.05 --seeds 3         other budgets

Each seed draws other calibration images and another chip, programmed exactly, so that drift and noise alone are there.
Activations of half of the training images are what is summarised; those of the other half, which nothing is fitted to,
tell the clipped share and the MVM error. Full sets count 32 bits a value. Clipped: values other than zero beyond the
range of their 99.9th percentile, of all matrices together, as `--ranges percentile` has them.
MVM error: of all tiles, a day after programming, with `column` compensation by the same probes, as
`DeployedNetwork.fit` and `compensate` make it.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from machine import machine

import hwloop
from hwloop.calibration.drift.digital import ColumnAffine
from hwloop.calibration.evaluation import relative_error
from hwloop.files.weights import read_state_dict
from hwloop.jobs.deploy_files import fill, shapes_of
from hwloop.nn import zoo
from hwloop.nn.activations import record_activations
from hwloop.nn.convert import convert
from hwloop.nn.datasets import Dataset, read_dataset
from hwloop.nn.on_chip import OnChip
from hwloop.nn.placement import place
from hwloop.nn.settings import NetworkSettings
from hwloop.typing import FloatArray


@dataclass(frozen=True)
class Found:
    """What ranges and columns that were fitted to some activations do to others."""

    clipped: float
    error: float


def activations(
    module: torch.nn.Module, network: hwloop.DeployedNetwork, images: torch.Tensor, seed: int
) -> dict[str, FloatArray]:
    """Give what each matrix is given when the digital network sees the images."""
    converted = convert(module)
    placed = place(converted, network.open_run.backend.info)
    seen = record_activations(converted, placed, images, network.settings, seed)
    return {name: np.asarray(one) for name, one in seen.samples.items() if isinstance(one, np.ndarray)}


def fitted(
    network: hwloop.DeployedNetwork,
    given: Mapping[str, hwloop.Sample | FloatArray],
    fresh: Mapping[str, FloatArray],
    ranges: hwloop.RangeSettings,
) -> Found:
    """Fit ranges and columns to activations, compensate, and look at others."""
    clipped = values = 0.0
    outputs: list[FloatArray] = []
    ideal: list[FloatArray] = []
    for matrix in network.placed:
        on_chip = matrix.sharing[0].layer.products[matrix.sharing[0].own_name]
        assert isinstance(on_chip, OnChip)
        for tile in on_chip.tiles:
            sample = given[matrix.name]
            chosen = sample if isinstance(sample, hwloop.Sample) else hwloop.Sample(sample)
            tile.fit(chosen.inputs(tile.inputs), ranges)
            x = fresh[matrix.name][:, tile.inputs]
            magnitudes = np.abs(x[x != 0])
            clipped += float((magnitudes > tile.input_scale).sum())
            values += magnitudes.size
    network.age(network.seconds_after_programming + 86_400.0)
    network.compensate(ColumnAffine(probes=100_000))
    for matrix in network.placed:
        on_chip = matrix.sharing[0].layer.products[matrix.sharing[0].own_name]
        assert isinstance(on_chip, OnChip)
        for tile in on_chip.tiles:
            x = fresh[matrix.name][:, tile.inputs]
            wanted = x @ tile.programmed.tile.in_output_order(tile.programmed.tile.weights)
            norm = float(np.linalg.norm(wanted)) or 1.0
            outputs.append((tile.multiply(x, ranges) / norm).reshape(-1))
            ideal.append((wanted / norm).reshape(-1))
    return Found(clipped / values, relative_error(np.concatenate(outputs)[:, None], np.concatenate(ideal)[:, None]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default="digits_mlp,digits_cnn")
    parser.add_argument("--backend", default="sim:hermes-64?level=statistical")
    parser.add_argument("--share", type=float, default=0.1, help="of the bits of the full set")
    parser.add_argument("--seed", type=int, default=501, help="the first one")
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    print(machine())
    data = read_dataset(hwloop.data.path("digits.npz"))
    for name in given.networks.split(","):
        seeds = range(given.seed, given.seed + given.seeds)
        rows = [compared(name, f"{given.backend}&seed={seed}", data, seed, given.share) for seed in seeds]
        for what in ("clipped", "error"):
            full, mine, uniform = ([getattr(row[k], what) for row in rows] for k in range(3))
            pairs = [list(zip(other, full, strict=True)) for other in (mine, uniform)]
            apart = [statistics.mean(abs(a / b - 1.0) for a, b in pair) for pair in pairs]
            together = [sum(other) / sum(full) - 1.0 for other in (mine, uniform)]
            print(
                f"{name}: {what}, all seeds: full {statistics.mean(full):.5f}; coreset {100 * together[0]:+.2f} %, "
                f"uniform {100 * together[1]:+.2f} %; by seed {100 * apart[0]:.2f} and {100 * apart[1]:.2f} % apart"
            )


def compared(name: str, backend: str, data: Dataset, seed: int, share: float) -> tuple[Found, Found, Found]:
    """Fit a network to all of its activations, to their coreset, and to a uniform subsample."""
    module = getattr(zoo, name)()
    fill(module, read_state_dict(hwloop.data.path(f"{name}.safetensors"), shapes_of(module)), name)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(data.x_train))
    images, others = (torch.from_numpy(data.x_train[part]) for part in np.array_split(order, 2))
    ranges = hwloop.RangeSettings(inputs="percentile", vectors=4096)
    settings = hwloop.Deployment(network=NetworkSettings(ranges), seed=seed)
    found = []
    for which in range(3):
        with hwloop.connect(backend) as chip:
            network = hwloop.deploy(module, chip, images, "exact", settings=settings)
            assert isinstance(network, hwloop.DeployedNetwork)
            whole, fresh = (activations(module, network, part, seed) for part in (images, others))
            bits = int(share * sum(32 * one.size for one in whole.values()))
            if which == 0:
                chosen: Mapping[str, hwloop.Sample | FloatArray] = whole
            elif which == 1:
                chosen = hwloop.coreset(whole, bits, hwloop.CoresetSettings(seed=seed)).samples
            else:
                chosen = {
                    key: one[rng.choice(len(one), int(share * len(one)), replace=False)] for key, one in whole.items()
                }
            found.append(fitted(network, chosen, fresh, ranges))
    shown = "; ".join(f"clipped {one.clipped:.5f}, error {one.error:.5f}" for one in found)
    print(f"{name}, seed {seed}, full, coreset, uniform: {shown}", flush=True)
    return found[0], found[1], found[2]


if __name__ == "__main__":
    main()
