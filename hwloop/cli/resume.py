"""`hwloop resume`."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from hwloop.cli import calibrate, compare, deploy, drift, fit, measure, program, retrain, search, train
from hwloop.cli.common import command, file_option, given, json_option, watched
from hwloop.cli.options import network_option
from hwloop.errors import BadInputError
from hwloop.units import finite

if TYPE_CHECKING:
    from hwloop.jobs.resume import Resumed


@dataclass(frozen=True)
class ResumeOptions:
    """Options of `hwloop resume`."""

    file: str = given(click.Argument(["file"], type=click.Path()))
    backend: str | None = given(
        click.Option(["--backend"], help="Chip of the job; needed for one that is no simulated preset.")
    )
    network: str | None = given(network_option(required=False))
    workers: int | None = given(program.workers_option())
    fleet: str | None = given(file_option("--fleet", "Fleet of the job (TOML); needed for one of real chips."))
    scheduler: str | None = given(program.scheduler_option())
    plot: str | None = given(
        file_option("--plot", "Also draw a run, comparison or drift study, FILE.png, .svg or .pdf.")
    )
    as_json: bool = given(json_option())


@command(ResumeOptions, "resume")
def resume(options: ResumeOptions) -> None:
    """Go on with a job that was stopped, failed or was killed; FILE is what it writes.

    What it needs lies beside it, in FILE.resume, or in FILE itself. A simulated chip is brought back to where it was,
    and the result is that of a job that was never stopped. A real chip is named with --backend, chips with --fleet;
    what they hold now is measured again. A network of your own is named with --network: a file alone never imports
    code.

    \b
    Example:
      hwloop program data/digits_mlp.safetensors \\
          --backend "sim:hermes-core?seed=1" --out stopped.h5    # press Ctrl-C
      hwloop resume stopped.h5
    """  # noqa: D301  click needs the backspace
    import hwloop
    from hwloop.fleet.team import Team

    if options.plot:
        from hwloop.plot.style import check_figure_path

        check_figure_path(options.plot, options.file, force=True)
    module = None
    if options.network is not None:
        from hwloop.nn.factory import network_from

        module = network_from(options.network)
    with contextlib.ExitStack() as stack:
        chip = None if options.backend is None else stack.enter_context(hwloop.connect(options.backend))
        team = Team.of(options.fleet, options.workers, options.scheduler)
        with watched("resume") as report:
            found = hwloop.resume(options.file, chip, network=module, team=team, progress=report)
        if options.plot:
            _draw(found, options.plot)
        _finish(found, options)


def _draw(found: Resumed, path: str) -> None:
    """Draw what the job gave, as the command does with which it was begun. Raises BadInputError where none does."""
    from hwloop.jobs.compare import Comparison
    from hwloop.jobs.drift_result import DriftResult
    from hwloop.jobs.run import Run
    from hwloop.plot.drift import draw_drift
    from hwloop.plot.runs import draw_runs

    if isinstance(found, Run):
        draw_runs([[found.record]], path, None)
    elif isinstance(found, Comparison):
        draw_runs([[run.record for run in runs] for runs in found.runs.values()], path, finite(found.noise_floor))
    elif isinstance(found, DriftResult) and found.file:
        draw_drift(found, path)
    else:
        raise BadInputError(
            "--plot draws runs, comparisons and drift studies; of other files, hwloop plot draws pictures"
        )


def _finish(found: Resumed, options: ResumeOptions) -> None:
    """Show what the job gave, as the command does with which it was begun."""
    from hwloop.jobs.compare import Comparison
    from hwloop.jobs.drift_result import DriftResult
    from hwloop.jobs.fit import FittedModel
    from hwloop.jobs.measure import MeasurementReport
    from hwloop.jobs.retrain import Retrained
    from hwloop.jobs.run import Run
    from hwloop.jobs.search_result import Found
    from hwloop.jobs.trained import Trained
    from hwloop.nn.network import DeployedNetwork

    as_json = options.as_json
    if isinstance(found, Trained):
        train.finish(found, as_json=as_json)
    elif isinstance(found, Run):
        program.finish(found, None, as_json=as_json)
    elif isinstance(found, Comparison):
        compare.finish(found, None, as_json=as_json)
    elif isinstance(found, MeasurementReport):
        measure.finish(found, as_json=as_json)
    elif isinstance(found, DriftResult):
        drift.finish(found, as_json=as_json)
    elif isinstance(found, DeployedNetwork):
        deploy.finish(found, None, as_json=as_json)
    elif isinstance(found, FittedModel):
        fit.finish(found, ", ".join(found.data), options.file, [], as_json=as_json)
    elif isinstance(found, Retrained):
        retrain.finish(found, as_json=as_json)
    elif isinstance(found, Found):
        search.finish(found, as_json=as_json)
    else:
        calibrate.finish(found, options.backend or "", options.file, as_json=as_json)
