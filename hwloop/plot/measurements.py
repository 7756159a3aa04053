"""Figures of measurements: conductance against age, spread, read noise, programming errors and programming curves."""

from __future__ import annotations

import itertools

import numpy as np
from matplotlib.axes import Axes

from hwloop.durations import format_duration
from hwloop.errors import BadInputError
from hwloop.files.measurements import Experiment, Mark, Measurement
from hwloop.plot.style import BLUE, GREY, SERIES, VERMILION, axes_of, grid
from hwloop.typing import AnyArray, FloatArray, IndexArray


def conductance_against_age(measurement: Measurement, ax: Axes | None = None, *, groups: int = 6) -> Axes:
    """Draw median and 5 to 95 % range of the conductance against age, for groups of cells by what they first showed.

    Raises BadInputError for a measurement without reads of good cells.
    """
    axes = axes_of(ax)
    cell, time, conductance = _good_reads(measurement)
    group, labels = _groups(measurement, cell, conductance, groups)
    age = _binned(time)
    for number, label in enumerate(labels):
        mine = group[cell] == number
        if not mine.any():
            continue
        ages, (low, middle, high) = _ranges(age[mine], conductance[mine])
        colour = SERIES[1 + number % (len(SERIES) - 1)]
        axes.plot(ages, middle, ".-", color=colour, label=label)
        axes.fill_between(ages, low, high, color=colour, alpha=0.15, lw=0)
    axes.set(xlabel="age, s", ylabel="conductance, uS", xscale="log", title="Conductance with age: median, 5 to 95 %")
    grid(axes)
    axes.legend(title="first read, uS", fontsize="small")
    return axes


def traces(measurement: Measurement, ax: Axes | None = None, *, cells: int = 60) -> Axes:
    """Draw the courses of single cells, spread evenly over their conductances.

    Raises BadInputError for a measurement without reads of good cells.
    """
    axes = axes_of(ax)
    cell, time, conductance = _good_reads(measurement)
    first = _first_reads(measurement, cell, conductance)
    known = np.flatnonzero(np.isfinite(first))
    ordered = known[np.argsort(first[known], kind="stable")]
    chosen = ordered[np.linspace(0, ordered.size - 1, min(cells, ordered.size)).astype(int)]
    shown = np.isin(cell, chosen)
    order = np.lexsort((time[shown], cell[shown]))
    breaks = (
        np.flatnonzero(np.diff(cell[shown][order])) + 1
    )  # one line with gaps draws faster than a line for each cell
    ages, values = (np.insert(column[shown][order], breaks, np.nan) for column in (time, conductance))
    axes.plot(ages, values, "-", color=BLUE, lw=0.7, alpha=0.7)
    scale = "log" if time.min() > 0 and time.max() > 100 * time.min() else "linear"
    axes.set(xlabel="age, s", ylabel="conductance, uS", xscale=scale, title=f"Courses of {chosen.size} cells")
    grid(axes)
    return axes


