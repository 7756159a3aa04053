"""DACs and column ADCs against their closed forms."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from hwloop.chip.registry import connect
from hwloop.errors import BadInputError
from hwloop.sim_backend.converters import ColumnConverters, InputConverters
from hwloop.sim_backend.presets import PRESETS


def ideal(**changes):
    """Parameters of an ideal chip with 8-bit converters, changed as asked."""
    return dataclasses.replace(PRESETS["pcm-ideal"](), adc_bits=8, **changes)


def columns(seed=0, **changes):
    return ColumnConverters(ideal(**changes), torch.Generator().manual_seed(seed))


def convert(converters, sums, full_scale):
    return converters.convert(torch.tensor(sums, dtype=torch.float32), full_scale).numpy()


# ---- inputs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [2, 8, 12])
def test_inputs_are_fractions_of_the_largest_one(bits):
    top = 2 ** (bits - 1) - 1
    x = np.arange(-top, top + 1, dtype=np.int32)
    drive = InputConverters(ideal(dac_bits=bits)).drive(torch.tensor(x))
    assert drive.numpy() == pytest.approx(x / top)


def test_input_nonlinearity_is_its_peak_deviation_in_steps():
    """Third order, odd, none at zero and at full scale; the peak lies at 1 / sqrt(3) of full scale."""
    x = torch.arange(-127, 128)
    deviation = 127 * (InputConverters(ideal(dac_nonlinearity=1.5)).drive(x) - x / 127).numpy()
    assert np.abs(deviation).max() == pytest.approx(1.5, rel=1e-3)
    assert abs(int(x[np.argmax(deviation)])) == round(127 / math.sqrt(3))
    assert deviation[[0, 127, 254]] == pytest.approx(0, abs=1e-4)
    assert deviation == pytest.approx(-deviation[::-1], abs=1e-4)


# ---- outputs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("full_scale", [50.0, 256.0])
def test_ideal_codes_are_rounded_multiples_of_the_step(full_scale):
    converters = columns(columns=1)
    sums = np.linspace(-1.2, 1.2, 997)[:, None] * full_scale
    expected = np.clip(np.round(sums / full_scale * 127), -127, 127)
    assert np.array_equal(convert(converters, sums, full_scale), expected)


def test_sums_beyond_full_scale_saturate_at_both_ends():
    assert convert(columns(columns=1), [[-1e6], [-100.0], [100.0], [1e6]], 100.0).ravel().tolist() == [
        -127,
        -127,
        127,
        127,
    ]


def test_gain_and_offset_of_each_column():
    """code = round(gain * sum * 127 / full_scale + offset), offset in steps."""
    converters = columns(columns=64, adc_gain_spread=0.05, adc_offset_spread=3.0)
    gain, offset = converters.gain.numpy(), converters.offset.numpy()
    sums = np.random.default_rng(0).uniform(-80, 80, (200, 64))
    exact = gain * sums * 127 / 100 + offset
    codes = convert(converters, sums, 100.0)
    assert np.abs(codes - exact).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("seed", [0, 1])
def test_gains_and_offsets_spread_as_stated(seed):
    """Mean and standard deviation over 4096 columns, 4 sigma."""
    converters = columns(seed, columns=4096, adc_gain_spread=0.05, adc_offset_spread=3.0)
    for values, mean, spread in ((converters.gain, 1.0, 0.05), (converters.offset, 0.0, 3.0)):
        assert float(values.mean()) == pytest.approx(mean, abs=4 * spread / 64)
        assert float(values.std()) == pytest.approx(spread, rel=4 / math.sqrt(2 * 4096))


def test_output_nonlinearity_bends_by_its_peak_and_leaves_the_ends():
    """Before rounding the largest deviation is the column's `nonlinearity`; codes at zero and full scale stay."""
    converters = columns(columns=8, adc_nonlinearity=6.0)
    at = np.array([-1.0, -1 / math.sqrt(3), 0.0, 1 / math.sqrt(3), 1.0])
    codes = convert(converters, np.repeat(at[:, None] * 100.0, 8, axis=1), 100.0)
    peak = converters.nonlinearity.numpy()
    expected = np.stack(
        [-127 + 0 * peak, -127 / math.sqrt(3) + peak, 0 * peak, 127 / math.sqrt(3) - peak, 127 + 0 * peak]
    )
    assert np.abs(codes - expected).max() <= 0.5 + 1e-3
    assert peak.mean() == pytest.approx(6.0, rel=0.3)


def test_converter_noise_has_its_size_in_steps():
    """Zero input, 16 bits: the codes scatter by adc_noise (4 sigma) about zero."""
    with connect("sim:pcm-ideal?rows=2&columns=64&adc_bits=16&adc_noise=5&read_noise=0") as chip:
        codes = chip.mvm(0, np.zeros((256, 2), np.int32))
    assert codes.std() == pytest.approx(5.0, rel=4 / math.sqrt(2 * codes.size))
    assert abs(codes.mean()) < 4 * 5 / math.sqrt(codes.size)


def test_trims_act_ahead_of_nonlinearity_rounding_and_saturation():
    """code = round(u + peak third_order(u)) with u = gain (1 + g) S + offset + o; saturation comes after the trims."""
    converters = columns(columns=64, adc_gain_spread=0.05, adc_offset_spread=3.0, adc_nonlinearity=4.0)
    gain, offset, peak = (
        v.numpy().astype(float) for v in (converters.gain, converters.offset, converters.nonlinearity)
    )
    rng = np.random.default_rng(0)
    o, g = rng.integers(-32, 33, 64) * 0.25, rng.integers(-30, 31, 64) * 0.004
    converters.trim(o, g)
    sums = rng.uniform(-120, 120, (200, 64))
    u = gain * (1 + g) * sums * 127 / 100 + offset + o
    at = np.clip(u / 127, -1, 1)
    exact = np.clip(u + peak * (at**3 - at) * 1.5 * math.sqrt(3), -127, 127)
    assert np.abs(convert(converters, sums, 100.0) - exact).max() <= 0.5 + 1e-3


