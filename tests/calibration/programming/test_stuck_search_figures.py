"""The search for stuck devices in figures: one cell of two devices of opposite polarity, worked out by hand.

The hypotheses about two devices are, in their order: none is stuck; the first RESET, SET; the second RESET, SET; the
first anywhere, the second anywhere; and the pairs RESET RESET, RESET SET, SET RESET, SET SET.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from hwloop.calibration.programming.stuck_search import Look, StuckSearch

SIGN = np.array([1.0, -1.0])[:, None, None]
G_MAX, G_SET = 10.0, 8.0
EVERY = np.ones((2, 1, 1), bool)
NONE = ~EVERY
ONE = np.ones((1, 1), bool)
FIRST, SECOND = ((np.array([device]), np.array([0]), np.array([0])) for device in (0, 1))


def search_of(columns: int = 1, strikes: int = 3) -> StuckSearch:
    return StuckSearch((2, 1, columns), SIGN, G_MAX, G_SET, strikes)


def pair(first: float, second: float) -> np.ndarray:
    return np.array([first, second])[:, None, None]


def look(
    off: float,
    g: tuple[float, float] = (5.0, 0.0),
    variance: tuple[float, float] = (0.1, 0.1),
    noise: float = 0.05,
    effect: tuple[float, float] = (1.0, 1.0),
) -> Look:
    return Look(np.full((1, 1), off), np.full((1, 1), noise), pair(*g), pair(*variance), pair(*effect))


def examining(g: tuple[float, float] = (5.0, 0.0), fresh: np.ndarray = EVERY, strikes: int = 3) -> StuckSearch:
    """A search that examines its cell."""
    search = search_of(strikes=strikes)
    search._begin(ONE, look(0.0, g), fresh)
    return search


def believe(search: StuckSearch, posterior: list[float]) -> None:
    search._filters._likelihood = np.log(np.array([posterior]) + 1e-300)


# ---- the first look ----------------------------------------------------------------------------------------------


def test_the_first_look_compares_what_the_cell_shows_with_what_it_would_show() -> None:
    """5.4 and 1.6 uS are expected to show, 3.8 uS in all, and 2.3 uS are seen."""
    found = search_of()._first_ratios(look(-1.5, (6.0, 2.0), (0.5, 0.3), 0.2, (0.9, 0.8)))
    anything = 1e-3 / (2 * 2 * G_MAX)
    first, second, noise = 0.5 * 0.9**2, 0.3 * 0.8**2, 0.2
    answers = norm.pdf(2.3, 5.4 - 1.6, np.sqrt(first + second + noise)) + anything
    expected = [
        [norm.pdf(2.3, 0.0 - 1.6, np.sqrt(0.5**2 + second + noise)) + anything,  # the first RESET
         norm.pdf(2.3, 5.4 - 0.0, np.sqrt(first + 0.5**2 + noise)) + anything],
        [norm.pdf(2.3, 8.0 - 1.6, np.sqrt(1.0**2 + second + noise)) + anything,  # the first SET
         norm.pdf(2.3, 5.4 - 8.0, np.sqrt(first + 1.0**2 + noise)) + anything],
    ]  # fmt: skip
    assert found[:, :, 0, 0] == pytest.approx(np.array(expected) / answers)


def many(stuck: int, cells: int = 100) -> Look:
    """Cells of 5 uS and an empty device, of which some show a first device that is SET fully."""
    off = np.zeros((1, cells))
    off[0, :stuck] = G_SET - 5.0
    g = np.broadcast_to(pair(5.0, 0.0), (2, 1, cells))
    return Look(off, np.full((1, cells), 0.01), g, np.full(g.shape, 0.01), np.ones(g.shape))


@pytest.mark.parametrize(
    ("stuck", "share"),
    [
        (12, 12 / 300),  # each device may be SET, and those that are not empty RESET as well
        (60, 0.1),  # not more than a tenth at each end is believed
        (0, 1e-3),  # and in a cell that is examined not less than a thousandth
    ],
)
def test_the_share_of_stuck_devices_is_learnt_from_the_first_look(stuck: int, share: float) -> None:
    search = search_of(100)
    search.first_look(many(stuck), np.ones((2, 1, 100), bool))
    assert search._share == pytest.approx(share, rel=2e-3)
    assert search.examined[0].tolist() == [True] * stuck + [False] * (100 - stuck)


def test_only_devices_that_may_be_asked_count_in_the_share() -> None:
    search, may = search_of(100), np.ones((2, 1, 100), bool)
    may[:, :, 50:] = False
    search.first_look(many(6), may)
    assert search._share == pytest.approx(6 / 150, rel=2e-3)


def test_a_device_may_be_stuck_reset_from_a_tenth_of_the_range_on() -> None:
    for conductance, examined in ((1.01, True), (0.99, False)):
        search = search_of()
        search.first_look(look(-conductance, (conductance, 0.0), (1e-4, 1e-4), 1e-4), EVERY)
        assert search.examined[0, 0] == examined


@pytest.mark.parametrize(("probability", "examined"), [(0.0063, True), (0.0057, False)])
def test_a_device_is_asked_from_a_probability_of_six_in_a_thousand_on(probability: float, examined: bool) -> None:
    """Among so many cells in order that a share of 1e-5, the least, is believed to be stuck at each end."""

    def stuck(off: float) -> float:
        """Probability that the first device is stuck, where 5 + off is seen and 0.3 is the variance."""
        anything = 1e-3 / (2 * 2 * G_MAX)
        answers = norm.pdf(off, 0.0, np.sqrt(0.3)) + anything
        ends = ((0.0, 0.0, 0.5), (G_SET, 0.0, 1.0), (5.0, G_SET, 1.0))  # the second, empty, may not be RESET
        ratios = [
            (norm.pdf(5.0 + off, one - other, np.sqrt(0.2 + spread**2)) + anything) / answers
            for one, other, spread in ends
        ]
        return float(1e-5 * (ratios[0] + ratios[1]) / (1.0 + 1e-5 * sum(ratios)))

    cells = 2000
    off = np.zeros((1, cells))
    off[0, 7] = brentq(lambda off: stuck(off) - probability, 0.5, 2.9)
    g = np.broadcast_to(pair(5.0, 0.0), (2, 1, cells))
    search = search_of(cells)
    search.first_look(
        Look(off, np.full(off.shape, 0.1), g, np.full(g.shape, 0.1), np.ones(g.shape)), np.ones(g.shape, bool)
    )
    assert search.examined[0, 7] == examined
    assert search.examined.sum() == examined


# ---- ordinary pulses ---------------------------------------------------------------------------------------------


def test_one_pulse_says_no_more_than_three_and_an_answer_clears_a_device() -> None:
    search = search_of()
    for stayed, answered, evidence in (
        (0.0, 12.0, 3.0),
        (4.0, 0.0, 1.0),
        (0.0, 5.0, 3.5),
        (99.0, 0.0, 0.5),
        (9.0, 0.0, 0.0),
    ):
        search.weigh(FIRST, np.array([stayed]), np.array([answered]))
        assert search._evidence[:, 0, 0].tolist() == pytest.approx([evidence, 0.0])


def test_a_pulse_is_weighed_by_how_likely_staying_and_answering_are() -> None:
    """The second device was to change by 0.4 uS, which would lower what the cell shows; 0.1 uS below its old place."""
    search = search_of()
    search.weigh_pulses(SECOND, np.array([0.5]), np.array([0.4]), np.array([0.2]), np.array([0.6]))
    stayed, answered = norm.logpdf(0.1, 0.0, np.sqrt(0.2)), norm.logpdf(0.5, 0.0, np.sqrt(0.6))
    assert search._evidence[:, 0, 0] == pytest.approx([0.0, stayed - answered], rel=1e-6)


@pytest.mark.parametrize(("evidence", "off", "may", "examined"), [
    (3.98, 0.0, EVERY, False), (4.02, 0.0, EVERY, True),  # four, over its pulses
    (0.0, 4.45, EVERY, False), (0.0, -4.55, EVERY, True),  # four and a half standard deviations
    (4.02, 4.55, NONE, False), (4.02, 0.0, EVERY & (SIGN < 0), False),  # whoever may not be asked is not suspected
    (0.0, 4.55, EVERY & (SIGN < 0), True),
])  # fmt: skip
def test_cells_are_examined_for_evidence_or_for_being_far_off(
    evidence: float, off: float, may: np.ndarray, examined: bool
) -> None:
    search = search_of()
    search._evidence[0] = evidence
    search.suspect(look(2.0 * off), np.full((1, 1), 4.0), may, NONE)
    assert search.examined[0, 0] == examined


# ---- an examination ----------------------------------------------------------------------------------------------


def test_an_examination_begins_with_the_last_pulse_and_the_evidence_of_those_before() -> None:
    plain, search = search_of(), search_of()
    search._evidence[:] = pair(2.5, 0.5)
    for one in (plain, search):
        one._begin(ONE, look(0.3, (1.0, 0.99)), EVERY & (SIGN > 0))
    assert search._pulses[:, 0].tolist() == [1, 0]
    assert search._loaded[:, 0].tolist() == [True, False]
    more = search._filters._likelihood[0] - plain._filters._likelihood[0]
    first, second = 2.5, 0.5
    assert more == pytest.approx([0, first, first, second, second, first, second, *([first + second] * 4)])
    assert not search._evidence.any()
    # A cell that is examined is not begun again.
    search._begin(ONE, look(0.3), EVERY)
    assert len(search._pulses[0]) == 1


def test_what_a_device_is_believed_is_the_sum_over_hypotheses() -> None:
    p = np.arange(1.0, 12.0) / 66.0
    search = examining((5.0, 0.5))  # the second is empty: whether it is stuck RESET does not matter
    first = p[2] + p[5] + p[9] + p[10] + (p[1] + p[7] + p[8])
    second = p[4] + p[6] + p[8] + p[10]
    assert search._matters(p[None])[:, 0] == pytest.approx([first, second])
    believe(search, p.tolist())
    every = second + p[3] + p[7] + p[9]
    assert search._odds()[:, 0] == pytest.approx([first / (1 - first), every / (1 - every)])


@pytest.mark.parametrize(("answering", "doubtful"), [(0.89, True), (0.91, False)])
def test_a_cell_is_doubtful_below_nine_tenths(answering: float, doubtful: bool) -> None:
    search = examining()
    believe(search, [answering, 1.0 - answering, *([0.0] * 9)])
    assert search.doubtful[0, 0] == doubtful


@pytest.mark.parametrize(
    ("stands", "top", "aim"),
    [
        (5.0, 10.0, 10.0),  # as far away from 0 as it goes, where it is if it is stuck
        (2.0, 10.0, 10.0),
        (9.0, 10.0, 4.0),  # far from 9, too: that it answers and the other one stands at 8 would show the same there
        (2.0, 7.3, 7.0),  # not beyond its top
        (2.0, 0.5, 0.5),  # unless the lowest is
    ],
)
def test_a_suspect_is_sent_where_an_answer_is_seen(stands: float, top: float, aim: float) -> None:
    search = search_of()
    # It shows nothing of what was meant, and is known too well for that to be its pulse.
    search._begin(ONE, look(-stands, (stands, 0.0), (1e-9, 1e-9)), EVERY)
    at, aims = search.questions(EVERY, np.full((2, 1, 1), top))
    assert [int(axis[0]) for axis in at] == [0, 0, 0]
    assert aims == pytest.approx([aim])
    search.sent(at, aims, np.array([0.3]))
    assert search._pulses[:, 0].tolist() == [2, 1]
    assert search._filters.g[0, 0, 0] == pytest.approx(aim)
    assert search._filters.covariance[0, 0, 0, 0] == pytest.approx(0.3 + 0.8**2)


@pytest.mark.parametrize(("probability", "asked"), [(0.0055, 0), (0.0065, 1)])
def test_an_examination_ends_when_no_device_is_suspect(probability: float, asked: int) -> None:
    search = examining()
    believe(search, [1.0 - probability, 0.0, 0.0, 0.0, probability, *([0.0] * 6)])
    at, _ = search.questions(EVERY, np.full((2, 1, 1), G_MAX))
    assert at[0].tolist() == [1] * asked
    assert search.examined[0, 0] == bool(asked)


@pytest.mark.parametrize(
    ("before", "after", "pulses", "stuck", "left"),
    [
        (1.0, 1.1e4, 3, True, 3),
        (1.0, 0.9e4, 3, False, 3),  # ten thousand to one
        (1.0, 1.1e4, 2, False, 2),  # and three pulses
        (1e6, 1.1e5, 3, True, 3),
        (1e6, 0.9e5, 3, False, 0),  # odds that fall to less than a tenth are an answer
    ],
)
def test_a_device_is_given_up_for_sure_and_after_several_pulses_in_a_row(
    monkeypatch: pytest.MonkeyPatch, before: float, after: float, pulses: int, stuck: bool, left: int
) -> None:
    search = examining()
    search._pulses[0] = pulses
    odds = iter([np.array([[before], [0.0]]), np.array([[after], [0.0]])])
    monkeypatch.setattr(search, "_odds", lambda: next(odds))
    search.hear(look(0.0))
    assert search.stuck[:, 0, 0].tolist() == [stuck, False]
    assert search._pulses[0, 0] == left


def test_what_is_heard_is_what_the_cell_shows_not_what_it_is_off_by() -> None:
    """The filters' own expectation may differ from the one that the deviation is told against."""
    one, other = examining(), examining()
    one.hear(look(1.0, (5.0, 2.0), effect=(0.9, 0.8)))  # 4.5 - 1.6 + 1
    other._filters.measure(np.array([3.9]), np.array([0.05]), np.array([[0.9], [0.8]]))
    assert one._filters.g == pytest.approx(other._filters.g)


