"""Devices that do not answer are told from those that do by all of their pulses together."""

from __future__ import annotations

import numpy as np

from hwloop.calibration.programming.unresponsive import AnswerToPulses

EVERY = np.arange(3)


def after(*pulses: tuple[list[float], list[float]], noise: float = 0.5) -> list[bool]:
    """What is told of three devices after pulses that were expected to leave one thing and left another, uS."""
    answer = AnswerToPulses.none(3)
    for expected, read in pulses:
        answer.add(EVERY, np.array(expected), np.array(read), noise)
    return answer.missing().tolist()


def test_nothing_is_said_before_a_second_pulse() -> None:
    assert after() == [False] * 3
    assert after(([20.0, 20.0, 20.0], [0.0, 0.0, 0.0])) == [False] * 3


def test_a_device_that_stays_where_it_is_does_not_answer() -> None:
    # It goes along; it stays; it goes half of the way.
    assert after(([20.0, 20.0, 20.0], [19.0, 11.0, 20.0]), ([8.0, 8.0, 8.0], [9.0, 11.2, 14.0])) == [False, True, False]


def test_going_the_wrong_way_is_no_answer() -> None:
    assert after(([20.0] * 3, [10.0] * 3), ([8.0] * 3, [15.0] * 3)) == [True] * 3


def test_small_steps_say_nothing_until_they_add_up() -> None:
    steps = [([5.0 + step] * 3, [3.0, 3.1, 2.9]) for step in range(12)]
    assert after(*steps[:4]) == [False] * 3  # the sum of squared deviations is 5 uS^2, of 25 wanted
    assert after(*steps) == [True] * 3  # 143


def test_what_counts_is_the_distance_in_units_of_noise() -> None:
    pulses = ([14.0] * 3, [10.0] * 3), ([4.0] * 3, [10.0] * 3)
    assert after(*pulses, noise=0.7) == [True] * 3
    assert after(*pulses, noise=0.8) == [False] * 3


def test_a_device_that_is_asked_for_more_than_it_has_is_not_blamed() -> None:
    """On the flat end of its curve nothing is expected to change, however far the target is."""
    assert after(*[([27.0 + 0.01 * pulse] * 3, [23.0] * 3) for pulse in range(15)]) == [False] * 3
