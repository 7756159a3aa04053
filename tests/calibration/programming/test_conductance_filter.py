"""The conductance filter on chips of one cell and of a few, where every figure can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from hwloop.calibration.programming.conductance_filter import ConductanceFilter
from hwloop.calibration.programming.filter_settings import FilterSettings
from hwloop.chip.cell_calibration import Devices
from hwloop.devices.model import DeviceModel
from tests.calibration.programming.scripted import AlternatingSigns, ScriptedRegion, device_model, tile_of

E = float(np.e)


def filter_of(
    region: ScriptedRegion,
    target: float | np.ndarray,
    model: DeviceModel,
    age: float = 1.0,
    known: Devices | None = None,
    **settings: float,
) -> ConductanceFilter:
    """A filter whose column gains stay at one and that no deviation surprises, unless the settings say so."""
    usual = {"drive": 1.0, "mean_gain": 1.0, "outlier": 1000.0, "anchor": 0.0}
    prices = {"min_gain": 0.0, "patience": 0.0, "least_gain": 1.0}
    chosen = FilterSettings(**(usual | prices | settings))
    tile = tile_of(region, np.broadcast_to(np.asarray(target, float), region.shape[2:]).copy())
    return ConductanceFilter(region, tile, known or Devices.nominal(model, region.shape), age, chosen)


def without(model: DeviceModel, shape: tuple[int, ...], bad: tuple[int, ...], held: float) -> Devices:
    """Nominal devices, of which those at `bad` do not answer and stay at `held` uS."""
    known = Devices.nominal(model, shape)
    known.usable[bad], known.stuck_at[bad] = False, held
    return known


def aims(region: ScriptedRegion, model: DeviceModel) -> dict[int, float]:
    """Conductance that each device of the last batch of pulses was sent to, by flat device index."""
    devices, amplitude = region.pulses[-1]
    return dict(zip(devices.tolist(), np.asarray(model.curve.conductance(amplitude)).tolist(), strict=True))


# ---- measurements ------------------------------------------------------------------------------------------------


def test_a_measurement_is_weighed_by_the_variances() -> None:
    # Four vectors and white noise of 2 step^2 / 12 / 4 = 2 uS^2; pulses of 1 uS on both devices: a variance of 2 uS^2.
    region = ScriptedRegion(step=48**0.5)
    cell = filter_of(region, 10.0, device_model(noise=1.0, g_min=1.0))
    assert cell.program_open_loop() == 2
    assert cell.variance[0, 0] == pytest.approx(2.0)
    region.shown[:] = 10.0 - 1.0  # as expected
    cell.measure(AlternatingSigns(), blocks=4)
    assert cell.variance[0, 0] == pytest.approx(1.0)  # 2 * 2 / (2 + 2)
    assert cell.g[:, 0, 0] == pytest.approx([10.0, 1.0])
    assert cell.mvm_error == pytest.approx(0.0, abs=1e-9)

    region.shown[:] = 9.0 + 1.2
    cell.measure(AlternatingSigns(), blocks=4)

    # A third is believed, 1 / (1 + 2), and both devices share it: one up, the other down.
    assert cell.g[:, 0, 0] == pytest.approx([10.2, 0.8])
    assert cell.variance[0, 0] == pytest.approx(2 / 3)
    assert cell.mvm_error == pytest.approx(1.2 / 9.0)


def test_the_device_of_larger_variance_takes_the_larger_share() -> None:
    region = ScriptedRegion(step=48**0.5)
    cell = filter_of(region, 10.0, device_model(noise=1.0, g_min=1.0))
    cell.program_open_loop()
    region.shown[:] = 9.0
    cell.measure(AlternatingSigns(), blocks=4)  # leaves 3/4 uS^2 to each device
    cell.g[0, 0, 0] = 14.0
    assert cell.correct(remaining=0.0) == 1  # the positive device has 1 uS^2 again, and the cell 1 + 3/4 + 1
    assert cell.variance[0, 0] == pytest.approx(2.75)
    before = cell.g[:, 0, 0].copy()

    region.shown[:] = before[0] - before[1] + 1.0
    cell.measure(AlternatingSigns(), blocks=4)

    moved = cell.g[:, 0, 0] - before
    assert moved[0] / -moved[1] == pytest.approx(1.0 / 0.75)
    assert moved[0] - moved[1] == pytest.approx(2.75 / 4.75)


def test_a_saturated_output_says_only_that_it_is_at_least_that_large() -> None:
    region = ScriptedRegion(step=0.01)
    cell = filter_of(region, 10.0, device_model(g_min=1.0))
    cell.program_open_loop()
    region.shown[:] = 9.0
    cell.measure(AlternatingSigns(), blocks=4)
    region.span = (np.full(1, -500.0), np.full(1, 500.0))  # from here on it reaches 5 uS
    for shown, known in ((14.0, 9.0), (6.0, 9.0), (3.0, 8.5)):
        region.shown[:] = shown
        cell.measure(AlternatingSigns(), blocks=4)
        # The last one was expected to saturate, and is at least 2 uS below that: the fourth look counts a quarter.
        assert cell.g[0, 0, 0] - cell.g[1, 0, 0] == pytest.approx(known, abs=0.01)


def test_a_constant_offset_of_a_column_is_no_conductance() -> None:
    region = ScriptedRegion(rows=4, step=1e-3)
    cell = filter_of(region, 10.0, device_model())
    cell.program_open_loop()
    region.shown[:] = 10.0
    undisturbed = region.mvm
    region.mvm = lambda x: undisturbed(x) + 700.0  # 0.7 uS
    for _ in range(2):
        cell.measure(AlternatingSigns(), blocks=2)
        assert cell.g[0] == pytest.approx(10.0)


def test_read_noise_of_the_column_is_white_and_that_of_the_cell_is_not() -> None:
    # Two cells of 10 uS, q = 0.1: 1 uS^2 per log unit each. The batch takes 2 e t_read, the network runs e times later;
    # no slow noise has grown, and what a measurement has of its own ends where slow noise begins.
    region, model = ScriptedRegion(rows=2), device_model(noise=1.0, read_noise=0.1, t_read=1.0)
    cell = filter_of(region, 10.0, model, age=2 * E**2, drive=0.5)
    cell.program_open_loop()
    region.shown[:], region.mvm_seconds = 10.0, 2 * E
    cell.measure(AlternatingSigns(), blocks=2)  # four vectors
    drive = round(0.5 * 127) / 127
    white = 2 * 0.5**2 / (4 * drive**2)
    own = white + np.log(1.5 * E / 10**0.5)
    assert cell.variance[:, 0] == pytest.approx(2 * own / (2 + own), rel=1e-6)


def test_unknown_drift_since_the_last_look_widens_the_variance() -> None:
    # Rounding so coarse that nothing is learnt: the variance only grows.
    region = ScriptedRegion(step=1e6)
    cell = filter_of(region, 10.0, device_model(noise=1.0, drift_spread=0.2), age=100.0)
    cell.program_open_loop()
    region.shown[:] = 10.0
    for clock, expected in ((1.0, 2.0), (E, 2.0 + 2.0**2), (E**3, 2.0 + 2.0**2 + 4.0**2)):
        region.clock = clock
        cell.measure(AlternatingSigns(), blocks=4)
        # The first look meets what the pulse left; a later one the drift between: 10 uS * 0.2 * ln(age / age before).
        assert cell.variance[0, 0] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("deviation", "believed"), [(4.0, 2e-4 / 2.0002), (5.0, 25 / 27)])
def test_a_deviation_beyond_what_was_expected_is_believed(deviation: float, believed: float) -> None:
    # White noise of 2 uS^2: three standard deviations are 4.24 uS.
    region = ScriptedRegion(step=48**0.5)
    cell = filter_of(region, 10.0, device_model(noise=0.01, g_min=1.0), outlier=3.0)
    cell.program_open_loop()
    region.shown[:] = 9.0
    cell.measure(AlternatingSigns(), blocks=4)
    region.shown[:] = 9.0 - deviation
    cell.measure(AlternatingSigns(), blocks=4)
    assert 9.0 - (cell.g[0, 0, 0] - cell.g[1, 0, 0]) == pytest.approx(believed * deviation, rel=1e-3)


def test_a_gain_of_the_column_is_sensitivity_and_no_error_of_its_cells() -> None:
    region = ScriptedRegion(rows=8, columns=2)
    cell = filter_of(region, 10.0, device_model())
    cell.program_open_loop()
    region.shown[:] = np.array([9.0, 11.0])
    cell.measure(AlternatingSigns(), blocks=2)
    assert cell.g[0] == pytest.approx(10.0)
    # The columns' gains stay free, and none of their cells is off.
    assert cell.correct(remaining=0.0) == 0


# ---- pulses ------------------------------------------------------------------------------------------------------


def test_a_cell_is_sent_to_what_its_target_lacks() -> None:
    region, model = ScriptedRegion(), device_model(noise=0.1)
    cell = filter_of(region, 10.0, model)
    cell.program_open_loop()
    assert aims(region, model)[0] == pytest.approx(10.0)
    cell.g[0, 0, 0] = 8.0
    assert cell.correct(remaining=0.0) == 1
    assert aims(region, model) == {0: pytest.approx(10.0)}
    cell.g[0, 0, 0] = 13.0  # too high: either device could mend it, and both are as well known
    assert cell.correct(remaining=0.0) == 1
    assert aims(region, model) in ({0: pytest.approx(10.0)}, {1: pytest.approx(3.0)})


def test_an_error_of_both_pulse_and_unknown_share_is_what_a_pulse_must_beat() -> None:
    # Pulses of 1 uS^2, of which the pulsed device has as much to lose: 2 uS^2 and min_gain^2 = 1 uS^2 together.
    for error, pulses in ((3.01**0.5, 1), (2.99**0.5, 0)):
        region = ScriptedRegion()
        cell = filter_of(region, 10.0, device_model(noise=1.0), min_gain=5.0)  # 5 % of 20 uS
        cell.program_open_loop()
        cell.g[0, 0, 0] = 10.0 - error
        assert cell.correct(remaining=0.0) == pulses


@pytest.mark.parametrize(
    ("conductance", "noise", "pulses"),
    [
        (12.0, 1.6, 1),  # 4 - 3.2 + 0.44: worth more than 1, because the device comes out quieter
        (8.0, 1.35, 0),  # 4 - 2.7 - 0.36: worth less, because it comes out louder
    ],
)
def test_a_pulse_that_makes_a_device_quieter_is_worth_more(conductance: float, noise: float, pulses: int) -> None:
    # Read noise of q = 0.1 at the age at which its logarithm is one: 0.01 g^2.
    region = ScriptedRegion()
    model = device_model(noise=noise**0.5, read_noise=0.1, t_read=1.0)
    cell = filter_of(region, 10.0, model, age=2 * E - 1, min_gain=5.0)
    cell.program_open_loop()
    cell.g[0, 0, 0] = conductance
    assert cell.correct(remaining=0.0) == pulses
    if pulses:
        assert aims(region, model) == {0: pytest.approx(10.0)}


@pytest.mark.parametrize(("spread", "pulses"), [(0.099, 1), (0.101, 0)])
def test_drift_still_to_come_counts_against_a_pulse(spread: float, pulses: int) -> None:
    # 10 uS * spread * ln(e) is what the rest of its life adds: 1 uS^2 at a spread of 0.1, of an error of 2 uS^2.
    region = ScriptedRegion()
    cell = filter_of(region, 10.0, device_model(noise=0.0, drift_spread=spread), age=1.0, min_gain=5.0)
    cell.program_open_loop()
    cell.g[0, 0, 0] = 10.0 - 2.0**0.5
    assert cell.correct(remaining=1.0 / (E - 1.0)) == pulses


def test_corrections_aim_a_little_high() -> None:
    region, model = ScriptedRegion(), device_model(noise=0.01)
    cell = filter_of(region, 10.0, model, mean_gain=1.03)
    cell.program_open_loop()
    region.shown[:] = 10.0
    cell.measure(AlternatingSigns(), blocks=4)
    assert cell.correct(remaining=0.0) == 1
    assert aims(region, model) == {0: pytest.approx(10.3)}


def test_pulses_of_a_device_are_counted() -> None:
    region = ScriptedRegion()
    cell = filter_of(region, 10.0, device_model(noise=0.1), max_pulses_per_device=3)
    cell.program_open_loop()
    sent = []
    for _ in range(4):
        cell.g[0, 0, 0] = 5.0
        sent.append(cell.correct(remaining=0.0))
    assert sent == [1, 1, 0, 0]
    assert cell.unconverged[0, 0]  # off by 5 uS, of which three standard deviations explain less than 1.5
    assert not cell.stuck[:, 0, 0].any()


def test_a_cell_on_target_is_converged_though_its_pulses_are_spent() -> None:
    region = ScriptedRegion()
    cell = filter_of(region, 10.0, device_model(noise=1.0), max_pulses_per_device=1)
    cell.program_open_loop()
    for error, unconverged in ((0.0, False), (7.1, False), (7.4, True)):  # 3 * (1 + sqrt(2)) = 7.24
        cell.g[0, 0, 0] = 10.0 - error
        cell.correct(remaining=0.0)
        assert cell.unconverged[0, 0] == unconverged


def unanswered(answers: list[bool]) -> ConductanceFilter:
    """A column of sixteen cells of which one stands too high, and answers to its pulses only where the list says so."""
    region, model = ScriptedRegion(rows=16), device_model(noise=0.05)
    known = without(model, region.shape, (1,), 0.0)  # so that the positive device alone is to blame
    cell = filter_of(region, 10.0, model, known=known, outlier=3.0, min_gain=5.0)
    signs = AlternatingSigns()
    cell.program_open_loop()
    region.shown[:] = 10.0
    cell.measure(signs, blocks=4)
    region.shown[3] = 15.0
    cell.measure(signs, blocks=4)
    for answer in answers:
        assert cell.correct(remaining=0.0, rounds=20) == 1
        if answer:
            region.shown[3] = aims(region, model)[3]
        cell.measure(signs, blocks=4)
        if answer:  # and is thrown off target again
            region.shown[3] = 15.0
            cell.measure(signs, blocks=4)
    return cell


def test_a_device_is_stuck_after_three_unanswered_pulses_in_a_row() -> None:
    assert not unanswered([False, False]).stuck.any()
    cell = unanswered([False, False, False])
    assert np.flatnonzero(cell.stuck[0, :, 0]).tolist() == [3]
    assert cell.correct(remaining=0.0) == 0


def test_an_answer_in_between_begins_the_count_anew() -> None:
    assert not unanswered([False, False, True, False]).stuck.any()


def test_devices_known_to_be_unusable_are_not_pulsed_and_count_as_they_stand() -> None:
    region, model = ScriptedRegion(rows=2), device_model(noise=0.5)
    known = without(model, region.shape, (0, 0, 0, 0), 6.0)
    cell = filter_of(region, np.array([[4.0], [9.0]]), model, known=known)
    assert cell.program_open_loop() == 3
    # The negative device of the first cell takes away what the stuck one has too much.
    assert aims(region, model) == {1: pytest.approx(9.0), 2: pytest.approx(2.0), 3: pytest.approx(0.0, abs=0.2)}
    assert cell.variance[:, 0] == pytest.approx([0.25, 0.5])
