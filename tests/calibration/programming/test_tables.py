"""Tables give what the statistics give."""

from __future__ import annotations

import numpy as np
import pytest

from hwloop.calibration.programming.tables import ENTRIES, HIGHEST, Table, tabulated_drift
from hwloop.sim_backend.presets import PRESETS


@pytest.mark.parametrize("preset", ["pcm-90nm", "hermes-core"])
def test_tables_follow_the_statistics_of_the_presets(preset: str) -> None:
    device = PRESETS[preset]().device
    g = np.random.default_rng(1).uniform(0, 2, (2, 50, 20))
    for statistic in (device.drift.mean, device.drift.spread, device.read_noise.q):
        wrong = np.abs(Table.of(statistic)(g) - statistic(g)) > 5e-4
        assert wrong.mean() < 0.01  # where two forms meet, and where a power law is steep


def test_beyond_the_table_the_last_value_is_taken() -> None:
    table = Table.of(lambda g: 2.0 * g)
    assert table(np.array([0.0, HIGHEST, 2 * HIGHEST])) == pytest.approx([0.0, 2 * HIGHEST, 2 * HIGHEST])


def test_the_nearest_entry_is_taken() -> None:
    g = np.linspace(0.0, HIGHEST, 100_001)
    wrong = np.abs(Table.of(lambda g: 1.0 * g)(g) - g)
    assert wrong.max() == pytest.approx(HIGHEST / (ENTRIES - 1) / 2, rel=0.02)


def test_a_drift_model_with_tables_is_otherwise_the_same() -> None:
    drift = PRESETS["hermes-core"]().device.drift
    table = tabulated_drift(drift)
    assert (table.t0, table.g_scale) == (drift.t0, drift.g_scale)
    g = np.array([0.3, 0.6])
    assert np.asarray(table.mean(g)) == pytest.approx(np.asarray(drift.mean(g)), rel=1e-3)
    assert np.asarray(table.spread(g)) == pytest.approx(np.asarray(drift.spread(g)), rel=1e-3)


def test_a_table_has_8192_entries_from_zero_to_three_times_the_scale() -> None:
    values = Table.of(lambda g: 1.0 * g).values
    assert values == pytest.approx(np.linspace(0.0, 3.0, 8192))
