"""Options of `sim:` URIs: every one does what it says, and a wrong one is explained."""

import operator

import numpy as np
import pytest

from hwloop.chip.registry import connect
from hwloop.errors import BadInputError
from hwloop.sim_backend.options import OPTION_NAMES, apply_options
from hwloop.sim_backend.parameters import ChipParameters
from hwloop.sim_backend.presets import PRESETS

DOCUMENTED = {
    "seed", "adc_bits", "dac_bits", "adc_gain_spread", "adc_offset_spread", "adc_nonlinearity", "stuck_rate",
    "wire_resistance", "temperature", "read_noise", "programming_noise", "drift",
}  # fmt: skip

VALUES = {
    "adc_bits": 6,
    "adc_gain_spread": 0.1,
    "adc_noise": 1.5,
    "adc_nonlinearity": 2.0,
    "adc_offset_spread": 4.0,
    "columns": 20,
    "cores": 3,
    "dac_bits": 5,
    "dac_nonlinearity": 0.5,
    "devices_per_polarity": 2,
    "drift": 0.5,
    "drift_onset": 2.0,
    "programming_noise": 2.0,
    "pulse_noise": 0.03,
    "read_noise": 0.5,
    "rows": 12,
    "current_error": 0.1,
    "series_resistance": 50.0,
    "stuck_rate": 0.01,
    "temperature": 320.0,
    "weak_rate": 0.02,
    "wire_resistance": 1.5,
}

OF_DEVICE = {"drift_onset": "device.drift.law.onset", "pulse_noise": "device.curve.relative_noise"}
"""Parameters of options that belong to the nominal device."""


def test_the_documented_options_exist():
    assert set(OPTION_NAMES) >= DOCUMENTED


def test_this_file_tries_every_option():
    assert set(VALUES) | {"seed", "device", "level", "read_mode"} == set(OPTION_NAMES)


def test_the_level_is_part_of_the_serial_so_that_no_calibration_is_taken_for_another_chips():
    with connect("sim:pcm-90nm?level=pulse") as pulsed, connect("sim:pcm-90nm?level=statistical") as drawn:
        assert pulsed.info.serial == "simulated-0"
        assert drawn.info.serial != pulsed.info.serial
    with pytest.raises(BadInputError, match="option level=cells: expected one of pulse, statistical"):
        connect("sim:pcm-90nm?level=cells")


@pytest.mark.parametrize("preset", ["pcm-90nm", "hermes-core", "pcm-ideal"])
@pytest.mark.parametrize(("name", "value"), VALUES.items())
def test_an_option_changes_its_parameter_and_no_other(preset, name, value):
    with connect(f"sim:{preset}") as plain, connect(f"sim:{preset}?{name}={value}") as changed:
        before, after = plain.snapshot(), changed.snapshot()
    parameter = OF_DEVICE.get(name, name)
    # An onset is told over the reference age.
    assert after[parameter] == (value / after["device.drift.t0"] if name == "drift_onset" else value)
    assert {key for key in before if before[key] != after[key]} <= {parameter}


def test_all_options_together_make_a_working_chip():
    query = "&".join(f"{name}={value}" for name, value in VALUES.items())
    with connect(f"sim:pcm-90nm?seed=3&device=cpu&{query}") as chip:
        assert (chip.info.cores, chip.info.rows, chip.info.columns) == (3, 12, 20)
        assert (chip.info.devices_per_polarity, chip.info.input_max, chip.info.code_max) == (2, 15, 31)
        assert chip.temperature() == 320.0
        assert chip.mvm(2, np.full((4, 12), 15)).shape == (4, 20)


def test_the_seed_is_the_serial_number():
    with connect("sim:pcm-ideal?seed=9223372036854775807") as chip:
        assert chip.info.serial == "simulated-9223372036854775807"
        chip.mvm(0, np.zeros((1, 256), np.int32))


