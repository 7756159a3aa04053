"""What a job that can be gone on with keeps of its files: that one moves, or is gone, shall not matter."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hwloop.calibration.certificate.certificate import Calibration
from hwloop.errors import BadInputError
from hwloop.files.resume_folder import ResumeFolder, listed
from hwloop.jobs.inputs import UsedCalibration
from hwloop.mapping.activations import Sample
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


def samples_told(samples: Mapping[str, Sample]) -> Json:
    """Tell the names of sample inputs, and which of them are weighted."""
    return [[name, one.weights is not None] for name, one in samples.items()]


def samples_on_file(samples: Mapping[str, Sample]) -> dict[str, list[AnyArray]]:
    """Give sample inputs and their weights as arrays."""
    weighted = [one.weights for one in samples.values() if one.weights is not None]
    return {"activations": [one.vectors for one in samples.values()], "shares": list(weighted)}


def samples_again(folder: ResumeFolder, told: Json) -> dict[str, Sample]:
    """Make sample inputs of what both gave; an earlier version told the names alone."""
    rows = [listed(row) if not isinstance(row, str) else [row, False] for row in listed(told)]
    vectors = folder.arrays("activations")
    shares = iter(folder.arrays("shares") if any(weighted for _, weighted in rows) else ())
    return {
        str(name): Sample(np.asarray(one), np.asarray(next(shares)) if weighted else None)
        for (name, weighted), one in zip(rows, vectors, strict=True)
    }
