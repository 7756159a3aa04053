"""Parts of the fit of read noise one at a time, against scipy and formulas written here."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import signal, stats

from hwloop.calibration.fitting import read_noise
from hwloop.calibration.fitting.read_noise import (
    KnotsReadNoise,
    PowerLawReadNoise,
    ReadNoiseSettings,
    SpectrumTable,
    spectrum_table,
)
from hwloop.errors import BadInputError
from hwloop.files.measurements import Measurement
from hwloop.typing import FloatArray

INTERVAL = 0.25
"""Seconds between samples."""


def table(**changes: Any) -> SpectrumTable:
    """Four cells of up to 20 uS, and three bins."""
    conductance = np.array([20.0, 2.0, 5.0, 10.0])
    own: dict[str, Any] = {
        "g_scale": 20.0,
        "interval": INTERVAL,
        "samples": 64,
        "knots": tuple(np.log([0.1, 0.3, 1.0])),
        "cells": np.arange(4),
        "conductance": conductance,
        "frequency": np.array([0.1, 0.5, 1.5]),
        "ordinates": np.array([1.0, 3.0, 10.0]),
        "spectrum": np.array([[9.0, 2.0, 0.8], [30.0, 8.0, 3.0], [20.0, 5.0, 1.0], [10.0, 4.0, 0.9]]) * 1e-4,
    }
    return SpectrumTable(**(own | changes))


ALPHA, BUMPS, Q, WHITE = 1.2, 0.3, (0.02, 0.01, 0.006), (0.03, 0.02, 0.01)
THETA = np.array([ALPHA, *np.log(Q), math.log(BUMPS), *np.log(WHITE)])
"""Parameters of the family with knots."""


def model(cells: SpectrumTable) -> FloatArray:
    """Q^2 f^-alpha, and the white noise of a sample spread over half the sampling rate: straight in ln g."""
    z = np.log(cells.conductance / cells.g_scale)
    # Q itself is interpolated; of the white noise its logarithm.
    q, white = np.interp(z, cells.knots, Q), np.exp(np.interp(z, cells.knots, np.log(WHITE)))
    density: FloatArray = q[:, None] ** 2 * cells.frequency**-ALPHA + 2 * cells.interval * white[:, None] ** 2
    return density


# ---- periodograms --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [64, 65])
def test_periodograms_are_those_of_scipy_without_a_straight_line(samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Averaged in bins of a twelfth of a decade; the lowest frequencies, and the last of an even number, are left out.

    Five cells are transformed two at a time.
    """
    monkeypatch.setattr(read_noise, "AT_ONCE", 2 * samples + 1)
    value = 5.0 + np.random.default_rng(3).normal(0.0, 0.5, (5, samples)) + 0.02 * np.arange(samples)
    mean = value.mean(1)
    got = read_noise._periodograms(value, mean, INTERVAL, ReadNoiseSettings(skipped=2))
    frequency, density = signal.periodogram(value / mean[:, None], 1 / INTERVAL, detrend="linear")
    chosen = (np.arange(frequency.size) > 2) & (frequency < 0.5 / INTERVAL * (1 - 1e-9))
    frequency, density = frequency[chosen], density[:, chosen]
    numbers = np.floor(12 * np.log10(frequency / frequency[0]) + 1e-12)
    groups = [np.flatnonzero(numbers == number) for number in np.unique(numbers)]
    assert got[0] == pytest.approx([stats.gmean(frequency[group]) for group in groups])
    assert got[1].tolist() == [group.size for group in groups]
    assert got[2] == pytest.approx(np.stack([density[:, group].mean(1) for group in groups], axis=1))


def series(cells: int = 9, samples: int = 40) -> tuple[FloatArray, FloatArray]:
    """Times (samples,), and reads (samples, cells) of cells of 1 uS and more."""
    noise = np.random.default_rng(5).normal(0.0, 0.01, (samples, cells))
    return 10.0 + INTERVAL * np.arange(samples), np.arange(1.0, cells + 1) * (1 + noise)


