"""Settings of the families and of how they are chosen: defaults, and the bounds within which they are taken."""

from __future__ import annotations

import pytest

from hwloop.calibration.fitting.bake.settings import BakeSettings
from hwloop.calibration.fitting.drift.cleaning import CleaningSettings
from hwloop.calibration.fitting.drift.settings import (
    GridSettings,
    KnotSettings,
    LawSettings,
    LineSettings,
    NoiseSettings,
    ScreeningSettings,
    SearchSettings,
)
from hwloop.calibration.fitting.misfit import CheckSettings
from hwloop.calibration.fitting.programming_curve.settings import CurveSettings
from hwloop.calibration.fitting.programming_noise import ProgrammingSettings
from hwloop.calibration.fitting.pulse_response import PulseResponseSettings
from hwloop.calibration.fitting.read_noise import ReadNoiseSettings
from hwloop.calibration.fitting.relaxation import RelaxationSettings
from hwloop.calibration.fitting.selection import Selection
from hwloop.calibration.fitting.verification import VerificationSettings
from hwloop.calibration.settings import Settings
from tests.calibration import bounds

BOUNDS: bounds.Bounds = {
    VerificationSettings: {
        "decades": (0.1, 1.0, 10.0),
        "bins": (1, 32, 1_000),
        "fewest": (10, 100, 1_000_000),
        "outlier_sigma": (2.0, 4.0, 100.0),
        "noise_error": (0.0, 0.1, 10.0),
        "small": (1.0, 3.0, 100.0),
    },
    BakeSettings: {
        "energy": (0.01, 1.1, 10.0),
        "energy_spread": (0.001, 0.5, 10.0),
        "different_times": (1.01, 1.5, 1e6),
        "one_age": (0.0, 0.7, 10.0),
        "room": (1.0, 300.0, 10000.0),
        "levels": (2, 9, 100),
        "bakes": (2, 6, 20),
        "cells_per_knot": (1, 300, 100_000),
        "same_place": (1e-06, 0.03, 0.5),
        "largest_tail": (1.0, 5.0, 20.0),
        "usual_tail": (-5.0, 2.0, 20.0),
        "tail_spread": (0.01, 1.5, 100.0),
        "usual_hazard": (-20.0, -0.5, 20.0),
        "hazard_weight": (0.0, 0.1, 1e6),
        "skew_weight": (0.0, 0.5, 1e6),
        "stiffness": (0.0, 2.0, 1e6),
        "bend": (0.0, 2.0, 1e6),
        "steadiness": (0.0, 1.0, 1e6),
        "shift_unit": (1e-06, 0.05, 100.0),
        "usual_warp": (1e-06, 0.03, 10.0),
        "warp_spread": (0.01, 2.0, 100.0),
        "most_cells": (10, 20_000, 1_000_000_000),
        "first_steps": (1, 60, 100_000),
        "steps": (1, 120, 100_000),
        "rounds": (1, 5, 100_000),
        "settled": (0.0, 0.3, 1e6),
    },
    PulseResponseSettings: {
        "nodes": (2, 13, 100),
        "before": (1, 3, 1_000),
        "rounds": (1, 4, 100),
        "arrived": (0.0, 0.15, 0.4),
        "still": (0.0, 0.02, 1.0),
    },
    LineSettings: {
        "fewest_reads": (3, 3, 1_000_000),
        "precise": (1e-06, 0.08, 1.0),
        "loose_nu": (0.001, 0.6, 100.0),
        "loose_level": (0.001, 1.0, 100.0),
    },
    NoiseSettings: {
        "too_noisy": (1e-06, 0.35, 10.0),
        "quiet": (1e-06, 0.1, 10.0),
        "fewest_lines": (1, 20, 1_000_000_000),
        "fewest_products": (1, 100, 1_000_000_000),
        "outlying": (1e-06, 25.0, 1000000.0),
        "learnt_from": (1, 20_000, 1_000_000_000),
        "draws": (1, 3, 1_000_000_000),
        "sure": (1e-06, 3.5, 1000000.0),
        "too_much": (1e-06, 3.0, 1000000.0),
        "line_noise": (1e-06, 0.25, 10.0),
        "fewest_empty": (1, 50, 1_000_000_000),
        "emptiest": (0.0, 0.02, 1.0),
        "levelling": (1, 5, 1_000_000_000),
        "least": (1e-06, 0.1, 1000000.0),
    },
    ScreeningSettings: {
        "evaluated_noise": (0.0, 0.2, 10.0),
        "odds": (0.0, 7.0, 1000.0),
        "outlier_sigma": (1.0, 5.0, 1000.0),
        "many_bins": (5, 20, 1_000_000),
        "lost": (0.0, 0.1, 1.0),
        "unlikely": (0.0, 1e-07, 0.5),
    },
    GridSettings: {
        "finest": (0.05, 1.2, 5.0),
        "reach": (2.0, 4.2, 20.0),
        "most_nodes": (8, 64, 10_000),
        "most_noisy": (1, 60_000, 1_000_000_000),
        "lowest": (0.1, 4.0, 100.0),
    },
    KnotSettings: {
        "few": (2, 9, 200),
        "most": (2, 13, 200),
        "many": (1, 1000, 1_000_000_000),
        "noise": (2, 13, 200),
        "tilt_bins": (20, 300, 5000),
    },
    SearchSettings: {
        "loose_spread": (0.001, 1.0, 100.0),
        "support": (1, 30, 1_000_000_000),
        "stretch": (0.001, 0.4, 10.0),
        "group": (1e-09, 0.002, 1.0),
        "loose_noise": (0.001, 2.0, 100.0),
        "smallest_noise": (1e-20, 1e-10, 1.0),
        "first_look": (1, 4000, 1_000_000_000),
        "second_look": (1, 20_000, 1_000_000_000),
        "any_roughness": (0.1, 12.0, 100.0),
        "widest": (0.001, 10.0, 1e9),
    },
    LawSettings: {
        "learnt_from": (10, 2000, 1_000_000_000),
        "quiet": (1e-06, 0.1, 10.0),
        "freedom": (0.1, 4.0, 1000.0),
        "places": (5, 21, 1000),
        "sure": (0.0, 0.001, 1.0),
        "step": (1e-06, 0.01, 1.0),
        "lightest": (2.0, 30.0, 1000.0),
        "fewest_switching": (0.0, 0.01, 1.0),
    },
    CleaningSettings: {
        "fastest": (0.0, 1.0, 1000.0),
        "rounds": (1, 12, 1_000_000),
        "cells_per_bin": (1, 100, 1_000_000),
        "most_bins": (1, 30, 1_000_000),
        "quantile": (0.01, 0.25, 0.5),
        "smallest": (1e-4, 0.02, 1.0),
        "largest": (0.02, 0.5, 5.0),
        "steps": (1, 8, 1_000_000),
        "least": (1e-6, 0.05, 1.0),
        "lightest": (3.0, 100.0, 1e6),
    },
    CheckSettings: {
        "family_wise": (0.0, 0.02, 1.0),
        "most_cells": (1, 20_000, 1_000_000_000),
        "fewest_cells": (1, 50, 1_000_000_000),
        "fewest_in_bin": (1, 20, 1_000_000_000),
        "level_bins": (1, 6, 1_000_000_000),
        "mean": (0.0, 0.06, 100.0),
        "scatter": (0.0, 0.15, 100.0),
        "tails": (0.0, 0.3, 100.0),
        "shape": (0.0, 0.01, 100.0),
        "coverage": (0.0, 0.03, 100.0),
        "same_age": (1e-06, 0.05, 10.0),
        "most_ages": (1, 40, 1_000_000_000),
        "moved": (0.0, 0.05, 100.0),
        "per_kelvin": (0.0, 0.05, 100.0),
        "outliers": (0.0, 0.02, 100.0),
        "left_out": (0.0, 0.2, 100.0),
    },
    CurveSettings: {
        "fewest_reads": (4, 6, 1_000_000),
        "still": (0.0, 0.3, 1.0),
        "sure": (0.0, 5.0, 1000.0),
        "unlikely": (0.0, 1e-08, 0.5),
        "saturated": (0.0, 0.003, 1.0),
        "most_cells": (1, 1500, 1_000_000_000),
        "few_cells": (1, 200, 1_000_000_000),
        "few_rounds": (1, 4, 1_000_000_000),
        "rounds": (1, 2, 1_000_000_000),
        "most_steps": (1, 100, 1_000_000_000),
        "reach": (0.001, 1.0, 100.0),
        "device_steps": (1, 8, 1_000_000_000),
        "noise_knots": (2, 6, 100),
        "widest_range": (0.1, 7.0, 50.0),
    },
    ProgrammingSettings: {
        "outlier_sigma": (3.0, 7.0, 100.0),
        "rail": (0.0, 0.1, 0.5),
        "knots": (3, 6, 100),
        "pile": (0.0, 0.002, 1.0),
        "smallest_sigma": (1e-09, 0.0001, 1.0),
        "largest_tail": (1.0, 6.0, 20.0),
        "tail_start": (-5.0, 2.0794415416798357, 6.0),
    },
    ReadNoiseSettings: {
        "fewest_samples": (16, 64, 1_000_000_000),
        "irregular": (0.0, 0.1, 1.0),
        "skipped": (0, 3, 100),
        "per_decade": (1, 12, 1000),
        "cells_per_knot": (1, 3, 1_000_000),
        "bend": (0.01, 1.0, 1e6),
        "bumps_start": (1e-06, 0.1, 10.0),
        "bumps_least": (1e-06, 0.02, 0.1),
    },
    RelaxationSettings: {
        "knots": (2, 18, 100),
        "cells_per_knot": (1, 200, 10**6),
        "largest_tail": (1.0, 5.0, 20.0),
        "stiffness": (0.0, 5.0, 1000000.0),
        "growth_stiffness": (0.0, 50.0, 1000000.0),
        "usual_growth": (-20.0, -1.0, 20.0),
        "growth_weight": (0.0, 0.05, 1000000.0),
        "usual_warp": (1e-6, 0.03, 10.0),
        "warp_spread": (0.01, 2.0, 100.0),
        "unlike": (0.0, 0.3, 100.0),
        "smallest_change": (0.0, 1e-05, 1.0),
        "most_cells": (10, 20_000, 10**9),
        "memory_freedom": (0.5, 3.0, 1e4),
        "lags": (1, 3, 100_000),
        "first_steps": (1, 60, 100_000),
        "steps": (1, 150, 100_000),
        "rounds": (1, 6, 100_000),
        "settled": (0.0, 0.1, 1000000.0),
    },
    Selection: {
        "alike": (0.0, 0.002, 1.0),
        "most_cells": (10, 3000, 1_000_000_000),
        "tie": (0.0, 2.0, 100.0),
        "held_out": (0.01, 0.3, 0.9),
        "outlier_share": (0.0, 1e-06, 0.1),
        "poor": (0.0, 0.05, 1.0),
        "useless": (0.05, 0.4, 1.0),
        "chance": (0.0, 1.63, 10.0),
    },
}
BESIDE = {
    (CleaningSettings, "smallest"): {"largest": 1.0},
    (ProgrammingSettings, "largest_tail"): {"tail_start": 1.0},
    (ReadNoiseSettings, "bumps_start"): {"bumps_least": 1e-6},
    (Selection, "poor"): {"useless": 1.0},
}
"""Settings whose bounds are others', with what those must be."""


@pytest.mark.parametrize(("kind", "name", "low", "default", "high"), bounds.cases(BOUNDS))
def test_a_setting_has_its_default_and_its_bounds(
    kind: type[Settings], name: str, low: float, default: float, high: float
) -> None:
    bounds.check(kind, name, low, default, high, **BESIDE.get((kind, name), {}))
