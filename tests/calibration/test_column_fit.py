"""Column gains and offsets: recovered within their statistical error, with outliers and saturation in the data."""

import numpy as np
import pytest

from hwloop.calibration.column_fit import calibrate_columns, fit_columns
from hwloop.calibration.probes import uniform_inputs
from hwloop.chip.region import Place, Region
from hwloop.chip.registry import connect
from hwloop.errors import BadInputError
from hwloop.mapping.columns import ColumnCorrection
from hwloop.mapping.split import split_devices

CODE_MAX = 127
SPAN = (-CODE_MAX, CODE_MAX)
GAIN, OFFSET = 0.02, -0.3
VECTORS, COLUMNS = 400, 200


def measured(rng, noise=0.05, vectors=VECTORS, spread=30.0):
    """Codes of a linear converter and the outputs they stand for, with Gaussian noise on the outputs."""
    codes = np.clip(np.round(rng.normal(0, spread, (vectors, COLUMNS))), 1 - CODE_MAX, CODE_MAX - 1).astype(np.int32)
    return codes, GAIN * codes + OFFSET + noise * rng.normal(size=codes.shape)


def standard_errors(codes, noise):
    """Of gain and offset in ordinary least squares, over the 95 % efficiency of the Huber fit."""
    n, spread = codes.shape[0], codes.std(axis=0)
    efficiency = np.sqrt(0.95)
    gain = noise / (spread * np.sqrt(n)) / efficiency
    return gain, noise / np.sqrt(n) / efficiency


def test_a_line_without_noise_is_recovered_exactly():
    codes, reference = measured(np.random.default_rng(0), noise=0.0)
    fit = fit_columns(codes, reference, SPAN)
    assert fit.gain == pytest.approx(GAIN, rel=1e-9)
    assert fit.offset == pytest.approx(OFFSET, rel=1e-9)
    assert fit.apply(codes) == pytest.approx(reference, rel=1e-9)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_gain_and_offset_scatter_by_their_standard_errors(seed):
    """Over 200 columns: no bias (4 sigma of the mean), and the spread that theory says (10 %, 2 sigma)."""
    codes, reference = measured(np.random.default_rng(seed))
    fit = fit_columns(codes, reference, SPAN)
    for values, truth, sigma in zip((fit.gain, fit.offset), (GAIN, OFFSET), standard_errors(codes, 0.05), strict=True):
        z = (values - truth) / sigma
        assert abs(z.mean()) < 4 / np.sqrt(COLUMNS)
        assert z.std() == pytest.approx(1.0, rel=0.1)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_gross_outliers_move_the_line_by_less_than_half_a_sigma(seed):
    """2 % of the outputs are wrong by twenty standard deviations or more, most of them upwards.

    Ordinary least squares is off by several sigma; the robust fit by less than half of one on average.
    """
    rng = np.random.default_rng(seed)
    codes, reference = measured(rng)
    wrong = rng.random(codes.shape) < 0.02
    reference[wrong] += rng.choice([-1.0, 1.0, 3.0], wrong.sum()) * 20 * 0.05
    fit = fit_columns(codes, reference, SPAN)
    ordinary = np.array([np.polyfit(codes[:, c], reference[:, c], 1) for c in range(COLUMNS)]).T
    errors = standard_errors(codes, 0.05)
    for k, (values, truth) in enumerate([(fit.gain, GAIN), (fit.offset, OFFSET)]):
        z = (values - truth) / errors[k]
        assert abs(z.mean()) < 0.5
        assert np.abs(z).max() < 5
        assert np.abs((ordinary[k] - truth) / errors[k]).max() > 10


