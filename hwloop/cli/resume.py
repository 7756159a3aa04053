"""`hwloop resume`."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from hwloop.cli import calibrate, drift, measure, program, train
from hwloop.cli.common import command, given, json_option, watched
from hwloop.cli.options import network_option

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
    as_json: bool = given(json_option())


@command(ResumeOptions, "resume")
def resume(options: ResumeOptions) -> None:
    """Go on with a job that was stopped, failed or was killed; FILE is what it writes.

    What it needs lies beside FILE, in FILE.resume, or in FILE itself. A training of a network that is not of the zoo
    takes --network again. A simulated chip is brought back to where it was, and the result is
    that of a job that was never stopped. A real chip is named with --backend; what it holds now is measured again.

    \b
    Examples:
      hwloop program data/digits_mlp.safetensors --backend "sim:hermes-core?seed=1" --out run.h5
      hwloop resume run.h5      # after it was stopped or killed
    """  # noqa: D301  click needs the backspace
    import hwloop
    from hwloop.nn.factory import network_from

    with contextlib.ExitStack() as stack:
        report = stack.enter_context(watched("   resume"))
        chip = None if options.backend is None else stack.enter_context(hwloop.connect(options.backend))
        network = None if options.network is None else network_from(options.network)
        found = hwloop.resume(options.file, chip, network=network, progress=report)
    _finish(found, options)


def _finish(found: Resumed, options: ResumeOptions) -> None:
    """Show what the job gave, as the command does with which it was begun."""
    from hwloop.jobs.drift_result import DriftResult
    from hwloop.jobs.measure import MeasurementReport
    from hwloop.jobs.run import Run
    from hwloop.jobs.train import Trained

    if isinstance(found, Trained):
        train.finish(found, as_json=options.as_json)
    elif isinstance(found, Run):
        program.finish(found, None, as_json=options.as_json)
    elif isinstance(found, MeasurementReport):
        measure.finish(found, as_json=options.as_json)
    elif isinstance(found, DriftResult):
        drift.finish(found, as_json=options.as_json)
    else:
        calibrate.finish(found, options.backend or "", options.file, as_json=options.as_json)
