"""`hwloop serve`: the emulated instrument."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import click

from hwloop.chip.registry import connect
from hwloop.cli.common import Command, json_option, print_json
from hwloop.errors import LinkError
from hwloop.scpi.wire_log import WireLog
from hwloop.sim_backend.server.instrument import Instrument
from hwloop.sim_backend.server.server import InstrumentServer, serve_streams

LOOPBACK = "127.0.0.1"


@click.command(cls=Command)
@click.option("--chip", "uri", required=True, help="The chip to serve, as sim:hermes-core?seed=1.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=5025, show_default=True, help="TCP port; 0 takes a free one."
)
@click.option("--host", default=LOOPBACK, show_default=True, help="Address to listen on. There is no password.")
@click.option("--stdio", is_flag=True, help="Serve standard input and output instead of a socket.")
@click.option("--log", type=click.Path(path_type=Path, dir_okay=False), help="Add a log of the wire to this file.")
@json_option
def serve(uri: str, port: int, host: str, stdio: bool, log: Path | None, as_json: bool) -> None:
    """Serve a simulated chip as an instrument that speaks the hwloop SCPI dialect (docs/scpi.md).

    It takes one client at a time and stops on Ctrl-C or SIGTERM. Any VISA shell can talk to it.

    \b
    Example:
      hwloop serve --chip "sim:hermes-core?seed=1" --port 5025
    """  # noqa: D301  click needs the backspace
    import torch  # not needed for --help

    # The client computes on this machine too, as a rule. Threads of both that wait for each other's cores, spinning,
    # make programming many times slower than either half of the cores alone.
    torch.set_num_threads(max(1, torch.get_num_threads() // 2))
    with connect(uri) as chip, WireLog(log) if log else contextlib.nullcontext() as wire:
        instrument = Instrument(chip)
        if stdio:
            serve_streams(instrument, sys.stdin.fileno(), sys.stdout.fileno(), wire)
            return
        asyncio.run(_serve(InstrumentServer(instrument, log=wire), uri, host, port, as_json))


async def _serve(server: InstrumentServer, uri: str, host: str, port: int, as_json: bool) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        port = await server.start(host, port)
    except OSError as error:
        raise LinkError(
            f"cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}; try another --port or --host"
        ) from error
    resource = f"TCPIP::{host}::{port}::SOCKET"
    if as_json:
        print_json({"chip": uri, "host": host, "port": port, "uri": f"visa:{resource}"})
    else:
        click.echo(f"serving {uri} as visa:{resource}; Ctrl-C stops")
    sys.stdout.flush()
    await stop.wait()
    await server.stop()
