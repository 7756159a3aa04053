"""What follows from a common error of the currents: another pass, a warning, or the refusal of a calibration."""

from __future__ import annotations

import warnings
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import hwloop
from hwloop.calibration.column_fit import calibrate_columns
from hwloop.calibration.evaluation import measure_outputs
from hwloop.calibration.programming.base import Method
from hwloop.calibration.programming.current_error import CurrentError
from hwloop.calibration.programming.currents import Currents, pilot_rows
from hwloop.calibration.programming.filter_settings import Observation
from hwloop.calibration.programming.gdp import GDP
from hwloop.calibration.programming.program_verify import ProgramVerify
from hwloop.calibration.steps import run
from hwloop.chip.cell_calibration import CellCalibration, Devices
from hwloop.chip.region import Place, Region
from hwloop.errors import BadInputError, ProgrammingWarning
from hwloop.mapping.partition import map_weights
from tests.conftest import OpenChip, gaussian

SHOWN = Observation(np.zeros((1, 1)), 1.0, 0.0, 1.0)


class Filter:
    """A filter that finds one error after the other, and notes what it is told to believe."""

    def __init__(self, *errors: CurrentError | None) -> None:
        self.errors, self.believed = list(errors), list[float]()

    def current_error(self, shown: Observation, settings: object) -> CurrentError | None:
        return self.errors.pop(0)

    def assume_currents(self, error: float) -> None:
        self.believed.append(error)


def error(value: float, sigma: float = 1e-4, evidence: float = 1e4) -> CurrentError:
    return CurrentError(value, sigma, 1.0, evidence)


def currents(passes: int, calibrated: bool = False) -> Currents:
    devices = object() if calibrated else None
    return Currents(SimpleNamespace(calibration=SimpleNamespace(devices=devices)), passes)


