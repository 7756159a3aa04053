"""`hwloop discover`: VISA resources and who answers there."""

from __future__ import annotations

import dataclasses

import click

from hwloop.cli.common import Command, json_option, print_json
from hwloop.drivers.discover import discover as find


@click.command(cls=Command)
@click.option("--visa-library", default="@py", show_default=True, help="VISA library, as pyvisa names it.")
@click.option(
    "--address", "addresses", multiple=True, metavar="HOST:PORT", help="Also ask at a raw socket; repeatable."
)
@click.option(
    "--timeout", type=click.FloatRange(0.01, 60), default=2.0, show_default=True, help="Seconds per resource."
)
@json_option
def discover(visa_library: str, addresses: tuple[str, ...], timeout: float, as_json: bool) -> None:
    """List the VISA resources that can be found, and what each answers to *IDN?.

    Raw sockets cannot be found by asking around: name them with --address.

    \b
    Example:
      hwloop discover --address 127.0.0.1:5025
    """  # noqa: D301  click needs the backspace
    found = find(visa_library, timeout, addresses)
    if as_json:
        print_json({"resources": [dataclasses.asdict(row) for row in found]})
        return
    if not found:
        click.echo("no VISA resource found; for a raw socket, use --address HOST:PORT")
    for row in found:
        click.echo(f"{row.resource:<44} {row.identity or row.problem}{'  (hwloop chip)' if row.chip else ''}")
