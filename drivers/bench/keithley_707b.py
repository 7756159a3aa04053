"""Keithley 707B switch matrix in TSP, its Lua dialect (not the 707A's DDC emulation).

Source: Models 707B and 708B Switching Matrix Reference Manual. Crosspoints are named by slot, row and
two-digit column, such as 1A05.
"""

from __future__ import annotations

from collections.abc import Sequence

from hwloop.drivers.bench.instrument import Instrument
from hwloop.drivers.bench.roles import MatrixRating
from hwloop.drivers.bench.wire import TSP, Wire
from hwloop.errors import ChipError

OPEN_ALL = 'channel.open("allslots")'
CLOSED = 'print(channel.getclose("allslots"))'


def closed_crosspoints(reply: str) -> frozenset[str]:
    """Read the answer to CLOSED: crosspoints separated by semicolons, or nil."""
    reply = reply.strip()
    return frozenset() if reply == "nil" else frozenset(name.strip() for name in reply.split(";"))


class Keithley707B(Instrument):
    """Six slots of cards with rows A to H and twelve columns (7072, 7072-HV, 7174A)."""

    NAME, MAKER, MODEL, ERRORS = "Keithley 707B", "KEITHLEY", r"MODEL 707B", TSP
    RATING = MatrixRating(rows="ABCDEFGH", columns=12, slots=6)

    def __init__(self, wire: Wire, channel: str = "1") -> None:
        """Open every relay; open before closing from here on."""
        super().__init__(wire, channel)
        wire.complete(OPEN_ALL, "channel.connectrule = channel.BREAK_BEFORE_MAKE")

    def connect(self, crosspoints: Sequence[str]) -> None:
        """Close these crosspoints alone. Raises ChipError when the instrument says that others are closed."""
        self._wire.complete(f'channel.exclusiveclose("{",".join(crosspoints)}")')
        self._expect(frozenset(crosspoints))

    def open_all(self) -> None:
        """Open every relay, and check it."""
        self._wire.complete(OPEN_ALL)
        self._expect(frozenset())

    def idle(self) -> None:
        """Open every relay, whatever happened before."""
        self._wire.recover(OPEN_ALL)
        self._expect(frozenset())

    def _expect(self, wanted: frozenset[str]) -> None:
        closed = closed_crosspoints(self._wire.ask(CLOSED))
        if closed != wanted:
            raise ChipError(
                f"{self._wire.name}: closed crosspoints are {', '.join(sorted(closed)) or 'none'} where "
                f"{', '.join(sorted(wanted)) or 'none'} should be"
            )
