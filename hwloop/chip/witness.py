"""Who sees everything that a chip is asked and answers, and may answer in its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, TypeVar

A = TypeVar("A")
Asked: TypeAlias = Any
"""One argument of a request."""
Answer: TypeAlias = Any
"""What a chip says to a request; its type is that of the hook."""


class Witness(Protocol):
    """Sees every request that a `Backend` passes to its chip; see `Backend.witness`."""

    def ask(self, name: str, hook: Callable[..., A], *asked: Asked) -> A:
        """Return the answer to a request: what the hook gives, or what is known to have been its answer.

        Parameters
        ----------
        name
            Of the request, such as 'mvm'.
        hook
            Asks the chip; it takes what is asked.
        asked
            What is asked, as it passed the checks of the contract.
        """

    def leave(self) -> None:
        """Take note of nothing more: the job that is witnessed stops here."""
