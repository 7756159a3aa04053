"""`hwloop import`."""

from __future__ import annotations

from pathlib import Path

import click

from hwloop.cli.common import GOAL_MISSED, Command, json_option, print_json, progress_bar, stoppable
from hwloop.durations import format_duration, parse_duration
from hwloop.errors import BadInputError
from hwloop.files.measurements import Experiment
from hwloop.importers.collect import BACKWARDS, ImportReport
from hwloop.importers.columns import KNOWN
from hwloop.importers.files import ImportOptions, import_file
from hwloop.importers.text import TextOptions

SPLITS = [name for name in KNOWN if name not in ("cell", "time", "conductance", "resistance", "current", "repeat")]


@click.command("import", cls=Command)
@click.argument("file", type=click.Path())
@click.option("--out", required=True, type=click.Path(), help="Measurement file to write (HDF5).")
@click.option("--columns", help="Column map, such as cell,time[s],resistance[ohm],,level [default: the header line].")
@click.option("--experiment", help=f"One of {', '.join(e.value for e in Experiment)} [default: by the columns].")
@click.option("--sample-rate", type=float, help="Samples per second of rows that are time series.")
@click.option("--code-step", type=float, help="uS per converter code, for columns in [code].")
@click.option("--split-by", help="Take cells measured at another value of this column as other cells.")
@click.option("--keep-non-positive", is_flag=True, help="Keep conductances of zero and below.")
@click.option("--delimiter", help="Between columns [default: tab, semicolon, comma or blanks, by the first line].")
@click.option("--comment", default="#", show_default=True, help="Beginning of lines to pass over.")
@click.option("--skip", type=click.IntRange(0), default=0, help="Lines to pass over at the beginning.")
@click.option("--start-age", default="0s", help="arc2control: age at the first read of a retention table.")
@click.option("--interval", help="arc2control: time from row to row of a biasing history.")
@click.option("--append", is_flag=True, help="Add to the measurement file if it exists.")
@click.option("--force", is_flag=True, help="Replace the measurement file if it exists.")
@json_option
@click.pass_context
def import_(
    context: click.Context,
    /,
    file: str,
    out: str,
    columns: str | None,
    experiment: str | None,
    sample_rate: float | None,
    code_step: float | None,
    split_by: str | None,
    keep_non_positive: bool,
    delimiter: str | None,
    comment: str,
    skip: int,
    start_age: str,
    interval: str | None,
    append: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Bring measurements made elsewhere into a measurement file.

    FILE is delimited text (CSV, TSV, also gzipped), described by --columns, or an HDF5 file of arc2control. A column
    map names the columns in order, with their units; an empty name is a column to ignore, and '...' behind the last
    name means that all further columns are samples of a time series. What cannot be used is left out and counted.

    \b
    Names: cell core level repeat time[s] nominal_time[s] conductance[S] resistance[ohm] current[A] voltage[V]
           target[S] verify[S] temperature[degC] amplitude[uA] width[ns] pulse_voltage[V]

    \b
    Example:
      hwloop import lab.csv --columns "cell,time[s],resistance[ohm],,level" --out lab.h5
    """  # noqa: D301  click needs the backspace
    text = TextOptions(columns, code_step, sample_rate, _character(delimiter), comment, skip)
    if not comment:
        raise BadInputError("--comment must not be empty; use a character that begins no line")
    if sample_rate is not None and not sample_rate > 0:
        raise BadInputError(f"--sample-rate {sample_rate:g}: expected a positive number of samples per second")
    if code_step is not None and not code_step > 0:
        raise BadInputError(f"--code-step {code_step:g}: expected a positive number of uS")
    if split_by is not None and split_by not in SPLITS:
        raise BadInputError(f"--split-by {split_by}: expected one of {', '.join(SPLITS)}")
    between = parse_duration(interval) if interval else None
    if between == 0:
        raise BadInputError(f"--interval {interval}: rows must be some time apart")
    options = ImportOptions(
        text, _experiment(experiment), split_by, keep_non_positive, parse_duration(start_age), between
    )
    size = Path(file).stat().st_size if Path(file).is_file() else 1
    with progress_bar("import") as draw, stoppable() as check:

        def follow(position: int) -> None:
            draw(position, size)
            check()

        report = import_file(file, out, options, append=append, force=force, follow=follow)
    if as_json:
        print_json({"file": file, "out": out} | report.as_json())
    else:
        _show(report, out)
    if report.reads < report.rows / 2:
        click.echo("warning: most rows were left out; is that what the file and --columns should give?", err=True)
        context.exit(GOAL_MISSED)


def _age(seconds: float) -> str:
    return format_duration(seconds) if seconds else "0s"


def _character(text: str | None) -> str | None:
    return {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";"}.get(text, text) if text else None


def _experiment(name: str | None) -> Experiment | None:
    known = {experiment.value: experiment for experiment in Experiment}
    if name is not None and name not in known:
        raise BadInputError(f"--experiment {name}: expected one of {', '.join(known)}")
    return known[name] if name else None


def _show(report: ImportReport, out: str) -> None:
    click.echo(f"{report.reads:,} reads of {report.cells:,} cells from {report.rows:,} rows, in {out}")
    low, high = report.conductance
    click.echo(
        f"conductances from {low:.3g} to {high:.3g} uS, ages from {_age(report.time[0])} to {_age(report.time[1])}"
    )
    for reason, found in report.dropped.items():
        click.echo(f"left out: {found.count:,} rows, {reason} (first in line {found.first_line})")
    if BACKWARDS in report.dropped:
        click.echo("Cells measured anew, say at another temperature, are told apart by --split-by temperature.")
