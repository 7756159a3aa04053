"""The file of a deployed network: the run that programmed it, and what makes a network of it again.

The layout is in docs/file-format.md. A file imports nothing: the network's class is named in it, and only networks of
`hwloop.nn.zoo` are opened by that name alone.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

import h5py
import numpy as np
import torch

from hwloop.calibration.certificate.certificate import Calibration
from hwloop.calibration.drift.compensation import Compensation
from hwloop.chip.info import Capability
from hwloop.errors import BadInputError
from hwloop.files import hdf5
from hwloop.files.resume_folder import onward
from hwloop.files.run_reader import read_state
from hwloop.files.run_writer import write_run, write_state
from hwloop.mapping.columns import ColumnCorrection
from hwloop.nn.accuracy import Accuracy, DeployedAccuracy
from hwloop.nn.convert import Converted
from hwloop.nn.network import DeployedNetwork, OpenRun
from hwloop.nn.on_chip import LayerTile
from hwloop.nn.placement import place
from hwloop.nn.ranges import RangeSettings
from hwloop.nn.settings import NetworkNames, NetworkSettings
from hwloop.nn.structure import structure_of
from hwloop.typing import Json, State

NETWORK_GROUP, RUN_GROUP = "network", "run"
BFLOAT16 = "bfloat16"


def check_seal(file: h5py.File) -> None:
    """Refuse a file that was changed since it was written. Raises BadInputError."""
    if hdf5.fingerprint(file) != file.attrs.get(hdf5.FINGERPRINT):
        raise BadInputError(
            f"{file.filename} was changed since it was written (its checksum does not fit); take the file as it was, "
            "or deploy the network again"
        )


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
    statistics
        Of its batch norms as trained, by path.
    inputs
        Calibration inputs.
    test
        Inputs and labels of its test data; None without any.
    tested
        Accuracies as it was deployed; None without test data.
    compensation
        Name of the one in use.
    refreshed
        Whether cells were pulsed again since programming.
    state
        Of a simulated chip as the network was saved; None for as it was programmed.
    structure
        Fingerprint of its layers and operations; empty in a file of an earlier version.
    report
        Where its matrices lie, what stays digital, and what an inference costs, as in the JSON of `hwloop deploy`;
        empty in a file of an earlier version.
    input_weights
        How many inputs each of the calibration inputs stands for; None: itself.
    """

    names: NetworkNames
    settings: NetworkSettings
    parameters: Mapping[str, torch.Tensor]
    statistics: dict[str, State]
    inputs: torch.Tensor
    test: tuple[torch.Tensor, torch.Tensor] | None
    tested: DeployedAccuracy | None
    compensation: str
    refreshed: bool
    state: State | None
    structure: str = ""
    report: Mapping[str, Json] = dataclasses.field(default_factory=dict)
    input_weights: torch.Tensor | None = None


def report_of(network: DeployedNetwork) -> dict[str, Json]:
    """Tell where the matrices of a network lie, what stays digital, and what an inference costs, where it is known."""
    cost = network.cost().to_json() if len(network.inputs) else None
    return {**network.mapping_report().to_json(), "cost": cost}


def save_network(path: str | Path, network: DeployedNetwork, *, force: bool = False) -> None:
    """Write a network's file. Raises BadInputError when it exists (without force) or cannot be written."""
    backend = network.open_run.backend
    check_calibration(network.open_run.calibration, network.open_run.record.provenance.calibration)
    state = backend.export_state() if Capability.STATE in backend.info.capabilities else None
    with hdf5.WholeFileWriter(path, hdf5.NETWORK_FORMAT, force=force) as file:
        write_run(file.file.create_group(RUN_GROUP), network.open_run.record, backend.snapshot())
        write_network(file.file, network, state)
        file.commit()


def check_calibration(used: Calibration | None, name: str) -> None:
    """Refuse a calibration without a file, since a network's file names it. Raises BadInputError."""
    if used is not None and not name:
        raise BadInputError(
            "the calibration was given as an object, and a network's file names the file of its calibration: save it "
            "(calibration.save('chip.cal.h5')), and deploy with calibration='chip.cal.h5'"
        )