def test_an_unknown_option_lists_the_known_ones():
    with pytest.raises(BadInputError, match="unknown option 'adc_bit'") as caught:
        connect("sim:pcm-90nm?adc_bit=6")
    for name in OPTION_NAMES:
        assert name in str(caught.value)


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("adc_bits=1", "outside 2 to 24"),
        ("adc_bits=25", "outside 2 to 24"),
        ("adc_bits=6.5", "expected a whole number from 2 to 24"),
        ("adc_bits=", "expected a whole number"),
        ("rows=0", "outside 1 to 4096"),
        ("rows=-3", "outside"),
        ("rows=5000", "outside"),
        ("stuck_rate=1.01", "outside 0 to 1"),
        ("stuck_rate=-0.1", "outside"),
        ("stuck_rate=many", "expected a number from 0 to 1"),
        ("drift=nan", "outside"),
        ("drift=inf", "outside"),
        ("temperature=25", "outside 200 to 700"),
        ("wire_resistance=-1", "outside"),
        ("seed=-1", "expected a whole number"),
        ("seed=1.5", "expected a whole number"),
        ("seed=9223372036854775808", "expected a whole number"),
        ("device=abacus", "torch cannot use it"),
        ("device=meta", "torch cannot use it"),
        ("device=", "torch cannot use it"),
    ],
)
def test_a_bad_value_is_named_with_what_is_allowed(option, reason):
    with pytest.raises(BadInputError, match=reason) as caught:
        connect(f"sim:pcm-90nm?{option}")
    assert option in str(caught.value)


BOUNDS = {
    "cores": (1, 4096), "rows": (1, 4096), "columns": (1, 4096), "devices_per_polarity": (1, 8), "adc_bits": (2, 24),
    "dac_bits": (2, 16), "adc_gain_spread": (0.0, 0.3), "adc_offset_spread": (0.0, 100.0),
    "adc_nonlinearity": (0.0, 20.0), "adc_noise": (0.0, 20.0), "dac_nonlinearity": (0.0, 20.0),
    "current_error": (-0.5, 0.5), "stuck_rate": (0.0, 1.0), "weak_rate": (0.0, 1.0), "wire_resistance": (0.0, 1000.0),
    "series_resistance": (0.0, 100_000.0), "temperature": (200.0, 700.0), "read_noise": (0.0, 100.0),
    "programming_noise": (0.0, 100.0), "drift": (0.0, 10.0),
    "drift_onset": (0.0, 10_000.0), "pulse_noise": (0.0, 1.0),
}  # fmt: skip


def _value(chip: ChipParameters, name: str) -> float:
    """The parameter that an option sets; an onset is told over the reference age."""
    value = operator.attrgetter(OF_DEVICE.get(name, name))(chip)
    return value * chip.device.drift.t0 if name == "drift_onset" else value


def test_every_option_has_bounds():
    assert sorted([*BOUNDS, "seed", "device", "level", "read_mode"]) == OPTION_NAMES


@pytest.mark.parametrize("name", BOUNDS)
def test_an_option_is_taken_within_its_bounds_and_refused_beyond(name):
    low, high = BOUNDS[name]
    preset = PRESETS["pcm-90nm"]()
    step = 1 if isinstance(low, int) else 1e-3
    for value in (low, high):
        chip, _ = apply_options(preset, {name: str(value)})
        assert _value(chip, name) == value
        assert type(_value(chip, name)) is type(value)
    for value in (low - step, high + step):
        with pytest.raises(BadInputError, match=rf"option {name}=\S+ is outside"):
            apply_options(preset, {name: str(value)})


def test_seeds_go_up_to_63_bits():
    preset = PRESETS["pcm-90nm"]()
    assert [apply_options(preset, {"seed": str(seed)})[1].seed for seed in (0, 2**63 - 1)] == [0, 2**63 - 1]
    assert apply_options(preset, {})[1].seed == 0
    assert apply_options(preset, {})[1].variant == ""


def serial(uri):
    with connect(uri) as chip:
        return chip.info.serial


def test_chips_made_otherwise_have_other_serial_numbers():
    plain = serial("sim:hermes-core?seed=4")
    made = [serial(f"sim:hermes-core?seed=4&{option}") for option in ("adc_bits=6", "adc_bits=7", "stuck_rate=0.01")]
    assert len({plain, *made}) == 4
    assert serial("sim:hermes-core?seed=4&stuck_rate=0.01&adc_bits=6") == serial(
        "sim:hermes-core?adc_bits=6&seed=4&stuck_rate=0.01"
    )


def test_a_chip_stays_itself_when_it_warms_up():
    assert serial("sim:hermes-core?seed=4&temperature=350") == serial("sim:hermes-core?seed=4")


def test_devices_that_need_other_currents_are_not_told_of():
    with connect("sim:hermes-core?current_error=0.15") as chip:
        devices = chip._core(0).devices
        nominal = chip.info.device_model.curve
        # The mean of 262 144 midpoints with a spread of 7 uA is good to 0.014 uA.
        assert float(devices.midpoint.mean()) == pytest.approx(1.15 * nominal.midpoint, abs=5 * 0.014)
        assert float(devices.steepness.mean()) == pytest.approx(1.15 * nominal.steepness, rel=0.001)
    assert nominal.midpoint == 240.0
