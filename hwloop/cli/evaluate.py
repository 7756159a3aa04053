"""`hwloop evaluate`."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import click

from hwloop.cli.common import (
    command,
    file_option,
    given,
    json_option,
    print_json,
    seed_option,
)
from hwloop.cli.options import network_option
from hwloop.cli.screen import show_page
from hwloop.durations import format_duration, parse_durations
from hwloop.errors import BadInputError


@dataclass(frozen=True)
class EvaluateOptions:
    """Options of `hwloop evaluate`."""

    run: str = given(click.Argument(["run"], type=click.Path()))
    backend: str | None = given(
        click.Option(["--backend"], help="Chip to measure [default: the simulated one the run was made on].")
    )
    seed: int = given(seed_option(1, "probes and inputs"))
    calibration: str | None = given(
        file_option("--calibration", "Calibration file [default: the one used to program, beside the run].")
    )
    times: str | None = given(
        click.Option(["--times"], help="Of a training: ages at which to measure its accuracy, as 1h,1d [default: now].")
    )
    network: str | None = given(network_option(required=False))
    as_json: bool = given(json_option())


@command(EvaluateOptions, "evaluate")
def evaluate(options: EvaluateOptions) -> None:
    """Measure the MVM error of what the chip of RUN holds now, or the accuracy of a training.

    A simulated chip is brought back to the state in which the run left it; a real chip is measured as it is.

    \b
    Example:
      # run.h5 is what the example of hwloop program writes
      hwloop evaluate run.h5
    """  # noqa: D301  click needs the backspace
    import hwloop
    from hwloop.jobs.evaluate import load_run
    from hwloop.jobs.trained import is_training

    if is_training(options.run):
        _evaluate_training(options)
        return
    if options.times or options.network:
        raise BadInputError(f"--times and --network are for trainings; {options.run} is none")
    run = load_run(options.run)
    with hwloop.connect(options.backend) if options.backend else contextlib.nullcontext() as chip:
        found = hwloop.evaluate(run, chip, seed=options.seed, calibration=options.calibration)
    if options.as_json:
        print_json(found.to_json())
    else:
        from hwloop.pages import page_of

        show_page(page_of(found))


def _evaluate_training(options: EvaluateOptions) -> None:
    import hwloop
    from hwloop.nn.factory import network_from

    if options.calibration:
        raise BadInputError("a training is measured as its network answers: leave --calibration out")
    network = network_from(options.network) if options.network else None
    times = parse_durations(options.times) if options.times else [0.0]
    with hwloop.connect(options.backend) if options.backend else contextlib.nullcontext() as chip:
        found = hwloop.evaluate_trained(options.run, chip, times, network=network)
    if options.as_json:
        print_json(found.to_json())
        return
    for age, one in zip(found.ages, found.accuracies, strict=True):
        low, high = one.interval
        click.echo(f"{format_duration(age):>8}  {one.value:.1%} (95 %: {low:.1%} to {high:.1%}) of {one.total} images")
    if found.at_end is not None:
        click.echo(f"{found.at_end:.1%} at the end of the training.")
