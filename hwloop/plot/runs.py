"""Figures of programming runs: error against step, and conductance maps."""

from __future__ import annotations

import io
from pathlib import Path

import h5py
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hwloop.durations import parse_duration
from hwloop.errors import BadInputError
from hwloop.files import hdf5
from hwloop.typing import FloatArray

FORMATS = (".png", ".svg")
COLOURS = {"gdp": "#0072b2", "iterative": "#d55e00", "sgd": "#cc79a7", "exact": "#009e73"}
"""Okabe and Ito's colours, which readers of all kinds of colour vision tell apart."""

SERIES = ("#000000", "#0072b2", "#56b4e9", "#e69f00", "#009e73", "#d55e00", "#cc79a7")
MARKERS = "os^vDPX"
AGE_TICKS = {
    text: parse_duration(text) for text in ("1ms", "1s", "1min", "1h", "1d", "30d", "1y", "10y", "100y", "1000y")
}
ERROR_TICKS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0)


def check_plot_path(path: str | Path, source: str | Path, *, force: bool) -> Path:
    """The path, if a figure of the file `source` can be written there. Raises BadInputError otherwise."""
    if Path(path).suffix.lower() not in FORMATS:
        raise BadInputError(f"{path}: a plot is a {' or '.join(FORMATS)} file")
    if Path(path).resolve() == Path(source).resolve():
        raise BadInputError(f"{path} is to hold the data; give another name for the plot")
    return hdf5.check_writable(path, force=force)


def plot_runs(source: str | Path, path: str | Path, floor: float | None = None) -> None:
    """Draw a run or comparison file: error against step on top, and below it a row of maps for each method.

    The maps show the largest tile: target, what the chip's own MVMs show, and the difference. `floor` is the MVM error
    with every conductance on target, drawn where it is known.
    """
    with hdf5.open_file(source, hdf5.RUN_FORMAT, hdf5.COMPARISON_FORMAT) as file:
        repeats = _repeats(file)
        runs = [first for first, *_ in repeats]
        mapped = [run for run in runs if _has_map(run)]
        figure = Figure(figsize=(12, 4.2 + 3.6 * len(mapped)), layout="constrained")
        figure.suptitle(f"{Path(str(file.attrs['weights'])).name} on {file.attrs['backend']}")
        rows = figure.subfigures(1 + len(mapped), 1, height_ratios=[1.15] + [1.0] * len(mapped), squeeze=False)[:, 0]
        left, right = rows[0].subplots(1, 2, width_ratios=[3, 1])
        _draw_errors(left, runs, floor)
        _draw_results(right, repeats, floor)
        span = max((3 * _rms_deviation(run) for run in mapped), default=1.0)
        for row, run in zip(rows[1:], mapped, strict=True):
            _draw_maps(row, run, span)
        content = io.BytesIO()
        with matplotlib.rc_context({"svg.fonttype": "none"}):  # text stays text, which can be searched and edited
            figure.savefig(content, format=Path(path).suffix[1:].lower(), dpi=110)
    hdf5.replace_file(Path(path), content.getvalue())


def plot_drift(source: str | Path, path: str | Path) -> None:
    """Draw a drift file: MVM error against age with each compensation, the limit, and when it will be passed."""
    with hdf5.open_file(source, hdf5.DRIFT_FORMAT) as file:
        figure = Figure(figsize=(8, 5), layout="constrained")
        axes = figure.subplots()
        names = [name for name in str(file.attrs["compensations"]).split(",") if f"compensations/{name}" in file]
        passings: list[tuple[int, str, float, float, float]] = []
        for number, name in enumerate(names):
            group, colour = file[f"compensations/{name}"], SERIES[number % len(SERIES)]
            ages, errors = hdf5.get(group, "measured_at", "s"), hdf5.get(group, "mvm_error", "1")
            # A refresh is tried anew at each age: its points are no course of one chip.
            line = "" if hdf5.get(group, "pulses", "1").any() else "-"
            marker = MARKERS[number % len(MARKERS)]
            axes.plot(ages, errors, ls=line, marker=marker, color=colour, label=name, alpha=0.85)
            if "passes_limit" in group:
                passings.append((number, colour, *hdf5.get(group, "passes_limit", "s")))
        axes.plot(hdf5.get(file, "calibrated", "s"), file.attrs["mvm_error_in_run"], "*k", ms=12, label="programmed")
        axes.axhline(file.attrs["limit"], color="black", ls=":", label=f"limit {file.attrs['limit']:g}")
        axes.set(xlabel="time since the end of programming", ylabel="relative MVM error", xscale="log", yscale="log")
        _draw_passings(axes, float(file.attrs["limit"]), passings)
        low, high = axes.get_xlim()
        ticks = [(seconds, label) for label, seconds in AGE_TICKS.items() if low <= seconds <= high]
        axes.set_xticks([seconds for seconds, _ in ticks], [label for _, label in ticks], minor=False)
        axes.set_xticks([], minor=True)
        bottom, top = axes.get_ylim()
        marks = [error for error in ERROR_TICKS if bottom <= error <= top]
        axes.set_yticks(marks, [f"{error:g}" for error in marks])
        axes.set_yticks([], minor=True)
        axes.grid(alpha=0.3)
        axes.legend(ncols=2, fontsize="small")
        axes.set_title(
            f"{Path(str(file.attrs['run'])).name} on {file.attrs['backend']}\nbars: 95 % interval of the passing"
        )
        content = io.BytesIO()
        with matplotlib.rc_context({"svg.fonttype": "none"}):
            figure.savefig(content, format=Path(path).suffix[1:].lower(), dpi=110)
    hdf5.replace_file(Path(path), content.getvalue())


