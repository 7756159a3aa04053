"""`hwloop import`."""

from __future__ import annotations

from dataclasses import dataclass

import click

from hwloop.cli.common import (
    GOAL_MISSED,
    command,
    given,
    json_option,
    leave,
    print_json,
    watched,
)
from hwloop.cli.terminal import wrapped
from hwloop.durations import format_duration, parse_duration
from hwloop.errors import BadInputError, printable
from hwloop.files.measurements import Experiment
from hwloop.importers.checks import BACKWARDS, ImportReport
from hwloop.importers.columns import KNOWN
from hwloop.importers.files import ImportOptions
from hwloop.importers.layout import TextOptions

NO_SPLITS = {"cell", "word", "bit", "time", "date", "conductance", "resistance", "current"}
NO_SPLITS |= {"source_voltage", "shunt_voltage"}
SPLITS = [name for name in KNOWN if name not in NO_SPLITS]


@dataclass(frozen=True)
class ImportCommandOptions:
    """Options of `hwloop import`."""

    files: tuple[str, ...] = given(click.Argument(["files"], metavar="FILE...", nargs=-1, required=True))
    out: str = given(
        click.Option(["--out"], required=True, type=click.Path(), help="Measurement file to write (HDF5).")
    )
    columns: str | None = given(
        click.Option(
            ["--columns"],
            help="Column map, such as cell,time[s],resistance[ohm],,level; auto: as the header is recognised "
            "[default: the header line].",
        )
    )
    experiment: str | None = given(
        click.Option(
            ["--experiment"], help=f"One of {', '.join(e.value for e in Experiment)} [default: by the columns]."
        )
    )
    sample_rate: float | None = given(
        click.Option(["--sample-rate"], type=float, help="Samples per second of rows that are time series.")
    )
    code_step: float | None = given(
        click.Option(["--code-step"], type=float, help="uS per converter code, for columns in [code].")
    )
    split_by: str | None = given(
        click.Option(["--split-by"], help="Take cells measured at another value of this column as other cells.")
    )
    keep_non_positive: bool = given(
        click.Option(["--keep-non-positive"], is_flag=True, help="Keep conductances of zero and below.")
    )
    delimiter: str | None = given(
        click.Option(
            ["--delimiter"], help="Between columns [default: tab, semicolon, comma or blanks, by the first line]."
        )
    )
    comment: str = given(
        click.Option(["--comment"], default="#", show_default=True, help="Beginning of lines to pass over.")
    )
    skip: int = given(
        click.Option(["--skip"], type=click.IntRange(0), default=0, help="Lines to pass over at the beginning.")
    )
    decimal: str | None = given(
        click.Option(["--decimal"], type=click.Choice(["point", "comma"]), help="Decimal mark [default: as found].")
    )
    where: tuple[str, ...] = given(
        click.Option(
            ["--where"],
            multiple=True,
            help="Leave out rows that do not meet a condition: voltage=0.2, status!=bad; repeatable.",
        )
    )
    start_age: str | None = given(
        click.Option(["--start-age"], help="Count ages from the first read of each cell, which is that old: 1s.")
    )
    interval: str | None = given(
        click.Option(["--interval"], help="Time from read to read of a cell, where there are no times: 0.5s.")
    )
    read_voltage: float | None = given(
        click.Option(["--read-voltage"], type=float, help="V at which currents flowed, where no column has it.")
    )
    shunt: float | None = given(
        click.Option(["--shunt"], type=float, help="Ohm of the shunt that a shunt_voltage is across.")
    )
    reverse_current: bool = given(
        click.Option(["--reverse-current"], is_flag=True, help="Currents are counted the other way round.")
    )
    append: bool = given(click.Option(["--append"], is_flag=True, help="Add to the measurement file if it exists."))
    force: bool = given(click.Option(["--force"], is_flag=True, help="Replace the measurement file if it exists."))
    as_json: bool = given(json_option())


