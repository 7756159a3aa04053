"""A small chip, small matrices in files, and chips that lack something or break."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import hwloop
from hwloop.chip.info import Capability
from hwloop.jobs import tasks as jobs
from hwloop.jobs.program import Progress
from hwloop.jobs.tasks import Task
from tests.conftest import gaussian

CHIP = "sim:hermes-core?rows=32&columns=32&seed=1"
FOUR_CORES = CHIP + "&cores=4"
FEW_STEPS = {"max_steps": "6"}

MakeTask = Callable[..., Task]


@pytest.fixture
def make_task(tmp_path: Path) -> MakeTask:
    """A task for a file that holds these weights, by default a matrix of 12 outputs and 16 inputs."""

    def make(weights: np.ndarray | None = None, backend: str = CHIP, **rest: object) -> Task:
        path = tmp_path / "w.npy"
        np.save(path, gaussian(12, 16) if weights is None else weights)
        return Task(str(path), backend, **rest)

    return make


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[Capability], None]:
    """Take a capability from every chip that a job connects to, as on a bench."""

    def take(capability: Capability) -> None:
        def connect(uri: str) -> hwloop.Backend:
            chip = hwloop.connect(uri)
            chip._info = dataclasses.replace(chip.info, capabilities=chip.info.capabilities - {capability})
            return chip

        monkeypatch.setattr(jobs, "connect", connect)

    return take


class CtrlC:
    """An observer that presses Ctrl-C once it has seen this many steps."""

    def __init__(self, steps: int) -> None:
        self._left = steps

    def __call__(self, progress: Progress) -> None:
        self._left -= 1
        if not self._left:
            raise KeyboardInterrupt
