"""The measurements of a file as a list that can be drawn and looked at as a table."""

from __future__ import annotations

import numpy as np
import pytest

from hwloop.errors import BadInputError
from hwloop.files.measurements import Mark, Measurement
from hwloop.jobs.measurements import Measurements

AGES = [1.0, 10.0, 100.0]


@pytest.fixture
def both() -> Measurements:
    """Two cells that drift, one of them stuck, and three that were programmed."""
    drift = Measurement.of("drift", AGES, [[5.0, 8.0], [4.0, 8.0], [3.0, 8.0]])
    drift.cells.mark[1] = Mark.STUCK_SET
    return Measurements([drift, Measurement.of("programming", [1.0], [[2.0, 3.0, 4.0]], target=[2.5, 3.0, 4.0])])


def test_a_kind_is_found_by_its_name(both: Measurements) -> None:
    assert both.of("drift") is both[0]
    with pytest.raises(BadInputError, match="no measurement of read-noise; the file has drift, programming"):
        both.of("read-noise")


def test_the_last_or_a_named_experiment_is_drawn(both: Measurements) -> None:
    assert both.plot().get_title() == "Programming error"
    line = both.plot(experiment="drift").lines[0]
    assert line.get_ydata().tolist() == [5.0, 4.0, 3.0]
    with pytest.raises(BadInputError, match="there is no measurement to draw"):
        Measurements().plot()


def test_a_table_has_a_row_for_each_read_with_its_cell(both: Measurements) -> None:
    table = both.to_dataframe()
    assert len(table) == 9
    stuck = table[table["mark"] == "stuck_set"]
    assert stuck["conductance"].tolist() == [8.0] * 3
    assert stuck["time"].tolist() == AGES
    programmed = table[table["experiment"] == "programming"]
    assert np.allclose(programmed["target"], [2.5, 3.0, 4.0])


def test_it_says_in_a_line_what_it_holds(both: Measurements) -> None:
    assert (
        repr(both)
        == "<Measurements: Measurement of drift: 2 cells, 6 reads, Measurement of programming: 3 cells, 3 reads>"
    )
    assert both._repr_html_().count("<tr>") == 3
