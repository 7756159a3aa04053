"""The page of a search of networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hwloop import plot
from hwloop.durations import format_duration
from hwloop.pages.page import Column, Fact, Page, Picture, Table
from hwloop.pages.texts import quoted

if TYPE_CHECKING:
    from hwloop.jobs.search_result import Found
    from hwloop.search import Trial


def page_of_search(found: Found) -> Page:
    """Make the page of a search."""
    best, settings, limits = found.winner, found.settings, found.limits
    weights = f"{best.footprint.weights:,}"
    told = [f"{limits.weights:,} weights"] * bool(limits.weights) + [f"{limits.cores} cores"] * bool(limits.cores)
    told += [format_duration(limits.latency)] * bool(limits.latency)
    return Page(
        kind="search of networks",
        title=f"{len(found.front)} networks of {len(found.trials)} for {found.chip}",
        verdict=f"{best.proven:.1%} after a month{_often(best)} with {weights} weights: {best.network}.",
        facts=(
            Fact("space", found.space),
            Fact("limits", ", ".join(told) or "none but the chip"),
            Fact("evaluated", f"{len(found.trials)} by {settings.strategy}, {settings.first} of them at random"),
            Fact("drift", f"{settings.compensation} compensation before each later age"),
            Fact("hypervolume", f"{found.hypervolume:.4f}"),
        ),
        tables=(_front(found), *_finals(found)),
        pictures=(
            Picture(
                "front",
                "Accuracy and drop",
                "What networks reach after programming, and what they lose in a month.",
                lambda ax: plot.accuracy_against_drop(found.trials, ax),
            ),
            Picture(
                "course",
                "Course",
                "Accuracy after a month, network by network.",
                lambda ax: plot.best_so_far(found.trials, ax),
            ),
        ),
        warnings=() if found.status == "complete" else ("It was stopped before its budget was used.",),
        provenance=(
            Fact("file", found.file or "none"),
            Fact("seed", str(settings.seed)),
            Fact("status", found.status),
        ),
        onward=(
            Fact(f"hwloop report {quoted(found.file)} --out report.html", "makes a page with pictures"),
            Fact(f"hwloop deploy --network {best.network} ...", "puts it on a chip, with --weights of the search"),
        )
        if found.file
        else (),
    )


def _often(best: Trial) -> str:
    return f", over {1 + len(best.again)} trainings," if best.again else ""


def _finals(found: Found) -> tuple[Table, ...]:
    """Make the table of the networks that were trained again, the best first; none where none was."""
    tried = sorted((one for one in found.trials if one.again), key=lambda one: -one.proven)
    columns = (
        Column("network", names=True),
        Column("weights", style="d"),
        Column("at first", style=".1%"),
        Column("least", style=".1%"),
        Column("most", style=".1%"),
        Column("mean of all", style=".1%"),
    )
    rows = tuple(
        (
            one.network.partition(":")[2] or one.network,
            one.footprint.weights,
            one.lasting,
            min(one.lasting, *one.again),
            max(one.lasting, *one.again),
            one.proven,
        )
        for one in tried
    )
    note = "After a month, on images that each training has not seen; chosen by what came at first."
    return (Table("Trained again", columns, rows, note),) if rows else ()


def _front(found: Found) -> Table:
    """Make the table of the front."""
    columns = (
        Column("network", names=True),
        Column("weights", style="d"),
        Column("cores", style="d"),
        Column("latency", "us", ".3g"),
        Column("float", style=".1%"),
        Column("programmed", style=".1%"),
        Column("drop in a day", style=".1%"),
        Column("drop in a month", style=".1%"),
        Column("after a month", style=".1%"),
    )
    rows = tuple(
        (
            one.network.partition(":")[2] or one.network,
            one.footprint.weights,
            one.footprint.cores,
            1e6 * one.footprint.latency if np.isfinite(one.footprint.latency) else None,
            one.in_float,
            one.accuracy,
            one.drop_day,
            one.drop_month,
            one.lasting,
        )
        for one in found.front
    )
    note = (
        f"Networks to which no other is better in accuracy and in drop; means over {found.settings.twins} twins, on "
        "held-out training images, on which all were compared: what fresh images and chips say is a little less."
    )
    return Table("Front", columns, rows, note)
