"""How a backend asks its chip: through a witness, where there is one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar, final

from hwloop.chip.counts import Counts
from hwloop.chip.driver import Driver
from hwloop.chip.lifetime import Lifetime
from hwloop.chip.pulses import Pulses
from hwloop.chip.updates import Updates
from hwloop.chip.witness import Asked, Witness
from hwloop.errors import ChipError
from hwloop.typing import CodeArray

A = TypeVar("A")


class Asking(Driver):
    """A chip whose requests are counted, and may be seen by a witness."""

    witness: Witness | None = None
    """Sees every request to the chip and its answer, and may answer in its place; None: nobody does."""
    lifetime: Lifetime = Lifetime()
    """What its devices have received in earlier sessions, and where this one is kept."""

    def __init__(self) -> None:
        """Count from here on."""
        self._counts = Counts()

    @final
    def as_one(self, name: str, work: Callable[[], None]) -> None:
        """Do work with the chip that a witness sees as one request, because the clock of the computer steers it."""
        before = self._counts.chip_seconds
        self._counts.chip_seconds = before + self._ask(name, self._unseen, work)

    def _unseen(self, work: Callable[[], None]) -> float:
        """Do work that no witness sees; return the seconds of chip time that it took."""
        witness, self.witness = self.witness, None
        before = self._counts.chip_seconds
        try:
            work()
        finally:
            self.witness = witness
        return self._counts.chip_seconds - before

    @final
    def utc(self) -> datetime:
        """Return the present by the calendar; of a job that is gone on with, what it was then."""
        return datetime.fromisoformat(self._ask("utc", _utc))

    def _counted_pulse(self, core: int, batch: Pulses) -> None:
        """Count pulses for the lifetime of their devices, and send them."""
        self.lifetime.ahead(core, batch.devices)
        self._pulse(core, batch)

    def _counted_update(self, core: int, batch: Updates, most: CodeArray | None) -> CodeArray:
        """Count trains for the lifetime of their devices, send them, and return the steps that devices made.

        `most` (devices_per_core,) is what they can make; None on a chip that is computed, of which none is counted.
        """
        if most is not None:
            self.lifetime.ahead_of_trains(core, most)
        received = self._update(core, batch)
        if most is None:
            beyond = bool((received > batch.slots).any())
        else:
            beyond = received.shape != most.shape or bool((received > most).any())
        if beyond or (received < 0).any():
            raise ChipError(f"core {core}: the chip answered an update with counts of pulses that cannot be")
        self.lifetime.received(core, received)
        return received

    def _ask(self, name: str, hook: Callable[..., A], *asked: Asked) -> A:
        """Call a hook, or let the witness do so."""
        return hook(*asked) if self.witness is None else self.witness.ask(name, hook, *asked)


def _utc() -> str:
    return datetime.now(UTC).isoformat()
