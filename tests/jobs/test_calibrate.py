"""What a calibration is worth: weights programmed with it and without, on chips that are not as they should be."""

from __future__ import annotations

import functools
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import hwloop
from hwloop.calibration.certificate.certificate import Calibration
from hwloop.errors import BadInputError, CalibrationWarning, LinkError, ProgrammingWarning
from hwloop.jobs.calibrate import plan_from
from hwloop.jobs.program import Run
from hwloop.sim_backend.server.server import serving
from tests.conftest import OpenChip, gaussian

SMALL = "sim:hermes-core?rows=64&columns=64"
WEIGHTS = gaussian(64, 64)


@functools.cache
def known(uri: str, *parts: str) -> Calibration:
    """A calibration of another copy of the chip."""
    with hwloop.connect(uri) as chip:
        return hwloop.calibrate(chip, parts)


def programmed(uri: str, method: str = "gdp", calibration: Calibration | None = None) -> Run:
    """WEIGHTS on a fresh copy of the chip."""
    with hwloop.connect(uri) as chip:
        return hwloop.program(chip, WEIGHTS, method, calibration=calibration)


def excess(run: Run, floor: float) -> float:
    """Error over the floor, in squares as independent errors add."""
    return float(np.sqrt(max(run.mvm_error**2 - floor**2, 0.0)))


def pulses(run: Run) -> float:
    return run.tiles[0].pulses_per_device


@pytest.mark.parametrize("seed", range(3))
def test_known_bad_devices_leave_less_than_0_7_of_the_excess_error(seed: int) -> None:
    """GDP finds some of them by itself, at the price of a pulse or two; the calibration knows all from the start."""
    chip = f"{SMALL}&stuck_rate=0.02&seed={seed}"
    floor = programmed(chip, "exact").mvm_error
    calibrated = programmed(chip, calibration=known(chip, "devices", "adc", "programming-curve"))
    unknown = programmed(chip)
    assert excess(calibrated, floor) <= 0.7 * excess(unknown, floor)
    assert calibrated.mvm_error - floor <= 0.7 * (unknown.mvm_error - floor)


def test_known_bad_devices_get_no_pulse() -> None:
    chip = f"{SMALL}&stuck_rate=0.02&seed=1"
    calibration = known(chip, "devices", "adc", "programming-curve")
    for method in ("gdp", "iterative"):
        run = programmed(chip, method, calibration)
        assert run.tiles[0].pulses[~calibration.cores[0].devices.usable].max() == 0


@pytest.mark.parametrize("error", [0.15, -0.15])
def test_a_measured_curve_saves_the_pulses_that_find_it_out(error: float) -> None:
    chip = f"{SMALL}&current_error={error}&seed=1"
    calibrated = programmed(chip, calibration=known(chip, "programming-curve"))
    with pytest.warns(ProgrammingWarning, match=r"devices need 15\.\d % (more|less) current than their model says"):
        nominal = programmed(chip)
    # An error of 4096 cells scatters by 1.1 %, the ratio of two by 1.6 %: 3 sigma.
    assert calibrated.mvm_error < 1.05 * nominal.mvm_error
    assert pulses(calibrated) < 0.9 * pulses(nominal)


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
    run = hwloop.program(open_chip(uri), WEIGHTS, calibration=known(uri, "devices", "adc", "programming-curve"))
    (tile,) = (item.tile for item in run.tiles)
    assert tile.order is not None
    assert not np.array_equal(tile.order, np.arange(64))
    back = tile.in_output_order(tile.weights)
    np.testing.assert_allclose(back, WEIGHTS.T, rtol=1e-6)
    x = np.random.default_rng(5).uniform(-1.0, 1.0, (1024, 64))
    exact = x @ WEIGHTS.T
    assert np.linalg.norm(run.matmul(x) - exact) / np.linalg.norm(exact) == pytest.approx(run.mvm_error, rel=0.15)


def test_the_calibration_of_another_chip_is_refused_before_a_pulse(open_chip: OpenChip) -> None:
    chip = open_chip(f"{SMALL}&seed=2")
    with pytest.raises(BadInputError, match="calibrate this chip with hwloop calibrate all"):
        hwloop.program(chip, WEIGHTS, calibration=known(f"{SMALL}&seed=1", "devices"))
    assert chip.counts.pulses == 0


def test_converters_that_have_moved_since_their_calibration_are_refused_before_a_pulse(open_chip: OpenChip) -> None:
    chip = open_chip(f"{SMALL}&seed=1")
    fresh = known(f"{SMALL}&seed=1", "devices", "adc")
    converters = fresh.cores[0].converters
    assert converters is not None
    moved = replace(converters, offset=converters.offset + np.random.default_rng(0).normal(0.0, 3.0, 64))
    old = replace(fresh, cores={0: replace(fresh.cores[0], converters=moved)})
    with pytest.raises(BadInputError, match="offsets of core 0 are not those of the calibration"):
        hwloop.program(chip, WEIGHTS, calibration=old)
    assert chip.counts.pulses == 0


def test_another_temperature_warns(open_chip: OpenChip) -> None:
    chip = open_chip(f"{SMALL}&seed=1&temperature=320")
    with pytest.warns(CalibrationWarning, match=r"the chip is at 320\.0 K"):
        hwloop.program(chip, WEIGHTS, "exact", calibration=known(f"{SMALL}&seed=1", "devices"))


# ---- plans and files -----------------------------------------------------------------------------------------


def test_a_plan_from_texts() -> None:
    plan = plan_from(("floor",), {"devices.settle": "3", "converters.adc_vectors": "600", "trims.passes": "3"})
    assert plan.parts == ("floor",)
    assert (plan.devices.settle, plan.converters.adc_vectors, plan.trims.passes) == (3.0, 600, 3)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("settle", "expected ROUTINE.KEY=VALUE with one of devices, trims"),
        ("device.settle", "expected ROUTINE.KEY=VALUE"),
        ("devices.setle", "setle"),
    ],
)
def test_settings_of_no_routine_are_refused(key: str, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        plan_from(("devices",), {key: "3"})


def test_a_chip_that_hangs_up_costs_the_part_it_was_in(tmp_path: Path, open_chip: OpenChip) -> None:
    out = tmp_path / "c.h5"
    with ExitStack() as server:
        port = server.enter_context(serving(open_chip(f"{SMALL}&seed=1")))

        def hang_up(done: int, total: int) -> None:
            if out.exists():
                server.close()

        with (
            hwloop.connect(f"visa:TCPIP::127.0.0.1::{port}::SOCKET") as served,
            pytest.raises(LinkError, match="the instrument hung up") as caught,
        ):
            hwloop.calibrate(served, out=out, progress=hang_up)
    (note,) = caught.value.__notes__
    assert note.startswith(f"what was done before is in {out}, which says that it is not finished; hwloop resume")
    left = Calibration.load(out)
    assert left.measured()
    assert "floor" not in left.measured()
    assert left.skipped.keys() == {"unfinished"}


def test_an_interrupted_calibration_is_on_file(tmp_path: Path, open_chip: OpenChip) -> None:
    out = tmp_path / "c.h5"

    def stop(done: int, total: int) -> None:
        if out.exists():
            raise KeyboardInterrupt

    found = hwloop.calibrate(open_chip(f"{SMALL}&seed=1"), ["wires"], out=out, progress=stop)
    assert found.skipped["interrupted"].startswith("stopped on core 0")
    assert Calibration.load(out).measured() == found.measured()
    assert "wires" not in found.measured()
