"""`hwloop fit`."""

from __future__ import annotations

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
    print_json,
    watched,
)
from hwloop.cli.options import installed
from hwloop.cli.terminal import wrapped
from hwloop.durations import format_duration
from hwloop.errors import printable
from hwloop.typing import Json

if TYPE_CHECKING:
    from hwloop.files.models import Fit
    from hwloop.jobs.fit import FittedModel


@dataclass(frozen=True)
class FitOptions:
    """Options of `hwloop fit`."""

    measurements: str = given(click.Argument(["measurements"], type=click.Path()))
    out: str = given(file_option("--out", "Model file to write (JSON).", required=True))
    family: str = given(
        click.Option(
            ["--family"],
            default="auto",
            show_default=True,
            help=f"auto chooses by held-out likelihood; or one of {installed('hwloop.families')}.",
        )
    )
    hold_out: tuple[str, ...] = given(
        click.Option(
            ["--hold-out"],
            multiple=True,
            type=click.Choice(["cells", "times", "temperatures"]),
            help="Fit the drift without 30 % of the cells, the last age or the middle temperature, too: how well are "
            "these predicted?",
        )
    )
    figures: str | None = given(file_option("--figures", "Folder for a figure of every fit, PNG and SVG."))
    force: bool = given(click.Option(["--force"], is_flag=True, help="Replace existing files."))
    as_json: bool = given(json_option())


@command(FitOptions, "fit")
def fit(options: FitOptions) -> None:
    """Fit noise and drift models to every experiment of a measurement file.

    The model file gives a simulated twin, sim:MODEL.json, and exports to other simulators (hwloop export). Ctrl-C keeps
    the fits that are done.

    \b
    Example:
      hwloop fit meas.h5 --out model.json --figures figures
    """  # noqa: D301  click needs the backspace
    import hwloop

    if options.figures is not None:  # before the fits, which take their time
        from hwloop.files.measurements import Experiment
        from hwloop.plot.fits import draw_fits, figure_paths

        figure_paths([kind.value for kind in Experiment], options.figures, force=options.force)
    with watched("fitting") as report:
        model = hwloop.fit(
            options.measurements,
            options.family,
            out=options.out,
            force=options.force,
            hold_out=options.hold_out,
            progress=report,
        )
    drawn: list[str] = []
    if options.figures is not None:
        names = list(model.outcomes)
        panels = {name: model.panels(name) for name in names}
        titles = {name: model.title(name) for name in names}
        drawn = draw_fits(panels, titles, options.figures, force=options.force)
    finish(model, options.measurements, options.out, drawn, as_json=options.as_json)


def finish(model: FittedModel, measurements: str, out: str, drawn: list[str], *, as_json: bool) -> None:
    """Show a model, and leave with the exit code of a fit that was stopped; `drawn` are files of figures."""
    result: dict[str, Json] = {
        "measurements": measurements,
        "model": out,
        **model.report(),
        "figures": list(drawn),
    }
    if as_json:
        print_json(result)
    else:
        _show(model, out, drawn)
        _show_held_out(model)
    for note in model.notes:
        click.echo(printable(f"warning: {note}"), err=True)
    if model.missing:
        click.echo(f"stopped before {', '.join(model.missing)}; hwloop resume {out} goes on", err=True)
        leave(GOAL_MISSED)


def _show(model: FittedModel, out: str, drawn: list[str]) -> None:
    for name, one in model.fits.items():
        cells = one.cells
        click.echo(f"{name}: {one.family}")
        left_out = [f"{count} {reason}" for reason, count in cells.left_out.items()]
        gone = ", ".join([f"{cells.stuck} stuck", f"{cells.outliers} outliers", *left_out])
        click.echo(f"  {cells.used} of {cells.measured} cells used; {gone}")
        _show_parameters(one)
        settings = ", ".join(f"{key} = {value:.5g}" for key, value in one.settings.items())
        click.echo(wrapped(f"with {settings}", "  ", "    "))
        click.echo(f"  KS distance of predicted quantiles {one.ks_distance:.3f}")
        _show_choice(one.family, one.choice)
        for warning in one.warnings:
            click.echo(wrapped(f"warning: {warning}", "  ", "    "))
        click.echo()
    click.echo(f"Model file {out}.")
    click.echo(wrapped(f"sim:{out} is the twin; see also hwloop {_more(model)} and report."))
    if drawn:
        click.echo(wrapped(f"Figures {', '.join(drawn)}."))


def _show_parameters(fit: Fit) -> None:
    """Show the parameters of a fit, a line each where the terminal has room."""
    spans = ["" if row.low is None else f"{row.low:.4g} to {row.high:.4g}" for row in fit.parameters]
    name, span = (max(map(len, texts), default=0) for texts in ([row.name for row in fit.parameters], spans))
    name, span = max(name, len("parameter")), max(span, len("95 % interval"))
    click.echo(f"  {'parameter':<{name}} {'value':>10}  {'95 % interval':<{span}}  {'unit':<4} meaning")
    for row, shown in zip(fit.parameters, spans, strict=True):
        start = f"  {row.name:<{name}} {row.value:>10.5g}  {shown:<{span}}  {row.unit:<4} "
        click.echo(wrapped(f"{row.meaning}{f' ({row.note})' if row.note else ''}", start, " " * len(start)))


def _more(model: FittedModel) -> str:
    """Name the commands that take a model with these fits."""
    from hwloop.exporters.content import USABLE
    from hwloop.files.predictions import PREDICTABLE

    taken = (("predict", PREDICTABLE), ("export", USABLE))
    return ", ".join([*(name for name, kinds in taken if not model.fits.keys().isdisjoint(kinds)), "show"])


def _show_held_out(model: FittedModel) -> None:
    for name, one in model.held_out.items():
        click.echo(f"Held out of {name} ({one.family}):")
        several = one.rows[0].temperature is not None
        head = f"{'level, uS':>10} {'time':>8}" + (f" {'K':>5}" if several else "")
        click.echo(f"  {head} {'reads':>7} {'ln L a read':>12} {'KS':>6} {'in 90 %':>8}")
        for row in (*one.rows, one.pooled):
            place = f"{row.level:>10.4g} {format_duration(row.time):>8}" + (
                f" {row.temperature:>5.0f}" if several else ""
            )
            if row is one.pooled:
                place = f"{'all':>10} {'all':>8}" + (f" {'all':>5}" if several else "")
            score = f"{row.log_likelihood:>12.4f} {row.ks_distance:>6.3f} {row.covered:>8.1%}"
            click.echo(f"  {place} {row.reads:>7} {score}")


def _show_choice(family: str, choice: dict[str, float]) -> None:
    scores = dict(choice)
    if len(scores) < 2:
        return
    own = scores.pop(family)
    others = ", ".join(
        f"{name} {score - own:+.4f}" for name, score in sorted(scores.items(), key=lambda item: -item[1])
    )
    tie = "; a tie goes to the family that assumes least" if max(scores.values()) > own else ""
    chosen = f"chosen by held-out log-likelihood per cell: {family} {own:.4f}; {others}{tie}"
    click.echo(wrapped(chosen, "  ", "    "))
