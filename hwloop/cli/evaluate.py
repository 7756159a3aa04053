"""`hwloop evaluate`."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from hwloop.cli.common import (
    NO_MVM,
    command,
    error_with_interval,
    file_option,
    given,
    json_option,
    number,
    print_json,
    seed_option,
)
from hwloop.cli.options import network_option
from hwloop.durations import format_duration, parse_durations
from hwloop.errors import BadInputError, printable
from hwloop.mapping.names import shortened
from hwloop.units import finite

if TYPE_CHECKING:
    from hwloop.jobs.evaluate import Evaluation


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
      hwloop evaluate run.h5
    """  # noqa: D301  click needs the backspace
    import hwloop
    from hwloop.jobs.evaluate import load_run
    from hwloop.jobs.train import is_training

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
        _show(found)


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


def _show(found: Evaluation) -> None:
    names = shortened((tile.tensor for tile in found.tiles), 24)
    for tile in found.tiles:
        click.echo(f"core {tile.core:>3}  {names[tile.tensor]:<24} MVM error {number(finite(tile.mvm_error))}")
    if found.calibration:
        click.echo(printable(f"Outputs are read through the calibration {found.calibration}."))
    if found.mvm_error_from == "device-reads":
        click.echo(NO_MVM)
    click.echo(f"\nMVM error {error_with_interval(found.mvm_error, found.mvm_error_interval)} now;")
    if finite(found.mvm_error_in_run) is None:
        click.echo("the run was stopped before it was measured.")
        return
    then = error_with_interval(found.mvm_error_in_run, found.mvm_error_interval_in_run)
    verdict = {True: ": it has moved", False: ": no change beyond noise", None: ""}[found.moved]
    click.echo(f"{then} when it was programmed{verdict}.")
