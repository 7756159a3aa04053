"""Results as datasets of xarray: axes have names, values have units, and nothing is lost."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import hwloop
from hwloop.errors import BadInputError
from hwloop.files.measurements import Mark, Measurement
from hwloop.files.models import CellCount, Estimate, Fit, Model
from hwloop.jobs.compare import Comparison
from hwloop.jobs.drift_result import Course, DriftResult
from hwloop.jobs.training_study import TrainingStudy
from tests.conftest import gaussian
from tests.jobs.test_train import train

xarray = pytest.importorskip("xarray", reason="xarray is not installed; pip install 'hwloop[xarray]'")
CHIP = "sim:hermes-core?rows=16&columns=16&cores=4&seed=1"


def test_a_run_is_laid_out_by_tile_and_cell() -> None:
    with hwloop.connect(CHIP) as chip:
        run = hwloop.program(chip, {"a": gaussian(6, 20), "b": gaussian(3, 4, seed=1)}, "exact")
    found = run.to_xarray()
    assert dict(found.sizes) | {"step": 0} == {"tile": 3, "row": 16, "column": 6, "step": 0}
    assert found.tensor.values.tolist() == [one.tile.tensor for one in run.tiles]
    last = found.isel(tile=2).target
    rows, columns = run.tiles[2].tile.target.shape
    assert np.array_equal(last[:rows, :columns], run.tiles[2].tile.target)
    assert np.isnan(last[rows:]).all()
    assert np.array_equal(found.mvm_error, [one.mvm_error for one in run.tiles])
    assert found.reached.attrs["units"] == "uS"
    assert all("units" in one.attrs for one in found.data_vars.values())


def test_a_measurement_keeps_every_read_and_cell() -> None:
    one = Measurement.of("drift", [1.0, 10.0], [[5.0, 8.0], [4.0, np.nan]], attributes={"chip": "mine"})
    one.cells.mark[1] = Mark.STUCK_SET
    found = one.to_xarray()
    assert dict(found.sizes) == {"read": 3, "cells": 2}
    assert found.mark.values.tolist() == ["good", "stuck_set"]
    good = found.conductance[found.mark[found.cell] == "good"]
    assert good.values.tolist() == [5.0, 4.0]
    assert found.time.attrs["units"] == "s"
    assert found.attrs == {"experiment": "drift", "chip": "mine"}
    assert len(one.to_dataframe()) == 3


def test_a_drift_study_is_asked_by_compensation_and_age() -> None:
    whole = Course(np.array([0.1, 0.2]), (), np.ones(2), np.ones(2), np.zeros(2), np.zeros(2))
    short = Course(np.array([0.3]), (), *np.ones((4, 1)), accuracy=np.array([[0.9, 0.8, 0.95]]))
    study = DriftResult("", "chip", "interrupted", 0.1, 20.0, 0.2, (1.0, 3600.0), {"none": whole, "column": short})
    found = study.to_xarray()
    assert found.mvm_error.sel(compensation="none", time=3600.0) == 0.2
    assert np.isnan(found.mvm_error.sel(compensation="column", time=3600.0))
    assert found.accuracy_low.sel(compensation="column", time=1.0) == 0.8
    assert np.isnan(found.accuracy.sel(compensation="none")).all()


def test_a_comparison_has_an_error_for_each_repeat() -> None:
    with hwloop.connect(CHIP) as chip:
        runs = [hwloop.program(chip, gaussian(6, 5), "exact", seed=seed) for seed in (1, 2)]
    found = Comparison(CHIP, "w", {"exact": runs, "other": runs[:1]}).to_xarray()
    assert found.mvm_error.sel(methods="exact").values.tolist() == [run.mvm_error for run in runs]
    assert np.isnan(found.mvm_error.sel(methods="other")[1])


def test_trainings_and_their_studies_are_laid_out_by_what_changes(tmp_path) -> None:
    made = train(tmp_path / "t.h5", "sgd")
    for one in (made, hwloop.load(tmp_path / "t.h5")):
        found = one.to_xarray()
        assert found.test_accuracy.values.tolist() == made.test_accuracy
        assert found.loss.attrs["units"] == "nat"
        assert one.to_dataframe()["epoch"].tolist() == found.epoch.values.tolist()
    study = TrainingStudy("states", (1.0, 2.0), np.array([[0.5, 0.6], [0.75, 0.8]]), 0.9, "agad", "chip")
    assert study.to_xarray().test_accuracy.sel(states=2.0).values.tolist() == [0.75, 0.8]
    assert study.to_dataframe()["test_accuracy"].tolist() == [0.5, 0.6, 0.75, 0.8]


def test_a_model_has_its_parameters_by_experiment_and_name() -> None:
    slope = Estimate("mean.slope", -0.0155, -0.017, -0.014, "1", "slope of the mean of nu")
    scale = Estimate("q.scale", 0.0088, None, None, "uS", "read noise at full scale", "every cell reads alike")
    about = (CellCount(10, 9), (0.1, 25.0), (20.0, 3600.0), -1.0, 0.01)
    fits = {
        name: Fit(name, family, (row,), {}, {}, *about)
        for name, family, row in (("drift", "log-clip", slope), ("read-noise", "power-law", scale))
    }
    model = Model(fits, {"chip": "mine"}, {}, "2026-01-01T00:00:00Z", "0.1.0")
    found, table = model.to_xarray(), model.to_dataframe()
    one = found.sel(parameter="drift.mean.slope")
    assert (float(one["value"]), float(one.low), float(one.high)) == (-0.0155, -0.017, -0.014)
    fixed = found.sel(parameter="read-noise.q.scale")
    assert (fixed.unit.item(), fixed.family.item(), fixed.note.item()) == ("uS", "power-law", "every cell reads alike")
    assert np.isnan(fixed.low)
    assert table[["experiment", "parameter", "value"]].values.tolist() == [
        ["drift", "mean.slope", -0.0155],
        ["read-noise", "q.scale", 0.0088],
    ]
    assert found.attrs == {"chip": "mine"}


def test_without_xarray_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(BadInputError, match=r"datasets need xarray, .* pip install 'hwloop\[xarray\]'"):
        Measurement.of("drift", [1.0], [[5.0]]).to_xarray()
