"""Saved states of simulated chips: what is refused, and that a chip that refuses stays as it was."""

from __future__ import annotations

import math

import numpy as np
import pytest

import hwloop
from hwloop.chip.backend import Backend
from hwloop.errors import BadInputError

TINY = "sim:pcm-90nm?rows=4&columns=4"


@pytest.fixture
def chip(open_chip) -> Backend:
    """A chip that has been used, so that its state holds everything it can."""
    chip = open_chip(TINY)
    chip.set_trims(0, np.full(4, 0.5), np.full(4, 0.04))
    chip.wait(100.0)
    chip.mvm(0, np.ones((2, 4), int))
    return chip


def floats(state: dict[str, np.ndarray]) -> list[str]:
    return [name for name, array in state.items() if array.dtype.kind == "f"]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_no_number_of_a_state_may_be_none(chip: Backend, bad: float) -> None:
    """Each array in turn: a chip with one NaN would answer NaN from then on, or never age."""
    saved = chip.export_state()
    names = floats(saved)
    assert {"clock", "core0/g", "core0/nu", "core0/born", "core0/adc_range"} <= set(names)
    for name in names:
        spoilt = saved | {name: np.full_like(saved[name], bad)}
        with pytest.raises(BadInputError, match=r"the saved state is not of a chip with 1 core\(s\)"):
            chip.import_state(spoilt)
        after = chip.export_state()
        assert all(np.array_equal(after[key], saved[key]) for key in saved), name


def test_one_nan_among_good_numbers_is_named(chip: Backend) -> None:
    saved = chip.export_state()
    spoilt = saved["core0/g"].copy()
    spoilt[-1] = math.nan
    with pytest.raises(BadInputError, match="'g' is not finite"):
        chip.import_state(saved | {"core0/g": spoilt})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"core0/g": np.zeros(3, np.float32)}, "'g' has the shape"),
        ({"core0/adc_range": np.array(1e9)}, "the converter range of core 0 is 1e"),
        ({"core0/offset_trim": np.full(4, 99.0)}, "offset trim 99"),
        ({"core9/g": np.zeros(3)}, "it has a part 'core9'"),
        ({"clock": np.array(-1.0)}, "the clock stands at -1"),
        ({"ledger/0": np.full(32, -1)}, "the saved pulse counts 'ledger/0' are not those of a chip"),
        ({"ledger/1": np.zeros(32, int)}, "the saved pulse counts 'ledger/1'"),
        ({"ledger/0": np.zeros(31, int)}, "the saved pulse counts 'ledger/0'"),
        ({"ledger/0": np.zeros(32)}, "the saved pulse counts 'ledger/0'"),
    ],
)
def test_a_state_of_another_chip_says_why(chip: Backend, changes: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        chip.import_state(chip.export_state() | changes)


def test_a_restored_chip_is_the_saved_one(chip: Backend) -> None:
    saved = chip.export_state()
    with hwloop.connect(TINY) as other:
        other.import_state(saved)
        assert other.now() == chip.now() > 100.0
        assert np.array_equal(other.mvm(0, np.ones((3, 4), int)), chip.mvm(0, np.ones((3, 4), int)))
        assert np.array_equal(other.trims(0), chip.trims(0))


def test_a_state_without_noise_sums_opens(chip: Backend) -> None:
    """Sums of cells are newer than the first release; devices' own states, as that release saved them, are enough."""
    chip.read(0, np.arange(32))
    saved = {name: array for name, array in chip.export_state().items() if "cell_noise" not in name}
    assert any(name.startswith("core0/flicker/") for name in saved)
    with hwloop.connect(TINY) as other:
        other.import_state(saved)
        assert np.array_equal(other.mvm(0, np.ones((3, 4), int)), chip.mvm(0, np.ones((3, 4), int)))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("cell_noise_updated", np.zeros(2), "'cell_noise_updated' has another length"),
        ("cell_noise/0", np.zeros(3, np.float32), "a sum of the read noise has another shape"),
    ],
)
def test_noise_sums_of_another_chip_are_refused(chip: Backend, name: str, value: np.ndarray, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        chip.import_state(chip.export_state() | {f"core0/{name}": value})
