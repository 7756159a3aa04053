"""Pages of the ledger: what the devices of a chip have received, and which chips there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hwloop.pages.page import Column, Fact, Page, Table
from hwloop.pages.texts import counted

if TYPE_CHECKING:
    from hwloop.custody.ledger import ChipEntry
    from hwloop.jobs.ledger import Life


def page_of_life(life: Life) -> Page:
    """Make the page of the life of a chip."""
    chip = life.chip
    kind = "recorded, not enforced: the chip is simulated" if chip.simulated else "enforced over all sessions"
    columns = (Column("core"), Column("pulses"), Column("per device", style=".2f"), Column("most on a device"))
    rows = tuple(
        (core, int(counts.sum()), float(counts.mean()), int(counts.max()))
        for core, counts in sorted(life.cores.items())
    )
    merged = f" and {counted(life.merged_runs, 'run')} of other machines" if life.merged_runs else ""
    return Page(
        kind="ledger",
        title=chip.identity,
        verdict=f"{life.pulses:,} pulses in {counted(len(life.sessions), 'session')}{merged}, {life.most:,} on the "
        "device that received most."
        if life.cores
        else "No device has received a pulse yet.",
        facts=(
            Fact("budget", f"{chip.budget:,} pulses a device, {kind}"),
            Fact("spent", f"{counted(life.spent_devices, 'device')} at the end of the budget"),
            Fact("ledger", str(life.ledger)),
        ),
        tables=(Table("Cores", columns, rows),) if rows else (),
    )


def page_of_chips(chips: Sequence[ChipEntry]) -> Page:
    """Make the page of all chips of a ledger."""
    rows = tuple((chip.identity, chip.uri, "simulated" if chip.simulated else "real") for chip in chips)
    columns = (Column("chip", names=True), Column("URI", names=True), Column("kind"))
    return Page(
        kind="ledger",
        title="Chips that have received pulses",
        verdict=f"{counted(len(chips), 'chip')}." if chips else "No chip has received a pulse yet.",
        facts=(),
        tables=(Table("Chips", columns, rows),) if rows else (),
    )
