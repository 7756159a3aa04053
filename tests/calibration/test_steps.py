"""The protocol of all long work: in lockstep, devices rest at the same time, and whoever watches may stop it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import hwloop
from hwloop.calibration import steps
from hwloop.calibration.steps import SLICE, Step, Work, rest, run, run_together
from hwloop.chip.backend import Backend
from hwloop.chip.info import Capability
from hwloop.chip.pulses import Pulses


class Clock(Backend):
    """A chip that only has a clock; a wait of a real one takes `real` seconds of the computer's own for each second."""

    def __init__(self, real: float, *, state: bool = False) -> None:
        with hwloop.connect("sim:pcm-ideal?rows=8&columns=8") as model:
            info = model.info
        super().__init__(dataclasses.replace(info, capabilities=frozenset({Capability.STATE} if state else ())))
        self.real, self.waits, self._time = real, [], 0.0

    def _now(self) -> float:
        return self._time

    def _wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self._time += seconds
        Computer.time += self.real * seconds

    def _pulse(self, core: int, pulses: Pulses) -> None:
        raise NotImplementedError

    def _adc_range(self, core: int) -> float:
        raise NotImplementedError

    def _close(self) -> None: ...

    def _snapshot(self) -> dict[str, str | int | float | bool]:
        return {}


class Computer:
    """The computer's clock, so that no test waits."""

    time = 0.0

    @classmethod
    def monotonic(cls) -> float:
        return cls.time


@pytest.fixture(autouse=True)
def computer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "time", Computer)


@pytest.fixture
def chip() -> Iterator[Clock]:
    with Clock(real=0.0, state=True) as clock:
        yield clock


def work(name: str, log: list[str], *rests: float, wait_at: int = -1) -> Work[Step, str]:
    """Take a step for each rest, note it, and return the name; the step with the number `wait_at` waits for others."""
    for number, seconds in enumerate(rests):
        log.append(f"{name}{number}")
        yield Step(number + 1, len(rests), rest=seconds, wait_for_others=number == wait_at)
    log.append(f"{name} ends")
    return name


def test_the_result_of_one_piece_of_work(chip: Clock) -> None:
    log: list[str] = []
    assert run(work("a", log, 1.0, 2.0), chip) == "a"
    assert log == ["a0", "a1", "a ends"]
    assert chip.now() == 3.0


def test_work_without_a_step_has_a_result_too(chip: Clock) -> None:
    assert run(work("a", []), chip) == "a"
    assert run_together([], chip) == []


def test_pieces_of_work_go_in_lockstep(chip: Clock) -> None:
    log: list[str] = []
    run_together([work("a", log, 0, 0, 0), work("b", log, 0), work("c", log, 0, 0)], chip)
    assert log == ["a0", "b0", "c0", "a1", "b ends", "c1", "a2", "c ends", "a ends"]


def test_results_come_in_the_order_of_the_work_whichever_ends_first(chip: Clock) -> None:
    assert run_together([work("a", [], 0, 0, 0), work("b", []), work("c", [], 0)], chip) == ["a", "b", "c"]


def test_devices_of_all_work_rest_at_the_same_time(chip: Clock) -> None:
    """The rest of a round is the longest that anyone asks for."""
    run_together([work("a", [], 5.0, 1.0), work("b", [], 2.0, 3.0, 4.0)], chip)
    assert [wait for wait in chip.waits if wait] == [5.0, 3.0, 4.0]
    assert chip.now() == 12.0


def test_who_waits_for_others_goes_on_when_all_have_come_as_far(chip: Clock) -> None:
    log: list[str] = []
    a, b = work("a", log, 0, 0, 0, wait_at=0), work("b", log, 0, 0, 0, 0, wait_at=2)
    run_together([b, a], chip)
    assert log == ["b0", "a0", "b1", "b2", "b3", "a1", "b ends", "a2", "a ends"]


def test_work_that_has_ended_is_not_waited_for(chip: Clock) -> None:
    log: list[str] = []
    assert run_together([work("a", log, 0, 0, wait_at=0), work("b", log, 0)], chip) == ["a", "b"]
    assert log == ["a0", "b0", "b ends", "a1", "a ends"]


def test_the_watcher_sees_every_step_before_the_rest(chip: Clock) -> None:
    seen: list[tuple[int, int, float]] = []

    def watch(number: int, step: Step) -> None:
        seen.append((number, step.done, chip.now()))

    run_together([work("a", [], 5.0, 1.0), work("b", [], 2.0)], chip, watch)
    assert seen == [(0, 1, 0.0), (1, 1, 0.0), (0, 2, 5.0)]


def test_a_watcher_that_raises_stops_all_work_where_it_is(chip: Clock) -> None:
    log: list[str] = []

    def stop(number: int, step: Step) -> None:
        if (number, step.done) == (1, 2):
            raise KeyboardInterrupt("enough")

    with pytest.raises(KeyboardInterrupt, match="enough"):
        run_together([work("a", log, 1, 1, 1), work("b", log, 1, 1, 1), work("c", log, 1, 1, 1)], chip, stop)
    assert log == ["a0", "b0", "c0", "a1", "b1"]
    assert chip.now() == 1.0  # nobody rests after the stop


def test_an_error_of_the_work_itself_is_passed_on(chip: Clock) -> None:
    def broken() -> Work[Step, str]:
        yield Step(1, 2)
        raise ValueError("no answer")

    with pytest.raises(ValueError, match="no answer"):
        run_together([work("a", [], 0, 0, 0), broken()], chip)


# ---- rests -------------------------------------------------------------------------------------------------------


def test_a_virtual_clock_is_put_forward_at_once(chip: Clock) -> None:
    rest(chip, 1e6, lambda: pytest.fail("there is nothing to check"))
    assert chip.waits == [1e6]


def test_a_real_clock_rests_in_slices_with_a_check_after_each() -> None:
    with Clock(real=1.0) as chip:
        checked: list[float] = []
        rest(chip, 3.5 * SLICE, lambda: checked.append(chip.now()))
        assert chip.waits == pytest.approx([SLICE, SLICE, SLICE, SLICE / 2])
        assert checked == pytest.approx(np.cumsum(chip.waits))
        assert chip.now() == pytest.approx(3.5 * SLICE)


def test_a_rest_on_a_real_clock_can_be_stopped() -> None:
    def stop() -> None:
        raise KeyboardInterrupt("after a slice")

    with Clock(real=1.0) as chip:
        with pytest.raises(KeyboardInterrupt, match="after a slice"):
            rest(chip, 1e6, stop)
        assert chip.now() == pytest.approx(SLICE)


def test_a_clock_that_proves_virtual_is_put_forward_at_once() -> None:
    """A simulated chip behind an instrument: after one slice that took no time, the rest in one go."""
    with Clock(real=0.0) as chip:
        rest(chip, 1e6)
        assert chip.waits == pytest.approx([SLICE, 1e6 - SLICE])
        assert chip.now() == pytest.approx(1e6)


@pytest.mark.parametrize("real", [0.0, 1.0])
def test_no_rest_is_no_wait(real: float) -> None:
    with Clock(real=real) as chip:
        rest(chip, 0.0, lambda: pytest.fail("there is nothing to check"))
        assert chip.waits == []


def test_numpy_has_one_thread_for_products_while_a_chip_is_worked_on() -> None:
    def threads() -> set[int]:
        return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}

    def work() -> Work[Step, set[int]]:
        yield Step(0, 1)
        return threads()

    with threadpool_limits(2, user_api="blas"):
        assert run(work(), Clock(0.0)) == {1}
        assert threads() == {2}
