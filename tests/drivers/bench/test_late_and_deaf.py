"""A source meter that answers late, or keeps to another compliance than it was told: the bench is made safe."""

from __future__ import annotations

import threading

import pytest

import hwloop
from hwloop.drivers.bench.wire import SCPI, WireLimits
from hwloop.errors import ChipError
from tests.drivers.bench.emulated import Rig, rig
from tests.drivers.bench.scripted import scripted


@pytest.fixture
def bench(tmp_path):
    with rig(tmp_path, timeout=0.4) as made:
        yield made


def test_a_source_meter_that_keeps_another_compliance_is_not_switched_on(bench: Rig) -> None:
    with hwloop.connect(f"bench:{bench.file}") as chip:
        bench.source.compliance = 1.05  # what it had before it ignored the command
        with pytest.raises(ChipError, match=r"keeps to a compliance of 1\.05 A and not to 0\.0001 A as it was told"):
            chip.read(0, [0])
        assert ":OUTP ON" not in bench.source.heard
    assert bench.idle


@pytest.mark.parametrize("seconds", [0.7, 1.5])
def test_a_late_reading_is_not_taken_for_the_next_answer(bench: Rig, seconds: float) -> None:
    """The reading comes after the driver gave up, before or after it has asked the next question."""
    handle, wait = bench.source.handle, threading.Event()

    def slow(line: str) -> str | None:
        answer = handle(line)
        if line == ":MEAS:CURR?":
            wait.wait(seconds)
        return answer

    bench.source.handle = slow  # type: ignore[method-assign]
    with hwloop.connect(f"bench:{bench.file}") as chip:
        with pytest.raises(ChipError, match="no reply in time") as error:
            chip.read(0, [0])
        assert "by hand" not in str(error.value)
        assert bench.idle
    assert not bench.crossbar.violations


def test_one_that_never_answers_again_has_been_told_to_switch_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands go out before anybody waits for an answer."""
    monkeypatch.setattr("hwloop.drivers.bench.wire.LIMITS", WireLimits(seconds=0.0))
    wire, link = scripted([(":MEAS:CURR?", "nonsense"), (":SYST:ERR?", '0,"No error"')], SCPI)
    with pytest.raises(ChipError, match="not a number"):
        wire.number(":MEAS:CURR?")
    link.left = [(":SOUR:VOLT 0", None), (":OUTP OFF", None), ("*IDN?", None)]
    with pytest.raises(AssertionError):  # of the scripted link, which has no answer
        wire.recover(":SOUR:VOLT 0", ":OUTP OFF")
    assert not link.left
