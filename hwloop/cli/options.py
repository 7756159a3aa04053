"""Options of the commands that put weights on a chip."""

from __future__ import annotations

from dataclasses import dataclass

import click

from hwloop.cli.common import file_option, force_option, given, seed_option
from hwloop.mapping.clip import CLIPS
from hwloop.mapping.matrix import LAYOUTS
from hwloop.mapping.sharing import SCALES, MappingSettings
from hwloop.mapping.split import SPLITS
from hwloop.registry import Registry


def installed(group: str, first: tuple[str, ...] = ()) -> str:
    """List the names of an entry-point group for a help text, some of them first."""
    names = Registry(group, "", type).names()
    ordered = [name for name in first if name in names] + [name for name in names if name not in first]
    return ", ".join(ordered)


METHOD_NAMES = installed("hwloop.methods", ("gdp", "iterative", "exact", "sgd"))


@dataclass(frozen=True)
class TaskOptions:
    """What to put on which chip, and what to show of it."""

    weights: str = given(click.Argument(["weights"], type=click.Path()))
    backend: str = given(
        click.Option(["--backend"], required=True, help="Chip to program, such as sim:hermes-core?seed=1.")
    )
    tensor: str | None = given(click.Option(["--tensor"], help="Program this tensor of the file alone."))
    layout: str = given(
        click.Option(["--layout"], default=LAYOUTS[0], help=f"Order of a tensor's axes: {' or '.join(LAYOUTS)}.")
    )
    scale: str = given(
        click.Option(["--scale"], default=SCALES[0], help=f"Weight scale per {' or per '.join(SCALES)}.")
    )
    split: str | None = given(
        click.Option(
            ["--split"],
            help=f"How the devices of a polarity share: {', '.join(SPLITS)} "
            "[default: auto where the devices are known, else fill].",
        )
    )
    clip: str = given(
        click.Option(["--clip"], default=CLIPS[0], help=f"Clip the largest weights: {' or '.join(CLIPS)}.")
    )
    age: str | None = given(
        click.Option(["--age"], help="Age after programming at which targets hold: 20s, 1h [default: the chip's t0].")
    )
    calibration: str | None = given(file_option("--calibration", "Calibration file of this chip (hwloop calibrate)."))
    inputs: str | None = given(file_option("--inputs", "Sample activations: .npz by tensor, or .npy for one tensor."))
    seed: int = given(seed_option(0, "inputs and probes"))
    force: bool = given(force_option())
    plot: str | None = given(file_option("--plot", "Also draw the result, FILE.png or FILE.svg."))
    goal: float | None = given(
        click.Option(["--goal"], type=float, help="Exit with code 1 unless the MVM error is at most this.")
    )

    @property
    def mapping(self) -> MappingSettings:
        """How weights become conductances."""
        return MappingSettings(self.scale, self.split, self.clip)
