"""Page of what the chip of a run holds now."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from hwloop.pages.page import Column, Fact, Page, Table
from hwloop.pages.runs import NO_MVM
from hwloop.units import finite

if TYPE_CHECKING:
    from hwloop.jobs.evaluate import Evaluation


def page_of_evaluation(found: Evaluation) -> Page:
    """Make the page of an evaluation."""
    columns = (Column("tensor", names=True), Column("core"), Column("MVM error now", style=".4f"))
    rows = tuple((tile.tensor, str(tile.core), finite(tile.mvm_error)) for tile in found.tiles)
    facts = (
        [Fact("calibration", f"outputs are read through the calibration {found.calibration}")]
        if found.calibration
        else []
    )
    if found.mvm_error_from == "device-reads":
        facts.append(Fact("errors are", NO_MVM))
    return Page(
        kind="evaluation",
        title=f"What {Path(found.run).name} left on {found.backend}",
        verdict=f"MVM error {with_interval(found.mvm_error, found.mvm_error_interval)} now; {_then(found)}.",
        facts=tuple(facts),
        tables=(Table("Tiles", columns, rows),),
    )


def _then(found: Evaluation) -> str:
    if finite(found.mvm_error_in_run) is None:
        return "the run was stopped before it was measured"
    then = with_interval(found.mvm_error_in_run, found.mvm_error_interval_in_run)
    verdict = {True: ", so it has moved", False: ", so there is no change beyond noise", None: ""}[found.moved]
    return f"{then} when it was programmed{verdict}"


def with_interval(error: float, interval: tuple[float, float]) -> str:
    """Write an MVM error with its 95 % interval, or alone where that is not known."""
    if finite(error) is None:
        return "unknown"
    low, high = interval
    known = math.isfinite(low) and math.isfinite(high)
    return f"{error:.4f}" + (f" (95 %: {low:.4f} to {high:.4f})" if known else "")
