"""Read noise: the published size at every age, a 1/f spectrum, and averaging that helps only as far as it may.

The closed forms follow from one picture. Noise with a 1/f spectrum of a device that was made at t = 0 is a sum of
relaxation processes, all zero at t = 0, with the variance Q^2 per unit of ln(tau). At the age t the process of
correlation time tau has reached the share 1 - exp(-2 t / tau) of its variance; its mean over a time T keeps
f(T / tau) of it, f(u) = 2 (u - 1 + exp(-u)) / u^2; and exp(-lag / tau) of it is still there after a lag. With

    integral of [1 - exp(-y) - 1(y > 1)] dy/y = gamma      integral of [f(u) - 1(u < 1)] du/u = 3/2 - gamma

for t >> T, lag >> t_read:

    variance of one read            Q^2 ln(t / (2 t_read))              the published formula
    variance of a mean over T       Q^2 (ln(2 t / T) + 3/2)
    covariance over a lag           Q^2 ln(2 t / lag)

The simulator has one process per decade of tau, so these may be off by half a step of that ladder, Q^2 ln(10) / 2.
"""

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.signal

from hwloop.sim_backend.noise import EULER_GAMMA, FROZEN

MICROSECOND, SECOND, HOUR, DAY, YEAR = 1e-6, 1.0, 3600.0, 86400.0, 3.156e7
HALF_A_STEP = math.log(10) / 2


def joshi_2020(conductance):
    """Q: Joshi et al., Nature Communications 11, 2473 (2020), 25 uS."""
    return min(0.0088 / (conductance / 25.0) ** 0.65, 0.2)


def hermes(conductance):
    """The same of the 14-nm chip: HermesNoiseModel of aihwkit 1.2.0, single device, 10.35 uS."""
    g = conductance / 10.35
    if g < 0.1591:
        return np.clip(-0.0078 * math.log(g) + 0.0038, 0.0179, 0.04)
    return 0.0664 * g**3 - 0.1352 * g**2 + 0.0768 * g + 0.0088


def relative_sigma(q, age, t_read):
    """The published standard deviation of one read, over the conductance."""
    return q * math.sqrt(math.log((age + t_read) / (2 * t_read)))


def place_all(chip, conductance):
    """All devices on one conductance (or one each), without drift; the time of their birth."""
    n = chip.info.devices_per_core
    chip.place(0, np.arange(n), np.broadcast_to(conductance, n), age=1.0)
    return chip.now()


def sleep_until(chip, age, born):
    chip.wait(born + age - chip.now())


@pytest.fixture
def one_row(precise_chip):
    """A chip with a single row, so that each column's code is one device's conductance; 2048 devices of 10 uS."""
    chip = precise_chip("pcm-90nm", rows=1, columns=2048, drift=0, seed=5)
    n = chip.info.columns
    target = np.concatenate([np.full(n, 10.0), np.zeros(n)])
    chip.place(0, np.arange(2 * n), target, age=1.0)
    chip.set_adc_range(0, 32.0)
    return chip


def noise_of(chip, vectors=1):
    """Means over `vectors` MVMs of every column's noise, in units of Q."""
    codes = chip.mvm(0, np.full((vectors, 1), chip.info.input_max, np.int32))
    conductance = codes.mean(0) * chip.adc_range(0) / chip.info.code_max
    return (conductance / 10.0 - 1.0) / joshi_2020(10.0)


