"""Converter trims in a calibration, against the truth inside a simulated chip."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest

import hwloop
from hwloop.calibration.certificate.certificate import Calibration
from hwloop.calibration.certificate.check import check
from hwloop.calibration.certificate.plan import Plan
from hwloop.calibration.certificate.renewal import renew
from hwloop.calibration.certificate.session import calibrate
from hwloop.calibration.certificate.use import use_calibration
from hwloop.calibration.routines.base import whole_core
from hwloop.calibration.routines.converters import ConverterCalibration
from hwloop.calibration.routines.results import GainResult, TrimResult, column_gains
from hwloop.calibration.routines.trims import TrimCalibration, seen_through
from hwloop.chip.info import Capability, TrimLimits
from hwloop.chip.region import Place, Region
from hwloop.errors import BadInputError
from hwloop.sim_backend.chip import SimulatedChip
from hwloop.sim_backend.options import apply_options
from hwloop.sim_backend.presets import PRESETS

URI = "sim:hermes-core?rows=64&columns=64&seed=2&adc_offset_spread=3&adc_gain_spread=0.03"
ADC = Plan(("adc",))
ALONE = Plan(("adc",), converters=ConverterCalibration(trims=0))


class WithoutTrims(SimulatedChip):
    """As chips are that have no trim registers."""

    def __init__(self) -> None:
        query = dict(part.split("=") for part in URI.partition("?")[2].split("&"))
        super().__init__(*apply_options(PRESETS["hermes-core"](), query))
        less = self.info.capabilities - {Capability.TRIMS}
        self._info = dataclasses.replace(self.info, capabilities=less, trims=None)


@pytest.fixture(scope="module")
def calibrated() -> Iterator[tuple[SimulatedChip, Calibration]]:
    with hwloop.connect(URI) as chip:
        yield chip, calibrate(chip, ADC, seed=1)


def converters(chip: SimulatedChip) -> tuple[np.ndarray, np.ndarray]:
    """True offsets and gains of core 0 under the trims in use, the gains relative to their mean."""
    inside = chip._core(0).converters
    gain = inside.gain.numpy().astype(float)
    return inside.offset.numpy().astype(float), gain / gain.mean()


# ---- what they do ----------------------------------------------------------------------------------------------


def test_trims_leave_half_an_lsb_and_half_a_step_of_the_gain(calibrated):
    """And what was not known of them when they were written.

    Of offsets, 4.5 sigma of 256 idle outputs that scatter by 0.42 LSB (noise of 0.3 LSB, and rounding); of gains, 4.5
    sigma of the certificate.
    """
    chip, calibration = calibrated
    core = calibration.cores[0]
    offset, gain = converters(chip)
    reached = np.abs(core.trims.offset) < 8
    assert np.all(np.abs(offset[reached]) <= 0.5 + 4.5 * 0.42 / 16)
    assert reached.mean() > 0.9
    assert np.all(np.abs(gain - 1) <= 0.002 + 4.5 * core.gains.gain_sigma)
    assert gain.std() < 0.01 < 0.02 < np.std(core.trims.gain)


def test_the_certificate_is_that_of_the_trimmed_converters(calibrated):
    chip, calibration = calibrated
    core = calibration.cores[0]
    offset, gain = converters(chip)
    assert np.all(np.abs(core.converters.offset - offset) < 4.5 * core.converters.offset_sigma)
    assert np.all(np.abs(core.gains.gain - gain) < 4.5 * core.gains.gain_sigma)
    for stored, in_use in zip((core.trims.offset, core.trims.gain), chip.trims(0), strict=True):
        assert np.array_equal(stored, in_use)


def test_what_the_registers_do_not_reach_stays_digital():
    """Offsets of 12 LSB where registers end at 8: those columns stand at the end, and the certificate has the rest."""
    with hwloop.connect(URI.replace("offset_spread=3", "offset_spread=12")) as chip:
        core = calibrate(chip, ADC, seed=1).cores[0]
        offset, _ = converters(chip)
    ends = np.abs(core.trims.offset) == 8
    assert 0.3 < ends.mean() < 0.7
    assert np.abs(offset[ends]).max() > 5
    assert np.all(np.abs(core.converters.offset - offset) < 4.5 * core.converters.offset_sigma)


def test_trimming_again_keeps_what_is_trimmed(calibrated):
    """The second calibration starts from the trims of the first, and moves them by what is known: at most an LSB."""
    with hwloop.connect(URI) as chip:
        calibrated[1].write_trims(chip)
        again = calibrate(chip, ADC, seed=5).cores[0].trims
        offset, gain = converters(chip)
    first = calibrated[1].cores[0].trims
    assert np.abs(again.offset - first.offset).max() <= 1
    assert np.abs(again.gain - first.gain).max() <= 0.02
    assert np.sqrt(np.mean(offset**2)) < 0.5
    assert gain.std() < 0.01


def test_reads_and_outputs_agree_under_trims(calibrated):
    """Devices of 6 uS read 6 uS in the mean of every column: gains of the certificate are those that reads meet.

    The scale common to all columns is not told apart from the devices': compared are columns with their mean, 4.5 sigma
    of the gain and of 128 devices a converter step of 0.12 uS apart.
    """
    chip, calibration = calibrated
    core = calibration.cores[0]
    every = Place(0, 0, 0, 64, 64)
    region = Region(chip, every, calibration=calibration.of_cells(every, chip.info))
    chip.place(0, np.arange(chip.info.devices_per_core), np.full(chip.info.devices_per_core, 6.0), 1.0)
    chip.wait(1.0)
    values = region.read(np.arange(region.size), 16).reshape(region.shape)
    columns = values.mean((0, 1, 2))
    sigma = np.hypot(core.gains.gain_sigma, values.std((0, 1, 2)) / 16 / columns.mean())
    assert np.all(np.abs(columns / columns.mean() - 1) < 4.5 * sigma)


def test_devices_seen_through_other_trims(calibrated):
    """Conductances follow their column's gain; faults, counts and what is common to all columns do not."""
    devices = calibrated[1].cores[0].devices
    none, some = TrimResult(np.zeros(64), np.zeros(64)), TrimResult(np.ones(64), np.linspace(-0.1, 0.1, 64))
    seen = seen_through(devices, none, some)
    assert seen.high == pytest.approx(devices.high * (1 + some.gain))
    assert seen.pattern[1, 0, 3] == pytest.approx(devices.pattern[1, 0, 3] * (1 + some.gain))
    assert np.array_equal(seen.fault, devices.fault)
    assert seen.typical_high == devices.typical_high
    back = seen_through(seen, some, none)
    assert back.low == pytest.approx(devices.low)
    ratio = column_gains(seen).gain / column_gains(devices).gain
    assert ratio / ratio.mean() == pytest.approx((1 + some.gain) / (1 + some.gain).mean(), rel=2e-3)


