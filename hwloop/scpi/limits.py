"""What the dialect limits: lengths that driver, instrument and parser agree on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DialectLimits:
    """Lengths in program messages, responses and queues, from IEEE 488.2 and SCPI-99 where they name one."""

    mnemonic: int = 12
    """Characters of the longest mnemonic (IEEE 488.2, 7.6.1.4.1)."""
    error_text: int = 255
    """Characters of an error text (SCPI-99, volume 2, 21.8)."""
    error_queue: int = 32
    """Entries of the error queue."""
    integer: int = 20
    """Characters of the longest integer that is looked at."""
    nondecimal: int = 64
    """Digits of the longest number in base 16, 8 or 2 that is looked at."""
    checksum: int = 4
    """Bytes of the CRC-32 at the end of every block."""
    shown: int = 96
    """Bytes of a message that a wire log shows."""


LIMITS = DialectLimits()
"""The limits of every instrument and driver."""
