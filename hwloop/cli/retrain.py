"""`hwloop retrain`."""

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
from hwloop.cli.options import dataset_option, exclude_option, network_option, settings_option, weights_option
from hwloop.cli.screen import show_page
from hwloop.errors import BadInputError

if TYPE_CHECKING:
    from hwloop.calibration.settings import Settings
    from hwloop.jobs.retrain import Retrained


def _classes(options: Mapping[str, str]) -> Mapping[str, type[Settings]]:
    from hwloop.nn.retraining import Retraining

    return {"": Retraining}


@dataclass(frozen=True)
class RetrainOptions:
    """Options of `hwloop retrain`."""

    network: str = given(network_option(required=True))
    weights: str = given(weights_option(" to start from", required=True))
    dataset: str = given(dataset_option(required=True))
    backend: str = given(
        click.Option(["--backend"], required=True, help="Chip to train for, such as sim:hermes-64 or sim:MODEL.json.")
    )
    epochs: int | None = given(
        click.Option(["--epochs"], type=int, help="Times that all images are seen [default: 60].")
    )
    lr: float | None = given(click.Option(["--lr"], type=float, help="Learning rate at its highest [default: 0.002]."))
    settings: tuple[str, ...] = given(settings_option("training", "retraining", _classes))
    exclude: tuple[str, ...] = given(exclude_option())
    seed: int = given(seed_option(0, "noise, batches and held-out images"))
    out: str = given(file_option("--out", "Weights file to write (.safetensors).", required=True))
    force: bool = given(force_option())
    as_json: bool = given(json_option())


@command(RetrainOptions, "retrain")
def retrain(options: RetrainOptions) -> None:
    """Train a trained network on, with the noise of a chip, so that it stays accurate there.

    The noise is that of the chip's own model: nominal, or fitted where it is a twin (sim:MODEL.json). Programming,
    drift to ages from --set youngest=1min to --set oldest=1y, reads and converters are drawn anew for every batch.
    Columns are taken to be compensated at these ages; --set compensation=none trains for a chip that is left alone.

    The network learns from the labels and from what it says digitally itself, and the last epoch is written. With
    --set distillation=1 --set keep=better it learns to answer under noise as it does digitally and nothing else, and
    is written if held-out training images show by two standard errors that it does. Test images decide nothing.

    \b
    Example:
      hwloop retrain --network hwloop.nn.zoo:digits_cnn \\
          --weights data/digits_cnn.safetensors --dataset data/digits.npz \\
          --backend sim:hermes-64 --epochs 10 --out robust.safetensors
    """  # noqa: D301  click needs the backspace
    from hwloop.jobs.noise import network_of
    from hwloop.jobs.retrain import Output, retrain_into
    from hwloop.nn.learnt_ranges import check_weights_path
    from hwloop.nn.retraining import Retraining

    check_weights_path(options.out, force=options.force)
    given_apart = {"epochs": options.epochs, "lr": options.lr, "seed": options.seed}
    told = {name: str(value) for name, value in given_apart.items() if value is not None}
    apart = pairs(options.settings)
    if twice := sorted({"epochs", "lr"} & told.keys() & apart.keys()):
        raise BadInputError(f"--{twice[0]} and --set {twice[0]} are both given; leave one out")
    if "seed" in apart:
        raise BadInputError("seed is given by --seed; leave --set seed out")
    settings = Retraining.parse({**told, **apart})
    network = network_of(options.network, options.weights)
    with watched("  retrain") as report:
        output = Output(options.out, options.force, options.network, report)
        result = retrain_into(output, network, options.dataset, options.backend, settings, options.exclude)
    finish(result, as_json=options.as_json)


def finish(result: Retrained, *, as_json: bool) -> None:
    """Show what came of a training, and leave with the exit code of one that was stopped."""
    if as_json:
        print_json(result.to_json())
    else:
        from hwloop.pages.retrainings import page_of_retrained
        from hwloop.pages.terminal import ENTIRE

        show_page(page_of_retrained(result), ENTIRE)
    if result.status != "complete":
        leave(GOAL_MISSED)
