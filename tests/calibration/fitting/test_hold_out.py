"""What is held out is predicted from one read of each cell, and scored for each level and time."""

from __future__ import annotations

import numpy as np
import pytest

import hwloop
from hwloop.calibration.fitting.hold_out import parted, score
from hwloop.errors import BadInputError
from tests.calibration.fitting.test_relaxation import AGES, law, measured
from tests.files.test_predictions import fitted_relaxation


@pytest.mark.parametrize(("what", "early"), [(("cells",), AGES.size), (("times",), AGES.size - 1)])
def test_reads_are_parted_by_cell_or_by_age(what: tuple[str, ...], early: int) -> None:
    training, rest, since = parted(measured(200, seed=1), what)
    assert np.unique(training.reads.time).size == early
    seen = set(training.reads.cell.tolist()) & set(rest.reads.cell[rest.reads.time >= since].tolist())
    assert (len(seen) == 0) == ("cells" in what)
    assert since == (1000.0 if "times" in what else 0.0)


def test_the_truth_scores_as_it_should() -> None:
    measurement = measured(1_500, seed=2)
    _, rest, since = parted(measurement, ("cells", "times"))
    found = score(fitted_relaxation(), rest, since)
    assert {row.time for row in found.rows} == {1000.0}
    assert found.pooled.reads == sum(row.reads for row in found.rows)
    first, last = (rest.reads.time == age for age in (0.0, 1000.0))
    density = law().at(1000.0, rest.reads.conductance[first]).density(rest.reads.conductance[last])
    assert found.pooled.log_likelihood == pytest.approx(np.log(density).mean())
    assert found.pooled.covered == pytest.approx(0.9, abs=3 * np.sqrt(0.09 / found.pooled.reads))
    assert found.pooled.ks_distance < 1.95 / np.sqrt(found.pooled.reads)


def test_a_fit_tells_what_was_held_out() -> None:
    model = hwloop.fit(measured(500, seed=3), "relaxation-sublinear", hold_out=("cells", "times"))
    held = model.held_out["drift"]
    assert held.family == "relaxation-sublinear"
    assert 0.8 < held.pooled.covered < 1.0
    assert model.report()["held_out"] == {"drift": held.to_json()}


def test_what_cannot_be_held_out_is_refused() -> None:
    with pytest.raises(BadInputError, match="hold-out 'chips': expected cells, times or temperatures"):
        parted(measured(20, seed=1), ("chips",))