def test_trims_that_undo_gain_and_offset_leave_an_ideal_converter():
    trimmed = columns(columns=64, adc_gain_spread=0.03, adc_offset_spread=2.0)
    trimmed.trim(-trimmed.offset.numpy().astype(float), 1 / trimmed.gain.numpy().astype(float) - 1)
    sums = np.random.default_rng(0).uniform(-90, 90, (200, 64))
    differ = convert(trimmed, sums, 100.0) != convert(columns(columns=64), sums, 100.0)
    assert differ.mean() < 1e-3  # where a sum lies on the edge between two codes, to float32 precision


def test_trims_of_zero_change_no_bit():
    """Not of the outputs, nor of the variance of the noise."""
    options = {"columns": 64, "adc_gain_spread": 0.05, "adc_offset_spread": 3.0, "adc_noise": 0.3}
    fresh, used = columns(**options), columns(**options)
    used.trim(np.full(64, 3.25), np.full(64, 0.1))
    used.trim(np.zeros(64), np.zeros(64))
    assert torch.equal(fresh.gain, used.gain)
    assert torch.equal(fresh.offset, used.offset)
    assert torch.equal(fresh.noise_variance(100.0), used.noise_variance(100.0))


def test_converter_noise_stays_its_size_in_steps_under_a_gain_trim():
    """16 bits, no input: the codes scatter by adc_noise (4 sigma), however strong the gain before the rounding."""
    with connect("sim:pcm-ideal?rows=2&columns=64&adc_bits=16&adc_noise=5&read_noise=0") as chip:
        chip.set_trims(0, np.zeros(64), np.full(64, 0.12))
        codes = chip.mvm(0, np.zeros((256, 2), np.int32))
    assert codes.std() == pytest.approx(5.0, rel=4 / math.sqrt(2 * codes.size))


def test_the_snapshot_tells_how_much_is_trimmed():
    with connect("sim:pcm-ideal?rows=2&columns=4") as chip:
        chip.set_trims(0, [3.0, -4.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.04])
        snapshot = chip.snapshot()
    assert snapshot["core0.offset_trim_rms"] == pytest.approx(2.5)
    assert snapshot["core0.gain_trim_rms"] == pytest.approx(0.02)


@pytest.mark.parametrize(
    "spoilt", [{"offset_trim": np.full(4, 9.0)}, {"gain_trim": np.zeros(3)}, {"gain_trim": None}], ids=str
)
def test_a_state_with_impossible_trims_is_refused_whole(spoilt):
    with connect("sim:pcm-ideal?rows=2&columns=4") as chip:
        chip.set_trims(0, np.ones(4), np.zeros(4))
        state = chip.export_state()
        for name, array in spoilt.items():
            state[f"core0/{name}"] = array
        with pytest.raises(BadInputError, match="the saved state is not of a chip"):
            chip.import_state({name: array for name, array in state.items() if array is not None})
        assert chip.trims(0)[0].tolist() == [1.0] * 4


def test_a_state_saved_before_there_were_trims_has_none():
    with connect("sim:pcm-ideal?rows=2&columns=4") as chip:
        chip.set_trims(0, np.ones(4), np.zeros(4))
        chip.import_state({name: array for name, array in chip.export_state().items() if "trim" not in name})
        assert not np.any(chip.trims(0))


# ---- single devices -----------------------------------------------------------------------------------------------


def test_a_device_read_has_the_step_and_the_gain_of_its_column_but_no_offset():
    """Correlated double sampling removes the offset; averages of noiseless reads do not refine the step."""
    converters = columns(columns=3, adc_gain_spread=0.05, adc_offset_spread=20.0)
    conductance = torch.tensor([[0.0], [5.0], [10.0]]).expand(3, 4)
    read = converters.read_device(conductance, torch.tensor([0, 1, 2]), 25.4, 4, torch.Generator()).numpy()
    step = 25.4 / 127
    gain = converters.gain.numpy()
    assert read == pytest.approx(np.round(gain * np.array([0.0, 5.0, 10.0]) / step) * step, abs=1e-4)


def test_averaging_noisy_reads_looks_between_the_steps():
    """With more than half a step of noise, quantisation averages out as noise does."""
    converters = columns(columns=1, adc_noise=1.0)
    n = 4000
    read = converters.read_device(
        torch.full((1, n), 5.05), torch.zeros(1, dtype=torch.int64), 25.4, n, torch.Generator()
    )
    sigma = math.sqrt(1.0 + 1 / 12) * 0.2
    assert float(read) == pytest.approx(5.05, abs=4 * sigma / math.sqrt(n))


def test_the_chip_reads_devices_through_its_own_converter():
    """An ideal chip with 8 bits: conductances come in steps of 1.5 g_max / 127."""
    with connect("sim:pcm-ideal?rows=4&columns=4&adc_bits=8") as chip:
        target = np.linspace(0, 24, 32)
        chip.place(0, np.arange(32), target, age=1.0)
        step = 1.5 * chip.info.g_max / 127
        assert chip.read(0, np.arange(32)) == pytest.approx(np.round(target / step) * step, abs=1e-4)
