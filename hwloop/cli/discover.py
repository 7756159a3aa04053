"""`hwloop discover`: VISA resources and who answers there."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import click

from hwloop.cli.common import command, given, json_option, leave, print_json
from hwloop.errors import LinkError, printable


@dataclass(frozen=True)
class DiscoverOptions:
    """Options of `hwloop discover`."""

    visa_library: str = given(
        click.Option(["--visa-library"], default="@py", show_default=True, help="VISA library, as pyvisa names it.")
    )
    addresses: tuple[str, ...] = given(
        click.Option(
            ["--address", "addresses"],
            multiple=True,
            metavar="HOST:PORT",
            help="Also ask at a raw socket; repeatable.",
        )
    )
    timeout: float = given(
        click.Option(
            ["--timeout"],
            type=click.FloatRange(0.01, 60),
            default=2.0,
            show_default=True,
            help="Seconds per resource.",
        )
    )
    as_json: bool = given(json_option())


@command(DiscoverOptions, "discover")
def discover(options: DiscoverOptions) -> None:
    """List the VISA resources that can be found, and what each answers to *IDN?.

    Raw sockets cannot be found by asking around: name them with --address. The exit code is 3 when nothing answers at
    an address that was named.

    \b
    Example:
      hwloop discover --address 127.0.0.1:5025
    """  # noqa: D301  click needs the backspace
    from hwloop.drivers.discover import discover as find

    found = find(options.visa_library, options.timeout, options.addresses)
    if options.as_json:
        print_json({"resources": [dataclasses.asdict(row) for row in found]})
    else:
        if not found:
            click.echo("no VISA resource found; for a raw socket, use --address HOST:PORT")
        for row in found:
            said = printable(row.identity or row.problem)
            click.echo(f"{row.resource:<44} {said}{'  (hwloop chip)' if row.chip else ''}")
    named = [f"TCPIP::{host}::{port}::SOCKET" for host, _, port in (one.rpartition(":") for one in options.addresses)]
    if any(row.problem for row in found if row.resource in named):
        leave(LinkError.exit_code)
