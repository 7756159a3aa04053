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


# ---- the rule, figure by figure ----------------------------------------------------------------------------------
# Conductances are in uS of a g_max of 10 uS.

ONE = (np.array([0]), np.array([0]), np.array([0]))


def suspecting(
    off: float, variance: float, shown: tuple[float, float] = (5.0, 0.0), search: StuckSearch | None = None
) -> tuple[StuckSearch, float, np.ndarray]:
    """Let a cell of two devices be suspected; give the search, what is left of `off`, and what is believed."""
    search = search or StuckSearch((2, 1, 1), SIGN, G_MAX, G_MAX, strikes=3)
    believed = np.array(shown)[:, None, None]
    every, none = np.ones((2, 1, 1), bool), np.zeros((2, 1, 1), bool)
    left = search.suspect(np.full((1, 1), off), np.full((1, 1), variance), believed, every, none)
    return search, float(left[0, 0]), believed[:, 0, 0]


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("sigmas", "suspects"), [(4.4, 0), (4.6, 1)])
def test_a_cell_is_suspected_beyond_four_and_a_half_standard_deviations(
    sigmas: float, suspects: int, sign: int
) -> None:
    search, left, _ = suspecting(sign * sigmas * 0.5, 0.25)
    assert search.suspects.sum() == suspects
    assert left == pytest.approx(0.0 if suspects else sign * sigmas * 0.5)


@pytest.mark.parametrize(
    ("shown", "off", "device", "believed"),
    [
        ((5.0, 0.0), -5.0, 0, 0.0),  # one of them is fully RESET
        ((5.0, 0.0), 5.0, 0, 10.0),  # fully SET
        ((5.0, 0.0), -10.0, 1, 10.0),  # no device conducts less than nothing
        ((5.0, 0.0), 9.0, 0, 12.5),  # 14 uS are more than any device has: a quarter over g_max is believed
        ((0.0, 5.0), 5.0, 1, 0.0),
    ],
)
def test_what_explains_the_cell_best_is_believed(
    shown: tuple[float, float], off: float, device: int, believed: float
) -> None:
    search, left, seen = suspecting(off, 0.1, shown)
    assert np.flatnonzero(search.suspects[:, 0, 0]).tolist() == [device]
    expected = list(shown)
    expected[device] = believed
    assert seen == pytest.approx(expected)
    assert left == pytest.approx(off - (1 - 2 * device) * (believed - shown[device]))


def test_devices_stuck_at_an_end_are_likelier_than_anywhere_else() -> None:
    """Against normal deviates about the ends, of 0.5 uS and 1 uS beside the variance, and three sigma for any level."""
    search, level, variance = StuckSearch((2, 1, 1), SIGN, G_MAX, 9.0, strikes=3), np.linspace(-3.0, 13.0, 321), 0.2
    found = search._unlikely(np.stack([level, level]), np.full(level.shape, variance))
    outside = np.where(level < 0, -level, np.where(level > 9.0, level - 9.0, 0.0))
    expected = np.minimum.reduce(
        [level**2 / (0.25 + variance), (level - 9.0) ** 2 / (1.0 + variance), 9.0 + outside**2 / (0.25 + variance)]
    )
    assert found == pytest.approx(np.stack([expected, expected]))
    assert np.any(found[0] == 9.0)


def test_a_device_that_once_answered_is_the_last_to_be_blamed() -> None:
    """Squared deviations: at 3.6 uS 37 against 32, thirty of which for having answered, and at 3 uS 26 against 34."""
    for off, blamed in ((3.6, 0), (3.0, 1)):
        search = StuckSearch((2, 1, 1), SIGN, G_MAX, G_MAX, strikes=3)
        search._cleared[0] = True
        suspecting(off, 0.1, (5.0, 0.0), search)
        assert np.flatnonzero(search.suspects[:, 0, 0]).tolist() == [blamed]


def test_pulses_add_at_most_three_to_the_evidence_which_is_never_negative() -> None:
    search = StuckSearch((2, 1, 1), SIGN, G_MAX, G_MAX, strikes=3)
    for stayed, answered, evidence in (
        (0.0, 3.0, 1.5),
        (0.0, 50.0, 4.5),
        (1.0, 0.0, 4.0),
        (50.0, 0.0, 1.0),
        (50.0, 0.0, 0.0),
    ):
        search.weigh(ONE, np.array([stayed]), np.array([answered]))
        assert search._evidence[0, 0, 0] == pytest.approx(evidence)
    assert not search._evidence[1].any()


@pytest.mark.parametrize(
    ("first", "evidence", "suspects"), [(True, 1.9, 0), (True, 2.1, 1), (False, 3.9, 0), (False, 4.1, 1)]
)
def test_evidence_makes_suspect_sooner_at_first(first: bool, evidence: float, suspects: int) -> None:
    search = StuckSearch((2, 1, 1), SIGN, G_MAX, G_MAX, strikes=3)
    if not first:
        suspecting(0.0, 1.0, search=search)
    search._evidence[0] = evidence
    suspecting(0.0, 1.0, search=search)
    assert search.suspects.sum() == suspects


