"""The file of a deployed network: the run that programmed it, and what makes a network of it again.

The layout is in docs/file-format.md. A file imports nothing: the network's class is named in it, and only networks of
`hwloop.nn.zoo` are opened by that name alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch

from hwloop.calibration.drift.compensation import Compensation
from hwloop.chip.info import Capability
from hwloop.errors import BadInputError
from hwloop.files import hdf5
from hwloop.files.run_reader import read_state
from hwloop.files.run_writer import write_run, write_state
from hwloop.mapping.columns import ColumnCorrection
from hwloop.nn.accuracy import Accuracy, DeployedAccuracy
from hwloop.nn.convert import Converted
from hwloop.nn.network import DeployedNetwork, Held
from hwloop.nn.on_chip import LayerTile
from hwloop.nn.placement import place
from hwloop.nn.ranges import RangeSettings
from hwloop.nn.settings import NetworkNames, NetworkSettings
from hwloop.typing import AnyArray, State

NETWORK_GROUP, RUN_GROUP = "network", "run"


@dataclass(frozen=True)
class StoredNetwork:
    """What the network's part of a file says.

    Parameters
    ----------
    names
        Its origin.
    settings
        Ranges and replicas.
    parameters
        State dict of the converted network, by name.
    inputs
        Calibration inputs.
    test
        Inputs and labels of its test data; None without any.
    tested
        Accuracies as it was deployed; None without test data.
    compensation
        Name of the one in use.
    state
        Of a simulated chip as the network was saved; None for as it was programmed.
    """

    names: NetworkNames
    settings: NetworkSettings
    parameters: State
    inputs: AnyArray
    test: tuple[AnyArray, AnyArray] | None
    tested: DeployedAccuracy | None
    compensation: str
    state: State | None


def save_network(path: str | Path, network: DeployedNetwork, *, force: bool = False) -> None:
    """Write a network's file. Raises BadInputError when it exists (without force) or cannot be written."""
    with hdf5.WholeFileWriter(path, hdf5.NETWORK_FORMAT, force=force) as file:
        write_run(file.file.create_group(RUN_GROUP), network.held.record, network.held.backend.snapshot())
        write_network(file.file, network)
        file.commit()


def write_network(file: h5py.File, network: DeployedNetwork) -> None:
    """Write a network beside its run, anew where the file holds one."""
    if NETWORK_GROUP in file:
        del file[NETWORK_GROUP]
    group = file.create_group(NETWORK_GROUP)
    settings, names = network.settings, network.names
    texts: dict[str, hdf5.Attribute] = {
        "factory": names.factory,
        "weights": names.weights,
        "weights_sha256": names.weights_sha256,
        "dataset": names.dataset,
        "exclude": "\n".join(names.exclude),
        "replicas": "\n".join(f"{pattern}={count}" for pattern, count in names.replicas.items()),
        "replica_use": settings.replica_use,
        "compensation": network.compensation,
    }
    hdf5.put_attributes(group, texts)
    hdf5.put_attributes(group.create_group("ranges"), dataclasses.asdict(settings.ranges))
    hdf5.put(group, "inputs", network.inputs.numpy(force=True), "1", "calibration inputs of the network")
    if network.test is not None:
        x, y = network.test
        hdf5.put(group, "test_inputs", x.numpy(force=True), "1", "inputs that the network is tested on")
        hdf5.put(group, "test_labels", y.numpy(force=True), "1", "their classes")
    if network.tested is not None:
        tested = network.tested
        counts = {"correct": tested.on_chip.correct, "correct_digital": tested.digital.correct, "age": tested.age}
        hdf5.put_attributes(group.create_group("tested"), {**counts, "total": tested.on_chip.total, "age_units": "s"})
    parameters = group.create_group("parameters")
    for name, values in network.network.state_dict().items():
        hdf5.put(parameters, name, values.numpy(force=True), "1", "parameter of the network, as in its state dict")
    for number, tile in enumerate(network.tiles):
        _write_tile(group.create_group(f"tiles/{number:04d}"), tile)
    if network.moved and Capability.STATE in network.held.backend.info.capabilities:
        write_state(group.create_group("chip_state"), network.held.backend.export_state())


def _write_tile(group: h5py.Group, tile: LayerTile) -> None:
    known = tile.programmed
    hdf5.put(group, "input_scale", tile.input_scale, "1", "input that drives a converter fully")
    hdf5.put(group, "full_scale", known.region.full_scale, "uS", "converter range for the network's activations")
    hdf5.put(group, "column_gain", known.origin.correction.gain, "1", "weight units per output code, of each column")
    hdf5.put(group, "column_offset", known.origin.correction.offset, "1", "weight units, of each column")
    if known.sample is not None:
        hdf5.put(
            group, "sample", known.sample, "1", "input codes of calibration activations (vector, row)", packed=True
        )
    if np.isfinite(tile.fit_error):
        group.attrs["fit_error"] = tile.fit_error
    if tile.compensation is not None:
        tile.compensation.save(group.create_group("compensation"))


