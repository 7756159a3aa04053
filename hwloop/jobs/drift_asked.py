"""What is asked of a drift study, as objects, and as a file from which the same is done again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

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
from hwloop.nn.stored import described, tensor_again, tensor_on_file
from hwloop.typing import Json


@dataclass(frozen=True)
class NetworkFile:
    """The file of a deployed network of a user's own class, and a module of that class, with any weights."""

    path: str | Path
    network: nn.Module


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
        run: Run | DeployedNetwork | NetworkFile | str | Path,
        calibration: Calibration | UsedCalibration | str | Path | None,
        model: Model | str | Path | None,
        data: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> JobOnFile | None:
        """Give all of it as plain values; None for a study of objects that lie in no file."""
        path = run.record.name if isinstance(run, Run) else run.path if isinstance(run, NetworkFile) else run
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
        told["data"] = [described(one) for one in data or ()]
        return JobOnFile("drift", told, {"data": [tensor_on_file(one) for one in data or ()]})

    @classmethod
    def from_file(
        cls, folder: ResumeFolder
    ) -> tuple[Asked, tuple[str, str | None, str | None], tuple[torch.Tensor, torch.Tensor] | None]:
        """Make it again of what `on_file` gave, with the paths of run, calibration and model, and the data.

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
            found = {key: folder.unchanged(key) for key in ("run", "calibration", "model")}
            rows = listed(told.get("data", []))
            data = [tensor_again(one, how) for one, how in zip(folder.arrays("data"), rows, strict=True)]
        if found["run"] is None:
            raise BadInputError(f"{folder.path} does not name the run; begin the job anew")
        return asked, (found["run"], found["calibration"], found["model"]), (data[0], data[1]) if data else None