@pytest.mark.parametrize("found", [None, error(0.01), error(0.2, sigma=0.05), error(0.2, evidence=20.0)])
def test_nothing_certain_and_large_is_believed_and_the_question_is_settled(found: CurrentError | None) -> None:
    cells, asked = Filter(found), currents(3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not asked.wrong(cells, SHOWN)
        assert not asked.wrong(cells, SHOWN)  # without looking again
    assert cells.believed == []


@pytest.mark.parametrize(("first", "told"), [(0.1, r"10\.1 % more"), (-0.1, r"9\.9 % less")])
def test_a_large_error_has_the_pass_repeated_until_nothing_is_left(first: float, told: str) -> None:
    cells, asked = Filter(error(first), error(0.001)), currents(3)
    assert asked.wrong(cells, SHOWN)
    assert cells.believed == [first]
    # A rest of 0.1 % would be too small to begin with; once currents are known to be off, it counts.
    with pytest.warns(ProgrammingWarning, match=f"devices need {told} current than their model says") as warned:
        assert not asked.wrong(cells, SHOWN)
    assert warned[0].filename == __file__  # of whoever asked
    assert cells.believed == [first, 0.001]


def test_an_error_below_three_per_cent_is_corrected_without_another_pass() -> None:
    cells = Filter(error(0.029))
    with pytest.warns(ProgrammingWarning, match=r"2\.9 % more"):
        assert not currents(3).wrong(cells, SHOWN)
    assert cells.believed == [0.029]
    assert currents(3).wrong(Filter(error(0.031)), SHOWN)


def test_passes_end() -> None:
    cells, asked = Filter(error(0.3), error(0.2), error(0.1)), currents(2)
    assert [asked.wrong(cells, SHOWN) for _ in range(2)] == [True, True]
    with pytest.warns(ProgrammingWarning, match=r"71\.6 % more"):  # 1.3 * 1.2 * 1.1
        assert not asked.wrong(cells, SHOWN)
    assert cells.believed == [0.3, 0.2, 0.1]


@pytest.mark.parametrize("value", [0.051, -0.051])
def test_a_calibration_that_is_far_off_is_refused(value: float) -> None:
    cells = Filter(error(value))
    with pytest.raises(
        BadInputError, match=rf"contradicts the chip: devices need 5\.1 % {'more' if value > 0 else 'les'}"
    ):
        currents(3, calibrated=True).wrong(cells, SHOWN)
    assert cells.believed == []
    assert currents(3, calibrated=True).wrong(Filter(error(0.049)), SHOWN)


@pytest.mark.parametrize(("value", "told"), [(0.06, "6.0 % more"), (-0.07, "7.0 % less"), (0.3, "30.0 % more")])
def test_a_few_cells_are_enough_to_refuse_a_calibration(value: float, told: str) -> None:
    cells = Filter(error(value))
    with pytest.raises(BadInputError, match=f"devices need {told} current than their measured curves say"):
        currents(3, calibrated=True).refuse_calibration(cells, SHOWN)
    assert cells.believed == []


@pytest.mark.parametrize("found", [None, error(0.04), error(-0.04), error(0.3, sigma=0.06), error(0.3, evidence=20.0)])
def test_a_few_cells_refuse_no_calibration_without_good_evidence(found: CurrentError | None) -> None:
    currents(3, calibrated=True).refuse_calibration(Filter(found), SHOWN)
    currents(3).refuse_calibration(Filter(error(0.3)), SHOWN)  # nor where nothing was calibrated


def place_of(rows: int, columns: int, calibrated: bool = True) -> SimpleNamespace:
    calibration = SimpleNamespace(devices=object() if calibrated else None)
    return SimpleNamespace(place=Place(0, 0, 0, rows, columns), calibration=calibration)


@pytest.mark.parametrize(
    ("cells", "rows"),
    [(1, [0]), (4, [0]), (5, [0, 9]), (8, [0, 9]), (9, [0, 4, 9]), (10, [0, 4, 9]), (11, None), (0, None), (-3, None)],
)
def test_rows_are_tried_evenly_up_to_a_quarter_of_the_cells(cells: int, rows: list[int] | None) -> None:
    chosen = pilot_rows(place_of(10, 4), cells)
    assert (None if chosen is None else np.flatnonzero(chosen).tolist()) == rows
    assert chosen is None or chosen.shape == (10, 1)
    assert pilot_rows(place_of(10, 4, calibrated=False), cells) is None


@pytest.mark.parametrize("method", [GDP(), ProgramVerify()])
@pytest.mark.parametrize("error", [0.1, -0.1])
def test_a_calibration_that_the_chip_contradicts_costs_few_pulses(
    open_chip: OpenChip, method: Method, error: float
) -> None:
    """A quarter of the cells is pulsed, and the calibration found to be of a chip with other currents."""
    chip = open_chip(f"sim:pcm-90nm?seed=5&rows=64&columns=64&current_error={error}")
    tile = map_weights(hwloop.matrices({"w": gaussian(64, 64)}), chip.info)[0]
    known = Devices.nominal(chip.info.device_model, chip.info.device_shape)
    region = Region(chip, tile.place, tile.full_scale, CellCalibration(devices=known))
    with pytest.raises(BadInputError, match=r"calibration .* need .*(current|higher|lower)"):
        run(method.steps(region, tile, 20.0, np.random.default_rng(0)), chip)
    assert 0 < chip.counts.pulses <= chip.info.devices_per_core / 4


@pytest.mark.parametrize("method", [GDP(), ProgramVerify()])
def test_a_true_calibration_is_tried_out_at_no_cost_in_pulses(open_chip: OpenChip, method: Method) -> None:
    spent, left = {}, {}
    for cells in (0, 1024):
        chip = open_chip("sim:pcm-90nm?seed=6&rows=64&columns=64")
        tile = map_weights(hwloop.matrices({"w": gaussian(64, 64)}), chip.info)[0]
        known = Devices.nominal(chip.info.device_model, chip.info.device_shape)
        region = Region(chip, tile.place, tile.full_scale, CellCalibration(devices=known))
        done: list[int] = []
        work = replace(method, pilot_cells=cells).steps(region, tile, 20.0, np.random.default_rng(0))
        run(work, chip, lambda _, step, done=done: done.append(step.done))
        assert done == list(range(len(done)))
        chip.wait(20.0)
        columns = calibrate_columns(region, tile.weights, np.random.default_rng(1), 1024)
        left[cells] = measure_outputs(region, tile.weights, columns, np.random.default_rng(2), 1024).mvm_error
        spent[cells] = chip.counts.pulses
    assert spent[1024] < 1.03 * spent[0]
    assert left[1024] < 1.05 * left[0]