# ---- size -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preset", "columns", "published", "t_read", "conductances"),
    [
        ("pcm-90nm", 1024, joshi_2020, 250e-9, (0.1, 1.25, 7.5, 24.0)),
        ("hermes-core", 512, hermes, 512e-9, (0.1, 0.7, 4.0, 9.5)),
    ],
)
def test_read_noise_of_a_million_devices_follows_the_publication(
    precise_chip, preset, columns, published, t_read, conductances
):
    chip = precise_chip(preset, rows=512, columns=columns, drift=0)
    n = chip.info.devices_per_core
    assert n >= 1_000_000
    target = np.repeat(conductances, n // len(conductances))
    born = place_all(chip, target)
    for age in (1e-3, SECOND, HOUR, DAY, YEAR):
        sleep_until(chip, age, born)
        noise = chip.read(0, np.arange(n)) / target - 1.0
        for conductance in conductances:
            one = noise[target == conductance]
            expected = relative_sigma(published(conductance), age, t_read)
            assert one.std() == pytest.approx(expected, rel=0.02), (conductance, age)
            assert abs(one.mean()) < 4 * expected / math.sqrt(one.size), (conductance, age)


def test_noise_counts_from_a_devices_own_pulse(precise_chip):
    """A device made an hour after the chip woke up is as quiet as a young one, and its old neighbours stay noisy."""
    chip = precise_chip("pcm-90nm", rows=128, columns=128, drift=0)
    devices = np.arange(chip.info.devices_per_core)
    place_all(chip, 10.0)
    chip.read(0, devices[:1])
    chip.wait(HOUR)
    young = devices[::2]
    chip.place(0, young, np.full(young.size, 10.0), age=1.0)
    chip.wait(1e-3)
    noise = chip.read(0, devices) / 10.0 - 1.0
    q = joshi_2020(10.0)
    assert noise[0::2].std() == pytest.approx(relative_sigma(q, 1e-3, 250e-9), rel=0.03)
    assert noise[1::2].std() == pytest.approx(relative_sigma(q, HOUR, 250e-9), rel=0.03)


def test_an_mvm_sees_the_noise_of_its_devices(precise_chip):
    """Independent devices: variance (x^2) @ sigma^2, on a batch of one vector and thousands of columns."""
    chip = precise_chip("pcm-90nm", rows=8, columns=2048, drift=0)
    born = place_all(chip, 5.0)
    chip.set_adc_range(0, 128.0)
    sleep_until(chip, DAY, born)
    x = np.array([[127, -127, 64, 0, 32, -90, 5, 100]])
    codes = chip.mvm(0, x)[0] * 128.0 / chip.info.code_max
    sigma = 5.0 * relative_sigma(joshi_2020(5.0), DAY, 250e-9)
    expected = sigma * math.sqrt(2 * ((x / 127.0) ** 2).sum())
    assert codes.std() == pytest.approx(expected, rel=4 / math.sqrt(2 * codes.size))


def test_scale_zero_means_no_noise(precise_chip):
    chip = precise_chip("pcm-90nm", rows=4, columns=4, read_noise=0, drift=0)
    place_all(chip, 5.0)
    chip.wait(DAY)
    reads = [chip.read(0, np.arange(chip.info.devices_per_core)) for _ in range(3)]
    assert np.ptp(reads, axis=0).max() == 0


def test_the_noise_scale_multiplies(precise_chip):
    """The same seed draws the same noise, twice as large."""
    reads = []
    for scale in (1, 2):
        chip = precise_chip("pcm-90nm", rows=16, columns=16, read_noise=scale, drift=0)
        place_all(chip, 5.0)
        chip.wait(1.0)
        reads.append(chip.read(0, np.arange(chip.info.devices_per_core)) - 5.0)
    assert reads[1] == pytest.approx(2 * reads[0], abs=1e-4)


# ---- averaging ------------------------------------------------------------------------------------------------


def test_the_constants_of_the_ladder_are_the_integrals_they_stand_for():
    def mean_of_process(u):
        return 2 * (u - 1 + math.exp(-u)) / u**2 if u > 1e-4 else 1 - u / 3

    below = scipy.integrate.quad(lambda u: (mean_of_process(u) - 1) / u, 0, 1)[0]
    above = scipy.integrate.quad(lambda u: mean_of_process(u) / u, 1, np.inf)[0]
    assert math.log(1 / FROZEN) == pytest.approx(below + above, abs=1e-6)
    assert math.log(1 / FROZEN) == pytest.approx(1.5 - EULER_GAMMA, abs=1e-9)


@pytest.mark.parametrize("vectors", [10, 18, 32, 56, 100, 1000, 5000])
def test_averaging_a_batch_helps_only_as_much_as_on_silicon(one_row, vectors):
    """Means over 10 us to 5 ms on devices a day old: Q^2 (ln(2 t / T) + 3/2), within half a step and 4 sigma."""
    sleep_until(one_row, DAY, 0.0)
    variance = noise_of(one_row, vectors).var()
    expected = math.log(2 * DAY / (vectors * MICROSECOND)) + 1.5
    sampling = 4 * expected * math.sqrt(2 / one_row.info.columns)
    assert abs(variance - expected) < HALF_A_STEP + sampling
    independent = math.log(DAY / 500e-9) / vectors
    assert variance > 5 * independent


def test_mvms_one_by_one_average_as_a_batch_does(one_row):
    """500 MVMs back to back in one call, and in 500 calls: the same law."""
    sleep_until(one_row, DAY, 0.0)
    duration = 500 * MICROSECOND
    expected = math.log(2 * DAY / duration) + 1.5
    single_calls = np.mean([noise_of(one_row) for _ in range(500)], axis=0).var()
    one_call = noise_of(one_row, 500).var()
    sampling = 4 * expected * math.sqrt(2 / one_row.info.columns)
    assert abs(single_calls - expected) < HALF_A_STEP / 2 + sampling
    assert abs(one_call - expected) < HALF_A_STEP + sampling


# ---- memory ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lag", [1e-6, 1e-3, 1.0, 1000.0])
def test_two_mvms_share_what_is_slow_against_their_distance(one_row, lag):
    """Covariance Q^2 ln(2 t / lag) of devices a day old; a microsecond apart almost all noise is shared."""
    sleep_until(one_row, DAY, 0.0)
    first = noise_of(one_row)
    one_row.wait(lag - MICROSECOND)
    second = noise_of(one_row)
    covariance = np.mean(first * second)
    expected = math.log(2 * DAY / lag)
    sampling = 4 * math.log(DAY / 500e-9) / math.sqrt(one_row.info.columns)
    assert abs(covariance - expected) < HALF_A_STEP + sampling
    if lag == 1e-6:
        assert np.corrcoef(first, second)[0, 1] > 0.95


def test_a_pulse_makes_a_device_forget(one_row):
    """The noise before and after re-programming is uncorrelated (4 sigma)."""
    sleep_until(one_row, DAY, 0.0)
    before = noise_of(one_row)
    columns = np.arange(one_row.info.columns)
    one_row.place(0, columns, np.full(columns.size, 10.0), age=1.0)
    one_row.wait(1.0)
    assert abs(np.corrcoef(before, noise_of(one_row))[0, 1]) < 4 / math.sqrt(columns.size)


def test_the_spectrum_is_one_over_f(precise_chip):
    """Devices read every microsecond: Welch's estimate falls with an exponent of -1 between 1 and 20 kHz."""
    chip = precise_chip("pcm-90nm", rows=1, columns=144, drift=0, seed=3)
    n = chip.info.columns
    chip.place(0, np.arange(n), np.full(n, 10.0), age=1.0)
    chip.set_adc_range(0, 32.0)
    chip.wait(DAY)
    x = np.full((1, 1), chip.info.input_max, np.int32)
    trace = np.concatenate([chip.mvm(0, x) for _ in range(2**12)]).astype(float)
    frequency, power = scipy.signal.welch(trace, fs=1 / MICROSECOND, nperseg=2**12, detrend="linear", axis=0)
    between = (frequency > 1e3) & (frequency < 2e4)
    exponent = np.polyfit(np.log(frequency[between]), np.log(power.mean(1)[between]), 1)[0]
    assert exponent == pytest.approx(-1.0, abs=0.15)
