"""Transfer curves of converters against the curves that the simulated ones were made with."""

from __future__ import annotations

import numpy as np
import pytest

from hwloop.calibration.certificate.plan import Plan
from hwloop.calibration.certificate.session import calibrate
from hwloop.calibration.routines.converters import ConverterCalibration
from hwloop.chip.cell_calibration import nonlinearity
from hwloop.chip.info import Capability
from hwloop.errors import BadInputError, ChipError
from tests.calibration.specimen import SMALL, calibrated, coverage, lacking

BENT = "&adc_gain_spread=0.05&adc_offset_spread=2&adc_nonlinearity=2&dac_nonlinearity=2"
CHIPS = [f"{SMALL}{BENT}&seed={seed}" for seed in range(6)]
CORE = f"sim:hermes-core?seed=0{BENT}"
"""All 256 rows: gains are as good as there are devices to compare."""
SCALE = np.linspace(-1, 1, 201)[:, None]
"""The converters' range."""


@pytest.mark.parametrize("uri", [*CHIPS, CORE])
def test_offsets_within_a_tenth_of_an_lsb(uri: str) -> None:
    chip = calibrated(uri, "dac")
    assert np.abs(chip.core.converters.offset - chip.converters.offset.numpy()).max() < 0.1


def test_gains_within_0_3_per_cent() -> None:
    chip = calibrated(CORE, "dac")
    # Known as a product with the mean of the column's devices, both relative to the mean of all.
    product = chip.converters.gain.numpy() * chip.device("g_max").mean((0, 1, 2))
    error = chip.core.gains.gain - product / product.mean()
    assert np.sqrt(np.mean(error**2)) < 0.003
    # 1/f noise of 7 % over 1024 devices: 0.23 %, for each of 256 columns.
    assert np.abs(error).max() < 4 * 0.0023


def test_gains_far_from_one_are_no_worse_than_others() -> None:
    chip = calibrated(f"{SMALL}&adc_gain_spread=0.15&seed=1", "adc")
    error = chip.core.gains.gain / (chip.converters.gain.numpy() / chip.converters.gain.numpy().mean()) - 1
    far = np.abs(chip.converters.gain.numpy() - 1) > 0.15
    low = far & (chip.converters.gain.numpy() < 1)
    # 5 % of heights and 7 % of noise over 256 devices each: 0.5 %. The far half of large gains leaves the read range.
    assert np.abs(error[low]).max() < 4 * 0.005


@pytest.mark.parametrize("uri", [*CHIPS, CORE])
def test_adc_bend_of_2_lsb_leaves_less_than_half_an_lsb(uri: str) -> None:
    chip = calibrated(uri, "dac")
    found = np.stack([chip.core.converters.second_order, chip.core.converters.third_order])
    true = np.stack([np.zeros(len(found[0])), chip.converters.nonlinearity.numpy()])
    residual = nonlinearity(SCALE, (found - true)[:, None])
    assert np.abs(true[1]).max() > 2
    assert np.abs(residual).max() < 0.5


@pytest.mark.parametrize("uri", [*CHIPS, CORE])
def test_dac_bend_of_2_lsb_leaves_less_than_half_an_lsb(uri: str) -> None:
    chip = calibrated(uri, "dac")
    found = np.stack([chip.core.converters.row_second_order, chip.core.converters.row_third_order])
    true = np.stack([np.zeros(len(found[0])), np.full(len(found[0]), 2.0)])
    assert np.abs(nonlinearity(SCALE, (found - true)[:, None])).max() < 0.5


