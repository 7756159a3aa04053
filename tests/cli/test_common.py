"""What all commands share, piece by piece."""

from __future__ import annotations

import signal

import pytest

from hwloop.cli.common import kind_of, pairs, section, stoppable, watched
from hwloop.errors import (
    BadInputError,
    ChipError,
    ClosedError,
    HwloopError,
    LimitError,
    MissingCapabilityError,
)


def test_pairs_are_split_at_their_first_equals_sign() -> None:
    assert pairs(("a=1", "b=x=y", "c=")) == {"a": "1", "b": "x=y", "c": ""}
    assert pairs(()) == {}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (("a",), "--set a: expected KEY=VALUE"),
        (("=1",), "--set =1: expected"),
        (("a=1", "a=2"), "--set a is given twice"),
    ],
)
def test_what_is_no_pair_is_refused(texts: tuple[str, ...], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        pairs(texts)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MissingCapabilityError("x"), "missing-capability"),
        (LimitError("x"), "limit"),
        (BadInputError("x"), "bad-input"),
        (ChipError("x"), "chip"),
        (ClosedError("x"), "chip"),
        (HwloopError("x"), "chip"),
    ],
)
def test_every_error_has_a_word(error: HwloopError, kind: str) -> None:
    assert kind_of(error) == kind


def test_a_section_that_is_absent_is_empty() -> None:
    assert section({"a": {"b": 1}}, "a") == {"b": 1}
    assert section({"a": 3}, "a") == section({}, "a") == {}


def test_the_first_ctrl_c_ends_at_the_next_check_and_the_second_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT)
    with stoppable() as check:
        check()
        signal.raise_signal(signal.SIGINT)
        assert "stopping after this step" in capsys.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            check()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) == before


def test_nothing_is_drawn_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with watched("job") as report:
        report(1, 2)
    assert capsys.readouterr().err == ""
