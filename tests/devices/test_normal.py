"""The normal distribution's formulas, against scipy's classes."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from hwloop.devices.normal import folded_moments, normal_density, t_below, t_density

X = np.linspace(0.0, 8.0, 33)


def test_density_is_that_of_normal_numbers() -> None:
    assert normal_density(X) == pytest.approx(stats.norm.pdf(X), rel=1e-13)
    assert normal_density(-1.5) == pytest.approx(stats.norm.pdf(1.5), rel=1e-13)


@pytest.mark.parametrize("freedom", [2.1, 5.0, 300.0])
def test_heavy_tails_are_those_of_students_t(freedom: float) -> None:
    assert t_density(X, freedom) == pytest.approx(stats.t.pdf(X, freedom), rel=1e-11)
    assert t_below(-X, freedom) == pytest.approx(stats.t.cdf(-X, freedom), rel=1e-11)
    assert t_density(X, np.inf) == pytest.approx(normal_density(X))
    assert t_below(X, np.inf) == pytest.approx(stats.norm.cdf(X), rel=1e-13)


def test_magnitudes_of_normal_numbers_have_these_moments() -> None:
    mean, scatter = folded_moments(X)
    assert mean == pytest.approx(stats.foldnorm.mean(X), rel=1e-13)
    assert scatter == pytest.approx(stats.foldnorm.std(X), rel=1e-12)
    drawn = np.abs(0.7 + np.random.default_rng(0).standard_normal(100_000))
    mean, scatter = folded_moments(0.7)
    assert drawn.mean() == pytest.approx(mean, abs=4 * scatter / np.sqrt(1e5))


def test_a_simulated_chip_is_opened_without_what_is_slow_to_import() -> None:
    """Which costs a second of every command's start."""
    script = (
        "import sys, hwloop, hwloop.jobs.compare, hwloop.calibration.programming.gdp\n"
        "hwloop.connect('sim:hermes-core?rows=8&columns=8').close()\n"
        "assert not {'scipy.stats', 'pandas', 'matplotlib'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