def test_the_likeliest_hypothesis_is_taken_over() -> None:
    search = examining()
    believe(search, [0.2, 0.0, 0.0, 0.0, 0.1, 0.7, *([0.0] * 5)])  # the first is stuck anywhere
    search._filters.g[0, 5], search._filters.covariance[0, 5] = (4.0, 3.0), ((0.5, 0.1), (0.1, 0.3))
    cells, g, own, variance = search.beliefs(pair(0.8, 0.9))
    assert [axis.tolist() for axis in cells] == [[0], [0]]
    assert g[:, 0] == pytest.approx([4.0 / 0.8, 3.0])  # as if it drifted, which it does not
    assert own[:, 0] == pytest.approx([0.5, 0.3])
    assert variance == pytest.approx([0.5 - 2 * 0.9 * 0.1 + 0.9**2 * 0.3])
    search.stuck[0] = True
    assert search.beliefs(pair(0.8, 0.9))[1][:, 0] == pytest.approx([4.0, 3.0])


# ---- several cells -----------------------------------------------------------------------------------------------

CELLS = [(0, 1), (1, 0), (1, 2)]
"""Rows and columns of the cells that are examined, of two rows and three columns."""


def tile_search() -> tuple[StuckSearch, Look]:
    """Three of six cells are examined; in each, the first device is likeliest not to answer, but in the last one."""
    search = StuckSearch((2, 2, 3), SIGN, G_MAX, G_SET, strikes=2)
    g = np.stack([np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), np.zeros((2, 3))])
    chosen = np.zeros((2, 3), bool)
    chosen[tuple(np.array(CELLS).T)] = True
    noise = np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])
    whole = Look(np.zeros((2, 3)), noise, g, np.full(g.shape, 1e-6), np.full(g.shape, 1.0) - g / 100.0)
    search._begin(chosen, whole, np.ones(g.shape, bool))
    likely = np.zeros((3, 11))
    likely[:2, :2], likely[2, [0, 4]] = (0.4, 0.6), (0.7, 0.3)
    search._filters._likelihood = np.log(likely + 1e-300)
    return search, whole


