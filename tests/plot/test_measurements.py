"""Figures of measurements: quantiles, groups and noise are those of the reads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hwloop.errors import BadInputError
from hwloop.files.measurements import Mark, Measurement
from hwloop.plot.measurements import (
    _ranges,
    conductance_against_age,
    conductance_against_pulse,
    main_figure,
    programming_error,
    read_noise_by_conductance,
    traces,
)

AGES = np.array([1.0, 10.0, 100.0, 1000.0])
RNG = np.random.default_rng(0)
START = np.sort(RNG.uniform(1.0, 20.0, 60))


def drift() -> Measurement:
    """60 cells that lose a tenth in each decade."""
    return Measurement.of("drift", AGES, START * AGES[:, None] ** np.log10(0.9))


@given(arrays(np.int64, st.integers(1, 60), elements=st.integers(0, 4)))
def test_quantiles_at_each_place_are_numpys(at: np.ndarray) -> None:
    values = np.sin(np.arange(at.size) * 1.7)
    places, ranges = _ranges(at, values)
    assert places.tolist() == sorted(set(at.tolist()))
    expected = [np.quantile(values[at == place], [0.05, 0.5, 0.95]) for place in places]
    assert np.allclose(ranges.T, expected)


def test_groups_fall_as_their_cells_do() -> None:
    axes = conductance_against_age(drift(), groups=3)
    assert axes.get_xscale() == "log"
    assert len(axes.lines) == len(axes.collections) == 3
    for line in axes.lines:
        assert line.get_xdata().tolist() == AGES.tolist()
        assert line.get_ydata() / line.get_ydata()[0] == pytest.approx(0.9 ** np.arange(4))


def test_ages_that_do_not_repeat_are_brought_together() -> None:
    ages = np.geomspace(1, 1e4, 300)
    axes = conductance_against_age(Measurement.of("drift", ages, np.full((300, 8), 5.0)))
    assert len(axes.lines[0].get_xdata()) == 40
    assert set(axes.lines[0].get_ydata()) == {5.0}


def test_a_trace_is_one_cell_alone() -> None:
    (line,) = traces(drift(), cells=5).lines
    pieces = np.isnan(line.get_ydata()).sum() + 1
    assert pieces == 5
    first = line.get_ydata()[[0, 5, 10, 15, 20]]
    assert set(np.round(first, 9)) <= set(np.round(START, 9))
    assert (first.min(), first.max()) == (pytest.approx(START.min()), pytest.approx(START.max()))


def test_read_noise_is_the_standard_deviation_of_each_cells_reads() -> None:
    reads = 10.0 + RNG.standard_normal((50, 30)) * np.linspace(0.1, 1.0, 30)
    axes = read_noise_by_conductance(Measurement.of("read-noise", np.arange(50.0) + 1, reads))
    cells = axes.lines[0]
    assert cells.get_xdata() == pytest.approx(reads.mean(0))
    assert cells.get_ydata() == pytest.approx(reads.std(0, ddof=1))


def test_programming_errors_are_first_reads_less_targets() -> None:
    target = np.linspace(2.0, 20.0, 100)
    measurement = Measurement.of("programming", [1.0, 60.0], np.array([target + 0.5, target - 3.0]), target)
    bars = programming_error(measurement).containers[0]
    assert bars[0].get_ydata() == pytest.approx(0.5)


def test_programming_errors_are_those_of_the_age_at_which_targets_hold() -> None:
    target = np.linspace(2.0, 20.0, 100)
    reads = np.array([target + 0.5, target - 0.1, target - 3.0])
    stated = Measurement.of("programming", [1.0, 60.0, 3600.0], reads, target, attributes={"target_age": 100.0})
    axes = programming_error(stated)
    assert axes.containers[0][0].get_ydata() == pytest.approx(-0.1)
    assert axes.get_ylabel() == "re-read nearest to 100s - target, uS"


def test_bad_cells_are_left_out() -> None:
    measurement = drift()
    measurement.cells.mark[:] = Mark.STUCK_SET
    for draw in (conductance_against_age, traces, read_noise_by_conductance, programming_error):
        with pytest.raises(BadInputError, match="this drift measurement has no reads of good cells"):
            draw(measurement)


def test_what_a_measurement_lacks_is_named() -> None:
    with pytest.raises(BadInputError, match="no cell had a target"):
        programming_error(drift())
    with pytest.raises(BadInputError, match="these reads have no pulses before them"):
        conductance_against_pulse(drift())
    with pytest.raises(BadInputError, match="no cell was read twice"):
        read_noise_by_conductance(Measurement.of("drift", [1.0], [[5.0, 6.0]]))


def test_the_main_figure_is_that_of_the_experiment() -> None:
    assert main_figure(drift()).get_title().startswith("Conductance with age")
    assert main_figure(Measurement.of("read-noise", AGES, START + np.zeros((4, 1)))).get_title() == "Read noise"
