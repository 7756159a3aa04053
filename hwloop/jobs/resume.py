"""Goes on with a job that was stopped or killed, from its output file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from hwloop.calibration.certificate.certificate import FORMAT as CALIBRATION_FORMAT
from hwloop.chip.backend import Backend
from hwloop.chip.registry import connect_recorded
from hwloop.errors import BadInputError
from hwloop.files.hdf5 import DRIFT_FORMAT, RUN_FORMAT, TRAINING_FORMAT, open_file
from hwloop.files.measurement_layout import MEASUREMENT_FORMAT
from hwloop.files.reading import DAMAGE
from hwloop.files.resume_folder import ResumeFolder
from hwloop.jobs.progress import Progress, reporting
from hwloop.typing import Json

if TYPE_CHECKING:
    from torch import nn

    from hwloop.calibration.certificate.certificate import Calibration
    from hwloop.jobs.drift_result import DriftResult
    from hwloop.jobs.measure import MeasurementReport
    from hwloop.jobs.run import Run
    from hwloop.jobs.train import Trained

Resumed: TypeAlias = "Run | Calibration | DriftResult | MeasurementReport | Trained"
"""What a job gives."""
_FORMATS = {"program": RUN_FORMAT, "calibrate": CALIBRATION_FORMAT, "drift": DRIFT_FORMAT}
"""The format of the file that a job writes."""


def resume(
    out: str | Path, chip: Backend | None = None, *, network: nn.Module | None = None, progress: Progress = False
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
        A module of the class that was trained, for a training; None for one of `hwloop.nn.zoo`.
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
    _refuse_another(folder, told, kind)
    if chip is None:
        chip = connect_recorded(str(told.get("chip")), folder.path)
    return _JOBS[kind](folder, chip, progress)


def _refuse_another(folder: ResumeFolder, told: Mapping[str, Json], kind: str) -> None:
    """Refuse to replace a file that is not of the job. Raises BadInputError for it."""
    out = folder.out
    if folder.in_use or not out.exists():
        return
    try:
        with open_file(out, _FORMATS[kind]) as file:
            found = file["provenance"].attrs.get("run_id", "") if kind == "program" else told.get("run", "")
            ours = "run" not in told or found == told["run"]
    except (BadInputError, *DAMAGE):
        ours = False
    if not ours:
        raise BadInputError(
            f"{out} is not of the job that {folder.path} belongs to, and would be replaced: give it another name, and "
            f"hwloop resume {out} goes on; or delete {folder.path}"
        )


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

    found = load(folder.out)
    unfinished = {"interrupted", "unfinished"} & set(getattr(found, "skipped", {}))
    status = "interrupted" if unfinished else getattr(found, "status", "complete")
    if status == "complete":
        return f"{folder.out} is complete: there is nothing to go on with"
    return f"{folder.out} cannot be gone on with: its folder {folder.path} is gone (status '{status}'); begin anew"


def _program(folder: ResumeFolder, chip: Backend, progress: Progress) -> Run:
    from hwloop.jobs.program import program_again

    return program_again(folder, chip, progress)


def _calibration(folder: ResumeFolder, chip: Backend, progress: Progress) -> Calibration:
    from hwloop.jobs.calibrate import calibrate_again

    return calibrate_again(folder, chip, progress)


def _drift(folder: ResumeFolder, chip: Backend, progress: Progress) -> DriftResult:
    from hwloop.jobs.drift import drift_again

    return drift_again(folder, chip, progress)


_JOBS: Mapping[str, Callable[[ResumeFolder, Backend, Progress], Resumed]] = {
    "program": _program,
    "calibrate": _calibration,
    "drift": _drift,
}
