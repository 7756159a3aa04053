"""The status model of IEEE 488.2 and SCPI-99: error queue, standard event register, status byte."""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass, field

from hwloop.scpi.codes import Code, ScpiError
from hwloop.scpi.limits import LIMITS


class Event(enum.IntFlag):
    """Bits of the standard event register (IEEE 488.2, 11.5.1)."""

    OPERATION_COMPLETE = 0x01
    QUERY_ERROR = 0x04
    DEVICE_ERROR = 0x08
    EXECUTION_ERROR = 0x10
    COMMAND_ERROR = 0x20
    POWER_ON = 0x80


class StatusBit(enum.IntFlag):
    """Bits of the status byte (IEEE 488.2, 11.2, and SCPI-99, volume 1, 9)."""

    ERROR_AVAILABLE = 0x04
    QUESTIONABLE = 0x08
    MESSAGE_AVAILABLE = 0x10
    EVENT_SUMMARY = 0x20
    MASTER_SUMMARY = 0x40
    OPERATION = 0x80


EVENT_OF_CODES = {
    -400: Event.QUERY_ERROR,
    -300: Event.DEVICE_ERROR,
    -200: Event.EXECUTION_ERROR,
    -100: Event.COMMAND_ERROR,
}
"""Event that an error sets, by the highest code of its class, the lowest class first."""


class ErrorQueue:
    """First in, first out; the last place of a full queue says that errors were lost."""

    def __init__(self) -> None:
        """Start empty."""
        self._entries: deque[ScpiError] = deque()

    def __len__(self) -> int:
        return len(self._entries)

    def push(self, error: ScpiError) -> None:
        """Add an error, or mark the overflow."""
        if len(self._entries) < LIMITS.error_queue:
            self._entries.append(error)
        else:
            self._entries[-1] = ScpiError(Code.QUEUE_OVERFLOW)

    def pop(self) -> ScpiError:
        """Remove the oldest error and return it; code 0 when there is none."""
        return self._entries.popleft() if self._entries else ScpiError(Code.NO_ERROR)

    def clear(self) -> None:
        """Forget all errors."""
        self._entries.clear()


@dataclass
class EventRegister:
    """A condition, the events since it was last read, and which of them count in the summary."""

    condition: int = 0
    event: int = 0
    enable: int = 0

    def take(self) -> int:
        """Return the events, cleared by reading them."""
        event, self.event = self.event, 0
        return event

    @property
    def summary(self) -> bool:
        """Whether an enabled event has happened."""
        return bool(self.event & self.enable)


@dataclass
class Status:
    """All registers of one instrument."""

    errors: ErrorQueue = field(default_factory=ErrorQueue)
    standard: EventRegister = field(default_factory=lambda: EventRegister(event=Event.POWER_ON))
    operation: EventRegister = field(default_factory=EventRegister)
    questionable: EventRegister = field(default_factory=EventRegister)
    service_enable: int = 0
    recorded: int = 0
    """Errors since power-on, those that found the queue full included."""

    def record(self, error: ScpiError) -> None:
        """Queue an error and set the event bit of its class."""
        self.recorded += 1
        self.errors.push(error)
        for highest, bit in EVENT_OF_CODES.items():
            if error.code <= highest:
                self.standard.event |= bit
                return

    def byte(self, message_available: bool) -> int:
        """Return the status byte, as *STB? answers it."""
        value = StatusBit.ERROR_AVAILABLE if len(self.errors) else 0
        value |= StatusBit.QUESTIONABLE if self.questionable.summary else 0
        value |= StatusBit.MESSAGE_AVAILABLE if message_available else 0
        value |= StatusBit.EVENT_SUMMARY if self.standard.summary else 0
        value |= StatusBit.OPERATION if self.operation.summary else 0
        return value | (StatusBit.MASTER_SUMMARY if value & self.service_enable else 0)

    def clear(self) -> None:
        """Empty the queue as *CLS does , and all event registers; enables stay."""
        self.errors.clear()
        for register in (self.standard, self.operation, self.questionable):
            register.event = 0
