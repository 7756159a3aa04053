"""Wire resistance, on the simulated chip and on exact solutions of the resistor network, which its model only nears."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hwloop.calibration.certificate.plan import Plan
from hwloop.calibration.certificate.session import calibrate
from hwloop.calibration.routines.converters import ConverterCalibration
from hwloop.calibration.routines.devices import DeviceCalibration
from hwloop.calibration.routines.results import ConverterResult, DeviceResult, WireResult
from hwloop.calibration.routines.wires import WireCalibration
from hwloop.chip.info import Capability
from hwloop.devices.wires import attenuation
from hwloop.errors import ChipError, MissingCapabilityError
from tests.calibration.specimen import SMALL, calibrated, lacking, specimen
from tests.sim_backend.test_wires import exact_currents


@pytest.mark.parametrize(("ohm", "size"), [(0.1, 256), (0.5, 128), (2.0, 128)])
def test_resistance_of_a_large_core(ohm: float, size: int) -> None:
    chip = f"sim:hermes-core?rows={size}&columns={size}&wire_resistance={ohm}&adc_gain_spread=0.05&seed=1"
    plan = Plan(("wires",), converters=ConverterCalibration(adc_vectors=1024))
    wires = calibrate(lacking(chip), plan).cores[0].wires
    assert wires.resistance == pytest.approx(ohm, rel=0.1)
    assert abs(wires.resistance - ohm) < 4 * wires.resistance_sigma


@pytest.mark.parametrize("seed", range(3))
def test_resistance_of_a_small_core(seed: int) -> None:
    wires = calibrated(f"{SMALL}&wire_resistance=2&seed={seed}", "wires").core.wires
    assert wires.resistance == pytest.approx(2.0, rel=0.1)
    assert abs(wires.resistance - 2.0) < 4 * wires.resistance_sigma


def test_series_resistance() -> None:
    wires = calibrated(f"{SMALL}&series_resistance=50&wire_resistance=1&seed=1", "wires").core.wires
    assert abs(wires.series - 50) < 3 * wires.series_sigma
    assert wires.series_sigma < 15
    assert abs(wires.resistance - 1) < 4 * wires.resistance_sigma


def test_ideal_wires() -> None:
    wires = calibrated(f"{SMALL}&seed=1", "wires").core.wires
    assert wires.resistance < 4 * wires.resistance_sigma
    assert wires.attenuation_min > 0.97


def test_on_equal_devices_series_resistance_is_not_told_from_a_scale() -> None:
    wires = calibrated("sim:pcm-ideal?rows=64&columns=64&seed=1", "wires").core.wires
    assert wires.resistance < max(4 * wires.resistance_sigma, 1e-3)
    # 2 % of scale are as much as 5.7 ohm in series with the 64 devices of 27.5 uS of each row and of each column.
    assert wires.series < 3 * wires.series_sigma
    assert wires.series_sigma == pytest.approx(0.02 / (2 * 64 * 27.5e-6), rel=0.05)


@pytest.mark.parametrize("ohm", [0.5, 1.0, 4.0])
def test_resistance_from_the_exact_solution_of_the_network(ohm: float) -> None:
    """No inverse crime: the outputs come from nodal analysis of every node, not from the model that is fitted."""
    size, rng = 48, np.random.default_rng(0)
    high = 11.4 * (1 + 0.05 * rng.standard_normal((2, 1, size, size)))
    low = np.full_like(high, 0.1)
    found = DeviceCalibration().classify(low, high, np.full_like(high, 0.1), 10.0)
    # Linear in the voltages, and zero voltage is a driven row: one row at a time shows every cell.
    outputs = exact_currents(found.pattern.sum(1) * 1e-6, ohm, np.eye(size)) * 1e6
    cells = outputs[:, 0] - outputs[:, 1]
    noise = 1 + 0.01 * rng.standard_normal(cells.shape)
    wires = fitted(found, cells * noise)
    assert wires.resistance == pytest.approx(ohm, rel=0.1)


@pytest.fixture(scope="module")
def pattern() -> tuple[DeviceResult, np.ndarray]:
    """Devices of 48 x 48 cells, and what an MVM sees through wires of 2 ohm per cell with 30 ohm in series."""
    rng = np.random.default_rng(1)
    high = 11.4 * (1 + 0.05 * rng.standard_normal((2, 1, 48, 48)))
    low = np.full_like(high, 0.1)
    found = DeviceCalibration().classify(low, high, np.full_like(high, 0.1), 10.0)
    loads = found.pattern.sum(1)
    factor = attenuation(loads, 2.0, 30.0)
    return found, (loads[0] * factor[0] - loads[1] * factor[1]) * (1 + 0.005 * rng.standard_normal((48, 48)))


def test_wires_and_what_is_in_series_are_found_in_what_they_do(pattern: tuple[DeviceResult, np.ndarray]) -> None:
    found, cells = pattern
    wires = fitted(found, cells)
    assert abs(wires.resistance - 2.0) < 4 * wires.resistance_sigma < 0.4
    assert abs(wires.series - 30.0) < 4 * wires.series_sigma
    assert wires.attenuation_min == pytest.approx(attenuation(found.pattern.sum(1), 2.0, 30.0)[0].min(), rel=0.01)


def test_a_few_wrong_cells_do_not_move_the_wires(pattern: tuple[DeviceResult, np.ndarray]) -> None:
    """Outliers, bad devices, unresponsive columns and cells that hardly conduct are left out."""
    found, cells = pattern
    clean = fitted(found, cells)
    wrong, fault, seen = cells.copy(), found.fault.copy(), found.pattern.copy()
    wrong[5, 7], wrong[20, 30] = 60.0, -60.0
    fault[0, 0, 40, 3], wrong[40, 3] = 1, 14.0
    seen[0, 0, 3, 40], wrong[3, 40] = 3.0, 4.0  # less than 0.3 of a SET device
    wrong[:, 11] *= 1.3
    found = dataclasses.replace(found, fault=fault, pattern=seen)
    wires = fitted(found, wrong, np.arange(48) == 11)
    assert wires.resistance == pytest.approx(clean.resistance, abs=clean.resistance_sigma)
    assert wires.series == pytest.approx(clean.series, abs=clean.series_sigma)


def fitted(found: DeviceResult, cells: np.ndarray, unresponsive: np.ndarray | None = None) -> WireResult:
    """The routine on given cells, which needs nothing else of a chip."""
    columns = cells.shape[1]
    nothing = {field.name: np.zeros(columns) for field in dataclasses.fields(ConverterResult)}
    converters = ConverterResult(
        **(
            nothing
            | {"cells": cells, "unresponsive": np.zeros(columns, bool) if unresponsive is None else unresponsive}
        )
    )
    return WireCalibration().fit(found, converters, 0)


def test_a_chip_without_device_reads_cannot_tell() -> None:
    with pytest.raises(MissingCapabilityError, match="calibrating wires needs device-read, which this chip lacks"):
        specimen(lacking(SMALL, Capability.DEVICE_READ), "wires")


def test_too_few_cells() -> None:
    with pytest.raises(ChipError, match=r"^core 0: only \d+ cells conduct after SET; too few to see the wires$"):
        specimen(lacking("sim:hermes-core?rows=8&columns=8"), "wires")
