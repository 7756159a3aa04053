"""Measurement files: HDF5, one group per experiment, columns of cells and of reads; docs/measurement-file.md.

The writer appends to a working file beside the measurement file and a commit puts a copy of it in place in one step
of the file system. What stands under the file's name is thus always whole: readers and `h5dump` may open it at any
moment, and a killed process costs what came after its last commit. Memory is bounded by one chunk of reads, so files
may be larger than memory. HDF5's single-writer mode would save the copy, but a killed writer leaves a flag in the file
that makes plain readers refuse it, and it cannot add a group to a file that is open.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import h5py

from hwloop.errors import BadInputError, first_line
from hwloop.files.experiment_writer import ExperimentWriter
from hwloop.files.hdf5 import FORMAT_VERSION, open_file, utc_now
from hwloop.files.measurement_layout import MEASUREMENT_FORMAT
from hwloop.files.measurements import Attributes, Cells, Experiment
from hwloop.files.output import OutputFile
from hwloop.files.safe_file import SafeFile, kept_at, rescued
from hwloop.files.seal import copy_without_seal, seal

Mode = Literal["x", "a", "w"]
"""How a file is opened: 'x' makes a new one, 'a' goes on with one or makes it, 'w' replaces one or makes it."""


class MeasurementWriter:
    """Appends experiments and their reads to a measurement file; see the module's text.

        with MeasurementWriter("meas.h5", "a") as writer:
            drift = writer.begin(Experiment.DRIFT, cells, {"backend": "sim:hermes-core?seed=3"})
            drift.append(reads)
            writer.commit()                  # from here on readers see it
            drift.end("complete")
            writer.finish()

    Without `finish`, what came after the last commit is lost.
    """

    def __init__(self, path: str | Path, mode: Mode = "x") -> None:
        """Start a new file, or go on with an existing one.

        Raises
        ------
        BadInputError
            When the file exists and the mode is 'x', when it is no measurement file or has parts in other files and the
            mode is 'a', when it cannot be written, and when somebody else is writing it.
        """
        keep = mode == "a" and Path(path).exists()
        self._output = OutputFile.going_on(path) if keep else OutputFile(path, force=mode == "w")
        real = Path(os.path.realpath(path))
        self._working = real.with_name(f".{real.name}.writing")
        self._fresh = self._working.with_suffix(".commit")
        self.committed = False
        self._has_gaps = self._rescued = False
        try:
            if keep:
                open_file(self.path, MEASUREMENT_FORMAT).close()
            with _writable(self.path):
                self.file = self._open(keep)
        except BaseException:
            self._output.close()
            raise

    @property
    def path(self) -> Path:
        """Where the file lies; another place than was asked for once somebody else has put a file there."""
        return self._output.path

    def _open(self, keep: bool) -> h5py.File:
        for left in (self._working, self._fresh):  # a killed process may have left them; a link is not followed
            left.unlink(missing_ok=True)
        if keep:
            copy_without_seal(self.path, self._working)
        self._disk = SafeFile(self._working, keep=keep)
        file = h5py.File(self._disk, "r+" if keep else "w", locking=False)  # the lock is our own
        if not keep:
            file.attrs["format"] = MEASUREMENT_FORMAT
            file.attrs["format_version"] = FORMAT_VERSION
            file.attrs["created"] = utc_now()
            file.attrs["hwloop_version"] = importlib.metadata.version("hwloop")
        return file

    def begin(self, experiment: Experiment, cells: Cells, attributes: Attributes | None = None) -> ExperimentWriter:
        """Begin a new experiment after those that are there; its status is 'running' until it ends."""
        group = self.file.create_group(f"{len(self.file):04d}_{experiment.value}")
        return ExperimentWriter.begin(group, experiment, cells, attributes or {}, self._note_gap)

    def experiments(self) -> list[ExperimentWriter]:
        """Return those that are there already, to go on with one; oldest first."""
        return [ExperimentWriter(group, self._note_gap) for group in self.file.values()]

    def commit(self) -> None:
        """Replace what stands under the file's name by what was written so far."""
        with self._rescuing():
            self.file.flush()
            self._check()
            shutil.copyfile(self._working, self._fresh)
            seal(self._fresh)
            self._put_in_place(self._fresh)

    def finish(self) -> None:
        """Put everything in place and close; room that deleted chip states left in the file is given back first."""
        with self._rescuing():
            final = self._packed() if self._has_gaps else self._working
            self.file.close()
            self._check()
            seal(final)
            self._put_in_place(final)
        self.close()

    def close(self) -> None:
        """Release the working file; what was not committed is lost."""
        self.file.close()
        self._disk.close()
        self._clean()

    def _check(self) -> None:
        """Raise the OSError of a disk that did not take everything."""
        self._disk.sync()
        if self._disk.error is not None:
            raise self._disk.error

    @contextmanager
    def _rescuing(self) -> Iterator[None]:
        """Keep what was written at another place where there is no room for it here, and say so: BadInputError."""
        try:
            with _writable(self.path):
                yield
        except BadInputError as error:
            if not self._rescued:
                if self.file:
                    self.file.flush()
                self._rescued = True
                error.add_note(kept_at(self.path, rescued(self.path, self._copy_to)))
            raise

    def _copy_to(self, place: Path) -> None:
        """Write what was written to a new file, sealed. Raises OSError."""
        self._disk.copy_to(place)
        seal(place)

    def _put_in_place(self, file: Path) -> None:
        """Give a file the name and, where there was one before, the permissions of the measurement file."""
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
        if self.path.exists():
            shutil.copymode(self.path, file)
        self._output.place(file)
        self.committed = True

    def _clean(self) -> None:
        self._working.unlink(missing_ok=True)
        self._fresh.unlink(missing_ok=True)
        self._output.close()

    def _note_gap(self) -> None:
        """Note that something was deleted, so that `finish` gives its room back."""
        self._has_gaps = True

    def _packed(self) -> Path:
        """Make a copy without the room of what was deleted, which HDF5 does not give back by itself."""
        disk = SafeFile(self._fresh, keep=False)
        try:
            with h5py.File(disk, "w") as target:
                target.attrs.update(self.file.attrs)
                for name in self.file:
                    self.file.copy(name, target)
            if disk.error is not None:
                raise disk.error
        finally:
            disk.close()
        return self._fresh

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses, such as a full disk, into a BadInputError."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise BadInputError(f"{path} cannot be written ({reason}); give another place") from None
