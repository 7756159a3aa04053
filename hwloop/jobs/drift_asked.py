"""What is asked of a drift study, as objects, and as a file from which the same is done again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hwloop.calibration.certificate.certificate import Calibration
from hwloop.calibration.drift.strategy import Strategy
from hwloop.errors import BadInputError
from hwloop.files.hashing import fingerprint
from hwloop.files.models import Model
from hwloop.files.reading import whole
from hwloop.files.resume_folder import ResumeFolder, listed
from hwloop.jobs.inputs import UsedCalibration
from hwloop.jobs.recording import JobOnFile
from hwloop.jobs.run import Run
from hwloop.nn.network import DeployedNetwork
from hwloop.typing import Json


@dataclass(frozen=True)
class Asked:
    """What is asked of a study.

    Parameters
    ----------
    compensations, times, limit, probes, seed
        As for `hwloop.drift`.
    """

    compensations: tuple[str | Strategy, ...]
    times: tuple[str | float, ...]
    limit: float
    probes: int
    seed: int

    def on_file(
        self,
        run: Run | DeployedNetwork | str | Path,
        calibration: Calibration | UsedCalibration | str | Path | None,
        model: Model | str | Path | None,
    ) -> JobOnFile | None:
        """Give all of it as plain values; None for a study of objects that lie in no file."""
        path = run.record.name if isinstance(run, Run) else run
        files = {"run": path, "calibration": calibration, "model": model}
        named = {key: str(one) for key, one in files.items() if isinstance(one, str | Path) and Path(one).is_file()}
        named_all = all(key in named for key, one in files.items() if one is not None)
        if not named_all or not all(isinstance(one, str) for one in self.compensations):
            return None
        told: dict[str, Json] = {
            "compensations": [str(one) for one in self.compensations],
            "times": [time if isinstance(time, str) else float(time) for time in self.times],
            "limit": float(self.limit),
            "probes": int(self.probes),
            "seed": int(self.seed),
            "files": {key: [str(Path(one).resolve()), fingerprint(one)] for key, one in named.items()},
        }
        return JobOnFile("drift", told, {})

    @classmethod
    def from_file(cls, folder: ResumeFolder) -> tuple[Asked, tuple[str, str | None, str | None]]:
        """Make it again of what `on_file` gave, with the paths of run, calibration and model.

        Raises BadInputError for what is not whole, and names a file that is gone or changed.
        """
        told = folder.job()
        with whole(folder.path, "job folder", "begin the job anew"):
            asked = cls(
                tuple(str(one) for one in listed(told["compensations"])),
                tuple(one if isinstance(one, str) else float(str(one)) for one in listed(told["times"])),
                float(str(told["limit"])),
                int(str(told["probes"])),
                int(str(told["seed"])),
            )
            found = {key: _unchanged(folder, key) for key in ("run", "calibration", "model")}
        if found["run"] is None:
            raise BadInputError(f"{folder.path} does not name the run; begin the job anew")
        return asked, (found["run"], found["calibration"], found["model"])


def _unchanged(folder: ResumeFolder, key: str) -> str | None:
    """Return the path of a file of the job, if it has one. Raises BadInputError unless it is there, as it was."""
    files = folder.job()["files"]
    if not isinstance(files, dict) or key not in files:
        return None
    path, sha256 = map(str, listed(files[key]))
    if not Path(path).is_file():
        raise BadInputError(f"{folder.out} cannot be gone on with: the {key} {path} is gone; put it back")
    if fingerprint(path) != sha256:
        raise BadInputError(f"{folder.out} cannot be gone on with: the {key} {path} has changed; begin the job anew")
    return path