def test_series_that_cannot_be_used_are_named() -> None:
    """The length is that which nine of ten cells have at least."""
    time, reads = series(40)
    reads[20:, 1] = np.nan  # too short
    reads[39:, 2] = np.nan  # shorter than the others
    reads[:, 3] = -reads[:, 3]
    reads[:, 4] = 5.0
    settings = ReadNoiseSettings(fewest_samples=21)
    found, screening = spectrum_table(Measurement.of("read-noise", time, reads, None, 300, {"g_max": 50.0}), settings)
    assert {k: str(screening.reason[k]) for k in np.flatnonzero(~screening.kept)} == {
        1: "fewer than 21 samples", 2: "a shorter series than the others", 3: "no conductance", 4: "stuck",
    }  # fmt: skip
    assert (found.samples, found.interval, found.g_scale) == (40, pytest.approx(INTERVAL), 50.0)
    assert found.cells.tolist() == [0, *range(5, 40)]
    assert found.conductance == pytest.approx(reads[:, found.cells].mean(0))
    frequency, ordinates, spectrum = read_noise._periodograms(
        reads[:, found.cells].T, found.conductance, INTERVAL, settings
    )
    assert found.frequency == pytest.approx(frequency)
    assert found.ordinates == pytest.approx(ordinates)
    assert found.spectrum == pytest.approx(spectrum)


@pytest.mark.parametrize(("shift", "used"), [(0.6, True), (0.66, False)])
def test_samples_must_lie_near_an_even_grid(shift: float, used: bool) -> None:
    """Within a tenth of the interval, times the square root of the 40 samples, as clocks wander: 0.63 of it."""
    time, reads = series(3)
    even = Measurement.of("read-noise", time, reads)
    moved = even.reads.time.copy()
    moved[(even.reads.cell == 1) & np.isclose(moved, time[20])] += shift * INTERVAL
    _, screening = spectrum_table(
        replace(even, reads=replace(even.reads, time=moved)), ReadNoiseSettings(fewest_samples=30)
    )
    assert screening.reason.tolist() == ["", "" if used else "samples at uneven times", ""]


def test_nothing_to_fit_is_refused_with_the_reasons() -> None:
    time, reads = series(3, 30)
    with pytest.raises(BadInputError, match=r"^read-noise: no cell has the 31 samples that a spectrum needs$"):
        spectrum_table(Measurement.of("read-noise", time, reads), ReadNoiseSettings(fewest_samples=31))
    reads[:, 0], reads[:, 1:] = 4.0, np.where(np.arange(30)[:, None] % 2, -0.1, 0.01)
    with pytest.raises(BadInputError, match=r"^read-noise: no cell can be used \(no conductance, stuck\)$"):
        spectrum_table(Measurement.of("read-noise", time, reads), ReadNoiseSettings(fewest_samples=30))


@pytest.mark.parametrize(("cells", "knots"), [(1, 1), (2, 2), (3, 3), (11, 3), (12, 4), (18, 6), (40, 6)])
def test_there_is_a_knot_for_three_cells_and_six_at_most(cells: int, knots: int) -> None:
    time, reads = series(cells)
    found, _ = spectrum_table(
        Measurement.of("read-noise", time, reads, None, 300, {"g_max": 40.0}), ReadNoiseSettings(fewest_samples=30)
    )
    at = np.log(np.quantile(found.conductance, [0.0, 1.0]) / 40.0)
    assert len(found.knots) == knots
    assert found.knots[-1] == pytest.approx(at[1] if cells > 1 else at[0], abs=1e-6)
    assert found.knots[0] == pytest.approx(at[0], abs=1e-6)


# ---- the likelihood ------------------------------------------------------------------------------------------


