"""`hwloop drift`."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from hwloop.cli.common import (
    GOAL_MISSED,
    command,
    file_option,
    force_option,
    given,
    json_option,
    leave,
    print_json,
    seed_option,
    watched,
)
from hwloop.cli.options import installed
from hwloop.cli.screen import show_page
from hwloop.durations import parse_durations
from hwloop.errors import BadInputError, printable

if TYPE_CHECKING:
    from hwloop.jobs.drift_asked import NetworkFile
    from hwloop.jobs.drift_result import DriftResult
    from hwloop.nn.accuracy import Batches

FIRST = ("none", "global", "column", "predictive", "batchnorm", "refresh")
COMPENSATION_NAMES = installed("hwloop.compensations", FIRST)


@dataclass(frozen=True)
class DriftOptions:
    """Options of `hwloop drift`."""

    run: str = given(click.Argument(["run"], type=click.Path()))
    times: str = given(
        click.Option(
            ["--times"],
            default="1s,1h,1d,30d,1y",
            show_default=True,
            help="Ages, counted from the end of programming, rising.",
        )
    )
    compensation: str = given(
        click.Option(
            ["--compensation"],
            default="none,global,column,predictive",
            show_default=True,
            help=f"Any of {COMPENSATION_NAMES}, side by side; a plus sign puts one on top of another, as "
            "refresh+column. Only refresh pulses cells.",
        )
    )
    out: str = given(file_option("--out", "Drift file to write (HDF5).", required=True))
    backend: str | None = given(
        click.Option(["--backend"], help="Chip of the run [default: the simulated one the run was made on].")
    )
    calibration: str | None = given(
        file_option("--calibration", "Calibration file [default: the one used to program, beside the run].")
    )
    network: str | None = given(
        click.Option(
            ["--network"],
            metavar="MODULE:FACTORY",
            help="Makes the network of RUN, where it is not of hwloop.nn.zoo; also FILE.py:FACTORY.",
        )
    )
    dataset: str | None = given(
        file_option("--dataset", "Test a network on this D.npz [default: the images it was deployed with].")
    )
    model: str | None = given(
        file_option("--model", "Model file whose fitted drift predictions go by [default: nominal].")
    )
    limit: float = given(
        click.Option(["--limit"], default=0.15, show_default=True, help="MVM error whose passing is predicted.")
    )
    probes: int = given(
        click.Option(
            ["--probes"],
            type=click.IntRange(3),
            default=256,
            show_default=True,
            help="Probe vectors of each tile.",
        )
    )
    seed: int = given(seed_option(1, "probes and inputs"))
    plot: str | None = given(file_option("--plot", "Also draw the result, FILE.png, .svg or .pdf."))
    force: bool = given(force_option())
    as_json: bool = given(json_option())


@command(DriftOptions, "drift")
def drift(options: DriftOptions) -> None:
    """Let the chip of RUN age, and show its MVM error at each time with each compensation.

    RUN is a run file, or a network file: its accuracy on the test images is shown as well.

    On a simulated chip a year passes on its virtual clock; a real one is waited for. Durations: 1s, 90min, 1h, 30d, 1y.

    \b
    Example:
      # run.h5 is what the example of hwloop program writes
      hwloop drift run.h5 --times 1s,1h,1d,30d,1y \\
          --compensation none,global,column,predictive,refresh --out drift.h5
    """  # noqa: D301  click needs the backspace
    import hwloop
    from hwloop.jobs.trained import is_training

    if options.plot:
        from hwloop.plot.style import check_figure_path

        check_figure_path(options.plot, options.out, force=options.force)
    if is_training(options.run):
        raise BadInputError(
            f"{options.run} is a training; hwloop evaluate {options.run} --times {options.times} measures it as its "
            "chip ages"
        )
    times = parse_durations(options.times)
    names = [name.strip() for name in options.compensation.split(",")]
    opened = hwloop.connect(options.backend) if options.backend else contextlib.nullcontext()
    with watched("drift") as report, opened as chip:
        result = hwloop.drift(
            _named(options),
            chip,
            times,
            names,
            calibration=options.calibration,
            model=options.model,
            data=_test_data(options.dataset),
            limit=options.limit,
            probes=options.probes,
            seed=options.seed,
            out=options.out,
            force=options.force,
            progress=report,
        )
    if options.plot and result.file:
        from hwloop.plot.drift import draw_drift

        draw_drift(result, options.plot)
    finish(result, as_json=options.as_json)


def finish(result: DriftResult, *, as_json: bool) -> None:
    """Show what came of a study, and leave with the exit code of one that was stopped."""
    if as_json:
        for note in result.notes:
            click.echo(printable(f"note: {note}"), err=True)
        print_json(result.to_json())
    else:
        from hwloop.pages import page_of

        show_page(page_of(result))
    if result.status != "complete":
        leave(GOAL_MISSED)


def _named(options: DriftOptions) -> NetworkFile | str:
    """Name what ages: a run, and a network of the zoo, are opened by their file alone."""
    if options.network is None:
        return options.run
    from hwloop.jobs.drift_asked import NetworkFile
    from hwloop.nn.factory import network_from

    return NetworkFile(options.run, network_from(options.network))


def _test_data(path: str | None) -> Batches | None:
    if path is None:
        return None
    from hwloop.nn.datasets import read_dataset

    return read_dataset(path).test
