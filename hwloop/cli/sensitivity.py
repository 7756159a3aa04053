"""`hwloop sensitivity`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
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
from hwloop.cli.options import dataset_option, exclude_option, network_option, settings_option, weights_option
from hwloop.cli.screen import show_page
from hwloop.errors import BadInputError

if TYPE_CHECKING:
    from torch import nn

    from hwloop.calibration.settings import Settings
    from hwloop.jobs.noise import ChipLike, DataLike


def _classes(options: Mapping[str, str]) -> Mapping[str, type[Settings]]:
    from hwloop.nn.sensitivity import SensitivitySettings

    return {"": SensitivitySettings}


@dataclass(frozen=True)
class SensitivityOptions:
    """Options of `hwloop sensitivity`."""

    deployed: str | None = given(click.Argument(["deployed"], required=False, type=click.Path(), metavar="[NET.h5]"))
    network: str | None = given(network_option(required=False))
    weights: str | None = given(weights_option(" without NET.h5", required=False))
    dataset: str | None = given(dataset_option(", without NET.h5", required=False))
    backend: str | None = given(
        click.Option(["--backend"], help="Chip, such as sim:hermes-64 [default: that of NET.h5].")
    )
    settings: tuple[str, ...] = given(settings_option("search", "retraining", _classes))
    exclude: tuple[str, ...] = given(exclude_option())
    seed: int = given(seed_option(0, "the noise"))
    out: str = given(file_option("--out", "Sensitivity file to write (HDF5).", required=True))
    force: bool = given(force_option())
    as_json: bool = given(json_option())


@command(SensitivityOptions, "sensitivity")
def sensitivity(options: SensitivityOptions) -> None:
    """Raise each nonideality of a chip alone until a network loses a point of accuracy, and so each layer alone.

    The network is that of NET.h5 (hwloop deploy), or one that is named with its weights and data. Nothing is sent to
    the chip: its model is computed with, some ten times for each nonideality and each layer. The
    digits MLP of the zoo takes five seconds of one core, networks with more products take longer in proportion.

    \b
    Examples:
      hwloop sensitivity --network hwloop.nn.zoo:digits_cnn \\
          --weights data/digits_cnn.safetensors --dataset data/digits.npz \\
          --backend sim:hermes-64 --out cnn.sens.h5
      # net.h5 is what the example of hwloop deploy writes
      hwloop sensitivity net.h5 --out net.sens.h5
    """  # noqa: D301  click needs the backspace
    import dataclasses

    import hwloop
    from hwloop.files.hdf5 import check_writable
    from hwloop.nn.sensitivity import SensitivitySettings

    check_writable(options.out, force=options.force)
    apart = pairs(options.settings)
    if "seed" in apart:
        raise BadInputError("seed is given by --seed; leave --set seed out")
    settings = SensitivitySettings.parse({"seed": str(options.seed), **apart})
    with _given(options) as (network, data, chip), watched("sensitivity") as report:
        found = hwloop.sensitivity(network, data, chip, settings, exclude=options.exclude, progress=report)
    found.save(options.out, force=options.force)
    found = dataclasses.replace(found, file=options.out)
    if options.as_json:
        print_json(found.to_json())
    else:
        from hwloop.pages import page_of

        show_page(page_of(found))
    if found.status != "complete":
        leave(GOAL_MISSED)


@contextlib.contextmanager
def _given(options: SensitivityOptions) -> Iterator[tuple[nn.Module, DataLike | None, ChipLike | None]]:
    """Open what the options name. Raises BadInputError for too much of it, or too little."""
    from hwloop.chip.registry import connect
    from hwloop.jobs.network import load_network
    from hwloop.jobs.noise import network_of
    from hwloop.nn.datasets import read_dataset
    from hwloop.nn.factory import network_from

    named = (("--network", options.network), ("--weights", options.weights), ("--dataset", options.dataset))
    if options.deployed is None:
        missing = [name for name, value in (*named, ("--backend", options.backend)) if value is None]
        if missing or not (options.network and options.weights and options.dataset):
            raise BadInputError(f"give NET.h5, or {', '.join(missing)} as well")
        yield network_of(options.network, options.weights), read_dataset(options.dataset), options.backend
        return
    refused = [name for name, value in named[1:] if value is not None] + ["--exclude"] * bool(options.exclude)
    if refused:
        raise BadInputError(f"{refused[0]}: a deployed network has its own; leave it out, or leave out NET.h5")
    module = network_from(options.network) if options.network else None
    with connect(options.backend) if options.backend else contextlib.nullcontext() as chip:
        yield load_network(options.deployed, module, chip), None, None
