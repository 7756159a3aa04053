"""Importing a file: what it is, is seen from its content."""

from __future__ import annotations

import importlib.metadata
import json
from dataclasses import dataclass, field
from pathlib import Path

import h5py

from hwloop.errors import BadInputError
from hwloop.files.hashing import fingerprint
from hwloop.files.hdf5 import refuse_outside
from hwloop.files.measurement_layout import MEASUREMENT_FORMAT
from hwloop.files.measurement_writer import MeasurementWriter, Mode
from hwloop.files.measurements import Experiment
from hwloop.importers.arc2control import Arc2File
from hwloop.importers.collect import Collector, ImportReport
from hwloop.importers.text import Follow, TextOptions, import_text


@dataclass(frozen=True)
class ImportOptions:
    """What the file does not say about itself."""

    text: TextOptions = field(default_factory=TextOptions)
    experiment: Experiment | None = None
    """What was measured; None decides by the columns."""
    split_by: str | None = None
    """Cells measured anew at other values of this quantity count as other cells, with times of their own."""
    keep_non_positive: bool = False
    """Keep conductances of zero and below, which converter noise makes of small ones."""
    start: float = 0.0
    """arc2control: age of a crosspoint, seconds, at the first read of a retention table."""
    interval: float | None = None
    """arc2control: seconds between the rows of a timeseries, which has no times of its own."""


def import_file(
    path: str | Path,
    out: str | Path,
    options: ImportOptions | None = None,
    mode: Mode = "x",
    follow: Follow = lambda position: None,
) -> ImportReport:
    """Import a file as one experiment of a measurement file, in memory that does not grow with the file.

    Parameters
    ----------
    path
        File to import; nothing is left behind when that fails.
    out, mode
        Measurement file, and how it is opened: 'x' makes a new one, 'a' adds to one, 'w' replaces one.
    options
        What the file does not say about itself.
    follow
        Told the position in the file, bytes, now and then.

    Returns
    -------
    ImportReport
        What was imported and what was left out.

    Raises
    ------
    BadInputError
        For a file that is not there, of no known kind, or that leaves nothing to import.
    """
    path, options = Path(path), options or ImportOptions()
    if not path.is_file():
        kind = "is a folder" if path.is_dir() else "is no file" if path.exists() else "does not exist"
        raise BadInputError(f"{path} {kind}; give a file")
    if Path(out).exists() and path.samefile(out):
        raise BadInputError(f"{out} is the file to import; give another name for the output")
    with MeasurementWriter(out, mode) as writer:
        source = _Source(path, options, writer)
        if h5py.is_hdf5(path):
            if options.text != TextOptions() or options.split_by:
                raise BadInputError(f"{path} is HDF5, whose columns are known; leave the options for text out")
            collector = _from_hdf5(path, options, source)
        elif options.interval is not None or options.start:
            raise BadInputError(f"{path} is text, whose times are in a column; leave the options for arc2control out")
        else:
            collector = import_text(path, options.text, source.begin, follow)
        report = collector.finish(path)
        collector.sink.describe({"import_report": json.dumps(report.to_json())})
        collector.sink.end("complete")
        writer.finish()
    return report


class _Source:
    """Begins the experiment that a file becomes."""

    def __init__(self, path: Path, options: ImportOptions, writer: MeasurementWriter) -> None:
        self._path, self._options, self._writer = path, options, writer

    def begin(self, kind: Experiment, time_origin: str | None = None, split_by: str | None = None) -> Collector:
        """Begin a collector for the kind of experiment, unless the user knows better."""
        options = self._options
        attributes: dict[str, str | int | float | bool] = {
            "source": self._path.name,
            "source_sha256": fingerprint(self._path),
            "columns": options.text.columns or "",
            "hwloop_version": importlib.metadata.version("hwloop"),
        }
        if time_origin is not None:
            attributes["time_origin"] = time_origin
        return Collector(
            self._writer,
            options.experiment or kind,
            attributes,
            split_by=split_by or options.split_by,
            keep_non_positive=options.keep_non_positive,
        )


def _from_hdf5(path: Path, options: ImportOptions, source: _Source) -> Collector:
    try:
        with h5py.File(path, "r") as file:
            refuse_outside(file)
            if file.attrs.get("format") == MEASUREMENT_FORMAT:
                raise BadInputError(f"{path} is a measurement file already; use it as it is")
            if not Arc2File.recognises(file):
                raise BadInputError(
                    f"{path} is HDF5 of an unknown kind; known are the files of arc2control (H5DS) and delimited text"
                )
            found = Arc2File(file, path)
            if not found.crosspoints:
                raise BadInputError(f"{path} has no crosspoints: nothing was measured")
            return (_retention if found.has_retention() else _histories)(found, path, options, source)
    except OSError as error:
        raise BadInputError(f"{path} is damaged or cut off ({str(error).splitlines()[0]})") from None


def _retention(found: Arc2File, path: Path, options: ImportOptions, source: _Source) -> Collector:
    """Import the tables of arc2control that have times."""
    if options.interval is not None:
        raise BadInputError(f"{path} has retention tables, which have times of their own; leave --interval out")
    collector = source.begin(Experiment.DRIFT, "first read of each retention table", split_by="episode")
    found.take_retention(collector, options.start)
    return collector


def _histories(found: Arc2File, path: Path, options: ImportOptions, source: _Source) -> Collector:
    """Import the biasing histories of arc2control, which have no times."""
    if options.interval is None:
        raise BadInputError(
            f"{path} has biasing histories, which have no times, and no retention tables, which have: "
            "state the time from row to row if it was even, such as --interval 0.5s"
        )
    if options.start:
        raise BadInputError(f"{path} has no retention tables, whose age --start-age is; leave it out")
    kind = Experiment.PROGRAMMING_CURVE if found.has_pulses() else Experiment.READ_NOISE
    collector = source.begin(kind, f"assumed: rows every {options.interval:g} s")
    found.take_timeseries(collector, options.interval)
    return collector
