"""`hwloop report`."""

from __future__ import annotations

from dataclasses import dataclass

import click

from hwloop.cli.common import command, file_option, force_option, given, json_option, print_json


@dataclass(frozen=True)
class ReportOptions:
    """Options of `hwloop report`."""

    file: str = given(click.Argument(["file"], type=click.Path()))
    out: str = given(file_option("--out", "Report to write (HTML).", required=True))
    force: bool = given(force_option())
    as_json: bool = given(json_option())


@command(ReportOptions, "report", logs=False)
def report(options: ReportOptions) -> None:
    """Write one HTML page about FILE, any file that hwloop writes: result, pictures, tables, provenance.

    The page needs nothing but itself: it can be mailed, printed, and read on a phone.

    \b
    Example:
      # run.h5 is what the example of hwloop program writes
      hwloop report run.h5 --out report.html
    """  # noqa: D301  click needs the backspace
    import hwloop

    page = hwloop.report(options.file, options.out, force=options.force)
    if options.as_json:
        names = [picture.name for picture in page.pictures]
        print_json({"file": options.file, "report": options.out, "verdict": page.verdict, "pictures": list(names)})
    else:
        click.echo(f"{page.title}\n{page.verdict}\nReport {options.out}.")
