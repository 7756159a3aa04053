"""A rectangle of a core, used as if it were a whole core."""

import numpy as np
import pytest

from hwloop.chip.cell_calibration import CellCalibration, Converters, second_order, third_order
from hwloop.chip.pulses import PulseKind
from hwloop.chip.region import Place, Region
from hwloop.chip.registry import connect
from hwloop.errors import BadInputError

pytestmark = pytest.mark.numerical

PLACE = Place(core=1, row=2, column=3, rows=4, columns=5)


@pytest.fixture
def chip():
    with connect("sim:pcm-ideal?rows=8&columns=10&cores=2&devices_per_polarity=2") as chip:
        yield chip


@pytest.fixture
def region(chip):
    return Region(chip, PLACE)


def everywhere(chip, core=1):
    return chip.read(core, np.arange(chip.info.devices_per_core)).reshape(chip.info.device_shape)


def test_shape_and_size(region):
    assert region.shape == (2, 2, 4, 5)
    assert region.size == 80


def test_local_devices_are_the_ones_of_the_rectangle(chip, region):
    target = np.arange(1.0, 81.0).reshape(region.shape) / 4
    region.place_exactly(target, age=1.0)
    whole = everywhere(chip)
    assert whole[:, :, 2:6, 3:8] == pytest.approx(target, rel=1e-4)
    whole[:, :, 2:6, 3:8] = 0.0
    assert np.all(whole == 0.0)
    assert np.all(everywhere(chip, core=0) == 0.0)


def test_pulses_and_reads_use_local_indices(chip, region):
    devices = np.array([0, 41, 79])
    region.pulse(PulseKind.RESET, devices, np.array([230.0, 260.0, 300.0]), 100.0)
    read = region.read(devices, averages=2)
    whole = everywhere(chip)[:, :, 2:6, 3:8].ravel()
    assert read == pytest.approx(whole[devices])
    assert np.count_nonzero(whole > 0.01) == 3
    assert np.all(np.diff(read) < 0)


def test_an_mvm_drives_its_rows_and_looks_at_its_columns(chip, region):
    rng = np.random.default_rng(0)
    noise = rng.uniform(0, 20, chip.info.device_shape)
    chip.place(1, np.arange(noise.size), noise.ravel(), age=1.0)
    target = rng.uniform(0, 10, region.shape)
    region.place_exactly(target, age=1.0)
    x = rng.integers(-127, 128, (6, 4))
    weights = target.sum(1)[0] - target.sum(1)[1]
    assert region.mvm(x) * region.step == pytest.approx(x / 127 @ weights, rel=1e-4, abs=1e-3)


def test_nothing_to_pulse_is_nothing(chip, region):
    region.pulse(PulseKind.SET, np.empty(0, np.int64), np.empty(0), 100.0)
    assert chip.counts.pulses == 0


def test_the_converter_range_is_set_when_it_is_needed(chip):
    narrow, wide = Region(chip, PLACE, full_scale=64.0), Region(chip, Place(1, 0, 0, 2, 3), full_scale=512.0)
    own = Region(chip, Place(1, 6, 0, 2, 3))
    for region, expected in ((narrow, 64.0), (wide, 512.0), (narrow, 64.0), (own, 64.0)):
        region.mvm(np.zeros((1, region.place.rows), np.int32))
        assert chip.adc_range(1) == expected


def test_a_step_is_one_code_of_the_regions_own_range(chip):
    """Before the first MVM too, and while another region of the core uses another range."""
    first, second = Region(chip, PLACE, full_scale=64.0), Region(chip, Place(1, 0, 0, 2, 3), full_scale=512.0)
    assert first.step == pytest.approx(64.0 / chip.info.code_max)
    second.mvm(np.zeros((1, 2), np.int32))
    assert first.step == pytest.approx(64.0 / chip.info.code_max)


@pytest.mark.parametrize("x", [np.zeros((2, 4)), np.zeros((2, 4), bool)])
def test_inputs_are_integers_here_too(region, x):
    with pytest.raises(BadInputError, match="integers"):
        region.mvm(x)


@pytest.mark.parametrize("shape", [(2, 1), (2, 5), (4,)])
def test_inputs_have_one_entry_per_row_of_the_region(region, shape):
    with pytest.raises(BadInputError, match="shape"):
        region.mvm(np.ones(shape, np.int32))


