"""What the parts of a run have come to, on file.

A part is a function of how its chip began: one that was not whole when its run was killed is begun anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hwloop.chip.backend import Backend
from hwloop.chip.info import Capability
from hwloop.files.plain_data import Plain, entry_of, value_of
from hwloop.files.reading import DAMAGE
from hwloop.files.resume_folder import ResumeFolder
from hwloop.jobs.task import Task
from hwloop.typing import Json

JOB = "program in parts"
"""Name of the job in its folder."""


class KeptParts:
    """The parts of a run that are done; whoever has the lock of the run file may add to them."""

    def __init__(self, folder: ResumeFolder) -> None:
        """Go on with what is there. Raises BadInputError for a folder that is not whole."""
        self.folder, self.run = folder, str(folder.job().get("run", ""))

    @classmethod
    def begun(cls, out: str | Path, task: Task, chip: Backend, chips: Sequence[str] = ()) -> KeptParts:
        """Write what was asked for.

        Parameters
        ----------
        out, task
            The run file, and what to program.
        chip, chips
            A simulated chip whose cores are the parts; or the plan of a fleet, and the URIs of its chips.

        Raises
        ------
        BadInputError
            Where it cannot be written.
        """
        folder, job = ResumeFolder(out), task.on_file()
        told: dict[str, Json] = {**job.told, "job": JOB, "chip": chip.uri, "fleet": list(chips)}
        state = chip.state_parts() if Capability.STATE in chip.info.capabilities else None
        with folder.writing():
            folder.make(told, job.arrays, state)
        return cls(folder)

    @property
    def any(self) -> bool:
        """Whether a part is done."""
        return bool(list(self.folder.path.glob("part.[0-9]*")))

    def keep(self, number: int, done: Plain) -> None:
        """Keep what a part has come to, by the number of its first tile. Raises BadInputError where it cannot."""
        with self.folder.writing():
            self.folder.keep_entry(f"part.{number:04d}", entry_of(done))

    def done(self, number: int, classes: Sequence[type]) -> Plain:
        """Return what `keep` was given, of these classes; None where there is none, or it is not whole."""
        entry = self.folder.entry(f"part.{number:04d}")
        try:
            return None if entry is None else value_of(entry, classes)
        except DAMAGE:
            return None
