"""Two threads with one chip: the second job is refused, and the first is as if it had been alone."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import hwloop
from hwloop.errors import ChipError
from tests.conftest import OpenChip, gaussian

CHIP = "sim:hermes-core?rows=16&columns=16&seed=3"


def test_a_second_thread_cannot_spoil_a_run(open_chip: OpenChip) -> None:
    weights = gaussian(8, 8)
    alone = hwloop.program(open_chip(CHIP), weights, hwloop.GDP(max_steps=4))
    chip, refused = open_chip(CHIP), []

    def other() -> None:
        for use in (lambda: hwloop.program(chip, weights), lambda: chip.mvm(0, np.ones((1, 16), int))):
            try:
                use()
            except ChipError as error:
                refused.append(str(error))

    def report(done: int, total: int) -> None:
        if not refused:
            thread = threading.Thread(target=other)
            thread.start()
            thread.join(20)

    run = hwloop.program(chip, weights, hwloop.GDP(max_steps=4), progress=report)
    assert len(refused) == 2
    assert all("is in use by program in MainThread" in text for text in refused)
    assert run.mvm_error == alone.mvm_error
    np.testing.assert_array_equal(run.tiles[0].pulses, alone.tiles[0].pulses)


def test_the_chip_of_a_run_is_held_by_its_jobs_too(open_chip: OpenChip) -> None:
    run = hwloop.program(open_chip(CHIP), gaussian(8, 8), hwloop.GDP(max_steps=2))
    assert run.chip is not None
    caught: list[Exception] = []
    with run.chip.alone("bench work"):

        def other() -> None:
            with pytest.raises(ChipError, match="bench work in MainThread"):
                hwloop.evaluate(run)
            with pytest.raises(ChipError, match="bench work in MainThread"):
                run.matmul(np.ones(8))
            caught.append(ValueError("both"))

        thread = threading.Thread(target=other)
        thread.start()
        thread.join(20)
    assert len(caught) == 1
