"""Figures of programming runs: error against step, results of methods, and conductance maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from hwloop.files.runs import RunRecord
from hwloop.plot.style import BLACK, BLUE, GREEN, PURPLE, VERMILION, axes_of, plain_numbers, save_figure
from hwloop.plot.tiles import difference_map, error_by_conductance, reached_map, rms_deviation, target_map

COLOURS = {"gdp": BLUE, "iterative": VERMILION, "sgd": PURPLE, "exact": GREEN}


def draw_runs(runs: Sequence[Sequence[RunRecord]], path: str | Path, floor: float | None = None) -> None:
    """Draw runs into a file: error against step on top, and below it a row of maps for each method.

    The maps show the largest tile: target, what the chip's own MVMs show, and the difference.

    Parameters
    ----------
    runs
        Of each method, all its repeats.
    path
        PNG, SVG or PDF.
    floor
        MVM error with every conductance on target, drawn where it is known.
    """
    first = [repeats[0] for repeats in runs]
    mapped = [run for run in first if run.largest_tile.reached is not None]
    figure = Figure(figsize=(12, 4.2 + 3.6 * len(mapped)), layout="constrained")
    asked = first[0].provenance
    figure.suptitle(f"{Path(asked.weights).name} on {asked.backend}")
    rows = figure.subfigures(1 + len(mapped), 1, height_ratios=[1.15] + [1.0] * len(mapped), squeeze=False)[:, 0]
    left, right = rows[0].subplots(1, 2, width_ratios=[3, 1])
    error_against_step(first, left, floor=floor)
    results_of_methods(runs, right, floor=floor)
    span = max((3 * rms_deviation(run.largest_tile) for run in mapped), default=1.0)
    for row, run in zip(rows[1:], mapped, strict=True):
        _draw_maps(row, run, span)
    save_figure(figure, Path(path))


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
        name, tile = run.method, run.largest_tile
        errors = tile.steps.mvm_error
        if np.isfinite(errors).any():
            axes.plot(errors, ".-", color=COLOURS.get(name), label=f"{name}, as it sees itself")
        if run.status == "complete" and name != "exact":
            axes.plot(len(errors) - 1, tile.mvm_error, "*", ms=14, color=COLOURS.get(name), label=f"{name}, measured")
    if floor is not None:
        axes.axhline(floor, color=COLOURS["exact"], ls="--", label=f"noise floor {floor:.4f}")
    axes.set(xlabel="step", ylabel="relative MVM error", title="Error of the largest tile against step", yscale="log")
    plain_numbers(axes.yaxis)
    axes.grid(alpha=0.3, which="both")
    if axes.get_legend_handles_labels()[0]:
        axes.legend()
    return axes


def results_of_methods(
    runs: Sequence[Sequence[RunRecord]], ax: Axes | None = None, *, floor: float | None = None
) -> Axes:
    """Draw a bar for the median error of each method, and a dot for each of several repeats."""
    axes, once = axes_of(ax), "each repeat"
    results: dict[str, list[float]] = {}
    for run in (run for repeats in runs for run in repeats if run.status == "complete"):
        results.setdefault(run.method, []).append(run.mvm_error)
    names = list(results)
    medians = [float(np.median(errors)) for errors in results.values()]
    bars = axes.bar(names, medians, color=[COLOURS.get(name, "grey") for name in names])
    axes.bar_label(bars, fmt="%.4f", label_type="center", color="white")
    for name, errors in results.items():
        if len(errors) > 1:
            axes.plot([name] * len(errors), errors, "o", color="black", ms=4, alpha=0.6, label=once)
            once = ""
    if floor is not None:
        axes.axhline(floor, color=COLOURS["exact"], ls="--", label="noise floor: every conductance on target")
    axes.set(ylabel="relative MVM error", title="All tiles, fresh inputs")
    axes.margins(y=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper right", fontsize="small")
    return axes


def errors_by_conductance(runs: Sequence[RunRecord], ax: Axes | None = None) -> Axes:
    """Draw how far the cells of each run's largest tile are off, by their targets, where that was measured."""
    axes = axes_of(ax)
    for run in runs:
        if run.largest_tile.reached is not None:
            error_by_conductance(run.largest_tile, axes, label=run.method, colour=COLOURS.get(run.method, BLACK))
    return axes


def _draw_maps(row: SubFigure, run: RunRecord, deviation_span: float) -> None:
    """Draw target, reached and difference; the differences of all methods share a scale, for comparison."""
    record = run.largest_tile
    row.suptitle(f"{run.method}: {record.tile.tensor}, core {record.tile.place.core}")
    target, reached, difference = row.subplots(1, 3)
    target_map(record, target)
    reached_map(record, reached)
    difference_map(record, difference, span=deviation_span)
