"""Heavy tails and telegraph noise: found in reads that have them, refused in others, and foretold."""

from __future__ import annotations

import numpy as np
import pytest

from hwloop.calibration.fitting.checks import split_last
from hwloop.calibration.fitting.drift import HeavyTailedDrift, TelegraphDrift
from hwloop.calibration.fitting.drift.cleaning import switching, tamed
from hwloop.errors import BadInputError
from hwloop.files.measurements import Experiment, Measurement

pytestmark = pytest.mark.numerical

AGES, DEVICES, SIGMA = np.geomspace(1.0, 3e5, 14), 500, 0.01


def reads(noise: np.ndarray, steps: np.ndarray | float = 0.0, seed: int = 1) -> Measurement:
    """Devices from 2 to 20 uS that drift with 0.06 +- 0.01, with 1 % of this noise and these steps of ln G."""
    rng = np.random.default_rng(seed)
    nu, g = 0.06 + 0.01 * rng.standard_normal(DEVICES), np.exp(rng.uniform(np.log(2.0), np.log(20.0), DEVICES))
    factor = np.exp(-nu * np.log(AGES / 20.0)[:, None] + steps)
    made = g * factor * (1 + SIGMA * noise)
    return Measurement.of(Experiment.DRIFT, AGES, made, None, 300.0, {"t0": 20.0, "g_max": 25.0})


def normal(seed: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((AGES.size, DEVICES))


def switched(seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """A third of the cells is 10 % lower in half of the reads: the steps, and which cells."""
    rng = np.random.default_rng(seed)
    cells = rng.random(DEVICES) < 1 / 3
    return -0.1 * cells * (rng.random((AGES.size, DEVICES)) < 0.5), cells


@pytest.mark.parametrize("freedom", [2.2, 4.0])
def test_the_tails_are_those_of_the_noise(freedom: float) -> None:
    noise = np.random.default_rng(4).standard_t(freedom, (AGES.size, DEVICES))
    cleaned, tails = tamed(reads(noise))
    # 7 000 reads tell the logarithm to 4 %.
    assert abs(np.log(tails.freedom / freedom)) < max(3.5 * tails.error, 0.12)
    assert np.abs(np.log(cleaned.reads.conductance / reads(np.zeros_like(noise)).reads.conductance)).max() < 0.2


def test_cells_that_switch_are_found_with_their_step() -> None:
    steps, cells = switched()
    cleaned, states = switching(reads(normal(), steps))
    # Steps are ten times the noise: mistaken are only a few steady cells of which one read stands apart.
    assert np.mean((states.step > 0) == cells) > 0.97
    assert states.step[cells].all()
    assert np.median(states.step[cells]) == pytest.approx(0.1, abs=0.003)
    assert states.low[cells].mean() == pytest.approx(0.5, abs=0.04)
    left = np.log(cleaned.reads.conductance / reads(normal()).reads.conductance)
    assert np.quantile(np.abs(left), 0.98) < 0.02


@pytest.mark.parametrize(("family", "message"), [(HeavyTailedDrift, "no heavy tails"), (TelegraphDrift, "0.0 % of")])
def test_normal_noise_is_refused(family: type[HeavyTailedDrift], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        family().prepare(reads(normal()))


def test_later_reads_are_foretold_with_their_noise() -> None:
    """Of 500 reads, the share within 90 % has a standard deviation of 1.3 %."""
    steps, _ = switched()
    heavy = np.random.default_rng(5).standard_t(3.0, (AGES.size, DEVICES))
    for family, measured in ((TelegraphDrift(), reads(normal(), steps)), (HeavyTailedDrift(), reads(heavy))):
        earlier, later = split_last(measured)
        fitted, table = family.fit(earlier)
        found = family.foretold(table, fitted.optimum.theta, earlier, later)
        found = found[np.isfinite(found)]
        assert found.size > 480
        assert 0.86 < np.mean((found > 0.05) & (found < 0.95)) < 0.96, family.name
        density = family.predict(table, fitted.optimum.theta, earlier, later)
        assert np.isfinite(density).sum() == found.size


def test_heavy_tails_that_widen_with_age_are_foretold_far_ahead() -> None:
    """Of 1 000 reads, the share within 90 % has a standard deviation of 0.9 %; without growth it is below 80 %."""
    rng = np.random.default_rng(6)
    ages = np.append(AGES, 3e7)
    nu, g = 0.06 + 0.003 * rng.standard_normal(1_000), np.exp(rng.uniform(np.log(2.0), np.log(20.0), 1_000))
    x = np.log(ages / 20.0)[:, None]
    noise = SIGMA * np.sqrt(1 + 0.2 * x) * rng.standard_t(2.5, (ages.size, 1_000))
    attributes: dict[str, str | int | float | bool] = {"t0": 20.0, "g_max": 25.0}
    whole = Measurement.of(Experiment.DRIFT, ages, g * np.exp(-nu * x) * (1 + noise), None, 300.0, attributes)
    earlier, later = split_last(whole)
    family = HeavyTailedDrift()
    fitted, table = family.fit(earlier)
    # The growth is known to a tenth of itself, and pseudo-values show it as the noise itself does.
    assert table.growth.rate == pytest.approx(0.2, rel=0.35)
    found = family.foretold(table, fitted.optimum.theta, earlier, later)
    assert 0.865 < np.mean((found > 0.05) & (found < 0.95)) < 0.935
