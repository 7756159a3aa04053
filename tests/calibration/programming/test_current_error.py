"""A common error of the currents is told from a gain, with its uncertainty."""

from __future__ import annotations

import numpy as np
import pytest

from hwloop.calibration.programming.current_error import CurrentErrorFit, PulsedCells, fit_current_error, scaled_curve
from hwloop.devices.drift import Aging
from hwloop.sim_backend.presets import PRESETS

pytestmark = pytest.mark.numerical

CURVE = PRESETS["pcm-90nm"]().device.curve
FIT = CurrentErrorFit()


def pulsed(error: float, gain: float, cells: int = 2000, seed: int = 1) -> PulsedCells:
    """Cells of two devices, of which one carries weight, that need (1 + error) times the nominal currents."""
    rng = np.random.default_rng(seed)
    target = np.stack([rng.uniform(0, 25, cells), np.zeros(cells)])
    amplitude = np.asarray(CURVE.amplitude(target))
    true = scaled_curve(CURVE, error)
    shift = CURVE.midpoint_spread * rng.standard_normal(target.shape)
    g = np.asarray(true.conductance(amplitude - shift)) * (1 + CURVE.height_spread * rng.standard_normal(target.shape))
    sign = np.array([[1.0], [-1.0]])
    return PulsedCells(
        seen=gain * (sign * g).sum(0), variance=np.full(cells, 0.1), position=np.linspace(-1, 1, cells),
        amplitude=amplitude, height=np.ones(target.shape), sign=sign, shift_sigma=CURVE.midpoint_spread,
        height_sigma=CURVE.height_spread, age=1.0,
    )  # fmt: skip


@pytest.mark.parametrize("error", [-0.2, -0.1, 0.05, 0.2])
@pytest.mark.parametrize("gain", [0.85, 1.0])
def test_error_and_gain_are_told_apart(error: float, gain: float) -> None:
    found = fit_current_error(pulsed(error, gain), CURVE, Aging(None), FIT)
    assert found is not None
    assert found.significant(FIT)
    assert found.value == pytest.approx(error, abs=0.015)
    assert found.gain == pytest.approx(gain, abs=0.12)


@pytest.mark.parametrize("gain", [0.7, 1.0, 1.2])
def test_a_gain_alone_is_no_error(gain: float) -> None:
    found = fit_current_error(pulsed(0.0, gain), CURVE, Aging(None), FIT)
    assert found is not None
    assert not found.significant(FIT)
    assert abs(found.value) < 0.01


def test_few_cells_tell_nothing() -> None:
    assert fit_current_error(pulsed(0.2, 1.0, cells=5), CURVE, Aging(None), FIT) is None
    few = fit_current_error(pulsed(0.05, 1.0, cells=12), CURVE, Aging(None), FIT)
    assert few is None or few.sigma > 0.005
