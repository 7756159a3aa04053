"""Common experiments as command lines to begin with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hwloop.web.folder import DataFolder


@dataclass(frozen=True)
class Recipe:
    """An experiment to begin with.

    Parameters
    ----------
    name, title, sentence
        By which its link knows it; and what it does.
    words
        Its command line, but for `--out`.
    newest
        Ending and beginning of the files of which the newest is its input, in place of the word NEWEST; empty for none.
    before
        Recipe that makes such a file.
    """

    name: str
    title: str
    sentence: str
    words: tuple[str, ...]
    newest: str = ""
    before: str = ""

    def line(self, folder: DataFolder) -> tuple[str, ...] | None:
        """Return the command line with the newest file in its place; None where there is none yet."""
        if not self.newest:
            return self.words
        stem, _, suffix = self.newest.partition("*")
        fitting = [one.name for one in folder.files() if one.name.startswith(stem) and one.name.endswith(suffix)]
        return tuple(fitting[0] if word == NEWEST else word for word in self.words) if fitting else None


NEWEST = "NEWEST"
WEIGHTS, CHIP = "data/digits_mlp.safetensors", "sim:hermes-core?seed=1"
CNN = ("--network", "hwloop.nn.zoo:digits_cnn")
DIGITS = ("--dataset", "data/digits.npz")
RECIPES: Sequence[Recipe] = (
    Recipe(
        "compare",
        "Compare two methods",
        "Program a small network onto the same simulated chip with two methods, and set their errors side by side.",
        ("compare", WEIGHTS, "--backend", CHIP, "--methods", "iterative,gdp"),
    ),
    Recipe(
        "program",
        "Program a chip",
        "Put trained weights on a chip and measure the error of its products.",
        ("program", WEIGHTS, "--backend", CHIP, "--method", "gdp"),
    ),
    Recipe(
        "calibrate",
        "Calibrate a chip",
        "Find out what works, what the converters do, how devices answer, and which noise floor is left.",
        ("calibrate", "all", "--backend", "sim:hermes-core?seed=4&stuck_rate=0.01"),
    ),
    Recipe(
        "drift",
        "Drift over a year",
        "Let the chip of a run age for a year, with several compensations side by side.",
        ("drift", NEWEST, "--times", "1s,1h,1d,30d,1y"),
        "program-*.h5",
        "program",
    ),
    Recipe(
        "measure",
        "Measure drift",
        "Bring devices to levels and read them for a day: what a model of the chip is fitted to.",
        ("measure", "drift", "--backend", "sim:hermes-core?seed=3", "--cells", "2000", "--levels", "8"),
    ),
    Recipe(
        "fit",
        "Fit a model",
        "Fit noise and drift to the newest measurement; the model is a simulated twin of the chip.",
        ("fit", NEWEST),
        "measure-*.h5",
        "measure",
    ),
    Recipe(
        "deploy",
        "Deploy a network",
        "Put a trained network for digits onto the simulated 64-core chip and measure its accuracy there.",
        ("deploy", *CNN, "--weights", "data/digits_cnn.safetensors", *DIGITS, "--backend", "sim:hermes-64?seed=1"),
    ),
    Recipe(
        "train",
        "Train in memory",
        "Train a small network on devices that step up and down, by pulses alone.",
        (
            *("train", "--network", "hwloop.nn.zoo:digits_mlp", *DIGITS, "--backend", "sim:reram-sb?seed=1"),
            *("--algorithm", "mixed-precision", "--epochs", "3"),
        ),
    ),
    Recipe(
        "socket",
        "A chip behind a socket",
        "Start an emulated instrument on this computer, and program it as a chip on a bench.",
        ("serve", "--chip", CHIP, "--port", "0"),
    ),
)
"""The experiments of the first page, the first ones first."""


def recipe(name: str) -> Recipe | None:
    """Find a recipe by its name; None where there is none."""
    return next((one for one in RECIPES if one.name == name), None)
