"""A calibration as a job that can be gone on with keeps it: a file that moves, or is gone, shall not matter."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np

from hwloop.calibration.certificate.certificate import Calibration
from hwloop.errors import BadInputError
from hwloop.files.resume_folder import ResumeFolder
from hwloop.jobs.inputs import UsedCalibration
from hwloop.typing import AnyArray, Json


def calibration_bytes(calibration: Calibration) -> AnyArray:
    """Return the file of a calibration, (bytes,)."""
    with tempfile.TemporaryDirectory(prefix="hwloop-") as place:
        path = Path(place) / "calibration.h5"
        calibration.save(path)
        return np.frombuffer(path.read_bytes(), np.uint8)


def stored_calibration(folder: ResumeFolder, told: Json) -> UsedCalibration | None:
    """Make a calibration again; `told` is its name and checksum, or None. Raises BadInputError where it is gone."""
    if told is None:
        return None
    name, sha256 = json.loads(json.dumps(told))
    content = folder.arrays("calibration")
    if len(content) != 1:
        raise BadInputError(f"{folder.path}: the calibration is gone ({name}); begin the job anew")
    with tempfile.TemporaryDirectory(prefix="hwloop-") as place:
        path = Path(place) / "calibration.h5"
        path.write_bytes(content[0].tobytes())
        return UsedCalibration(Calibration.load(path), str(name), str(sha256))
