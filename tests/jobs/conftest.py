"""A small chip, a small matrix, and chips that lack something or break."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

import hwloop
from hwloop.chip.info import Capability
from hwloop.errors import ChipError
from hwloop.sim_backend.chip import SimulatedChip
from tests.conftest import OpenChip, gaussian

CHIP = "sim:hermes-core?rows=32&columns=32&seed=1"
FOUR_CORES = CHIP + "&cores=4"
FEW_STEPS = hwloop.GDP(max_steps=6)
WEIGHTS = gaussian(12, 16)
"""12 outputs and 16 inputs."""
LINK_DOWN = "the link is down; check the cable"

OpenWithout = Callable[..., hwloop.Backend]


@pytest.fixture
def open_without(open_chip: OpenChip) -> OpenWithout:
    """`open_without(CHIP, Capability.STATE)` opens a chip that lacks these capabilities, as one on a bench does."""

    def take(uri: str, *capabilities: Capability) -> hwloop.Backend:
        chip = open_chip(uri)
        chip._info = dataclasses.replace(chip.info, capabilities=chip.info.capabilities - set(capabilities))
        return chip

    return take


class CtrlC:
    """A progress report that presses Ctrl-C once it was told of this many steps."""

    def __init__(self, steps: int) -> None:
        self._left = steps

    def __call__(self, done: int, total: int) -> None:
        self._left -= 1
        if not self._left:
            raise KeyboardInterrupt


def link_down(*_: object) -> None:
    """Fail as a chip does whose cable was pulled."""
    raise ChipError(LINK_DOWN)


def failing_mvm(monkeypatch: pytest.MonkeyPatch, good_calls: int) -> None:
    """Make every simulated chip lose its link after this many MVMs."""
    mvm, calls = SimulatedChip._mvm, []

    def break_down(chip: SimulatedChip, core: int, x: np.ndarray) -> np.ndarray:
        calls.append(core)
        if len(calls) > good_calls:
            link_down()
        return mvm(chip, core, x)

    monkeypatch.setattr(SimulatedChip, "_mvm", break_down)
