"""Figures of programming runs: error against step, results of methods, and conductance maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from hwloop.files.runs import RunRecord, TileRecord
from hwloop.plot.style import BLUE, GREEN, PURPLE, VERMILION, axes_of, save_figure
from hwloop.typing import FloatArray

COLOURS = {"gdp": BLUE, "iterative": VERMILION, "sgd": PURPLE, "exact": GREEN}
SMALLEST_SPAN = 1e-12
"""uS; the scale of a map of differences is never smaller."""


def draw_runs(runs: Sequence[Sequence[RunRecord]], path: str | Path, floor: float | None = None) -> None:
    """Draw runs into a file: error against step on top, and below it a row of maps for each method.

    The maps show the largest tile: target, what the chip's own MVMs show, and the difference.

    Parameters
    ----------
    runs
        Of each method, all its repeats.
    path
        PNG or SVG.
    floor
        MVM error with every conductance on target, drawn where it is known.
    """
    first = [repeats[0] for repeats in runs]
    mapped = [run for run in first if largest_tile(run).reached is not None]
    figure = Figure(figsize=(12, 4.2 + 3.6 * len(mapped)), layout="constrained")
    asked = first[0].provenance
    figure.suptitle(f"{Path(asked.weights).name} on {asked.backend}")
    rows = figure.subfigures(1 + len(mapped), 1, height_ratios=[1.15] + [1.0] * len(mapped), squeeze=False)[:, 0]
    left, right = rows[0].subplots(1, 2, width_ratios=[3, 1])
    error_against_step(first, left, floor=floor)
    results_of_methods(runs, right, floor=floor)
    span = max((3 * _rms_deviation(largest_tile(run)) for run in mapped), default=1.0)
    for row, run in zip(rows[1:], mapped, strict=True):
        _draw_maps(row, run, span)
    save_figure(figure, Path(path))


def largest_tile(run: RunRecord) -> TileRecord:
    """Return the tile with the most cells."""
    return max(run.tiles, key=lambda tile: tile.tile.target.size)


def error_against_step(runs: Sequence[RunRecord], ax: Axes | None = None, *, floor: float | None = None) -> Axes:
    """Draw the MVM error of each run's largest tile against the step of its method, and the measured one as a star.

    Parameters
    ----------
    runs
        What to draw, a line each.
    ax
        Axes to draw on; None for new ones.
    floor
        MVM error with every conductance on target, drawn where it is known.
    """
    axes = axes_of(ax)
    for run in runs:
        name, tile = run.method, largest_tile(run)
        errors = tile.steps.mvm_error
        if np.isfinite(errors).any():
            axes.plot(errors, ".-", color=COLOURS.get(name), label=f"{name}, as it sees itself")
        if run.status == "complete" and name != "exact":
            axes.plot(len(errors) - 1, tile.mvm_error, "*", ms=14, color=COLOURS.get(name), label=f"{name}, measured")
    if floor is not None:
        axes.axhline(floor, color=COLOURS["exact"], ls="--", label=f"noise floor {floor:.4f}")
    axes.set(xlabel="step", ylabel="relative MVM error", title="Error of the largest tile against step", yscale="log")
    axes.grid(alpha=0.3, which="both")
    if axes.get_legend_handles_labels()[0]:
        axes.legend()
    return axes


def results_of_methods(
    runs: Sequence[Sequence[RunRecord]], ax: Axes | None = None, *, floor: float | None = None
) -> Axes:
    """Draw a bar for the median error of each method, and a dot for each of several repeats."""
    axes = axes_of(ax)
    results: dict[str, list[float]] = {}
    for run in (run for repeats in runs for run in repeats if run.status == "complete"):
        results.setdefault(run.method, []).append(run.mvm_error)
    names = list(results)
    medians = [float(np.median(errors)) for errors in results.values()]
    bars = axes.bar(names, medians, color=[COLOURS.get(name, "grey") for name in names])
    axes.bar_label(bars, fmt="%.4f", label_type="center", color="white")
    for name, errors in results.items():
        if len(errors) > 1:
            axes.plot([name] * len(errors), errors, "o", color="black", ms=4, alpha=0.6)
    if floor is not None:
        axes.axhline(floor, color=COLOURS["exact"], ls="--")
    axes.set(ylabel="relative MVM error", title="All tiles, fresh inputs")
    axes.margins(y=0.15)
    return axes


def _rms_deviation(tile: TileRecord) -> float:
    assert tile.reached is not None
    return float(np.sqrt(((tile.reached - tile.tile.target) ** 2).mean()))


def _draw_maps(row: SubFigure, run: RunRecord, deviation_span: float) -> None:
    """Draw target, reached and difference; the differences of all methods share a scale, for comparison."""
    record = largest_tile(run)
    assert record.reached is not None
    target, reached, place = record.tile.target, record.reached, record.tile.place
    row.suptitle(f"{run.method}: {record.tile.tensor}, core {place.core}")
    axes = row.subplots(1, 3)
    span = float(np.abs(target).max())
    conductance_map(target, axes[0], span=span, title="target")
    conductance_map(reached, axes[1], span=span, title="reached, as MVMs show it")
    title = f"reached - target, rms {_rms_deviation(record):.2f} uS"
    conductance_map(reached - target, axes[2], span=max(deviation_span, SMALLEST_SPAN), title=title)


def conductance_map(values: FloatArray, ax: Axes | None = None, *, span: float | None = None, title: str = "") -> Axes:
    """Draw signed conductances (rows, columns) in uS as a map; `span` is the largest magnitude of the colours."""
    axes = axes_of(ax)
    largest = span if span is not None else max(float(np.abs(values).max(initial=0.0)), SMALLEST_SPAN)
    image = axes.imshow(values, cmap="RdBu_r", vmin=-largest, vmax=largest, aspect="auto", interpolation="nearest")
    axes.set(title=title, xlabel="column (output)", ylabel="row (input)")
    figure = axes.get_figure()
    assert figure is not None
    figure.colorbar(image, ax=axes, label="conductance, uS")
    return axes
