"""Page of a prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwloop.durations import format_duration
from hwloop.pages.page import Column, Fact, Page, Table

if TYPE_CHECKING:
    from hwloop.files.predictions import Prediction


def page_of_prediction(found: Prediction) -> Page:
    """Make the page of what is predicted of devices of one level at one age."""
    low, middle, high = (found.quantiles[share] for share in (0.05, 0.5, 0.95))
    hot = "" if found.temperature is None or found.level_is != "before the bake" else f" at {found.temperature:g} K"
    facts = [Fact("families", ", ".join(found.families))]
    if found.window is not None:
        outside = f"{found.probability_outside:.3g}"
        facts.append(Fact("outside of the window", f"{outside} of {found.window[0]:.4g} to {found.window[1]:.4g} uS"))
    rows = tuple((f"{share:.0%}", value) for share, value in found.quantiles.items())
    return Page(
        kind="prediction",
        title=f"{found.level:.4g} uS {found.level_is}, after {format_duration(found.time)}{hot}",
        verdict=f"{middle:.4g} uS in the middle; nine of ten devices hold {low:.4g} to {high:.4g} uS.",
        facts=tuple(facts),
        tables=(Table("Quantiles", (Column("quantile"), Column("conductance", "uS")), rows),),
        warnings=tuple(f"extrapolates: {sentence}" for sentence in found.beyond),
    )
