"""Left alone, a command does what its call in Python does: the defaults are the same, and those that are told."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import click
import pytest

import hwloop
from hwloop.cli import COMMANDS, main


def numbers(function: Callable[..., object]) -> dict[str, float]:
    """Default numbers of a call."""
    defaults = {name: one.default for name, one in inspect.signature(function).parameters.items()}
    return {name: one for name, one in defaults.items() if isinstance(one, int | float) and not isinstance(one, bool)}


def options(name: str) -> dict[str, click.Parameter]:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    return {str(one.name): one for one in command.params}


DEFAULTS = {
    "program": {"seed": 0}, "compare": {"seed": 0, "repeats": 1}, "evaluate": {"seed": 1},
    "drift": {"limit": 0.15, "probes": 256, "seed": 1},
}  # fmt: skip
"""Runs are measured with other seeds than they are programmed with: no noise is seen twice."""


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_command_has_the_defaults_of_its_call(name: str) -> None:
    assert numbers(getattr(hwloop, name)) == DEFAULTS[name]
    shown = {one: options(name)[one].default for one in DEFAULTS[name]}
    assert shown == DEFAULTS[name]
    assert options(name).keys() >= DEFAULTS[name].keys()


@pytest.mark.parametrize("name", ["calibrate", "measure"])
def test_what_begins_with_a_chip_begins_with_seed_0(name: str) -> None:
    assert numbers(getattr(hwloop, name)) == {"seed": 0}


@pytest.mark.parametrize("name", ["deploy", "retrain", "train", "fewshot", "sensitivity"])
def test_networks_are_made_with_seed_0(name: str) -> None:
    assert options(name)["seed"].default == 0


def test_other_numbers_of_the_command_line() -> None:
    told = {(name, option): one.default for name in COMMANDS for option, one in options(name).items()}
    assert told.items() >= {
        ("deploy", "bound_management"): 0, ("deploy", "images"): 500, ("import", "skip"): 0,
        ("discover", "timeout"): 2.0, ("serve", "port"): 5025,
    }.items()  # fmt: skip


@pytest.mark.parametrize(
    ("words", "refused"),
    [
        (("drift", "--probes", "2"), "2 is not in the range x>=3"),
        (("compare", "--repeats", "0"), "0 is not in the range x>=1"),
        (("program", "--seed", "-1"), "-1 is not in the range x>=0"),
        (("import", "--skip", "-1"), "-1 is not in the range x>=0"),
    ],
)
def test_numbers_below_their_least_are_refused(words: tuple[str, ...], refused: str) -> None:
    name, option, value = words
    with pytest.raises(click.BadParameter, match=refused):
        options(name)[option.removeprefix("--")].type.convert(value, None, None)
    least = int(refused.rpartition("=")[2])
    assert options(name)[option.removeprefix("--")].type.convert(str(least), None, None) == least
