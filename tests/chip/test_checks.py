"""The checks at their very limits: the last value that passes and the first that does not."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from hwloop.chip import checks
from hwloop.chip.info import Capability, ChipInfo, PulseLimits, TrimLimits
from hwloop.chip.pulses import PulseKind, Pulses
from hwloop.errors import BadInputError, LimitError

INFO = ChipInfo(
    name="checked", serial="1", cores=3, rows=2, columns=3, devices_per_polarity=1, input_bits=8, output_bits=8,
    g_max=20.0, read_voltage=0.2, adc_range=(10.0, 1000.0), limits=PulseLimits(500.0, 20.0, 2000.0, 100),
    capabilities=frozenset(Capability),
)  # fmt: skip
TRIMS = TrimLimits(offset_step=0.25, offset_max=8.0, gain_step=0.004, gain_max=0.12)


def pulses(amplitude: float = 200.0, width: float = 100.0, device: int = 0) -> Pulses:
    return Pulses.make(PulseKind.RESET, np.array([1, device]), np.array([200.0, amplitude]), np.array([100.0, width]))


def placed(device: int = 0, conductance: float = 1.0, age: float = 1.0) -> object:
    return checks.placement(INFO, np.array([1, device]), np.array([1.0, conductance]), age)


def trimmed(offset: float = 0.0, gain: float = 0.0) -> object:
    return checks.trim_registers(INFO, TRIMS, 1, np.array([0.0, offset, 0.0]), np.array([gain, 0.0, 0.0]))


def state(count: int, kind: str = "i8", core: int = 2) -> object:
    counts = np.zeros(12, kind)
    counts[5] = count
    return checks.saved_state(INFO, {f"ledger/{core}": counts, "clock": np.array(1.0)})


CASES: list[tuple[Callable[[], object], Callable[[], object], type[Exception], str]] = [
    (lambda: checks.core_number(INFO, 2), lambda: checks.core_number(INFO, 3), BadInputError, "core 3 does not exist"),
    (lambda: checks.core_number(INFO, 0), lambda: checks.core_number(INFO, -1), BadInputError, "has cores 0 to 2"),
    (lambda: pulses(device=11), lambda: checks.check_pulses(INFO, pulses(device=12)), BadInputError, "lie in 0 to 11"),
    (lambda: pulses(device=0), lambda: checks.check_pulses(INFO, pulses(device=1)), BadInputError, "device 1 occurs"),
    (
        lambda: checks.check_pulses(INFO, pulses(amplitude=500.0)),
        lambda: checks.check_pulses(INFO, pulses(amplitude=500.1)),
        LimitError,
        "device 0: pulse amplitude 500.1 uA is outside 0 to 500 uA",
    ),
    (
        lambda: checks.check_pulses(INFO, pulses(amplitude=1e-9)),
        lambda: checks.check_pulses(INFO, pulses(amplitude=0.0)),
        LimitError,
        "pulse amplitude 0 uA",
    ),
    (
        lambda: checks.check_pulses(INFO, pulses(width=20.0)),
        lambda: checks.check_pulses(INFO, pulses(width=19.9)),
        LimitError,
        "device 0: pulse width 19.9 ns is outside 20 to 2000 ns",
    ),
    (
        lambda: checks.check_pulses(INFO, pulses(width=2000.0)),
        lambda: checks.check_pulses(INFO, pulses(width=2001.0)),
        LimitError,
        "pulse width 2001 ns",
    ),
    (
        lambda: checks.mvm_inputs(INFO, np.array([[127, -127]])),
        lambda: checks.mvm_inputs(INFO, np.array([[128, 0]])),
        LimitError,
        r"lie in \[-127, 127\] for 8-bit",
    ),
    (
        lambda: checks.mvm_inputs(INFO, np.zeros((1, 2), int)),
        lambda: checks.mvm_inputs(INFO, np.array([[0, -128]])),
        LimitError,
        r"lie in \[-127, 127\]",
    ),
    (lambda: checks.seconds_to_wait(0.0), lambda: checks.seconds_to_wait(-1e-9), BadInputError, "not negative"),
    (lambda: placed(conductance=40.0), lambda: placed(conductance=40.1), BadInputError, "at most 40 uS"),
    (lambda: placed(conductance=0.0), lambda: placed(conductance=-1e-9), BadInputError, "not negative"),
    (lambda: placed(device=11), lambda: placed(device=12), BadInputError, "lie in 0 to 11"),
    (lambda: placed(device=0), lambda: placed(device=1), BadInputError, "occurs twice"),
    (lambda: placed(age=1e-9), lambda: placed(age=9e-10), BadInputError, r"from 1e-09 to 1e\+12"),
    (lambda: placed(age=1e12), lambda: placed(age=1.1e12), BadInputError, "place: age"),
    (lambda: trimmed(offset=8.0), lambda: trimmed(offset=8.1), LimitError, "column 1: offset trim 8.1 LSB"),
    (lambda: trimmed(gain=-0.12), lambda: trimmed(gain=-0.1205), LimitError, "column 0: gain trim -0.1205"),
    (lambda: state(2**31 - 1), lambda: state(2**31), BadInputError, "pulse counts 'ledger/2'"),
    (lambda: state(0), lambda: state(-1), BadInputError, "pulse counts 'ledger/2'"),
    (lambda: state(1, "u4"), lambda: state(1, "f8"), BadInputError, "pulse counts 'ledger/2'"),
    (lambda: state(1), lambda: state(1, core=3), BadInputError, "pulse counts 'ledger/3'"),
]


@pytest.mark.parametrize(("passes", "fails", "error", "message"), CASES)
def test_a_limit_is_the_last_value_that_passes(
    passes: Callable[[], object], fails: Callable[[], object], error: type[Exception], message: str
) -> None:
    passes()
    with pytest.raises(error, match=message):
        fails()


@pytest.mark.parametrize("value", [1, 65_536, np.int64(7)])
def test_whole_numbers_come_back_as_they_are(value: int) -> None:
    found = checks.whole_number(value, "averages", 1, checks.REQUESTS.averages)
    assert (found, type(found)) == (int(value), int)


@pytest.mark.parametrize("value", [0, 65_537, 1.0, True, "1", None])
def test_what_is_no_whole_number_within_bounds_is_refused(value: object) -> None:
    with pytest.raises(BadInputError, match="averages must be a whole number from 1 to 65536, not"):
        checks.whole_number(value, "averages", 1, checks.REQUESTS.averages)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_endless_waits_and_ages_are_refused(value: float) -> None:
    for ask in (lambda: checks.seconds_to_wait(value), lambda: placed(age=value)):
        with pytest.raises(BadInputError, match="must be"):
            ask()


def test_a_saved_state_comes_in_two_parts() -> None:
    own, counts = state(7)
    assert list(own) == ["clock"]
    assert list(counts) == [2]
    assert counts[2].dtype == np.int32
    assert counts[2].tolist() == [0] * 5 + [7] + [0] * 6


def test_trims_are_rounded_to_the_steps_of_their_registers() -> None:
    offset, gain = checks.trim_registers(INFO, TRIMS, 0, [0.13, -0.13, 0.1], [0.0021, -0.0019, 0.051])
    assert offset.tolist() == [0.25, -0.25, 0.0]
    assert gain == pytest.approx([0.004, 0.0, 0.052])
