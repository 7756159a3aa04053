"""The example of docs/families.md, installed as a package of its own: it fits by name and takes part in auto."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from hwloop.calibration.fitting.synthetic import programmed
from hwloop.devices.statistics import Polynomial
from hwloop.files.measurement_writer import MeasurementWriter
from tests.one_process import run_commands

PAGE = Path(__file__).parents[3] / "docs" / "families.md"


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The module of the page and what an installer writes beside it."""
    text = PAGE.read_text()
    [code], [entry] = (re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL) for kind in ("python", "toml"))
    (tmp_path / "laplace_family.py").write_text(code)
    info = tmp_path / "laplace_family-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: laplace-family\nVersion: 1.0\n")
    group = re.sub(r'\[project.entry-points."(.*)"\]', r"[\1]", entry).replace('"', "")
    (info / "entry_points.txt").write_text(group)
    return tmp_path


def test_the_example_of_the_page_fits_by_name_and_is_tried_by_auto(installed: Path) -> None:
    rng = np.random.default_rng(1)
    target = rng.uniform(2.0, 25.0, 400)
    measurement = programmed(Polynomial((0.0, 0.0)), Polynomial((1e-9, 0.0)), 25.0, target, 20.0, rng)
    error = rng.laplace(0.3, 0.8, 400)
    measurement.reads.conductance[:] = target + error
    with MeasurementWriter(installed / "meas.h5") as writer:
        writer.begin(measurement.experiment, measurement.cells, dict(measurement.attributes)).append(measurement.reads)
        writer.commit()
        writer.finish()
    words = ["fit", "meas.h5", "--out", "model.json", "--force", "--json"]
    found, automatic = (
        json.loads(done.stdout)["fits"]["programming"]
        for done in run_commands(installed, [*words, "--family", "laplace"], words, packages=installed)
    )
    values = {row["name"]: row for row in found["parameters"]}
    used = found["cells"]["used"]
    assert found["family"] == "laplace"
    assert values["median"]["value"] == pytest.approx(np.median(error), abs=0.05)
    assert abs(np.log(values["size"]["value"] / 0.8)) < 3.5 / np.sqrt(used) + 0.02  # a fat tail may be screened
    assert values["size"]["low"] < values["size"]["value"] < values["size"]["high"]
    assert "laplace" in automatic["held_out_log_likelihood"]
