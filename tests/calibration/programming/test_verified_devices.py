"""Program-and-verify of single devices, whose reads the test writes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hwloop.calibration.programming import verified_devices
from hwloop.calibration.programming.unresponsive import unresponsive_streak
from hwloop.calibration.programming.verified_devices import VerifiedDevices, verify_noise
from hwloop.chip.cell_calibration import Devices
from hwloop.devices.drift import DriftModel
from hwloop.devices.model import DeviceModel
from hwloop.devices.read_noise import ReadNoiseModel
from hwloop.devices.statistics import Polynomial
from tests.calibration.programming.scripted import ScriptedRegion, device_model

EMPTY = 100.0 + 8 * 10.0
"""Amplitude of the curve's midpoint and eight steepnesses, uA."""


class ScriptedDevices(VerifiedDevices):
    """Devices (2, 1, rows, 1) that answer reads with what the script says, one list after the other."""

    def __init__(self, rows: int = 2, model: DeviceModel | None = None, **settings: int) -> None:
        self.script: list[list[float]] = []
        self.looked_at: list[list[int]] = []
        self.region = ScriptedRegion(rows)
        known = Devices.nominal(model or device_model(), self.region.shape)
        super().__init__(self.region, known, **settings)

    def _age_at_target(self, devices: np.ndarray) -> float:
        return 100.0

    def _look(self, devices: np.ndarray, averages: int) -> tuple[np.ndarray, float]:
        if not len(devices):
            return np.zeros(0), self.region.clock
        self.looked_at.append(devices.tolist())
        reads = self.script.pop(0)
        assert len(reads) == len(devices)
        return np.array(reads, float), self.region.clock

    def verified(self, *script: list[float], tolerance: float = 1.0) -> list[int]:
        """Which of all devices are off target."""
        self.script = [*script]
        off = self.verify(np.arange(self.target.size), 16, tolerance).tolist()
        assert not self.script
        return off

    @property
    def amplitudes(self) -> dict[int, float]:
        devices, amplitude = self.region.pulses[-1]
        return dict(zip(devices.tolist(), amplitude.tolist(), strict=True))


def devices_at(target: list[float], **settings: int) -> ScriptedDevices:
    """Four devices with targets in uS, pulsed once."""
    devices = ScriptedDevices(**settings)
    devices.target[:] = target
    devices.pulse_open_loop(np.arange(4))
    return devices


# ---- verification ------------------------------------------------------------------------------------------------


def test_what_seems_on_target_is_read_again_and_both_reads_count() -> None:
    devices = devices_at([10.0, 10.0, 10.0, 10.0])
    # The first was accepted by luck: its second read puts the mean out of the window. The last one was not far off.
    off = devices.verified([10.9, 9.1, 12.0, 7.0], [11.3, 9.3])
    assert devices.looked_at == [[0, 1, 2, 3], [0, 1]]
    assert off == [0, 2, 3]
    assert devices.value == pytest.approx([11.1, 9.2, 12.0, 7.0])
    assert devices.seen.all()


def test_a_low_device_is_as_far_off_as_a_high_one() -> None:
    devices = devices_at([10.0, 10.0, 0.0, 0.0])
    assert devices.verified([0.0, 20.0, 5.0, 0.0], [0.0]) == [0, 1, 2]
    assert devices.looked_at[1] == [3]


def test_reads_are_compared_at_the_age_at_which_targets_hold() -> None:
    # G falls with (t / t0)^-0.1: a device read at 4 s is higher than it will be at 100 s by a factor of 25^0.1.
    model = replace(device_model(), drift=DriftModel(1.0, 20.0, Polynomial((0.1,)), Polynomial((0.0,))))
    devices = ScriptedDevices(model=model)
    devices.target[:] = 10.0
    devices.pulse_open_loop(np.arange(4))
    devices.region.clock = 4.0
    young = 10.0 * 25**0.1
    assert devices.verified([young, 10.0, young, 10.0], [young, young]) == [1, 3]
    assert devices.value == pytest.approx([10.0, 10.0 / 25**0.1, 10.0, 10.0 / 25**0.1])


@pytest.mark.parametrize("read", [-5.0, -0.1, 0.0])
def test_a_negative_read_of_an_empty_device_is_zero_and_no_reason_for_a_pulse(read: float) -> None:
    devices = devices_at([0.0] * 4)
    assert devices.verified([read] * 4, [read] * 4) == []
    assert not devices.value.any()


def test_a_read_that_is_no_number_is_no_reason_for_a_pulse() -> None:
    devices = devices_at([10.0] * 4)
    assert devices.verified([float("nan")] * 4) == []


