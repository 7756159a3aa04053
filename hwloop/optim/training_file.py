"""The file of a training: what was asked for, how it went, and all that is needed to go on or to use the network.

The layout is in docs/file-format.md. What changes is written at each commit in place of what was there: the digital
parameters, the digital state of the algorithm, and a simulated chip as it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, unquote

import h5py
import numpy as np
import torch

from hwloop.chip.info import Capability
from hwloop.files import hdf5
from hwloop.nn.noisy_accuracy import Images
from hwloop.optim.optimizer import AnalogOptimizer
from hwloop.optim.settings import Position
from hwloop.optim.task import CURVES, TrainingTask
from hwloop.optim.training import TrainingWork
from hwloop.typing import AnyArray


class TrainingRecorder:
    """Keeps a training on file while it goes on."""

    def __init__(self, writer: hdf5.WholeFileWriter, task: TrainingTask, data: Mapping[str, Images | None]) -> None:
        """Begin a file, in memory.

        Parameters
        ----------
        writer
            Of an empty file, or of one that is gone on with, which stays its opener's to close.
        task
            What was asked for.
        data
            Images by what they are for: 'training', 'held_out', 'test'.
        """
        self._writer = writer
        file = writer.file
        if "settings" in file:
            return
        file.attrs["created"] = hdf5.utc_now()
        task.write(file)
        for name, images in data.items():
            if images is not None:
                group = file.create_group(f"images/{name}")
                hdf5.put(group, "inputs", images.inputs.numpy(force=True), "1", "inputs of the network", packed=True)
                hdf5.put(group, "labels", images.labels.numpy(force=True), "1", "their classes", packed=True)

    @property
    def path(self) -> Path:
        """Where the file lies."""
        return self._writer.path

    @property
    def due(self) -> bool:
        """Whether the last commit is so old that another one costs a small share of the time."""
        return self._writer.due

    def commit(self, work: TrainingWork, status: str) -> None:
        """Write a training as it is now, and the file to the disk."""
        self._writer.commit(lambda: write_work(self._writer.file, work, status))


def write_work(file: h5py.File, work: TrainingWork, status: str) -> None:
    """Write how far a training is, in place of what was there."""
    work.note_cost()
    told = {name: getattr(work, name) for name in ("pulses_per_device", "saturated", "wall_seconds")}
    hdf5.put_attributes(file, {"status": status, **told})
    position = file.require_group("position")
    hdf5.put_attributes(position, dataclasses.asdict(work.position))
    curves = file.require_group("curves")
    for name, (units, meaning) in CURVES.items():
        hdf5.put(curves, name, np.array(getattr(work.curves, name), np.float64), units, meaning)
    parameters = file.require_group("parameters")
    for name, value in work.net.network.state_dict().items():
        meaning = "digital parameter or buffer; of a matrix, what was read or given last"
        hdf5.put(parameters, quote(name, safe=""), value.numpy(force=True), "1", meaning)
    for name, weights in work.weights.items():
        hdf5.put(file.require_group("weights"), quote(name, safe=""), weights, "1", "weights as read from the chip")
    _write_optimizer(file.require_group("optimizer"), work.optimizer)
    chip = work.net.chip
    if Capability.STATE in chip.info.capabilities:
        group = file.require_group("chip_state")
        for name, array in chip.export_state().items():
            *parents, own = name.split("/")
            inner = group.require_group("/".join(parents)) if parents else group
            hdf5.put(inner, own, array, "internal", "of the simulated chip")


def _write_optimizer(group: h5py.Group, optimizer: AnalogOptimizer) -> None:
    state = optimizer.state_dict()
    group.attrs["random"] = state["random"]
    for name, replicas in state["matrices"].items():
        for number, one in enumerate(replicas):
            inner = group.require_group(f"{quote(name, safe='')}/{number}")
            for key, value in one.items():
                hdf5.put(inner, key, value.numpy(), "1", "digital state of the algorithm")


def read_optimizer(file: h5py.File, optimizer: AnalogOptimizer) -> None:
    """Take the digital state of an algorithm back from a file. Raises BadInputError for that of another."""
    group = file["optimizer"]
    matrices = {
        unquote(name): [
            {key: torch.from_numpy(np.array(hdf5.get(group[name][number], key, "1"))) for key in group[name][number]}
            for number in sorted(group[name], key=int)
        ]
        for name in group
    }
    own = optimizer.state_dict()
    optimizer.load_state_dict({**own, "matrices": matrices, "random": str(group.attrs["random"])})


def read_parameters(file: h5py.File) -> dict[str, torch.Tensor]:
    """Read the state dict of the network."""
    group = file["parameters"]
    return {unquote(name): torch.from_numpy(np.array(hdf5.get(group, name, "1"))) for name in group}


def read_chip_state(file: h5py.File) -> dict[str, AnyArray] | None:
    """Read the state of the simulated chip; None for a chip that keeps its own."""
    if "chip_state" not in file:
        return None
    state: dict[str, AnyArray] = {}

    def collect(name: str, item: h5py.HLObject) -> None:
        if isinstance(item, h5py.Dataset):
            state[name] = np.asarray(item[()])

    file["chip_state"].visititems(collect)
    return state


def read_images(file: h5py.File) -> dict[str, Images | None]:
    """Read the images by what they are for."""
    found: dict[str, Images | None] = {}
    for name in ("training", "held_out", "test"):
        group = file.get(f"images/{name}")
        found[name] = None
        if group is not None:
            inputs, labels = (torch.from_numpy(np.array(hdf5.get(group, key, "1"))) for key in ("inputs", "labels"))
            found[name] = Images(inputs, labels)
    return found


def read_position(file: h5py.File) -> Position:
    """Read how far a training is."""
    told = {name: str(value) for name, value in hdf5.get_attributes(file["position"]).items()}
    return Position(
        int(told["epoch"]), int(told["batch"]), float(told["loss"]), float(told["pulses"]), float(told["chip_seconds"])
    )
