"""The twin of baked resistive memory reads what was fitted at each temperature, and info says what is assumed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import hwloop
from hwloop.devices.bake import BAKE_CURVES, BakeLaw
from hwloop.files.fitted_devices import bake_law
from hwloop.files.model_file import save_model
from hwloop.files.models import Estimate, Fit, Form, Model
from tests.calibration.fitting.test_bake import VALUES, truth
from tests.files.test_models import fitted_drift

pytestmark = pytest.mark.numerical


def fitted_bake(law: BakeLaw, **settings: float) -> Fit:
    """A law of the tests of bakes, as if it had been fitted."""
    bakes = range(len(law.knots))
    values = {f"{name}_{b}.v0": VALUES[name][b] for name in BAKE_CURVES for b in bakes}
    values |= {"stay_tail": law.freedom[0] - 1.0, "move_tail": law.freedom[1] - 1.0}
    values |= {"warp": law.warp, "energy": law.energy}
    own = {"g_scale": law.g_scale, "reference": law.reference, "energy_told": 1.0}
    own |= {f"place_{b}": law.knots[b] for b in bakes}
    for k, (kelvin, seconds) in enumerate(law.measured):
        own |= {f"kelvin_{k}": kelvin, f"seconds_{k}": seconds}
    return replace(
        fitted_drift(),
        family="bake",
        parameters=tuple(Estimate(name, value, None, None, "1", "") for name, value in values.items()),
        forms={f"{name}_{b}": Form("knots", (0.0,)) for name in BAKE_CURVES for b in bakes},
        settings=own | settings,
        conductance_range=(10.0, 120.0),
        time_range=(3600.0, 3600.0),
    )


def saved(folder: Path, fit: Fit) -> str:
    path = folder / "bake.json"
    save_model(Model({fit.experiment: fit}, {}, {}, ""), path, force=True)
    return str(path)


def test_a_saved_fit_has_the_law_that_was_fitted(tmp_path: Path) -> None:
    law = truth()
    found = bake_law(hwloop.load(saved(tmp_path, fitted_bake(law))).fits["drift"])
    assert found.at(3600.0, 50.0, 400.0).quantile(0.9) == pytest.approx(law.at(3600.0, 50.0, 400.0).quantile(0.9))
    assert float(found.place(found.equivalent(3600.0, 430.0))) == pytest.approx(0.55, abs=0.05)


@pytest.mark.parametrize("kelvin", [380.0, 455.0, 480.0])
def test_placed_devices_have_the_quantiles_of_the_bake(tmp_path: Path, kelvin: float) -> None:
    law = truth()
    path = saved(tmp_path, fitted_bake(law))
    with hwloop.connect(f"sim:{path}?seed=2&rows=64&columns=64&temperature={kelvin:g}") as chip:
        devices = np.arange(2 * 64 * 64)
        levels = np.resize([30.0, 90.0], devices.size)
        chip.place(0, devices, levels, chip.info.device_model.drift.t0)
        assert chip.read(0, devices[:50], 1) == pytest.approx(levels[:50], rel=1e-4)
        placed = chip.now()
        for age in (3600.0, 7200.0):
            chip.wait(placed + age - chip.now())
            seen = chip.read(0, devices, 1)
            for level in (30.0, 90.0):
                own, expected = seen[levels == level], law.at(age, level, kelvin)
                for share in (0.05, 0.5, 0.95):
                    # The share of reads below the fitted quantile, a binomial one; the converter rounds to 0.01 uS.
                    error = np.sqrt(share * (1 - share) / own.size)
                    at = float(expected.quantile(share))
                    assert np.mean(own < at) == pytest.approx(share, abs=4 * error), (age, level, share)


def test_ranks_last(tmp_path: Path) -> None:
    with hwloop.connect(
        f"sim:{saved(tmp_path, fitted_bake(truth()))}?seed=2&rows=32&columns=32&temperature=430"
    ) as chip:
        devices = np.arange(2 * 32 * 32)
        chip.place(0, devices, np.full(devices.size, 60.0), chip.info.device_model.drift.t0)
        chip.wait(3600.0)
        first = chip.read(0, devices, 1)
        chip.wait(60.0)
        assert np.corrcoef(first, chip.read(0, devices, 1))[0, 1] > 0.99


def test_info_says_what_is_fitted_and_what_is_assumed(tmp_path: Path) -> None:
    with hwloop.connect(f"sim:{saved(tmp_path, fitted_bake(truth()))}") as chip:
        sources = {row.name: row.source for row in chip.parameters()}
    assert sources["relaxation.curves"].startswith("fitted, bake.json")
    assert sources["device.curve.midpoint"].startswith("assumed: ")
    assert "temperature is a part of it" in sources["relaxation_energy"]