@pytest.mark.parametrize("spread", [60.0, 150.0])
def test_saturated_codes_are_left_out(spread):
    """Sums beyond the converter's range, a few of them or more than a third, do not bend the line."""
    rng = np.random.default_rng(3)
    sums = rng.normal(0, spread, (VECTORS, COLUMNS))
    reference = GAIN * sums + OFFSET
    codes = np.clip(np.round(sums), -CODE_MAX, CODE_MAX).astype(np.int32)
    fit = fit_columns(codes, reference, SPAN)
    saturated = np.abs(codes) == CODE_MAX
    assert saturated.any()
    rounding = GAIN / np.sqrt(12)
    gain_error = (
        rounding / np.sqrt((~saturated).sum(axis=0)) / np.where(saturated, np.nan, codes).std(axis=0, where=~saturated)
    )
    assert np.abs((fit.gain - GAIN) / gain_error).max() < 6


def test_a_column_that_is_mostly_saturated_uses_what_is_left():
    """Seven of ten codes say nothing; the other three give what three of ten can give (2 sigma)."""
    rng = np.random.default_rng(4)
    codes, reference = measured(rng, vectors=1000)
    codes[:700] = CODE_MAX
    reference[:700] = 55.0
    fit = fit_columns(codes, reference, SPAN)
    sigma, _ = standard_errors(codes[700:], 0.05)
    z = (fit.gain - GAIN) / sigma
    assert z.std() == pytest.approx(1.0, rel=0.12)


@pytest.mark.parametrize("code", [0, 7, -113, 126])
def test_a_column_whose_codes_do_not_vary_has_no_gain(code):
    rng = np.random.default_rng(code + 200)
    reference = rng.normal(3.0, 1.0, (101, 50))
    fit = fit_columns(np.full(reference.shape, code), reference, SPAN)
    assert fit.gain.tolist() == [0.0] * 50
    assert fit.apply(np.full((1, 50), code))[0] == pytest.approx(reference.mean(axis=0), abs=0.2)


def test_a_column_whose_reference_does_not_vary_has_no_gain():
    rng = np.random.default_rng(5)
    codes = rng.integers(-20, 21, (100, 3))
    fit = fit_columns(codes, np.full(codes.shape, 2.5), SPAN)
    assert fit.gain == pytest.approx(0.0, abs=1e-12)
    assert fit.offset == pytest.approx(2.5)


def test_a_column_that_is_always_saturated_is_finite():
    fit = fit_columns(np.full((10, 2), CODE_MAX), np.ones((10, 2)), SPAN)
    assert np.all(np.isfinite(fit.gain))
    assert np.all(np.isfinite(fit.offset))


@pytest.mark.parametrize("shapes", [((2, 5), (2, 5)), ((9, 5), (9, 4)), ((9, 5), (8, 5)), ((0, 5), (0, 5))])
def test_too_little_or_unequal_data_is_refused(shapes):
    codes, reference = shapes
    with pytest.raises(BadInputError, match="needs three or more vectors"):
        fit_columns(np.zeros(codes, int), np.zeros(reference), SPAN)


def test_a_correction_is_gain_times_code_plus_offset():
    correction = ColumnCorrection(np.array([2.0, 0.5]), np.array([1.0, -1.0]))
    assert correction.apply(np.array([[3, 4]])).tolist() == [[7.0, 1.0]]


def test_a_chips_own_gains_and_offsets_are_calibrated_away():
    """Exact conductances behind uneven converters: corrected outputs are right to the rounding of the codes."""
    options = "rows=32&columns=24&adc_bits=10&adc_gain_spread=0.1&adc_offset_spread=5"
    with connect(f"sim:pcm-ideal?{options}") as chip:
        rng = np.random.default_rng(6)
        target = rng.uniform(-25, 25, (32, 24))
        scale = 0.01
        region = Region(chip, Place(0, 0, 0, 32, 24), full_scale=600.0)
        region.place_exactly(split_devices(target, np.full((2, 1, *target.shape), 25.0)), age=1.0)
        correction = calibrate_columns(region, target * scale, rng, vectors=500)
        x = uniform_inputs(rng, 500, 32, chip.info.input_max)
        error = correction.apply(region.mvm(x)) - x / chip.info.input_max @ (target * scale)
    rounding = 600.0 / chip.info.code_max * scale / np.sqrt(12)
    assert error.std() == pytest.approx(rounding, rel=0.15)
