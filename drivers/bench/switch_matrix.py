"""Switch matrices: the check that all of them pass."""

from __future__ import annotations

import abc
from collections.abc import Sequence

from hwloop.errors import ChipError


class CheckedMatrix(abc.ABC):
    """A SwitchMatrix that is asked which relays are closed whenever it has switched some."""

    def __init__(self, name: str) -> None:
        """Take over a matrix whose relays are open; `name` is for messages."""
        self._name = name

    def connect(self, crosspoints: Sequence[str]) -> None:
        """Close these crosspoints alone. Raises ChipError when the instrument says that others are closed."""
        self._close(crosspoints)
        self._expect(frozenset(crosspoints))

    def open_all(self) -> None:
        """Open every relay, and check it."""
        self._open()
        self._expect(frozenset())

    def idle(self) -> None:
        """Open every relay, whatever happened before."""
        self._recover()
        self._expect(frozenset())

    def _expect(self, wanted: frozenset[str]) -> None:
        closed = self._closed()
        if closed != wanted:
            raise ChipError(
                f"{self._name}: closed crosspoints are {', '.join(sorted(closed)) or 'none'} where "
                f"{', '.join(sorted(wanted)) or 'none'} should be"
            )

    @abc.abstractmethod
    def _close(self, crosspoints: Sequence[str]) -> None:
        """Close these crosspoints, opening all others first."""

    @abc.abstractmethod
    def _open(self) -> None:
        """Open every relay."""

    @abc.abstractmethod
    def _closed(self) -> frozenset[str]:
        """Ask which crosspoints are closed."""

    @abc.abstractmethod
    def _recover(self) -> None:
        """Open every relay, whatever happened before."""
