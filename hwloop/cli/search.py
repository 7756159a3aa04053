"""`hwloop search`."""

from __future__ import annotations

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
    pairs,
    print_json,
    seed_option,
    watched,
)
from hwloop.cli.options import dataset_option, settings_option
from hwloop.cli.screen import show_page
from hwloop.errors import BadInputError

if TYPE_CHECKING:
    from hwloop.jobs.search_result import Found


@dataclass(frozen=True)
class SearchOptions:
    """Options of `hwloop search`."""

    dataset: str = given(dataset_option(required=True))
    chip: str = given(
        click.Option(["--chip"], required=True, help="Chip, such as sim:hermes-64, or a twin, sim:model.json.")
    )
    space: str = given(
        click.Option(
            ["--space"],
            default="hwloop.search.resnet_like",
            show_default=True,
            metavar="MODULE",
            help="Module whose function space(shape, classes) makes the space.",
        )
    )
    params: str | None = given(click.Option(["--params"], help="Weights at most: 200k, 1M [default: no limit]."))
    cores: int | None = given(click.Option(["--cores"], type=click.IntRange(1), help="Cores at most [default: all]."))
    latency: str | None = given(
        click.Option(["--latency"], help="MVMs of one inference at most, such as 0.0002 s [default: no limit].")
    )
    budget: int | None = given(click.Option(["--budget"], type=int, help="Networks that are evaluated [default: 100]."))
    settings: tuple[str, ...] = given(settings_option("search", "search"))
    seed: int = given(seed_option(0, "everything"))
    out: str = given(file_option("--out", "Search file to write (HDF5).", required=True))
    weights_out: str | None = given(
        file_option("--weights-out", "Also write the weights of the winner, a .safetensors file for hwloop deploy.")
    )
    force: bool = given(force_option())
    as_json: bool = given(json_option())


@command(SearchOptions, "search")
def search(options: SearchOptions) -> None:
    """Find networks that fit a chip: accurate after programming, with little drop over a month.

    Each candidate is trained and asked on twins of the chip at three ages. A surrogate learns from these what accuracy
    and drop an architecture will have, and candidates evolve on it under the limits. `hwloop resume` goes on with a
    search that was stopped.

    \b
    Example:
      hwloop search --space hwloop.search.resnet_like \\
          --dataset data/digits.npz --chip sim:hermes-64 --params 16k \\
          --budget 100 --out s.h5 --weights-out winner.safetensors
    """  # noqa: D301  click needs the backspace
    from hwloop.files.hdf5 import check_writable
    from hwloop.jobs.search import Asked, check_weights, search_into
    from hwloop.nn.datasets import read_dataset
    from hwloop.search.settings import Limits, SearchSettings, counted, first_of

    check_writable(options.out, force=options.force)
    if options.weights_out:
        check_weights(options.weights_out, force=options.force)
    told = pairs(options.settings)
    twice = [name for name, value in (("seed", 0), ("budget", options.budget)) if name in told and value is not None]
    if twice:
        raise BadInputError(f"{twice[0]} is given by --{twice[0]}; leave --set {twice[0]} out")
    told["seed"] = str(options.seed)
    if options.budget is not None:
        told["budget"] = str(options.budget)
        told.setdefault("first", str(first_of(options.budget)))
    limits = {
        "weights": str(counted(options.params, "--params")) if options.params else "",
        "cores": str(options.cores or ""),
        "latency": options.latency or "",
    }
    asked = Asked(
        options.space,
        options.chip,
        SearchSettings.parse(told),
        Limits.parse({name: text for name, text in limits.items() if text}),
    )
    data = read_dataset(options.dataset)
    with watched("search") as report:
        found = search_into(options.out, data, asked, force=options.force, progress=report)
    if options.weights_out:
        found.save_weights(options.weights_out, force=options.force)
    finish(found, as_json=options.as_json)


def finish(found: Found, *, as_json: bool) -> None:
    """Show what was found, and leave with the exit code of a search that was stopped."""
    if as_json:
        print_json(found.to_json())
    else:
        from hwloop.pages import page_of

        show_page(page_of(found))
    if found.status != "complete":
        leave(GOAL_MISSED)
