"""Importing a file: what it is, is seen from its content."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import h5py

from hwloop.errors import BadInputError
from hwloop.files.hashing import fingerprint
from hwloop.files.hdf5 import open_any
from hwloop.files.measurement_layout import MEASUREMENT_FORMAT
from hwloop.files.measurement_writer import MeasurementWriter, Mode
from hwloop.files.measurements import Experiment
from hwloop.files.reading import whole
from hwloop.importers.ages import Origins
from hwloop.importers.arc2control import Arc2File
from hwloop.importers.arrays import ArraysImport, is_classic, variables
from hwloop.importers.checks import ImportReport
from hwloop.importers.collect import Collector
from hwloop.importers.columns import NAME, ColumnMap, Spread
from hwloop.importers.encoding import Follow
from hwloop.importers.layout import AUTO, TextOptions
from hwloop.importers.names import Names
from hwloop.importers.text import TextImport

MOMENTS = "times are moments of a clock; state how old a cell is at its first read, such as --start-age 1s"
"""Why ages cannot be told, and the way out."""


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
    start: float | None = None
    """Age of a cell at its first read, seconds, where times are moments; None takes times as ages."""
    interval: float | None = None
    """Seconds from read to read, where reads have no times of their own."""


def import_file(
    path: str | Path | Sequence[str | Path],
    out: str | Path,
    options: ImportOptions | None = None,
    mode: Mode = "x",
    follow: Follow = lambda position: None,
) -> ImportReport:
    """Import a file as one experiment of a measurement file, in memory that does not grow with the file.

    Parameters
    ----------
    path
        File to import, or texts that become one experiment, each of a cell of its own where no column says another;
        nothing is left behind when that fails.
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
    paths = [Path(one) for one in ([path] if isinstance(path, str | Path) else path)]
    options = options or ImportOptions()
    for one in paths:
        if not one.is_file():
            kind = "is a folder" if one.is_dir() else "is no file" if one.exists() else "does not exist"
            raise BadInputError(f"{one} {kind}; give a file" + (f", or {one}/*.csv" if one.is_dir() else ""))
        if Path(out).exists() and one.samefile(out):
            raise BadInputError(f"{out} is the file to import; give another name for the output")
    with MeasurementWriter(out, mode) as writer:
        source = _Source(paths, options, writer)
        arrays = [one for one in paths if h5py.is_hdf5(one) or is_classic(one)]
        if arrays and len(paths) > 1:
            raise BadInputError(f"{arrays[0]} holds arrays; import such files one at a time, the others with --append")
        collector = _from_arrays(paths[0], options, source) if arrays else _from_texts(paths, options, source, follow)
        report = collector.finish(paths[0])
        collector.sink.describe({"import_report": json.dumps(report.to_json())})
        collector.sink.end("complete")
        writer.finish()
    return report


class _Source:
    """Begins the experiment that files become."""

    def __init__(self, paths: Sequence[Path], options: ImportOptions, writer: MeasurementWriter) -> None:
        self._paths, self._options, self._writer = paths, options, writer

    def begin(
        self,
        kind: Experiment,
        time_origin: str | None = None,
        split_by: str | None = None,
        origins: Origins | None = None,
    ) -> Collector:
        """Begin a collector for the kind of experiment, unless the user knows better."""
        options = self._options
        prints = [fingerprint(path) for path in self._paths]
        attributes: dict[str, str | int | float | bool] = {
            "source": ", ".join(path.name for path in self._paths[:8]) + (", ..." if len(self._paths) > 8 else ""),
            "source_sha256": prints[0] if len(prints) == 1 else hashlib.sha256("".join(prints).encode()).hexdigest(),
            "columns": options.text.columns or "",
            "hwloop_version": importlib.metadata.version("hwloop"),
        }
        if time_origin is not None:
            attributes["time_origin"] = time_origin
        if options.split_by is not None:
            attributes["split_by"] = options.split_by
        return Collector(
            self._writer,
            options.experiment or kind,
            attributes,
            split_by=split_by or options.split_by,
            keep_non_positive=options.keep_non_positive,
            origins=origins,
        )


