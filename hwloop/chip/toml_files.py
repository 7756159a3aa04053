"""Reads the TOML files that people write by hand: chips of a lab, of a fleet, instruments of a bench."""

from __future__ import annotations

import tomllib
from pathlib import Path

from hwloop.errors import BadInputError
from hwloop.typing import Json


def read_toml(path: Path) -> dict[str, Json]:
    """Read a TOML file of at most 1 MiB.

    Raises
    ------
    BadInputError
        For one that cannot be read, is larger, or is not TOML: one line that names the file.
    """
    largest = 2**20
    try:
        with path.open("rb") as stream:
            content = stream.read(largest + 1)
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {error.strerror or error}") from None
    if len(content) > largest:
        raise BadInputError(f"{path} is larger than 1 MiB, and so not a file that was written by hand")
    try:
        return tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path} is not TOML: {error}") from None
