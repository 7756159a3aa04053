"""Keeps a run on file while it proceeds: what was done to a chip is never lost, whatever ends the job."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import h5py

from hwloop.chip.counts import Counts
from hwloop.errors import BadInputError, NeedsNote
from hwloop.files import hdf5
from hwloop.files.resume_folder import SPARE, folder_of
from hwloop.files.run_writer import RunWriter, Snapshot
from hwloop.files.runs import RunRecord
from hwloop.files.space import check_space
from hwloop.jobs.needs import Needs

SoFar: TypeAlias = Callable[[], tuple[RunRecord, Counts]]
"""Gives a run as it is now, and what it has cost."""


class Recorder:
    """Writes one run into a group of a growing file, and the file to the disk as often as is cheap.

    Nothing is on disk before the first commit: what is refused before the first pulse leaves no file.
    """

    def __init__(
        self, file: hdf5.WholeFileWriter, group: h5py.Group, replaying: Callable[[], bool] = lambda: False
    ) -> None:
        """Write into `group` of `file`, which stays its opener's to close.

        replaying tells whether the run is only led to where an earlier process has left it: that is on the disk.
        """
        self._file, self._group, self._replaying = file, group, replaying
        self._writer: RunWriter | None = None
        self._ended = False
        # The states of a chip for each run of a comparison would be most of the file.
        self.keeps_state = group.file.attrs["format"] != hdf5.COMPARISON_FORMAT

    def name(self, asked: str) -> str:
        """Return what the file is called now, where `asked` was asked for: it moves aside for somebody else's."""
        return str(self._file.path) if self._file.moved else asked

    def make_sure(self, needs: Needs) -> None:
        """Say what a run takes, where that is much, and hold room for it. Raises BadInputError where there is none."""
        path, folder = self._file.path, folder_of(self._file.path)
        check_space(path, needs.file + needs.beside)
        if folder.is_dir():
            self._file.hold(folder / SPARE, needs.file)
        if needs.great and not self._replaying():
            warnings.warn(f"{path}: this will take {needs}", NeedsNote, stacklevel=2)

    def begin(self, record: RunRecord, chip: Snapshot) -> None:
        """Write what was asked for."""
        self._writer = RunWriter(self._group, record, chip)

    def step(self, tile: int, values: Mapping[str, float], so_far: SoFar | None = None) -> None:
        """Append a step of a tile; `so_far` gives what came of the run until now, for a process that is killed."""
        writer = self._begun()
        writer.step(tile, values)
        if not self._replaying() and self._file.due:
            self._file.commit(writer.write_steps if so_far is None else lambda: writer.outcome(*so_far()))

    def programmed(self, record: RunRecord) -> None:
        """Note the end of programming."""
        self._begun().programmed(record)

    def finish(self, record: RunRecord, cost: Counts, chip: Snapshot) -> None:
        """Write the outcome, and the file to the disk."""
        self._begun().outcome(record, cost)
        self._begun().finish(record, chip)
        self._ended = True
        self._file.commit_somewhere()

    def fail(self, record: RunRecord, cost: Counts, error: Exception) -> None:
        """Write all that was done until a failure, if anything may have reached the chip.

        Pulses are counted before they are sent: a device may have received fewer than the file says, never more.
        """
        if self._ended:  # complete but for its place on the disk
            return
        if not self._file.committed and not (self._writer is not None and cost.pulses):
            return
        if self._writer is not None:
            self._writer.outcome(record, cost)
            self._writer.fail(error)
        self._file.file.attrs["status"] = "failed"
        try:
            self._file.commit_somewhere()
        except BadInputError as unwritten:
            error.add_note("; ".join([str(unwritten), *unwritten.__notes__]))
            return
        error.add_note(f"what was done until then is in {self._file.path}; hwloop resume {self._file.path} goes on")

    def _begun(self) -> RunWriter:
        assert self._writer is not None
        return self._writer


@contextmanager
def growing_file(out: str | Path | None, kind: str, *, force: bool) -> Iterator[hdf5.WholeFileWriter | None]:
    """Open a new file of a format for a job that grows it, and close it at the end; None where no file is wanted."""
    if out is None:
        yield None
        return
    with hdf5.WholeFileWriter(out, kind, force=force) as file:
        yield file