def read_noise_by_conductance(measurement: Measurement, ax: Axes | None = None) -> Axes:
    """Draw the standard deviation of each cell's reads against their mean, with the median of groups.

    Raises BadInputError for a measurement without cells that were read twice.
    """
    axes = axes_of(ax)
    cell, _, conductance = _good_reads(measurement)
    count = np.bincount(cell, minlength=len(measurement.cells))
    twice = count > 1
    if not twice.any():
        raise BadInputError("no cell was read twice, so that noise is not told apart from its conductance")
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(cell, conductance, len(measurement.cells)) / count
        square = np.bincount(cell, (conductance - mean[cell]) ** 2, len(measurement.cells)) / (count - 1)
    mean, deviation = mean[twice], np.sqrt(square[twice])
    axes.plot(mean, deviation, ".", ms=3, color=BLUE, alpha=0.4, label="cells")
    groups = np.array_split(np.argsort(mean), max(1, min(20, mean.size // 10)))
    middle = np.array([[np.median(mean[one]), np.median(deviation[one])] for one in groups])
    axes.plot(*middle.T, "o-", color=VERMILION, label="median of groups")
    axes.set(xlabel="mean conductance, uS", ylabel="standard deviation of reads, uS", title="Read noise")
    grid(axes)
    axes.legend()
    return axes


def programming_error(measurement: Measurement, ax: Axes | None = None) -> Axes:
    """Draw what re-reads miss their targets by against the target, with median and 5 to 95 % range of groups.

    Of each cell that read counts which is nearest to the age at which its target holds, where the measurement states
    one, else the first. Raises BadInputError for a measurement without targets.
    """
    axes = axes_of(ax)
    cell, time, conductance = _good_reads(measurement)
    age, which = measurement.attributes.get("target_age"), "first re-read"
    if isinstance(age, int | float) and age > 0:
        away = np.abs(np.log(np.maximum(time, np.finfo(np.float64).tiny) / age))
        order = np.lexsort((away, cell))  # the nearest of each cell comes first
        cell, conductance, which = cell[order], conductance[order], f"re-read nearest to {format_duration(age)}"
    reached, target = _first_reads(measurement, cell, conductance), measurement.cells.target
    known = np.isfinite(reached) & np.isfinite(target)
    if not known.any():
        raise BadInputError("no cell had a target, so that programming has no error")
    off, aimed = (reached - target)[known], target[known]
    shown = slice(None, None, max(1, off.size // 5000))
    axes.plot(aimed[shown], off[shown], ".", ms=2, color=BLUE, alpha=0.4, label="cells")
    count = max(1, min(16, aimed.size // 20))
    rank = np.empty(aimed.size, np.int64)
    rank[np.argsort(aimed, kind="stable")] = np.arange(aimed.size)
    group = rank * count // aimed.size
    centre = np.bincount(group, aimed) / np.bincount(group)
    _, (low, middle, high) = _ranges(group, off)
    axes.errorbar(
        centre, middle, [middle - low, high - middle], fmt="o-", color=VERMILION, capsize=2, label="median, 5 to 95 %"
    )
    axes.axhline(0.0, color=GREY, lw=0.8)
    axes.set(xlabel="target, uS", ylabel=f"{which} - target, uS", title="Programming error")
    grid(axes)
    axes.legend()
    return axes


def conductance_against_pulse(measurement: Measurement, ax: Axes | None = None, *, most: int = 40) -> Axes:
    """Draw median and 5 to 95 % range of the conductance after pulses, at `most` amplitudes, or voltages.

    Raises BadInputError for a measurement without pulses.
    """
    axes = axes_of(ax)
    reads = measurement.reads
    driven, label = (reads.amplitude, "amplitude, uA") if reads.voltage is None else (reads.voltage, "voltage, V")
    if driven is None:
        raise BadInputError("these reads have no pulses before them; a programming curve has")
    good = (measurement.cells.mark[reads.cell] == Mark.GOOD) & np.isfinite(driven) & np.isfinite(reads.conductance)
    if not good.any():
        raise BadInputError("no good cell has a read after a pulse")
    at, values = driven[good], reads.conductance[good]
    if np.unique(at).size > most:
        places = np.linspace(at.min(), at.max(), most)
        at = places[np.rint((at - places[0]) / (places[1] - places[0])).astype(int)]
    steps, (low, middle, high) = _ranges(at, values)
    axes.plot(steps, middle, ".-", color=VERMILION, label="median")
    axes.fill_between(steps, low, high, color=VERMILION, alpha=0.15, label="5 to 95 %")
    axes.set(xlabel=f"pulse {label}", ylabel="conductance, uS", title="Programming curve")
    grid(axes)
    axes.legend()
    return axes


def pulse_response(measurement: Measurement, ax: Axes | None = None) -> Axes:
    """Draw conductances along the ramps of a pulse response, read by read, with the 5 to 95 % range of devices.

    Raises BadInputError for a measurement without reads of good cells.
    """
    axes = axes_of(ax)
    cell, _, conductance = _good_reads(measurement)
    order = np.argsort(cell, kind="stable")
    starts = np.searchsorted(cell[order], cell[order])
    number = np.empty(cell.size, np.int64)
    number[order] = np.arange(cell.size) - starts
    steps, (low, middle, high) = _ranges(number.astype(np.float64), conductance)
    every = measurement.attributes.get("read_every")
    scale = float(every) if isinstance(every, int | float) and every > 0 else 1.0
    axes.plot(scale * steps, middle, color=VERMILION, label="median")
    axes.fill_between(scale * steps, low, high, color=VERMILION, alpha=0.15, label="5 to 95 %")
    axes.set(xlabel="pulses since the first read", ylabel="conductance, uS", title="Pulse response")
    grid(axes)
    axes.legend()
    return axes


def main_figure(measurement: Measurement, ax: Axes | None = None) -> Axes:
    """Draw what a measurement is made for: the course of drift, noise, programming error, or the programming curve."""
    draw = {
        Experiment.DRIFT: conductance_against_age,
        Experiment.READ_NOISE: read_noise_by_conductance,
        Experiment.PROGRAMMING: programming_error,
        Experiment.PROGRAMMING_CURVE: conductance_against_pulse,
        Experiment.PULSE_RESPONSE: pulse_response,
    }
    return draw[measurement.experiment](measurement, ax)


def _good_reads(measurement: Measurement) -> tuple[IndexArray, FloatArray, FloatArray]:
    """Give cell, time and conductance of the reads of good cells. Raises BadInputError where there are none."""
    reads = measurement.reads
    good = (measurement.cells.mark[reads.cell] == Mark.GOOD) & np.isfinite(reads.conductance) & (reads.time >= 0)
    if not good.any():
        raise BadInputError(f"this {measurement.experiment.value} measurement has no reads of good cells")
    return reads.cell[good].astype(np.int64), reads.time[good], reads.conductance[good]


def _first_reads(measurement: Measurement, cell: IndexArray, conductance: FloatArray) -> FloatArray:
    """Give each cell's first read, NaN for a cell without; reads come in the order in which they were taken."""
    first = np.full(len(measurement.cells), np.nan)
    cells, at = np.unique(cell, return_index=True)
    first[cells] = conductance[at]
    return first


def _groups(
    measurement: Measurement, cell: IndexArray, conductance: FloatArray, groups: int
) -> tuple[IndexArray, list[str]]:
    """Sort cells into groups by their first reads: the group of each cell, and what each group is called."""
    first = _first_reads(measurement, cell, conductance)
    known = first[np.isfinite(first)]
    edges = np.unique(np.quantile(known, np.linspace(0, 1, groups + 1)))
    if edges.size == 1:
        edges = np.array([edges[0], edges[0]])
    group = np.clip(np.searchsorted(edges, first, side="right") - 1, 0, edges.size - 2)
    return group, [f"{low:.3g} to {high:.3g}" for low, high in itertools.pairwise(edges)]


def _binned(time: FloatArray, most: int = 40) -> FloatArray:
    """Bring ages to at most so many: as they are where they repeat, else to the middle of intervals in ln t."""
    if np.unique(time).size <= most:
        return time
    positive = np.maximum(time, time[time > 0].min(initial=np.inf))
    edges = np.geomspace(positive.min(), positive.max() * (1 + 1e-9), most + 1)
    middle = np.sqrt(edges[:-1] * edges[1:])
    return np.asarray(middle[np.clip(np.digitize(positive, edges) - 1, 0, most - 1)], np.float64)


def _ranges(at: AnyArray, values: FloatArray) -> tuple[AnyArray, FloatArray]:
    """Compute the 5, 50 and 95 % quantiles (3, places) of the values at each place, and give the places, in order."""
    order = np.lexsort((values, at))
    places, first, count = np.unique(at[order], return_index=True, return_counts=True)
    position = first + np.array([[0.05], [0.5], [0.95]]) * (count - 1)
    below = np.floor(position).astype(np.int64)
    above, share = np.minimum(below + 1, first + count - 1), position - below
    ordered = values[order]
    return places, np.asarray((1 - share) * ordered[below] + share * ordered[above], np.float64)