def test_the_likelihood_is_a_gamma_distribution_around_the_model() -> None:
    """A bin of n ordinates scatters like n / (1 + n bumps^2) of them."""
    cells = table()
    shape = cells.ordinates / (1 + cells.ordinates * BUMPS**2)
    expected = stats.gamma(shape, scale=model(cells) / shape)
    got = KnotsReadNoise().likelihood(cells)(torch.tensor(THETA)).numpy()
    assert got == pytest.approx(expected.logpdf(cells.spectrum).sum(1))
    assert KnotsReadNoise().quantiles(cells, THETA) == pytest.approx(expected.cdf(cells.spectrum).ravel())


def test_q_is_a_power_of_the_conductance_up_to_its_cap() -> None:
    """Q = min(0.004 g^-0.65, 0.01): the cap is met at g = 0.244, by two of four cells."""
    cells, family = table(), PowerLawReadNoise(settings=ReadNoiseSettings(cells_per_knot=2))
    theta = np.array([ALPHA, math.log(0.004), -0.65, math.log(0.01), math.log(BUMPS), *np.log(WHITE)])
    g = cells.conductance / cells.g_scale
    assert family._q(cells, theta, g) == pytest.approx(np.minimum(0.004 * g**-0.65, 0.01))
    assert not family._capped(cells, theta)
    theta[3] = math.log(0.009)
    assert family._capped(cells, theta)  # met at g = 0.287
    assert not replace(family, settings=ReadNoiseSettings(cells_per_knot=3))._capped(cells, theta)


def test_curves_through_knots_are_expected_to_bend_by_one_setting() -> None:
    """One more unit: the squares of the changes of slope, over the setting's, halved."""
    cells = table()
    z = np.array(cells.knots)
    bends = [(v[2] - v[1]) / (z[2] - z[1]) - (v[1] - v[0]) / (z[1] - z[0]) for v in (np.log(Q), np.log(WHITE))]
    family = KnotsReadNoise(settings=ReadNoiseSettings(bend=0.5))
    each = family.likelihood(cells)(torch.tensor(THETA)).numpy()
    smooth = family._smooth(cells)(torch.tensor(THETA)).numpy()
    assert smooth == pytest.approx([*each, -0.5 * np.sum(np.square(np.array(bends) / 0.5))])
    theta = np.array([ALPHA, -4.0, -0.5, -3.0, math.log(BUMPS), *np.log(WHITE)])
    power = PowerLawReadNoise(settings=ReadNoiseSettings(bend=0.5))._smooth(cells)(torch.tensor(theta)).numpy()
    assert power[-1] == pytest.approx(-0.5 * (bends[1] / 0.5) ** 2)
    few = table(knots=tuple(np.log([0.1, 1.0])))
    assert KnotsReadNoise()._smooth(few)(torch.tensor(np.delete(THETA, [3, 7]))).numel() == 4


def test_a_power_law_needs_three_knots() -> None:
    few = table(knots=tuple(np.log([0.1, 1.0])))
    with pytest.raises(BadInputError, match="4 cells cannot support the dependence on conductance of 'power-law'"):
        PowerLawReadNoise().require_support(few)
    PowerLawReadNoise().require_support(table())
    KnotsReadNoise().require_support(few)


# ---- where the search begins, and what is said ---------------------------------------------------------------


def flicker_only(cells: int = 12) -> SpectrumTable:
    """Spectra that are exactly Q^2 / f, with Q = 0.01 g^-0.5, and white noise at their end."""
    frequency = np.geomspace(0.01, 2.0, 30)
    conductance = np.geomspace(20.0, 1.0, cells)
    q = 0.01 * (conductance / 20.0) ** -0.5
    spectrum = q[:, None] ** 2 / frequency
    spectrum[:, -3] = 2e-5
    return table(
        cells=np.arange(cells), conductance=conductance, frequency=frequency, ordinates=np.ones(30), spectrum=spectrum,
        knots=tuple(np.log([0.05, 0.2, 1.0])),
    )  # fmt: skip


