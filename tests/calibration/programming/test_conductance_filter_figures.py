"""The conductance filter where devices have drifted and cells show more or less than they hold, in figures."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from hwloop.calibration.programming import conductance_filter
from hwloop.calibration.programming.conductance_filter import ConductanceFilter
from hwloop.calibration.programming.current_error import CurrentErrorFit, PulsedCells
from hwloop.calibration.programming.filter_settings import Observation
from hwloop.calibration.programming.redraw import RedrawTable, cost_of_pulse
from hwloop.devices.drift import DriftModel
from hwloop.devices.model import DeviceModel
from hwloop.devices.statistics import Polynomial
from tests.calibration.programming.scripted import AlternatingSigns, ScriptedRegion, device_model
from tests.calibration.programming.test_conductance_filter import E, aims, filter_of, without


def drifting(nu: float = 0.0, spread: float = 0.0, **model: float) -> DeviceModel:
    return replace(device_model(**model), drift=DriftModel(1.0, 20.0, Polynomial((nu,)), Polynomial((spread,))))


def cells(rows: int = 2, columns: int = 1, model: DeviceModel | None = None, **settings: float) -> ConductanceFilter:
    """Cells of 10 uS that were pulsed once."""
    region = ScriptedRegion(rows, columns)
    cell = filter_of(region, 10.0, model or device_model(), **settings)
    cell.program_open_loop()
    return cell


class Search:
    """In place of the search for stuck devices: remembers what it is told, and answers as the test says."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.stuck, self.examined = np.zeros(shape, bool), np.zeros(shape[1:], bool)
        self.doubtful = np.zeros(shape[1:], bool)
        self.told: dict[str, tuple] = {}
        nowhere = np.zeros(0, np.intp)
        self.asked = ((nowhere, nowhere, nowhere), np.zeros(0))
        self.believed = ((nowhere, nowhere), np.zeros((shape[0], 0)), np.zeros((shape[0], 0)), np.zeros(0))

    def questions(self, *told: object) -> tuple:
        self.told["questions"] = told
        return self.asked

    def beliefs(self, *told: object) -> tuple:
        self.told["beliefs"] = told
        return self.believed

    def __getattr__(self, name: str) -> object:
        return lambda *told: self.told.update({name: told})


def searched(cell: ConductanceFilter) -> Search:
    cell._search = Search(cell.g.shape)  # type: ignore[assignment]
    return cell._search  # type: ignore[return-value]


# ---- open-loop pulses --------------------------------------------------------------------------------------------


def test_open_loop_pulses_may_come_in_parts_and_no_device_gets_two() -> None:
    region = ScriptedRegion(rows=2)
    cell = filter_of(region, np.array([[10.0], [-4.0]]), device_model(noise=0.5))
    assert cell.program_open_loop(np.array([[True], [False]])) == 2
    assert cell._fresh[:, :, 0].tolist() == [[True, False]] * 2
    assert cell.program_open_loop() == 2
    assert [devices.tolist() for devices, _ in region.pulses] == [[0, 2], [1, 3]]
    assert cell._fresh.all()
    assert cell._spent.tolist() == [[[1], [1]], [[1], [1]]]
    assert cell.program_open_loop() == 0


def test_what_bad_devices_put_out_of_reach_is_an_error_from_the_start() -> None:
    region, model = ScriptedRegion(rows=2), device_model(read_noise=0.1)
    known = without(model, region.shape, (0, 0, 1, 0), 6.0)
    cell = filter_of(region, 10.0, model, known=known, age=2 * E - 1)
    cell.program_open_loop()
    assert cell._error[:, 0] == pytest.approx([0.0, -4.0])
    # A device that stays is known as well as its read noise allows: a tenth of it, for one unit of log time.
    assert cell._device_variance[0, 1, 0] == pytest.approx(0.6**2)


def test_columns_are_loaded_where_any_cell_has_a_target() -> None:
    cell = filter_of(ScriptedRegion(rows=2, columns=2), np.array([[10.0, 0.0], [0.0, 0.0]]), device_model())
    assert cell._loaded.tolist() == [True, False]


