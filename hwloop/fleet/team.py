"""Who works on the parts of a job: processes of this computer, or a Dask cluster, and on the chips of which fleet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hwloop.errors import BadInputError
from hwloop.fleet.chips import Fleet
from hwloop.fleet.executors import Executor, InProcess, check_workers
from hwloop.fleet.processes import LocalProcesses


@dataclass(frozen=True)
class Team:
    """Who works, and on what.

    Parameters
    ----------
    workers
        Processes; None: this one alone, or those of the scheduler.
    fleet
        Chips that weights are spread over; None: the cores of one simulated chip.
    scheduler
        Address of a Dask scheduler, whose workers work on the fleet; empty for none.
    """

    workers: int | None = None
    fleet: Fleet | None = None
    scheduler: str = ""

    def __post_init__(self) -> None:
        if self.workers is not None:
            check_workers(self.workers)
        if self.scheduler and (self.fleet is None or self.workers is not None):
            raise BadInputError("--scheduler works on a --fleet, with the workers of its own cluster")

    @classmethod
    def of(cls, fleet: str | Path | None, workers: int | None, scheduler: str | None) -> Team | None:
        """Make one of a fleet's file and the rest; None where nothing is given."""
        if fleet is None and workers is None and scheduler is None:
            return None
        return cls(workers, None if fleet is None else Fleet.read(fleet), scheduler or "")

    def executor(self) -> Executor:
        """Return what carries out tasks; its user closes it."""
        if self.scheduler and self.fleet is not None:
            from hwloop.fleet.dask_executor import DaskExecutor

            return DaskExecutor(self.scheduler, [member.worker for member in self.fleet.members])
        return LocalProcesses(self.workers) if self.workers else InProcess()
