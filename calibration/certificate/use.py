"""Work through a calibration: regions that know it, and the calibration that a run was programmed with."""

from __future__ import annotations

import warnings
from pathlib import Path

from hwloop.calibration.certificate.certificate import Calibration
from hwloop.chip.backend import Backend
from hwloop.chip.info import Capability
from hwloop.chip.region import Region
from hwloop.errors import BadInputError, CalibrationWarning
from hwloop.files.hashing import fingerprint
from hwloop.files.runs import RunRecord
from hwloop.mapping.tile import Tile


def use_calibration(calibration: Calibration, backend: Backend) -> None:
    """Warn of what is out of date in a calibration, and write its converter trims to the chip.

    Raises BadInputError for the calibration of another chip.
    """
    for text in calibration.for_chip(backend):
        warnings.warn(text, CalibrationWarning, stacklevel=3)
    calibration.write_trims(backend)


def region_of(backend: Backend, tile: Tile, calibration: Calibration | None = None) -> Region:
    """Return the cells of a tile on a backend, with the tile's converter range where the chip can set one."""
    adjustable = Capability.ADC_RANGE in backend.info.capabilities
    known = calibration.of_cells(tile.place, backend.info) if calibration is not None else None
    return Region(backend, tile.place, tile.full_scale if adjustable else None, known)


def calibration_of_run(run: RunRecord, given: str | None) -> tuple[str, Calibration] | None:
    """Find the calibration through which the outputs of a run are read.

    Parameters
    ----------
    run
        The run.
    given
        A calibration file to take, whatever the run was programmed with; None takes the one of the run's own that lies
        beside the run file under its name: a path that a file names is shown, and not followed.

    Returns
    -------
    tuple or None
        Name and content; None for a run without one.

    Raises
    ------
    BadInputError
        When it is not there, or not the same.
    """
    if given:
        return given, Calibration.load(given)
    if not run.provenance.calibration:
        return None
    beside = Path(run.name).parent / Path(run.provenance.calibration).name
    if beside.is_file():
        calibration = Calibration.load(beside)  # before its bytes are hashed, so that only a calibration ever is
        if fingerprint(beside) == run.provenance.calibration_sha256:
            return str(beside), calibration
        what = f"the file of that name beside {run.name} is another one"
    else:
        what = f"it does not lie beside {run.name}"
    raise BadInputError(
        f"{run.name} was programmed with the calibration {run.provenance.calibration!r}, through which its outputs are "
        f"read; {what}: pass it with --calibration"
    )
