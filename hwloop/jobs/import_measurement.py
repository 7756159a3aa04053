"""Brings measurements made elsewhere into a measurement file."""

from __future__ import annotations

import dataclasses
import glob
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hwloop.errors import BadInputError
from hwloop.files.measurement_reader import read_measurements
from hwloop.files.measurement_writer import Mode
from hwloop.files.measurements import Measurement
from hwloop.importers.checks import ImportReport
from hwloop.importers.files import ImportOptions, import_file
from hwloop.jobs.progress import Progress, reporting

Sources = str | Path | Sequence[str | Path]
"""A file, a pattern such as 'dev*.csv', or several of them."""


def import_measurement(
    path: Sources,
    columns: str | None = None,
    *,
    options: ImportOptions | None = None,
    out: str | Path | None = None,
    force: bool = False,
    progress: Progress = False,
) -> Measurement:
    """Import one measurement made elsewhere: delimited text, HDF5 of arc2control, or arrays in HDF5 and netCDF.

    Parameters
    ----------
    path
        The file, or texts of one cell each: a pattern such as ``"dev*.csv"``, or a list.
    columns
        Names and units of its columns in order, such as ``"cell,time[s],resistance[ohm],,level"``; None takes the
        header line, and ``"auto"`` what that most likely means.
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
    path: Sources,
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
    paths = matching(path)
    size = sum(one.stat().st_size for one in paths if one.is_file()) or 1
    if append and force:
        raise BadInputError("append goes on with what force would delete; give one of them")
    mode: Mode = "a" if append else "w" if force else "x"
    with reporting(progress, "import") as report:
        return import_file(paths, out, options, mode, lambda done: report(done, size))


def matching(path: Sources) -> list[Path]:
    """Return the files that names and patterns stand for, those of a pattern in the order of the numbers in them.

    Raises BadInputError for a pattern that nothing matches.
    """
    found: list[Path] = []
    for one in [path] if isinstance(path, str | Path) else path:
        if Path(one).exists() or not glob.has_magic(str(one)):
            found.append(Path(one))
            continue
        names = glob.glob(str(one))
        if not names:
            raise BadInputError(f"no file matches {one}")
        found += [Path(name) for name in sorted(names, key=_natural)]
    return found


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Return what names are sorted by, dev2 before dev10."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name)]
