"""`hwloop compare`."""

from __future__ import annotations

from collections.abc import Mapping
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
    pairs,
    print_json,
    watched,
)
from hwloop.cli.options import METHOD_NAMES, SettingsOption, TaskOptions
from hwloop.cli.screen import show_page
from hwloop.errors import BadInputError
from hwloop.units import finite

if TYPE_CHECKING:
    from hwloop.calibration.settings import Settings
    from hwloop.jobs.compare import Comparison


def _classes(options: Mapping[str, str]) -> Mapping[str, type[Settings]]:
    """Find the settings of the methods that are compared."""
    from hwloop.calibration.programming.registry import METHODS

    names = [name.strip() for name in options.get("methods", "").split(",")]
    return {name: METHODS.find(name) for name in names if name}


@dataclass(frozen=True)
class CompareOptions(TaskOptions):
    """Options of `hwloop compare`."""

    methods: str = given(
        click.Option(["--methods"], default="iterative,gdp,exact", show_default=True, help=f"Any of {METHOD_NAMES}.")
    )
    settings: tuple[str, ...] = given(
        SettingsOption(
            ["--set", "settings"],
            _classes,
            "METHOD.KEY=VALUE",
            "A setting of one method; repeatable.",
        )
    )
    repeats: int = given(
        click.Option(
            ["--repeats"], type=click.IntRange(1), default=1, show_default=True, help="Runs of each method in a row."
        )
    )
    out: str = given(file_option("--out", "Comparison file to write (HDF5).", required=True))
    as_json: bool = given(json_option())


@command(CompareOptions, "compare")
def compare(options: CompareOptions) -> None:
    """Program the same chip with several methods and show them side by side.

    `exact` places every conductance on target and so shows the noise floor of a simulated chip.

    \b
    Example:
      hwloop compare data/digits_mlp.safetensors \\
          --backend "sim:hermes-64?seed=1" --methods iterative,gdp,exact \\
          --out cmp.h5 --plot cmp.png
    """  # noqa: D301  click needs the backspace
    import hwloop
    from hwloop.calibration.programming.registry import method_from

    names = [name.strip() for name in options.methods.split(",")]
    by_method = _settings_by_method(pairs(options.settings), names)
    methods = [method_from(name, by_method.get(name, {})) for name in names]
    mapping = options.mapping
    if options.plot:
        from hwloop.plot.style import check_figure_path

        check_figure_path(options.plot, options.out, force=options.force)
    with watched("comparing") as report, hwloop.connect(options.backend) as chip:
        comparison = hwloop.compare(
            chip,
            options.read_weights(chip.info),
            methods,
            calibration=options.calibration,
            inputs=options.inputs,
            mapping=mapping,
            age=options.age,
            seed=options.seed,
            repeats=options.repeats,
            out=options.out,
            force=options.force,
            progress=report,
        )
    if options.plot:
        from hwloop.plot.runs import draw_runs

        records = [[run.record for run in runs] for runs in comparison.runs.values()]
        draw_runs(records, options.plot, finite(comparison.noise_floor))
    finish(comparison, options.goal, as_json=options.as_json)


def finish(comparison: Comparison, goal: float | None, *, as_json: bool) -> None:
    """Show what came of a comparison, and leave with the exit code of a missed goal, or of one that was stopped."""
    if as_json:
        print_json(comparison.to_json())
    else:
        from hwloop.pages import page_of

        show_page(page_of(comparison))
    errors = [comparison.mvm_error(method) for method in comparison.runs]
    missed = goal is not None and any(error > goal for error in errors)
    if missed:
        click.echo(f"goal missed: the MVM error {max(errors):.4f} is above {goal:g}", err=True)
    if missed or comparison.status != "complete":
        leave(GOAL_MISSED)


def _settings_by_method(values: dict[str, str], names: list[str]) -> dict[str, dict[str, str]]:
    chosen: dict[str, dict[str, str]] = {}
    for name, value in values.items():
        method, dot, key = name.partition(".")
        if not dot or method not in names:
            raise BadInputError(f"--set {name}: expected METHOD.KEY=VALUE with a method out of {', '.join(names)}")
        chosen.setdefault(method, {})[key] = value
    return chosen