def write_network(file: h5py.File, network: DeployedNetwork, state: State | None = None) -> None:
    """Write a network beside its run, and seal the file.

    Parameters
    ----------
    file
        With the run, and no network yet.
    network
        What to write.
    state
        Of the simulated chip as it is now; None where the run's is that.
    """
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
        "refreshed": network.refreshed,
        "structure": structure_of(network.network),
        "report_json": json.dumps(report_of(network)),
    }
    hdf5.put_attributes(group, texts)
    hdf5.put_attributes(group.create_group("ranges"), dataclasses.asdict(settings.ranges))
    _put_tensor(group, "inputs", network.inputs, "calibration inputs of the network")
    if network.input_weights is not None:
        _put_tensor(group, "input_weights", network.input_weights, "how many inputs each of them stands for")
    if network.test is not None:
        x, y = network.test
        _put_tensor(group, "test_inputs", x, "inputs that the network is tested on")
        _put_tensor(group, "test_labels", y, "their classes")
    if network.tested is not None:
        tested = network.tested
        counts = {"correct": tested.on_chip.correct, "correct_digital": tested.digital.correct, "age": tested.age}
        hdf5.put_attributes(group.create_group("tested"), {**counts, "total": tested.on_chip.total, "age_units": "s"})
    parameters = group.create_group("parameters")
    for name, values in network.network.state_dict().items():
        if isinstance(values, torch.Tensor):  # what a module keeps of its own beside them comes with its class
            _put_tensor(parameters, quote(name, safe=""), values, "parameter of the network, as in its state dict")
    for path, statistics in network.statistics.items():
        norm = group.create_group(f"statistics/{quote(path, safe='')}")
        for name, own in statistics.items():
            hdf5.put(norm, name, own, "1", "statistics of a batch norm as trained")
    for number, tile in enumerate(network.tiles):
        _write_tile(group.create_group(f"tiles/{number:04d}"), tile)
    if state is not None:
        write_state(group.create_group("chip_state"), state)
    file.attrs[hdf5.FINGERPRINT] = hdf5.fingerprint(file)


def _put_tensor(group: h5py.Group, name: str, values: torch.Tensor, meaning: str) -> None:
    """Write a tensor; one of bfloat16, which numpy does not know, without loss as float32 with a note."""
    short = values.dtype == torch.bfloat16
    dataset = hdf5.put(group, name, (values.float() if short else values).numpy(force=True), "1", meaning)
    if short:
        dataset.attrs["number_type"] = BFLOAT16


def _get_tensor(group: h5py.Group, name: str) -> torch.Tensor:
    """Read what `_put_tensor` wrote."""
    values = torch.from_numpy(np.array(hdf5.get(group, name, "1")))
    return values.bfloat16() if group[name].attrs.get("number_type") == BFLOAT16 else values


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
    if known.shares is not None:
        hdf5.put(group, "sample_shares", known.shares, "1", "weights of the vectors of sample, whose mean is 1")
    if np.isfinite(tile.fit_error):
        group.attrs["fit_error"] = tile.fit_error
    if tile.compensation is not None:
        tile.compensation.save(group.create_group("compensation"))


def read_network(file: h5py.File) -> StoredNetwork:
    """Read what a file says of its network, within `whole`. Raises BadInputError for one that holds none."""
    name = file.filename
    if NETWORK_GROUP not in file:
        raise BadInputError(f"{name}: the network was not deployed to its end; {onward(name, 'deploy it again')}")
    group = file[NETWORK_GROUP]
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
    parameters = {unquote(key): _get_tensor(group["parameters"], key) for key in group["parameters"]}
    return StoredNetwork(
        names=names,
        settings=settings,
        parameters=parameters,
        statistics=_read_statistics(group),
        inputs=_get_tensor(group, "inputs"),
        input_weights=_get_tensor(group, "input_weights") if "input_weights" in group else None,
        test=_read_test(group),
        tested=_read_tested(group["tested"].attrs) if "tested" in group else None,
        compensation=str(noted["compensation"]),
        refreshed=bool(noted["refreshed"]),
        state=read_state(group["chip_state"]) if "chip_state" in group else None,
        structure=str(noted.get("structure", "")),
        report=_read_report(str(noted.get("report_json", "{}"))),
    )


