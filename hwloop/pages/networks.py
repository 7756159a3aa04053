"""Pages of deployed networks and of studies of what a network bears."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from hwloop import plot
from hwloop.durations import format_duration
from hwloop.files.runs import RunRecord
from hwloop.pages.page import Column, Fact, Page, Picture, Table
from hwloop.pages.runs import facts_of, pictures_of_run, provenance_of, table_of_tiles, verdict_of, warnings_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from hwloop.jobs.sensitivity import Sensitivity
    from hwloop.nn.accuracy import Accuracy
    from hwloop.nn.network_file import StoredNetwork
    from hwloop.nn.sensitivity import Limit


def page_of_network(run: RunRecord, stored: StoredNetwork) -> Page:
    """Make the page of a deployed network's file, without making the network.

    Parameters
    ----------
    run
        The run that programmed its matrices.
    stored
        What the file says of the network.
    """
    names, tested = stored.names, stored.tested
    verdict = verdict_of(run)
    facts = [*facts_of(run), Fact("compensation", stored.compensation)]
    if tested is not None:
        chip, digital = _percent(tested.on_chip), _percent(tested.digital)
        verdict = (
            f"Accuracy {chip} on {tested.on_chip.total} test images, {format_duration(tested.age)} after programming; "
            f"digital {digital}."
        )
        facts.insert(0, Fact("MVM error", verdict_of(run)))
    errors = _errors(run)
    picture = Picture(
        "errors-of-matrices",
        "Error of each matrix",
        "MVM error of each matrix with random inputs: one that stands out is where to look first.",
        lambda ax: plot.errors_of_matrices(errors, ax),
    )
    refreshed = ("Cells were pulsed again since programming.",) if stored.refreshed else ()
    return Page(
        kind="network",
        title=f"{names.factory or 'A network'} by {run.method} on {run.backend}",
        verdict=verdict,
        facts=tuple(facts),
        tables=(table_of_tiles(run.tiles),),
        pictures=(picture, *pictures_of_run(run)),
        warnings=(*warnings_of(run), *refreshed),
        provenance=(
            *provenance_of(run),
            Fact("network", names.factory or "not named"),
            Fact("dataset", names.dataset or "not named"),
            Fact("kept digital on demand", ", ".join(names.exclude) or "nothing"),
        ),
    )


def _errors(run: RunRecord) -> dict[str, float]:
    """Average the errors of each matrix's tiles, root mean square by their cells."""
    found: dict[str, float] = {}
    for name in dict.fromkeys(tile.tile.tensor for tile in run.tiles):
        tiles = [tile for tile in run.tiles if tile.tile.tensor == name and math.isfinite(tile.mvm_error)]
        if tiles:
            cells = [tile.tile.target.size for tile in tiles]
            found[name] = float(np.sqrt(np.average([tile.mvm_error**2 for tile in tiles], weights=cells)))
    return found


def _percent(accuracy: Accuracy) -> str:
    low, high = accuracy.interval
    return f"{accuracy.value:.1%} (95 %: {low:.1%} to {high:.1%})"


def _borne(limits: Sequence[Limit]) -> Callable[[Axes], Axes]:
    return lambda ax: plot.strengths_borne(limits, ax)


def page_of_sensitivity(found: Sensitivity) -> Page:
    """Make the page of a study of what a network bears."""
    columns = (
        Column("of"),
        Column("on this chip"),
        Column("accuracy falls at"),
        Column("95 % interval"),
        Column("strength", "of the chip's", ".3g"),
        Column("accuracy on the chip", style=".1%"),
    )
    groups = (("nonidealities", "Nonidealities", found.parts), ("layers", "Layers", found.layers))
    tables, pictures = [], []
    for name, title, limits in groups:
        rows = tuple(
            (
                one.name,
                f"{one.nominal:.3g} {one.unit}".strip(),
                f"{one.value:.3g} {one.unit}".strip() if math.isfinite(one.value) else "all borne",
                f"{one.low:.3g} to {one.high:.3g}" if math.isfinite(one.low) and math.isfinite(one.high) else None,
                one.factor,
                one.accuracy,
            )
            for one in limits
        )
        tables.append(Table(title, columns, rows))
        if limits:
            caption = f"The strength of each of the {name} at which the accuracy has fallen: left is weak."
            pictures.append(Picture(name, title, caption, _borne(limits)))
    loss = 100 * found.settings.loss
    return Page(
        kind="sensitivity study",
        title=f"What {found.network} bears on {found.chip}",
        verdict=f"Weakest spots: {found.weakest_part or 'none'}; layer {found.weakest_layer or 'none'}.",
        facts=(
            Fact("accuracy as it is", f"{found.accuracy_digital:.1%}, of {found.images} test images"),
            Fact("what may be lost", f"{loss:g} point(s)"),
            Fact("at the age of", format_duration(found.settings.age)),
        ),
        tables=tuple(tables),
        pictures=tuple(pictures),
        warnings=() if found.status == "complete" else ("The study was stopped before its end.",),
        provenance=(
            Fact("file", found.file or "none"),
            Fact("network", found.network),
            Fact("chip", found.chip),
            Fact("status", found.status),
        ),
    )
