"""One cell of two devices of opposite polarity, of which one or both may be stuck: suspected, asked, and judged."""

from __future__ import annotations

import numpy as np
import pytest

from hwloop.calibration.programming.stuck_search import Look, StuckSearch

SIGN = np.array([1.0, -1.0])[:, None, None]
G_MAX = 10.0
EVERY = np.ones((2, 1, 1), bool)


class Cell:
    """Two devices at true conductances, and what is believed of them."""

    def __init__(self, aims: tuple[float, float], true: tuple[float, float], *stuck: int) -> None:
        self.search = StuckSearch((2, 1, 1), SIGN, G_MAX, G_MAX, strikes=3)
        self.true, self.stuck = list(true), stuck
        self.g = np.array(aims)[:, None, None]
        self.variance, self.noise = np.full((2, 1, 1), 0.1), np.full((1, 1), 0.05)
        self.asked: list[int] = []

    def look(self) -> Look:
        off = np.full((1, 1), self.true[0] - self.true[1]) - (SIGN * self.g).sum(0)
        return Look(off, self.noise, self.g, self.variance, np.ones((2, 1, 1)))

    def ask(self) -> None:
        at, aims = self.search.questions(~self.search.stuck, np.full((2, 1, 1), G_MAX))
        self.search.sent(at, aims, np.full(len(aims), 0.1))
        for device, aim in zip(at[0], aims, strict=True):
            self.asked.append(int(device))
            self.g[device, 0, 0] = aim
            if device not in self.stuck:
                self.true[device] = aim

    def run(self, rounds: int = 12) -> list[bool]:
        self.search.first_look(self.look(), EVERY)
        for _ in range(rounds):
            self.ask()
            self.search.hear(self.look())
            cells, g, _, _ = self.search.beliefs(np.ones((2, 1, 1)))
            self.g[:, *cells] = g
        assert not self.search.examined.any()
        return self.search.stuck[:, 0, 0].tolist()


def test_a_cell_as_expected_is_not_examined() -> None:
    cell = Cell((5.0, 0.0), (5.5, 0.0))
    assert cell.run() == [False, False]
    assert cell.asked == []


@pytest.mark.parametrize(("true", "device"), [((0.0, 0.0), 0), ((10.0, 0.0), 0), ((5.0, 10.0), 1)])
def test_a_stuck_device_is_found_by_two_questions(true: tuple[float, float], device: int) -> None:
    cell = Cell((5.0, 0.0), true, device)
    assert cell.run() == [device == 0, device == 1]
    assert cell.asked.count(device) == 2  # its first pulse was the first without an answer
    assert cell.g[device, 0, 0] == pytest.approx(true[device], abs=0.5)


@pytest.mark.parametrize("true", [(0.0, 0.0), (9.0, 0.0)])
def test_a_bad_result_of_a_healthy_device_is_no_reason_to_give_it_up(true: tuple[float, float]) -> None:
    cell = Cell((5.0, 0.0), true)
    assert cell.run() == [False, False]
    assert cell.asked.count(0) >= 1
    assert cell.g[0, 0, 0] - cell.g[1, 0, 0] == pytest.approx(cell.true[0] - cell.true[1], abs=0.5)


def test_a_device_stuck_halfway_is_found_though_another_one_explains_the_first_look() -> None:
    # The cell shows 0 where 5 was meant, as if device 0 were RESET; it is device 1 that is stuck, at half its range.
    cell = Cell((5.0, 0.0), (5.0, 5.0), 1)
    assert cell.run() == [False, True]
    assert cell.asked[0] == 0


def test_two_stuck_devices_of_a_cell_are_both_found() -> None:
    cell = Cell((5.0, 0.0), (10.0, 10.0), 0, 1)
    assert cell.run(20) == [True, True]


def test_a_device_on_its_target_is_asked_where_many_others_are_stuck() -> None:
    """One that is SET fully, as it should be, shows nothing, until the neighbours show that such devices are common."""
    rng = np.random.default_rng(3)
    aims = np.zeros((2, 1, 400))
    aims[0] = 5.0
    aims[0, 0, 0] = 10.0
    seen = aims[0] - aims[1] + 0.4 * rng.standard_normal((1, 400))
    few, many = (StuckSearch(aims.shape, SIGN, G_MAX, G_MAX, strikes=3) for _ in range(2))
    variance, noise = np.full(aims.shape, 0.1), np.full((1, 400), 0.05)

    def look() -> Look:
        return Look(seen - (SIGN * aims).sum(0), noise, aims, variance, np.ones(aims.shape))

    may = np.ones(aims.shape, bool)
    few.first_look(look(), may)
    assert not few.examined.any()
    seen[0, 1:40] = 10.0
    many.first_look(look(), may)
    assert many.examined[0, :40].all()
    assert many.examined[0, 40:].mean() < 0.05


def test_unanswered_ordinary_pulses_make_a_device_suspect() -> None:
    search = StuckSearch((2, 1, 1), SIGN, G_MAX, G_MAX, strikes=3)
    g = np.array([5.0, 0.0])[:, None, None]
    look = Look(np.zeros((1, 1)), np.full((1, 1), 0.05), g, np.full(g.shape, 0.1), np.ones(g.shape))
    at, fresh = (np.array([0]), np.array([0]), np.array([0])), np.zeros((2, 1, 1), bool)
    for examined in (False, True):
        search.weigh(at, np.array([0.0]), np.array([12.0]))
        search.suspect(look, np.ones((1, 1)), EVERY, fresh)
        assert search.examined[0, 0] == examined


def test_a_cell_whose_devices_have_no_pulses_left_is_left_as_it_is() -> None:
    cell = Cell((5.0, 0.0), (0.0, 0.0), 0)
    cell.search.first_look(cell.look(), EVERY)
    assert cell.search.examined.all()
    at, aims = cell.search.questions(~EVERY, np.full((2, 1, 1), G_MAX))
    assert len(aims) == len(at[0]) == 0
    assert not cell.search.examined.any()
    assert not cell.search.stuck.any()
