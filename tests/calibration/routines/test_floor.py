"""The floor that is measured without exact placement, against exact placement."""

from __future__ import annotations

import numpy as np
import pytest

import hwloop
from hwloop.calibration.certificate.plan import Plan
from hwloop.calibration.certificate.session import calibrate
from hwloop.calibration.routines.floor import FloorCalibration, reference_matrix
from hwloop.chip.region import Region
from hwloop.errors import BadInputError
from hwloop.mapping.matrix import Matrix
from tests.calibration.specimen import SMALL, calibrated
from tests.conftest import gaussian

CHIPS = [
    SMALL,
    f"{SMALL}&seed=1",
    f"{SMALL}&seed=2&adc_bits=6",
    f"{SMALL}&seed=3&adc_noise=2",
    f"{SMALL}&seed=4&adc_gain_spread=0.05&adc_offset_spread=2&adc_nonlinearity=2&dac_nonlinearity=2",
    f"{SMALL}&seed=5&read_noise=0",
    f"{SMALL}&seed=6&dac_bits=5",
    f"{SMALL}&seed=7&wire_resistance=1",
    "sim:pcm-90nm?rows=64&columns=64",
    "sim:pcm-90nm?rows=64&columns=64&seed=1&adc_bits=6",
    "sim:hermes-core?rows=128&columns=32&seed=1",
    "sim:pcm-ideal?rows=128&columns=128&adc_bits=8",
    "sim:pcm-ideal?rows=128&columns=128&seed=1",
]


def exact_error(uri: str, weights: np.ndarray | None = None, age: float | None = None) -> float:
    """MVM error with every conductance on target, on a fresh chip with the same calibration."""
    with hwloop.connect(uri) as chip:
        cells = reference_matrix(chip.info.rows, chip.info.columns) if weights is None else weights
        known = calibrated(uri).calibration
        return hwloop.program(chip, [Matrix("w", cells)], "exact", calibration=known, age=age).mvm_error


@pytest.mark.parametrize("uri", CHIPS)
def test_the_floor_is_that_of_exact_placement(uri: str) -> None:
    floor = calibrated(uri).core.floor
    assert floor.error == pytest.approx(exact_error(uri), rel=0.05)
    assert floor.error_sigma < 0.05 * floor.error


def test_the_parts_make_the_whole() -> None:
    for uri in CHIPS:
        floor = calibrated(uri).core.floor
        total = floor.fast_noise**2 + floor.slow_noise**2 + floor.static**2
        assert floor.error**2 == pytest.approx(total / (1 + total), rel=0.02)


def test_without_read_noise_converters_alone_are_left() -> None:
    floor = calibrated(f"{SMALL}&seed=5&read_noise=0").core.floor
    assert floor.slow_noise < 0.3 * floor.error
    # Rounding, and ADC noise of 0.3 LSB which is about as large (1 / sqrt(12) = 0.29).
    assert floor.error == pytest.approx(floor.rounding * np.sqrt(1 + 12 * 0.3**2), rel=0.15)


def test_the_floor_of_weights_at_an_age() -> None:
    uri, weights = f"{SMALL}&seed=1", gaussian(64, 48, seed=3)
    with hwloop.connect(uri) as chip:
        plan = Plan(weights=Matrix("w", weights), age=3600.0)
        floor = calibrate(chip, plan).cores[0].floor
    assert floor.age == 3600.0
    assert floor.error == pytest.approx(exact_error(uri, weights, 3600.0), rel=0.05)


def test_more_rows_take_more_vectors() -> None:
    assert FloorCalibration().vectors_for(64) == 2048
    assert FloorCalibration().vectors_for(512) == 4 * 513
    assert FloorCalibration(vectors=200).vectors_for(64) == 200
    with pytest.raises(BadInputError, match="setting vectors=100: 64 rows need at least 130"):
        FloorCalibration(vectors=100).vectors_for(64)


def test_the_reference_matrix_is_clipped_noise() -> None:
    weights = reference_matrix(256, 256)
    assert np.abs(weights).max() <= 3
    assert weights.std() == pytest.approx(0.9866, abs=5 * 0.9866 / np.sqrt(2 * weights.size))  # redrawn beyond 3 sigma
    assert np.array_equal(weights, reference_matrix(256, 256))


@pytest.mark.parametrize(
    ("settings", "age", "rest"), [({}, 60.0, 60.0), ({}, 3600.0, 300.0), ({"settle": 7.0}, 3600.0, 7.0)]
)
def test_devices_rest_up_to_the_age_but_no_longer_than_is_worth_it(
    settings: dict[str, float], age: float, rest: float
) -> None:
    with hwloop.connect(f"{SMALL}&seed=1") as chip:
        tile = Plan().tile(chip.info)
        region = Region(chip, tile.place, tile.full_scale)
        work = FloorCalibration(**settings).measure(region, tile, age, np.random.default_rng(0))
        first, second = next(work), next(work)
        assert (first.stage, first.rest) == ("rough programming", 0.0)
        assert second.rest == rest
        assert chip.pulse_counts(0).min() == chip.pulse_counts(0).max() == 1
