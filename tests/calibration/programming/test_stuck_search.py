"""One cell of two devices of opposite polarity, of which one may be stuck: suspected, asked, and judged."""

from __future__ import annotations

import numpy as np
import pytest

from hwloop.calibration.programming.stuck_search import StuckSearch

SIGN = np.array([1.0, -1.0])[:, None, None]
G_MAX = 10.0


class Cell:
    """Two devices at true conductances, and what is believed of them."""

    def __init__(self, aims: tuple[float, float], true: tuple[float, float], stuck: int | None) -> None:
        self.search = StuckSearch((2, 1, 1), SIGN, G_MAX, G_MAX, strikes=3)
        self.true, self.stuck = list(true), stuck
        self.shown = np.array(aims)[:, None, None]
        self.variance, self.noise = np.full((1, 1), 0.2), np.full((1, 1), 0.05)
        self.asked: list[int] = []

    def look(self, first: bool = False) -> None:
        off = np.full((1, 1), self.true[0] - self.true[1]) - (SIGN * self.shown).sum(0)
        off = self.search.hear(off, self.variance, self.noise, self.shown)
        fresh = np.full((2, 1, 1), first)
        self.search.suspect(off, self.variance, self.shown, np.ones((2, 1, 1), bool), fresh)

    def ask(self) -> None:
        at, aims = self.search.questions(~self.search.stuck, np.full((2, 1, 1), G_MAX))
        for device, aim in zip(at[0], aims, strict=True):
            self.asked.append(int(device))
            self.shown[device, 0, 0] = aim
            if device != self.stuck:
                self.true[device] = aim

    def run(self, rounds: int = 12) -> list[bool]:
        self.look(first=True)
        for _ in range(rounds):
            self.ask()
            self.look()
        return self.search.stuck[:, 0, 0].tolist()


def test_a_cell_as_expected_has_no_suspect() -> None:
    cell = Cell((5.0, 0.0), (5.5, 0.0), None)
    assert cell.run() == [False, False]
    assert cell.asked == []


@pytest.mark.parametrize(("true", "device"), [((0.0, 0.0), 0), ((10.0, 0.0), 0), ((5.0, 10.0), 1)])
def test_a_stuck_device_is_found_by_two_questions(true: tuple[float, float], device: int) -> None:
    cell = Cell((5.0, 0.0), true, device)
    assert cell.run() == [device == 0, device == 1]
    assert cell.asked.count(device) == 2  # its first pulse was the first without an answer


@pytest.mark.parametrize("true", [(0.0, 0.0), (9.0, 0.0)])
def test_a_bad_result_of_a_healthy_device_is_no_reason_to_give_it_up(true: tuple[float, float]) -> None:
    cell = Cell((5.0, 0.0), true, None)
    assert cell.run() == [False, False]
    assert cell.asked == [0]
    assert cell.shown[0, 0, 0] == cell.true[0]


def test_a_suspect_that_was_on_its_aim_is_cleared_and_the_other_one_found() -> None:
    # The cell shows 0 where 5 was meant, as if device 0 were RESET; it is device 1 that is stuck, at half its range.
    cell = Cell((5.0, 0.0), (5.0, 5.0), 1)
    assert cell.run() == [False, True]
    assert cell.asked[0] == 0


def test_unanswered_ordinary_pulses_make_a_device_suspect() -> None:
    search = StuckSearch((2, 1, 1), SIGN, G_MAX, G_MAX, strikes=3)
    none, shown = np.zeros((1, 1)), np.array([5.0, 0.0])[:, None, None]
    at = (np.array([0]), np.array([0]), np.array([0]))
    may, fresh = np.ones((2, 1, 1), bool), np.zeros((2, 1, 1), bool)
    search.suspect(none, np.ones((1, 1)), shown, may, fresh)  # from here on, more than one pulse must speak for it
    for suspects in (0, 1):
        search.weigh(at, np.array([0.0]), np.array([12.0]))
        search.suspect(none, np.ones((1, 1)), shown, may, fresh)
        assert search.suspects.sum() == suspects