# ---- correction --------------------------------------------------------------------------------------------------


def test_amplitudes_are_stepped_along_the_curve_against_the_error() -> None:
    devices = devices_at([10.0, 10.0, 10.0, 0.0])
    before = devices.amplitudes
    assert before == {0: pytest.approx(100.0), 1: pytest.approx(100.0), 2: pytest.approx(100.0), 3: EMPTY}
    devices.verified([15.0, 5.0, -1.0, 3.0])
    assert devices.correct(np.arange(4), gain=0.4, max_pulses=9) == 4
    # On the curve, 15 uS of 20 stand ln(3) steepnesses below the midpoint, and 5 uS as far above it; a negative read is
    # the curve's end, 0.5 % of its height. Too high asks for more current, too low for less; empty is empty.
    logit = 10.0 * np.log(3.0)
    end = 10.0 * np.log(1 / 0.005 - 1)
    assert devices.amplitudes == {
        0: pytest.approx(100.0 + 0.4 * logit),
        1: pytest.approx(100.0 - 0.4 * logit),
        2: pytest.approx(100.0 - 0.4 * end),
        3: EMPTY,
    }


def test_steps_add_up() -> None:
    devices = devices_at([10.0] * 4)
    for _ in range(2):
        devices.verified([15.0] * 4)
        devices.correct(np.array([1]), gain=0.4, max_pulses=9)
    assert devices.amplitudes == {1: pytest.approx(100.0 + 0.8 * 10.0 * np.log(3.0))}


def test_a_device_that_gets_a_target_after_having_been_emptied_starts_from_its_curve() -> None:
    devices = devices_at([0.0] * 4)
    devices.target[2] = 10.0
    devices.verified([0.0] * 4, [0.0] * 3)
    devices.correct(np.array([2]), gain=0.4, max_pulses=9)
    assert devices.amplitudes == {2: pytest.approx(100.0)}


def test_amplitudes_stay_within_the_limits() -> None:
    devices = devices_at([10.0] * 4)
    for read in (20.0, 0.0):
        for _ in range(40):
            devices.verified([read] * 4)
            devices.streak[:] = 0
            devices._without_answer[:] = False
            devices.correct(np.arange(4), gain=2.0, max_pulses=100)
    sent = np.concatenate([amplitude for _, amplitude in devices.region.pulses])
    assert (sent.min(), sent.max()) == (1.0, 500.0)  # melting, and the chip's limit


def test_a_device_gets_so_many_pulses_and_no_more() -> None:
    devices = devices_at([10.0] * 4)
    sent = []
    for read in (14.0, 5.0, 14.0, 5.0):
        devices.verified([read] * 4)
        sent.append(devices.correct(np.arange(4), gain=0.4, max_pulses=3))
    assert sent == [4, 4, 0, 0]
    assert devices.spent.tolist() == [3] * 4


def test_a_device_that_does_not_answer_is_left_alone() -> None:
    devices = devices_at([10.0] * 4, unresponsive_pulses=2)
    assert not devices.verified([10.0] * 4, [10.0] * 4)
    for count in (1, 2):
        devices.target[:] = 18.0
        devices.pulse_again(np.arange(4))
        devices.verified([10.0, 18.0, 10.0, 11.0 + 5 * count], [18.0])
        assert devices.streak.tolist() == [count, 0, count, 0]
        assert devices.unresponsive().tolist() == [count == 2, False, count == 2, False]
    assert devices.correct(np.array([0, 3]), gain=0.4, max_pulses=99) == 1
    assert list(devices.amplitudes) == [3]


def test_the_last_pulse_can_be_repeated() -> None:
    devices = devices_at([10.0, 5.0, 0.0, 0.0])
    first = devices.amplitudes
    assert devices.pulse_again(np.array([0, 1])) == 2
    assert devices.amplitudes == {0: first[0], 1: first[1]}
    assert devices.spent.tolist() == [2, 2, 1, 1]


def test_what_was_given_up_is_recorded() -> None:
    devices = devices_at([10.0] * 4)
    devices.give_up(np.array([1, 3]))
    assert devices.gave_up.tolist() == [False, True, False, True]


def test_surprise_is_what_a_device_conducts_beyond_its_curve() -> None:
    devices = devices_at([10.0] * 4)
    devices.verified([13.0, 6.0, 10.0, 15.0], [10.0])
    assert devices.surprise() == pytest.approx([3.0, -4.0, 0.0, 5.0])


# ---- noise and unresponsive devices ------------------------------------------------------------------------------


