"""Keithley 707B switch matrix in TSP, its Lua dialect (not the 707A's DDC emulation).

Source: Models 707B and 708B Switching Matrix Reference Manual. Crosspoints are named by slot, row and
two-digit column, such as 1A05.
"""

from __future__ import annotations

from collections.abc import Sequence

from hwloop.drivers.bench.instrument import Instrument
from hwloop.drivers.bench.roles import MatrixRating
from hwloop.drivers.bench.switch_matrix import CheckedMatrix
from hwloop.drivers.bench.wire import TSP, Wire

OPEN_ALL = 'channel.open("allslots")'
CLOSED = 'print(channel.getclose("allslots"))'


def closed_crosspoints(reply: str) -> frozenset[str]:
    """Read the answer to CLOSED: crosspoints separated by semicolons, or nil."""
    reply = reply.strip()
    return frozenset() if reply == "nil" else frozenset(name.strip() for name in reply.split(";"))


class Keithley707B(CheckedMatrix, Instrument):
    """Six slots of cards with rows A to H and twelve columns (7072, 7072-HV, 7174A)."""

    NAME, MAKER, MODEL, ERRORS = "Keithley 707B", "KEITHLEY", r"MODEL 707B", TSP
    RATING = MatrixRating(rows="ABCDEFGH", columns=12, slots=6)

    def __init__(self, wire: Wire, channel: str = "1") -> None:
        """Open every relay; open before closing from here on."""
        Instrument.__init__(self, wire, channel)
        CheckedMatrix.__init__(self, wire.name)
        wire.complete(OPEN_ALL, "channel.connectrule = channel.BREAK_BEFORE_MAKE")

    def _close(self, crosspoints: Sequence[str]) -> None:
        self._wire.complete(f'channel.exclusiveclose("{",".join(crosspoints)}")')

    def _open(self) -> None:
        self._wire.complete(OPEN_ALL)

    def _closed(self) -> frozenset[str]:
        return closed_crosspoints(self._wire.ask(CLOSED))

    def _recover(self) -> None:
        self._wire.recover(OPEN_ALL)
