"""A URI in the place of an open chip is one line that says how a chip is opened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torch import nn

import hwloop
from hwloop.chip.backend import Backend
from hwloop.chip.opened import takes_open_chips
from hwloop.errors import BadInputError

URI = "sim:hermes-core?rows=8&columns=8&seed=1"
WEIGHTS = np.eye(4)
MODULE = nn.Linear(4, 4)
DATA = (np.zeros((8, 4)), np.zeros(8, np.int64))
CALLS: dict[str, Callable[[], object]] = {
    "program": lambda: hwloop.program(URI, WEIGHTS),  # type: ignore[arg-type]
    "program by name": lambda: hwloop.program(weights=WEIGHTS, chip=Path("chip")),  # type: ignore[arg-type]
    "calibrate": lambda: hwloop.calibrate(URI),  # type: ignore[arg-type]
    "measure": lambda: hwloop.measure(URI, "drift"),  # type: ignore[arg-type]
    "deploy": lambda: hwloop.deploy(MODULE, URI),  # type: ignore[arg-type]
    "train": lambda: hwloop.train(MODULE, [DATA], URI),  # type: ignore[arg-type]
    "fewshot": lambda: hwloop.fewshot(MODULE, DATA, URI),  # type: ignore[arg-type]
    "evaluate": lambda: hwloop.evaluate("run.h5", URI),  # type: ignore[arg-type]
    "drift": lambda: hwloop.drift("run.h5", URI, ["1h"]),  # type: ignore[arg-type]
    "resume": lambda: hwloop.resume("run.h5", URI),  # type: ignore[arg-type]
    "load_network": lambda: hwloop.load_network("net.h5", None, URI),  # type: ignore[arg-type]
    "open_trained": lambda: hwloop.open_trained("t.h5", URI),  # type: ignore[arg-type]
    "analog": lambda: hwloop.nn.analog(MODULE, URI),  # type: ignore[arg-type]
    "memory": lambda: hwloop.nn.ExplicitMemory(URI),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", CALLS)
def test_it_is_said_how_a_chip_is_opened(name: str) -> None:
    with pytest.raises(
        BadInputError, match=r"chip is a text, '.*', and not an open chip: .* hwloop\.connect\(\.\.\.\)"
    ):
        CALLS[name]()


def test_only_parameters_that_are_chips_are_looked_at() -> None:
    @takes_open_chips
    def job(name: str, chip: Backend | None = None) -> str:
        return name

    assert job("sim:pcm-ideal") == job("sim:pcm-ideal", None) == "sim:pcm-ideal"
    with hwloop.connect(URI) as chip:
        assert job("a", chip) == job("a", chip=chip) == "a"
    with pytest.raises(BadInputError):
        job("a", "sim:pcm-ideal")  # type: ignore[arg-type]