def test_first_pulses_are_weighed_by_the_ends_of_the_curve() -> None:
    """The likelihood of 0 +- 0.5 uS or 9 +- 1 uS over that of an answer; small loads say nothing."""
    for off, load in ((-4.0, 4.0), (-3.0, 4.0), (5.5, 4.0), (0.3, 4.0), (-1.0, 0.9), (-1.1, 1.1)):
        search = StuckSearch((2, 1, 1), SIGN, G_MAX, 9.0, strikes=3)
        shown = np.array([load, 0.0])[:, None, None]
        search.weigh_levels(np.full((1, 1), off), np.full((1, 1), 0.5), np.full((2, 1, 1), 0.2), shown)
        answered = off**2 / 0.5 + np.log(0.5)
        reset = (off + load) ** 2 / 0.45 + np.log(0.45)
        full = (off + load - 9.0) ** 2 / 1.2 + np.log(1.2)
        expected = np.clip((answered - min(reset, full)) / 2, 0.0, 3.0) if load > 1.0 else 0.0
        assert search._evidence[0, 0, 0] == pytest.approx(expected, rel=1e-5), (off, load)
        assert search._evidence[1, 0, 0] == 0.0


@pytest.mark.parametrize(
    ("aim", "level", "sent", "top", "asked"),
    [
        (5.0, 0.0, 5.0, 10.0, 10.0),  # 5 away from its aim, and 5 from where it was sent
        (5.0, 0.0, 5.0, 8.4, 8.0),
        (0.0, 0.0, 0.0, 10.0, 6.0),  # 6 uS tell for certain: more is not looked for
        (10.0, 10.0, 10.0, 10.0, 1.0),
        (10.0, 10.0, 1.0, 10.0, 4.0),  # 6 from its aim, and already 3 from where it was sent
        (7.0, 0.0, 9.0, 10.0, 3.0),
        (5.0, 0.0, 5.0, 0.5, 0.5),  # a device that reaches no tenth of g_max is sent as far as it goes
    ],
)
def test_a_suspect_is_sent_where_an_answer_can_be_told(
    aim: float, level: float, sent: float, top: float, asked: float
) -> None:
    search = StuckSearch((2, 1, 1), SIGN, G_MAX, G_MAX, strikes=3)
    search._suspect[:], search._aim[:], search._level[:], search._sent[:] = 0, aim, level, sent
    at, where = search.questions(np.ones((2, 1, 1), bool), np.full((2, 1, 1), top))
    assert [axis.tolist() for axis in at] == [[0], [0], [0]]
    levels = np.linspace(1.0, 10.0, 10)
    far = np.minimum(np.minimum(abs(levels - aim), abs(levels - level)), 6.0) + 0.7 * np.minimum(
        abs(levels - sent), 6.0
    )
    assert min(levels[np.argmax(np.where((levels <= top) | (levels == 1.0), far, -1.0))], top) == pytest.approx(asked)
    assert where == pytest.approx([asked])


def test_a_suspect_that_may_not_be_pulsed_is_one_no_more() -> None:
    search, _, _ = suspecting(-5.0, 0.1)
    at, where = search.questions(np.zeros((2, 1, 1), bool), np.full((2, 1, 1), G_MAX))
    assert (len(at[0]), len(where), search.suspects.sum()) == (0, 0, 0)


@pytest.mark.parametrize("blame", [-5.0, 4.0])
def test_an_answer_is_judged_by_the_likeliest_of_three_explanations(blame: float) -> None:
    """Normal deviates: it went where it was sent, it did not move, or another device is to blame."""
    variance, noise, sent, level = 0.3, 0.05, 8.0, 2.0
    expected = [
        (0.0, variance + 0.8**2),
        (level - sent, 2 * noise + 0.3**2),
        (blame, variance + 0.3**2),
    ]
    verdicts = set()
    for off in np.linspace(-9.0, 7.0, 161):
        search = StuckSearch((2, 1, 1), SIGN, G_MAX, G_MAX, strikes=1)
        search._suspect[:], search._level[:], search._blame[:], search._asked[:] = 0, level, blame, True
        search._evidence[:] = 1.0
        shown = np.array([sent, 1.0])[:, None, None]
        left = search.hear(np.full((1, 1), off), np.full((1, 1), variance), np.full((1, 1), noise), shown)
        verdict = int(np.argmin([(off - mean) ** 2 / v + np.log(v) for mean, v in expected]))
        verdicts.add(verdict)
        assert search.stuck[0, 0, 0] == (verdict == 1), off
        assert search._cleared[0, 0, 0] == (verdict == 2), off
        assert search._evidence[0, 0, 0] == (verdict == 1), off
        assert left[0, 0] == pytest.approx(off - (level - sent) * (verdict == 1))
        assert shown[:, 0, 0].tolist() == [level if verdict == 1 else sent, 1.0]
        assert not search.suspects.any()
        assert not search.stuck[1].any()
    assert verdicts == {0, 1, 2}
