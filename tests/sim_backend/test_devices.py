"""Programming, drift and temperature of the simulated devices, through the contract alone.

Formulas are written here from the publications, not taken from the simulator's own code.
"""

import dataclasses
import math

import numpy as np
import pytest
import torch

from hwloop.chip.pulses import PulseKind, Pulses
from hwloop.devices.time_law import TimeLaw
from hwloop.sim_backend.chip import SimulatedChip
from hwloop.sim_backend.devices.pcm import relaxation_rate
from hwloop.sim_backend.presets import PRESETS

SECOND, HOUR, DAY, YEAR = 1.0, 3600.0, 86400.0, 3.156e7
PRESET = PRESETS["pcm-90nm"]()
CURVE, SET_MODEL = PRESET.device.curve, PRESET.set_model


def every_device(chip):
    return np.arange(chip.info.devices_per_core)


def read_at_age(chip, age, born, devices=None):
    """Conductances of all devices (or some) when they are `age` seconds old."""
    chip.wait(born + age - chip.now())
    return chip.read(0, every_device(chip) if devices is None else devices)


def reset(chip, amplitude, devices=None, width=CURVE.width):
    devices = every_device(chip) if devices is None else devices
    chip.pulse(0, Pulses.make(PulseKind.RESET, devices, amplitude, width))
    return chip.now()


def set_(chip, width=100.0, devices=None, amplitude=100.0):
    devices = every_device(chip) if devices is None else devices
    chip.pulse(0, Pulses.make(PulseKind.SET, devices, amplitude, width))
    return chip.now()


def logistic(amplitude, curve=CURVE):
    """The programming curve: G = g_min + (g_max - g_min) / (1 + exp((I - midpoint) / steepness))."""
    return curve.g_min + (curve.g_max - curve.g_min) / (1 + np.exp((amplitude - curve.midpoint) / curve.steepness))


def parameters(preset="pcm-90nm", **changes):
    small = {"rows": 64, "columns": 64, "read_noise": 0.0, "adc_bits": 24, "adc_noise": 0.0, "adc_gain_spread": 0.0}
    return dataclasses.replace(PRESETS[preset](), **(small | changes))


# ---- drift: the published statistics of a million devices ---------------------------------------------------------


def joshi_2020(conductance):
    """Mean and standard deviation of nu: Joshi et al., Nature Communications 11, 2473 (2020); 25 uS, t0 = 20 s."""
    log = math.log(conductance / 25.0)
    return np.clip(-0.0155 * log + 0.0244, 0.049, 0.1), np.clip(-0.0125 * log - 0.0059, 0.008, 0.045)


def hermes(conductance):
    """The same of the 14-nm chip: HermesNoiseModel of aihwkit 1.2.0, single device; 10.35 uS, t0 = 200 s."""
    g = conductance / 10.35
    if g < 0.0945:
        mean = np.clip(-0.0387 * math.log(g) - 0.0182, 0.072, 0.13)
    else:
        mean = -0.0436 * g**2 - 0.0126 * g + 0.0736
    if g < 0.3039:
        spread = np.clip(-0.0120 * math.log(g) - 0.0023, 0.0124, 0.04)
    else:
        spread = -0.0165 * g**2 + 0.0116 * g + 0.0104
    return mean, spread


@pytest.mark.parametrize(
    ("preset", "columns", "published", "t0", "conductances"),
    [
        ("pcm-90nm", 1024, joshi_2020, 20.0, (0.25, 1.25, 7.5, 24.0)),
        ("hermes-core", 512, hermes, 200.0, (0.4, 2.5, 5.0, 9.5)),
    ],
)
def test_drift_of_a_million_devices_follows_the_publication(precise_chip, preset, columns, published, t0, conductances):
    chip = precise_chip(preset, read_noise=0, rows=512, columns=columns)
    devices = every_device(chip)
    assert devices.size >= 1_000_000
    groups = np.split(devices, len(conductances))
    for group, conductance in zip(groups, conductances, strict=True):
        chip.place(0, group, np.full(group.size, conductance), age=t0)
    born = chip.now()
    for age in (SECOND, HOUR, DAY, YEAR):
        now = read_at_age(chip, age, born)
        for group, conductance in zip(groups, conductances, strict=True):
            nu = -np.log(now[group] / conductance) / math.log(age / t0)
            mean, spread = published(conductance)
            assert nu.mean() == pytest.approx(mean, rel=0.02), (conductance, age)
            assert nu.std() == pytest.approx(spread, rel=0.02), (conductance, age)


