"""A chip that several threads reach for: calls one after the other, jobs alone."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest

from hwloop.chip.pulses import PulseKind, Pulses
from hwloop.errors import ChipError
from tests.chip.test_backend import Recorder


class Slow(Recorder):
    """A chip whose MVM notices when another call comes in between."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.met = 0, 0
        self.entered, self.go_on = threading.Event(), threading.Event()

    def _mvm(self, core, x):
        self.inside += 1
        self.met = max(self.met, self.inside)
        self.entered.set()
        self.go_on.wait(5)
        self.inside -= 1
        return super()._mvm(core, x)


def in_thread(work: Callable[[], None], name: str = "other") -> tuple[threading.Thread, list[Exception]]:
    """Start some work in a thread; its exception is found in the list."""
    errors: list[Exception] = []

    def guarded() -> None:
        try:
            work()
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=guarded, name=name)
    thread.start()
    return thread, errors


def test_calls_of_two_threads_are_carried_out_one_after_the_other() -> None:
    chip = Slow()
    work = lambda: chip.mvm(0, np.ones((1, 4), int))  # noqa: E731
    threads = [in_thread(work) for _ in range(4)]
    assert chip.entered.wait(5)
    chip.go_on.set()
    for thread, errors in threads:
        thread.join(5)
        assert not errors
    assert chip.met == 1
    assert chip.counts.mvms == 4


def test_a_job_has_the_chip_to_itself_and_may_nest() -> None:
    chip = Recorder()
    with chip.alone("program"), chip.alone("calibrate"):
        chip.wait(1.0)
        for call in (chip.now, chip.close, lambda: chip.pulse_counts(0), lambda: chip.alone("measure").__enter__()):
            thread, errors = in_thread(call)
            thread.join(5)
            [error] = errors
            assert isinstance(error, ChipError)
            assert str(error).startswith("recorder is in use by program in MainThread; a chip has one user at a time")
    thread, errors = in_thread(lambda: chip.pulse(0, Pulses.make(PulseKind.SET, [1], 100.0, 100.0)))
    thread.join(5)
    assert not errors
    assert chip.counts.pulses == 1


def test_a_job_does_not_begin_while_another_thread_is_in_a_call() -> None:
    chip = Slow()
    thread, errors = in_thread(lambda: chip.mvm(0, np.ones((1, 4), int)))
    assert chip.entered.wait(5)
    with pytest.raises(ChipError, match="in use by another thread"), chip.alone("program"):
        pass
    chip.go_on.set()
    thread.join(5)
    assert not errors
    with chip.alone("program"):
        pass


def test_a_call_that_waits_is_refused_once_a_job_has_begun() -> None:
    chip = Recorder()
    began, over = threading.Event(), threading.Event()

    def job() -> None:
        with chip.alone("program"):
            began.set()
            over.wait(5)

    thread, errors = in_thread(job, "bench")
    assert began.wait(5)
    with pytest.raises(ChipError, match="recorder is in use by program in bench"):
        chip.now()
    over.set()
    thread.join(5)
    assert not errors
    chip.now()
