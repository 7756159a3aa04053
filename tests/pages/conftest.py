"""A result of every kind that has a page, small, made once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import hwloop
from hwloop.calibration.fitting.synthetic import programmed
from hwloop.devices.statistics import Polynomial
from hwloop.files.measurement_writer import MeasurementWriter
from hwloop.files.measurements import Measurement
from tests.conftest import gaussian

CHIP = "sim:hermes-core?rows=32&columns=32&seed=1"
KINDS = ("run", "comparison", "drift", "calibration", "measurement", "model")


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files by what they hold."""
    folder = tmp_path_factory.mktemp("results")
    found = {kind: folder / f"{kind}.{'json' if kind == 'model' else 'h5'}" for kind in KINDS}
    weights, few = gaussian(12, 16), hwloop.GDP(max_steps=6)
    with hwloop.connect(CHIP) as chip:
        hwloop.program(chip, weights, few, out=found["run"])
    hwloop.compare(CHIP, weights, [few, "iterative", "exact"], repeats=2, out=found["comparison"])
    hwloop.drift(found["run"], None, ["1h", "1d"], ["none", "column"], out=found["drift"])
    with hwloop.connect(f"{CHIP}&stuck_rate=0.02") as chip:
        hwloop.calibrate(chip).save(found["calibration"])
    measurement = made_measurement()
    with MeasurementWriter(found["measurement"]) as writer:
        experiment = writer.begin(measurement.experiment, measurement.cells, measurement.attributes)
        experiment.append(measurement.reads)
        writer.commit()
        writer.finish()
    hwloop.fit(measurement, out=found["model"])
    return found


def made_measurement() -> Measurement:
    """400 cells programmed to targets, with the published residual."""
    rng = np.random.default_rng(0)
    sigma, target = Polynomial((0.26348, 1.9650, -1.1731)), rng.uniform(2.0, 25.0, 400)
    return programmed(Polynomial((0.0, 0.1)), sigma, 25.0, target, 25.0, rng)
