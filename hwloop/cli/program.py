"""`hwloop program`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hwloop.cli.common import (
    GOAL_MISSED,
    NO_MVM,
    command,
    error_with_interval,
    file_option,
    given,
    json_option,
    leave,
    pairs,
    print_json,
    watched,
)
from hwloop.cli.options import METHOD_NAMES, TaskOptions
from hwloop.cli.terminal import one_line
from hwloop.mapping.names import shortened
from hwloop.units import finite

if TYPE_CHECKING:
    from hwloop.jobs.run import Run


@dataclass(frozen=True)
class ProgramOptions(TaskOptions):
    """Options of `hwloop program`."""

    method: str = given(click.Option(["--method"], default="gdp", show_default=True, help=f"One of {METHOD_NAMES}."))
    settings: tuple[str, ...] = given(
        click.Option(
            ["--set", "settings"],
            multiple=True,
            metavar="KEY=VALUE",
            help="A setting of the method (docs/methods.md); repeatable.",
        )
    )
    chip_seconds: float | None = given(
        click.Option(["--chip-seconds"], type=float, help="Seconds of chip time to rest in all while programming.")
    )
    out: str = given(file_option("--out", "Run file to write (HDF5).", required=True))
    as_json: bool = given(json_option())


@command(ProgramOptions, "program")
def program(options: ProgramOptions) -> None:
    """Program the weight matrices in WEIGHTS onto a chip and measure the MVM error.

    WEIGHTS is a file of numpy, torch, safetensors, Keras or ONNX, whatever its name, or a folder or index of shards.
    All weight matrices of the network in it are programmed, cut into tiles that fit the chip's cores. Biases stay
    digital; look-up tables, buffers and what else is no weight is passed over with a note (docs/weights.md).

    \b
    Examples:
      hwloop program data/digits_mlp.safetensors --backend "sim:hermes-core?seed=1" --method gdp --out run.h5
      hwloop program data/digits_mlp.safetensors --tensor "fc[12].weight" --layout fc1.weight=outputs-first \\
          --backend "sim:hermes-core?seed=1" --out run.h5
    """  # noqa: D301  click needs the backspace
    import hwloop
    from hwloop.calibration.programming.registry import method_from
    from hwloop.jobs.compare import floor_of

    method = method_from(options.method, pairs(options.settings))
    weights = options.read_weights()
    mapping = options.mapping
    if options.plot:
        from hwloop.plot.style import check_figure_path

        check_figure_path(options.plot, options.out, force=options.force)
    with watched(f"{method.name:>9}") as report, hwloop.connect(options.backend) as chip:
        run = hwloop.program(
            chip,
            weights,
            method,
            calibration=options.calibration,
            inputs=options.inputs,
            mapping=mapping,
            age=options.age,
            chip_seconds=options.chip_seconds,
            seed=options.seed,
            out=options.out,
            force=options.force,
            progress=report,
        )
    if options.plot:
        from hwloop.plot.runs import draw_runs

        draw_runs([[run.record]], options.plot, floor_of(run, weights, options.backend))
    finish(run, options.goal, as_json=options.as_json)


def finish(run: Run, goal: float | None, *, as_json: bool) -> None:
    """Show what came of a run, and leave with the exit code of a goal that was missed, or of a run that was stopped."""
    if as_json:
        print_json(run.to_json())
    else:
        _show(run)
    missed = goal is not None and run.mvm_error > goal
    if missed:
        click.echo(f"goal missed: the MVM error {run.mvm_error:.4f} is above {goal:g}", err=True)
    if missed or finite(run.mvm_error) is None:
        leave(GOAL_MISSED)


def _show(run: Run) -> None:
    record = run.record
    weights = Path(record.provenance.weights).name
    click.echo(one_line(f"{run.method} on {record.backend}, weights {weights}") + "\n")
    click.echo("core  tensor                cells       MVM error  pulses   device     MVM given")
    click.echo("                                    first     now /device    reads vectors    up")
    names = shortened([tile.tile.tensor for tile in run.tiles], 15)
    for tile in run.tiles:
        core, place = tile.to_json(), tile.tile.place
        click.echo(
            f"{place.core:>4}  {names[tile.tile.tensor]:<16}{place.rows:>5} x{place.columns:>4}"
            f"{_error(tile.mvm_error_before)}{_error(tile.mvm_error)}{tile.pulses_per_device:>8.2f}"
            f"{core['device_reads']:>9}{core['mvms']:>8}{core['unconverged_cells']:>6}"
        )
    click.echo()
    if run.status != "complete":
        click.echo(f"Stopped before the end; what was done is in {record.name}.\nhwloop resume {record.name} goes on.")
        return
    if record.mvm_error_from == "device-reads":
        click.echo(NO_MVM)
    for tile in run.tiles:
        if finite(tile.mvm_error_inputs) is not None:
            tensor = one_line(tile.tile.tensor)
            click.echo(f"With its sample inputs, {tensor} has the MVM error {tile.mvm_error_inputs:.4f}.")
    for tile in run.tiles:
        if tile.tile.clipping is not None:
            click.echo(one_line(f"{tile.tile.tensor} on core {tile.tile.place.core}: {tile.tile.clipping}."))
    if record.provenance.calibration:
        parts = ", ".join(part.replace("_", " ") for part in record.calibration_parts)
        created = record.calibration_created[:16]
        click.echo(f"Calibrated with {record.provenance.calibration} of {created} UTC: {parts}.")
    click.echo(
        f"MVM error {error_with_interval(run.mvm_error, run.mvm_error_interval)}, measured {run.age:g} s after\n"
        f"programming with fresh inputs.\nRun file {record.name}; hwloop evaluate {record.name} measures it again."
    )


def _error(value: float) -> str:
    return "       -" if finite(value) is None else f"{value:>8.4f}"
