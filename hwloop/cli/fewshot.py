"""`hwloop fewshot`."""

from __future__ import annotations

from collections.abc import Mapping
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
from hwloop.cli.options import METHOD_NAMES, dataset_option, network_option, settings_option, weights_option
from hwloop.cli.screen import show_page
from hwloop.errors import BadInputError

if TYPE_CHECKING:
    from hwloop.calibration.settings import Settings

OWN = ("sessions", "ways", "shots", "dimension", "epochs", "age", "method", "seed")
"""Settings that are options by themselves."""


def _classes(options: Mapping[str, str]) -> Mapping[str, type[Settings]]:
    from hwloop.nn.memory.settings import MemorySettings

    return {"": MemorySettings}


@dataclass(frozen=True)
class FewShotOptions:
    """Options of `hwloop fewshot`."""

    network: str = given(network_option(required=True))
    dataset: str = given(dataset_option(required=True))
    backend: str = given(
        click.Option(
            ["--backend"], required=True, help="Chip with cores for network and memory, such as sim:hermes-64."
        )
    )
    weights: str | None = given(
        weights_option(", taken as they are [default: the network is trained on the base classes]", required=False)
    )
    sessions: int | None = given(
        click.Option(["--sessions"], type=int, help="Sessions that bring new classes [default: 5].")
    )
    ways: int | None = given(click.Option(["--ways"], type=int, help="New classes in each session [default: 1]."))
    shots: int | None = given(click.Option(["--shots"], type=int, help="Examples of each class [default: 5]."))
    dimension: int | None = given(
        click.Option(["--dimension"], type=int, help="Elements of what is remembered; 0: no projection [default: 256].")
    )
    epochs: int | None = given(
        click.Option(["--epochs"], type=int, help="Epochs on the base classes [default: 30; 0 with --weights].")
    )
    age: str | None = given(
        click.Option(["--age"], help="When all is asked again after the last session, 0 for not [default: 1d].")
    )
    method: str = given(
        click.Option(["--method"], default="gdp", show_default=True, help=f"Programs the network: {METHOD_NAMES}.")
    )
    settings: tuple[str, ...] = given(settings_option("memory", "memory", _classes))
    seed: int = given(seed_option(0, "which classes are new, the examples, and the projection"))
    out: str = given(file_option("--out", "Few-shot file to write (HDF5).", required=True))
    goal: float | None = given(
        click.Option(
            ["--goal"], type=float, help="Exit with code 1 unless the last accuracy (0 to 1) is at least this."
        )
    )
    force: bool = given(force_option())
    as_json: bool = given(json_option())


@command(FewShotOptions, "fewshot")
def fewshot(options: FewShotOptions) -> None:
    """Learn classes from few examples in sessions: a network on the chip sees, a memory beside it remembers.

    The network is trained on the base classes alone, loses its last layer, and is put on the chip once. Every class is
    then a column of devices into which its examples are written by SET pulses, and is found again by one product.

    \b
    Example:
      hwloop fewshot --network hwloop.nn.zoo:digits_cnn \\
          --dataset data/digits.npz --sessions 5 --ways 1 --shots 5 \\
          --backend "sim:hermes-64?seed=1" --out f.h5
    """  # noqa: D301  click needs the backspace
    import dataclasses

    import hwloop
    from hwloop.files.hdf5 import check_writable
    from hwloop.jobs.noise import network_of
    from hwloop.nn.datasets import read_dataset
    from hwloop.nn.factory import network_from
    from hwloop.optim.training import seeded

    check_writable(options.out, force=options.force)
    if options.goal is not None and not 0 <= options.goal <= 1:
        raise BadInputError(f"--goal {options.goal:g}: expected an accuracy, from 0 to 1")
    told = {name: str(value) for name in OWN if (value := getattr(options, name)) is not None}
    if options.weights and options.epochs is None:
        told["epochs"] = "0"
    settings = hwloop.FewShot.parse(told)
    memory = hwloop.nn.MemorySettings.parse({"seed": str(options.seed), **pairs(options.settings)})
    data = read_dataset(options.dataset)
    with seeded(options.seed):  # start weights that are trained
        network = network_of(options.network, options.weights) if options.weights else network_from(options.network)
    with watched("few-shot") as report, hwloop.connect(options.backend) as chip:
        found = hwloop.fewshot(network, data, chip, settings, memory=memory, progress=report)
    found.save(options.out, force=options.force)
    found = dataclasses.replace(found, file=options.out)
    if options.as_json:
        print_json(found.to_json())
    else:
        from hwloop.pages import page_of

        show_page(page_of(found))
    if found.status != "complete" or found.last_session.on_chip.value < (options.goal or 0.0):
        leave(GOAL_MISSED)
