"""Goes on with a run that workers were at: the parts that are done stay as they are, the others are done."""

from __future__ import annotations

from contextlib import ExitStack, closing

from hwloop.chip.backend import Backend
from hwloop.chip.registry import connect_recorded, is_harmless, same_chip
from hwloop.errors import BadInputError
from hwloop.files import hdf5
from hwloop.files.resume_folder import ResumeFolder, listed
from hwloop.fleet.chips import Fleet, FleetMember
from hwloop.fleet.team import Team
from hwloop.jobs.parallel import Plan, finish_parts
from hwloop.jobs.parallel_kept import KeptParts
from hwloop.jobs.progress import Progress, reporting
from hwloop.jobs.run import Run
from hwloop.jobs.task import Task


def program_parts_again(
    folder: ResumeFolder, chip: Backend | None = None, team: Team | None = None, progress: Progress = False
) -> Run:
    """Go on with the parts of a run that are not done; see `hwloop.resume`.

    Raises
    ------
    BadInputError
        For another chip or fleet than that of the run, and where it must be named.
    """
    task, told, team = Task.from_file(folder), folder.job(), team or Team()
    chips = [str(uri) for uri in listed(told.get("fleet", []))]
    with ExitStack() as stack:
        report = stack.enter_context(reporting(progress, f"{task.method.name:>9}"))
        executor = stack.enter_context(closing(team.executor()))
        if chips:
            plan = Plan.of_fleet(task, _fleet(folder, chips, team), executor)
        else:
            if chip is not None and not same_chip(str(told.get("chip")), chip.uri):
                raise BadInputError(f"{folder.out} was begun on {told.get('chip')}, not on {chip.uri}; name that chip")
            opened = chip or stack.enter_context(connect_recorded(str(told.get("chip")), folder.path))
            if (state := folder.state(0)) is not None:
                opened.import_state(state)
            plan = Plan.of_cores(task, opened)
        file = stack.enter_context(hdf5.WholeFileWriter(folder.out, hdf5.RUN_FORMAT, force=True))
        return finish_parts(plan, KeptParts(folder), executor, file, report)


def _fleet(folder: ResumeFolder, chips: list[str], team: Team) -> Fleet:
    """Return the fleet of the run: as named, or simulated presets as on file. Raises BadInputError for another one."""
    if team.fleet is not None:
        if [member.backend for member in team.fleet.members] != chips:
            raise BadInputError(f"{team.fleet.name} lists other chips than the run was begun on: {', '.join(chips)}")
        return team.fleet
    if strange := [uri for uri in chips if not is_harmless(uri)]:
        raise BadInputError(
            f"{folder.path} names the chip {strange[0]!r}; from a file alone only simulated presets are opened: if you "
            "trust it, name the fleet with --fleet FLEET.toml"
        )
    return Fleet(f"{folder.path}", tuple(FleetMember(uri) for uri in chips))
