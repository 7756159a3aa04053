"""Pages of deployed networks and of studies of what a network bears."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from hwloop import plot
from hwloop.durations import format_duration
from hwloop.files.runs import RunRecord
from hwloop.pages.network_reports import facts_of_report, tables_of_report
from hwloop.pages.page import Column, Fact, Page, Picture, Table
from hwloop.pages.runs import facts_of, pictures_of_run, provenance_of, tables_of_tiles, verdict_of, warnings_of
from hwloop.pages.texts import quoted
from hwloop.typing import Json
from hwloop.units import finite

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from hwloop.jobs.sensitivity import Sensitivity
    from hwloop.nn.accuracy import Accuracy
    from hwloop.nn.network import DeployedNetwork
    from hwloop.nn.network_file import StoredNetwork
    from hwloop.nn.sensitivity import Limit

OWN = ("hwloop.nn.zoo", "hwloop.search.resnet_like")
"""Modules whose networks a file opens by itself."""


def page_of_network(run: RunRecord, network: StoredNetwork | DeployedNetwork, report: Mapping[str, Json]) -> Page:
    """Make the page of a deployed network, or of its file without making the network.

    Parameters
    ----------
    run
        The run that programmed its matrices.
    network
        The network, or what the file says of it.
    report
        Where its matrices lie, what stays digital, and what an inference costs; empty in files of earlier versions.
    """
    names, tested = network.names, network.tested
    verdict = verdict_of(run)
    facts = [*facts_of(run), Fact("compensation", network.compensation), *facts_of_report(report)]
    if tested is not None:
        chip, digital = _percent(tested.on_chip), _percent(tested.digital)
        verdict = (
            f"Accuracy {chip} on {tested.on_chip.total} test images, {format_duration(tested.age)} after programming; "
            f"digital {digital}."
        )
        facts.insert(0, Fact("MVM error", verdict_of(run).removeprefix("MVM error ").rstrip(".")))
    errors = _errors(run)
    picture = Picture(
        "errors-of-matrices",
        "Error of each matrix",
        "MVM error of each matrix with random inputs: one that stands out is where to look first.",
        lambda ax: plot.errors_of_matrices(errors, ax),
    )
    refreshed = ("Cells were pulsed again since programming.",) if network.refreshed else ()
    told = tables_of_report(report)
    # Those of the report have errors of the network's own activations: beside them these are called what they are.
    tiles = [replace(one, title=f"{one.title}, as programmed") for one in tables_of_tiles(run.tiles)]
    return Page(
        kind="network",
        title=f"{names.factory or 'A network'} by {run.method} on {run.backend}",
        verdict=verdict,
        facts=tuple(facts),
        tables=(*told, *(replace(one, detail=True) for one in tiles)) if told else tuple(tiles),
        pictures=(picture, *pictures_of_run(run)),
        warnings=(*warnings_of(run), *refreshed),
        provenance=(
            *provenance_of(run),
            Fact("network", names.factory or "not named"),
            Fact("dataset", names.dataset or "not named"),
            Fact("kept digital on demand", ", ".join(names.exclude) or "nothing"),
        ),
        onward=_onward(run, names.factory),
    )


def _onward(run: RunRecord, factory: str) -> tuple[Fact, ...]:
    """Say how the network is measured later; its class is named unless it is one of the zoo."""
    if not run.name:
        return ()
    name = quoted(run.name)
    named = "" if factory.rpartition(":")[0] in OWN else f" --network {quoted(factory or 'FILE.py:FACTORY')}"
    return (
        Fact(f"hwloop drift {name}{named} --times 1h,30d,1y --out drift.h5", "its accuracy over time"),
        Fact(f"hwloop report {name} --out report.html", "makes a page with pictures"),
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
        Column("of", names=True),
        Column("on this chip", style=".3g"),
        Column("accuracy falls at", style=".3g"),
        Column("95 % interval"),
        Column("unit"),
        Column("accuracy on the chip", style=".1%"),
    )
    groups = (("nonidealities", "Nonidealities", found.parts), ("layers", "Layers", found.layers))
    tables, pictures = [], []
    for name, title, limits in groups:
        rows = tuple(
            (
                one.name,
                one.nominal,
                finite(one.value),
                f"{one.low:.3g} to {one.high:.3g}" if math.isfinite(one.low) and math.isfinite(one.high) else None,
                one.unit,
                one.accuracy,
            )
            for one in limits
        )
        borne = any(not math.isfinite(one.value) for one in limits)
        note = "A dash: no strength that was tried costs so much." if borne else ""
        tables.append(Table(title, columns, rows, note))
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
            Fact("what may be lost", f"{loss:g} {'point' if loss == 1 else 'points'}"),
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
        onward=(Fact(f"hwloop report {quoted(found.file)} --out report.html", "makes a page with pictures"),)
        if found.file
        else (),
    )
