"""`hwloop coreset`."""

from __future__ import annotations

from dataclasses import dataclass

import click

from hwloop.cli.common import (
    command,
    file_option,
    force_option,
    given,
    json_option,
    pairs,
    print_json,
    seed_option,
)
from hwloop.cli.options import settings_option
from hwloop.cli.screen import show_page


@dataclass(frozen=True)
class CoresetOptions:
    """Options of `hwloop coreset`."""

    activations: tuple[str, ...] = given(click.Argument(["activations"], nargs=-1, required=True, type=click.Path()))
    bits: int = given(
        click.Option(["--bits"], required=True, type=click.IntRange(1), help="Budget of bits for all of it.")
    )
    settings: tuple[str, ...] = given(settings_option("coreset", "coresets"))
    seed: int = given(seed_option(0, "which vectors are drawn"))
    out: str = given(file_option("--out", "Coreset to write (.npz).", required=True))
    force: bool = given(force_option())
    as_json: bool = given(json_option())


@command(CoresetOptions, "coreset")
def coreset(options: CoresetOptions) -> None:
    """Summarise activations by few weighted vectors of few bits, under a budget of bits.

    ACTIVATIONS is a .npz of (vectors, inputs) by tensor, a .npy of one tensor, a data set, or another coreset. Several
    files are those of several hosts, which share the budget. Every option that takes activations takes the result:
    --inputs of program, compare, calibrate and deploy; a coreset of a data set is a --dataset of deploy and retrain.

    \b
    Example:
      hwloop coreset data/activations.npz --bits 80000 --out probes.npz
    """  # noqa: D301  click needs the backspace
    import dataclasses

    import hwloop
    from hwloop.calibration.coresets import CoresetSettings
    from hwloop.files.hdf5 import check_writable

    check_writable(options.out, force=options.force)
    settings = CoresetSettings.parse({"seed": str(options.seed), **pairs(options.settings)})
    found = hwloop.coreset(list(options.activations), options.bits, settings)
    found.save(options.out, force=options.force)
    found = dataclasses.replace(found, file=options.out)
    if options.as_json:
        print_json(found.to_json())
        return
    from hwloop.pages import page_of

    show_page(page_of(found))
