"""`hwloop train`."""

from __future__ import annotations

import math
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
from hwloop.cli.options import (
    Classes,
    SettingsOption,
    dataset_option,
    exclude_option,
    network_option,
    settings_option,
    weights_option,
)
from hwloop.cli.screen import show_page
from hwloop.errors import BadInputError

if TYPE_CHECKING:
    from hwloop.calibration.settings import Settings
    from hwloop.jobs.trained import Trained

ALGORITHMS = "sgd, tiki-taka, ttv2, c-ttv2, agad, shd or mixed-precision"
"""For the help text, which must not load torch."""


def _pairs_option(field: str, what: str, classes: Classes) -> click.Option:
    return SettingsOption([f"--{field}", field], classes, what=f"{what} (docs/training.md); repeatable.")


def _of_algorithm(options: Mapping[str, str]) -> Mapping[str, type[Settings]]:
    from hwloop.jobs.train import rule_from

    return {"": type(rule_from(options.get("algorithm", "agad")))}


def _of_periphery(options: Mapping[str, str]) -> Mapping[str, type[Settings]]:
    from hwloop.nn.in_memory.settings import Periphery

    return {"": Periphery}


def _of_training(options: Mapping[str, str]) -> Mapping[str, type[Settings]]:
    from hwloop.optim.settings import Training

    return {"": Training}


@dataclass(frozen=True)
class TrainOptions:
    """Options of `hwloop train`."""

    network: str = given(network_option(required=True))
    dataset: str = given(dataset_option(required=True))
    backend: str = given(
        click.Option(["--backend"], required=True, help="Chip of devices that step, such as sim:reram-sb?seed=1.")
    )
    algorithm: str = given(
        click.Option(["--algorithm"], default="agad", show_default=True, help=f"One of {ALGORITHMS}.")
    )
    settings: tuple[str, ...] = given(settings_option("algorithm", "training", _of_algorithm))
    periphery: tuple[str, ...] = given(_pairs_option("periphery", "A setting of converters and pulses", _of_periphery))
    training: tuple[str, ...] = given(_pairs_option("training", "A further setting of the training", _of_training))
    weights: str | None = given(weights_option(" to begin with [default: drawn anew]", required=False))
    calibration: str | None = given(file_option("--calibration", "Calibration file of this chip (hwloop calibrate)."))
    epochs: int | None = given(
        click.Option(["--epochs"], type=int, help="Times that all images are seen [default: 30].")
    )
    lr: float | None = given(
        click.Option(["--lr"], type=float, help="Learning rate at its highest [default: the algorithm's own].")
    )
    exclude: tuple[str, ...] = given(exclude_option())
    seed: int = given(seed_option(0, "start weights, order of the images, and all else drawn outside of the chip"))
    goal: float | None = given(
        click.Option(["--goal"], type=float, help="Exit with code 1 unless the accuracy (0 to 1) is at least this.")
    )
    out: str = given(file_option("--out", "Training file to write (HDF5).", required=True))
    plot: str | None = given(file_option("--plot", "Also draw the curves, FILE.png, .svg or .pdf."))
    force: bool = given(force_option())
    as_json: bool = given(json_option())


@command(TrainOptions, "train")
def train(options: TrainOptions) -> None:
    """Train a network on the devices of a chip: forward, backward and update by pulses, all in memory.

    Weights change by counted pulses alone. Biases and all that is no matrix are trained digitally. The accuracy on test
    images is measured through the chip after every epoch, and decides nothing.

    \b
    Example:
      hwloop train --network hwloop.nn.zoo:digits_mlp \\
          --dataset data/digits.npz --backend "sim:reram-sb?seed=1" \\
          --algorithm mixed-precision --epochs 3 --out t.h5 --plot t.png
    """  # noqa: D301  click needs the backspace
    import hwloop
    from hwloop.jobs.train import TrainingJob, rule_from
    from hwloop.nn.datasets import read_dataset

    if options.goal is not None and math.isnan(options.goal):
        raise BadInputError("--goal nan: expected an accuracy, as 0.95")
    rule = rule_from(options.algorithm, pairs(options.settings))
    if options.plot:
        from hwloop.plot.style import check_figure_path

        check_figure_path(options.plot, options.out, force=options.force)
    job = TrainingJob(
        training=hwloop.Training.parse(_told(options)),
        periphery=hwloop.Periphery.parse(pairs(options.periphery)),
        exclude=options.exclude,
        calibration=options.calibration,
        network=options.network,
        dataset=options.dataset,
        weights=options.weights or "",
        out=options.out,
        force=options.force,
    )
    data = read_dataset(options.dataset)
    network = job.make_network()
    with watched("    train") as report, hwloop.connect(options.backend) as chip:
        result = hwloop.train(network, data, chip, rule, job, progress=report)
    if options.plot and result.curves.loss:
        draw(result, options.plot)
    finish(result, options.goal, as_json=options.as_json)


def _told(options: TrainOptions) -> dict[str, str]:
    """Join the settings of the training that have options of their own with those of --training."""
    apart = pairs(options.training)
    own = {"epochs": options.epochs, "lr": options.lr, "seed": options.seed}
    told = {name: str(value) for name, value in own.items() if value is not None}
    if twice := sorted(told.keys() & apart.keys()):
        raise BadInputError(f"{twice[0]} is given by --{twice[0]}; leave --training {twice[0]} out")
    return told | apart


def draw(result: Trained, path: str) -> None:
    """Draw the curves into a file."""
    from pathlib import Path

    from matplotlib.figure import Figure

    from hwloop.plot.style import SCREEN, save_figure

    with SCREEN.applied():
        figure = Figure(figsize=SCREEN.size, layout="constrained")
        result.plot(figure.subplots())
        save_figure(figure, Path(path))


def finish(result: Trained, goal: float | None = None, *, as_json: bool) -> None:
    """Show what came of a training, and leave with the exit code of one that was stopped or missed its goal."""
    if as_json:
        print_json(result.to_json())
    else:
        from hwloop.pages import page_of

        show_page(page_of(result))
    reached = result.test_accuracy[-1] if result.test_accuracy else 0.0
    if goal is not None and not reached >= goal:
        click.echo(f"goal missed: the accuracy {reached:.3f} is below {goal:g}", err=True)
        leave(GOAL_MISSED)
    if result.status != "complete":
        leave(GOAL_MISSED)
