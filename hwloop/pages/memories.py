"""The page of classes that were learnt in sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwloop import plot
from hwloop.durations import format_duration
from hwloop.pages.page import Column, Fact, Page, Picture, Table
from hwloop.pages.texts import quoted

if TYPE_CHECKING:
    from hwloop.jobs.fewshot import FewShotResult


def page_of_few_shot(found: FewShotResult) -> Page:
    """Make the page of few-shot learning."""
    last, settings = found.last_session, found.settings
    low, high = last.on_chip.interval
    columns = (
        Column("asked"),
        Column("classes", style="d"),
        Column("accuracy", style=".1%"),
        Column("95 % interval"),
        Column("in float", style=".1%"),
        Column("pulses per device and example", style=".2f"),
    )
    rows = tuple(
        (
            one.moment,
            one.classes,
            one.on_chip.value,
            "{:.1%} to {:.1%}".format(*one.on_chip.interval),
            one.in_float.value,
            one.pulses_per_device or None,
        )
        for one in found.asked
    )
    trained = (
        f"trained for {settings.epochs} epochs on the base classes alone"
        if settings.epochs
        else "as it was given: whether it has seen the new classes before is not known"
    )
    note = "'in float' is the same network with averages of its exact vectors, by their cosine."
    caption = "Accuracy on the test images of all classes that are known, as one session follows the other."
    return Page(
        kind="few-shot learning",
        title=f"{found.network} learns in sessions on {found.chip}",
        verdict=(
            f"{last.classes} classes from {settings.shots} examples each: {last.on_chip.value:.1%} right "
            f"(95 %: {low:.1%} to {high:.1%}); in float {last.in_float.value:.1%}."
        ),
        facts=(
            Fact("network", f"{found.network}, {trained}"),
            Fact("base classes", ", ".join(map(str, found.classes[0]))),
            Fact("learnt later", ", ".join(map(str, sum(found.classes[1:], ()))) or "none"),
            Fact("vectors of", f"{settings.dimension} elements" if settings.dimension else "the network's own width"),
            Fact("asked again after", format_duration(settings.age) if settings.age else "not"),
        ),
        tables=(Table("Sessions", columns, rows, note),),
        pictures=(Picture("sessions", "Sessions", caption, lambda ax: plot.accuracy_by_session(found.asked, ax)),),
        warnings=() if found.status == "complete" else ("It was stopped before its last session.",),
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
