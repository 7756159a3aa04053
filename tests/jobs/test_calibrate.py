"""What a calibration is worth: weights programmed with it and without, on chips that are not as they should be."""

from __future__ import annotations

import functools
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

import hwloop
from hwloop.calibration.certificate.certificate import Calibration
from hwloop.calibration.certificate.plan import PARTS, Plan
from hwloop.calibration.certificate.session import Progress, calibrate
from hwloop.errors import BadInputError, CalibrationWarning, LinkError
from hwloop.jobs.calibrate import calibrate_to_file, make_plan
from hwloop.jobs.program import Run
from hwloop.mapping.matrix import Matrix
from hwloop.sim_backend.server.server import serving
from tests.conftest import OpenChip, gaussian

SMALL = "sim:hermes-core?rows=64&columns=64"
WEIGHTS = [Matrix("w", gaussian(64, 64))]


@functools.cache
def known(uri: str, *parts: str) -> Calibration:
    """A calibration of another copy of the chip."""
    with hwloop.connect(uri) as chip:
        return calibrate(chip, Plan(parts))


def programmed(uri: str, method: str = "gdp", calibration: Calibration | None = None) -> Run:
    """WEIGHTS on a fresh copy of the chip."""
    with hwloop.connect(uri) as chip:
        return hwloop.program(chip, WEIGHTS, method, calibration=calibration)


def excess(run: Run, floor: float) -> float:
    """Error over the floor, in squares as independent errors add."""
    return float(np.sqrt(max(run.mvm_error**2 - floor**2, 0.0)))


def pulses(run: Run) -> float:
    return run.tiles[0].as_json()["pulses_per_device"]


@pytest.mark.parametrize("seed", range(3))
def test_known_bad_devices_leave_less_than_0_6_of_the_excess_error(seed: int) -> None:
    chip = f"{SMALL}&stuck_rate=0.02&seed={seed}"
    floor = programmed(chip, "exact").mvm_error
    calibrated = programmed(chip, calibration=known(chip, "devices", "adc", "programming-curve"))
    unknown = programmed(chip)
    assert excess(calibrated, floor) <= 0.6 * excess(unknown, floor)
    assert calibrated.mvm_error - floor <= 0.6 * (unknown.mvm_error - floor)


def test_known_bad_devices_get_no_pulse() -> None:
    chip = f"{SMALL}&stuck_rate=0.02&seed=1"
    calibration = known(chip, "devices", "adc", "programming-curve")
    for method in ("gdp", "iterative"):
        run = programmed(chip, method, calibration)
        assert run.tiles[0].pulses[~calibration.cores[0].devices.usable].max() == 0


@pytest.mark.parametrize("error", [0.15, -0.15])
def test_a_measured_curve_saves_30_per_cent_of_the_pulses(error: float) -> None:
    chip = f"{SMALL}&current_error={error}&seed=1"
    calibrated, nominal = programmed(chip, calibration=known(chip, "programming-curve")), programmed(chip)
    assert calibrated.mvm_error < nominal.mvm_error  # at least as good, and
    assert pulses(calibrated) <= 0.7 * pulses(nominal)


@pytest.mark.parametrize("seed", range(2))
def test_bad_converters_cost_little_once_they_are_known(seed: int) -> None:
    chip = f"{SMALL}&adc_gain_spread=0.05&adc_offset_spread=2&adc_nonlinearity=2&dac_nonlinearity=2&seed={seed}"
    ideal = f"{SMALL}&adc_gain_spread=0&adc_offset_spread=0&seed={seed}"
    calibrated = programmed(chip, calibration=known(chip, "dac", "programming-curve"))
    same = programmed(ideal, calibration=known(ideal, "dac", "programming-curve"))
    assert calibrated.mvm_error < 1.1 * same.mvm_error


def test_calibrating_costs_an_ideal_chip_nothing() -> None:
    chip = f"{SMALL}&seed=1"
    parts = ("dac", "programming-curve")
    assert programmed(chip, calibration=known(chip, *parts)).mvm_error < 1.05 * programmed(chip).mvm_error


def test_outputs_are_those_of_the_matrix_when_columns_change_places(open_chip: OpenChip) -> None:
    uri = f"{SMALL}&stuck_rate=0.03&seed=1"
    run = programmed(uri, calibration=known(uri, "devices", "adc", "programming-curve"))
    (tile,) = (item.tile for item in run.tiles)
    assert tile.order is not None
    assert not np.array_equal(tile.order, np.arange(64))
    back = tile.in_output_order(tile.weights)
    np.testing.assert_allclose(back, WEIGHTS[0].values, rtol=1e-6)
    (outputs,) = (item.outputs for item in run.tiles)
    assert run.mvm_error == pytest.approx(outputs.mvm_error)


def test_the_calibration_of_another_chip_is_refused_before_a_pulse(open_chip: OpenChip) -> None:
    chip = open_chip(f"{SMALL}&seed=2")
    with pytest.raises(BadInputError, match="calibrate this chip with hwloop calibrate all"):
        hwloop.program(chip, WEIGHTS, calibration=known(f"{SMALL}&seed=1", "devices"))
    assert chip.counts.pulses == 0


def test_another_temperature_warns(open_chip: OpenChip) -> None:
    chip = open_chip(f"{SMALL}&seed=1&temperature=320")
    with pytest.warns(CalibrationWarning, match=r"the chip is at 320\.0 K"):
        hwloop.program(chip, WEIGHTS, "exact", calibration=known(f"{SMALL}&seed=1", "devices"))


# ---- plans and files -----------------------------------------------------------------------------------------


def test_a_plan_from_texts(tmp_path: Path) -> None:
    np.save(tmp_path / "w.npy", gaussian(4, 6))
    np.save(tmp_path / "x.npy", np.ones((64, 6), np.float32))
    plan = make_plan(
        ("floor",),
        {"devices.settle": "3", "converters.adc_vectors": "600"},
        weights=str(tmp_path / "w.npy"),
        inputs=str(tmp_path / "x.npy"),
        age=60.0,
    )
    assert (plan.devices.settle, plan.converters.adc_vectors, plan.age) == (3.0, 600, 60.0)
    assert plan.weights.values.shape == (6, 4)
    assert plan.inputs.dtype == np.float64


def test_a_chip_that_hangs_up_costs_the_part_it_was_in(tmp_path: Path, open_chip: OpenChip) -> None:
    out = tmp_path / "c.h5"
    with ExitStack() as server:
        port = server.enter_context(serving(open_chip(f"{SMALL}&seed=1")))

        def hang_up(progress: Progress) -> None:
            if progress.stage == "repeated shots":
                server.close()

        with pytest.raises(LinkError) as caught:
            calibrate_to_file(make_plan(PARTS), f"visa:TCPIP::127.0.0.1::{port}::SOCKET", out, observer=hang_up)
    assert caught.value.__notes__ == [f"what was done before is in {out}, which says that it is not finished"]
    left = Calibration.load(out)
    assert left.measured() == ["devices", "converters", "gains", "trims", "wires", "programming_curve", "ranges"]
    assert left.skipped.keys() == {"unfinished"}


def test_an_interrupted_calibration_is_on_file(tmp_path: Path) -> None:
    def stop(progress: object) -> None:
        if progress.stage == "ADC curves":
            raise KeyboardInterrupt

    told = calibrate_to_file(make_plan(("wires",)), f"{SMALL}&seed=1", tmp_path / "c.h5", observer=stop)
    assert told["skipped"]["interrupted"].startswith("stopped on core 0")
    assert Calibration.load(tmp_path / "c.h5").measured() == ["devices", "trims"]