def test_a_placed_device_passes_through_its_target_at_its_age(precise_chip):
    chip = precise_chip("pcm-90nm", rows=16, columns=16, read_noise=0)
    target = np.linspace(0.1, 25.0, chip.info.devices_per_core)
    chip.place(0, every_device(chip), target, age=HOUR)
    born = chip.now()
    assert read_at_age(chip, HOUR, born) == pytest.approx(target, rel=1e-5, abs=1e-5)


def test_reprogramming_restarts_the_clock_of_a_device(precise_chip):
    """Ideal pulses with drift: at t0 after the last pulse, and only then, the device is back on the curve."""
    chip = precise_chip("pcm-ideal", rows=16, columns=16, drift=1)
    first = reset(chip, 265.0)
    assert read_at_age(chip, 20.0, first) == pytest.approx(logistic(265.0, chip.info.device_model.curve), rel=1e-4)
    drifted = read_at_age(chip, DAY, first)
    assert drifted.mean() < 0.8 * logistic(265.0)
    half = every_device(chip)[::2]
    again = reset(chip, 265.0, half)
    now = read_at_age(chip, 20.0, again)
    assert now[::2] == pytest.approx(logistic(265.0, chip.info.device_model.curve), rel=1e-4)
    assert now[1::2] == pytest.approx(drifted[1::2], rel=1e-3)


def test_a_device_is_higher_right_after_its_pulse_than_the_network_finds_it(precise_chip):
    chip = precise_chip("pcm-ideal", rows=64, columns=64, drift=1)
    born = reset(chip, 265.0)
    young, old = read_at_age(chip, 10e-6, born), read_at_age(chip, 20.0, born)
    mean, _ = joshi_2020(logistic(265.0))
    assert np.log(young / old).mean() / math.log(20.0 / 10e-6) == pytest.approx(mean, rel=0.02)


# ---- RESET: the programming curve ---------------------------------------------------------------------------------


