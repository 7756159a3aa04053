"""Opens the file of a deployed network again: the network, its chip as it was left, and what it was deployed with."""

from __future__ import annotations

from pathlib import Path

import h5py
from torch import nn

from hwloop.calibration.certificate.use import calibration_of_run, use_calibration
from hwloop.chip.backend import Backend
from hwloop.chip.claims import programmed_over
from hwloop.chip.info import Capability
from hwloop.chip.opened import takes_open_chips
from hwloop.chip.region import Place
from hwloop.chip.registry import connect_recorded, same_chip
from hwloop.errors import BadInputError
from hwloop.files import hdf5
from hwloop.files.reading import whole
from hwloop.files.resume_folder import onward
from hwloop.files.run_reader import read_record
from hwloop.files.runs import RunRecord
from hwloop.jobs.run import Run
from hwloop.nn.convert import convert
from hwloop.nn.factory import zoo_network
from hwloop.nn.network import DeployedNetwork, OpenRun
from hwloop.nn.network_file import (
    RUN_GROUP,
    StoredNetwork,
    check_seal,
    read_network,
    restore_network,
)


def read_network_run(path: str | Path) -> RunRecord:
    """Read what the chip of a network was programmed with, without opening the network or its chip.

    Raises
    ------
    BadInputError
        For a file that is no whole network.
    """
    with hdf5.open_file(path, hdf5.NETWORK_FORMAT) as file, whole(path, "network file", "deploy it again"):
        return _run_of(file, path)


def _run_of(file: h5py.File, path: str | Path) -> RunRecord:
    """Read the run in a network file. Raises BadInputError where there is none yet."""
    if RUN_GROUP not in file:
        raise BadInputError(f"{path}: the network was not deployed to its end; {onward(path, 'deploy it again')}")
    return read_record(file[RUN_GROUP], str(path))


@takes_open_chips
def load_network(path: str | Path, network: nn.Module | None = None, chip: Backend | None = None) -> DeployedNetwork:
    """Open a deployed network from its file, with its simulated chip as it was left, or a real one as it is now.

    Parameters
    ----------
    path
        Network file.
    network
        A module of the class that was deployed, with any weights; None for a network of `hwloop.nn.zoo`, which a file
        may name. Nothing else is imported because a file names it.
    chip
        The open chip that holds it; None for the simulated preset that the file names.

    Raises
    ------
    BadInputError
        For a file that is no whole network, another module or chip than its own, and where either must be named.
    """
    with hdf5.open_file(path, hdf5.NETWORK_FORMAT) as file:
        with whole(path, "network file", "deploy it again"):
            record = _run_of(file, path)
            stored = read_network(file)
            check_seal(file)
        known = calibration_of_run(record, None)
        module = _module(stored, str(path)) if network is None else network
        converted = convert(module, stored.names.exclude)
        backend = connect_recorded(record.backend, str(path)) if chip is None else chip
        if Capability.STATE in backend.info.capabilities:
            if not same_chip(record.backend, backend.uri):
                raise BadInputError(
                    f"{path} was deployed on {record.backend}; the state of a simulated chip fits that chip alone, not "
                    f"{backend.uri}"
                )
            info = backend.info
            whole_cores = [Place(core, 0, 0, info.rows, info.columns) for core in range(info.cores)]
            programmed_over(backend, whole_cores, f"what {path} holds")
            if stored.state is not None:
                backend.import_state(stored.state)
            else:
                record.restore(backend)
        if known is not None:
            use_calibration(known[1], backend)
        open_run = OpenRun(record, backend, known[1] if known else None)
        with whole(path, "network file", "deploy it again"):
            return restore_network(file, stored, converted, open_run)


def is_network(path: str | Path) -> bool:
    """Tell whether a file is one of a deployed network. Raises BadInputError for a file that is not hwloop's."""
    with hdf5.open_file(path, hdf5.RUN_FORMAT, hdf5.NETWORK_FORMAT) as file:
        return str(file.attrs["format"]) == hdf5.NETWORK_FORMAT


def run_of(network: DeployedNetwork) -> Run:
    """Give the run that programmed a network, with its open chip."""
    open_run = network.open_run
    return Run(open_run.record, open_run.backend, calibration=open_run.calibration)


def _module(stored: StoredNetwork, path: str) -> nn.Module:
    """Make the network that a file names, if it is one of the zoo."""
    if not stored.names.factory:
        raise BadInputError(
            f"{path}: the network was given as a module in Python; hand one of its class to "
            "hwloop.load_network(path, network)"
        )
    return zoo_network(stored.names.factory)
