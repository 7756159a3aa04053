"""Read noise: level, exponent and white part of known spectra, and of real ones beside scipy's Welch estimate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import optimize, signal

from hwloop.calibration.fitting.checks import with_reads
from hwloop.calibration.fitting.read_noise import KnotsReadNoise, PowerLawReadNoise, spectrum_table
from hwloop.calibration.fitting.selection import fit_measurement
from hwloop.calibration.fitting.synthetic import Sampling, flickering
from hwloop.devices.statistics import PowerLaw
from hwloop.errors import BadInputError
from hwloop.files.measurements import Cells, Experiment, Measurement, Reads
from tests.calibration.fitting.shared_data import shared_file

Q = PowerLaw(0.0088, -0.65, 0.2)


def measured(cells: int, seed: int, exponent: float = 1.1, white: float = 0.02) -> Measurement:
    rng = np.random.default_rng(seed)
    conductance = np.exp(rng.uniform(np.log(0.5), np.log(25.0), cells))
    return flickering(Q(conductance / conductance.max()), conductance, exponent, Sampling(2048, 1e-3, white), rng)


def test_level_exponent_and_white_part_are_recovered() -> None:
    measurement = measured(200, seed=1)
    fitted, _ = PowerLawReadNoise().fit(measurement)
    rows = {row.name: row for row in fitted.record.parameters}
    for name, truth in (("alpha", 1.1), ("q.scale", 0.0088), ("q.exponent", -0.65)):
        sigma = (rows[name].high - rows[name].low) / 3.92  # type: ignore[operator]
        assert abs(rows[name].value - truth) < 3.5 * sigma + 0.02 * abs(truth), name
    for row in (row for row in fitted.record.parameters if row.name.startswith("white")):
        assert row.low - 0.004 < 0.02 < row.high + 0.002, row  # type: ignore[operator]
    assert fitted.record.ks_distance < 0.03


def test_knots_find_q_without_a_form() -> None:
    fitted, _ = KnotsReadNoise().fit(measured(200, seed=2))
    g = np.geomspace(0.05, 0.9, 10)
    assert fitted.record.statistic("q")(g) == pytest.approx(Q(g), rel=0.12)


def test_the_exponent_of_real_series_agrees_with_welch() -> None:
    """RRAM technology A, one cell at each of three levels, 100 000 samples at 400 Hz, with telegraph noise."""
    rows = np.genfromtxt(shared_file("rram_techA_timeseries.tsv.gz"), delimiter="\t")[:, 2:] * 1e6
    for series in rows:
        series = (
            series - np.polyval(np.polyfit(np.arange(series.size), series, 1), np.arange(series.size)) + series.mean()
        )
        fitted, table = KnotsReadNoise().fit(one_series(series))
        row = fitted.record.parameters[0]
        half = (row.high - row.low) / 2  # type: ignore[operator]
        alpha, error = welch_exponent(series, table.frequency[0])
        assert abs(row.value - alpha) < 2 * error + half


def one_series(series: np.ndarray) -> Measurement:
    n = series.size
    reads = Reads(np.zeros(n, np.int32), np.arange(n) / 400.0, series, np.full(n, np.nan))
    return Measurement(Experiment.READ_NOISE, Cells.at(np.array([1])), reads)


def welch_exponent(series: np.ndarray, lowest: float) -> tuple[float, float]:
    """Exponent of A f^-alpha + W by least squares in the logarithm of scipy's Welch estimate, and its error."""
    f, s = signal.welch(series / series.mean() - 1, fs=400.0, nperseg=25_000, detrend="linear")
    bins = np.floor(12 * np.log10(np.maximum(f, lowest) / lowest)).astype(int)[4:]
    count = np.bincount(bins)
    f, s = (np.bincount(bins, v[4:])[count > 0] / count[count > 0] for v in (f, s))

    def misfit(theta: np.ndarray) -> np.ndarray:
        return np.log(np.exp(theta[0]) * f ** -theta[1] + np.exp(theta[2])) - np.log(s)

    # The spectra have bumps of single traps, far larger than the error of their estimate: every bin counts the same.
    found = optimize.least_squares(misfit, [np.log(s[0] * f[0]), 1.0, np.log(s[-1])])
    variance = 2 * found.cost / (f.size - 3) * np.linalg.pinv(found.jac.T @ found.jac)
    return float(found.x[1]), float(np.sqrt(variance[1, 1]))


def test_series_that_are_no_series_are_refused() -> None:
    measurement = measured(10, seed=3)
    with pytest.raises(BadInputError, match="64 samples that a spectrum needs"):
        fit_measurement(with_reads(measurement, measurement.reads.time < 10.02))
    rng = np.random.default_rng(0)
    uneven = np.repeat(10 + np.sort(rng.uniform(0, 2, 2048)), 10)
    with pytest.raises(BadInputError, match="uneven times"):
        fit_measurement(replace(measurement, reads=replace(measurement.reads, time=uneven)))
    flat = np.ones_like(measurement.reads.conductance)
    with pytest.raises(BadInputError, match="stuck"):
        fit_measurement(replace(measurement, reads=replace(measurement.reads, conductance=flat)))


def test_as_many_cells_as_frequencies() -> None:
    """Cells are held out, frequencies are not, however many there are of either."""
    bins = spectrum_table(measured(30, seed=1))[0].frequency.size
    assert fit_measurement(measured(bins, seed=1)).fitted.record.cells.used == bins
