"""Left alone, a command does what its call in Python does: the defaults are the same, and those that are told."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator

import click
import pytest

import hwloop
from hwloop.cli import main


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


def every_option() -> dict[tuple[str, str], click.Parameter]:
    """Options of all commands, by the command and their names."""

    def walk(one: click.Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, str], click.Parameter]]:
        if isinstance(one, click.Group):
            for name in one.list_commands(context := click.Context(one)):
                found = one.get_command(context, name)
                assert found is not None
                yield from walk(found, (*path, name))
        else:
            yield from (((" ".join(path), str(option.name)), option) for option in one.params)

    return dict(walk(main, ()))


OF_CELLS = {"averages": 16, "low": 0.0, "high": 0.0, "tolerance": 0.0, "max_pulses": 15}
"""Of experiments that program cells to levels, 0 standing for what the chip suggests."""
NUMBERS = {
    "deploy": {"bound_management": 0, "images": 500}, "compare": {"repeats": 1},
    "drift": {"limit": 0.15, "probes": 256},
    "measure drift": OF_CELLS | {"cells": 10_000, "per_decade": 4}, "measure programming": OF_CELLS | {"cells": 10_000},
    "measure read-noise": OF_CELLS | {"cells": 64, "samples": 4096, "sample_averages": 1},
    "measure programming-curve": {
        "averages": 16, "cells": 1000, "points": 24, "repeats": 4, "low": 0.0, "high": 0.0, "width": 0.0,
        "set_amplitude": 0.0, "set_width": 0.0,
    },
    "measure pulse-response": {"averages": 16, "cells": 400, "pulses": 1000, "read_every": 10, "cycles": 1},
    "import": {"skip": 0}, "discover": {"timeout": 2.0}, "serve": {"port": 5025}, "web": {"port": 8642},
}  # fmt: skip
"""Numbers of commands by default, but for seeds; 5025 is the port of SCPI."""


def test_no_command_has_other_numbers_by_default() -> None:
    found: dict[str, dict[str, float]] = {}
    for (command, name), option in every_option().items():
        if isinstance(option.default, int | float) and not isinstance(option.default, bool):
            found.setdefault(command, {})[name] = option.default
    assert {one.pop("verbose") for one in found.values() if "verbose" in one} == {0}
    seeds = {command: one.pop("seed") for command, one in found.items() if "seed" in one}
    assert {command for command, seed in seeds.items() if seed} == {"evaluate", "drift", "calibrate check"}
    assert set(seeds.values()) == {0, 1}
    assert {command: one for command, one in found.items() if one} == NUMBERS


LEAST = {
    "seed": 0, "verbose": 0, "skip": 0, "port": 0, "bound_management": 0, "workers": 1, "images": 1, "repeats": 1,
    "bits": 1, "probes": 3, "timeout": 0.01,
}  # fmt: skip
"""Of numbers that have one; of ports the highest is 65535, and nobody waits for more than a minute."""


def test_numbers_have_the_same_least_in_all_commands() -> None:
    for (command, name), option in every_option().items():
        low, high = getattr(option.type, "min", None), getattr(option.type, "max", None)
        if low is not None:
            assert low == (1 if (command, name) == ("search", "cores") else (LEAST | {"cores": 0})[name]), (
                command,
                name,
            )
            assert high == {"port": 65535, "timeout": 60}.get(name), (command, name)


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
