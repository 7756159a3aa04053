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
from hwloop.cli.screen import show_page


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
    as_json: bool = given(json_option())


@command(EvaluateOptions, "evaluate")
def evaluate(options: EvaluateOptions) -> None:
    """Measure the MVM error of what the chip of RUN holds now.

    A simulated chip is brought back to the state in which the run left it; a real chip is measured as it is.

    \b
    Example:
      hwloop evaluate run.h5
    """  # noqa: D301  click needs the backspace
    import hwloop
    from hwloop.jobs.evaluate import load_run

    run = load_run(options.run)
    with hwloop.connect(options.backend) if options.backend else contextlib.nullcontext() as chip:
        found = hwloop.evaluate(run, chip, seed=options.seed, calibration=options.calibration)
    if options.as_json:
        print_json(found.to_json())
    else:
        from hwloop.pages import page_of

        show_page(page_of(found))
