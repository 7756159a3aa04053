"""`hwloop fit`."""

from __future__ import annotations

import dataclasses
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
from hwloop.cli.screen import show_page
from hwloop.cli.terminal import wrapped
from hwloop.errors import printable
from hwloop.typing import Json

if TYPE_CHECKING:
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
      hwloop fit data/example_measurement.h5 --out model.json --figures figures
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
    for note in model.notes:
        click.echo(printable(f"warning: {note}"), err=True)
    if model.missing:
        click.echo(f"stopped before {', '.join(model.missing)}; hwloop resume {out} goes on", err=True)
        leave(GOAL_MISSED)


def _show(model: FittedModel, out: str, drawn: list[str]) -> None:
    from hwloop.pages.models import page_of_model, tables_of_held_out

    page = page_of_model(model, out)
    shown = dataclasses.replace(page, tables=(*page.tables, *tables_of_held_out(model.held_out)))
    show_page(shown)
    if drawn:
        click.echo(wrapped(f"Figures {', '.join(drawn)}."))
