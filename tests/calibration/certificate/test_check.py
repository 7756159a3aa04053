"""What counts as moved: differences over their uncertainties, one at a time."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pytest

from hwloop.calibration.certificate.certificate import Calibration
from hwloop.calibration.certificate.check import Check, Finding, check, refuse_stale, temperature_finding
from hwloop.chip.backend import Backend
from hwloop.chip.info import Capability
from hwloop.errors import BadInputError, CalibrationWarning, MissingCapabilityError
from hwloop.typing import FloatArray
from tests.calibration import made_up
from tests.calibration.specimen import lacking
from tests.conftest import OpenChip

CHIP = "sim:hermes-core?rows=16&columns=12&seed=1"
EVERY = np.ones(4, bool)


def test_a_value_has_moved_beyond_so_many_standard_deviations_and_not_at_them() -> None:
    difference, sigma = np.array([1.0, -2.0, 2.0, -2.25]), np.full(4, 0.5)
    found = Check().compare(7, "offsets", difference, sigma, EVERY)
    assert found == Finding(7, "offsets", 4, 1, 4.5)
    assert not found.expected
    assert Check(moved_sigmas=4.5).compare(7, "offsets", difference, sigma, EVERY).expected


def test_only_the_chosen_columns_are_compared() -> None:
    difference, which = np.array([0.0, 9.0, 1.0, 0.0]), np.array([True, False, True, False])
    assert Check().compare(0, "x", difference, EVERY.astype(float), which) == Finding(0, "x", 2, 0, 1.0)
    assert Check().compare(0, "x", difference, EVERY.astype(float), ~EVERY) == Finding(0, "x", 0, 0, 0.0)


def test_idle_outputs_are_compared_with_rounded_offsets() -> None:
    """An offset of 3 with noise of 0.3 LSB is seen as 3 on average; one that has risen to 5 is 2 above."""
    zero = np.zeros(2)
    known = made_up.converters(
        4, 2, offset=np.array([3.0, 3.0]), offset_sigma=np.full(2, 0.03), second_order=zero, third_order=zero
    )
    codes = np.array([[3, 5], [3, 5], [2, 5], [4, 5]])
    difference, sigma = Check().idle_difference(codes, known, 127)
    assert difference == pytest.approx([0.0, 2.0], abs=1e-6)
    # The slope of the rounded mean at a whole number is that of noise of 0.3 LSB: 0.66 LSB for one of offset.
    expected = known.idle_mean(127)[1]
    assert expected == pytest.approx([0.03 * 0.66, 0.03 * 0.66], rel=0.05)
    of_mean = np.array([np.sqrt(0.5) / 2, 0.0]) + 0.01
    assert sigma == pytest.approx(np.sqrt(of_mean**2 + expected**2))


def test_the_idle_mean_follows_the_curve_of_the_converter() -> None:
    """Second order: 2 LSB at the ends of the scale are 0.5 LSB at half of it; noise of 1 LSB rounds without error."""
    known = made_up.converters(
        4, 1, offset=np.array([64.0]), second_order=np.array([2.0]), third_order=np.array([0.0]), adc_noise=1.0
    )
    assert known.idle_mean(128)[0] == pytest.approx([64.5], abs=1e-4)
    bent = dataclasses.replace(known, second_order=np.array([0.0]), third_order=np.array([-1.0]))
    # (u^2 - 1) u at a half is -0.375, of a peak of 2 / sqrt(27).
    assert bent.idle_mean(128)[0] == pytest.approx([64.0 + 0.375 / (2 / np.sqrt(27))], abs=1e-4)


@pytest.mark.parametrize(("kelvin", "moved"), [(300, 0), (310, 0), (290, 0), (310.5, 1), (289, 1)])
def test_a_temperature_has_moved_beyond_ten_kelvin(open_chip: OpenChip, kelvin: float, moved: int) -> None:
    chip = open_chip(f"{CHIP}&temperature={kelvin}")
    (found,) = temperature_finding(made_up.calibration(chip), chip)
    assert (found.core, found.moved) == (None, moved)
    assert found.worst == pytest.approx(abs(kelvin - 300) / 10)
    assert found.to_json()["core"] is None


def test_an_unknown_temperature_is_not_compared(open_chip: OpenChip) -> None:
    chip = open_chip(CHIP)
    known = made_up.calibration(chip)
    assert temperature_finding(dataclasses.replace(known, temperature=float("nan")), chip) == []
    assert temperature_finding(known, lacking(CHIP, Capability.TEMPERATURE)) == []


def test_a_chip_without_mvms_cannot_be_checked() -> None:
    chip = lacking(CHIP, Capability.MVM)
    with pytest.raises(MissingCapabilityError, match="checking a calibration"):
        check(made_up.calibration(chip), chip)


def test_curves_are_compared_in_units_of_both_uncertainties(
    open_chip: OpenChip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Known to 0.3 and measured to 0.4 LSB, 2.1 LSB apart: 4.2 standard deviations; and idle columns are left out."""
    chip = open_chip(CHIP)
    base = made_up.calibration(chip)
    sigmas = {"offset_sigma": 0.3, "second_order_sigma": 0.3, "third_order_sigma": 0.3}
    quiet = np.arange(12) == 2
    known = dataclasses.replace(
        base.cores[0].converters, unresponsive=quiet, **{name: np.full(12, one) for name, one in sigmas.items()}
    )
    shifted = {
        "offset": known.offset - np.where(np.arange(12) == 4, 2.1, 0.0),
        "second_order": known.second_order + np.where(np.arange(12) == 2, 9.0, 0.0),
        "third_order": known.third_order + np.where(np.arange(12) == 5, 1.9, 0.0),
    }
    fresh = dataclasses.replace(
        known,
        unresponsive=np.arange(12) == 3,
        **shifted,
        **{name: np.full(12, 0.4) for name in sigmas},
    )

    def now(*_: object):
        yield from ()
        return fresh

    monkeypatch.setattr("hwloop.calibration.certificate.check.converters_now", now)
    base = dataclasses.replace(base, cores={0: dataclasses.replace(base.cores[0], converters=known)})
    found = {finding.what: finding for finding in check(base, chip)}
    assert found["offsets, by idle outputs"].compared == 11
    assert (found["offsets"].compared, found["offsets"].moved) == (10, 1)
    assert found["offsets"].worst == pytest.approx(2.1 / 0.5)
    assert found["second-order nonlinearities"].worst == 0.0
    assert found["third-order nonlinearities"].worst == pytest.approx(1.9 / 0.5)