def test_a_pass_that_is_repeated_leaves_the_errors_that_are_believed() -> None:
    region = ScriptedRegion(rows=2)
    cell = filter_of(region, np.array([[10.0], [-6.0]]), device_model(noise=0.5))
    cell.program_open_loop()
    cell.g[:, :, 0] = [[10.2, 0.1], [0.1, 9.0]]
    assert cell.repeat_open_loop() == 1  # 10.2 is near enough, by half a microsiemens; 9.0 is not
    assert region.pulses[-1][0].tolist() == [3]
    assert cell._error[:, 0] == pytest.approx([0.1, 0.1])
    assert cell.variance[:, 0] == pytest.approx([0.5, 0.5])


# ---- what outputs show -------------------------------------------------------------------------------------------


def test_weights_are_those_of_devices_as_old_as_they_are_and_as_cells_show_them() -> None:
    cell = cells(model=drifting(nu=0.1))
    cell.g[:, :, 0], cell._born[:, :, 0] = [[10.0, 8.0], [1.0, 2.0]], [[0.0, 5.0], [11.0, 0.0]]
    cell._sensitivity = np.array([[1.2], [0.5]])
    cell._usable[1, 1, 0], cell._search.stuck[0, 1, 0] = False, True
    weights, effect = cell._weights_at(21.0)
    assert effect[:, :, 0] == pytest.approx(np.array([[1.2 * 21**-0.1, 0.5], [1.2 * 10**-0.1, 0.5]]))
    assert weights[:, 0] == pytest.approx([1.2 * (10 * 21**-0.1 - 10**-0.1), 0.5 * 6.0])


def test_unknown_drift_counts_from_the_last_look_or_from_a_later_pulse() -> None:
    cell = cells(rows=3, model=drifting(spread=0.1))
    cell.g[:, :, 0], cell._born[:, :, 0] = [[10.0, 8.0, 6.0], [2.0, 4.0, 1.0]], [[0.0, 4.0, 12.0], [6.0, 12.0, 0.0]]
    cell._seen, cell._usable[1, 2, 0] = 10.0, False
    effect = np.array([[0.9, 1.1, 0.7], [0.8, 0.6, 0.5]])[:, :, None]
    found = cell._drift_variance(effect, begin=20.0)
    expected = [
        (1.0 * 0.9 * np.log(20 / 10)) ** 2 + (0.2 * 0.8 * np.log(14 / 4)) ** 2,
        (0.8 * 1.1 * np.log(16 / 6)) ** 2,  # the other one was pulsed since, and its spread begins with its age
        0.0,  # a device that does not answer does not drift either
    ]
    assert found[:, 0] == pytest.approx(expected)


def test_an_observation_knows_its_drive_and_its_time() -> None:
    cell = cells(drive=0.5)
    region = cell._region
    region.clock, region.mvm_seconds, region.shown[:] = 7.0, 3.0, 10.0  # type: ignore[attr-defined]
    shown = cell.observe(AlternatingSigns(), blocks=3)  # type: ignore[arg-type]
    assert (shown.begin, shown.duration) == (7.0, 3.0)
    assert shown.power == pytest.approx(3 * 2 * (round(0.5 * 127) / 127) ** 2)  # three designs of two vectors
    assert shown.seen[:, 0] == pytest.approx([10.0, 10.0], abs=1e-4)


def test_offsets_of_columns_are_followed() -> None:
    cell = cells(rows=4)
    region = cell._region
    region.shown[:], undisturbed = 10.0, region.mvm  # type: ignore[attr-defined]
    for offset in (0.7, 0.7, 0.4):
        region.mvm = lambda x, offset=offset: undisturbed(x) + round(offset / region.step)  # type: ignore[method-assign]
        shown = cell.observe(AlternatingSigns(), blocks=2)  # type: ignore[arg-type]
        assert cell._offset == pytest.approx([offset], abs=1e-5)
        assert shown.seen[:, 0] == pytest.approx([10.0] * 4, abs=1e-4)


def test_gains_of_columns_are_no_error_of_the_outputs() -> None:
    cell = cells(rows=8, columns=2)
    cell._region.shown[:] = [9.0, 11.0]  # type: ignore[attr-defined]
    cell.measure(AlternatingSigns(), blocks=2)  # type: ignore[arg-type]
    assert cell._sensitivity == pytest.approx(np.full((8, 2), 1.0) * [0.9, 1.1])
    assert cell.mvm_error == pytest.approx(0.0, abs=1e-6)


