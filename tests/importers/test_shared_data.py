"""Measurements of real chips import with the commands that docs/measuring.md gives."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from hwloop.files.measurements import Experiment
from tests.importers.conftest import Import

FOLDER = Path(os.environ.get("HWLOOP_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the folder of real measurements is not there")


def table(name: str) -> np.ndarray:
    with gzip.open(FOLDER / name, "rt") as lines:
        return np.loadtxt(lines, delimiter="\t", ndmin=2)


def test_relaxation(imported: Import) -> None:
    found, report = imported(
        FOLDER / "rram_techB_relaxation.tsv.gz",
        "cell,time[s],resistance[ohm],conductance[S],,level,nominal_time[s]",
    )
    raw = table("rram_techB_relaxation.tsv.gz")
    assert report.rows == report.reads == len(raw) == 103_705
    np.testing.assert_allclose(found.reads.conductance, 1e6 * raw[:, 3], rtol=1e-12)
    np.testing.assert_array_equal(found.reads.time, raw[:, 1])
    np.testing.assert_array_equal(found.reads.nominal, raw[:, 6])
    np.testing.assert_array_equal(found.cells.address[found.reads.cell], raw[:, 0])
    np.testing.assert_array_equal(found.cells.level[found.reads.cell], raw[:, 5])


def test_bake(imported: Import) -> None:
    columns = "cell,time[s],resistance[ohm],conductance[S],temperature[degC]"
    found, report = imported(FOLDER / "rram_techA_bake.tsv.gz", columns, split_by="temperature")
    assert report.reads == 163_840
    assert len(found.cells) == 5 * 16_384
    assert sorted(set(np.round(found.reads.temperature - 273.15, 6).tolist())) == [100, 140, 180, 220, 260]


def test_timeseries(imported: Import) -> None:
    found, report = imported(
        FOLDER / "rram_techA_timeseries.tsv.gz", "level,time[s],conductance[S]...", sample_rate=400.0
    )
    raw = table("rram_techA_timeseries.tsv.gz")
    assert found.experiment is Experiment.READ_NOISE
    assert report.reads == 300_000
    assert found.cells.level.tolist() == [0, 16, 31]
    np.testing.assert_allclose(found.reads.conductance.reshape(3, -1), 1e6 * raw[:, 2:], rtol=1e-12)
    np.testing.assert_allclose(np.diff(found.reads.time.reshape(3, -1), axis=1), 1 / 400, atol=1e-9)


def test_codes_of_ember(imported: Import) -> None:
    found, report = imported(
        FOLDER / "rram_ember_chip1_retention_1s.csv",
        "cell,time[s],conductance[code],repeat,verify[code],,,nominal_time[s]",
        code_step=2.0,
    )
    raw = np.loadtxt(FOLDER / "rram_ember_chip1_retention_1s.csv", delimiter=",", skiprows=1)
    # A code of zero is a conductance below what the converter shows: no number to fit.
    sound = raw[raw[:, 2] > 0]
    assert report.reads == len(sound)
    assert len(found.cells) == len(np.unique(raw[:, 0])) == 1024
    np.testing.assert_allclose(found.reads.conductance, 2.0 * sound[:, 2])
