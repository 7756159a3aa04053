"""What a file says of how it was made, as a command line."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path, PurePath

import h5py

from hwloop.errors import BadInputError
from hwloop.files import hdf5

PROGRAMS = (("hwloop",), ("hwloop", "__main__.py"))
"""How the first word of a stored command line ends where it was the command."""


def words_of_file(path: Path) -> tuple[str, ...]:
    """Return the command line that made a file, without the program's name.

    Raises
    ------
    BadInputError
        For a file that does not tell.
    """
    with hdf5.open_any(path) as file:
        for place in _places(file):
            words = shlex.split(str(place.attrs.get("command_line", "")))
            parts = PurePath(words[0]).parts if words else ()
            if parts[-1:] in PROGRAMS or parts[-2:] in PROGRAMS:
                return tuple(words[1:])
        kind = str(file.attrs.get("format", ""))
    if kind == hdf5.RUN_FORMAT:
        return _of_run(path)
    raise BadInputError("the file does not say which command made it; compose a new one")


def _places(file: h5py.File) -> Iterator[h5py.Group]:
    """List where a command line may be stored."""
    yield file
    for name in ("provenance", "run/provenance"):
        if isinstance(file.get(name), h5py.Group):
            yield file[name]
    for name in list(file)[:50]:
        for inner in ("provenance", "run_0/provenance"):
            found = file[name].get(inner) if isinstance(file.get(name), h5py.Group) else None
            if isinstance(found, h5py.Group):
                yield found


def _of_run(path: Path) -> tuple[str, ...]:
    """Make the command line of a run that Python has made."""
    from hwloop.files.run_reader import read_run

    told = read_run(path).provenance
    settings = [word for name, value in told.settings.items() for word in ("--set", f"{name}={value}")]
    mapping = told.mapping
    return (
        "program", told.weights, "--backend", told.backend, "--method", told.method, "--scale", mapping.scale,
        *(("--split", mapping.split) if mapping.split else ()), "--clip", mapping.clip, "--seed", str(told.seed),
        *settings,
    )  # fmt: skip
