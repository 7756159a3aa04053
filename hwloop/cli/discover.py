"""`hwloop discover`: VISA resources and who answers there."""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from hwloop.cli.common import command, given, json_option, leave, print_json
from hwloop.errors import LinkError, printable

if TYPE_CHECKING:
    from hwloop.drivers.discover import Found


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

    Raw sockets cannot be found by asking around: name them with --address. The chips that a lab.toml gives names to
    (lab:NAME) are listed as well, and asked where they are behind VISA. The exit code is 3 when nothing answers at an
    address that was named.

    \b
    Example:
      # while hwloop serve, by its example, runs in another terminal
      hwloop discover --address 127.0.0.1:5025
    """  # noqa: D301  click needs the backspace
    from hwloop.drivers.discover import discover as find

    found = find(options.visa_library, options.timeout, options.addresses)
    chips = _chips_of_the_lab(options)
    if options.as_json:
        lab = [{"name": name, "uri": uri, **dataclasses.asdict(row)} for name, uri, row in chips]
        print_json({"resources": [dataclasses.asdict(row) for row in found], "lab": lab})
    else:
        if not found:
            click.echo("no VISA resource found; for a raw socket, use --address HOST:PORT")
        for row in found:
            click.echo(_beside(row.resource, _said(row)))
        for name, uri, row in chips:
            click.echo(_beside(printable(f"lab:{name}"), _said(row) if row.resource else printable(uri)))
    named = [f"TCPIP::{host}::{port}::SOCKET" for host, _, port in (one.rpartition(":") for one in options.addresses)]
    if any(row.problem for row in found if row.resource in named):
        leave(LinkError.exit_code)


def _chips_of_the_lab(options: DiscoverOptions) -> list[tuple[str, str, Found]]:
    """List the names and URIs of the lab's chips; those behind VISA are asked who they are, others have no resource."""
    from hwloop.chip.profiles import profiles
    from hwloop.chip.registry import split_uri
    from hwloop.drivers.discover import Found, ask

    chips = []
    for name, uri in profiles().items():
        scheme, target, query = split_uri(uri)
        row = Found("", "", "", False)
        if scheme == "visa":
            row = ask(target, query.get("visa_library", options.visa_library), options.timeout)
        chips.append((name, uri, row))
    return chips


def _beside(name: str, told: str) -> str:
    """Write what is told beside a name, or below it where a line does not hold both."""
    line = f"{name:<44} {told}"
    return line if len(line) <= shutil.get_terminal_size((120, 24)).columns else f"{name}\n    {told}"


def _said(row: Found) -> str:
    return f"{printable(row.identity or row.problem)}{'  (hwloop chip)' if row.chip else ''}"
