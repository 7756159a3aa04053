"""The status model of IEEE 488.2 and SCPI-99: error queue, standard event register, status byte."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from hwloop.scpi.codes import NO_ERROR, QUEUE_OVERFLOW, ScpiError

QUEUE_LENGTH = 32

OPERATION_COMPLETE, QUERY_ERROR, DEVICE_ERROR, EXECUTION_ERROR, COMMAND_ERROR, POWER_ON = (
    0x01,
    0x04,
    0x08,
    0x10,
    0x20,
    0x80,
)
"""Bits of the standard event register."""
ERROR_AVAILABLE, QUESTIONABLE, MESSAGE_AVAILABLE, EVENT_SUMMARY, MASTER_SUMMARY, OPERATION = (
    0x04,
    0x08,
    0x10,
    0x20,
    0x40,
    0x80,
)
"""Bits of the status byte."""


class ErrorQueue:
    """First in, first out; the last place of a full queue says that errors were lost."""

    def __init__(self) -> None:
        """Empty."""
        self._entries: deque[ScpiError] = deque()

    def __len__(self) -> int:
        return len(self._entries)

    def push(self, error: ScpiError) -> None:
        """Add an error, or mark the overflow."""
        if len(self._entries) < QUEUE_LENGTH:
            self._entries.append(error)
        else:
            self._entries[-1] = ScpiError(QUEUE_OVERFLOW)

    def pop(self) -> ScpiError:
        """Oldest error, removed; code 0 when there is none."""
        return self._entries.popleft() if self._entries else ScpiError(NO_ERROR)

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
        """Events, cleared by reading them."""
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
    standard: EventRegister = field(default_factory=lambda: EventRegister(event=POWER_ON))
    operation: EventRegister = field(default_factory=EventRegister)
    questionable: EventRegister = field(default_factory=EventRegister)
    service_enable: int = 0
    recorded: int = 0
    """Errors since power-on, those that found the queue full included."""

    def record(self, error: ScpiError) -> None:
        """Queue an error and set the event bit of its class."""
        self.recorded += 1
        self.errors.push(error)
        for floor, bit in ((-400, QUERY_ERROR), (-300, DEVICE_ERROR), (-200, EXECUTION_ERROR), (-100, COMMAND_ERROR)):
            if error.code <= floor:
                self.standard.event |= bit
                return

    def byte(self, message_available: bool) -> int:
        """The status byte, as *STB? answers it."""
        value = ERROR_AVAILABLE if len(self.errors) else 0
        value |= QUESTIONABLE if self.questionable.summary else 0
        value |= MESSAGE_AVAILABLE if message_available else 0
        value |= EVENT_SUMMARY if self.standard.summary else 0
        value |= OPERATION if self.operation.summary else 0
        return value | (MASTER_SUMMARY if value & self.service_enable else 0)

    def clear(self) -> None:
        """*CLS: empty the queue and all event registers; enables stay."""
        self.errors.clear()
        for register in (self.standard, self.operation, self.questionable):
            register.event = 0
