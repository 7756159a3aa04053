"""Options of the commands that put weights on a chip."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import click

from hwloop.cli.common import file_option, force_option, given, seed_option
from hwloop.errors import BadInputError, printable
from hwloop.mapping.clip import CLIPS
from hwloop.mapping.layouts import LAYOUTS
from hwloop.mapping.sharing import SCALES, MappingSettings
from hwloop.mapping.split import SPLITS
from hwloop.registry import Registry

if TYPE_CHECKING:
    from hwloop.calibration.settings import Settings
    from hwloop.chip.info import ChipInfo
    from hwloop.jobs.inputs import Weights


def installed(group: str, first: tuple[str, ...] = ()) -> str:
    """List the names of an entry-point group for a help text, some of them first."""
    names = Registry(group, "", type).names()
    ordered = [name for name in first if name in names] + [name for name in names if name not in first]
    return ", ".join(ordered)


def network_option(*, required: bool = False) -> click.Option:
    """Make the option that names what makes the network."""
    what = "Makes the network; also FILE.py:FACTORY."
    return click.Option(["--network"], required=required, metavar="MODULE:FACTORY", help=what)


def dataset_option(more: str = "", *, required: bool) -> click.Option:
    """Make the option of labelled examples; `more` says when it is needed."""
    what = "D.npz with x_train, y_train, x_test and y_test, or with images, labels, train_index and test_index"
    return file_option("--dataset", f"{what}{more}.", required=required)


def weights_option(what: str, *, required: bool) -> click.Option:
    """Make the option that names trained weights; `what` says what they are for."""
    return file_option("--weights", f"Trained weights{what}, a file as for hwloop program.", required=required)


Classes: TypeAlias = "Callable[[Mapping[str, str]], Mapping[str, type[Settings]]]"
"""Finds the classes of settings by what stands before their names, '' for nothing, given the other options as texts."""


class SettingsOption(click.Option):
    """An option of KEY=VALUE that says which settings there are, for whoever makes a form of them."""

    def __init__(self, names: Sequence[str], classes: Classes, metavar: str = "KEY=VALUE", what: str = "") -> None:
        """Make the option.

        Parameters
        ----------
        names
            Of the option and of the field that it fills.
        classes
            Finds the classes, whose fields are the keys.
        metavar, what
            What is typed, and the sentence of the help.
        """
        super().__init__(list(names), multiple=True, metavar=metavar, help=what)
        self.classes = classes


def method_settings(options: Mapping[str, str]) -> Mapping[str, type[Settings]]:
    """Find the settings of the programming method of --method."""
    from hwloop.calibration.programming.registry import METHODS

    return {"": METHODS.find(options.get("method", "gdp"))}


def no_settings(options: Mapping[str, str]) -> Mapping[str, type[Settings]]:
    """Know of none."""
    return {}


def settings_option(of: str, page: str, classes: Classes = no_settings) -> click.Option:
    """Make the option --set, which fills the field `settings`; `page` of the documentation lists them."""
    what = f"A setting of the {of} (docs/{page}.md); repeatable."
    return SettingsOption(["--set", "settings"], classes, what=what)


def exclude_option() -> click.Option:
    """Make the option that keeps layers off the chip."""
    what = "A layer that stays digital, or a pattern; repeatable."
    return click.Option(["--exclude"], multiple=True, metavar="PATH", help=what)


METHOD_NAMES = installed("hwloop.methods", ("gdp", "iterative", "exact", "sgd"))
SPLIT_HELP = (
    f"How the devices of a polarity share: {', '.join(SPLITS)} [default: auto where the devices are known, else fill]."
)
AGE_HELP = "Age after programming at which targets hold: 20s, 1h [default: the chip's t0]."


def tensor_option(what: str) -> click.Option:
    """Make the option that names tensors."""
    return click.Option(["--tensor"], multiple=True, metavar="NAME", help=f"{what}: a name or a pattern; repeatable.")


def layout_option() -> click.Option:
    """Make the option that says which axis of a tensor is which."""
    return click.Option(
        ["--layout"],
        multiple=True,
        metavar="[NAME=]ORDER",
        help=f"Order of the axes of all tensors, or of NAME (or a pattern): {', '.join(LAYOUTS)}; repeatable "
        "[default: as names, shapes and biases tell, else outputs-first].",
    )


def layouts_from(given: Sequence[str]) -> str | dict[str, str] | None:
    """Read layouts, each of them for all tensors or for those of a name."""
    if not given:
        return None
    found: dict[str, str] = {}
    for text in given:
        name, _, layout = text.rpartition("=")
        if name in found:
            raise BadInputError(f"--layout {printable(text)}: a layout of '{printable(name or '*')}' is given twice")
        found[name] = layout
    return found


@dataclass(frozen=True)
class TaskOptions:
    """What to put on which chip, and what to show of it."""

    weights: str = given(click.Argument(["weights"], type=click.Path()))
    backend: str = given(
        click.Option(["--backend"], required=True, help="Chip to program, such as sim:hermes-core?seed=1.")
    )
    tensor: tuple[str, ...] = given(tensor_option("Program this tensor of the file alone"))
    layout: tuple[str, ...] = given(layout_option())
    merge_lora: float | None = given(
        click.Option(
            ["--merge-lora"], type=float, metavar="SCALE", help="Add low-rank adapters to their weights: W + SCALE B A."
        )
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
    inputs: str | None = given(file_option("--inputs", "Sample activations: .npz by tensor, or .npy for one tensor."))
    seed: int = given(seed_option(0, "inputs and probes"))
    force: bool = given(force_option())
    plot: str | None = given(file_option("--plot", "Also draw the result, FILE.png, .svg or .pdf."))
    goal: float | None = given(
        click.Option(["--goal"], type=float, help="Exit with code 1 unless the MVM error is at most this.")
    )

    def read_weights(self, chip: ChipInfo | None = None) -> Weights:
        """Read WEIGHTS, with the tensors and layouts that are asked for, as far as they fit on a chip."""
        from hwloop.jobs.inputs import weights_from
        from hwloop.mapping.matrix import Room

        room = None if chip is None else Room.of(chip)
        return weights_from(self.weights, self.tensor or None, layouts_from(self.layout), self.merge_lora, room)

    @property
    def mapping(self) -> MappingSettings:
        """How weights become conductances."""
        return MappingSettings(self.scale, self.split, self.clip)