def test_noise_of_averaged_reads() -> None:
    # One read: ln((t + t) / (2 t)) = 0 of fast noise, and ln(since / t) of slow noise.
    model = device_model(read_noise=0.1, t_read=1.0)
    g = np.array([10.0])
    assert verify_noise(model, g, averages=1, since_pulse=float(np.e)) == pytest.approx(1.0)
    # Seven reads: ln(8 / 2) / 7, and what is slower than all of them, ln(14 / 7).
    assert verify_noise(model, g, 7, 14.0) == pytest.approx(np.sqrt(np.log(4.0) / 7 + np.log(2.0)))
    assert verify_noise(model, g, 7, 1.0) == pytest.approx(np.sqrt(np.log(4.0) / 7))
    # Reads of half a second, and noise that grows with the conductance: 0.1 + 0.2 * 10 / 20.
    loud = replace(model, read_noise=ReadNoiseModel(0.5, 20.0, Polynomial((0.1, 0.2))))
    assert verify_noise(loud, g, 7, 14.0) == pytest.approx(2.0 * np.sqrt(np.log(4.0) / 7 + np.log(4.0)))


@pytest.mark.parametrize(
    ("moved", "meant", "streak"),
    [
        (0.0, 10.0, 3),
        (2.4, 10.0, 3),
        (-2.4, -10.0, 3),
        (2.6, 10.0, 0),
        (-2.6, -10.0, 0),
        (0.0, 4.1, 3),
        (0.0, 3.9, 0),  # not far enough for the noise of one uS
        (0.0, -3.9, 0),
        (float("nan"), 10.0, 0),
    ],
)
def test_a_device_that_went_less_than_a_quarter_of_a_long_way_did_not_answer(
    moved: float, meant: float, streak: int
) -> None:
    assert unresponsive_streak(np.array([2]), np.array([moved]), np.array([meant]), 1.0).tolist() == [streak]


def test_an_answer_ends_the_row() -> None:
    streak = np.array([0])
    for moved, expected in ((0.0, 1), (0.0, 2), (9.0, 0), (0.0, 1)):
        streak = unresponsive_streak(streak, np.array([moved]), np.array([10.0]), 1.0)
        assert streak.tolist() == [expected]


@pytest.mark.parametrize(
    ("read", "implausible"), [(5.0, False), (18.7, False), (18.8, True), (2.5, False), (2.4, True)]
)
def test_a_read_is_implausible_that_no_curve_near_the_devices_own_explains(read: float, implausible: bool) -> None:
    """A height of 0.8 above 1 uS, a shift of 4 uA known to 5, and jitter: five standard deviations are 25 uA."""
    model = device_model(g_min=1.0)
    model = replace(model, curve=replace(model.curve, jitter=0.01, g_max=25.0))
    devices = ScriptedDevices(model=model)
    devices._known.height[:], devices._known.shift[:], devices._known.shift_sigma[:] = 0.8, 4.0, 5.0
    devices._amplitude[:] = 104.0
    at = model.curve.amplitude(np.array([1.0 + (read - 1.0) / 0.8]))
    assert bool(abs(100.0 - at[0]) > 25.0) == implausible
    found = devices._implausible(np.array([2]), np.array([read]))
    assert found.tolist() == [implausible]


@pytest.mark.parametrize(("sigma", "for_good"), [(1.0, True), (10.0, False)])
def test_a_device_that_no_curve_explains_is_left_alone_for_good(sigma: float, for_good: bool) -> None:
    """A later read, which may end the row by its noise, changes nothing of that; 2 and 18 uS are 44 uA apart."""
    devices = devices_at([10.0] * 4, unresponsive_pulses=2)
    devices._known.shift_sigma[:] = sigma
    devices.verified([2.0] * 4)  # a fifth of the way: no answer
    devices.target[:] = 18.0
    devices.pulse_open_loop(np.arange(4))
    devices.verified([2.0] * 4)
    assert devices.streak.tolist() == [2] * 4
    assert devices.unresponsive().all()
    devices.pulse_open_loop(np.arange(4))
    devices.verified([18.0] * 4, [18.0] * 4)
    assert devices.streak.tolist() == [0] * 4
    assert devices.unresponsive().tolist() == [for_good] * 4


def test_all_pulses_together_tell_a_device_that_does_not_answer() -> None:
    """Reads of 10 uS whatever is asked for: after 5, 18 and 5 uS the squared deviations expected exceed a hundred."""
    devices = devices_at([5.0] * 4, unresponsive_pulses=100)
    for asked, unresponsive in ((5.0, False), (18.0, False), (5.0, True)):
        devices.target[:] = asked
        devices.pulse_open_loop(np.arange(4))
        devices.verified([10.0, 10.0, asked, asked], [asked] * 2)
        assert devices.unresponsive().tolist() == [unresponsive, unresponsive, False, False]


