"""Page of a training for a chip, with its noise."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hwloop.durations import format_duration
from hwloop.pages.page import Column, Fact, Page, Table
from hwloop.pages.texts import quoted

if TYPE_CHECKING:
    from hwloop.jobs.retrain import Retrained

SHOWN = 20
"""Epochs in the table, or a few more: a page that scrolls away hides what it says first."""


def page_of_retrained(found: Retrained) -> Page:
    """Make the page of a network that was trained for a chip."""
    network = found.factory or type(found.network).__name__
    course = found.course
    first, last = (format_duration(age) for age in found.settings.ages)
    apart, end = max(1, math.ceil(len(course.epochs) / SHOWN)), len(course.epochs) - 1
    columns = (
        Column("epoch"), Column("loss", "nat", ".4f"), Column("held out, digital", style=".2%"),
        Column("held out, under noise", style=".2%"), Column("loss under noise", "nat", ".4f"), Column(""),
    )  # fmt: skip
    rows = tuple(
        (number, one.loss if number else math.nan, one.digital, one.noisy, one.noisy_loss,
         "kept" if number == course.best else "")
        for number, one in enumerate(course.epochs) if number % apart == 0 or number in (course.best, end)
    )  # fmt: skip
    note = "Epoch 0 is the network as it was."
    if apart > 1:
        note += f" One epoch of {apart} is shown; --json has every one."
    if found.settings.keep == "last":
        note += " Held-out images, which it had learnt before, do not choose."
    return Page(
        kind="retraining",
        title=f"{network} trained for {found.chip}, {first} to {last}",
        verdict=_verdict(found),
        facts=(Fact("status", found.status), Fact("weights", f"{found.file or 'not saved'}, with learnt ranges")),
        tables=(*_tests(found), Table("Epochs", columns, rows, note)),
        warnings=_warnings(found),
        onward=_onward(found, network),
    )


def _verdict(found: Retrained) -> str:
    if found.before is None or found.after is None:
        return f"{len(found.course.epochs) - 1} epochs; the {_kept(found)} one is kept."
    return f"{found.before.noisy:.2%} of the test images under noise before, {found.after.noisy:.2%} after."


def _kept(found: Retrained) -> str:
    """Say which epoch is kept."""
    return "last" if found.settings.keep == "last" else "best"


def _tests(found: Retrained) -> tuple[Table, ...]:
    """Make the table of test images; none without."""
    if found.before is None or found.after is None:
        return ()
    columns = (
        Column(""), Column("digital", style=".2%"), Column("under noise", style=".2%"),
        Column("spread of chips", style=".2%"),
    )  # fmt: skip
    rows = tuple(
        (name, one.digital, one.noisy, one.spread) for name, one in (("before", found.before), ("after", found.after))
    )
    return (Table("Test images", columns, rows),)


def _warnings(found: Retrained) -> tuple[str, ...]:
    told = []
    if found.course.best == 0 and len(found.course.epochs) > 1 and found.settings.keep == "better":
        told.append(_why_not(found))
    if found.before is not None and found.after is not None and found.after.noisy < found.before.noisy:
        told.append("Fewer test images are right than before: leave the network as it was, or try --set keep=better.")
    if found.status == "interrupted":
        told.append(
            f"Stopped before the end; the {_kept(found)} epoch until then was kept. hwloop resume {found.file} goes on."
        )
    if found.status == "diverged":
        told.append(f"The loss became NaN; the {_kept(found)} epoch until then was kept. Try a smaller --lr.")
    return tuple(told)


def _why_not(found: Retrained) -> str:
    """Say why the network is as it was."""
    errors, answers = f"{found.settings.certainty:g} standard errors", found.course.answers
    if answers is None:
        return f"No epoch was better on the held-out images by {errors}: the network is as it was."
    gain = f"{100 * answers.gain:+.2f} +- {100 * answers.gain_error:.2f}"
    return (
        f"Under noise the best epoch gives {gain} % more right answers between held-out images, which is no gain by "
        f"{errors}: the network is as it was."
    )


def _onward(found: Retrained, network: str) -> tuple[Fact, ...]:
    if not found.file or found.status == "interrupted":
        return ()
    command = (
        f"hwloop deploy --network {network} --weights {quoted(found.file)} --dataset D.npz --backend URI --out net.h5"
    )
    return (Fact(command, "puts it on a chip"),)
