"""Parts of the fit of the DACs, on numbers that are known."""

from __future__ import annotations

import numpy as np
import pytest

import hwloop
from hwloop.calibration.probes import uniform_inputs
from hwloop.calibration.routines.adc import AdcFit
from hwloop.calibration.routines.dac import DacFit, _variance_across, fit_dacs, ideal_dacs, mean_second_order
from hwloop.chip.cell_calibration import nonlinearity
from hwloop.chip.info import ChipInfo

ROWS, COLUMNS = 16, 24


@pytest.fixture(scope="module")
def info() -> ChipInfo:
    with hwloop.connect("sim:hermes-core") as chip:
        return chip.info


def adcs(cells: np.ndarray, **changes: np.ndarray) -> AdcFit:
    """Ideal ADCs behind cells (rows, columns) in codes at full-scale input."""
    zero = np.zeros(cells.shape[1])
    fields = dict.fromkeys(
        ("offset", "offset_sigma", "second_order", "second_order_sigma", "third_order", "third_order_sigma", "noise"),
        zero,
    )
    fixed = {"offset_in_common": np.zeros((2, len(zero))), "unresponsive": zero > 0}
    return AdcFit(**(fields | fixed | {"cells": cells} | changes))


def test_each_row_gets_the_curve_that_it_was_made_with(info: ChipInfo) -> None:
    rng = np.random.default_rng(0)
    cells = rng.uniform(2, 6, (ROWS, COLUMNS)) * rng.choice([-1, 1], COLUMNS)
    curves = rng.normal(0, 3, (2, ROWS))
    x = uniform_inputs(rng, 4000, ROWS, info.input_max)
    u = x / info.input_max
    drive = u + nonlinearity(u, curves[:, None]) / info.input_max
    codes = np.rint(drive @ cells + 0.3 * rng.standard_normal((len(x), COLUMNS))).astype(int)
    found = fit_dacs(x, codes, adcs(cells), info, 0.97)
    assert found.measured
    for own, sigma, true in (
        (found.second_order, found.second_order_sigma, curves[0]),
        (found.third_order, found.third_order_sigma, curves[1]),
    ):
        assert sigma.max() < 0.3
        assert np.abs((own - true) / sigma).max() < 4
    assert not fit_dacs(x, codes, adcs(cells, unresponsive=np.ones(COLUMNS, bool)), info, 0.97).measured
    assert not fit_dacs(x[:33], codes[:33], adcs(cells), info, 0.97).measured
    # A column near the end of its range is left out: here that is all of them.
    assert not fit_dacs(x, codes, adcs(cells), info, np.abs(codes).max(0).min() / info.code_max).measured


def test_columns_that_round_alike_count_as_one() -> None:
    """Copies of one residual say as much as one; independent ones, as many as they are."""
    rng = np.random.default_rng(0)
    alone = rng.standard_normal((2000, 24))
    assert _variance_across(alone, 1, 1) == pytest.approx(1.0, rel=0.05)
    alike = np.repeat(alone[:, :1], 24, axis=1)
    assert _variance_across(alike, 1, 1) == pytest.approx(24 * np.var(alike[:, 0]), rel=0.05)
    groups = np.repeat(alone[:, :6], 4, axis=1)
    assert _variance_across(groups, 1, 1) == pytest.approx(4.0, rel=0.1)
    # What was fitted is taken off the number of vectors: of 2000, 500 for each column.
    assert _variance_across(alone, 500, 0) == pytest.approx(2000 / 1500, rel=0.05)


def test_second_order_dacs_lift_idle_outputs(info: ChipInfo) -> None:
    """2 LSB at the ends of the scale are a drive of 2 / input_max: offsets at full scale lie so much above idle."""
    rng = np.random.default_rng(1)
    cells = rng.uniform(2, 6, (ROWS, COLUMNS))
    lift = 2.0 / info.input_max * cells.sum(0)
    offset = rng.uniform(-3, 3, COLUMNS)
    idle = np.rint(offset + 0.6 * rng.standard_normal((4000, COLUMNS))).astype(int)
    found, sigma = mean_second_order(adcs(cells, offset=offset + lift), idle, info)
    assert found == pytest.approx(2.0, abs=4 * sigma)
    assert sigma < 0.1
    nothing = mean_second_order(adcs(cells, unresponsive=np.ones(COLUMNS, bool)), idle, info)
    assert nothing == (0.0, np.inf)


def test_a_mean_from_elsewhere_moves_all_rows_and_keeps_their_differences() -> None:
    sigma = np.array([0.3, 0.5, 0.3])
    own = DacFit(np.array([1.0, 2.0, 6.0]), sigma, np.zeros(3), np.ones(3))
    found = own.with_mean_second_order(5.0, 0.4)
    assert found.second_order == pytest.approx([3.0, 4.0, 8.0])
    assert found.second_order_sigma == pytest.approx([0.4, np.hypot(0.4, 0.4), 0.4])
    assert found.mean_second_order_sigma == 0.4
    unknown = ideal_dacs(3).with_mean_second_order(5.0, 0.4)
    assert unknown.second_order == pytest.approx([5.0, 5.0, 5.0])
    assert unknown.second_order_sigma == pytest.approx([0.4, 0.4, 0.4])