def _read_report(text: str) -> Mapping[str, Json]:
    told = json.loads(text)
    return told if isinstance(told, dict) else {}


def _read_test(group: h5py.Group) -> tuple[torch.Tensor, torch.Tensor] | None:
    if "test_inputs" not in group:
        return None
    return _get_tensor(group, "test_inputs"), _get_tensor(group, "test_labels")


def _read_statistics(group: h5py.Group) -> dict[str, State]:
    norms = group.get("statistics", {})
    return {unquote(path): {name: hdf5.get(norms[path], name, "1") for name in norms[path]} for path in norms}


def _read_tested(noted: Mapping[str, float]) -> DeployedAccuracy:
    total = int(noted["total"])
    on_chip, digital = (Accuracy(int(noted[name]), total) for name in ("correct", "correct_digital"))
    return DeployedAccuracy(on_chip, digital, float(noted["age"]))


def restore_network(file: h5py.File, stored: StoredNetwork, converted: Converted, open_run: OpenRun) -> DeployedNetwork:
    """Make the network of a file again.

    Parameters
    ----------
    file, stored
        The open file, and what `read_network` gave.
    converted
        The network's module, converted as it was then; its parameters are replaced by those of the file.
    open_run
        The run, and its chip in the state that the file keeps.

    Raises
    ------
    BadInputError
        When the module is not the one that was deployed.
    """
    own = {name: one for name, one in converted.network.state_dict().items() if not isinstance(one, torch.Tensor)}
    tensors = own | dict(stored.parameters)
    try:
        converted.network.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).splitlines()[1:2]).strip()
        raise BadInputError(f"{file.filename} holds another network than the one given: {reason}") from None
    if stored.structure and structure_of(converted.network) != stored.structure:
        raise BadInputError(
            f"{file.filename} holds another network than the one given: a layer, an activation, an operation or a "
            "setting of it differs; give the module that was deployed"
        )
    placed = place(converted, open_run.backend.info, stored.names.replicas)
    network = DeployedNetwork(converted, placed, open_run, stored.inputs, stored.settings, stored.test)
    if network.statistics.keys() != stored.statistics.keys():
        raise BadInputError(f"{file.filename}: its network is not whole (statistics are missing); deploy it again")
    network.statistics, network.input_weights = stored.statistics, stored.input_weights
    groups = file[NETWORK_GROUP]["tiles"]
    if len(groups) != len(network.tiles):
        raise BadInputError(f"{file.filename}: its network is not whole (tiles are missing); deploy it again")
    for name, tile in zip(sorted(groups), network.tiles, strict=True):
        _read_tile(groups[name], tile)
    network.names, network.tested = stored.names, stored.tested
    network.compensation, network.refreshed = stored.compensation, stored.refreshed
    return network


def _read_tile(group: h5py.Group, tile: LayerTile) -> None:
    correction = ColumnCorrection(hdf5.get(group, "column_gain", "1"), hdf5.get(group, "column_offset", "1"))
    sample = np.asarray(hdf5.get(group, "sample", "1"), np.int32) if "sample" in group else None
    shares = np.asarray(hdf5.get(group, "sample_shares", "1")) if "sample_shares" in group else None
    tile.input_scale = float(hdf5.get(group, "input_scale", "1"))
    tile.fit_error = float(group.attrs.get("fit_error", np.nan))
    tile.at_range(float(hdf5.get(group, "full_scale", "uS")), correction, sample, shares)
    tile.compensation = Compensation.load(group["compensation"]) if "compensation" in group else None
