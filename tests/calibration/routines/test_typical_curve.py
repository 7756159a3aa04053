"""The typical curve through medians: what was put in comes out, within its uncertainty."""

from __future__ import annotations

import numpy as np
import pytest

from hwloop.calibration.routines.typical_curve import _medians, fit_typical_curve
from hwloop.devices.programming_curve import ProgrammingCurve

CURVE = ProgrammingCurve(0.05, 20.0, 250.0, 15.0, 170.0, 100.0, 0.0, 0.0, 0.0, 0.1)
LEVELS = np.linspace(180.0, 330.0, 16)


def swept(curve: ProgrammingCurve, noise: float, devices: int = 25, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Amplitudes (levels, devices) and what they leave, where nothing was pulsed in the last device."""
    amplitude = np.repeat(LEVELS[:, None], devices, axis=1)
    seen = np.asarray(curve.conductance(amplitude)) + noise * np.random.default_rng(seed).standard_normal(
        amplitude.shape
    )
    seen[:, -1] = np.nan
    return amplitude, seen


def test_medians_are_of_what_was_pulsed_with_their_uncertainty() -> None:
    amplitude = np.array([[1.0, 2.0, 1.0, 1.0], [2.0, 2.0, 1.0, 3.0]])
    seen = np.array([[10.0, 4.0, 14.0, 11.0], [6.0, np.nan, 13.0, 1.0]])
    levels, medians, errors = _medians(amplitude, seen)
    assert levels.tolist() == [1.0, 2.0, 3.0]
    assert medians.tolist() == [12.0, 5.0, 1.0]
    # Median deviations of 1.5 (2, 2, 1, 1) and 1; 1.4826 for normal values, 1.2533 for a median.
    expected = [1.2533 * 1.4826 * 1.5 / 2, 1.2533 * 1.4826 / np.sqrt(2)]
    assert errors[:2] == pytest.approx(expected, rel=1e-6)


def test_the_curve_is_found_with_the_uncertainty_that_repetitions_show() -> None:
    rough = ProgrammingCurve(0.1, 17.0, 265.0, 20.0, 171.0, 90.0, 1.0, 1.0, 1.0, 1.0)
    found = [fit_typical_curve(rough, *swept(CURVE, 0.3, seed=seed)) for seed in range(40)]
    assert all((one.curve.melt, one.curve.width) == (171.0, 90.0) for one in found)
    for name, true in (("g_max", 20.0), ("midpoint", 250.0), ("steepness", 15.0)):
        values = np.array([getattr(one.curve, name) for one in found])
        stated = np.array([getattr(one, f"{name}_sigma") for one in found])
        assert values.mean() == pytest.approx(true, abs=4 * values.std() / np.sqrt(40))
        # 40 values tell their scatter to 11 %.
        assert 0.65 < values.std() / np.mean(stated) < 1.35, name


def test_a_misfit_widens_the_uncertainty() -> None:
    """Two kinds of devices, 20 uA apart with hardly any noise: the medians lie on no logistic curve."""
    amplitude, near = swept(CURVE, 0.01)
    bent = near + 1.5 * np.sin(amplitude / 6.0)
    smooth, wavy = fit_typical_curve(CURVE, amplitude, near), fit_typical_curve(CURVE, amplitude, bent)
    assert wavy.midpoint_sigma > 30 * smooth.midpoint_sigma
    assert 0.1 < wavy.midpoint_sigma < 3.0