def test_a_difference_counts_in_its_own_standard_deviations_however_small() -> None:
    difference, sigma = np.array([0.5, 0.039, -0.041, 9.0]), np.array([0.05, 0.01, 0.01, 0.001])
    found = Check().compare(2, "offsets", difference, sigma, np.array([True, True, True, False]))
    assert (found.core, found.what, found.compared, found.moved) == (2, "offsets", 3, 2)
    assert found.worst == pytest.approx(10.0)
    assert not found.expected
    none = Check().compare(2, "offsets", difference, sigma, np.zeros(4, bool))
    assert (none.compared, none.moved, none.worst, none.expected) == (0, 0, 0.0, True)


# ---- before it is used ------------------------------------------------------------------------------------------

WITHOUT_OFFSETS = f"{CHIP}&adc_offset_spread=0"


def saying(chip: Backend, offset: FloatArray) -> Calibration:
    """A calibration that takes the columns of a chip without offsets to have these."""
    base, zero = made_up.calibration(chip), np.zeros(12)
    converters = made_up.converters(
        16, 12, offset=offset, offset_sigma=np.full(12, 0.03), second_order=zero, third_order=zero
    )
    return dataclasses.replace(base, cores={0: dataclasses.replace(base.cores[0], converters=converters)})


@pytest.mark.parametrize("seed", range(5))
def test_offsets_that_are_what_they_were_are_passed_over(open_chip: OpenChip, seed: int) -> None:
    chip = open_chip(WITHOUT_OFFSETS.replace("seed=1", f"seed={seed}"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        refuse_stale(saying(chip, np.full(12, 0.3)), chip, [0])
    assert chip.counts.pulses == 0


def test_offsets_of_another_day_are_refused(open_chip: OpenChip) -> None:
    chip = open_chip(WITHOUT_OFFSETS)
    offset = np.where(np.arange(12) % 2, 1.5, -1.5)
    offset[7] = 3.0
    with pytest.raises(
        BadInputError, match=r"core 0 .* 12 of 12 columns .* column 7 by -3\.\d LSB; .* calibrate daily"
    ):
        refuse_stale(saying(chip, offset), chip, [0])


def test_one_column_that_has_moved_is_warned_of(open_chip: OpenChip) -> None:
    chip = open_chip(WITHOUT_OFFSETS)
    with pytest.warns(CalibrationWarning, match=r"1 of 12 columns are off by over 1 LSB, column 4 by 2\.\d LSB"):
        refuse_stale(saying(chip, np.where(np.arange(12) == 4, -2.5, 0.0)), chip, [0])


def test_columns_that_did_not_respond_and_cores_that_were_not_calibrated_are_not_compared(open_chip: OpenChip) -> None:
    chip = open_chip(WITHOUT_OFFSETS)
    known = saying(chip, np.full(12, 9.0))
    silent = dataclasses.replace(known.cores[0].converters, unresponsive=np.ones(12, bool))
    refuse_stale(
        dataclasses.replace(known, cores={0: dataclasses.replace(known.cores[0], converters=silent)}), chip, [0]
    )
    refuse_stale(known, chip, [1])


def test_a_finding_is_told_in_a_line() -> None:
    assert str(Finding(3, "offsets", 64, 1, 5.25)) == "core 3, offsets: 1 of 64 moved; worst 5.2 sigma"
    assert str(Finding(None, "temperature", 1, 0, 0.0)).startswith("the chip, temperature: 0 of 1 moved")
