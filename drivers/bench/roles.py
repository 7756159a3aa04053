"""What a bench needs of its instruments: three roles, each small enough for any instrument to fill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class SourceRating:
    """What every model of a source meter's series can do with direct current, both at once."""

    volts: float
    amps: float
    amps_min: float
    """Smallest compliance that can be set, A."""


@dataclass(frozen=True)
class PulseRating:
    """What a pulse generator can make between 0 V and a positive level, behind its 50 ohm, into an open circuit."""

    volts_min: float
    volts: float
    width_min: float
    """Shortest pulse, ns."""
    width_max: float
    """Longest pulse, ns."""
    edge_min: float
    """Shortest edge (10 to 90 %), ns."""
    edge_max: float
    """Longest edge, ns."""


@dataclass(frozen=True)
class MatrixRating:
    """Names of a matrix's rows, and its number of columns in each of its slots."""

    rows: str
    columns: int
    slots: int


class SourceMeter(Protocol):
    """Forces a voltage and measures the current, never more than its compliance."""

    def set_compliance(self, amps: float) -> None:
        """Limit the current of both signs, A."""

    def on(self) -> None:
        """Connect the output at 0 V."""

    def source(self, volts: float) -> None:
        """Go to a voltage in steps no larger than the bench file allows."""

    def measure(self) -> float:
        """Measure the current, A; at compliance, the compliance."""

    def limiting(self) -> bool:
        """Tell whether the compliance holds the current back at this moment."""

    def off(self) -> None:
        """Ramp down to 0 V and disconnect the output."""

    def idle(self) -> None:
        """Go to 0 V and output off, whatever happened before."""


class PulseGenerator(Protocol):
    """Makes one pulse from 0 V when told to."""

    def on(self) -> None:
        """Connect the output, which rests at 0 V."""

    def shape(self, volts: float, width: float) -> None:
        """Set the height (V into an open circuit) and width (ns) of the next pulse."""

    def trigger(self) -> None:
        """Make one pulse; returns when it is over."""

    def off(self) -> None:
        """Disconnect the output."""

    def idle(self) -> None:
        """Switch the output off, whatever happened before."""


class SwitchMatrix(Protocol):
    """Relays between the instruments (rows) and the pins of the probe card (columns)."""

    def connect(self, crosspoints: Sequence[str]) -> None:
        """Close these crosspoints and no others, opening before closing; checked by asking which are closed."""

    def open_all(self) -> None:
        """Open every relay."""

    def idle(self) -> None:
        """Open every relay, whatever happened before."""
