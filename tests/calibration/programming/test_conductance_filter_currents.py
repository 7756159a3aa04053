"""What the conductance filter makes of wrong currents, dead columns and drift, on chips of a few cells."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hwloop.calibration.programming import conductance_filter
from hwloop.calibration.programming.current_error import CurrentErrorFit, PulsedCells
from hwloop.calibration.programming.filter_settings import Observation
from hwloop.calibration.programming.redraw import redraw_values
from hwloop.chip.cell_calibration import Devices
from hwloop.devices.drift import DriftModel
from hwloop.devices.statistics import Polynomial
from tests.calibration.programming.scripted import AlternatingSigns, ScriptedRegion, device_model
from tests.calibration.programming.test_conductance_filter import E, aims, filter_of, without

# ---- currents ----------------------------------------------------------------------------------------------------


def test_what_is_fitted_are_the_loaded_cells_of_usable_devices_as_they_were_pulsed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    region, model = ScriptedRegion(rows=5, columns=2), device_model(noise=0.5)
    known = without(model, region.shape, (1, 0, 2, 1), 6.0)
    known.shift[:], known.shift_sigma[:] = 2.0, 3.0
    known.height[:], known.height_sigma[:] = 0.9, 0.04
    target = np.array([[4.0, -5.0], [0.0, 6.0], [7.0, 8.0], [9.0, -3.0], [2.0, 1.0]])
    cell = filter_of(region, target, model, known=known)
    region.clock = 100.0
    cell.program_open_loop()
    seen: list[PulsedCells] = []
    monkeypatch.setattr(conductance_filter, "fit_current_error", lambda cells, *rest: seen.append(cells))
    shown = np.arange(10.0).reshape(5, 2)
    cell.current_error(Observation(shown, power=2.0, begin=107.0, duration=1.0), CurrentErrorFit())
    (found,) = seen
    assert found.seen.tolist() == [0.0, 1.0, 3.0, 4.0, 6.0, 7.0, 8.0, 9.0]  # not the empty one, not the bad one
    assert found.position.tolist() == [-1.0, -1.0, -0.5, 0.0, 0.5, 0.5, 1.0, 1.0]
    assert found.variance == pytest.approx(2 * region.step**2 / 12 / 2.0)
    loaded = np.array([[4.0, 0.0, 6.0, 7.0, 9.0, 0.0, 2.0, 1.0], [0.0, 5.0, 0.0, 0.0, 0.0, 3.0, 0.0, 0.0]])
    expected = np.where(loaded > 0, model.curve.amplitude(loaded / 0.9), 100.0 + 8 * 10.0)
    assert found.amplitude == pytest.approx(expected)
    assert found.sign.tolist() == [[1.0], [-1.0]]
    assert found.height == pytest.approx(np.full((2, 8), 0.9))
    assert (found.shift_sigma, found.height_sigma, found.age) == pytest.approx((3.0, 0.04, 7.0))


def test_cells_that_are_all_empty_tell_nothing_of_currents() -> None:
    region = ScriptedRegion(rows=3)
    cell = filter_of(region, 0.0, device_model())
    cell.program_open_loop()
    assert cell.current_error(Observation(np.zeros((3, 1)), 1.0, 1.0, 1.0), CurrentErrorFit()) is None


def test_other_currents_mean_another_state_and_another_pass() -> None:
    """Devices that need a tenth more current conduct more than was meant, and are pulsed again where it counts."""
    region, model = ScriptedRegion(rows=2), device_model(noise=0.5)
    cell = filter_of(region, np.array([[10.0], [0.0]]), model)
    cell.program_open_loop()
    cell.assume_currents(0.1)
    # 100 uA on a curve about 110 uA with a steepness of 11 uA, and 180 uA where nothing is left.
    assert cell.g[:, :, 0] == pytest.approx(np.array([[20 / (1 + np.exp(-10 / 11)), 0.034], [0.034, 0.034]]), abs=0.002)
    assert cell.variance[:, 0] == pytest.approx([2 * 0.25, 2 * 0.25])

    assert cell.repeat_open_loop() == 1
    devices, amplitude = region.pulses[-1]
    assert devices.tolist() == [0]
    assert amplitude == pytest.approx([110.0])
    assert cell.g[0, 0, 0] == pytest.approx(10.0)
    assert not cell.unconverged.any()


def test_a_pulse_stays_between_melting_and_the_limit_of_the_chip() -> None:
    region, model = ScriptedRegion(), device_model()
    cell = filter_of(region, 10.0, model, known=Devices.nominal(model, region.shape))
    at = (np.array([0, 1]), np.array([0, 0]), np.array([0, 0]))
    cell._send(at, np.array([-7.0, 900.0]), np.array([5.0, 1.0]))
    assert region.pulses[-1][1].tolist() == [1.0, 500.0]
    assert cell.g[:, 0, 0].tolist() == [5.0, 1.0]


# ---- columns -----------------------------------------------------------------------------------------------------


def test_a_column_that_shows_nothing_is_left_alone_and_does_not_count_for_the_mean_gain() -> None:
    region, model = ScriptedRegion(rows=8, columns=3), device_model(noise=0.1)
    cell = filter_of(region, np.full((8, 3), 10.0), model)
    cell.program_open_loop()
    region.shown[:] = np.array([9.0, 0.0, 11.0])
    cell.measure(AlternatingSigns(), blocks=2)
    assert cell._mean_gain == pytest.approx(1.0, rel=1e-6)
    cell.g[0] = 5.0
    cell.g[0, 0] = 10.0  # so that gains do not make up for the others
    region.pulses.clear()
    cell.correct(remaining=0.0)
    assert not any(np.any(devices % 3 == 1) for devices, _ in region.pulses)


@pytest.mark.parametrize(("shown", "dead"), [(0.12, False), (0.08, True)])
def test_a_column_is_dead_below_a_hundredth_of_what_it_should_show(shown: float, dead: bool) -> None:
    region = ScriptedRegion(rows=8, columns=2)
    cell = filter_of(region, 10.0, device_model())
    cell.program_open_loop()
    region.shown[:] = np.array([10.0, shown])
    cell.measure(AlternatingSigns(), blocks=2)
    assert (cell.g[0, 0, 1] == 0.0) == dead


# ---- ages --------------------------------------------------------------------------------------------------------


def drifting(nu: float = 0.1, **settings: float) -> tuple[ScriptedRegion, conductance_filter.ConductanceFilter]:
    """Four cells of 10 uS at an age of 1 s, which fall as t^-nu and shall hold at 100 s."""
    model = replace(device_model(noise=0.3), drift=DriftModel(1.0, 20.0, Polynomial((nu,)), Polynomial((0.0,))))
    region = ScriptedRegion(rows=4)
    return region, filter_of(region, 10.0, model, age=100.0, **settings)


def test_young_cells_are_expected_higher_than_they_will_be() -> None:
    region, cell = drifting()
    cell.program_open_loop()
    region.clock = E
    region.shown[:] = 10.0 * E**-0.1
    cell.measure(AlternatingSigns(), blocks=2)
    assert cell.g[0] == pytest.approx(10.0)
    assert cell.mvm_error == pytest.approx(0.0, abs=1e-6)
    # The target is a conductance at the reference age: what all cells lose until the target age, gains give back.
    assert cell._mean_gain == pytest.approx(100.0**-0.1, rel=1e-6)
    assert cell.correct(remaining=0.0) == 0


def test_a_cell_is_sent_where_it_will_have_drifted_to_its_target() -> None:
    region, cell = drifting()
    cell.program_open_loop()
    region.clock, region.shown[:] = E, 10.0 * E**-0.1
    cell.measure(AlternatingSigns(), blocks=2)
    cell.g[0, 2, 0] = 7.0
    region.clock = 10.0
    assert cell.correct(remaining=0.0) == 1
    sent = aims(region, cell._model)
    assert list(sent) == [2]
    # Column gains are free: three cells of ten uS, pulsed as it was before, set the scale.
    assert sent[2] == pytest.approx(10.0, rel=0.01)
    assert cell.g[0, 2, 0] == pytest.approx(sent[2])


def test_the_error_of_the_outputs_is_that_of_the_cells() -> None:
    region, cell = drifting(nu=0.0)
    cell.program_open_loop()
    region.shown[:] = 10.0
    cell.measure(AlternatingSigns(), blocks=2)
    region.shown[:, 0] = [13.0, 10.0, 10.0, 6.0]
    cell.measure(AlternatingSigns(), blocks=2)
    assert cell.mvm_error == pytest.approx(np.sqrt((3**2 + 4**2) / 4) / 10.0, rel=1e-4)


# ---- questions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rounds", "pulses", "may"), [(11, 8, True), (10, 8, False), (11, 4, True), (11, 3, False)])
def test_suspects_are_asked_while_pulses_and_rounds_are_left(rounds: int, pulses: int, may: bool) -> None:
    """More than ten rounds, and more than two pulses of the device besides its first."""
    region = ScriptedRegion(rows=4)
    cell = filter_of(region, 10.0, device_model(noise=0.1), max_pulses_per_device=pulses)
    cell.program_open_loop()
    cell.correct(remaining=0.0, rounds=rounds)
    assert cell._may_ask.all() == may
    assert cell._may_ask.any() == may


@pytest.mark.parametrize(("pulses", "rounds", "redraws"), [(2, 20, 0), (3, 20, 1), (5, 20, 3), (5, 2, 2)])
@pytest.mark.parametrize("worth", [1.03, 0.97])
def test_a_pulse_is_worth_more_the_more_often_its_result_can_be_drawn_again(
    pulses: int, rounds: int, redraws: int, worth: float
) -> None:
    """A result of 2 uS^2, pulse and unknown share, at a price of 1 uS^2: V at half, and the price itself."""
    region = ScriptedRegion()
    cell = filter_of(region, 10.0, device_model(noise=1.0), min_gain=5.0, max_pulses_per_device=pulses)
    cell.program_open_loop()
    cost = 2.0 * redraw_values(redraws, np.array([0.5]))[-1, 0] + 1.0
    cell.g[0, 0, 0] = 10.0 - (worth * cost) ** 0.5
    assert cell.correct(remaining=0.0, rounds=rounds) == (worth > 1)


def test_a_pulse_early_must_be_worth_more() -> None:
    """Half of the ten rounds are left: (5 % of 20 uS, and half as much again) squared, where 2 uS^2 are won."""
    region = ScriptedRegion()
    cell = filter_of(region, 10.0, device_model(noise=0.0), min_gain=5.0, patience=1.0)
    cell.program_open_loop()
    cell.g[0, 0, 0] = 10.0 - 2.0**0.5
    assert [cell.correct(remaining=0.0, rounds=rounds) for rounds in (10, 5, 4)] == [0, 0, 1]