def _from_texts(paths: Sequence[Path], options: ImportOptions, source: _Source, follow: Follow) -> Collector:
    """Import texts, each of which is of a cell called like the file where no column says another."""

    def begin(columns: ColumnMap, names: Names) -> Collector:
        origins, origin = _origins(columns, options, paths[0])
        several = len(paths) > 1 and not (columns.has("cell") or columns.has("word"))
        cell = columns.source("cell")
        named = columns.has("word") or columns.spread is Spread.CELLS or (cell is not None and cell.form == NAME)
        collector = source.begin(_kind(columns), origin, None, origins)
        collector.names = names if named or several else None
        collector.report.file = paths[0].name if len(paths) > 1 else ""
        return collector

    work = TextImport(options.text, begin, counted=options.interval is not None, split_by=options.split_by)
    behind = 0

    def followed(done: int) -> None:
        follow(behind + done)

    for path in paths:
        if len(paths) > 1 and work.collector is not None:
            work.collector.report.file = path.name
        collector = work.take(path, followed, _called(path, paths))
        behind += path.stat().st_size
    return collector


def _called(path: Path, paths: Sequence[Path]) -> str | None:
    """Return what the cell of a file is called, one of several files."""
    return path.name.removesuffix(".gz").rpartition(".")[0] or path.name if len(paths) > 1 else None


def _kind(columns: ColumnMap) -> Experiment:
    if columns.samples:
        return Experiment.READ_NOISE
    pulsed = columns.has("amplitude") or columns.has("pulse_voltage")
    return Experiment.PROGRAMMING_CURVE if pulsed else Experiment.DRIFT


def _origins(columns: ColumnMap, options: ImportOptions, path: Path) -> tuple[Origins | None, str | None]:
    """Return what ages count from where times are none, and how the measurement file says it."""
    start = options.start
    if options.interval is not None:
        return Origins(start or 0.0, options.interval), f"assumed: reads every {options.interval:g} s"
    if start is None and columns.clocked():
        raise BadInputError(f"{path}: {MOMENTS}")
    if start is None:
        return None, None
    return Origins(start), f"first read of each cell, which is {start:g} s old"


def _from_arrays(path: Path, options: ImportOptions, source: _Source) -> Collector:
    """Import a file of HDF5 or netCDF: of arc2control, or arrays that the column map names."""
    with whole(path, "file of measurements", "it is damaged or cut off: copy it again"):
        if is_classic(path):
            return _named_arrays(path, options, source)
        with open_any(path) as file:
            if file.attrs.get("format") == MEASUREMENT_FORMAT:
                raise BadInputError(f"{path} is a measurement file already; use it as it is")
            if not Arc2File.recognises(file):
                return _named_arrays(path, options, source)
            if options.text != TextOptions() or options.split_by:
                raise BadInputError(
                    f"{path} is of arc2control, whose columns are known; leave the options for text out"
                )
            found = Arc2File(file, path)
            if not found.crosspoints:
                raise BadInputError(f"{path} has no crosspoints: nothing was measured")
            return (_retention if found.has_retention() else _histories)(found, path, options, source)


def _named_arrays(path: Path, options: ImportOptions, source: _Source) -> Collector:
    """Import the datasets that the column map names."""
    kept = ("columns", "code_step", "read_voltage", "shunt", "reverse_current")
    with variables(path) as found:
        if not found:
            raise BadInputError(
                f"{path} is HDF5 of an unknown kind; known are arrays, files of arc2control (H5DS) and delimited text"
            )
        plain = TextOptions(**{name: getattr(options.text, name) for name in kept})
        if options.text != plain:
            raise BadInputError(f"{path} holds arrays; leave the options for text out")
        work = ArraysImport.of(path, found, options.text)
        if not work.columns.has("time") and options.interval is None:
            raise BadInputError(f"{path}: no time among the datasets named; the age of every read is needed")
        if options.start is None and work.moments(found):
            raise BadInputError(f"{path}: {MOMENTS}")
        origins, origin = _origins(work.columns, options, path)
        collector = source.begin(_kind(work.columns), origin, None, origins)
        if options.text.columns == AUTO:
            collector.report.note(f"columns taken as {work.columns.text}")
        work.take(found, collector)
    return collector


def _retention(found: Arc2File, path: Path, options: ImportOptions, source: _Source) -> Collector:
    """Import the tables of arc2control that have times."""
    if options.interval is not None:
        raise BadInputError(f"{path} has retention tables, which have times of their own; leave --interval out")
    collector = source.begin(Experiment.DRIFT, "first read of each retention table", split_by="episode")
    found.take_retention(collector, options.start or 0.0)
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
