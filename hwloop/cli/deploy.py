"""`hwloop deploy`."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
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
    AGE_HELP,
    METHOD_NAMES,
    SPLIT_HELP,
    dataset_option,
    exclude_option,
    method_settings,
    network_option,
    settings_option,
    weights_option,
)
from hwloop.cli.screen import show_page
from hwloop.errors import BadInputError
from hwloop.mapping.clip import CLIPS
from hwloop.mapping.sharing import SCALES, MappingSettings
from hwloop.nn.ranges import INPUT_RANGES
from hwloop.nn.settings import REPLICA_USES
from hwloop.registry import suggest

if TYPE_CHECKING:
    from hwloop.nn.accuracy import Accuracy, DeployedAccuracy
    from hwloop.nn.network import DeployedNetwork
    from hwloop.nn.streaming import StreamedNetwork


@dataclass(frozen=True)
class DeployOptions:
    """Options of `hwloop deploy`."""

    network: str = given(network_option(required=True))
    weights: str = given(weights_option("", required=True))
    dataset: str = given(dataset_option(required=True))
    backend: str = given(click.Option(["--backend"], required=True, help="Chip, such as sim:hermes-64?seed=1."))
    method: str = given(click.Option(["--method"], default="gdp", show_default=True, help=f"One of {METHOD_NAMES}."))
    settings: tuple[str, ...] = given(settings_option("method", "methods", method_settings))
    exclude: tuple[str, ...] = given(exclude_option())
    replicas: tuple[str, ...] = given(
        click.Option(
            ["--replicas"], multiple=True, metavar="PATH=N", help="Put N copies of a layer on the chip; repeatable."
        )
    )
    replica_use: str = given(
        click.Option(
            ["--replica-use"], default=REPLICA_USES[0], show_default=True, help=f"Copies: {', '.join(REPLICA_USES)}."
        )
    )
    ranges: str = given(
        click.Option(
            ["--ranges"],
            default=INPUT_RANGES[0],
            show_default=True,
            help="Input ranges: error (those of the least error), percentile (of the inputs' magnitudes), dynamic "
            "(every vector to its own largest value).",
        )
    )
    bound_management: int = given(
        click.Option(
            ["--bound-management"],
            type=click.IntRange(0),
            default=0,
            show_default=True,
            help="Times that a vector with saturated outputs is repeated at half its scale.",
        )
    )
    images: int = given(
        click.Option(
            ["--images"],
            type=click.IntRange(1),
            default=500,
            show_default=True,
            help="Training images from which ranges and columns are taken.",
        )
    )
    inputs: str | None = given(
        file_option("--inputs", "Activations by matrix, or a coreset, in place of those of the training images.")
    )
    scale: str = given(
        click.Option(
            ["--scale"], default=SCALES[0], show_default=True, help=f"Weight scale per {' or per '.join(SCALES)}."
        )
    )
    split: str | None = given(click.Option(["--split"], help=SPLIT_HELP))
    clip: str = given(
        click.Option(
            ["--clip"], default=CLIPS[0], show_default=True, help=f"Clip the largest weights: {' or '.join(CLIPS)}."
        )
    )
    age: str | None = given(click.Option(["--age"], help=AGE_HELP))
    calibration: str | None = given(file_option("--calibration", "Calibration file of this chip (hwloop calibrate)."))
    seed: int = given(seed_option(0, "inputs and probes"))
    goal: float | None = given(
        click.Option(["--goal"], type=float, help="Exit with code 1 unless the accuracy (0 to 1) is at least this.")
    )
    passes: bool = given(
        click.Option(
            ["--passes"],
            is_flag=True,
            help="Send a network that does not fit through the chip part by part; takes no --out.",
        )
    )
    out: str | None = given(file_option("--out", "Network file to write (HDF5)."))
    force: bool = given(force_option())
    as_json: bool = given(json_option())


@command(DeployOptions, "deploy")
def deploy(options: DeployOptions) -> None:
    """Put a whole trained network on a chip, and measure its accuracy there.

    Layers with weight matrices go on the chip; all else stays digital and is listed with the reason. Input and output
    ranges and the columns are fitted to training images; the accuracy is that of the test images.

    \b
    Example:
      hwloop deploy --network hwloop.nn.zoo:digits_cnn \\
          --weights data/digits_cnn.safetensors --dataset data/digits.npz \\
          --backend "sim:hermes-64?seed=1" --out net.h5
    """  # noqa: D301  click needs the backspace
    if options.goal is not None and math.isnan(options.goal):
        raise BadInputError("--goal nan: expected an accuracy, as 0.95")
    if options.out is None and not options.passes:
        raise BadInputError("give --out, the network file to write")
    import hwloop
    from hwloop.calibration.programming.registry import method_from
    from hwloop.files.hdf5 import check_writable
    from hwloop.jobs.deploy import Deployment
    from hwloop.jobs.deploy_files import NetworkFiles, deploy_files
    from hwloop.nn.ranges import RangeSettings
    from hwloop.nn.settings import NetworkSettings

    for name, value, known in (
        ("--ranges", options.ranges, INPUT_RANGES),
        ("--replica-use", options.replica_use, REPLICA_USES),
    ):
        if value not in known:
            raise BadInputError(f"{name} {value} is unknown; {suggest(value, known)}")
    if options.out is not None:  # before anything that takes time
        check_writable(options.out, force=options.force)
    files = NetworkFiles(options.network, options.weights, options.dataset, options.exclude, options.images)
    ranges = RangeSettings(inputs=options.ranges, bound_management=options.bound_management)
    method = method_from(options.method, pairs(options.settings))
    settings = Deployment(
        calibration=options.calibration,
        mapping=MappingSettings(options.scale, options.split, options.clip),
        network=NetworkSettings(ranges, options.replica_use),
        replicas=_counts(options.replicas),
        activations=options.inputs,
        age=options.age,
        seed=options.seed,
        passes=options.passes,
        out=options.out,
        force=options.force,
    )
    with hwloop.connect(options.backend) as chip:
        with watched(method.name) as report:
            network = deploy_files(files, chip, method, replace(settings, progress=report))
        finish(network, options.goal, as_json=options.as_json)


def finish(network: DeployedNetwork | StreamedNetwork, goal: float | None, *, as_json: bool) -> None:
    """Show a network on its chip, which must be open still, and leave with the exit code of a goal that was missed."""
    if as_json:
        print_json(network.to_json())
    else:
        _show(network)
    tested = network.tested
    if goal is not None and tested is not None and tested.on_chip.value < goal:
        click.echo(f"goal missed: the accuracy {tested.on_chip.value:.3f} is below {goal:g}", err=True)
        leave(GOAL_MISSED)


def _counts(texts: tuple[str, ...]) -> dict[str, int]:
    """Read PATH=N texts. Raises BadInputError for one that is none."""
    found = {}
    for text in texts:
        path, _, count = text.rpartition("=")
        try:
            found[path] = int(count)
        except ValueError:
            path = ""
        if not path:
            raise BadInputError(f"--replicas {text}: expected PATH=N, as conv1=4")
    return found


def _show(network: DeployedNetwork | StreamedNetwork) -> None:
    from hwloop.nn import streaming
    from hwloop.pages import page_of

    if not isinstance(network, streaming.StreamedNetwork):
        show_page(page_of(network))
        return
    cost = network.cost()
    click.echo(
        f"The network does not fit on the chip: it went through it in {cost.passes} passes.\n"
        f"Each time that all of it goes through takes {cost.pulses_per_programming:.0f} pulses; a device has received "
        f"{cost.largest_count} at most."
    )
    _show_accuracy(network.tested)


def _show_accuracy(tested: DeployedAccuracy | None) -> None:
    if tested is not None:
        click.echo(
            f"\nAccuracy {_percent(tested.on_chip)} on {tested.on_chip.total} test images,\n"
            f"{tested.age:.3g} s after programming; digital {_percent(tested.digital)}."
        )


def _percent(accuracy: Accuracy) -> str:
    low, high = accuracy.interval
    return f"{accuracy.value:.1%} (95 %: {low:.1%} to {high:.1%})"
