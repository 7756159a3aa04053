"""The life of a chip's devices over all sessions: what `Backend` asks before pulses go out, and tells as they do."""

from __future__ import annotations

import secrets
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hwloop.chip.info import Capability, ChipInfo
from hwloop.custody.places import ledger_path
from hwloop.errors import LedgerError, OutputWarning
from hwloop.typing import IndexArray

if TYPE_CHECKING:
    from hwloop.custody.ledger import ChipEntry, Ledger


class Lifetime:
    """Nothing is known of a chip's earlier life, nothing is kept of this: for chips that are made, not connected to."""

    identity = ""
    """What tells the chip from every other."""
    session = ""
    """What tells this session from every other."""

    def before(self, core: int) -> NDArray[np.int32] | None:
        """Return the pulses (devices,) of earlier sessions that count against the budget; None where none do."""
        return None

    def ahead(self, core: int, devices: IndexArray) -> None:
        """Write down that devices (n,) are about to receive a pulse. Raises LedgerError where none must go out."""

    def ahead_of_trains(self, core: int, most: NDArray[np.int32]) -> None:
        """Write down the most pulses (devices,) that trains can bring. Raises LedgerError where none must go out."""

    def received(self, core: int, counts: NDArray[np.int32]) -> None:
        """Write down what devices (devices,) have received of the trains announced last."""

    def settle(self) -> None:
        """Put the books in order at the end of the session."""


class KeptLifetime(Lifetime):
    """The life of a chip in the ledger, from its first pulse on.

    A real chip's pulses do not go out unless they are written down, and its earlier ones count against its budget. A
    simulated chip's are recorded: it begins its life anew with each session, or goes on with the one in its state.
    """

    seconds_unwritten: float = 5.0
    """Longest time for which what trains bring to a simulated chip is kept in memory alone."""

    def __init__(self, identity: str, uri: str, info: ChipInfo) -> None:
        """Keep the life of a chip; nothing is read or written before its first pulse."""
        self.identity, self.session = identity, secrets.token_hex(16)
        self._uri, self._info = uri, info
        self._simulated = Capability.STATE in info.capabilities
        self._ledger: Ledger | None = None
        self._chip, self._rows = 0, 0
        self._earlier: dict[int, NDArray[np.int32]] = {}
        self._given_up = False
        self._announced: tuple[int, NDArray[np.int32]] = 0, np.zeros(0, np.int32)
        self._unwritten: dict[int, NDArray[np.int32]] = {}
        self._written_at = 0.0

    @property
    def path(self) -> Path:
        """Where the ledger lies."""
        return self._ledger.path if self._ledger is not None else ledger_path()

    def before(self, core: int) -> NDArray[np.int32] | None:
        """Return the pulses (devices,) of earlier sessions; None for a simulated chip."""
        if self._simulated:
            return None
        if core not in self._earlier:
            self._earlier[core] = self._open().life(self._chip, core)
        return self._earlier[core]

    def ahead(self, core: int, devices: IndexArray) -> None:
        """Write down that devices (n,) are about to receive a pulse."""
        if self._given_up:
            return
        try:
            ledger = self._open()
            ledger.ahead(self.session, core, devices, self._info.devices_per_core)
            self._count_row(ledger)
        except LedgerError as error:
            if not self._simulated:
                raise
            self._give_up(error)

    def ahead_of_trains(self, core: int, most: NDArray[np.int32]) -> None:
        """Write down the most pulses (devices,) that trains can bring; of a simulated chip, what they brought will do.

        The trains of a simulated chip come by the thousand a second, and are written down once in a while.
        """
        if self._simulated:
            return
        ledger = self._open()
        self._count_row(ledger)  # first: what it adds up can no longer be corrected
        self._announced = ledger.ahead_of_trains(self.session, core, most), most

    def received(self, core: int, counts: NDArray[np.int32]) -> None:
        """Write down what devices (devices,) have received of the trains announced last."""
        if not self._simulated:
            self._open().correct(self.session, *self._announced, counts)
        elif not self._given_up:
            if (sums := self._unwritten.get(core)) is None:
                self._unwritten[core] = counts.copy()
            else:
                sums += counts
            if time.monotonic() - self._written_at > self.seconds_unwritten:
                self._write_trains()

    def _write_trains(self) -> None:
        """Write down what trains have brought to the devices of a simulated chip."""
        try:
            ledger = self._open()
            for core in list(self._unwritten):
                ledger.ahead_of_trains(self.session, core, self._unwritten.pop(core))
                self._count_row(ledger)
        except LedgerError as error:
            self._give_up(error)
        self._written_at = time.monotonic()

    def _count_row(self, ledger: Ledger) -> None:
        """Add rows up where there are many."""
        self._rows += 1
        if self._rows >= _rows_at_most():
            ledger.settle(self._chip)
            self._rows = 0

    def settle(self) -> None:
        """Add up what was written down, and end the session."""
        if self._unwritten:
            self._write_trains()
        if self._ledger is None:
            return
        try:
            self._ledger.settle(self._chip, self.session)
        except LedgerError as error:
            # Nothing is lost: the rows are there, and whoever opens this chip's books next adds them up.
            if not self._given_up:
                self._give_up(error)
        finally:
            self._ledger.close()
            self._ledger = None

    def _open(self) -> Ledger:
        if self._ledger is None:
            from hwloop.custody.ledger import Ledger

            ledger = Ledger(ledger_path(), durable=not self._simulated)
            try:
                self._chip = ledger.enter(entry_of(self.identity, self._uri, self._info))
                ledger.begin(self.session, self._chip)
            except BaseException:
                ledger.close()
                raise
            self._ledger = ledger
        return self._ledger

    def _give_up(self, error: LedgerError) -> None:
        self._given_up = True
        warnings.warn(f"{error}; the pulses of this session are not all in it", OutputWarning, stacklevel=5)


def entry_of(identity: str, uri: str, info: ChipInfo) -> ChipEntry:
    """Describe a chip for the ledger."""
    from hwloop.custody.ledger import ChipEntry

    shape = (info.cores, *info.device_shape)
    return ChipEntry(identity, uri, shape, info.limits.pulses_per_device, Capability.STATE in info.capabilities)


def _rows_at_most() -> int:
    from hwloop.custody.ledger import SETTINGS

    return SETTINGS.rows
