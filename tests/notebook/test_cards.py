"""What notebooks show: every result as a card that escapes what it repeats and has no colour of its own."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest

import hwloop
from hwloop.files.measurements import Measurement
from hwloop.jobs.compare import Comparison
from hwloop.jobs.drift_result import Course, DriftResult
from hwloop.jobs.training_study import TrainingStudy
from hwloop.notebook.card import card
from tests.conftest import gaussian

NASTY = "<script>alert('x')</script>\x1b[2J"


class Tree(HTMLParser):
    """Checks that elements are closed in the order in which they were opened, and collects their texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.texts, self.names = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        self.names.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def results() -> dict[str, object]:
    """One of each thing that a notebook shows, with names as somebody else may have chosen them."""
    with hwloop.connect("sim:hermes-core?rows=8&columns=8&seed=1") as chip:
        run = hwloop.program(chip, {NASTY: gaussian(6, 5)}, "exact")
    course = Course(np.array([0.1, 0.2]), (), np.ones(2), np.ones(2), np.zeros(2), np.zeros(2))
    drift = Measurement.of("drift", [1.0, 10.0], [[5.0, 8.0], [4.0, 8.0]], attributes={"chip": NASTY})
    return {
        "chip": chip,
        "run": run,
        "measurement": drift,
        "comparison": Comparison(NASTY, "w", {"exact": [run]}),
        "drift": DriftResult("", NASTY, "complete", 0.1, 20.0, 0.2, (1.0, 3600.0), {"none": course}),
        "study": TrainingStudy("states", (1.0, 2.0), np.array([[0.5], [0.75]]), 0.9, "agad", NASTY),
        "evaluation": hwloop.Evaluation(NASTY, NASTY, "gdp", 0.1, "mvm", 0.1, 1.0, "", ()),
    }


@pytest.mark.parametrize("name", sorted(results()))
def test_a_result_is_a_card(name: str) -> None:
    shown = results()[name]._repr_html_()
    tree = Tree(shown)
    assert "script" not in tree.names
    assert "\x1b" not in shown
    assert not re.search(r"color:(?!inherit)|background", shown.replace("currentColor", ""))
    assert len(" ".join(tree.texts).split()) >= 5


def test_a_card_lists_the_first_rows_and_counts_the_rest() -> None:
    text = " ".join(Tree(card("Title", head=("a", "b"), rows=[("x", k) for k in range(20)])).texts)
    assert "and 8 more" in text
    assert " 11" in text
    assert " 12" not in text


def test_what_is_not_known_is_a_dash() -> None:
    texts = Tree(card("T", facts={"a": None, "b": float("nan"), "c": 1234567, "d": 0.123456})).texts
    assert texts == ["T", "a", "-", "b", "-", "c", "1,234,567", "d", "0.1235"]
