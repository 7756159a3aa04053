"""Reads any file that hwloop writes, by what it says of itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from hwloop.errors import BadInputError

if TYPE_CHECKING:
    from hwloop.calibration.certificate.certificate import Calibration
    from hwloop.files.models import Model
    from hwloop.jobs.compare import Comparison
    from hwloop.jobs.coreset import Coreset
    from hwloop.jobs.drift_result import DriftResult
    from hwloop.jobs.fewshot import FewShotResult
    from hwloop.jobs.measurements import Measurements
    from hwloop.jobs.run import Run
    from hwloop.jobs.search_result import Found
    from hwloop.jobs.sensitivity import Sensitivity
    from hwloop.jobs.trained import Trained
    from hwloop.nn.network import DeployedNetwork

Loaded: TypeAlias = (
    "Run | DeployedNetwork | Comparison | DriftResult | Sensitivity | Trained | FewShotResult | Calibration | "
    "Coreset | Found | Measurements | Model"
)


def load(path: str | Path) -> Loaded:
    """Read a file that hwloop has written.

    Parameters
    ----------
    path
        A run, network, comparison, drift, sensitivity, training, search, few-shot, calibration or measurement file
        (HDF5), a coreset (.npz), or a model file (JSON).

    Returns
    -------
    Loaded
        Run, DeployedNetwork, Comparison, DriftResult, Sensitivity, Trained, FewShotResult, Calibration, Coreset,
        Found, Measurements (a list), or Model, by what the file says of itself.

    Raises
    ------
    BadInputError
        For a file that is missing, damaged, or not hwloop's. Nothing but the file itself is opened.
    """
    path = Path(path)
    return _READERS[kind_of(path)](path)


def kind_of(path: Path) -> str:
    """Return what a file says it is. Raises BadInputError for one that is missing, damaged or not hwloop's."""
    if path.suffix.lower() == ".json":
        return MODEL
    if path.suffix.lower() == ".npz":
        return CORESET
    from hwloop.files import hdf5

    with hdf5.open_file(path, *(kind for kind in _READERS if kind not in (MODEL, CORESET))) as file:
        return str(file.attrs["format"])


def _run(path: Path) -> Run:
    from hwloop.jobs.evaluate import load_run

    return load_run(path)


def _network(path: Path) -> DeployedNetwork:
    from hwloop.jobs.network import load_network

    return load_network(path)


def _comparison(path: Path) -> Comparison:
    from hwloop.jobs.compare import read_comparison

    return read_comparison(path)


def _drift(path: Path) -> DriftResult:
    from hwloop.jobs.drift_result import read_drift

    return read_drift(path)


def _calibration(path: Path) -> Calibration:
    from hwloop.calibration.certificate.certificate import Calibration

    return Calibration.load(path)


def _measurements(path: Path) -> Measurements:
    from hwloop.files.measurement_reader import read_measurements
    from hwloop.jobs.measurements import Measurements

    return Measurements(read_measurements(path))


def _sensitivity(path: Path) -> Sensitivity:
    from hwloop.jobs.sensitivity import Sensitivity

    return Sensitivity.load(path)


def _few_shot(path: Path) -> FewShotResult:
    from hwloop.jobs.fewshot import FewShotResult

    return FewShotResult.load(path)


def _training(path: Path) -> Trained:
    from hwloop.jobs.trained import read_training

    return read_training(path)


def _search(path: Path) -> Found:
    from hwloop.jobs.search_result import Found

    return Found.load(path)


def _coreset(path: Path) -> Coreset:
    from hwloop.jobs.coreset import Coreset

    if not path.is_file():
        raise BadInputError(f"{path}: no such file")
    return Coreset.load(path)


def _model(path: Path) -> Model:
    from hwloop.files.model_file import load_model

    if not path.is_file():
        raise BadInputError(f"{path}: no such file")
    return load_model(path)


MODEL, CORESET = "hwloop-model", "hwloop-coreset"
_READERS: Mapping[str, Callable[[Path], Loaded]] = {
    "hwloop-run": _run,
    "hwloop-network": _network,
    "hwloop-comparison": _comparison,
    "hwloop-drift": _drift,
    "hwloop-sensitivity": _sensitivity,
    "hwloop-training": _training,
    "hwloop-fewshot": _few_shot,
    "hwloop-search": _search,
    "hwloop-calibration": _calibration,
    "hwloop-measurement": _measurements,
    CORESET: _coreset,
    MODEL: _model,
}