def test_what_the_first_measurement_finds_is_how_cells_show_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    cell, told = cells(rows=8, columns=2), []
    monkeypatch.setattr(cell, "_update", lambda *what: told.extend(what[:2]))
    cell._region.shown[:] = [9.0, 12.0]  # type: ignore[attr-defined]
    cell.measure(AlternatingSigns(), blocks=2)  # type: ignore[arg-type]
    observed, effect = told
    assert observed == pytest.approx(np.zeros((8, 2)), abs=1e-4)
    assert effect == pytest.approx(np.ones((2, 8, 2)) * [0.9, 1.2], rel=1e-4)


def test_read_noise_of_the_future_is_that_of_the_networks_age() -> None:
    """Reads of half a second: a tenth of 10 uS, for each unit of log time of age over twice that."""
    cell = cells(model=drifting(read_noise=0.1, t_read=0.5), age=E**3 - 0.5)
    assert cell._read_noise_variance(np.array([10.0])) == pytest.approx([3.0], rel=1e-3)
    cell._noise._scale.read = 4.0
    assert cell._read_noise_variance(np.array([5.0])) == pytest.approx([3.0], rel=1e-3)


def test_columns_that_show_nothing_are_no_longer_loaded() -> None:
    target = np.full((8, 3), 10.0) * [1, 0, 1]
    cell = filter_of(ScriptedRegion(rows=8, columns=3), target, device_model())
    cell.program_open_loop()
    cell._region.shown[:] = [10.0, 0.0, 0.0]  # type: ignore[attr-defined]
    cell.measure(AlternatingSigns(), blocks=2)  # type: ignore[arg-type]
    assert cell._loaded.tolist() == [True, False, False]
    assert cell._usable.all((0, 1)).tolist() == [True, True, False]  # what is to be empty may look so


def test_a_cell_that_shows_nothing_is_no_dead_column() -> None:
    cell = cells(rows=8, columns=2)
    seen = np.full((8, 2), 10.0) * np.linspace(-0.02, 1.0, 8)[:, None] ** 2
    found = cell._found_sensitivity(seen, np.full((8, 2), 10.0))
    assert cell._loaded.all()
    assert found[0] == pytest.approx([1.0, 1.0])  # nothing is made of what is too small to tell
    assert found[5] == pytest.approx([seen[5, 0] / 10] * 2, rel=0.2)


def test_the_error_of_outputs_is_what_is_seen_against_what_is_wanted() -> None:
    """A device that stays at 6 uS where 10 are wanted: the outputs show it, as was expected."""
    region, model = ScriptedRegion(rows=2), device_model(noise=0.1)
    cell = filter_of(region, 10.0, model, known=without(model, region.shape, (0, 0, 1, 0), 6.0))
    cell.program_open_loop()
    cell._sensitivity, region.shown[:, 0] = np.ones((2, 1)), [10.0, 6.0]
    cell.measure(AlternatingSigns(), blocks=4)  # type: ignore[arg-type]
    assert cell.mvm_error == pytest.approx(np.sqrt(4.0**2 / (10.0**2 + 10.0**2)), rel=1e-3)


def test_no_device_is_believed_beyond_twice_its_top_or_below_nothing() -> None:
    cell = cells(rows=2, model=device_model(noise=1.0))
    cell._take_in(np.array([[1e3], [-1e3]]), np.full((2, 1), 0.5), np.ones((2, 2, 1)))
    assert cell.g[:, :, 0].tolist() == [[pytest.approx(42.0), 0.0], [0.0, pytest.approx(42.0)]]
    assert cell.variance[:, 0] == pytest.approx([1.0, 1.0])
    assert cell._device_variance[:, :, 0] == pytest.approx(np.full((2, 2), 0.75))