@command(ImportCommandOptions, "import", logs=False)
def import_(options: ImportCommandOptions) -> None:
    """Bring measurements made elsewhere into a measurement file.

    FILE is delimited text (CSV, TSV, also gzipped), described by --columns, an HDF5 file of arc2control, or arrays in
    HDF5 or netCDF. Several texts, or a pattern in quotes, become one measurement, with a cell for each file. A column
    map names the columns in order, with their units; an empty name is a column to ignore. Behind the last name, '...'
    means that all further columns are samples of a time series, ':cells' that they are other cells, and ':repeats'
    that they are repeated reads. What cannot be used is left out and counted, and what is hardly plausible is asked
    about.

    \b
    Names: cell cell[name] word bit core level repeat time[s] time[iso]
           date[iso] nominal_time[s] conductance[S] resistance[ohm] current[A]
           voltage[V] shunt_voltage[V] source_voltage[V] target[S]
           target_low[S] target_high[S] verify[S] temperature[degC]
           amplitude[uA] width[ns] pulse_voltage[V]

    \b
    Examples:
      hwloop import data/lab.csv --out lab.h5 \\
          --columns "cell,time[s],resistance[ohm],,level"
      hwloop import "data/dev*.csv" --columns auto --start-age 1s \\
          --out devices.h5
      hwloop import data/analyser.csv --columns auto --where voltage=0.2 \\
          --out analyser.h5
    """  # noqa: D301  click needs the backspace
    from hwloop.jobs.import_measurement import import_to

    with watched("import") as report:
        found = import_to(
            options.files,
            options.out,
            _parsed(options),
            append=options.append,
            force=options.force,
            progress=report,
        )
    if options.as_json:
        named = {"file": options.files[0]} if len(options.files) == 1 else {"files": list(options.files)}
        print_json(named | {"out": options.out} | found.to_json())
    else:
        _show(found, options.out)
    if found.reads < found.rows / 2:
        click.echo("warning: most rows were left out; is that what the file and --columns should give?", err=True)
        leave(GOAL_MISSED)


def _parsed(options: ImportCommandOptions) -> ImportOptions:
    """Turn the words of the command line into settings. Raises BadInputError for those that cannot be right."""
    if not options.comment:
        raise BadInputError("--comment must not be empty; use a character that begins no line")
    for name, value, unit in (
        ("--sample-rate", options.sample_rate, "samples per second"),
        ("--code-step", options.code_step, "uS"),
        ("--shunt", options.shunt, "ohm"),
    ):
        if value is not None and not value > 0:
            raise BadInputError(f"{name} {value:g}: expected a positive number of {unit}")
    if options.split_by is not None and options.split_by not in SPLITS:
        raise BadInputError(f"--split-by {options.split_by}: expected one of {', '.join(SPLITS)}")
    between = parse_duration(options.interval) if options.interval else None
    if between == 0:
        raise BadInputError(f"--interval {options.interval}: rows must be some time apart")
    text = TextOptions(
        columns=options.columns,
        code_step=options.code_step,
        sample_rate=options.sample_rate,
        delimiter=_character(options.delimiter),
        comment=options.comment,
        skip=options.skip,
        decimal={"point": ".", "comma": ",", None: None}[options.decimal],
        read_voltage=options.read_voltage,
        shunt=options.shunt,
        reverse_current=options.reverse_current,
        where=options.where,
    )
    return ImportOptions(
        text,
        _experiment(options.experiment),
        options.split_by,
        options.keep_non_positive,
        parse_duration(options.start_age) if options.start_age else None,
        between,
    )


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
    low, high = report.conductance
    told = [
        f"{report.reads:,} reads of {report.cells:,} cells from {report.rows:,} rows, in {out}",
        f"conductances from {low:.3g} to {high:.3g} uS, ages from {_age(report.time[0])} to {_age(report.time[1])}",
        *(f"left out: {one.count:,} rows, {reason} (first in {one.where()})" for reason, one in report.dropped.items()),
        *(f"question: {one.count:,} reads, {what} (first in {one.where()})" for what, one in report.questions.items()),
        *(f"note: {note}" for note in report.notes),
    ]
    if BACKWARDS in report.dropped:
        said = "Cells measured anew, say at another temperature, are told apart by --split-by temperature."
        told.append(f"{said} What was baked so is fitted by hwloop fit --family bake.")
    for sentence in told:
        click.echo(wrapped(printable(sentence), "", "  "))
    click.echo(f"\nhwloop show {out}\nhwloop fit {out} --out model.json")
