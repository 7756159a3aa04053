"""`hwloop serve`: the emulated instrument."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hwloop.cli.common import STOPS, command, given, json_option, print_json
from hwloop.errors import BadInputError, LinkError
from hwloop.scpi.token import VARIABLE, token_from_environment, token_from_file

if TYPE_CHECKING:
    from hwloop.sim_backend.server.server import InstrumentServer

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class ServeOptions:
    """Options of `hwloop serve`."""

    uri: str = given(
        click.Option(["--chip", "uri"], required=True, help="The chip to serve, as sim:hermes-core?seed=1.")
    )
    port: int = given(
        click.Option(
            ["--port"],
            type=click.IntRange(0, 65535),
            default=5025,
            show_default=True,
            help="TCP port; 0 takes a free one.",
        )
    )
    host: str = given(
        click.Option(
            ["--host"],
            default=LOOPBACK,
            show_default=True,
            help="Address to listen on; any but this machine's own needs a token.",
        )
    )
    token_file: Path | None = given(
        click.Option(
            ["--token-file"],
            type=click.Path(path_type=Path, dir_okay=False),
            help=f"File with the token that clients must know; the variable {VARIABLE} holds one, too.",
        )
    )
    stdio: bool = given(
        click.Option(["--stdio"], is_flag=True, help="Serve standard input and output instead of a socket.")
    )
    log: Path | None = given(
        click.Option(
            ["--log"], type=click.Path(path_type=Path, dir_okay=False), help="Add a log of the wire to this file."
        )
    )
    as_json: bool = given(json_option())


@command(ServeOptions, "serve", logs=False)
def serve(options: ServeOptions) -> None:
    """Serve a simulated chip as an instrument that speaks the hwloop SCPI dialect (docs/scpi.md).

    It takes one client at a time and stops on Ctrl-C or SIGTERM. Any VISA shell can talk to it.

    \b
    Example:
      hwloop serve --chip "sim:hermes-core?seed=1" --port 5025
    """  # noqa: D301  click needs the backspace
    import torch

    from hwloop.chip.info import Capability
    from hwloop.chip.registry import connect
    from hwloop.scpi.wire_log import WireLog
    from hwloop.sim_backend.server.instrument import Instrument
    from hwloop.sim_backend.server.server import InstrumentServer, serve_streams

    token = _token(options)
    # The client computes on this machine too, as a rule. Threads of both that wait for each other's cores, spinning,
    # make programming many times slower than either half of the cores alone.
    torch.set_num_threads(max(1, torch.get_num_threads() // 2))
    with connect(options.uri) as chip, WireLog(options.log) if options.log else contextlib.nullcontext() as wire:
        instrument = Instrument(chip, token=token)
        if options.stdio:
            serve_streams(instrument, sys.stdin.fileno(), sys.stdout.fileno(), wire)
            return
        simulated = Capability.STATE in chip.info.capabilities
        asyncio.run(_serve(InstrumentServer(instrument, log=wire), options, simulated=simulated))


def _token(options: ServeOptions) -> bytes | None:
    """Read the token that clients must know; None for anyone on this machine.

    Raises BadInputError when other machines are let in without one.
    """
    token = None
    if options.token_file is not None:
        token = token_from_file(options.token_file)
    elif VARIABLE in os.environ:
        token = token_from_environment(VARIABLE)
    if options.stdio or _is_loopback(options.host):
        return token
    if token is None:
        raise BadInputError(
            f"--host {options.host} lets other machines use the chip; give a token that they must know with "
            f"--token-file FILE or in {VARIABLE}"
        )
    click.echo(
        f"warning: the chip can be reached at {options.host} by whoever knows the token; what goes over the network is "
        "not encrypted: use it on a network that you trust, or through a tunnel (ssh -L)",
        err=True,
    )
    return token


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def _serve(server: InstrumentServer, options: ServeOptions, *, simulated: bool) -> None:
    stop, host = asyncio.Event(), options.host
    for number in STOPS:
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        port = await server.start(host, options.port)
    except OSError as error:
        # asyncio words the reasons of the system anew, at length; those of a name that is no address are its own.
        reason = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        raise LinkError(f"cannot listen on {host}:{options.port}: {reason}; try another --port or --host") from error
    resource = f"TCPIP::{host}::{port}::SOCKET"
    if options.as_json:
        print_json({"chip": options.uri, "host": host, "port": port, "uri": f"visa:{resource}"})
    else:
        click.echo(f"serving {options.uri} as visa:{resource}\nCtrl-C stops it")
    sys.stdout.flush()
    await stop.wait()
    if await server.stop():
        return
    if simulated:
        os._exit(0)  # nothing to switch off, and nobody waits for what it computes
    server.wait()
