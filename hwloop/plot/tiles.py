"""Figures of one tile: maps of what was wanted and reached, error by conductance, pulses, and cells given up."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap

from hwloop.errors import BadInputError
from hwloop.files.runs import TileRecord
from hwloop.plot.style import BLUE, GREY, ORANGE, SKY, VERMILION, axes_of, grid
from hwloop.typing import AnyArray, FloatArray, IndexArray

SMALLEST_SPAN = 1e-12
"""uS; the scale of a map of differences is never smaller."""


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


def target_map(tile: TileRecord, ax: Axes | None = None) -> Axes:
    """Draw the conductances that a tile was to reach."""
    return conductance_map(tile.tile.target, ax, title="target")


def reached_map(tile: TileRecord, ax: Axes | None = None) -> Axes:
    """Draw the conductances that a tile's MVMs showed. Raises BadInputError where they were not measured."""
    span = max(float(np.abs(tile.tile.target).max(initial=0.0)), SMALLEST_SPAN)
    return conductance_map(_reached(tile), ax, span=span, title="reached, as MVMs show it")


def difference_map(tile: TileRecord, ax: Axes | None = None, *, span: float | None = None) -> Axes:
    """Draw reached minus target; `span` is the largest magnitude of the colours, three times the rms unless given.

    Raises BadInputError where conductances were not measured.
    """
    difference = _reached(tile) - tile.tile.target
    rms = rms_deviation(tile)
    largest = max(3 * rms if span is None else span, SMALLEST_SPAN)
    return conductance_map(difference, ax, span=largest, title=f"reached - target, rms {rms:.2f} uS")


def rms_deviation(tile: TileRecord) -> float:
    """Compute the root mean square of reached minus target, uS. Raises BadInputError where it was not measured."""
    return float(np.sqrt(((_reached(tile) - tile.tile.target) ** 2).mean()))


def error_by_conductance(tile: TileRecord, ax: Axes | None = None, *, label: str = "", colour: str = BLUE) -> Axes:
    """Draw how far cells are off, against their targets, in up to 24 groups of equally many: rms, and mean in dashes.

    Raises BadInputError where conductances were not measured.
    """
    axes = axes_of(ax)
    target = tile.tile.target.ravel()
    off = (_reached(tile) - tile.tile.target).ravel()
    groups = _in_groups(target, 24)
    centre, mean, square = (np.array([values[group].mean() for group in groups]) for values in (target, off, off**2))
    prefix = f"{label}, " if label else ""
    axes.plot(centre, np.sqrt(square), ".-", color=colour, label=f"{prefix}rms")
    axes.plot(centre, mean, "--", color=colour, alpha=0.7, label=f"{prefix}mean")
    axes.axhline(0.0, color=GREY, lw=0.8)
    axes.set(xlabel="target, uS", ylabel="reached - target, uS", title="Error of cells by their targets")
    grid(axes)
    axes.legend()
    return axes


def _in_groups(values: FloatArray, groups: int) -> list[IndexArray]:
    """Sort cells by their values into at most so many groups of equally many cells, eight at least."""
    return np.array_split(np.argsort(values, kind="stable"), max(1, min(groups, values.size // 8)))


def pulse_histogram(tile: TileRecord, ax: Axes | None = None) -> Axes:
    """Draw how many devices of a tile received how many pulses. Raises BadInputError where pulses were not counted."""
    axes = axes_of(ax)
    if tile.pulses is None:
        raise BadInputError(f"{tile.tile.tensor}: its pulses were not counted, because the run did not get that far")
    counts = np.bincount(tile.pulses.ravel())
    axes.bar(np.arange(counts.size), counts, color=BLUE, width=0.9)
    axes.set(xlabel="pulses", ylabel="devices", title=f"Pulses per device, mean {tile.pulses_per_device:.2f}")
    if counts.max() > 100 * max(counts[counts > 0].min(), 1):
        axes.set_yscale("log")
    grid(axes, "y")
    return axes


STATES = ("converged", "given up", "a device is stuck")
"""What a map of cells tells apart."""


def fault_map(tile: TileRecord, ax: Axes | None = None) -> Axes:
    """Draw which cells were given up, and which have a stuck device. Raises BadInputError where that is not known."""
    if tile.unconverged is None or tile.stuck is None:
        raise BadInputError(f"{tile.tile.tensor}: its cells were not judged, because the run did not get that far")
    state = np.where(tile.stuck, 2, np.where(tile.unconverged, 1, 0))
    counts = [int((state == code).sum()) for code in range(len(STATES))]
    labels = [f"{name}: {count:,}" for name, count in zip(STATES, counts, strict=True)]
    axes = category_map(state, labels, ("#e8e8e8", ORANGE, VERMILION), ax)
    axes.set_title("Cells that programming gave up")
    return axes


def category_map(codes: AnyArray, labels: list[str], colours: tuple[str, ...], ax: Axes | None = None) -> Axes:
    """Draw a map (rows, columns) of numbers 0, 1, ... in a colour each, with a legend beside it."""
    axes = axes_of(ax)
    look = ListedColormap(list(colours[: len(labels)]))
    norm = BoundaryNorm([number - 0.5 for number in range(len(labels) + 1)], len(labels))
    axes.imshow(codes, cmap=look, norm=norm, aspect="auto", interpolation="none")
    axes.set(xlabel="column (output)", ylabel="row (input)")
    for label, colour in zip(labels, colours, strict=False):
        axes.plot([], [], "s", color=colour, markeredgecolor=GREY, label=label)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0, fontsize="small")
    return axes


def outputs_against_ideal(tile: TileRecord, ax: Axes | None = None, *, vectors: int = 200, seed: int = 0) -> Axes:
    """Draw the outputs that the reached conductances give over those of the targets, for random input vectors.

    Noise and rounding of a single read are not in them: they show what programming left. Raises BadInputError where
    conductances were not measured.
    """
    axes = axes_of(ax)
    inputs = np.random.default_rng(seed).uniform(-1.0, 1.0, (vectors, tile.tile.target.shape[0]))
    ideal, found = inputs @ tile.tile.target, inputs @ _reached(tile)
    error = np.linalg.norm(found - ideal) / max(float(np.linalg.norm(ideal)), SMALLEST_SPAN)
    shown = slice(None, None, max(1, ideal.size // 5000))
    span = float(np.abs(ideal).max(initial=SMALLEST_SPAN))
    axes.plot([-span, span], [-span, span], color=GREY, lw=0.8)
    axes.plot(ideal.ravel()[shown], found.ravel()[shown], ".", ms=2, color=BLUE, alpha=0.5, label="outputs")
    axes.plot(ideal.ravel()[shown], (found - ideal).ravel()[shown], ".", ms=2, color=SKY, alpha=0.5, label="residual")
    axes.set(xlabel="output of the targets, uS", ylabel="output of what was reached, uS")
    axes.set_title(f"Outputs of random inputs, relative error {error:.4f}")
    grid(axes)
    axes.legend(markerscale=4)
    return axes


def _reached(tile: TileRecord) -> FloatArray:
    if tile.reached is None:
        raise BadInputError(f"{tile.tile.tensor}: conductances were not measured, for the run was stopped before")
    return tile.reached