def test_each_cell_is_asked_for_itself() -> None:
    search, _ = tile_search()
    top = np.arange(12.0).reshape(2, 2, 3)
    at, aims = search.questions(np.ones((2, 2, 3), bool), top)
    assert list(zip(*(axis.tolist() for axis in at), strict=True)) == [(0, 0, 1), (0, 1, 0), (1, 1, 2)]
    # Tops of 1, 3 and 11 uS; the last one, stuck empty or standing at 0, is sent as far away as it goes.
    assert aims == pytest.approx([1.0, 1.0, 10.0])
    search.sent(at, aims, np.array([0.1, 0.2, 0.3]))
    assert search._pulses.tolist() == [[2, 2, 1], [1, 1, 2]]
    for cell, (device, aim, variance) in enumerate(((0, 1.0, 0.1), (0, 1.0, 0.2), (1, 10.0, 0.3))):
        assert search._filters.g[cell, 0, device] == pytest.approx(aim)
        assert search._filters.covariance[cell, 0, device, device] == pytest.approx(variance + 0.8**2)


def test_a_cell_that_is_no_longer_examined_leaves_the_others_as_they_are() -> None:
    search, _ = tile_search()
    may = np.ones((2, 2, 3), bool)
    may[:, 1, 0] = False
    before = search._filters.g.copy()
    at, _ = search.questions(may, np.full(may.shape, G_MAX))
    assert at[1].tolist() == [0, 1]
    assert at[2].tolist() == [1, 2]
    assert np.argwhere(search.examined).tolist() == [[0, 1], [1, 2]]
    assert search._filters.g.tolist() == before[[0, 2]].tolist()
    assert search._filters.posterior()[:, 0] == pytest.approx([0.4, 0.7])
    assert search._loaded.tolist() == [[True, True], [False, False]]
    search.stuck[0, 0, 1] = True
    # The second device of that cell is not suspected, and the first one is not asked any more.
    at, _ = search.questions(may, np.full(may.shape, G_MAX))
    assert [axis.tolist() for axis in at] == [[1], [1], [2]]


