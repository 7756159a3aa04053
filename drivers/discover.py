"""Which instruments can be reached, and which of them are chips behind the hwloop dialect."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import pyvisa

from hwloop.drivers.identity import check_chip, identify
from hwloop.drivers.link import VisaLink, opener
from hwloop.errors import BadInputError, HwloopError, LinkError


@dataclass(frozen=True)
class Found:
    """One resource: what it answered to *IDN?, or why it did not, and whether the `visa:` driver can use it."""

    resource: str
    identity: str
    problem: str
    chip: bool


def discover(visa_library: str = "@py", timeout: float = 2.0, addresses: Sequence[str] = ()) -> list[Found]:
    """Ask every message-based resource that VISA lists, and raw sockets at `addresses` (HOST:PORT), who they are.

    timeout: seconds for each; a busy instrument of this dialect takes one to say so. Only *IDN? is sent, and nothing at
    all to serial ports, whose settings cannot be guessed.
    pyvisa-py finds USB instruments with pyusb installed, HiSLIP ones with zeroconf, other interfaces with psutil.
    Raises BadInputError for a library or an address that cannot be used.
    """
    sockets = [_socket_resource(address) for address in addresses]
    try:
        manager = pyvisa.ResourceManager(visa_library)
        with warnings.catch_warnings():
            # pyvisa-py warns of every kind of link that it lacks an optional package for.
            warnings.simplefilter("ignore")
            listed = [name for name in manager.list_resources("?*") if not name.startswith("ASRL")]
    except (ValueError, OSError, pyvisa.errors.Error) as error:
        raise BadInputError(f"the VISA library '{visa_library}' cannot be used: {error}") from error
    return [ask(name, visa_library, timeout) for name in [*listed, *sockets]]


def _socket_resource(address: str) -> str:
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise BadInputError(f"'{address}' is not HOST:PORT")
    return f"TCPIP::{host}::{port}::SOCKET"


def ask(name: str, visa_library: str, timeout: float) -> Found:
    """Ask a resource who it is, and nothing else; `timeout` in seconds. Whatever goes wrong is the answer's problem."""
    try:
        link = VisaLink.open(opener(name, visa_library), name, timeout)
    except HwloopError as error:
        return Found(name, "", _problem(error, name), False)
    try:
        identity = identify(link, name, timeout)
    except LinkError as error:
        return Found(name, "", _problem(error, name), False)
    finally:
        link.close()
    text = f"{identity.maker},{identity.model},{identity.serial},{identity.firmware}"
    try:
        check_chip(identity, name)
    except LinkError as error:
        return Found(name, text, _problem(error, name), False)
    return Found(name, text, "", True)


def _problem(error: HwloopError, name: str) -> str:
    """Return the error without the name that stands beside it."""
    return str(error).removeprefix(name).lstrip()