def test_stated_intervals_cover_what_they_say() -> None:
    chips = [calibrated(uri, "dac") for uri in CHIPS]
    found = [chip.core.converters for chip in chips]
    offset = [one.offset - chip.converters.offset.numpy() for one, chip in zip(found, chips, strict=True)]
    cubic = [one.third_order - chip.converters.nonlinearity.numpy() for one, chip in zip(found, chips, strict=True)]
    # 384 columns: a true coverage of 95 % is seen within 92 and 98 % in 99 of 100 such tests.
    assert 0.92 <= coverage(offset, [one.offset_sigma for one in found]) <= 0.98
    assert 0.92 <= coverage(cubic, [one.third_order_sigma for one in found]) <= 0.98
    gains = [chip.converters.gain.numpy() for chip in chips]
    gain = [chip.core.gains.gain - true / true.mean() for chip, true in zip(chips, gains, strict=True)]
    assert 0.92 <= coverage(gain, [chip.core.gains.gain_sigma for chip in chips]) <= 0.98


@pytest.mark.parametrize("noise", [0.1, 0.3, 1.0])
def test_noise_before_rounding(noise: float) -> None:
    chip = calibrated(f"{SMALL}&adc_noise={noise}", "adc")
    assert chip.core.converters.adc_noise == pytest.approx(noise, rel=0.07)


def test_nothing_is_found_on_ideal_converters() -> None:
    found = calibrated(f"{SMALL}&adc_gain_spread=0&adc_offset_spread=0&seed=3", "dac").core.converters
    assert np.abs(found.offset).max() < 0.1
    assert (
        max(np.abs(found.third_order).max(), np.abs(found.second_order).max(), np.abs(found.row_third_order).max())
        < 0.1
    )


def test_columns_that_round_alike_count_as_one() -> None:
    """Equal devices and no noise: all columns make the same rounding errors, and few different ones."""
    found = calibrated("sim:pcm-ideal?rows=64&columns=64&adc_bits=8&seed=1", "dac").core.converters
    for name in ("second_order", "third_order", "row_second_order", "row_third_order"):
        error, sigma = getattr(found, name), getattr(found, f"{name}_sigma")
        assert np.abs(error / sigma).max() < 4
        assert np.abs(error).max() < 0.5


def test_the_range_of_a_chip_that_has_one_alone_will_do() -> None:
    chip = lacking(CHIPS[0], Capability.ADC_RANGE)
    found = calibrate(chip, Plan(("adc",))).cores[0].converters
    error = found.offset - chip._cores[0].converters.offset.numpy()
    assert found.full_scale == chip.adc_range(0)
    # A sixth of all outputs saturates in 256 uS: what is known less well must say so.
    assert np.abs(error).max() < 0.18  # 0.044 rms over seeds; 4 sigma
    assert np.abs(error / found.offset_sigma).max() < 4


def test_saturated_converters_are_one_clear_line() -> None:
    chip = lacking(SMALL, adc_range=(16.0, 20.0))
    with pytest.raises(ChipError, match=r"^core 0: the converters saturate: 9\d% of all outputs .* range of 20 uS"):
        calibrate(chip, Plan(("adc",)))


def test_saturated_converters_do_not_stop_what_needs_none() -> None:
    calibration = calibrate(lacking(SMALL, adc_range=(16.0, 20.0)))
    assert calibration.skipped["core 0: adc"].startswith("the converters saturate")
    assert {"devices", "programming_curve"} <= set(calibration.measured())
    assert "converters" not in calibration.measured()


def test_columns_that_show_nothing_are_unresponsive_and_taken_as_ideal() -> None:
    chip = calibrated(f"{SMALL}&adc_bits=4", "adc")  # never five codes apart
    found = chip.core.converters
    assert found.unresponsive.all()
    ideal = found.converters(chip.chip.info, np.ones(64))
    assert not ideal.offset.any()
    assert not ideal.column_nonlinearity.any()


def test_too_few_vectors_are_refused_before_the_first_pulse() -> None:
    chip = lacking("sim:hermes-core?rows=512&columns=16")
    with pytest.raises(BadInputError, match="setting adc_vectors=600: 512 rows need 774"):
        calibrate(chip, Plan(converters=ConverterCalibration(adc_vectors=600)))
    assert chip.counts.pulses == 0