def test_cost_is_what_this_region_spent(chip, region):
    chip.mvm(1, np.zeros((100, 8), np.int32))
    region.mvm(np.zeros((3, 4), np.int32))
    region.pulse(PulseKind.RESET, np.arange(7), np.full(7, 250.0), 100.0)
    region.read(np.arange(2), averages=5)
    assert (region.cost.mvms, region.cost.pulses, region.cost.device_reads) == (3, 7, 10)
    assert 0 < region.cost.chip_seconds < chip.counts.chip_seconds


def test_pulses_are_counted_from_when_the_region_was_made(chip, region):
    region.pulse(PulseKind.RESET, np.arange(10), np.full(10, 250.0), 100.0)
    later = Region(chip, PLACE)
    later.pulse(PulseKind.RESET, np.array([3]), np.array([250.0]), 100.0)
    assert later.pulses_spent().sum() == 1
    assert later.pulses_spent()[0, 0, 0, 3] == 1
    assert region.pulses_spent().ravel()[:11].tolist() == [1, 1, 1, 2, 1, 1, 1, 1, 1, 1, 0]


# ---- with known converters ---------------------------------------------------------------------------------------


def known_converters(chip, **changes):
    """Converters of PLACE that are ideal but for what is changed."""
    rows, columns = PLACE.rows, PLACE.columns
    ideal = {
        "offset": np.zeros(columns),
        "gain": np.ones(columns),
        "column_nonlinearity": np.zeros((2, columns)),
        "row_nonlinearity": np.zeros((2, rows)),
    }
    return Converters(chip.info.input_max, chip.info.code_max, **(ideal | changes))


def test_device_reads_are_divided_by_the_gain_of_their_column(chip):
    gain = np.array([0.8, 0.9, 1.0, 1.1, 1.25])
    region = Region(chip, PLACE, calibration=CellCalibration(known_converters(chip, gain=gain)))
    target = np.arange(1.0, 81.0).reshape(region.shape) / 4
    region.place_exactly(target, age=1.0)
    seen = region.read(np.arange(80), averages=1).reshape(region.shape)
    assert seen == pytest.approx(target / gain, rel=1e-4)
    few = np.array([3, 44, 78])  # columns 3, 4 and 3
    assert region.read(few, averages=1) == pytest.approx(target.ravel()[few] / gain[[3, 4, 3]], rel=1e-4)


def sent_inputs(chip, monkeypatch, region, x):
    """What a region sends to the chip for inputs, all rows of the core."""
    sent = []
    mvm = chip.mvm

    def watched(core, inputs):
        sent.append(inputs)
        return mvm(core, inputs)

    monkeypatch.setattr(chip, "mvm", watched)
    region.mvm(x)
    (inputs,) = sent
    return inputs


def test_inputs_are_sent_so_that_bent_dacs_drive_what_was_asked_for(chip, monkeypatch):
    """Each row's DAC has a curve of its own: sent through it, integers come out within half of what was meant."""
    curves = np.array([[4.0, 0.0, -3.0, 0.0], [0.0, 6.0, 2.0, 0.0]])
    region = Region(chip, PLACE, calibration=CellCalibration(known_converters(chip, row_nonlinearity=curves)))
    x = np.arange(-120, 121, 8, dtype=np.int32)[:, None] + np.zeros(4, np.int32)
    inputs = sent_inputs(chip, monkeypatch, region, x)
    assert not np.delete(inputs, slice(2, 6), axis=1).any()
    sent = inputs[:, 2:6]
    u = sent / chip.info.input_max
    driven = sent + curves[0] * second_order(u) + curves[1] * third_order(u)
    assert np.abs(driven - x).max() <= 0.55  # half an integer, and what the slope of the curves makes of it
    assert np.abs(sent - x).max(0) == pytest.approx([4, 6, 4, 0], abs=1)
    assert np.array_equal(sent[:, 3], x[:, 3])


def test_outputs_are_read_through_the_inverse_of_the_adc_curves(chip):
    offset, gain = np.linspace(-4, 4, 5), np.array([0.8, 0.9, 1.0, 1.1, 1.25])
    plain = Region(chip, PLACE)
    region = Region(chip, PLACE, calibration=CellCalibration(known_converters(chip, offset=offset, gain=gain)))
    plain.place_exactly(np.random.default_rng(0).uniform(0, 10, plain.shape), age=1.0)
    x = np.random.default_rng(1).integers(-127, 128, (6, 4), dtype=np.int32)
    assert region.mvm(x) == pytest.approx((plain.mvm(x) - offset) / gain)