def _draw_passings(axes: Axes, limit: float, passings: list[tuple[int, str, float, float, float]]) -> None:
    """A bar from the earliest to the latest passing of each compensation; an arrow where the latest is out of sight.

    passings: number, colour, earliest, median and latest age in seconds; infinite where the limit is not passed.
    """
    known = [seconds for *_, begin, middle, end in passings for seconds in (begin, middle, end) if np.isfinite(seconds)]
    edge = max([axes.get_xlim()[1], *(1.5 * seconds for seconds in known)])
    for number, colour, begin, _, end in passings:
        if np.isfinite(begin):
            height = limit * (1 + 0.012 * number)
            axes.hlines(height, begin, min(end, edge), color=colour, lw=4, alpha=0.5)
            if not np.isfinite(end):
                axes.plot(edge, height, marker=">", color=colour, clip_on=False)
    axes.set_xlim(right=edge)


def _repeats(file: h5py.File) -> list[list[h5py.Group]]:
    """The runs of a file, those of one method together."""
    if file.attrs["format"] == hdf5.RUN_FORMAT:
        return [[file]]
    names = str(file.attrs["methods"]).split(",")
    return [list(file[name].values()) for name in names if name in file]


def _largest_tile(run: h5py.Group) -> h5py.Group:
    return max(run["tiles"].values(), key=lambda tile: int(tile.attrs["rows"]) * int(tile.attrs["columns"]))


def _has_map(run: h5py.Group) -> bool:
    return "reached" in _largest_tile(run)


def _draw_errors(axes: Axes, runs: list[h5py.Group], floor: float | None) -> None:
    for run in runs:
        name, tile = str(run.attrs["method"]), _largest_tile(run)
        errors = hdf5.get(tile["steps"], "mvm_error", "1") if "steps" in tile else np.empty(0)
        if np.isfinite(errors).any():
            axes.plot(errors, ".-", color=COLOURS.get(name), label=f"{name}, as it sees itself")
        if run.attrs["status"] == "complete" and name != "exact":
            axes.plot(
                len(errors) - 1, tile.attrs["mvm_error"], "*", ms=14, color=COLOURS.get(name), label=f"{name}, measured"
            )
    if floor is not None:
        axes.axhline(floor, color=COLOURS["exact"], ls="--", label=f"noise floor {floor:.4f}")
    axes.set(xlabel="step", ylabel="relative MVM error", title="Error of the largest tile against step", yscale="log")
    axes.grid(alpha=0.3, which="both")
    if axes.get_legend_handles_labels()[0]:
        axes.legend()


def _draw_results(axes: Axes, repeats: list[list[h5py.Group]], floor: float | None) -> None:
    """A bar for the median of each method, and a dot for each of several repeats."""
    results: dict[str, list[float]] = {}
    for run in (run for runs in repeats for run in runs if run.attrs["status"] == "complete"):
        results.setdefault(str(run.attrs["method"]), []).append(float(run.attrs["mvm_error"]))
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


def _rms_deviation(run: h5py.Group) -> float:
    tile = _largest_tile(run)
    return float(np.sqrt(((hdf5.get(tile, "reached", "uS") - hdf5.get(tile, "target", "uS")) ** 2).mean()))


def _draw_maps(row: Figure, run: h5py.Group, deviation_span: float) -> None:
    """Target, reached and difference; the differences of all methods share a scale, to be compared at a glance."""
    tile = _largest_tile(run)
    target, reached = hdf5.get(tile, "target", "uS"), hdf5.get(tile, "reached", "uS")
    row.suptitle(f"{run.attrs['method']}: {tile.attrs['tensor']}, core {tile.attrs['core']}")
    axes = row.subplots(1, 3)
    span = float(np.abs(target).max())
    _draw_map(row, axes[0], target, span, "target")
    _draw_map(row, axes[1], reached, span, "reached, as MVMs show it")
    title = f"reached - target, rms {_rms_deviation(run):.2f} uS"
    _draw_map(row, axes[2], reached - target, max(deviation_span, 1e-12), title)


def _draw_map(row: Figure, axes: Axes, values: FloatArray, span: float, title: str) -> None:
    image = axes.imshow(values, cmap="RdBu_r", vmin=-span, vmax=span, aspect="auto", interpolation="nearest")
    axes.set(title=title, xlabel="column (output)", ylabel="row (input)")
    row.colorbar(image, ax=axes, label="conductance, uS")
