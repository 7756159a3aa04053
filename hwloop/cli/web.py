"""`hwloop web`: experiments in a browser."""

from __future__ import annotations

import ipaddress
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hwloop.cli.common import command, given, json_option, print_json
from hwloop.errors import BadInputError

if TYPE_CHECKING:
    from hwloop.web.tokens import Tokens

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class WebOptions:
    """Options of `hwloop web`."""

    host: str = given(
        click.Option(
            ["--host"],
            default=LOOPBACK,
            show_default=True,
            help="Address to listen on; any but this machine's own needs --token-file.",
        )
    )
    port: int = given(
        click.Option(
            ["--port"],
            type=click.IntRange(0, 65535),
            default=8642,
            show_default=True,
            help="TCP port; 0 takes a free one.",
        )
    )
    data: Path = given(
        click.Option(
            ["--data"],
            type=click.Path(path_type=Path, file_okay=False),
            default=Path("hwloop-data"),
            show_default=True,
            help="Folder with all that pages read and write; made, with the example data, where it is missing.",
        )
    )
    token_file: Path | None = given(
        click.Option(
            ["--token-file"],
            type=click.Path(path_type=Path, dir_okay=False),
            help="File with a line for each who may use it: TOKEN or NAME TOKEN [default: one token, made at random].",
        )
    )
    no_open: bool = given(click.Option(["--no-open"], is_flag=True, help="Only print the address; open no browser."))
    as_json: bool = given(json_option())
    reader: bool = given(click.Option(["--reader"], is_flag=True, hidden=True, help="Read files for a server."))


@command(WebOptions, "web", logs=False)
def web(options: WebOptions) -> None:
    """Serve pages on which experiments are composed, run, watched and compared (docs/web.md).

    Every experiment is a command line and a process of its own: it goes on when the browser or the server ends.
    Whoever has the printed address with its token can use the chips of this machine.

    \b
    Example:
      hwloop web --data lab --no-open
    """  # noqa: D301  click needs the backspace
    from hwloop.cli import main

    if options.reader:
        from hwloop.web.reader import serve as read

        read(main)
        return
    tokens = _tokens(options)
    try:
        from hwloop.web.serving import Place, serve
    except ModuleNotFoundError as error:
        raise BadInputError(
            f"hwloop web needs {error.name}, of the extra 'web': pip install 'hwloop[web]', or pip install starlette "
            "uvicorn python-multipart"
        ) from None

    def opened(address: str, port: int) -> None:
        if options.as_json:
            print_json({"address": address, "port": port, "data": str(options.data.resolve())})
        else:
            click.echo(f"hwloop web on {address}\ndata in {options.data.resolve()}; Ctrl-C ends the server, jobs go on")
        sys.stdout.flush()
        if not options.no_open:
            import webbrowser

            webbrowser.open(address)

    host = LOOPBACK if options.host == "localhost" else options.host
    serve(main, Place(host, options.port, options.data.resolve(), tokens, not is_loopback(host)), opened)


def _tokens(options: WebOptions) -> Tokens | None:
    """Read who may use the pages; None for whoever has the printed address.

    Raises BadInputError when other machines are let in without a file of tokens.
    """
    if options.token_file is None:
        if not is_loopback(options.host):
            raise BadInputError(
                f"--host {options.host} lets other machines use the chips of this one; give the tokens that they must "
                "know with --token-file FILE"
            )
        return None
    from hwloop.web.tokens import tokens_from

    if options.token_file.resolve().is_relative_to(options.data.resolve()):
        raise BadInputError(
            f"token file {options.token_file} is in the data folder, which whoever has one of its tokens can read; put "
            "it elsewhere, and choose other tokens"
        )
    found = tokens_from(options.token_file)
    if not is_loopback(options.host):
        click.echo(
            f"warning: whoever knows a token can use the chips of this machine at {options.host}; what goes over the "
            "network is not encrypted: use it on a network that you trust, or through a tunnel (ssh -L)",
            err=True,
        )
    return found


def is_loopback(host: str) -> bool:
    """Tell whether an address is this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
