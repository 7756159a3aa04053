"""The twin of fitted resistive memory reads what was fitted, at every level and age; the base overrides nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import hwloop
from hwloop.files.fitted_devices import relaxation_law
from hwloop.files.model_file import save_model
from hwloop.files.models import Fit, Model
from hwloop.sim_backend.presets import PRESETS
from hwloop.sim_backend.twin import stretched, twin_parameters
from tests.files.test_models import fitted_drift
from tests.files.test_predictions import fitted_relaxation

pytestmark = pytest.mark.numerical


def saved(folder: Path, fit: Fit) -> str:
    path = folder / "rram.json"
    save_model(Model({fit.experiment: fit}, {}, {}, ""), path, force=True)
    return str(path)


@pytest.mark.parametrize("first_age", [0.0, 0.5])
def test_placed_devices_have_the_quantiles_of_the_fit(tmp_path: Path, first_age: float) -> None:
    fit = fitted_relaxation(first_age=first_age)
    law = relaxation_law(fit)
    with hwloop.connect(f"sim:{saved(tmp_path, fit)}?seed=2&rows=96&columns=96") as chip:
        devices = np.arange(2 * 96 * 96)
        levels = np.resize([8.0, 50.0, 110.0], devices.size)
        chip.place(0, devices, levels, chip.info.device_model.drift.t0)
        placed = chip.now()
        assert chip.read(0, devices[:50], 1) == pytest.approx(levels[:50], rel=1e-4), "until they are read again"
        for age in (1.0, 1e3, 1e6):
            chip.wait(placed + age - chip.now())
            seen = chip.read(0, devices, 1)
            for level in (8.0, 50.0, 110.0):
                own, expected = seen[levels == level], law.at(age, level)
                for share in (0.05, 0.5, 0.95):
                    # The share of reads below the fitted quantile, a binomial one.
                    error = np.sqrt(share * (1 - share) / own.size)
                    at = float(expected.quantile(share))
                    assert np.mean(own < at) == pytest.approx(share, abs=4 * error), (age, level, share)
            assert seen.min() >= 0.0  # the converter rounds


def test_reads_of_a_device_hang_together(tmp_path: Path) -> None:
    with hwloop.connect(f"sim:{saved(tmp_path, fitted_relaxation())}?seed=2&rows=64&columns=64") as chip:
        devices = np.arange(2 * 64 * 64)
        chip.place(0, devices, np.full(devices.size, 60.0), chip.info.device_model.drift.t0)
        seen = []
        for seconds in (10.0, 90.0, 1e6):
            chip.wait(seconds)
            seen.append(np.argsort(np.argsort(chip.read(0, devices, 1))))
        near, far = np.corrcoef(seen[0], seen[1])[0, 1], np.corrcoef(seen[0], seen[2])[0, 1]
        assert near > far > 0.05


def test_a_saved_twin_goes_on_alike(tmp_path: Path) -> None:
    uri = f"sim:{saved(tmp_path, fitted_relaxation())}?seed=2&rows=16&columns=16"
    devices = np.arange(2 * 16 * 16)
    with hwloop.connect(uri) as chip, hwloop.connect(uri) as other:
        chip.place(0, devices, np.full(devices.size, 60.0), 1e-3)
        chip.wait(100.0)
        chip.read(0, devices, 1)
        other.import_state(chip.export_state())
        for one in (chip, other):
            one.wait(1e4)
        assert np.array_equal(chip.read(0, devices, 1), other.read(0, devices, 1))


def test_info_says_what_is_assumed(tmp_path: Path) -> None:
    with hwloop.connect(f"sim:{saved(tmp_path, fitted_relaxation())}") as chip:
        sources = {row.name: row.source for row in chip.parameters()}
    assert sources["relaxation.curves"].startswith("fitted, rram.json")
    assert sources["device.curve.midpoint"].startswith("assumed: ")
    assert "part of the relaxation" in sources["read_noise"]


def test_a_base_without_drift_does_not_override_the_fitted_one(tmp_path: Path) -> None:
    path = saved(tmp_path, fitted_drift())
    chip, _ = twin_parameters(path, {"base": "pcm-ideal"})
    assert PRESETS["pcm-ideal"]().drift == 0.0
    assert chip.drift == 1.0
    assert chip.source("drift") == "fitted, rram.json"
    with hwloop.connect(f"sim:{path}?base=pcm-ideal&rows=16&columns=16") as twin:
        devices = np.arange(2 * 16 * 16)
        twin.place(0, devices, np.full(devices.size, 10.0), 20.0)
        twin.wait(1e6)
        assert np.median(twin.read(0, devices, 1)) == pytest.approx(10.0 * (1e6 / 20.0) ** -0.049, rel=0.05)
    with hwloop.connect(f"sim:{path}?base=pcm-ideal&drift=0") as still:
        assert still.info.device_model.drift.mean(np.array([0.5])) == pytest.approx(0.0)


def test_a_stretched_chip_has_all_conductances_so_much_larger() -> None:
    chip = PRESETS["hermes-core"]()
    wide = stretched(chip, 4.0)
    assert wide.adc_range == tuple(4.0 * end for end in chip.adc_range)
    assert wide.device.curve == replace(
        chip.device.curve,
        g_min=4.0 * chip.device.curve.g_min, g_max=4.0 * chip.device.curve.g_max, noise=4.0 * chip.device.curve.noise,
    )  # fmt: skip
