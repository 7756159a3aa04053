"""The twin of a model file: fitted devices on a preset's converters, and nothing silently assumed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import hwloop
from hwloop.errors import BadInputError
from hwloop.files.fitted_devices import drift_model
from hwloop.files.model_file import save_model
from hwloop.files.models import Estimate, Model
from tests.files.test_models import fitted_drift


def write(path: Path, **chip: str | int | float | bool) -> Model:
    model = Model({"drift": fitted_drift()}, chip, {"meas.h5": "ab12"}, "2026-01-01T00:00:00")
    save_model(model, path)
    return model


def test_fitted_numbers_are_marked_and_the_rest_comes_from_the_measured_preset(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    model = write(path, chip="sim:hermes-core", rows=32, columns=32, adc_bits=7)
    with hwloop.connect(f"sim:{path}?seed=1&drift=0.5") as chip:
        assert (chip.info.rows, chip.info.columns, chip.info.output_bits) == (32, 32, 7)
        assert chip.info.device_model is not None
        assert chip.info.device_model.drift == drift_model(model)
        assert chip.info.g_max == 25.0
        rows = {row.name: row for row in chip.parameters()}
    assert rows["device.drift.mean"].source == "fitted, model.json"
    assert rows["device.drift.t0"].source == "fitted, model.json"
    assert rows["adc_bits"].source == "as the chip said of itself, model.json"
    assert rows["adc_noise"].source == "not measured, as hermes-core: assumed"
    assert rows["device.curve.midpoint"].source.startswith("not measured, as hermes-core")
    assert rows["drift"].value == 0.5
    assert all(row.source != "assumed" for row in rows.values())


def test_the_base_of_a_real_chip_must_be_named(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    write(path, chip="lab chip 7")
    with pytest.raises(BadInputError, match=r"give one as sim:.*\?base=NAME, one of hermes-64"):
        hwloop.connect(f"sim:{path}")
    with pytest.raises(BadInputError, match="option base=mine: expected one of"):
        hwloop.connect(f"sim:{path}?base=mine")
    with hwloop.connect(f"sim:{path}?base=pcm-90nm") as chip:
        assert chip.info.name == "sim:model.json"


def test_a_missing_model_and_an_unknown_preset_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"none\.json cannot be read"):
        hwloop.connect(f"sim:{tmp_path / 'none.json'}")
    with pytest.raises(BadInputError, match="did you mean 'hermes-64'"):
        hwloop.connect("sim:hermes")


def test_the_same_seed_gives_the_same_twin(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    write(path, chip="sim:pcm-90nm", rows=16, columns=16)
    reads = []
    for seed in (3, 3, 4):
        with hwloop.connect(f"sim:{path}?seed={seed}") as chip:
            chip.place(0, list(range(20)), [10.0] * 20, 1.0)
            reads.append(chip.read(0, list(range(20))).tolist())
    assert reads[0] == reads[1] != reads[2]


def test_a_twin_believes_of_its_currents_what_the_chip_did(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    names = {"g_min": 0.02, "g_max": 11.0, "midpoint": 264.0, "steepness": 19.8, "midpoint_spread": 7.0}
    names |= {"height_spread": 0.05, "steepness_spread": 0.04, "jitter": 1.9, "noise": 0.1}
    rows = tuple(Estimate(name, value, 0.9 * value, 1.1 * value, "", "") for name, value in names.items())
    fit = replace(fitted_drift(), experiment="programming-curve", parameters=rows, forms={}, settings={"width": 100.0})
    chip = {"chip": "sim:hermes-core", "nominal_midpoint": 240.0}
    save_model(Model({"programming-curve": fit}, chip, {"meas.h5": "ab12"}, "2026-01-01T00:00:00"), path)
    with hwloop.connect(f"sim:{path}") as twin:
        rows_of = {row.name: row for row in twin.parameters()}
        curve = twin.info.device_model.curve
    assert rows_of["current_error"].value == pytest.approx(0.1)
    assert rows_of["current_error"].source.startswith("fitted, model.json")
    assert (curve.midpoint, curve.steepness) == (pytest.approx(240.0), pytest.approx(18.0))
    assert rows_of["steepness_spread"].value == 0.04
