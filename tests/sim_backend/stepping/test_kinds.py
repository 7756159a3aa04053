"""How devices of each kind are drawn, where their symmetry points lie, and the presets and options that make them."""

import numpy as np
import pytest

import hwloop
from hwloop.chip.pulses import PulseKind, Pulses
from hwloop.chip.registry import connect
from hwloop.errors import BadInputError, LimitError
from hwloop.sim_backend.stepping.law import Devices
from hwloop.sim_backend.stepping.presets import STEPPING_PRESETS
from tests.sim_backend.stepping.conftest import laws, plain_step

MANY = (200, 200)


def drawn(name, **changes):
    import dataclasses

    law = dataclasses.replace(STEPPING_PRESETS[name]().device, **changes)
    return law, Devices.draw(law, np.random.default_rng(1), MANY)


@pytest.mark.parametrize("name", laws())
@pytest.mark.parametrize("up", [True, False])
def test_the_mean_step_is_that_of_the_literature(name, up):
    law = laws()[name]
    nominal = Devices.nominal(law)
    for weight in np.linspace(law.low, law.high, 9)[1:-1]:
        found = nominal.mean_step(np.array([weight]), up)
        assert found[0] == pytest.approx(plain_step(law, weight, up), rel=1e-12)


def test_steps_spread_as_the_preset_says():
    """Standard deviations of the half sum and the half difference of steps up and down, and of the bounds."""
    law, devices = drawn("rpu-baseline")
    down, up = devices.scale / law.step
    for values, mean, spread in (
        ((up + down) / 2, 1.0, law.step_spread),
        ((up - down) / 2, 0.0, law.up_down_spread),
        (devices.high / law.high, 1.0, law.high_spread),
        (devices.low / law.low, 1.0, law.low_spread),
    ):
        assert values.mean() == pytest.approx(mean, abs=4 * spread / 200)
        assert values.std() == pytest.approx(spread, rel=0.03)


def test_symmetry_points_of_soft_bounds_are_those_of_kim():
    _, devices = drawn("reram-sb", up_down=0.3, up_down_spread=0.1)
    down, up = devices.scale
    expected = (up - down) / (up / devices.high - down / devices.low)
    assert devices.symmetry_points() == pytest.approx(expected, abs=1e-9)
    assert expected.mean() > 0.1


@pytest.mark.parametrize("name", ["reram-es", "ecram", "ecram-mo", "capacitor", "power-step"])
def test_steps_up_and_down_are_equal_at_the_symmetry_point(name):
    """Of all devices whose symmetry point lies within their bounds: most, but for capacitors, which hardly have one."""
    _, devices = drawn(name)
    at = devices.symmetry_points()
    inside = (at > devices.low + 1e-6) & (at < devices.high - 1e-6)
    up, down = devices.mean_step(at, True), devices.mean_step(at, False)
    assert inside.mean() > 0.3
    assert up[inside] == pytest.approx(down[inside], rel=1e-9)


@pytest.mark.parametrize(("mean", "spread"), [(0.0, 0.0), (0.15, 0.15), (-0.3, 0.05)])
def test_references_put_symmetry_points_where_the_options_say(mean, spread):
    uri = f"sim:reram-sb?seed=2&rows=64&columns=64&symmetry_point_mean={mean}&symmetry_point_spread={spread}"
    with connect(uri) as chip:
        array = chip._core(0).devices
        points = array.devices.symmetry_points()[0].ravel() - array.weights[64 * 64 :]
    assert points.mean() == pytest.approx(mean, abs=4 * spread / 64 + 1e-6)
    assert points.std() == pytest.approx(spread, rel=0.05, abs=1e-6)


def test_devices_begin_at_their_symmetry_points_where_references_stand_by_them():
    with connect("sim:reram-sb?seed=2&rows=8&columns=8&up_down=0.3&symmetry_point_mean=0.1") as chip:
        array = chip._core(0).devices
        device, reference = array.weights.reshape(2, -1)
        assert device == pytest.approx(array.devices.symmetry_points()[0].ravel(), abs=1e-6)
        assert array.seen == pytest.approx(array.weights)
    assert device - reference == pytest.approx(np.full(64, 0.1), abs=1e-6)


def test_without_the_options_references_stand_at_zero():
    with connect("sim:reram-sb?seed=2&rows=8&columns=8") as chip:
        assert not chip._core(0).devices.weights.any()


@pytest.mark.parametrize("name", STEPPING_PRESETS)
def test_every_preset_tells_where_its_numbers_come_from(name):
    with connect(f"sim:{name}?rows=8&columns=8") as chip:
        assert chip.info.stepping.states > 100
        rows = {row.name: row for row in chip.parameters()}
        assert "aihwkit 1.2.0" in rows["device.step"].source
        assert rows["unit"].unit == "uS"
        assert chip.snapshot()["device.step"] == rows["device.step"].value


