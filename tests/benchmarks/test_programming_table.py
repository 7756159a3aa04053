"""Helpers of the table of programming methods: its interval, its order, its rows and its results file."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import programming_table as table
import pytest


def test_the_interval_of_a_ratio_is_that_of_student_on_logarithms() -> None:
    # Logarithms of the ratios: 0.1, 0.2, 0.3; t(0.975, 2) = 4.3027, standard error 0.1 / sqrt(3).
    denominators = [1.0, 2.0, 4.0]
    numerators = [d * math.exp(x) for d, x in zip(denominators, (0.1, 0.2, 0.3), strict=True)]
    mean, low, high = table.ratio_interval(numerators, denominators)
    half = 4.302653 * 0.1 / math.sqrt(3.0)
    assert (mean, low, high) == pytest.approx([math.exp(0.2), math.exp(0.2 - half), math.exp(0.2 + half)])


def test_the_interval_holds_the_true_ratio_in_95_of_100_cases() -> None:
    rng, hits = np.random.default_rng(1), 0
    for _ in range(1000):
        chips = np.exp(0.3 * rng.standard_normal(5))  # what both methods share cancels
        gdp, verify = (factor * chips * np.exp(0.05 * rng.standard_normal(5)) for factor in (1.2, 1.0))
        _, low, high = table.ratio_interval(list(gdp), list(verify))
        hits += low <= 1.2 <= high
    assert 927 <= hits <= 973  # 950 +- 3.3 * 6.9


def test_pairs_that_are_no_numbers_are_left_out() -> None:
    assert table.ratio_interval([2.0, math.nan, 1.0], [1.0, 1.0, 0.0]) == (pytest.approx(2.0), 0.0, math.inf)
    assert all(map(math.isnan, table.ratio_interval([math.nan], [1.0])))


def run_of(gdp: float, iterative: float, exact: float) -> dict[str, float]:
    return {"gdp": gdp, "iterative": iterative, "exact": exact, "pulses": 2.0}


def test_a_summary_has_medians_over_the_floor_and_a_star_where_the_interval_is_worse() -> None:
    runs = [run_of(0.12, 0.10, 0.08), run_of(0.24, 0.20, 0.10), run_of(0.12, 0.10, 0.05)]
    summary = table.summarise("row", runs)
    assert (summary.gdp, summary.verify, summary.seeds) == (pytest.approx(2.4), pytest.approx(2.0), 3)
    assert (summary.ratio, summary.low, summary.high) == pytest.approx((1.2, 1.2, 1.2))
    assert "*" in str(summary)
    assert "*" not in str(table.summarise("row", [run_of(0.1, 0.1, 0.1)] * 3))


def test_the_worst_rows_come_first_and_unknown_ones_last() -> None:
    rows = {"good": 0.9, "bad": 1.5, "unknown": math.nan}
    summaries = [table.summarise(name, [run_of(gdp, 1.0, 1.0)]) for name, gdp in rows.items()]
    assert [one.name for one in table.worst_first(summaries)] == ["bad", "good", "unknown"]


def test_every_matrix_meets_every_preset_and_age_and_every_option_stands_alone() -> None:
    rows = table.table_rows()
    assert len({row.name for row in rows}) == len(rows)
    plain = [row for row in rows if not row.option]
    assert len(plain) == len(table.MATRICES) * 2 * 2
    alone = {row.option for row in rows if row.option}
    assert {"adc_bits=4", "wire_resistance=0.5", "stuck_rate=0.05", "read_noise=5", "current_error=-0.2"} <= alone
    assert all("&" not in option for option in alone)


@pytest.mark.parametrize("row", table.table_rows(quick=True), ids=lambda row: row.name)
def test_weights_of_a_row_have_its_shape_and_fit_its_chip(row: table.Row) -> None:
    weights = row.weights(3)
    assert weights.shape == row.shape[::-1]
    assert np.array_equal(weights, row.weights(3))
    assert row.backend(3).startswith(f"sim:{row.preset}?seed=3&rows={max(row.shape[0], 32)}")


@pytest.mark.parametrize("name", table.MATRICES)
def test_a_matrix_is_what_its_name_says(name: str) -> None:
    draw, _ = table.MATRICES[name]
    weights = draw(np.random.default_rng(2), 40, 30)
    nature = {
        "sparse": (weights != 0).mean() < 0.1,
        "rank-1": np.linalg.matrix_rank(weights) == 1,
        "outlier": np.abs(weights).max() == 50.0,
        "constant": np.ptp(weights) == 0,
        "equal-columns": bool((weights == weights[:, :1]).all()),
        "identity": np.array_equal(weights, np.eye(30)),
        "positive": weights.min() >= 0,
    }
    assert nature.get(name, np.linalg.matrix_rank(weights) == 30)
    assert np.all(np.isfinite(weights))


def test_a_run_that_was_stopped_goes_on_from_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row, asked, path = table.table_rows(quick=True)[0], [], tmp_path / "results.jsonl"

    def pretend(row: table.Row, seed: int) -> dict[str, float]:
        asked.append(seed)
        return run_of(0.1 * seed, 0.1, 0.1)

    monkeypatch.setattr(table, "run_row", pretend)
    table.run_all([(row, 1), (row, 2)], path, workers=1)
    with path.open("a") as file:
        file.write('{"row": "cut o')
    found = table.run_all([(row, 2), (row, 3)], path, workers=1)
    assert asked == [1, 2, 3]
    assert [found[row.name, seed]["gdp"] for seed in (2, 3)] == pytest.approx([0.2, 0.3])
    assert sorted(seed for _, seed in table.read_results(path)) == [1, 2, 3]
