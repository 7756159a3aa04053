"""`hwloop fit`."""

from __future__ import annotations

from typing import Any

import click

from hwloop.cli.common import GOAL_MISSED, Command, json_option, print_json, progress_bar, stoppable

FAMILIES = (
    "spline, log-clip, relaxation (drift), polynomial-2, polynomial-3, student-3 (programming), power-law, knots (read "
    "noise), logistic (programming curve)"
)


@click.command(cls=Command)
@click.argument("measurements", type=click.Path())
@click.option("--out", required=True, type=click.Path(), help="Model file to write (JSON).")
@click.option(
    "--family", default="auto", show_default=True, help=f"auto chooses by held-out likelihood; or one of {FAMILIES}."
)
@click.option("--figures", type=click.Path(), help="Folder for a figure of every fit, PNG and SVG.")
@click.option("--force", is_flag=True, help="Replace existing files.")
@json_option
@click.pass_context
def fit(
    context: click.Context, /, measurements: str, out: str, family: str, figures: str | None, force: bool, as_json: bool
) -> None:
    """Fit noise and drift models to every experiment of a measurement file.

    The model file gives a simulated twin, sim:MODEL.json, and exports to other simulators (hwloop export). Ctrl-C keeps
    the fits that are done.

    \b
    Example:
      hwloop fit meas.h5 --out model.json --figures figures
    """  # noqa: D301  click needs the backspace
    from hwloop.jobs.fit import fit_to_file

    with progress_bar("fitting") as show, stoppable() as check:

        def observe(done: int, total: int) -> None:
            show(done, total)
            check()

        result = fit_to_file(measurements, out, family, figures=figures, force=force, observer=observe)
    if as_json:
        print_json(result)
    else:
        _show(result)
    for warning in result["warnings"]:
        click.echo(f"warning: {warning}", err=True)
    if result["missing"]:
        click.echo(f"stopped before {', '.join(result['missing'])}; run it again with --force to fit all", err=True)
        context.exit(GOAL_MISSED)


def _show(result: dict[str, Any]) -> None:
    for name, one in result["fits"].items():
        cells = one["cells"]
        click.echo(f"{name}: {one['family']}")
        left_out = [f"{number} {reason}" for reason, number in cells["left_out"].items()]
        gone = ", ".join([f"{cells['stuck']} stuck", f"{cells['wild']} wild", *left_out])
        click.echo(f"  {cells['used']} of {cells['measured']} cells used; {gone}")
        click.echo(f"  {'parameter':<18} {'value':>11}   {'95 % interval':<24} {'unit':<4} meaning")
        for row in one["parameters"]:
            held = row["low"] is None
            interval = f"({row['note']})" if held else f"{row['low']:.5g} to {row['high']:.5g}"
            click.echo(f"  {row['name']:<18} {row['value']:>11.5g}   {interval:<24} {row['unit']:<4} {row['meaning']}")
        settings = ", ".join(f"{key} = {value:.5g}" for key, value in one["settings"].items())
        click.echo(f"  with {settings}")
        click.echo(f"  Kolmogorov distance of predicted quantiles {one['calibration_distance']:.3f}")
        _show_choice(one)
        for warning in one["warnings"]:
            click.echo(f"  warning: {warning}")
        click.echo()
    click.echo(f"Model file {result['model']}.")
    if result["figures"]:
        click.echo(f"Figures {', '.join(result['figures'])}.")


def _show_choice(one: dict[str, Any]) -> None:
    scores: dict[str, float] = dict(one["held_out_log_likelihood"])
    if len(scores) < 2:
        return
    own = scores.pop(one["family"])
    others = ", ".join(
        f"{name} {score - own:+.4f}" for name, score in sorted(scores.items(), key=lambda item: -item[1])
    )
    tie = "; a tie goes to the family that assumes least" if max(scores.values()) > own else ""
    click.echo(f"  chosen by held-out log-likelihood per cell: {one['family']} {own:.4f}; {others}{tie}")
