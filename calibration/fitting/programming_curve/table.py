"""Sweeps of RESET pulses as rectangles, one row per device."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from hwloop.calibration.fitting.checks import Rows, check_reads, conductance_scale, rows_of, with_reads
from hwloop.calibration.fitting.known import KnownDrift
from hwloop.calibration.fitting.programming_curve.ageing import Ageing
from hwloop.calibration.fitting.programming_curve.settings import USUAL, CurveSettings
from hwloop.calibration.fitting.screening import STUCK, Screening
from hwloop.errors import BadInputError
from hwloop.files.measurements import Measurement
from hwloop.typing import BoolArray, FloatArray, IndexArray


@dataclass(frozen=True)
class CurveTable:
    """One row per device: amplitudes (cells, pulses) in uA, and reads (cells, pulses, ages) in uS of what they left.

    Where the drift is known and every pulse was read twice, there are two ages, else one.
    """

    g_scale: float
    """Conductance (uS) that counts as 1."""
    width: float
    """Of the pulses, ns."""
    age: float
    """At which the conductances hold, seconds."""
    knots: tuple[float, ...]
    """ln(G / uS) of those at which the noise of reads is fitted; none where every pulse was read once."""
    cells: IndexArray
    there: BoolArray
    """(cells, pulses)"""
    amplitude: FloatArray
    conductance: FloatArray
    log_age: FloatArray
    """ln(t0 / t) of each read; zero where no drift is known."""
    ageing: Ageing | None = None
    """What drift makes of conductances, where it is known."""

    @property
    def ages(self) -> int:
        """Reads of every pulse."""
        return int(self.conductance.shape[2])

    @property
    def reads_there(self) -> BoolArray:
        """(cells, reads) reads that exist, those of a pulse one after the other."""
        return np.repeat(self.there, self.ages, axis=1)


def curve_table(
    measurement: Measurement, drift: KnownDrift | None = None, settings: CurveSettings = USUAL
) -> tuple[CurveTable, Screening]:
    """Put the sweeps of all devices into rectangles.

    Parameters
    ----------
    measurement
        Reads after RESET pulses of different amplitudes.
    drift
        What is known of it, where the curve is to be stated at its reference age.
    settings
        Thresholds.

    Returns
    -------
    tuple
        The devices that are used, and why others are not.

    Raises
    ------
    BadInputError
        When there is nothing to fit.
    """
    width = _checked_width(measurement, settings.fewest_reads)
    early, rows = _ages(measurement)
    assert rows.amplitude is not None
    screening, high = _answering(measurement, rows, settings)
    kept = screening.kept
    reads_of = [rows] if early is None or drift is None else [early, rows]
    conductance = np.stack([one.conductance[kept] for one in reads_of], axis=-1)
    t0 = 1.0 if drift is None else drift.t0
    time = np.stack([np.where(one.there & (one.time > 0), one.time, t0)[kept] for one in reads_of], axis=-1)
    there = rows.there[kept]
    if len(reads_of) == 2:
        there = there & (time[..., 1] > 1.1 * time[..., 0])
        time[~there] = np.array([0.1, 1.0]) * t0
    twice = len(reads_of) == 2
    return CurveTable(
        g_scale=conductance_scale(measurement, high[kept]),
        width=width,
        age=float(np.median(rows.time[rows.there])) if drift is None else drift.t0,
        knots=_noise_knots(conductance[..., 1], there, rows.amplitude[kept], settings) if twice else (),
        cells=np.flatnonzero(kept),
        there=there,
        amplitude=rows.amplitude[kept],
        conductance=conductance,
        log_age=np.zeros_like(time) if drift is None else np.log(drift.t0 / time),
        ageing=None if drift is None else Ageing(drift),
    ), screening


def _checked_width(measurement: Measurement, fewest: int) -> float:
    """Return the width (ns) of the pulses. Raises BadInputError for reads that are not those of RESET sweeps."""
    check_reads(measurement)
    reads = measurement.reads
    if reads.amplitude is None or reads.width is None:
        raise BadInputError("programming-curve: the reads lack the amplitude and width of the pulses before them")
    bad = ~(np.isfinite(reads.amplitude) & (reads.amplitude > 0))
    if bad.any():
        raise BadInputError(f"programming-curve: the pulse amplitude of read {int(np.argmax(bad))} is not positive")
    if np.unique(reads.amplitude).size < fewest:
        raise BadInputError(f"programming-curve: fewer than {fewest} different amplitudes show no curve")
    if np.ptp(reads.width) > 0.01 * reads.width.max():
        raise BadInputError("programming-curve: the pulses differ in width; fit one width at a time")
    return float(np.median(reads.width))


def _answering(measurement: Measurement, rows: Rows, settings: CurveSettings) -> tuple[Screening, FloatArray]:
    """Leave out devices that do not answer to their pulses; also return the highest read (cells,) of each, uS.

    Raises BadInputError where none does, or where conductances do not fall with the amplitude.
    """
    screening = Screening.of(measurement)
    screening.drop(rows.counts < settings.fewest_reads, f"fewer than {settings.fewest_reads} pulses")
    high = np.where(rows.there, rows.conductance, -np.inf).max(1, initial=-np.inf)
    low = np.where(rows.there, rows.conductance, np.inf).min(1, initial=np.inf)
    if screening.kept.any():
        usual = np.median((high - low)[screening.kept])
        screening.drop(high - low < settings.still * usual, STUCK)
    if not screening.kept.any() or not np.median((high - low)[screening.kept]) > 0:
        raise BadInputError("programming-curve: no device answers to its pulses; nothing is left to fit")
    fall = _fall(rows)[screening.kept]
    if not fall.mean() > settings.sure * fall.std() / math.sqrt(fall.size):
        raise BadInputError(
            "programming-curve: on average conductances do not fall from the weaker to the stronger pulses: no device "
            "answers, or the amplitudes are not those of RESET pulses"
        )
    return screening, high


def _fall(rows: Rows) -> FloatArray:
    """Return by how much (cells,), in uS, reads fall from the lower to the upper half of the amplitudes."""
    assert rows.amplitude is not None
    weak = rows.there & (rows.amplitude <= np.median(rows.amplitude[rows.there]))
    strong = rows.there & ~weak
    means = [np.where(half, rows.conductance, 0.0).sum(1) / np.maximum(half.sum(1), 1) for half in (weak, strong)]
    fall: FloatArray = means[0] - means[1]
    return fall


def _ages(measurement: Measurement) -> tuple[Rows | None, Rows]:
    """Return the first and the second read of every pulse in rows, or None and the only ones."""
    nominal = measurement.reads.nominal
    if nominal is None or np.unique(nominal).size != 2:
        return None, rows_of(measurement)
    first, second = (rows_of(with_reads(measurement, nominal == age)) for age in np.unique(nominal))
    both = min(first.there.shape[1], second.there.shape[1])  # a measurement may have ended between two reads
    first, second = _first_columns(first, both), _first_columns(second, both)
    there = first.there & second.there & (first.amplitude == second.amplitude)
    return replace(first, there=there), replace(second, there=there)


def _first_columns(rows: Rows, count: int) -> Rows:
    """Return the first `count` reads of every cell."""
    return replace(
        rows, **{name: column[:, :count] for name, column in vars(rows).items() if isinstance(column, np.ndarray)}
    )


def _noise_knots(
    conductance: FloatArray, there: BoolArray, amplitude: FloatArray, settings: CurveSettings
) -> tuple[float, ...]:
    """Spread knots between what the strongest and the weakest pulses leave."""
    weakest, strongest = (there & (amplitude == end) for end in (amplitude[there].min(), amplitude[there].max()))
    high = math.log(np.median(conductance[weakest]))
    low = max(float(np.median(conductance[strongest])), math.exp(high - settings.widest_range))
    return tuple(np.linspace(math.log(low), high, settings.noise_knots).tolist())