def test_presets_have_the_published_numbers_of_states():
    states = {
        name: (law.high - law.low) / law.step for name, law in ((n, p().device) for n, p in STEPPING_PRESETS.items())
    }
    published = {
        "rpu-baseline": 1250,
        "reram-es": 1481,
        "reram-sb": 1000,
        "ecram": 1000,
        "ecram-mo": 7089,
        "capacitor": 400,
    }
    assert {name: round(states[name]) for name in published} == published


def test_options_change_the_device_and_say_so():
    with connect(
        "sim:reram-sb?states=1200&up_down=0.333&bound_spread=0.1&cycle_spread=0.3&write_noise=0&seed=1"
    ) as chip:
        rows = {row.name: row for row in chip.parameters()}
        assert rows["device.step"].value == pytest.approx(2 / 1200)
        assert rows["device.low_spread"].value == rows["device.high_spread"].value == 0.1
        assert {rows[f"device.{name}"].source for name in ("step", "up_down", "cycle_spread")} == {"by option"}
        assert chip.info.stepping.states == pytest.approx(1200 / 0.842, rel=0.01)  # fewer where up and down are equal
        with connect("sim:reram-sb?seed=1") as plain:
            assert plain.info.serial != chip.info.serial


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("states=1", "states=1 is outside 2"),
        ("states=many", "states=many: expected a number"),
        ("drift=0", "unknown option 'drift'"),
        ("level=statistical", "unknown option 'level'"),
        ("symmetry_point_mean=2", "outside -1 to 1"),
        ("leak=-1", "outside 0 to"),
    ],
)
def test_options_that_make_no_chip_are_refused(query, message):
    with pytest.raises(BadInputError, match=message):
        connect(f"sim:reram-sb?{query}")


@pytest.mark.parametrize("query", ["leak=1", "leak_spread=0.1", "symmetry_point_mean=0.1", "symmetry_point_spread=0.1"])
def test_what_is_of_a_reference_is_none_of_a_pair(query):
    with pytest.raises(BadInputError, match=f"{query.split('=')[0]}' is of cells with one device and a reference"):
        connect(f"sim:pcm-pair?{query}")


def test_options_of_stepping_devices_are_none_of_phase_change_chips():
    with pytest.raises(BadInputError, match="unknown option 'states'"):
        connect("sim:hermes-core?states=100")


def test_charge_leaks_away_with_its_time_constant():
    with connect("sim:cmos-rpu?leak=0.01&leak_spread=0&adc_noise=0&rows=16&columns=16") as chip:
        count = 16 * 16
        chip.place(0, np.arange(count), np.full(count, 30 + 8.0), 1e-9)
        chip.wait(0.005)
        left = (chip.read(0, np.arange(count)) - 30) / 8
        assert left == pytest.approx(np.exp(-0.5), abs=0.03)
        chip.wait(1.0)
        assert chip.read(0, [0])[0] == pytest.approx(30, abs=0.3)


def test_a_weight_that_leaks_is_placed_for_an_age_that_it_lasts():
    with connect("sim:cmos-rpu?leak=0.01&adc_noise=0&rows=16&columns=16") as chip:
        chip.place(0, np.arange(256), np.full(256, 35.0), 0.002)
        chip.wait(0.002)
        assert chip.read(0, np.arange(256)) == pytest.approx(35, abs=0.3)
        with pytest.raises(LimitError, match="cannot be placed for 1 s from now"):
            chip.place(0, [0], [35.0], 1.0)


def test_a_device_without_leak_keeps_its_weight():
    with connect("sim:reram-sb?adc_noise=0&rows=4&columns=4") as chip:
        chip.place(0, [0], [35.0], 1.0)
        chip.wait(1e9)
        assert chip.read(0, [0])[0] == pytest.approx(35, abs=0.3)


def test_a_pair_steps_the_positive_device_up_and_the_negative_one_up():
    top = 32767
    with connect("sim:pcm-pair?rows=4&columns=4&seed=1") as chip:
        x, d = np.zeros((1, 4), int), np.zeros((1, 4), int)
        x[0, 1], d[0, :2] = top, [top, -top]
        chip.update(0, x, d, hwloop.PulseTrains(3))
        counts = chip.pulse_counts(0)[:, 0, 1]
        assert counts[:, :2].tolist() == [[3, 0], [0, 3]]
        positive, negative = chip.read(0, [4, 16 + 5], 16)
        assert positive > 0.5
        assert negative > 0.5
        assert chip.info.stepping.pair
        assert (chip.info.stepping.low, chip.info.stepping.high) == (-20, 20)


def test_a_reset_pulse_empties_a_device_of_a_pair():
    with connect("sim:pcm-pair?rows=8&columns=8&seed=1") as chip:
        every = np.arange(128)
        for _ in range(8):
            chip.pulse(0, Pulses.make(PulseKind.SET, every, 10.0, 1.0))
        assert chip.read(0, every).mean() > 3
        chip.pulse(0, Pulses.make(PulseKind.RESET, every, 10.0, 1.0))
        assert abs(chip.read(0, every, 16).mean() - 0.18) < 0.1  # |N(0.01, 0.02)| of 10 uS
