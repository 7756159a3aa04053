"""HERMES' one-phase and four-phase reads: a quarter of the time, a coarser converter, and nothing else."""

from __future__ import annotations

import math

import numpy as np
import pytest

import hwloop
from hwloop.chip.registry import connect
from hwloop.errors import BadInputError
from hwloop.sim_backend.presets import PRESETS
from hwloop.testing.suite import costs

HERMES = "sim:hermes-core?rows=32&columns=64"
MVMS = 2000


def idle(mode: str, **options: float) -> np.ndarray:
    """Output codes (vectors, columns) of a core without conductance, zero input."""
    query = "&".join(f"{name}={value}" for name, value in {"read_mode": mode, **options}.items())
    with connect(f"{HERMES}&{query}") as chip:
        return chip.mvm(0, np.zeros((MVMS, 32), np.int32))


def test_the_published_throughput_and_efficiency_give_time_and_energy():
    """64 cores of 256 x 256 multiply-accumulates, two operations each, at 16.1 and 63.1 TOPS, 2.48 and 9.76 TOPS/W."""
    chip = PRESETS["hermes-64"]()
    operations = 2 * chip.rows * chip.columns
    published = {"four-phase": (16.1e12, 2.48e12), "one-phase": (63.1e12, 9.76e12)}
    assert {mode.name for mode in chip.read_modes} == set(published)
    for mode in chip.read_modes:
        per_second, per_joule = published[mode.name]
        assert mode.seconds == pytest.approx(64 * operations / per_second, rel=1e-3)
        assert mode.joules == pytest.approx(operations / per_joule, rel=3e-3)


def test_four_phase_is_what_the_chip_does_unless_told_otherwise():
    """To the bit, in its results and in its clock."""
    x = np.random.default_rng(0).integers(-127, 128, (20, 32))
    answers = []
    for option in ("", "&read_mode=four-phase"):
        with connect(f"{HERMES}&seed=4{option}") as chip:
            assert chip.read_mode(0) == "four-phase"
            assert chip.info.serial.startswith("simulated-4")
            answers.append((chip.mvm(0, x), chip.now(), chip.info))
    assert np.array_equal(answers[0][0], answers[1][0])
    assert answers[0][1:] == answers[1][1:]
    assert answers[0][1] == pytest.approx(20 * PRESETS["hermes-core"]().mvm_seconds)


def test_one_phase_takes_a_quarter_of_the_time_per_vector():
    with connect(HERMES) as chip:
        seconds = {}
        for mode in ("one-phase", "four-phase"):
            chip.set_read_mode(0, mode)
            before = costs(chip)
            chip.mvm(0, np.ones((50, 32), np.int32))
            seconds[mode] = (costs(chip) - before).chip_seconds
    assert seconds["one-phase"] == pytest.approx(50 * 133e-9)
    assert seconds["one-phase"] / seconds["four-phase"] == pytest.approx(0.25, abs=0.01)


def test_one_phase_converts_in_steps_twice_as_large():
    """Without offsets every code is even, and the noise of 0.3 LSB is one of 0.6 before rounding.

    Sheppard: rounding to a step d adds d^2 / 12 to a variance as large as d^2.
    """
    noise = 2.0
    one, four = (idle(mode, adc_noise=noise, adc_offset_spread=0) for mode in ("one-phase", "four-phase"))
    assert not np.any(one % 2)
    assert np.any(four % 2)
    scatter = math.sqrt(2 / one.size)  # relative standard error of a variance
    assert one.var() == pytest.approx(4 * noise**2 + 4 / 12, rel=5 * scatter)
    assert four.var() == pytest.approx(noise**2 + 1 / 12, rel=5 * scatter)


def test_one_phase_saturates_at_the_same_codes():
    with connect(f"{HERMES}&read_mode=one-phase&adc_bits=8") as chip:
        shape = chip.info.device_shape
        chip.place(0, np.arange(math.prod(shape[1:])), np.full(math.prod(shape[1:]), 10.0), 1.0)
        chip.wait(1.0)
        chip.set_adc_range(0, 16.0)
        full = np.full((1, 32), 127)
        assert np.all(chip.mvm(0, full) == 127)
        assert np.all(chip.mvm(0, -full) == -127)


def test_a_single_device_is_read_alike_in_both_modes():
    values = []
    for mode in ("one-phase", "four-phase"):
        with connect(f"{HERMES}&seed=2&read_mode={mode}") as chip:
            values.append(chip.read(0, np.arange(64), 4))
    assert np.array_equal(*values)


def test_the_mode_of_each_core_is_part_of_the_state():
    """Under whichever mode the other chip begins in; a state of a version without modes leaves that one."""
    with connect(f"{HERMES}&cores=2") as chip:
        chip.set_read_mode(1, "one-phase")
        chip.mvm(0, np.zeros((1, 32), np.int32))
        state = chip.export_state()
        assert chip.snapshot()["core1.read_mode"] == "one-phase"
    old = {name: array for name, array in state.items() if "read_mode" not in name}
    with connect(f"{HERMES}&cores=2&read_mode=one-phase") as other:
        other.import_state(old)
        assert [other.read_mode(core) for core in (0, 1)] == ["one-phase", "one-phase"]
        other.import_state(state)
        assert [other.read_mode(core) for core in (0, 1)] == ["four-phase", "one-phase"]
        with pytest.raises(BadInputError, match="the saved state is not of a chip"):
            other.import_state(state | {"core1/read_mode": np.array(2)})


def test_the_energy_is_told_for_the_core_it_was_published_for():
    with connect("sim:hermes-64") as chip, connect(HERMES) as smaller:
        assert [mode.joules for mode in chip.info.read_modes] == [52.9e-9, 13.4e-9]
        assert [mode.joules for mode in smaller.info.read_modes] == [None, None]
        assert "2.48 TOPS/W" in chip.info.read_modes[0].source


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("sim:hermes-core?read_mode=two-phase", "read_mode=two-phase: expected one of four-phase, one-phase"),
        ("sim:pcm-90nm?read_mode=one-phase", "read_mode=one-phase: pcm-90nm does an MVM in one way alone"),
    ],
)
def test_a_mode_that_a_preset_lacks_is_refused(uri, message):
    with pytest.raises(BadInputError, match=message):
        connect(uri)


def test_the_statistical_level_has_the_same_modes():
    """Time and steps of the converters; two cores at once take as long as the slower one."""
    with connect(f"{HERMES}&cores=2&level=statistical&adc_offset_spread=0") as chip:
        chip.set_read_mode(1, "one-phase")
        x = np.zeros((100, 32), np.int32)
        before = chip.now()
        assert not np.any(chip.mvm(1, x) % 2)
        assert chip.now() - before == pytest.approx(100 * 133e-9)
        before = chip.now()
        chip.mvms({0: x[:10], 1: x})
        assert chip.now() - before == pytest.approx(100 * 133e-9)
        before = chip.now()
        chip.mvms({0: x[:50], 1: x})
        assert chip.now() - before == pytest.approx(50 * 521e-9)


def test_one_phase_leaves_a_larger_error_of_products_that_were_placed_exactly():
    """On every specimen: the converters' part of the variance is four times as large, that of the devices the same."""
    weights = np.random.default_rng(0).standard_normal((64, 64))
    for seed in (1, 2, 3):
        errors = {}
        for mode in ("one-phase", "four-phase"):
            with connect(f"sim:hermes-core?rows=64&columns=64&seed={seed}&read_mode={mode}") as chip:
                errors[mode] = hwloop.program(chip, weights, "exact").mvm_error
        assert 1.03 < errors["one-phase"] / errors["four-phase"] < 2.0