def test_each_cell_is_judged_by_what_it_shows() -> None:
    search, whole = tile_search()
    off = np.array([[9.0, 0.5, 9.0], [-0.25, 9.0, 0.125]])
    expected = tile_search()[0]._filters
    rows, columns = np.array(CELLS).T
    seen = off[rows, columns] + (whole.g * whole.effect)[0, rows, columns]
    expected.measure(seen, np.array([0.2, 0.4, 0.6]), whole.effect[:, rows, columns])
    search.hear(Look(off, whole.noise, whole.g, whole.variance, whole.effect))
    assert search._filters.g == pytest.approx(expected.g)
    assert search._filters._likelihood == pytest.approx(expected._likelihood)


def test_devices_are_given_up_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    search, whole = tile_search()
    search._pulses[:] = 2
    odds = np.array([[1.0, 1e6, 1.0], [1.0, 1.0, 1e6]])
    monkeypatch.setattr(search, "_odds", lambda: odds)
    search.hear(whole)
    assert np.argwhere(search.stuck).tolist() == [[0, 1, 0], [1, 1, 2]]


def test_what_is_believed_of_each_cell_has_its_own_effects() -> None:
    search, whole = tile_search()
    search._filters._likelihood[0, 1] = -1.0  # the likeliest of the first cell is that both answer
    (rows, columns), g, own, variance = search.beliefs(whole.effect)
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == CELLS
    filters, effect = search._filters, whole.effect[:, rows, columns]
    best = [0, 1, 0]
    for cell, hypothesis in enumerate(best):
        held, covariance = filters.g[cell, hypothesis], filters.covariance[cell, hypothesis]
        shows = np.where([hypothesis == 1, False], 1.0, effect[:, cell]) * [1.0, -1.0]
        assert g[:, cell] == pytest.approx([held[0] / (effect[0, cell] if hypothesis else 1.0), held[1]])
        assert own[:, cell] == pytest.approx(np.diag(covariance))
        assert variance[cell] == pytest.approx(shows @ covariance @ shows)
    assert search.doubtful.tolist() == [[False, True, False], [True, False, True]]


def test_the_lowest_suspicion_is_none() -> None:
    """Where nothing is examined nobody is asked."""
    search = search_of()
    at, aims = search.questions(EVERY, np.full((2, 1, 1), G_MAX))
    assert len(at[0]) == len(aims) == 0