@pytest.mark.parametrize("amplitude", [190.0, 230.0, 260.0, 300.0, 400.0])
def test_an_ideal_reset_pulse_lands_on_the_curve(precise_chip, amplitude):
    chip = precise_chip("pcm-ideal", rows=4, columns=4)
    reset(chip, amplitude)
    ideal = dataclasses.replace(CURVE, g_min=0.0)
    assert chip.read(0, every_device(chip)) == pytest.approx(logistic(amplitude, ideal), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("amplitude", [230.0, 260.0, 290.0])
def test_the_mean_of_many_devices_is_that_of_the_curves_of_all_of_them(precise_chip, amplitude, seed):
    """The curve averaged over midpoints, jitter and steepnesses by Gauss-Hermite quadrature (4 sigma)."""
    chip = precise_chip("pcm-90nm", rows=64, columns=64, read_noise=0, seed=seed)
    conductance = read_at_age(chip, 20.0, reset(chip, amplitude))
    x, weight = np.polynomial.hermite_e.hermegauss(31)
    shift = math.hypot(CURVE.midpoint_spread, CURVE.jitter) * x[:, None]
    steepness = CURVE.steepness * (1 + PRESET.steepness_spread * x[None, :])
    height = 1 / (1 + np.exp((amplitude - CURVE.midpoint - shift) / steepness))
    expected = CURVE.g_min + (CURVE.g_max - CURVE.g_min) * (weight @ height @ weight) / weight.sum() ** 2
    assert abs(conductance.mean() - expected) < 4 * conductance.std() / math.sqrt(conductance.size)


@pytest.mark.parametrize("amplitude", [240.0, 260.0, 290.0])
def test_pulse_to_pulse_noise_is_that_of_the_curve(precise_chip, amplitude):
    """sigma^2 = (slope * jitter)^2 + noise^2 with the slope of the logistic, g (1 - g) (g_max - g_min) / steepness."""
    chip = precise_chip("pcm-90nm", rows=64, columns=64, read_noise=0, drift=0)
    repeats = []
    for _ in range(12):
        reset(chip, amplitude)
        repeats.append(chip.read(0, every_device(chip)))
    measured = np.var(repeats, axis=0, ddof=1)
    mean = np.mean(repeats, axis=0)
    share = np.clip((mean - CURVE.g_min) / (CURVE.g_max - CURVE.g_min), 0, 1)
    slope = share * (1 - share) * (CURVE.g_max - CURVE.g_min) / CURVE.steepness
    expected = (slope * CURVE.jitter) ** 2 + CURVE.noise**2
    assert math.sqrt(measured.mean()) == pytest.approx(math.sqrt(expected.mean()), rel=0.05)


def test_drift_that_starts_late_follows_the_law_of_shifted_ages():
    """G(t) = G(t0) ((t + onset) / (t0 + onset))^-nu with t0 = 20 s, for every device with its own nu."""
    drift = dataclasses.replace(PRESET.device.drift, law=TimeLaw(onset=0.1))
    chip = SimulatedChip(parameters(device=dataclasses.replace(PRESET.device, drift=drift)))
    born = reset(chip, 240.0)
    young, middle, old = (read_at_age(chip, age, born) for age in (0.1, 20.0, 3600.0))
    nu = np.log(middle / old) / math.log(3602 / 22)
    assert nu.std() > 0.005
    assert young == pytest.approx(middle * (2.1 / 22) ** -nu, rel=1e-3)


def test_pulse_noise_in_proportion_to_the_conductance_comes_on_top():
    curve = dataclasses.replace(CURVE, jitter=0.0, noise=0.0, relative_noise=0.04)
    drift = dataclasses.replace(PRESET.device, curve=curve)
    chip = SimulatedChip(parameters(device=drift, drift=0.0))
    for amplitude in (240.0, 300.0):
        first, second = (read_at_age(chip, 20.0, reset(chip, amplitude)) for _ in range(2))
        # Of 8192 pairs the scatter is known to 0.8 %.
        scatter = np.std(np.log(first / second)) / math.sqrt(2)
        assert scatter == pytest.approx(0.04, rel=0.03)


def test_nothing_happens_below_the_melting_amplitude(precise_chip):
    """No change of conductance, and the device's clock runs on: only the pulse is counted."""
    chip = precise_chip("pcm-90nm", rows=8, columns=8, read_noise=0)
    born = reset(chip, 250.0)
    before = read_at_age(chip, 1000.0, born)
    reset(chip, np.nextafter(CURVE.melt, 0) * (1 - 1e-6))
    assert chip.read(0, every_device(chip)) == pytest.approx(before, rel=1e-4)
    assert np.all(chip.pulse_counts(0) == 2)


def test_a_short_pulse_acts_like_a_weaker_one(precise_chip):
    """Heating follows 1 - exp(-w / 10 ns), and power goes with the square of the current."""
    chip = precise_chip("pcm-ideal", rows=4, columns=4)
    heating = (1 - math.exp(-20 / 10)) / (1 - math.exp(-CURVE.width / 10))
    reset(chip, 300.0, width=20.0)
    short = chip.read(0, every_device(chip))
    reset(chip, 300.0 * math.sqrt(heating))
    assert short == pytest.approx(chip.read(0, every_device(chip)), rel=1e-4)


def test_the_result_of_a_reset_does_not_depend_on_history(precise_chip):
    """From full SET, from full RESET and from many SET pulses: the same, up to the noise of the pulses (4 sigma)."""
    chip = precise_chip("pcm-90nm", rows=64, columns=64, read_noise=0)

    def after(*history):
        for act in history:
            act(chip)
        return read_at_age(chip, 20.0, reset(chip, 265.0))

    results = [
        after(),
        after(lambda c: reset(c, 400.0)),
        after(lambda c: set_(c, width=10_000.0)),
        after(*[set_] * 10),
    ]
    for result in results[1:]:
        difference = result - results[0]
        assert abs(difference.mean()) < 4 * difference.std() / math.sqrt(difference.size)


def test_devices_differ_and_stay_different(precise_chip):
    """Device-to-device spread belongs to the specimen: two programmings of one chip correlate, two chips do not."""
    first = precise_chip("pcm-90nm", rows=64, columns=64, read_noise=0, seed=1)
    other = precise_chip("pcm-90nm", rows=64, columns=64, read_noise=0, seed=2)
    a, b = (read_at_age(first, 20.0, reset(first, 260.0)) for _ in range(2))
    c = read_at_age(other, 20.0, reset(other, 260.0))
    assert np.corrcoef(a, b)[0, 1] > 0.8
    assert abs(np.corrcoef(a, c)[0, 1]) < 4 / math.sqrt(a.size)


def test_a_conductance_is_never_negative(precise_chip):
    chip = precise_chip("pcm-90nm", rows=64, columns=64, read_noise=0, programming_noise=5)
    reset(chip, 450.0)
    assert chip.read(0, every_device(chip)).min() >= 0.0


# ---- SET: accumulation --------------------------------------------------------------------------------------------


def test_set_pulses_accumulate_by_the_published_recurrence(precise_chip):
    """dG(p) = max(0, decay G + level + first exp(-p / pulses)), form of Nandakumar et al., JAP 124, 152135 (2018)."""
    chip = precise_chip("pcm-ideal", rows=4, columns=4)
    reset(chip, 450.0)
    expected = float(chip.read(0, [0])[0])
    for p in range(1, 26):
        set_(chip)
        growth = SET_MODEL.decay * expected + SET_MODEL.level + SET_MODEL.first * math.exp(-p / SET_MODEL.pulses)
        expected += max(growth, 0.0)
        assert chip.read(0, every_device(chip)) == pytest.approx(expected, rel=1e-4)


def test_set_accumulation_saturates(precise_chip):
    """Steep at first, all but flat after some twenty pulses, and never beyond the device's own g_max."""
    chip = precise_chip("pcm-90nm", rows=64, columns=64, read_noise=0, drift=0)
    reset(chip, 450.0)
    means = [chip.read(0, every_device(chip)).mean()]
    for _ in range(40):
        set_(chip)
        means.append(chip.read(0, every_device(chip)).mean())
    growth = np.diff(means)
    assert np.all(growth[:20] > 0)
    assert growth[20:].mean() < 0.2 * growth[:3].mean()
    accumulated = chip.read(0, every_device(chip))
    set_(chip, width=SET_MODEL.full_width)
    own_g_max = chip.read(0, every_device(chip))
    assert np.all(accumulated < own_g_max + 8 * CURVE.noise)


def test_a_reset_starts_the_accumulation_anew(precise_chip):
    chip = precise_chip("pcm-ideal", rows=4, columns=4)
    first_steps = []
    for _ in range(2):
        reset(chip, 450.0)
        low = chip.read(0, [0])[0]
        set_(chip)
        first_steps.append(chip.read(0, [0])[0] - low)
        for _ in range(5):
            set_(chip)
    assert first_steps[0] == pytest.approx(first_steps[1], rel=1e-4)


def test_the_spread_of_a_set_pulse_grows_with_conductance(precise_chip):
    chip = precise_chip("pcm-90nm", rows=64, columns=64, read_noise=0, drift=0)
    spreads = []
    for conductance in (1.0, 8.0):
        devices = every_device(chip)
        chip.place(0, devices, np.full(devices.size, conductance), age=1.0)
        set_(chip)
        spreads.append((chip.read(0, devices) - conductance).std())
    expected = [SET_MODEL.sigma_slope * g + SET_MODEL.sigma_level for g in (1.0, 8.0)]
    assert spreads == pytest.approx(expected, rel=0.05)


def test_a_long_set_pulse_returns_a_device_near_g_max(precise_chip):
    """g_max spreads by `height_spread` from device to device and by `noise` from pulse to pulse (4 sigma)."""
    chip = precise_chip("pcm-90nm", rows=64, columns=64, read_noise=0)
    reset(chip, 450.0)
    conductance = read_at_age(chip, 20.0, set_(chip, width=SET_MODEL.full_width))
    expected_spread = math.hypot(CURVE.g_max * CURVE.height_spread, CURVE.noise)
    assert abs(conductance.mean() - CURVE.g_max) < 4 * expected_spread / math.sqrt(conductance.size)
    assert conductance.std() == pytest.approx(expected_spread, rel=4 / math.sqrt(2 * conductance.size))


def test_nothing_happens_below_the_crystallisation_amplitude(precise_chip):
    chip = precise_chip("pcm-90nm", rows=8, columns=8, read_noise=0, drift=0)
    reset(chip, 300.0)
    before = chip.read(0, every_device(chip))
    set_(chip, amplitude=0.99 * SET_MODEL.crystallise, width=SET_MODEL.full_width)
    assert np.array_equal(chip.read(0, every_device(chip)), before)


# ---- devices that do not obey -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_stuck_devices_occur_at_their_rate_and_never_move(precise_chip, seed):
    """Binomial, 4 sigma; half of them SET and half RESET, whatever pulses they get."""
    rate = 0.03
    chip = precise_chip("pcm-90nm", rows=64, columns=128, read_noise=0, drift=0, stuck_rate=rate, seed=seed)
    n = chip.info.devices_per_core
    delivered = chip.read(0, every_device(chip))
    history = []
    for act in (lambda: reset(chip, 230.0), lambda: set_(chip, width=10_000.0), lambda: reset(chip, 300.0)):
        act()
        history.append(chip.read(0, every_device(chip)))
    stuck = np.all(np.isclose(history, delivered, rtol=1e-5), axis=0)
    assert abs(stuck.sum() - n * rate) < 4 * math.sqrt(n * rate * (1 - rate))
    high = delivered[stuck] > CURVE.g_max / 2
    assert abs(high.sum() - stuck.sum() / 2) < 4 * math.sqrt(stuck.sum() / 4)
    assert delivered[stuck][~high].max() < CURVE.g_min + 8 * CURVE.noise


def test_a_device_stuck_in_the_crystalline_phase_does_not_drift(precise_chip):
    chip = precise_chip("pcm-90nm", rows=64, columns=64, read_noise=0, stuck_rate=0.05)
    delivered = chip.read(0, every_device(chip))
    stuck_set = delivered > CURVE.g_max / 2
    chip.wait(10 * YEAR)
    assert np.array_equal(chip.read(0, every_device(chip))[stuck_set], delivered[stuck_set])


def test_weak_devices_occur_at_their_rate_and_reach_half_of_g_max(precise_chip):
    rate = 0.1
    chip = precise_chip("pcm-90nm", rows=64, columns=64, read_noise=0, drift=0, weak_rate=rate)
    set_(chip, width=SET_MODEL.full_width)
    conductance = chip.read(0, every_device(chip))
    weak = conductance < 0.75 * CURVE.g_max
    assert abs(weak.sum() - weak.size * rate) < 4 * math.sqrt(weak.size * rate * (1 - rate))
    assert conductance[weak].mean() == pytest.approx(CURVE.g_max / 2, rel=0.02)


def test_placement_moves_stuck_devices_too(precise_chip):
    """Exact placement measures the noise floor; it is not a way to program."""
    chip = precise_chip("pcm-90nm", rows=8, columns=8, read_noise=0, drift=0, stuck_rate=1)
    target = np.linspace(1.0, 20.0, chip.info.devices_per_core)
    chip.place(0, every_device(chip), target, age=1.0)
    assert chip.read(0, every_device(chip)) == pytest.approx(target, rel=1e-4)


# ---- temperature --------------------------------------------------------------------------------------------------

BOLTZMANN = 8.617333262e-5  # eV / K, CODATA 2018


@pytest.mark.parametrize("kelvin", [273.15, 300.0, 330.0, 400.0])
def test_structural_relaxation_is_thermally_activated(kelvin):
    p = parameters(temperature=kelvin, relaxation_energy=0.5)
    arrhenius = math.exp(0.5 / BOLTZMANN * (1 / 300.0 - 1 / kelvin))
    assert relaxation_rate(p) == pytest.approx(arrhenius, rel=1e-5)


def test_a_warm_chip_drifts_as_a_cold_one_would_over_a_longer_time():
    """With the conduction's own activation off, an hour at 350 K is an hour times the Arrhenius factor at 300 K."""
    warm, cold = (SimulatedChip(parameters(temperature=t, conduction_energy=0.0)) for t in (350.0, 300.0))
    factor = math.exp(0.5 / BOLTZMANN * (1 / 300.0 - 1 / 350.0))
    for chip in (warm, cold):
        chip.place(0, every_device(chip), np.full(chip.info.devices_per_core, 10.0), age=1.0)
    warm.wait(HOUR)
    cold.wait(HOUR * factor)
    # Both pass through 10 uS at the age of one second of their own clocks.
    nu = -np.log(cold.read(0, every_device(cold)) / 10.0) / math.log(HOUR * factor)
    expected = 10.0 * np.exp(-nu * math.log(HOUR))
    assert warm.read(0, every_device(warm)) == pytest.approx(expected, rel=1e-4)


def test_conduction_is_activated_with_an_energy_that_falls_with_ln_g():
    """0.2 eV at g_min, none at g_max and half of it half-way between them on a logarithmic scale."""
    kelvin = 340.0
    warm, cold = (SimulatedChip(parameters(temperature=t, drift=0.0)) for t in (kelvin, 300.0))
    between = math.sqrt(CURVE.g_min * CURVE.g_max)
    boltzmann_factor = math.exp(0.2 / BOLTZMANN * (1 / 300.0 - 1 / kelvin))
    for conductance, expected in (
        (CURVE.g_min, boltzmann_factor),
        (between, math.sqrt(boltzmann_factor)),
        (CURVE.g_max, 1.0),
    ):
        # Placed on the cold chip and restored on the warm one: the same glass at another temperature.
        cold.place(0, [0], [conductance], age=1.0)
        warm.import_state(cold.export_state())
        assert warm.read(0, [0])[0] / cold.read(0, [0])[0] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("kelvin", [200.0, 450.0])
def test_temperature_does_not_change_the_order_of_conductances(kelvin):
    cold, other = (SimulatedChip(parameters(temperature=t, drift=0.0)) for t in (300.0, kelvin))
    conductance = np.linspace(0.05, CURVE.g_max, cold.info.devices_per_core)
    cold.place(0, every_device(cold), conductance, age=1.0)
    other.import_state(cold.export_state())
    assert np.all(np.diff(other.read(0, every_device(other))) > 0)


@pytest.mark.parametrize("kelvin", [250.0, 360.0])
def test_placement_is_exact_at_any_temperature(precise_chip, kelvin):
    chip = precise_chip("pcm-90nm", rows=16, columns=16, read_noise=0, temperature=kelvin)
    target = np.linspace(0.1, 25.0, chip.info.devices_per_core)
    chip.place(0, every_device(chip), target, age=100.0)
    born = chip.now()
    assert read_at_age(chip, 100.0, born) == pytest.approx(target, rel=1e-4)


def test_at_the_reference_temperature_activation_energies_do_not_matter():
    chips = [SimulatedChip(parameters(read_noise=1.0, conduction_energy=e, relaxation_energy=e)) for e in (0.0, 0.7)]
    results = []
    for chip in chips:
        reset(chip, 255.0)
        chip.wait(HOUR)
        results.append(chip.mvm(0, torch.full((3, chip.info.rows), 100, dtype=torch.int32).numpy()))
    assert np.array_equal(*results)