def test_wires_are_found_under_trims_as_without():
    """Reads from before the trims and MVMs from after them are compared: within 4 of their own sigma."""
    uri = f"{URI.replace('rows=64', 'rows=128')}&wire_resistance=2"
    found = []
    for trims in (0, 1):
        with hwloop.connect(uri) as chip:
            plan = Plan(("wires",), converters=ConverterCalibration(trims=trims))
            found.append(calibrate(chip, plan, seed=1).cores[0].wires)
    left, right = found
    assert abs(left.resistance - right.resistance) < 4 * np.hypot(left.resistance_sigma, right.resistance_sigma)


def test_noise_below_half_an_lsb_still_shows_under_trims():
    """Fractions of an LSB are left so that some columns stand between two codes: 0.1 LSB of noise, within 7 %."""
    uri = "sim:hermes-core?rows=64&columns=256&seed=2&adc_offset_spread=3&adc_noise=0.1"
    with hwloop.connect(uri) as chip:
        assert calibrate(chip, ADC, seed=1).cores[0].converters.adc_noise == pytest.approx(0.1, rel=0.07)


@pytest.mark.parametrize("noise", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("bend", [0, 3])
def test_offsets_are_trimmed_past_the_rounding_of_idle_outputs(noise, bend):
    """Without noise an idle output tells its offset to half an LSB; four of them a quarter apart, to an eighth.

    With the fraction of an LSB that is left on purpose, five eighths; and 4.5 sigma of 256 outputs for noise,
    and 0.06 LSB where a bend of 3 LSB makes shifts of up to 0.75 LSB shorter by 6 %, in some columns by 9 %.
    """
    options = f"rows=4&columns=256&adc_offset_spread=2.5&adc_noise={noise}&adc_nonlinearity={bend}&adc_gain_spread=0"
    with hwloop.connect(f"sim:hermes-core?{options}&seed=1") as chip:
        gains = GainResult(np.ones(256), np.full(256, np.inf), np.zeros(256, np.int64))
        found = TrimCalibration().write(whole_core(chip, 0), gains)
        offset, _ = converters(chip)
        assert chip.counts.mvms == TrimCalibration().budget(whole_core(chip, 0)).mvms
    reached = np.abs(found.offset) < 8
    assert np.abs(offset[reached]).max() <= 0.625 + 4.5 * noise / 16 + 0.06 * (bend > 0)
    assert not found.gain.any()


def test_registers_coarser_than_an_lsb_do_what_they_can():
    """Steps of 2 LSB up to 4: what is left is below half a step and the fraction of an LSB that stays."""
    with hwloop.connect("sim:hermes-core?rows=4&columns=256&adc_offset_spread=1.2&adc_gain_spread=0&seed=1") as chip:
        chip._info = dataclasses.replace(chip.info, trims=TrimLimits(2.0, 4.0, 0.1, 0.1))
        gains = GainResult(np.ones(256), np.full(256, np.inf), np.zeros(256, np.int64))
        found = TrimCalibration().write(whole_core(chip, 0), gains)
        offset, _ = converters(chip)
    assert set(np.abs(found.offset)) == {0.0, 2.0, 4.0}
    assert np.abs(offset).max() < 1.625


# ---- with what they can be left out ------------------------------------------------------------------------------


def test_trims_can_be_left_alone():
    """The registers stay as they were found, and the certificate says how that was."""
    before = np.linspace(-2, 2, 64).round(), np.full(64, 0.012)
    with hwloop.connect(URI) as chip:
        chip.set_trims(0, *before)
        calibration = calibrate(chip, ALONE, seed=1)
        offset, _ = converters(chip)
        after = chip.trims(0)
    core = calibration.cores[0]
    assert np.array_equal(after[0], before[0])
    assert core.trims.offset == pytest.approx(before[0])
    assert core.trims.gain == pytest.approx(before[1])
    assert np.all(np.abs(core.converters.offset - offset) < 4.5 * core.converters.offset_sigma)


def test_a_chip_without_trims_is_corrected_digitally():
    with WithoutTrims() as chip:
        calibration = calibrate(chip, ADC, seed=1)
        offset, _ = converters(chip)
    core = calibration.cores[0]
    assert core.trims is None
    assert "trims" not in calibration.measured()
    assert np.std(offset) > 2
    assert np.all(np.abs(core.converters.offset - offset) < 4.5 * core.converters.offset_sigma)


@pytest.mark.parametrize("plan", [ADC, ALONE], ids=["trims", "alone"])
def test_the_budget_counts_the_look_before_the_trims(plan):
    with hwloop.connect(URI) as chip:
        budget = plan.budget(whole_core(chip, 0))
        cost = calibrate(chip, plan, seed=1).cost
    assert cost["mvms"] <= budget.mvms
    assert cost["mvms"] > budget.mvms - plan.converters.dac_vectors - 1  # asked for alone, the ADCs do without the DACs
    assert cost["pulses"] <= budget.pulses_per_device * chip.info.devices_per_core


@pytest.mark.parametrize("value", ["2", "-1"])
def test_the_setting_is_yes_or_no(value):
    with pytest.raises(BadInputError, match=f"setting trims={value} is outside 0 to 1"):
        ConverterCalibration.parse({"trims": value})


# ---- with what a calibration is used -----------------------------------------------------------------------------


def test_trims_come_back_from_the_file(calibrated, tmp_path):
    calibrated[1].save(tmp_path / "chip.cal.h5")
    stored = Calibration.load(tmp_path / "chip.cal.h5").cores[0].trims
    assert np.array_equal(stored.offset, calibrated[1].cores[0].trims.offset)
    assert np.array_equal(stored.gain, calibrated[1].cores[0].trims.gain)


def test_using_a_calibration_writes_its_trims(calibrated):
    """On a chip that has been switched off since, which has forgotten them."""
    _, calibration = calibrated
    mine = calibration.cores[0].trims
    uses = {
        "accept": lambda chip: use_calibration(calibration, chip),
        "check": lambda chip: check(calibration, chip),
        "program": lambda chip: hwloop.program(
            chip, hwloop.matrices({"w": np.eye(8)}), "exact", calibration=calibration
        ),
    }
    for name, use in uses.items():
        with hwloop.connect(URI) as chip:
            use(chip)
            assert np.array_equal(chip.trims(0)[0], mine.offset), name
            assert np.array_equal(chip.trims(0)[1], mine.gain), name


def test_the_daily_calibration_starts_from_the_trims_and_keeps_them(calibrated):
    """What another user has left in the registers is put right first."""
    _, calibration = calibrated
    with hwloop.connect(URI) as chip:
        chip.place(0, np.arange(2 * 64 * 64), np.full(2 * 64 * 64, 8.0), 1.0)
        chip.set_trims(0, np.full(64, -5.0), np.full(64, 0.1))
        core = renew(calibration, chip, seed=3).cores[0]
        offset, _ = converters(chip)
    assert np.array_equal(core.trims.offset, calibration.cores[0].trims.offset)
    assert np.all(np.abs(core.converters.offset - offset) < 4.5 * core.converters.offset_sigma)


def test_a_check_holds_on_a_chip_that_forgot_its_trims(calibrated):
    """And would not, had it not written them: the offsets without are LSBs away."""
    _, calibration = calibrated
    with hwloop.connect(URI) as chip:
        assert all(finding.expected for finding in check(calibration, chip))
    bare = dataclasses.replace(calibration, cores={0: dataclasses.replace(calibration.cores[0], trims=None)})
    with hwloop.connect(URI) as chip:
        assert not all(finding.expected for finding in check(bare, chip))


def test_a_calibration_with_trims_is_refused_where_there_are_none(calibrated):
    with (
        contextlib.closing(WithoutTrims()) as chip,
        pytest.raises(BadInputError, match="made with converter trims, which sim:hermes-core does not have here"),
    ):
        use_calibration(calibrated[1], chip)


def test_trims_help_where_offsets_and_gains_cost_range():
    """Six bits, offsets of 4 of 31 codes: what saturates, no digital correction gives back. Two specimens, 3 to 5 %."""
    matrix = hwloop.matrices({"w": np.random.default_rng(0).normal(size=(128, 128))})
    for seed in (1, 2):
        uri = f"sim:hermes-core?rows=128&columns=128&seed={seed}&adc_bits=6&adc_offset_spread=4&adc_gain_spread=0.08"
        errors = []
        for plan in (ALONE, ADC):
            with hwloop.connect(uri) as chip:
                known = calibrate(chip, plan, seed=1)
                errors.append(hwloop.program(chip, matrix, "exact", calibration=known, seed=1).mvm_error)
        alone, trimmed = errors
        assert trimmed < 0.98 * alone
