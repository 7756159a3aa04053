"""IEEE 488.2 arbitrary blocks, and the checksum that every block of this dialect carries.

A definite-length block is `#`, one digit that says how many digits follow, the length in bytes, and the bytes; an
indefinite-length block is `#0`, the bytes and the end of the message. The last four bytes of a block's content are
the CRC-32 (polynomial of IEEE 802.3, as zlib computes it, least significant byte first) of all bytes before them.
"""

from __future__ import annotations

import struct
import zlib

from hwloop.scpi.codes import Code, ScpiError
from hwloop.scpi.limits import LIMITS


def seal(content: bytes) -> bytes:
    """Return content followed by its CRC-32."""
    return content + struct.pack("<I", zlib.crc32(content))


def unseal(sealed: bytes) -> bytes:
    """Return the content of a sealed block. Raises ScpiError -161 when it is too short or its CRC-32 does not fit."""
    content, crc = sealed[: -LIMITS.checksum], sealed[-LIMITS.checksum :]
    if len(crc) < LIMITS.checksum or struct.unpack("<I", crc)[0] != zlib.crc32(content):
        raise ScpiError(Code.INVALID_BLOCK, f"the CRC-32 of a block of {len(sealed)} bytes does not fit")
    return content


def definite(data: bytes) -> bytes:
    """Make a definite-length block of bytes as they are. Raises ValueError from 10^9 bytes on."""
    length = str(len(data))
    if len(length) > 9:
        raise ValueError(f"a definite-length block holds less than 10^9 bytes, not {length}")
    return f"#{len(length)}{length}".encode() + data


def sealed_block(content: bytes) -> bytes:
    """Make a definite-length block of the content and its CRC-32."""
    return definite(seal(content))


def read_definite(response: bytes) -> bytes:
    """Return the data of a response that is one definite-length block. Raises ScpiError -161 for anything else."""
    digits = response[1:2]
    if response[:1] != b"#" or not b"1" <= digits <= b"9":
        raise ScpiError(Code.INVALID_BLOCK, f"expected a block, got {response[:20]!r}")
    begin = 2 + int(digits)
    length = response[2:begin]
    if not length.isdigit() or len(response) != begin + int(length):
        raise ScpiError(Code.INVALID_BLOCK, f"a block of {len(response) - begin} bytes says that it has {length!r}")
    return response[begin:]
