"""`hwloop program`."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from hwloop.cli.common import (
    GOAL_MISSED,
    command,
    file_option,
    given,
    json_option,
    leave,
    pairs,
    print_json,
    watched,
)
from hwloop.cli.options import METHOD_NAMES, TaskOptions, method_settings, settings_option
from hwloop.cli.screen import show_page
from hwloop.errors import BadInputError
from hwloop.units import finite

if TYPE_CHECKING:
    from hwloop.calibration.programming.base import Method
    from hwloop.jobs.inputs import Weights
    from hwloop.jobs.progress import Report
    from hwloop.jobs.run import Run


def workers_option() -> click.Option:
    """Make the option of who works."""
    what = "Processes that work on cores, or on chips of a fleet."
    return click.Option(["--workers"], type=click.IntRange(1), help=what)


def scheduler_option() -> click.Option:
    """Make the option of the cluster that works on a fleet."""
    return click.Option(["--scheduler"], metavar="URL", help="Let a Dask cluster work on the fleet: tcp://host:8786.")


@dataclass(frozen=True)
class ProgramOptions(TaskOptions):
    """Options of `hwloop program`."""

    backend: str = given(
        click.Option(["--backend"], default="", help="Chip to program, such as sim:hermes-core?seed=1.")
    )
    method: str = given(click.Option(["--method"], default="gdp", show_default=True, help=f"One of {METHOD_NAMES}."))
    settings: tuple[str, ...] = given(settings_option("method", "methods", method_settings))
    chip_seconds: float | None = given(
        click.Option(["--chip-seconds"], type=float, help="Seconds of chip time to rest in all while programming.")
    )
    workers: int | None = given(workers_option())
    fleet: str | None = given(file_option("--fleet", "Spread over the chips that this file lists (TOML)."))
    scheduler: str | None = given(scheduler_option())
    out: str = given(file_option("--out", "Run file to write (HDF5).", required=True))
    dry_run: bool = given(
        click.Option(["--dry-run"], is_flag=True, help="Say what it takes at most, and send the chip nothing.")
    )
    as_json: bool = given(json_option())

    @property
    def in_parts(self) -> bool:
        """Whether parts of the work are handed to workers."""
        return self.workers is not None or self.fleet is not None

    def check_chips(self) -> None:
        """Raise BadInputError unless it is clear which chips are meant, and who works on them."""
        if bool(self.backend) == (self.fleet is not None):
            raise BadInputError("name one chip with --backend, or several with --fleet FLEET.toml")
        if self.scheduler is not None and (self.fleet is None or self.workers is not None):
            raise BadInputError("--scheduler works on a --fleet, with the workers of its own cluster")
        if self.fleet is not None and self.chip_seconds is not None:
            raise BadInputError("--chip-seconds is for one chip; set the method's own settings (--set) for a fleet")


@command(ProgramOptions, "program")
def program(options: ProgramOptions) -> None:
    """Program the weight matrices in WEIGHTS onto a chip and measure the MVM error.

    WEIGHTS is a file of numpy, torch, safetensors, Keras or ONNX, whatever its name, or a folder or index of shards.
    All weight matrices of the network in it are programmed, cut into tiles that fit the chip's cores. Biases stay
    digital; look-up tables, buffers and what else is no weight is passed over with a note (docs/weights.md).

    \b
    Examples:
      hwloop program data/digits_mlp.safetensors \\
          --backend "sim:hermes-core?seed=1" --method gdp --out run.h5
      hwloop program data/digits_mlp.safetensors \\
          --tensor "fc[12].weight" --layout fc1.weight=outputs-first \\
          --backend "sim:hermes-core?seed=1" --out two.h5
      hwloop program data/digits_mlp.safetensors \\
          --backend "sim:hermes-64?seed=1" --workers 2 --out fast.h5
    """  # noqa: D301  click needs the backspace
    from hwloop.calibration.programming.registry import method_from
    from hwloop.jobs.compare import floor_of

    options.check_chips()

    method = method_from(options.method, pairs(options.settings))
    if options.plot:
        from hwloop.plot.style import check_figure_path

        check_figure_path(options.plot, options.out, force=options.force)
    if options.dry_run:
        _foretell(options, method)
        return
    with watched(f"{method.name:>9}") as report:
        done = _in_parts if options.in_parts else _on_one_chip
        run, weights = done(options, method, report)
    if options.plot:
        from hwloop.plot.runs import draw_runs

        draw_runs([[run.record]], options.plot, floor_of(run, weights, options.backend))
    finish(run, options.goal, as_json=options.as_json)


def _foretell(options: ProgramOptions, method: Method) -> None:
    """Say what a run takes at most."""
    import hwloop
    from hwloop.jobs.inputs import seconds
    from hwloop.jobs.program import Programming, Task

    if options.fleet is not None:
        raise BadInputError("--dry-run is for one chip; name it with --backend")
    age = None if options.age is None else seconds(options.age)
    with hwloop.connect(options.backend) as chip:
        task = Task(options.read_weights(chip.info), method, options.mapping, age, options.seed)
        needs = Programming(task.within(chip, options.chip_seconds), chip).needs
    if options.as_json:
        print_json(needs.to_json())
    else:
        click.echo(f"This takes {needs}.")


def finish(run: Run, goal: float | None, *, as_json: bool) -> None:
    """Show what came of a run, and leave with the exit code of a goal that was missed, or of a run that was stopped."""
    if as_json:
        print_json(run.to_json())
    else:
        from hwloop.pages import page_of

        show_page(page_of(run))
    missed = goal is not None and run.mvm_error > goal
    if missed:
        click.echo(f"goal missed: the MVM error {run.mvm_error:.4f} is above {goal:g}", err=True)
    if missed or finite(run.mvm_error) is None:
        leave(GOAL_MISSED)


def _on_one_chip(options: ProgramOptions, method: Method, report: Report) -> tuple[Run, Weights]:
    """Program as `hwloop.program` does."""
    import hwloop

    with hwloop.connect(options.backend) as chip:
        weights = options.read_weights(chip.info)
        run = hwloop.program(
            chip,
            weights,
            method,
            calibration=options.calibration,
            inputs=options.inputs,
            mapping=options.mapping,
            age=options.age,
            chip_seconds=options.chip_seconds,
            seed=options.seed,
            out=options.out,
            force=options.force,
            progress=report,
        )
    return run, weights


def _in_parts(options: ProgramOptions, method: Method, report: Report) -> tuple[Run, Weights]:
    """Program cores, or the chips of a fleet, with several workers."""
    import hwloop
    from hwloop.files.activations import activations_from
    from hwloop.fleet.team import Team
    from hwloop.jobs.inputs import calibration_from, seconds
    from hwloop.jobs.parallel import Plan, program_parts
    from hwloop.jobs.program import Task

    age, calibration = None if options.age is None else seconds(options.age), calibration_from(options.calibration)

    def asked(weights: Weights) -> Task:
        samples = activations_from(options.inputs, weights.matrices)
        return Task(weights, method, options.mapping, age, options.seed, calibration, samples)

    team = Team.of(options.fleet, options.workers, options.scheduler)
    assert team is not None
    with contextlib.closing(team.executor()) as executor:
        if team.fleet is not None:
            task = asked(options.read_weights())
            plan = Plan.of_fleet(task, team.fleet, executor)
            run = program_parts(plan, task, executor, options.out, force=options.force, report=report)
            return run, task.weights
        with hwloop.connect(options.backend) as chip:
            task = asked(options.read_weights(chip.info)).within(chip, options.chip_seconds)
            plan = Plan.of_cores(task, chip)
            run = program_parts(plan, task, executor, options.out, force=options.force, report=report)
            return run, task.weights
