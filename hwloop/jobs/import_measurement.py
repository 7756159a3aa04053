"""Brings measurements made elsewhere into a measurement file."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

from hwloop.errors import BadInputError
from hwloop.files.measurement_reader import read_measurements
from hwloop.files.measurement_writer import Mode
from hwloop.files.measurements import Measurement
from hwloop.importers.collect import ImportReport
from hwloop.importers.files import ImportOptions, import_file
from hwloop.jobs.progress import Progress, reporting


def import_measurement(
    path: str | Path,
    columns: str | None = None,
    *,
    options: ImportOptions | None = None,
    out: str | Path | None = None,
    force: bool = False,
    progress: Progress = False,
) -> Measurement:
    """Import one measurement made elsewhere: delimited text, or HDF5 of arc2control.

    Parameters
    ----------
    path
        The file.
    columns
        Names and units of its columns in order, such as ``"cell,time[s],resistance[ohm],,level"``; None takes the
        header line.
    options
        What else the file does not say about itself.
    out, force
        Measurement file to keep it in, and whether it may replace one; None keeps it in memory.
    progress
        True draws a bar; a function is told (done, total) in bytes and may raise KeyboardInterrupt.

    Returns
    -------
    Measurement
        What `hwloop.fit` takes.

    Raises
    ------
    BadInputError
        For a file of no known kind, or one that leaves nothing to import.
    """
    chosen = options or ImportOptions()
    if columns is not None:
        chosen = dataclasses.replace(chosen, text=dataclasses.replace(chosen.text, columns=columns))
    with tempfile.TemporaryDirectory(prefix="hwloop-") as folder:
        kept = Path(out) if out is not None else Path(folder) / "measurement.h5"
        import_to(path, kept, chosen, force=force, progress=progress)
        return read_measurements(kept)[-1]


def import_to(
    path: str | Path,
    out: str | Path,
    options: ImportOptions,
    *,
    append: bool = False,
    force: bool = False,
    progress: Progress = False,
) -> ImportReport:
    """Import into a measurement file and report what was left out, in memory that does not grow with the file.

    Raises
    ------
    BadInputError
        As `import_measurement`.
    """
    size = Path(path).stat().st_size if Path(path).is_file() else 1
    if append and force:
        raise BadInputError("append goes on with what force would delete; give one of them")
    mode: Mode = "a" if append else "w" if force else "x"
    with reporting(progress, "import") as report:
        return import_file(path, out, options, mode, lambda done: report(done, size))
