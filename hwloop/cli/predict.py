"""`hwloop predict`."""

from __future__ import annotations

from dataclasses import dataclass

import click

from hwloop.cli.common import command, given, json_option, print_json
from hwloop.cli.screen import show_page
from hwloop.durations import parse_duration
from hwloop.errors import BadInputError
from hwloop.units import parse_conductance


@dataclass(frozen=True)
class PredictOptions:
    """Options of `hwloop predict`."""

    model: str = given(click.Argument(["model"], type=click.Path()))
    time: str = given(click.Option(["--time"], required=True, help="Age, such as 1y."))
    level: str = given(
        click.Option(
            ["--level"],
            required=True,
            help="Conductance, such as 12uS: at the first read (relaxation, bake), at t0 (drift), or the target.",
        )
    )
    window: str | None = given(click.Option(["--window"], help="Conductances that are well: LOW,HIGH."))
    temperature: float | None = given(click.Option(["--temperature"], type=float, help="Of the chip, or of a bake, K."))
    experiment: str | None = given(click.Option(["--experiment"], help="Fit to predict from: drift or programming."))
    as_json: bool = given(json_option())


@command(PredictOptions, "predict", logs=False)
def predict(options: PredictOptions) -> None:
    """Predict conductances from a fitted model: quantiles, and the probability to be outside of a window.

    What goes beyond the measured ages, levels or temperatures is said. Where families that fit alike part there, each
    quantile is the outermost of theirs. For a bake, give its length as --time and its --temperature.

    \b
    Example:
      # model.json is what the example of hwloop fit writes
      hwloop predict model.json --time 1y --level 12uS --window 10uS,14uS
    """  # noqa: D301  click needs the backspace
    import hwloop

    found = hwloop.predict(
        options.model,
        parse_duration(options.time),
        parse_conductance(options.level),
        _window(options.window),
        temperature=options.temperature,
        experiment=options.experiment,
    )
    if options.as_json:
        print_json({"model": options.model, **found.to_json()})
        return
    from hwloop.pages.predictions import page_of_prediction

    show_page(page_of_prediction(found))


def _window(text: str | None) -> tuple[float, float] | None:
    """Read LOW,HIGH. Raises BadInputError for anything else."""
    if text is None:
        return None
    ends = text.split(",")
    if len(ends) != 2:
        raise BadInputError(f"window '{text}': expected LOW,HIGH, such as 10uS,14uS")
    return parse_conductance(ends[0]), parse_conductance(ends[1])
