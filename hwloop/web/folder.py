"""The data folder: the only place from which pages read and to which they write."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from hwloop.errors import BadInputError, printable
from hwloop.web.settings import HIDDEN, SETTINGS

TAKEN = (
    ".npy", ".npz", ".safetensors", ".pt", ".pth", ".bin", ".keras", ".onnx", ".h5", ".hdf5", ".json", ".csv", ".tsv",
    ".txt",
)  # fmt: skip
"""Endings of files that may be sent: data. What makes hwloop import or connect (.py, .toml) is put there by hand."""


@dataclass(frozen=True)
class Entry:
    """A file of the data folder: its name there, its bytes, and when it was written."""

    name: str
    size: int
    written: float


@dataclass(frozen=True)
class DataFolder:
    """A folder, and names of files in it that lead nowhere else.

    Parameters
    ----------
    root
        The folder, which exists.
    """

    root: Path
    _real: str = field(init=False, default="")

    def __post_init__(self) -> None:
        object.__setattr__(self, "_real", os.path.realpath(self.root))

    @property
    def hidden(self) -> Path:
        """Where jobs and the log are kept."""
        return self.root / HIDDEN

    def path(self, name: str) -> Path:
        """Return the path of a file by its name in the folder, whether it exists or not.

        Raises
        ------
        BadInputError
            For a name that leads elsewhere, by itself or by a link, and for one that is hidden.
        """
        parts = PurePosixPath(name).parts
        odd = not parts or _bytes(name) > SETTINGS.path or name.startswith(("/", "~")) or "\\" in name or "\0" in name
        if odd or any(part.startswith(".") or _bytes(part) > SETTINGS.name for part in parts):
            raise BadInputError(f"'{printable(name[: SETTINGS.name])}' is no name of a file in the data folder")
        try:
            real = os.path.realpath(self.root / name)
        except (OSError, ValueError):
            raise BadInputError(f"'{printable(name)}' cannot be found") from None
        if os.path.commonpath([real, self._real]) != self._real or f"/{HIDDEN}/" in f"{real}/":
            raise BadInputError(f"'{printable(name)}' leads out of the data folder")
        return self.root / name

    def file(self, name: str) -> Path:
        """Return the path of a file that exists. Raises BadInputError for any other."""
        path = self.path(name)
        if not path.is_file():
            raise BadInputError(f"'{printable(name)}': there is no such file in the data folder")
        return path

    def has(self, name: str) -> bool:
        """Tell whether there is a file of this name."""
        try:
            return self.path(name).exists()
        except BadInputError:
            return False

    def files(self) -> list[Entry]:
        """List the files, the newest first; links that lead out and what is hidden are left out."""
        found = sorted(self._within(self.root, "", SETTINGS.depth), key=lambda one: -one.written)
        return found[: SETTINGS.files]

    def _within(self, folder: Path, before: str, depth: int) -> Iterator[Entry]:
        try:
            entries = list(os.scandir(folder))
        except OSError:
            return
        for entry in entries:
            name = f"{before}{entry.name}"
            if entry.name.startswith(".") or not _text(name):
                continue
            try:
                if entry.is_dir(follow_symlinks=False):
                    if depth > 0 and not entry.name.endswith(".resume"):
                        yield from self._within(Path(entry.path), f"{name}/", depth - 1)
                elif entry.is_file() and (not entry.is_symlink() or self.has(name)):
                    told = entry.stat()
                    yield Entry(name, told.st_size, told.st_mtime)
            except OSError:
                continue

    def fresh(self, stem: str, suffix: str) -> str:
        """Return a name that no file has, such as compare-3.h5."""
        stem = re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-") or "file"
        number = 1
        while os.path.lexists(self.root / f"{stem}-{number}{suffix}"):
            number += 1
        return f"{stem}-{number}{suffix}"

    def new(self, name: str) -> Path:
        """Return the path for a file that is sent. Raises BadInputError for a name that is taken, odd, or no data's."""
        name = re.split(r"[/\\]", name)[-1].strip()
        if not name.isprintable() or not name:
            raise BadInputError("a file's name is to be of letters, digits and signs that can be read")
        path = self.path(name)
        if path.suffix.lower() not in TAKEN:
            raise BadInputError(
                f"'{name}' is not taken from a browser: only data is ({', '.join(TAKEN)}); put it into the data folder "
                "by hand"
            )
        if os.path.lexists(path):
            raise BadInputError(f"'{name}' is there already; give another name")
        return path


def _text(name: str) -> bool:
    """Tell whether a name can be written as text; file systems take any bytes."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _bytes(name: str) -> int:
    """Count the bytes that a file system has for a name."""
    return len(name.encode("utf-8", "replace"))
