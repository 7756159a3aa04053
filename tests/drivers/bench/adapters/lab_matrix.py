"""A lab's own pymeasure class for its switch matrix, as a bench file names it."""

from __future__ import annotations

from typing import Any

from pymeasure.instruments import Instrument


class LabMatrix(Instrument):  # type: ignore[misc, unused-ignore]
    """A Keithley 707B, with the two commands that its lab needs."""

    def __init__(self, adapter: Any, name: str = "lab matrix", **kwargs: Any) -> None:
        super().__init__(adapter, name, includeSCPI=False, **kwargs)

    closed = Instrument.measurement(
        'print(channel.getclose("allslots"))', "Get the closed crosspoints.", cast=str, separator=None
    )

    def close_only(self, crosspoints: str) -> None:
        """Close these crosspoints and open all others."""
        self.write(f'channel.exclusiveclose("{crosspoints}")')
        self.ask("*OPC?")

    def open_everything(self) -> None:
        """Open every relay."""
        self.write('channel.open("allslots")')
        self.ask("*OPC?")


class NotAnInstrument:
    """Nothing of pymeasure's."""
