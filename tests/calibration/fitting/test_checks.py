"""What is refused before anything is fitted, and where ages and conductances are stated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hwloop.calibration.fitting.checks import (
    at_one_age,
    check_order,
    check_reads,
    conductance_scale,
    is_bake,
    is_ramp,
    reference_age,
    rows_of,
    some_cells,
    split_last,
    with_reads,
)
from hwloop.errors import BadInputError
from hwloop.files.measurements import Cells, Experiment, Measurement, Reads


def measured(**columns: object) -> Measurement:
    """Two cells, read three times each, one after the other."""
    values = {
        "cell": np.array([0, 1, 0, 1, 0, 1], np.int32),
        "time": np.array([1.0, 1.0, 2.0, 2.0, 4.0, 4.0]),
        "conductance": np.array([5.0, 3.0, 4.9, 2.9, 4.8, 2.8]),
        "temperature": np.full(6, 300.0),
    }
    reads = Reads(**(values | columns))
    return Measurement(Experiment.DRIFT, Cells.at(np.array([70, 71])), reads)


def changed(name: str, at: int, value: float) -> Measurement:
    column = getattr(measured().reads, name).copy()
    column[at] = value
    return measured(**{name: column})


def test_a_good_measurement_passes() -> None:
    check_reads(measured())
    check_order(measured())


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (changed("conductance", 3, np.nan), r"drift: the conductance of read 3 \(cell 71, 1 such read\(s\)\) is not"),
        (changed("time", 2, np.inf), r"the time of read 2 \(cell 70, .* is not a finite number"),
        (changed("time", 0, -1.0), r"the age of read 0 \(cell 70, .* is negative"),
        (measured(conductance=-np.arange(6.0)), "most conductances are negative"),
        (changed("temperature", 5, 305.1), "measured at 300 to 305 K; this family holds at one temperature"),
        (with_reads(measured(), np.zeros(6, bool)), "there are no reads to fit"),
    ],
)
def test_reads_that_cannot_be_fitted_say_why(bad: Measurement, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        check_reads(bad)


@pytest.mark.parametrize(
    "fine",
    [
        changed("temperature", 5, 305.0),
        changed("temperature", 5, np.nan),
        measured(conductance=np.array([-1.0, -1.0, -1.0, 1.0, 1.0, 1.0])),
        changed("time", 0, 0.0),
    ],
)
def test_what_is_just_fine_passes(fine: Measurement) -> None:
    check_reads(fine)


def test_ages_that_run_backwards_are_named_by_cell_and_read() -> None:
    with pytest.raises(BadInputError, match="the times of cell 71 run backwards at read 5"):
        check_order(changed("time", 5, 1.9))
    check_order(changed("time", 5, 2.0))  # twice at one age is fine


def test_cells_that_never_change_are_refused() -> None:
    still = np.array([5.0, 3.0, 5.0, 3.0, 5.0, 3.0])
    with pytest.raises(BadInputError, match="every cell reads the same at all times"):
        check_order(measured(conductance=still))
    still[4] = 5.001
    check_order(measured(conductance=still))
    check_order(with_reads(measured(conductance=still), np.array([True, True, False, False, False, False])))


@pytest.mark.parametrize(
    ("attributes", "ages", "t0"),
    [
        ({"t0": 7.0, "target_age": 9.0}, [1.0, 50.0], 7.0),
        ({"target_age": 9}, [1.0, 50.0], 9.0),
        ({"t0": 0.0}, [1.0, 50.0], 20.0),
        ({"t0": "soon"}, [0.0, 30.0, 50.0], 30.0),
        ({}, [1.0, 5.0], 5.0),
    ],
)
def test_conductances_are_stated_at_the_measurements_own_age_or_near_20_s(
    attributes: dict[str, float], ages: list[float], t0: float
) -> None:
    assert reference_age(replace(measured(), attributes=attributes), np.array(ages)) == t0


@pytest.mark.parametrize(
    ("attributes", "largest", "scale"),
    [
        ({"g_max": 25.0}, 3.0, 25.0),
        ({}, 24.2, 25.0),
        ({}, 2.41, 2.5),
        ({}, 97.1, 98.0),
        ({"g_max": 0.0}, 0.0312, 0.032),
    ],
)
def test_the_scale_is_g_max_or_the_largest_conductance_rounded_up(
    attributes: dict[str, float], largest: float, scale: float
) -> None:
    values = np.full(100, largest)
    assert conductance_scale(replace(measured(), attributes=attributes), values) == pytest.approx(scale)


def test_cells_of_which_none_conducts_have_no_scale() -> None:
    with pytest.raises(BadInputError, match="drift: no cell conducts"):
        conductance_scale(measured(), np.zeros(5))


def test_logarithms_of_ages_are_zero_where_there_is_no_read() -> None:
    rows = rows_of(with_reads(measured(), np.array([True, True, True, False, True, False])))
    assert rows.counts.tolist() == [3, 1]
    assert rows.log_time(2.0) == pytest.approx(np.log(np.array([[0.5, 1.0, 2.0], [0.5, 1.0, 1.0]])))
    assert rows.take(np.array([1])).conductance.tolist() == [[3.0, 0.0, 0.0]]


@pytest.mark.parametrize(
    ("cells", "places"),
    [([0, 0, 2, 2, 2], [0, 1, 2, 3, 4]), ([2, 0, 2, 0, 2], [1, 3, 0, 2, 4])],
    ids=["cell by cell", "age by age"],
)
def test_every_cell_has_its_reads_in_a_row_of_its_own(cells: list[int], places: list[int]) -> None:
    """A row is as long as the most reads of a cell; what is not there is zero."""
    time, conductance, amplitude = np.arange(1.0, 6.0), np.arange(10.0, 15.0), np.arange(20.0, 25.0)
    reads = Reads(np.array(cells, np.int32), time, conductance, np.full(5, 300.0), amplitude=amplitude)
    rows = rows_of(Measurement(Experiment.PROGRAMMING_CURVE, Cells.at(np.arange(3)), reads))
    first, last = places[:2], places[2:]
    assert rows.there.tolist() == [[True, True, False], [False] * 3, [True] * 3]
    for found, values in ((rows.time, time), (rows.conductance, conductance), (rows.amplitude, amplitude)):
        assert found is not None
        assert found.tolist() == [[*values[first], 0.0], [0.0] * 3, list(values[last])]


def test_rows_of_nothing_are_empty() -> None:
    rows = rows_of(with_reads(measured(), np.zeros(6, bool)))
    assert rows.there.shape == rows.time.shape == rows.conductance.shape == (2, 0)
    assert rows.amplitude is None


def test_some_cells_are_numbered_anew_and_keep_their_reads() -> None:
    part = some_cells(measured(), np.array([1]))
    assert part.cells.address.tolist() == [71]
    assert part.reads.cell.tolist() == [0, 0, 0]
    assert part.reads.conductance.tolist() == [3.0, 2.9, 2.8]
    assert part.reads.amplitude is None


def test_the_last_read_of_every_cell_can_be_held_out() -> None:
    rest, last = split_last(with_reads(measured(), np.array([True, True, True, True, True, False])))
    assert last.reads.conductance.tolist() == [2.9, 4.8]
    assert rest.reads.conductance.tolist() == [5.0, 3.0, 4.9]
    assert rest.cells is last.cells


@pytest.mark.parametrize(("other", "bake"), [(305.0, False), (305.1, True), (294.9, True), (295.0, False)])
def test_a_bake_is_at_temperatures_over_5_kelvin_apart(other: float, bake: bool) -> None:
    assert is_bake(changed("temperature", 0, other)) is bake
    assert not is_bake(measured(temperature=np.full(6, np.nan)))


@pytest.mark.parametrize(("met", "ramp"), [(4, False), (5, True)])
def test_a_ramp_has_cells_read_at_over_four_temperatures(met: int, ramp: bool) -> None:
    """Temperatures are told apart in steps of 5 K; a read without one does not count."""
    kelvin = np.repeat(300.0 + 5.0 * np.arange(met), 2)
    count = kelvin.size + 2
    reads = Reads(
        np.arange(count, dtype=np.int32) % 2, np.arange(1.0, count + 1), np.ones(count), np.append(kelvin, [np.nan] * 2)
    )
    made = replace(measured(), reads=reads)
    assert is_ramp(made) is ramp
    assert is_ramp(made, most=met - 1)
    assert not is_ramp(made, most=met)
    assert not is_ramp(measured(temperature=np.full(6, np.nan)))


@pytest.mark.parametrize(("last", "alike"), [(2.0 * np.exp(0.699), True), (2.0 * np.exp(0.701), False)])
def test_ages_are_one_where_their_logarithms_differ_by_less_than_0_7(last: float, alike: bool) -> None:
    """The first read of a cell is no later one, whatever its age."""
    assert at_one_age(replace(measured(), reads=_later(last))) is alike


def _later(last: float) -> Reads:
    """Two cells read first at 1 s and then once, at 2 s and at a last age."""
    time = np.array([1.0, 1.0, 2.0, last])
    return Reads(np.array([0, 1, 0, 1], np.int32), time, np.ones(4), np.full(4, 300.0))


def test_a_single_read_is_a_later_one_only_after_a_verify_read() -> None:
    once = with_reads(measured(time=np.full(6, 3.0)), np.array([True, True, False, False, False, False]))
    assert not at_one_age(once)
    verified = replace(once, cells=replace(once.cells, verify=np.array([5.0, np.nan])))
    assert at_one_age(verified)
    at_zero = replace(verified, reads=replace(verified.reads, time=np.zeros(2)))
    assert not at_one_age(at_zero), "what is read as it is written is no later read"


@pytest.mark.parametrize(("cells", "named"), [([0, 2], "0 to 2"), ([-1, 1], "-1 to 1"), ([-2, 5], "-2 to 5")])
def test_reads_of_cells_that_do_not_exist_are_refused(cells: list[int], named: str) -> None:
    reads = Reads(np.array(cells, np.int32), np.ones(2), np.ones(2), np.ones(2))
    with pytest.raises(BadInputError, match=f"^drift: reads name cells {named}, but there are 2 cells$"):
        replace(measured(), reads=reads)