def read_network(file: h5py.File) -> StoredNetwork:
    """Read what a file says of its network. Raises BadInputError for one that holds none, or not whole."""
    name = file.filename
    if NETWORK_GROUP not in file:
        raise BadInputError(f"{name}: the network was not deployed to its end; deploy it again")
    group = file[NETWORK_GROUP]
    try:
        noted = group.attrs
        replicas = dict(line.rsplit("=", 1) for line in str(noted["replicas"]).splitlines())
        names = NetworkNames(
            factory=str(noted["factory"]),
            weights=str(noted["weights"]),
            weights_sha256=str(noted["weights_sha256"]),
            dataset=str(noted["dataset"]),
            exclude=tuple(str(noted["exclude"]).splitlines()),
            replicas={pattern: int(count) for pattern, count in replicas.items()},
        )
        asked = group["ranges"].attrs
        ranges = RangeSettings.parse({item.name: str(asked[item.name]) for item in dataclasses.fields(RangeSettings)})
        settings = NetworkSettings(ranges, str(noted["replica_use"]))
        parameters = {key: np.asarray(hdf5.get(group["parameters"], key, "1")) for key in group["parameters"]}
        return StoredNetwork(
            names=names,
            settings=settings,
            parameters=parameters,
            inputs=hdf5.get(group, "inputs", "1"),
            test=_read_test(group),
            tested=_read_tested(group["tested"].attrs) if "tested" in group else None,
            compensation=str(noted["compensation"]),
            state=read_state(group["chip_state"]) if "chip_state" in group else None,
        )
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, BadInputError):
            raise
        raise BadInputError(f"{name}: its network is not whole ({error.args[0]}); deploy it again") from None


def _read_test(group: h5py.Group) -> tuple[AnyArray, AnyArray] | None:
    if "test_inputs" not in group:
        return None
    return hdf5.get(group, "test_inputs", "1"), hdf5.get(group, "test_labels", "1")


def _read_tested(noted: Mapping[str, float]) -> DeployedAccuracy:
    total = int(noted["total"])
    on_chip, digital = (Accuracy(int(noted[name]), total) for name in ("correct", "correct_digital"))
    return DeployedAccuracy(on_chip, digital, float(noted["age"]))


def restore_network(file: h5py.File, stored: StoredNetwork, converted: Converted, held: Held) -> DeployedNetwork:
    """Make the network of a file again.

    Parameters
    ----------
    file, stored
        The open file, and what `read_network` gave.
    converted
        The network's module, converted as it was then; its parameters are replaced by those of the file.
    held
        The run, and its chip in the state that the file keeps.

    Raises
    ------
    BadInputError
        When the module is not the one that was deployed.
    """
    tensors = {name: _tensor(values) for name, values in stored.parameters.items()}
    try:
        converted.network.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).splitlines()[1:2]).strip()
        raise BadInputError(f"{file.filename} holds another network than the one given: {reason}") from None
    placed = place(converted, held.backend.info, stored.names.replicas)
    inputs = _tensor(stored.inputs)
    test = None if stored.test is None else (_tensor(stored.test[0]), _tensor(stored.test[1]))
    network = DeployedNetwork(converted, placed, held, inputs, stored.settings, test)
    groups = file[NETWORK_GROUP]["tiles"]
    if len(groups) != len(network.tiles):
        raise BadInputError(f"{file.filename}: its network is not whole (tiles are missing); deploy it again")
    for name, tile in zip(sorted(groups), network.tiles, strict=True):
        _read_tile(groups[name], tile)
    network.names, network.tested = stored.names, stored.tested
    network.compensation, network.moved = stored.compensation, stored.state is not None
    return network


def _tensor(values: AnyArray) -> torch.Tensor:
    return torch.from_numpy(np.array(values))


def _read_tile(group: h5py.Group, tile: LayerTile) -> None:
    correction = ColumnCorrection(hdf5.get(group, "column_gain", "1"), hdf5.get(group, "column_offset", "1"))
    sample = np.asarray(hdf5.get(group, "sample", "1"), np.int32) if "sample" in group else None
    tile.input_scale = float(hdf5.get(group, "input_scale", "1"))
    tile.fit_error = float(group.attrs.get("fit_error", np.nan))
    tile.at_range(float(hdf5.get(group, "full_scale", "uS")), correction, sample)
    tile.compensation = Compensation.load(group["compensation"]) if "compensation" in group else None
