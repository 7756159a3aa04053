"""The folder beside an output file that holds what a job needs to go on after it was stopped or killed.

`run.h5.resume` holds `job.json` (what was asked for), `journal` (every answer of the chip), `state.N` (a simulated chip
as it was when the journal had N bytes), and arrays that the job was given. It goes when the job is complete.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from hwloop.custody.lock import file_in_use
from hwloop.errors import BadInputError
from hwloop.files.hashing import fingerprint
from hwloop.files.hdf5 import FORMAT_VERSION
from hwloop.files.journal import Entry, Records, packed
from hwloop.files.reading import whole
from hwloop.typing import AnyArray, Json

RESUME_FORMAT = "hwloop-resume"
SPARE = "spare"
"""Name of a file in the folder that only holds room on the disk."""
_STATE = re.compile(r"state\.(\d+)")
_OWN = re.compile(r"job\.json|journal|state\.\d+|part\.\d+|spare|[a-z]+\.\d+\.npy|.*\.new")


def folder_of(out: str | Path) -> Path:
    """Return where the job that writes `out` keeps what it needs to go on."""
    out = Path(out)
    return out.with_name(out.name + ".resume")


def onward(out: str | Path, otherwise: str) -> str:
    """Say how to go on with the job of an output file, or what to do `otherwise`, where nothing is left of it."""
    return f"hwloop resume {out} goes on with it" if ResumeFolder(out).exists else otherwise


class ResumeFolder:
    """What a job needs to go on, on disk; whoever has the lock of the output file may write it."""

    def __init__(self, out: str | Path) -> None:
        """Name the folder that belongs to an output file; nothing is made or read yet."""
        self.out, self.path = Path(out), folder_of(out)
        self.journal = self.path / "journal"

    @property
    def exists(self) -> bool:
        """Whether there is something to go on with."""
        return (self.path / "job.json").is_file()

    def make(
        self,
        job: Mapping[str, Json],
        arrays: Mapping[str, Iterable[AnyArray]],
        state: Iterable[tuple[str, AnyArray]] | None = None,
    ) -> None:
        """Begin a job: write what was asked for, in place of what an earlier job has left.

        Parameters
        ----------
        job
            Plain values by name.
        arrays
            Lists of arrays by name, such as 'weights', each in a file of its own.
        state
            Of a simulated chip before anything is done; None for a job without a chip.

        Raises
        ------
        OSError
            When it cannot be written.
        """
        self.path.mkdir(exist_ok=True)
        self._clear()
        for name, several in arrays.items():
            for number, array in enumerate(several):
                np.save(self.path / f"{name}.{number:04d}.npy", array, allow_pickle=False)
        if state is not None:
            self.keep_state(0, state)
        head: dict[str, Json] = {"format": RESUME_FORMAT, "format_version": FORMAT_VERSION}
        head["replaces"] = _stamp(self.out)
        self._replace("job.json", [json.dumps({**head, **job}, indent=1).encode()])

    @property
    def in_use(self) -> bool:
        """Whether a process is writing the output file now, and with it this folder."""
        return file_in_use(self.out)

    def job(self) -> dict[str, Json]:
        """Read what was asked for. Raises BadInputError for a folder that is not whole."""
        try:
            told: dict[str, Json] = json.loads((self.path / "job.json").read_text(encoding="utf-8"))
            if told["format"] != RESUME_FORMAT or told["format_version"] not in range(1, FORMAT_VERSION + 1):
                raise ValueError("of another format or a newer version")
        except FileNotFoundError:
            raise BadInputError(
                f"{self.path} is gone: another process has just ended the job, or begun it anew; look at {self.out}"
            ) from None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise BadInputError(f"{self.path}/job.json cannot be read ({error}); begin the job anew") from None
        return told

    def arrays(self, name: str) -> list[AnyArray]:
        """Return the arrays of one name, mapped into memory. Raises BadInputError for one that cannot be read."""
        found = sorted(self.path.glob(f"{name}.[0-9][0-9][0-9][0-9].npy"))
        try:
            return [np.load(path, mmap_mode="r", allow_pickle=False) for path in found]
        except (OSError, ValueError) as error:
            raise BadInputError(f"{self.path}: {name} cannot be read ({error}); begin the job anew") from None

    def replaces(self, told: Mapping[str, Json]) -> bool:
        """Tell whether the output is still the file that the job was allowed to replace, as `job` tells it."""
        return bool(told.get("replaces")) and _stamp(self.out) == told["replaces"]

    def unchanged(self, key: str) -> str | None:
        """Return the path of a file of the job, if it has one. Raises BadInputError unless it is there, as it was."""
        with whole(self.path, "job folder", "begin the job anew"):
            files = plain(self.job().get("files", {}))
            if key not in files:
                return None
            path, sha256 = map(str, listed(files[key]))
        if not Path(path).is_file():
            raise BadInputError(f"{self.out} cannot be gone on with: the {key} {path} is gone; put it back")
        if fingerprint(path) != sha256:
            raise BadInputError(f"{self.out} cannot be gone on with: the {key} {path} has changed; begin the job anew")
        return path

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Tell of what the disk refuses in the body in one line."""
        try:
            yield
        except OSError as error:
            raise self.unwritable(error) from None

    def unwritable(self, error: OSError) -> BadInputError:
        """Make the error for a disk that takes no more, or a folder that is gone."""
        if not self.path.is_dir():
            return BadInputError(
                f"{self.path} was removed while the job ran, so it cannot be gone on with; begin it anew"
            )
        reason = error.strerror or error  # that of numpy has no number
        if not self.exists:  # nothing was begun yet
            self.remove()
            return BadInputError(f"{self.out} cannot be written ({reason}); give another place")
        return BadInputError(
            f"{self.path} cannot be written ({reason}); make room, then hwloop resume {self.out} goes on"
        )

    # ---- states of a simulated chip --------------------------------------------------------------------------

    def keep_state(self, at: int, state: Iterable[tuple[str, AnyArray]], *, pinned: Iterable[int] = ()) -> None:
        """Write a state that belongs to the first `at` bytes of the journal; earlier ones go, but the pinned.

        The earlier ones are there until the new one is whole. Raises OSError.
        """

        def parts() -> Iterator[bytes | memoryview]:
            count = 0
            for name, array in state:
                yield from packed(Entry({"name": name}, (array,)))
                count += 1
            yield from packed(Entry({"end": count}))

        self._replace(f"state.{at}", parts())
        for other in self.states():
            if other != at and other not in pinned:
                (self.path / f"state.{other}").unlink()

    def states(self) -> list[int]:
        """List the bytes of the journal to which there are states, the latest first; none where the folder is gone."""
        try:
            found = [_STATE.fullmatch(path.name) for path in self.path.iterdir()]
        except FileNotFoundError:
            return []
        return sorted((int(match[1]) for match in found if match), reverse=True)

    def state(self, at: int) -> dict[str, AnyArray] | None:
        """Read a state; None where it is not whole."""
        try:
            entries = list(Records(self.path / f"state.{at}"))
        except BadInputError:
            return None
        if not entries or entries[-1].told.get("end") != len(entries) - 1:
            return None
        return {str(entry.told["name"]): np.array(entry.arrays[0]) for entry in entries[:-1]}

    def keep_entry(self, name: str, entry: Entry) -> None:
        """Write a record in a file of its own, in one step. Raises OSError."""
        self._replace(name, packed(entry))

    def entry(self, name: str) -> Entry | None:
        """Read a record that has a file of its own; None where there is none, or it is not whole."""
        try:
            return Records(self.path / name).next()
        except BadInputError:
            return None

    # ---- the end ---------------------------------------------------------------------------------------------

    def remove(self) -> None:
        """Remove the folder: the job is complete. What is not of hwloop stays."""
        if self.path.is_dir():
            self._clear()
            with contextlib.suppress(OSError):
                self.path.rmdir()

    def _clear(self) -> None:
        (self.path / "job.json").unlink(missing_ok=True)  # first: what is left without it is no job
        for path in self.path.iterdir():
            if _OWN.fullmatch(path.name) and not path.is_dir():
                path.unlink()

    def _replace(self, name: str, parts: Iterable[bytes | memoryview]) -> None:
        """Write a file beside its place and put it there in one step."""
        fresh = self.path / f"{name}.new"
        try:
            with fresh.open("wb") as stream:
                for part in parts:
                    stream.write(part)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(fresh, self.path / name)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise


def _stamp(path: Path) -> str:
    """Return what tells a file from one that is written later under its name; empty where there is none."""
    try:
        stat = path.stat()
    except OSError:
        return ""
    return f"{stat.st_size} bytes, {stat.st_mtime_ns} ns"


def plain(value: Json) -> Mapping[str, Json]:
    """Return an object of a JSON file. Raises TypeError for anything else."""
    if not isinstance(value, Mapping):
        raise TypeError(f"expected an object, not {value!r:.40}")
    return value


def listed(value: Json) -> Sequence[Json]:
    """Return a list of a JSON file. Raises TypeError for anything else."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise TypeError(f"expected a list, not {value!r:.40}")
    return value
