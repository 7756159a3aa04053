"""Settings of the calibration routines: defaults, and the bounds within which they are taken."""

from __future__ import annotations

import pytest

from hwloop.calibration.routines.adc import AdcFitting
from hwloop.calibration.routines.converters import ConverterCalibration
from hwloop.calibration.routines.curve_by_maps import CurveByMaps
from hwloop.calibration.routines.device_curves import DeviceCurveFit
from hwloop.calibration.routines.devices import Classification, DeviceCalibration
from hwloop.calibration.routines.drift_law import DriftFit
from hwloop.calibration.routines.flank import FlankSearch
from hwloop.calibration.routines.floor import FloorCalibration
from hwloop.calibration.routines.level_maps import LevelMaps
from hwloop.calibration.routines.observe import Looking
from hwloop.calibration.routines.programming_curve import CurveCalibration
from hwloop.calibration.routines.symmetry import SymmetryCalibration
from hwloop.calibration.routines.trims import TrimCalibration
from hwloop.calibration.routines.wires import WireCalibration
from hwloop.calibration.settings import Settings
from tests.calibration import bounds

BOUNDS: bounds.Bounds = {
    SymmetryCalibration: {
        "pairs": (40, 5000, 10_000_000),
        "settling": (0.0, 0.06, 0.9),
        "read_every": (1, 20, 100_000),
        "reference_reads": (1, 256, 65_536),
        "most_sigma": (0.001, 0.25, 10.0),
    },
    AdcFitting: {
        "near_end": (0.1, 0.97, 1.0),
        "least_signal": (0.0, 5.0, 1000000.0),
        "least_cells": (1.0, 10.0, 1000000.0),
        "most_offset_sigma": (0.0, 1.0, 1000000.0),
        "rounds": (1, 100, 1_000_000),
        "settled": (0.0, 0.0005, 1.0),
        "choosing": (0.0, 0.1, 100.0),
        "most_bins": (2, 4096, 1_000_000),
    },
    ConverterCalibration: {
        "adc_vectors": (512, 4096, 10_000_000),
        "dac_vectors": (0, 2048, 10_000_000),
        "trims": (0, 1, 1),
        "range_sigmas": (0.1, 3.0, 100.0),
        "most_clipped": (0.0, 0.4, 1.0),
    },
    DeviceCurveFit: {
        "usable_from": (0.0, 0.03, 0.5),
        "usable_to": (0.5, 0.97, 1.0),
        "centre": (0.0, 0.9, 10.0),
        "edge": (0.0, 1.4, 10.0),
        "top": (0.01, 0.75, 0.99),
        "outlier_sigmas": (1.0, 4.0, 1000.0),
        "least_spread": (1e-09, 0.001, 1.0),
        "least_jitter": (1e-09, 0.1, 100.0),
    },
    Classification: {
        "answers": (0.01, 0.25, 0.99),
        "weak": (0.0, 0.7, 1.0),
        "noisy": (1.0, 3.0, 1000000.0),
        "dead_share": (0.0, 0.9, 1.0),
    },
    DeviceCalibration: {
        "set_amplitude": (0.0, 0.0, 1000000.0),
        "set_width": (0.0, 0.0, 1000000000.0),
        "reset_amplitude": (0.0, 0.0, 1000000.0),
        "reset_width": (0.0, 0.0, 1000000000.0),
        "set_pulses": (1, 1, 1000),
        "settle": (0.0, 10.0, 10000.0),
        "set_share": (0.01, 0.6, 1.0),
        "map_rest": (0.0, 0.001, 1.0),
        "least_alive": (0.0, 0.1, 1.0),
    },
    FlankSearch: {
        "scout_levels": (4, 48, 10_000),
        "scout_devices": (1, 6144, 1_000_000_000),
        "least_scouts": (1, 2, 1_000_000),
        "scout_from": (0.0, 0.2, 0.99),
        "hardest": (0.1, 1.3, 10.0),
        "jumped": (0.01, 0.5, 0.99),
        "empty": (0.01, 0.25, 0.99),
        "width": (0.0, 0.0, 1000000000.0),
        "flank_levels": (5, 24, 10_000),
        "flank_from": (0.001, 0.08, 0.5),
        "flank_to": (0.5, 0.92, 0.999),
    },
    FloorCalibration: {
        "settle": (0.0, 0.0, 10000.0),
        "longest_settle": (0.001, 300.0, 1000000.0),
        "vectors": (0, 0, 1_000_000),
    },
    Looking: {
        "reads": (2, 4, 1000),
        "map_vectors": (1, 512, 10_000_000),
        "map_sigmas": (0.1, 4.0, 100.0),
    },
    CurveCalibration: {
        "settle": (0.0, 10.0, 10000.0),
    },
    CurveByMaps: {
        "map_scouts": (1, 1536, 1_000_000_000),
        "curve_passes": (1, 3, 100),
    },
    DriftFit: {
        "drift_low": (0.0001, 0.1, 0.5),
        "drift_middle": (0.001, 0.3, 0.7),
        "drift_upper": (0.01, 0.6, 0.99),
        "drift_evidence": (0.0, 5.0, 1000.0),
        "nu_prior": (1e-06, 0.05, 1.0),
        "earliest_onset": (0.001, 0.1, 1.0),
    },
    LevelMaps: {
        "looks": (2, 6, 100),
        "first_look": (1e-06, 0.01, 10000.0),
        "longest_rest": (1e-06, 60.0, 1000000.0),
        "map_outliers": (1.0, 4.0, 1000.0),
    },
    TrimCalibration: {
        "passes": (1, 2, 100),
        "idle_vectors": (1, 64, 10_000_000),
    },
    WireCalibration: {
        "least_share": (0.0, 0.3, 1.0),
        "least_cells": (3, 100, 1_000_000_000),
        "least_scatter": (1e-09, 0.001, 1.0),
        "outlier_sigmas": (1.0, 4.0, 1000.0),
        "scale_sigma": (1e-06, 0.02, 1.0),
    },
}


@pytest.mark.parametrize(("kind", "name", "low", "default", "high"), bounds.cases(BOUNDS))
def test_a_setting_has_its_default_and_its_bounds(
    kind: type[Settings], name: str, low: float, default: float, high: float
) -> None:
    bounds.check(kind, name, low, default, high)
