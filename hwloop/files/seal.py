"""The seal of a finished file: a line at its end with the checksum of all bytes before it.

HDF5 believes what a file says of itself: one changed bit can make it hang, or take the process with it. So the checksum
is looked at before HDF5 opens a file. A reader of HDF5 passes over what lies behind its end, and a program that changes
a file makes its seal wrong, or removes it. A file without a seal is an older one, one that is still being written or
whose writer was killed, or a stranger's.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from pathlib import Path
from typing import IO

from hwloop.errors import BadInputError

BEGIN, END = b"\n# hwloop seal sha256 ", b" end of seal\n"
_SEAL = re.compile(re.escape(BEGIN) + rb"([0-9a-f]{64}) ([0-9]{20})" + re.escape(END))
_CUT = tuple(BEGIN[:size] for size in range(3, len(BEGIN)))  # ends of a file that was cut off within its seal
SEAL_SIZE = len(BEGIN) + 64 + 1 + 20 + len(END)
"""Bytes of a seal."""


def sealed(content: bytes) -> bytes:
    """Return the content of a file with its seal."""
    return content + _seal(hashlib.sha256(content).hexdigest(), len(content))


def seal(path: str | Path) -> None:
    """Seal a finished file, which has no seal yet. Raises OSError when it cannot be written."""
    with open(path, "rb") as stream:
        digest, size = hashlib.file_digest(stream, "sha256").hexdigest(), stream.tell()
    with open(path, "ab") as stream:
        stream.write(_seal(digest, size))


def check(path: str | Path) -> bool:
    """Tell whether a file has a seal.

    Raises
    ------
    BadInputError
        For a file whose seal does not fit: it was changed, damaged or cut off after it was written.
    OSError
        When it cannot be read.
    """
    with open(path, "rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - 2 * SEAL_SIZE))
        tail = stream.read()
        found = _SEAL.fullmatch(tail[-SEAL_SIZE:])
        if found is None and BEGIN not in tail and not tail.endswith((END, *_CUT)):
            return False
        fits = found is not None and int(found[2]) == size - SEAL_SIZE
        if found is None or not fits or _digest(stream, size - SEAL_SIZE) != found[1].decode():
            raise BadInputError(
                f"{path} was changed or damaged since it was written (its checksum does not fit); take a copy of it, "
                "or make it anew"
            )
    return True


def copy_without_seal(source: Path, target: Path) -> None:
    """Copy a file that `check` has passed, to be gone on with. Raises OSError when that fails."""
    is_sealed = check(source)
    shutil.copyfile(source, target)
    if is_sealed:
        os.truncate(target, target.stat().st_size - SEAL_SIZE)


def _seal(digest: str, size: int) -> bytes:
    return BEGIN + digest.encode() + f" {size:020d}".encode() + END


def _digest(stream: IO[bytes], size: int) -> str:
    """Return the checksum of the first `size` bytes."""
    digest, piece = hashlib.sha256(), 1 << 20
    stream.seek(0)
    while size > 0 and (data := stream.read(min(piece, size))):
        digest.update(data)
        size -= len(data)
    return digest.hexdigest()