def test_the_search_begins_at_the_low_end_for_q_and_at_the_high_one_for_white_noise() -> None:
    """White noise: the smallest of the upper third, 2e-5 / Hz = 2 INTERVAL s^2, less 0.3 in its logarithm."""
    cells = flicker_only()
    white = 0.5 * math.log(2e-5 / (2 * INTERVAL)) - 0.3
    log_q = np.log(0.01 * np.array([0.05, 0.2, 1.0]) ** -0.5)
    bumps = math.log(0.2)
    settings = ReadNoiseSettings(bumps_start=0.2)
    assert KnotsReadNoise(settings=settings).start(cells) == pytest.approx([1.0, *log_q, bumps, *[white] * 3], abs=1e-2)
    start = PowerLawReadNoise(settings=settings).start(cells)
    assert start == pytest.approx([1.0, math.log(0.01), -0.5, log_q[0], bumps, *[white] * 3], abs=1e-6)


def test_a_cell_with_more_flicker_than_the_model_has_a_q_of_its_own() -> None:
    """White noise is not taken for flicker: of four times the 1/f part Q is twice as large."""
    cells = table()
    white = model(cells) - (q := np.interp(np.log(cells.conductance / 20.0), cells.knots, Q))[:, None] ** 2 * (
        cells.frequency**-ALPHA
    )
    factor = np.array([1.0, 2.0, 0.5, 0.0])
    seen = replace(cells, spectrum=(factor * q)[:, None] ** 2 * cells.frequency**-ALPHA + white)
    assert KnotsReadNoise()._own_q(seen, THETA) == pytest.approx(q * np.maximum(factor, 1e-3))


def test_a_fit_states_how_series_were_sampled() -> None:
    found = KnotsReadNoise().describe(table())
    assert found.settings == {"g_scale": 20.0, "interval": INTERVAL, "samples": 64.0}
    assert found.conductance_range == (2.0, 20.0)
    assert found.time_range == (INTERVAL, 16.0)
    rows = [item for block in KnotsReadNoise().layout(table()).blocks for item in block.coefficients]
    assert [row.name for row in rows] == [
        "alpha", "q.v0", "q.v1", "q.v2", "bumps", "white.v0", "white.v1", "white.v2",
    ]  # fmt: skip
    assert [row.log for row in rows] == [False] + [True] * 7
    assert [row.start for row in rows] == [1.0, 0, 0, 0, math.log(0.1), 0, 0, 0]
    assert rows[6].meaning == "white noise of a sample over the conductance, at 6 uS"
    power = [item for block in PowerLawReadNoise().layout(table()).blocks for item in block.coefficients]
    assert [(row.name, row.log) for row in power[1:4]] == [("q.scale", True), ("q.exponent", False), ("q.cap", True)]


def test_panels_show_the_mean_spectra_of_groups_by_conductance() -> None:
    """Five cells are four groups: the two lowest together."""
    cells = table(conductance=np.array([20.0, 2.0, 5.0, 10.0, 2.4]), cells=np.arange(5),
                  spectrum=np.vstack([table().spectrum, [[1e-3, 2e-4, 1e-4]]]))  # fmt: skip
    spectra, level, quantiles = KnotsReadNoise().panels(cells, THETA)
    assert [one.label for one in spectra.series] == [
        f"{kind}, {g} uS" for g in ("2.2", "5", "10", "20") for kind in ("measured", "fit")
    ]
    assert spectra.series[0].y == pytest.approx(cells.spectrum[[1, 4]].mean(0))
    assert spectra.series[1].y == pytest.approx(model(cells)[[1, 4]].mean(0))
    assert spectra.series[6].y == pytest.approx(cells.spectrum[0])
    assert [one.line for one in spectra.series] == [False, True] * 4
    assert (spectra.log_x, spectra.log_y, level.log_x, level.log_y) == (True, True, True, True)
    measured, fit = level.series
    assert level.title == "1/f level, exponent 1.200"
    assert measured.y == pytest.approx(KnotsReadNoise()._own_q(cells, THETA))
    assert fit.x == pytest.approx(np.geomspace(1.98, 20.2, 100))
    assert fit.y == pytest.approx(np.interp(np.log(fit.x / 20.0), cells.knots, Q))
    assert quantiles.title.startswith("Predicted quantiles")
