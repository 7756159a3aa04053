"""The page of a coreset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwloop import plot
from hwloop.pages.page import Column, Fact, Page, Picture, Table
from hwloop.pages.texts import quoted

if TYPE_CHECKING:
    from hwloop.jobs.coreset import Coreset


def page_of_coreset(found: Coreset) -> Page:
    """Make the page of a coreset."""
    points, vectors = sum(row.choice.points for row in found.rows), sum(row.vectors for row in found.rows)
    hosts = len({row.host for row in found.rows})
    columns = (
        Column("tensor", names=True),
        Column("host", names=True),
        Column("vectors", style=".0f"),
        Column("inputs", style="d"),
        Column("points", style="d"),
        Column("bits of a value", style="d"),
        Column("bits in all", style="d"),
        Column("bound", style=".3f"),
    )
    rows = tuple(
        (
            row.tensor,
            row.host,
            row.vectors,
            row.inputs,
            row.choice.points,
            row.choice.bits,
            row.bits,
            row.choice.bound,
        )
        for row in found.rows
    )
    note = "bound: largest error of the mean power of any output, over the power of all inputs; docs/coresets.md."
    caption = "Bits of each tensor of each host."
    return Page(
        kind="coreset",
        title=f"{points} weighted vectors for {vectors:.0f}",
        verdict=f"{found.bits:,} of {found.budget:,} bits; the bound is {found.bound:.3f}.",
        facts=(
            Fact("hosts", str(hosts)),
            Fact("tensors", str(len({row.tensor for row in found.rows}))),
            Fact("bits of a weight", str(found.settings.weight_bits)),
        ),
        tables=(Table("Parts", columns, rows, note),),
        pictures=(Picture("bits", "Bits", caption, lambda ax: plot.shares_of_budget(found.rows, ax)),),
        provenance=(Fact("file", found.file or "none"), Fact("seed", str(found.settings.seed))),
        onward=(Fact(f"hwloop program WEIGHTS --inputs {quoted(found.file)} ...", "corrects and evaluates by it"),)
        if found.file
        else (),
    )
