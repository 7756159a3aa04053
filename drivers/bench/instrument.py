"""What the drivers of a bench share: who is expected to answer, and how numbers are written."""

from __future__ import annotations

import re
from typing import ClassVar

from hwloop.drivers.bench.wire import ErrorQueue, Wire
from hwloop.errors import BadInputError, LinkError


def text(value: float) -> str:
    """Write a number as instruments read it, nine digits."""
    return f"{value:.9g}"


class Instrument:
    """One instrument that has answered as the model its driver is for."""

    NAME: ClassVar[str]
    """For messages: maker and model."""
    MAKER: ClassVar[str]
    """What the first field of *IDN? begins with, as a regular expression."""
    MODEL: ClassVar[str]
    """The whole second field of *IDN?, as a regular expression."""
    ERRORS: ClassVar[ErrorQueue]
    CHANNELS: ClassVar[tuple[str, ...]] = ("1",)

    def __init__(self, wire: Wire, channel: str) -> None:
        """Check who answers. Raises LinkError for another instrument; nothing but *IDN? was sent to it."""
        if channel not in self.CHANNELS:
            raise BadInputError(f"{self.NAME} has no channel '{channel}'; it has: {', '.join(self.CHANNELS)}")
        self._wire, self._channel = wire, channel
        identity = wire.identify()
        if not re.match(self.MAKER, identity.maker, re.I) or not re.fullmatch(self.MODEL, identity.model, re.I):
            raise LinkError(
                f"{wire.name} is '{identity.model}' by '{identity.maker}', not a {self.NAME}; check the bench file"
            )
        wire.forget_errors()
