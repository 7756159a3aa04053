"""Goes on with a job that was stopped or killed, from its output file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from hwloop.calibration.certificate.certificate import FORMAT as CALIBRATION_FORMAT
from hwloop.chip.backend import Backend
from hwloop.chip.opened import takes_open_chips
from hwloop.chip.registry import connect_recorded
from hwloop.errors import BadInputError
from hwloop.files.hdf5 import (
    COMPARISON_FORMAT,
    DRIFT_FORMAT,
    NETWORK_FORMAT,
    RUN_FORMAT,
    SEARCH_FORMAT,
    TRAINING_FORMAT,
    open_file,
)
from hwloop.files.measurement_layout import MEASUREMENT_FORMAT
from hwloop.files.reading import DAMAGE
from hwloop.files.resume_folder import ResumeFolder
from hwloop.jobs.progress import Progress, reporting
from hwloop.typing import Json

if TYPE_CHECKING:
    from torch import nn

    from hwloop.calibration.certificate.certificate import Calibration
    from hwloop.fleet.team import Team
    from hwloop.jobs.compare import Comparison
    from hwloop.jobs.drift_result import DriftResult
    from hwloop.jobs.fit import FittedModel
    from hwloop.jobs.measure import MeasurementReport
    from hwloop.jobs.retrain import Retrained
    from hwloop.jobs.run import Run
    from hwloop.jobs.search_result import Found
    from hwloop.jobs.trained import Trained
    from hwloop.nn.network import DeployedNetwork

Resumed: TypeAlias = (
    "Run | Comparison | Calibration | DriftResult | MeasurementReport | DeployedNetwork | FittedModel | Retrained"
    " | Trained | Found"
)
"""What a job gives."""
RunOf: TypeAlias = Callable[[Path], str]
"""Finds in a file what tells the job that wrote it from every other."""


@takes_open_chips
def resume(
    out: str | Path,
    chip: Backend | None = None,
    *,
    network: nn.Module | None = None,
    team: Team | None = None,
    progress: Progress = False,
) -> Resumed:
    """Go on with a job that was stopped, failed or was killed.

    A simulated chip is brought back to where it was, and the result is bit for bit that of a job that was never
    stopped, on the same kind of processor. A real chip is taken as it is: what it holds is measured again.

    Parameters
    ----------
    out
        Output file of the job, such as a run file; what is needed lies beside it, in the folder `out`.resume, and for a
        measurement or a training in the file itself.
    chip
        The open chip; None for the simulated preset that the job was begun on.
    network
        For a job on a network: a module of its class, with any weights; None for one of `hwloop.nn.zoo`.
    team
        For a run that workers were at: who works on, and on which fleet; None for one process.
    progress
        True draws a bar; a function is told (done, total) and may raise KeyboardInterrupt to stop at a step.

    Raises
    ------
    BadInputError
        For a job that is complete, one of which nothing is left, another chip, and while another process is at it.
    """
    folder = ResumeFolder(out)
    if not folder.exists and folder.out.is_file() and _is(folder.out, TRAINING_FORMAT):
        from hwloop.jobs.train import train_again

        return train_again(folder.out, chip, network, progress)
    if not folder.exists and folder.out.is_file() and _is(folder.out, MEASUREMENT_FORMAT):
        from hwloop.jobs.measure_again import measure_again

        with reporting(progress, "measuring") as report:
            return measure_again(folder.out, chip, report)
    if not folder.exists:
        raise BadInputError(_nothing(folder))
    told = folder.job()
    kind = str(told.get("job"))
    if kind not in _JOBS:
        raise BadInputError(f"{folder.path} is of a job '{kind}' that this hwloop does not know: upgrade it")
    run_of, again = _JOBS[kind]
    _refuse_another(folder, told, run_of)
    return again(_Left(folder, chip, network, team, progress))


@dataclass(frozen=True)
class _Left:
    """What is left of a job, and what the user gives to go on with it."""

    folder: ResumeFolder
    given: Backend | None
    network: nn.Module | None
    team: Team | None
    progress: Progress

    @property
    def chip(self) -> Backend:
        """The chip of the job: as given, else the simulated preset that it was begun on."""
        if self.given is not None:
            return self.given
        return connect_recorded(str(self.folder.job().get("chip")), self.folder.path)


def _refuse_another(folder: ResumeFolder, told: Mapping[str, Json], run_of: RunOf) -> None:
    """Refuse to replace a file that is not of the job. Raises BadInputError for it."""
    out = folder.out
    if folder.in_use or not out.exists() or folder.replaces(told):
        return
    try:
        found = run_of(out)
        ours = "run" not in told or found == told["run"]
    except (BadInputError, *DAMAGE):
        ours = False
    if not ours:
        raise BadInputError(
            f"{out} is not of the job that {folder.path} belongs to, and would be replaced: give it another name, and "
            f"hwloop resume {out} goes on; or delete {folder.path}"
        )


def _in_hdf5(format_: str) -> RunOf:
    """Give what finds the mark of a job in a file of this format."""

    def run_of(path: Path) -> str:
        with open_file(path, format_) as file:
            place = file.get("run/provenance") or file.get("provenance") or file
            return str(place.attrs.get("run_id", ""))

    return run_of


def _in_model(path: Path) -> str:
    from hwloop.files.model_file import load_model

    return load_model(path).created


def _in_weights(path: Path) -> str:
    from hwloop.nn.learnt_ranges import run_of_weights

    return run_of_weights(path)


def _is(path: Path, kind: str) -> bool:
    """Tell whether a file is one of measurements, or of a training, which itself holds what it needs to go on."""
    try:
        with open_file(path, kind):
            return True
    except BadInputError:
        return False


def _nothing(folder: ResumeFolder) -> str:
    """Tell why there is nothing to go on with."""
    if not folder.out.exists():
        return f"{folder.out}: no such file, and nothing beside it to go on with"
    from hwloop.jobs.load import load

    if folder.out.suffix == ".safetensors":
        return f"{folder.out} is complete, or its folder {folder.path} is gone: there is nothing to go on with"
    found = load(folder.out)
    unfinished = {"interrupted", "unfinished"} & set(getattr(found, "skipped", {}))
    status = "interrupted" if unfinished else getattr(found, "status", "complete")
    if status == "complete":
        return f"{folder.out} is complete: there is nothing to go on with"
    return f"{folder.out} cannot be gone on with: its folder {folder.path} is gone (status '{status}'); begin anew"


def _program(left: _Left) -> Run:
    from hwloop.jobs.program import program_again

    return program_again(left.folder, left.chip, left.progress)


def _parts(left: _Left) -> Run:
    from hwloop.jobs.parallel_again import program_parts_again

    return program_parts_again(left.folder, left.given, left.team, left.progress)


def _compare(left: _Left) -> Comparison:
    from hwloop.jobs.compare import compare_again

    return compare_again(left.folder, left.chip, left.progress)


def _calibration(left: _Left) -> Calibration:
    from hwloop.jobs.calibrate import calibrate_again

    return calibrate_again(left.folder, left.chip, left.progress)


def _drift(left: _Left) -> DriftResult:
    from hwloop.jobs.drift import drift_again

    return drift_again(left.folder, left.chip, left.network, left.progress)


def _deploy(left: _Left) -> DeployedNetwork:
    from hwloop.jobs.deploy import deploy_again

    return deploy_again(left.folder, left.chip, left.network, left.progress)


def _fit(left: _Left) -> FittedModel:
    from hwloop.jobs.fit import fit_again

    return fit_again(left.folder, left.progress)


def _retrain(left: _Left) -> Retrained:
    from hwloop.jobs.retrain import retrain_again

    return retrain_again(left.folder, left.given, left.network, left.progress)


def _search(left: _Left) -> Found:
    from hwloop.jobs.search import search_again

    return search_again(left.folder, left.given, left.progress)


_JOBS: Mapping[str, tuple[RunOf, Callable[[_Left], Resumed]]] = {
    "program": (_in_hdf5(RUN_FORMAT), _program),
    "program in parts": (_in_hdf5(RUN_FORMAT), _parts),
    "compare": (_in_hdf5(COMPARISON_FORMAT), _compare),
    "calibrate": (_in_hdf5(CALIBRATION_FORMAT), _calibration),
    "drift": (_in_hdf5(DRIFT_FORMAT), _drift),
    "deploy": (_in_hdf5(NETWORK_FORMAT), _deploy),
    "fit": (_in_model, _fit),
    "retrain": (_in_weights, _retrain),
    "search": (_in_hdf5(SEARCH_FORMAT), _search),
}
"""By the name of a job: what finds its mark in the file that it writes, and what goes on with it."""
