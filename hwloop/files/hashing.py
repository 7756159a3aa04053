"""Fingerprints of files."""

from __future__ import annotations

import hashlib
from pathlib import Path


def fingerprint(path: str | Path) -> str:
    """Return the SHA-256 of a file, as hexadecimal text."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
