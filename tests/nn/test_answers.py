"""Answers under noise, before and after a training."""

from __future__ import annotations

import pytest
import torch

from hwloop.nn.answers import compared

EQUAL = torch.ones(4)


def test_a_gain_has_the_standard_error_of_paired_differences() -> None:
    before, after = torch.tensor([0.5, 0.5, 1.0, 0.0]), torch.tensor([0.75, 1.0, 1.0, 0.25])
    found = compared(before.double(), after.double(), EQUAL)
    assert (found.before, found.after) == (0.5, 0.75)
    assert found.gain == 0.25
    assert found.gain_error == pytest.approx(float((after - before).std()) / 2)


def test_a_gain_must_exceed_its_error() -> None:
    before = torch.tensor([0.5, 0.5, 0.5, 0.5]).double()
    little = compared(before, before + torch.tensor([0.25, 0.0, 0.0, 0.0]), EQUAL)  # just its standard error
    assert little.better(0.9)
    assert not little.better(1.1)
    assert not compared(before, before - torch.tensor([0.25, 0.0, 0.0, 0.0]), EQUAL).better(0.0)


def test_where_no_answer_changed_nothing_speaks_against_it() -> None:
    before = torch.tensor([1.0, 0.5, 1.0, 1.0]).double()
    assert compared(before, before, EQUAL).better(2.0)


def test_weighted_images_count_as_so_many() -> None:
    before, after = torch.tensor([0.0, 1.0]).double(), torch.tensor([1.0, 1.0]).double()
    assert compared(before, after, torch.tensor([1.5, 0.5])).gain == pytest.approx(0.75)
