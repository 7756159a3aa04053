"""What is refused before anything is fitted, and where ages and conductances are stated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hwloop.calibration.fitting.checks import (
    check_order,
    check_reads,
    conductance_scale,
    reference_age,
    rows_of,
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