def test_curves_are_learnt_from_devices_that_were_pulsed_and_are_not_in_doubt() -> None:
    cell = cells(rows=3)
    search, learnt = searched(cell), []
    cell._curves.learn = lambda at, *rest: learnt.append([axis.tolist() for axis in at])  # type: ignore[method-assign]
    cell._fresh[:, :, 0] = [[True, True, True], [True, False, True]]
    search.doubtful[2], search.stuck[1, 0, 0] = True, True
    cell.update(Observation(np.full((3, 1), 10.0), power=6.0, begin=0.0, duration=1.0))
    assert learnt == [[[0, 0], [0, 1], [0, 0]]]
    assert not cell._fresh.any()


def test_currents_are_judged_by_the_age_of_the_youngest_pulse(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[PulsedCells] = []
    monkeypatch.setattr(conductance_filter, "fit_current_error", lambda cells, *rest: found.append(cells))
    cell = cells(rows=3)
    cell._born[0, 1, 0], cell._spent[1, 2, 0] = 4.0, 0
    for begin in (10.0, 4.0):
        cell.current_error(Observation(np.arange(3.0)[:, None], 4.0, begin, 1.0), CurrentErrorFit())
    assert [one.age for one in found] == pytest.approx([6.0, 1e-6])
    assert found[0].seen.tolist() == [0.0, 1.0]  # both devices of a cell must have been pulsed


# ---- noise of measurements ---------------------------------------------------------------------------------------


def noisy(**settings: float) -> tuple[ConductanceFilter, Observation, np.ndarray]:
    """Cells of 10 and 8 uS, with read noise of a tenth, shown for e seconds; reads take half a second."""
    cell = cells(model=drifting(read_noise=0.1, t_read=0.5), age=E**2, drive=0.5, **settings)
    cell._region.step = 3.0  # type: ignore[misc]
    cell.g[:, :, 0] = [[10.0, 8.0], [0.0, 2.0]]
    effect = np.array([[0.9, 1.1], [0.8, 0.7]])[:, :, None]
    return cell, Observation(np.zeros((2, 1)), power=4.0, begin=0.0, duration=E), effect


OWN = np.array([0.9**2, 0.88**2 + 0.14**2])
"""Slow read noise of the two cells, uS^2 per unit of log time."""
READ = OWN + OWN.sum() * 0.5**2 / 4.0
"""And the fast one of the column: one unit of log time each."""
CONVERTERS = 2 * 3.0**2 / 12 / 4.0
"""Rounding, and as much noise again."""


def test_a_measurement_is_as_noisy_as_converters_and_reads_are() -> None:
    """What it has of its own and what lasts are together the noise of devices of the target age, as before any look."""
    cell, shown, effect = noisy()
    noise, flicker = cell._noise, cell._statistics.flicker(cell.g, effect)

    def both() -> np.ndarray:
        return (noise.fresh(shown, 3.0, flicker) + noise.lasting(shown, flicker))[:, 0]

    assert both() == pytest.approx(CONVERTERS + READ, rel=1e-3)
    noise._scale.converters, noise._scale.read = 3.0, 2.0
    assert both() == pytest.approx(3 * CONVERTERS + 2 * READ, rel=1e-3)


def test_noise_that_turns_out_larger_makes_what_was_learnt_before_less_certain() -> None:
    cell, shown, effect = noisy()
    told = []

    class Scale:
        converters, read = 2.0, 1.5

        def learn(self, *arrays: np.ndarray) -> None:
            told.extend(array.copy() for array in arrays)
            self.converters, self.read = 5.0, 3.5

    noise, flicker = cell._noise, cell._statistics.flicker(cell.g, effect)
    own = noise.fresh(shown, 3.0, flicker)[:, 0] - CONVERTERS
    noise._scale = Scale()  # type: ignore[assignment]
    cell.variance[:, 0], observed = [0.3, 0.4], np.array([[1.0], [2.0]])
    calm = np.array([[True], [False]])
    more = noise.learn(shown, 3.0, flicker, (observed, cell.variance, calm))[:, 0]
    assert more == pytest.approx(3 * CONVERTERS + 2 * own, rel=1e-3)
    assert noise.fresh(shown, 3.0, flicker)[:, 0] == pytest.approx(5 * CONVERTERS + 3.5 * own, rel=1e-3)
    off, known, converters, read, rested = told
    assert (off.tolist(), rested.tolist()) == (observed.tolist(), calm.tolist())
    assert known[:, 0].tolist() == [0.3, 0.4]
    assert converters[:, 0] == pytest.approx([CONVERTERS, CONVERTERS])
    assert read[:, 0] == pytest.approx(own, rel=1e-3)


def test_only_what_was_taken_in_before_and_not_pulsed_since_becomes_less_certain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cell, shown, effect = noisy()
    monkeypatch.setattr(cell._noise, "learn", lambda *told: np.full((2, 1), 8.0))
    taken_in: list[np.ndarray] = []
    monkeypatch.setattr(cell, "_take_in", lambda correction, trust, effect: taken_in.append(cell.variance.copy()))
    for trust in (None, np.array([[0.5], [0.25]])):
        cell._fresh[:] = False
        cell._fresh[1, 1, 0] = True
        cell.variance[:, 0], cell._trust = [0.3, 0.4], trust
        cell._update(np.zeros((2, 1)), effect, shown)
    assert taken_in[0][:, 0] == pytest.approx([0.3, 0.4])  # nothing was taken in before
    # The first was taken in with a trust of a half; the other one has been pulsed since, and is known by its pulse.
    assert taken_in[1][:, 0] == pytest.approx([0.3 + 0.5**2 * 8.0, 0.4])


def test_a_pulse_takes_its_devices_share_of_the_slow_noise_along() -> None:
    """Devices of 10 and 5 uS with noise of a tenth: four fifths of the noise power are the first one's."""
    cell, _, _ = noisy()
    cell.g[:, 0, 0], effect = [10.0, 5.0], np.ones((2, 2, 1))
    cell._noise.slow.seen[:] = 3.0
    cell._forget_noise((np.array([0]), np.array([0]), np.array([0])), effect)
    assert cell._noise.slow.seen[:, 0] == pytest.approx([3.0 * 0.2, 3.0], rel=1e-2)


# ---- corrections -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("error", "pulses"), [(4.37, 1), (4.35, 0)])
def test_errors_and_noise_count_as_outputs_show_them(error: float, pulses: int) -> None:
    """A cell that shows threefold: 1 uS^2 of a pulse and 1 of an unknown share are 18 uS^2, and 1 more is asked."""
    cell = cells(rows=1, model=device_model(noise=1.0), min_gain=5.0)
    cell._sensitivity = np.full((1, 1), 3.0)
    cell.g[:, 0, 0] = [(10.0 + error) / 3, 0.0]
    assert cell.correct(remaining=0.0) == pulses
    assert cell._error[0, 0] == pytest.approx(0.0 if pulses else error)
    if pulses:
        assert list(aims(cell._region, cell._model).values()) == [pytest.approx(10.0 / 3)]  # type: ignore[arg-type]
        assert cell.variance[0, 0] == pytest.approx(2.0 + 18.0)


@pytest.mark.parametrize(("variance", "pulses"), [(1.99, 1), (2.01, 0)])
def test_quiet_counts_as_outputs_show_it(variance: float, pulses: int) -> None:
    """From 12 to 10 / 3 uS with a read noise of a tenth, in a cell that shows threefold, which makes it quieter."""
    model = device_model(noise=variance**0.5, read_noise=0.1)
    quieter = 9 * 0.01 * (5.6**2 - (10 / 3) ** 2)
    least = 6.8**2 + quieter - 18 * 2.0
    cell = cells(rows=1, model=model, age=2 * E - 1, min_gain=least**0.5 / 20.0 * 100)
    cell._sensitivity = np.full((1, 1), 3.0)
    cell.g[:, 0, 0] = [5.6, 0.0]
    assert cell.correct(remaining=0.0) == pulses


@pytest.mark.parametrize(("noise", "pulses"), [(5.4, 1), (5.6, 0)])
def test_every_pulse_that_is_considered_pays_for_its_noise(noise: float, pulses: int) -> None:
    """An error of 20 uS^2, of which twice the noise and 9 uS^2 must be won."""
    cell = cells(rows=1, model=device_model(noise=noise**0.5), min_gain=15.0)
    cell.g[0, 0, 0] = 10.0 + 20.0**0.5
    assert cell.correct(remaining=0.0) == pulses


def test_targets_hold_at_an_age_after_the_last_measurement() -> None:
    """At 10 s, with 30 s until the last measurement, and targets that hold 100 s after that."""
    cell = cells(model=drifting(nu=0.1, noise=0.1), age=100.0)
    cell._region.clock, cell.g[0] = 10.0, 10.0 * 140.0**0.1  # type: ignore[attr-defined]
    assert cell.correct(remaining=30.0) == 0
    assert cell._error == pytest.approx(np.zeros((2, 1)), abs=1e-9)
    assert cell.correct(remaining=3000.0) > 0


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_what_a_device_cannot_reach_stays_an_error(sign: float) -> None:
    """Devices are sent to 1.05 times their capacity at most: 9 uS are missing at 30."""
    region = ScriptedRegion()
    cell = filter_of(region, sign * 30.0, device_model(noise=0.1), max_pulses_per_device=2)
    cell.program_open_loop()
    cell.g[:, 0, 0] = [18.0, 0.0] if sign > 0 else [0.0, 18.0]
    assert cell.correct(remaining=0.0) == 1
    assert cell._error[0, 0] == pytest.approx(-9.0 * sign)
    assert cell.g[:, 0, 0] == pytest.approx([21.0, 0.0] if sign > 0 else [0.0, 21.0])
    assert cell.unconverged[0, 0]


def test_a_question_counts_as_what_it_does_to_its_cell() -> None:
    """The second device of a cell that shows double is sent from 1 to 6 uS, to see whether it answers."""
    cell = cells(rows=2, model=device_model(noise=1.0), max_pulses_per_device=9)
    search, at = searched(cell), (np.array([1]), np.array([1]), np.array([0]))
    search.asked = (at, np.array([6.0]))
    cell._sensitivity = np.array([[1.0], [2.0]])
    cell.g[:, :, 0] = [[10.0, 6.0], [0.0, 1.0]]
    cell.variance[:, 0], cell._device_variance[1, 1, 0] = [2.0, 3.0], 0.25
    assert cell.correct(remaining=0.0, rounds=20) == 1
    asked, aim, drawn = search.told["sent"]
    assert [axis.tolist() for axis in asked] == [[1], [1], [0]]
    assert aim.tolist() == [6.0]
    assert drawn == pytest.approx([1.0])
    assert aims(cell._region, cell._model) == {3: pytest.approx(6.0)}  # type: ignore[arg-type]
    assert cell.g[:, 1, 0].tolist() == [6.0, 6.0]
    assert cell._error[1, 0] == pytest.approx(2 * (6.0 - 1.0) - 10.0 - 2 * (6.0 - 1.0))
    assert cell.variance[:, 0] == pytest.approx([2.0, 3.0 + 4 * 0.25 + 4 * 1.0])
    assert cell._added[1, 0] == pytest.approx(5.0)
    assert not cell._plain.any()  # it was to correct nothing


def test_a_cell_in_question_is_not_corrected_as_well() -> None:
    cell = cells(rows=2, model=device_model(noise=0.1))
    search = searched(cell)
    search.asked = ((np.array([0]), np.array([1]), np.array([0])), np.array([6.0]))
    cell.g[0, :, 0] = 5.0
    assert cell.correct(remaining=0.0, rounds=20) == 2
    assert sorted(aims(cell._region, cell._model)) == [0, 1]  # type: ignore[arg-type]
    assert cell._plain[:, :, 0].tolist() == [[True, False], [False, False]]


def test_what_a_pulse_costs_is_that_of_its_own_device_and_cell() -> None:
    cell = cells(rows=2, columns=3, model=drifting(spread=0.1, noise=0.5), age=50.0, min_gain=5.0)
    rng = np.random.default_rng(4)
    aim, effect, own = (rng.uniform(low, high, (2, 2, 3)) for low, high in ((5, 15), (0.8, 1.2), (0.1, 2)))
    cell._device_variance, cell._unresolved = own, rng.uniform(0.1, 2.0, (2, 3))
    cell._spent = rng.integers(1, 9, (2, 2, 3)).astype(np.int32)
    at = np.array([1, 4, 9, 11])
    for remaining, rounds in ((30.0, 5), (0.0, 0)):
        noise, lost = cell._noise_of_pulses(at, aim, effect, remaining, rounds)
        for n, device in enumerate(at):
            shows, where = effect.flat[device] ** 2, device % 6
            assert noise[n] == pytest.approx(0.25 * shows)
            drift = 0.1 * aim.flat[device] * np.log((remaining + 50.0) / max(remaining, 0.5))
            redraws = np.array([min(rounds, 7 - cell._spent.flat[device])])
            drawn = np.array([(0.25 + own.flat[device]) * shows])
            seen_with = np.array([cell._unresolved.flat[where] / (rounds + 1)])
            cost = cost_of_pulse(RedrawTable(10), redraws, drawn, seen_with, 1.0)[0]
            assert lost[n] == pytest.approx(drift**2 * shows + cost, rel=1e-6)


# ---- what the search is told, and tells --------------------------------------------------------------------------


def judged(trust: np.ndarray | None) -> tuple[ConductanceFilter, Search, np.ndarray]:
    cell = cells(rows=2)
    search = searched(cell)
    cell._sensitivity, cell._trust = np.array([[2.0], [0.5]]), trust
    cell._unresolved, cell.variance = np.array([[0.8], [0.1]]), np.array([[1.2], [0.3]])
    search.examined[1, 0] = True
    effect = np.array([[1.8, 0.4], [1.6, 0.45]])[:, :, None]
    return cell, search, cell._judge_answers(np.array([[3.0], [4.0]]), effect, 5.0)


@pytest.mark.parametrize("trust", [None, np.full((2, 1), 0.5)])
def test_the_search_is_told_what_cells_hold_and_not_what_they_show(trust: np.ndarray | None) -> None:
    cell, search, rest = judged(trust)
    (look,) = search.told["hear"]
    noise = [0.8 / 4 + 0.6**2, 0.1 / 0.25 + 0.6**2]  # never known better than 3 % of 20 uS
    assert look.off[:, 0] == pytest.approx([1.5, 8.0])
    assert look.noise[:, 0] == pytest.approx(noise)
    assert look.effect[:, :, 0] == pytest.approx(np.array([[0.9, 0.8], [0.8, 0.9]]))
    assert look.g is cell.g
    assert rest[:, 0].tolist() == [3.0, 0.0]  # what is examined is the search's business
    if trust is None:
        assert search.told["first_look"] == (look, cell._may_ask)
        assert "suspect" not in search.told
    else:
        told, variance, may_ask, fresh = search.told["suspect"]
        assert (told, may_ask, fresh) == (look, cell._may_ask, cell._fresh)
        assert variance[:, 0] == pytest.approx([1.2 / 4 + noise[0], 0.3 / 0.25 + noise[1]])
        assert "first_look" not in search.told


def test_pulses_are_weighed_by_what_the_device_would_show_had_it_stayed() -> None:
    cell = cells(rows=3, model=drifting(nu=0.1))
    search = searched(cell)
    cell._plain[:] = True
    search.stuck[0, 1, 0], search.examined[2, 0] = True, True
    cell._before[:, :, 0], cell._born_before[:, :, 0] = [[4.0, 5.0, 6.0], [1.0, 2.0, 3.0]], [[2.0] * 3, [7.0] * 3]
    cell._sensitivity = np.array([[2.0], [0.5], [1.0]])
    cell._added[:, 0] = [0.8, 0.1, 0.0]
    look = SimpleNamespace(
        off=np.array([[0.5], [0.7], [0.9]]),
        noise=np.array([[0.05], [0.3], [0.1]]),
        g=np.array([[10.0, 11.0, 12.0], [3.0, 2.0, 1.0]])[:, :, None],
        effect=np.array([[0.9, 0.8, 0.7], [0.6, 0.5, 0.4]])[:, :, None],
    )
    cell._weigh_pulses(look, np.array([[1.0], [0.6], [0.2]]), begin=12.0)  # type: ignore[arg-type]
    at, off, meant, calm, variance = search.told["weigh_pulses"]
    assert list(zip(*(axis.tolist() for axis in at), strict=True)) == [(0, 0, 0), (1, 0, 0), (1, 1, 0)]
    assert off.tolist() == [0.5, 0.5, 0.7]
    older, younger = 10.0**-0.1, 5.0**-0.1
    assert meant == pytest.approx([9.0 - 4.0 * older, 1.8 - 1.0 * younger, 1.0 - 2.0 * younger])
    assert calm == pytest.approx([1.0 - 0.2, 1.0 - 0.2, 0.3])  # 0.6 - 0.4 is less than a measurement is known
    assert variance.tolist() == [1.0, 1.0, 0.6]


def test_what_the_search_believes_is_taken_over() -> None:
    cell = cells(rows=2, columns=2)
    search = searched(cell)
    cell._sensitivity = np.array([[1.0, 2.0], [3.0, 0.5]])
    believed = np.array([[7.0, 3.0], [-0.2, 1.0]]), np.array([[0.1, 0.2], [0.3, 0.4]]), np.array([0.5, 0.6])
    search.believed = ((np.array([0, 1]), np.array([1, 0])), *believed)
    before = cell.g.copy()
    effect = np.full((2, 2, 2), 1.5)
    cell._believe_examined(effect)
    assert search.told["beliefs"][0] == pytest.approx(effect / cell._sensitivity)
    assert cell.g[:, 0, 1].tolist() == [7.0, 0.0]
    assert cell.g[:, 1, 0].tolist() == [3.0, 1.0]
    assert cell._device_variance[:, 1, 0].tolist() == [0.2, 0.4]
    assert (cell.variance[0, 1], cell.variance[1, 0]) == pytest.approx((4 * 0.5, 9 * 0.6))
    assert np.array_equal(cell.g[:, [0, 1], [0, 1]], before[:, [0, 1], [0, 1]])


# ---- gains -------------------------------------------------------------------------------------------------------


def test_the_mean_gain_is_what_devices_can_hold_times_what_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    region, model = ScriptedRegion(rows=4, columns=2), drifting(nu=0.1)
    known = without(model, region.shape, (1, 0, 3, 1), 0.0)
    known.height_sigma[:] = 0.03
    target = np.array([[10.0, 8.0], [0.0, 8.0], [-10.0, 8.0], [10.0, 8.0]])
    cell = filter_of(region, target, model, age=100.0, known=known, mean_gain=1.2)
    told: list[object] = []
    monkeypatch.setattr(conductance_filter, "reachable_gain", lambda *what: told.extend(what) or 1.1)
    sensitivity = np.array([[0.9, 1.1]] * 4)
    aged = 100.0**-0.1
    assert cell._first_mean_gain(sensitivity) == pytest.approx(1.1 * aged * (0.9 + 1.1) / 2)
    wanted, reach, sigma, most = told
    assert np.array_equal(wanted, target)  # type: ignore[arg-type]
    # Of the device on the target's side; nothing is asked of a cell without one.
    assert reach == pytest.approx(21.0 * aged * np.array([[1, 1], [0, 1], [1, 1], [1, 1]]))
    assert (sigma, most) == (pytest.approx(0.03 * 20.0), 1.2)
    cell._loaded[0] = False
    assert cell._first_mean_gain(sensitivity) == pytest.approx(1.1 * aged * 1.1)
    cell._loaded[1] = False
    assert cell._first_mean_gain(sensitivity) == 1.0


def test_columns_keep_their_gains_and_their_mean() -> None:
    cell = cells(rows=4, columns=3)
    cell._mean_gain, cell._loaded = 0.9, np.array([True, True, False])
    weights = np.full((4, 3), 10.0) * [1.0, 2.0, 5.0]
    assert cell._column_gain(weights) == pytest.approx([0.6, 1.2, 3.0])
    cell._loaded[:] = False
    assert cell._column_gain(weights) == pytest.approx([1.0, 1.0, 1.0])


def test_full_cells_hold_the_gain_of_a_column_where_that_of_all_is() -> None:
    """Four cells of 10 uS beside two full ones of 20: a third of the way from what the sensitivities say."""
    cell = cells(rows=4, columns=2, anchor=2.0)
    cell._sensitivity = np.tile([1.0, 1.5], (4, 1))
    weights = np.full((4, 2), 10.0) * [1.0, 2.0]  # a mean of 1.5: by the sensitivities 1.2 and 1.8
    cell._mean_gain = 1.5
    assert cell._column_gain(weights) == pytest.approx([1.2 - 0.2 / 3, 1.8 + 0.2 / 3])