def test_a_small_target_is_approached_in_steps_like_a_large_one() -> None:
    devices = devices_at([0.5] * 4)
    before, curve = devices.amplitudes, devices._model.curve
    devices.verified([5.0] * 4)
    devices.correct(np.arange(4), gain=0.4, max_pulses=9)
    step = 0.4 * (curve.amplitude(np.float64(0.5)) - curve.amplitude(np.float64(5.0)))
    assert devices.amplitudes == pytest.approx({device: one + step for device, one in before.items()})


# ---- currents ----------------------------------------------------------------------------------------------------


def test_what_is_fitted_are_pulsed_devices_with_targets_as_they_are_at_the_reference_age(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Less what is known of each device's own height and shift, with the unknown spreads and the noise of reads."""
    model = replace(
        device_model(g_min=1.0),
        read_noise=ReadNoiseModel(1e-6, 20.0, Polynomial((0.02, 0.1))),  # 0.05 at the 6 uS that stand for all
        drift=DriftModel(1.0, 20.0, Polynomial((0.1,)), Polynomial((0.005, 0.05))),
    )
    devices = ScriptedDevices(model=model)
    known = devices._known
    known.height[:], known.height_sigma[:] = 0.8, 0.03
    known.shift[:], known.shift_sigma[:] = 4.0, 5.0
    devices.target[:] = [10.0, 6.0, 0.0, 8.0]
    devices.region.clock = 50.0
    devices.pulse_open_loop(np.arange(4))
    devices.value[:] = [9.0, 6.5, 0.2, 7.0]
    devices.region.clock = 60.0
    seen: list[tuple] = []
    monkeypatch.setattr(verified_devices, "fit_device_currents", lambda *fitted: seen.append(fitted))
    devices.current_error(np.array([0, 1, 2]), averages=16)
    ((amplitude, conductance, curve, relative),) = seen
    on_curve = model.curve.amplitude(1.0 + (np.array([10.0, 6.0]) - 1.0) / 0.8)
    assert amplitude == pytest.approx(on_curve)  # its own shift is taken off again
    assert conductance == pytest.approx(1.0 + (np.array([9.0, 6.5]) * 100**0.1 - 1.0) / 0.8)
    assert (curve.midpoint_spread, curve.height_spread) == pytest.approx((5.0, 0.03))
    noise = float(verify_noise(model, np.array([6.0]), 16, 10.0)[0]) / 6.0
    assert relative == pytest.approx(np.hypot(noise, 0.02 * np.log(10.0)))


def test_small_targets_tell_of_the_currents_too(monkeypatch: pytest.MonkeyPatch) -> None:
    devices, seen = devices_at([0.5, 0.0, 10.0, 0.5]), []
    monkeypatch.setattr(verified_devices, "fit_device_currents", lambda amplitude, *_: seen.append(len(amplitude)))
    devices.current_error(np.arange(4), averages=16)
    assert seen == [3]


def test_after_a_restart_every_device_begins_on_the_new_curve() -> None:
    devices = devices_at([10.0] * 4, unresponsive_pulses=1)
    devices.verified([15.0] * 4)
    devices.streak[:] = 1
    devices.restart(0.1)
    assert not devices.unresponsive().any()
    assert devices.correct(np.arange(4), gain=0.4, max_pulses=9) == 4
    assert devices.amplitudes == pytest.approx(dict.fromkeys(range(4), 110.0))


def test_devices_that_are_known_not_to_answer_count_as_seen_where_they_stay() -> None:
    region, model = ScriptedRegion(2), device_model()
    known = Devices.nominal(model, region.shape)
    known.usable[0, 0, 1], known.stuck_at[0, 0, 1] = False, 7.0
    devices = ScriptedDevices()
    VerifiedDevices.__init__(devices, region, known)
    assert devices.usable.tolist() == [True, False, True, True]
    assert devices.seen.tolist() == [False, True, False, False]
    assert devices.value.tolist() == [0.0, 7.0, 0.0, 0.0]


def test_the_window_is_closed() -> None:
    """A device that is off by just the tolerance is on target."""
    devices = devices_at([10.0, 10.0, 10.0, 10.0])
    assert devices.verified([11.0, 9.0, 11.5, 8.5], [11.0, 9.0]) == [2, 3]
