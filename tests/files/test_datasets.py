"""Runs and measurements as datasets: every size of tile, and every unit."""

from __future__ import annotations

import numpy as np
import pytest

import hwloop
from hwloop.files.datasets import _filled, dataset_of_measurement
from hwloop.files.measurements import Mark, Measurement

pytest.importorskip("xarray")


def test_smaller_tiles_are_filled_up() -> None:
    nan = np.nan
    found = _filled([np.ones((1, 3)), None, np.full((2, 1), 2.0)])
    assert found == pytest.approx(
        np.array([[[1, 1, 1], [nan] * 3], [[nan] * 3] * 2, [[2, nan, nan], [2, nan, nan]]]), nan_ok=True
    )


def test_a_run_of_two_matrices() -> None:
    weights = {"a": np.eye(3, 5), "b": np.ones((4, 2))}
    with hwloop.connect("sim:hermes-core?rows=8&columns=8&cores=2&seed=1") as chip:
        run = hwloop.program(chip, weights, hwloop.GDP(max_steps=2))
    found = run.to_xarray()
    assert found["target"].shape == (2, 5, 4)
    assert found["target"].attrs["units"] == "uS"
    assert found.attrs["method"] == "gdp"
    assert found.attrs["status"] == "complete"
    for number, tile in enumerate(run.record.tiles):
        rows, columns = tile.tile.place.rows, tile.tile.place.columns
        assert found["tensor"].values[number] == tile.tile.tensor
        assert found["core"].values[number] == tile.tile.place.core
        assert np.array_equal(found["target"].values[number, :rows, :columns], tile.tile.target)
        assert np.array_equal(found["pulses_of_cell"].values[number, :rows, :columns], tile.pulses.sum((0, 1)))
        assert found["mvm_error"].values[number] == tile.mvm_error
        assert found["step_mvms"].values[number, -1] == tile.steps.mvms[-1]
    assert np.isnan(found["target"].values).sum() == 2 * 20 - 15 - 8


def test_a_measurement_has_its_marks_and_units() -> None:
    measurement = Measurement.of("drift", [1.0, 10.0], np.array([[5.0, 4.0], [4.5, 3.5]]))
    measurement.cells.mark[1] = Mark.STUCK_SET
    found = dataset_of_measurement(measurement)
    assert found["mark"].values.tolist() == ["good", "stuck_set"]
    assert found["conductance"].values.tolist() == [5.0, 4.0, 4.5, 3.5]
    assert (found["conductance"].attrs["units"], found["time"].attrs["units"]) == ("uS", "s")
    assert found.attrs["experiment"] == "drift"
