"""Page of a fitted model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from hwloop import plot
from hwloop.durations import format_duration
from hwloop.exporters.content import USABLE
from hwloop.files.fitted_devices import is_bake, is_relaxation
from hwloop.files.models import BY_CONDUCTANCE, Fit, Model
from hwloop.files.predictions import PREDICTABLE
from hwloop.pages.estimates import summary, table_of_all
from hwloop.pages.page import Cell, Column, Fact, Page, Picture, Table
from hwloop.pages.texts import counted, quoted

if TYPE_CHECKING:
    from hwloop.calibration.fitting.hold_out import HeldOut, HeldOutRow


def page_of_model(model: Model, name: str = "") -> Page:
    """Make the page of a fitted model; `name` is its file, empty for none."""
    chip = " ".join(str(model.chip[key]) for key in ("chip", "serial") if key in model.chip)
    worst = max((fit.ks_distance for fit in model.fits.values()), default=0.0)
    families = ", ".join(f"{experiment} by {fit.family}" for experiment, fit in model.fits.items())
    pictures = [one for experiment, fit in model.fits.items() for one in _pictures(experiment, fit)]
    warnings = [f"{experiment}: {one}" for experiment, fit in model.fits.items() for one in fit.warnings]
    return Page(
        kind="model",
        title=f"Model of {chip or 'devices'}",
        verdict=f"{families or 'Nothing was fitted'}; predicted quantiles are off by {worst:.3f} at most (KS).",
        facts=tuple(_fact(experiment, fit) for experiment, fit in model.fits.items()),
        tables=_tables(model.fits),
        pictures=tuple(pictures),
        warnings=tuple(warnings),
        provenance=(
            Fact("file", name or "none"),
            *(Fact("fitted to", f"{file}, SHA-256 {digest}") for file, digest in model.data.items()),
            Fact("created", f"{model.created} UTC" if "+" not in model.created else model.created),
            Fact("hwloop", model.hwloop_version),
        ),
        onward=_onward(model, name),
    )


def _onward(model: Model, name: str) -> tuple[Fact, ...]:
    """Say how to go on with the file of a model."""
    if not name or not model.fits:
        return ()
    file = quoted(name)
    level = math.sqrt(math.prod(next(iter(model.fits.values())).conductance_range))
    ways = [(f"hwloop report {file} --out report.html", "makes a page with pictures", tuple(model.fits))]
    ways[:0] = [
        (
            f"hwloop compare weights.npy --backend sim:{file} --out cmp.h5",
            "programs its twin, a simulated chip",
            USABLE,
        ),
        (f"hwloop predict {file} --time 1y --level {level:.2g}uS", "predicts conductances", PREDICTABLE),
        (f"hwloop export {file} --to aihwkit --out noise_model.py", "hands it to another simulator", USABLE),
        (f"hwloop info sim:{file}", "shows its twin, a simulated chip that updates step", ("pulse-response",)),
    ]
    return tuple(Fact(command, use) for command, use, kinds in ways if not model.fits.keys().isdisjoint(kinds))


def tables_of_held_out(held_out: Mapping[str, HeldOut]) -> tuple[Table, ...]:
    """Make tables of how well reads were predicted that were held out, by experiment."""
    return tuple(_held_out(name, one) for name, one in held_out.items())


def _held_out(name: str, one: HeldOut) -> Table:
    several = one.rows[0].temperature is not None
    columns = (
        Column("level", "uS"), Column("time"), *((Column("bake", "K", ".0f"),) if several else ()), Column("reads"),
        Column("ln L a read", style=".4f"), Column("KS", style=".3f"), Column("in 90 %", style=".1%"),
    )  # fmt: skip

    def row(of: HeldOutRow, level: float | None, time: str) -> tuple[Cell, ...]:
        bake = (of.temperature if level is not None else None,) if several else ()
        return (level, time, *bake, of.reads, of.log_likelihood, of.ks_distance, of.covered)

    rows = (*(row(each, each.level, format_duration(each.time)) for each in one.rows), row(one.pooled, None, "all"))
    told = "ln L: logarithm of the density of a read; in 90 %: share of the reads within their 90 % intervals."
    return Table(f"Held out of {name} ({one.family})", columns, rows, told)


def _fact(experiment: str, fit: Fit) -> Fact:
    low, high = fit.conductance_range
    cells = fit.cells
    first, last = (format_duration(age) for age in fit.time_range)
    return Fact(
        experiment,
        f"{cells.used:,} of {counted(cells.measured, 'cell')} used, {cells.stuck:,} stuck, "
        f"{cells.outliers:,} outliers; holds for {low:.3g} to {high:.3g} uS and {first} to {last}",
    )


def _tables(fits: Mapping[str, Fit]) -> tuple[Table, ...]:
    """Make a table of each fit, then the parameters that those tables sum up."""
    told = {name: summary(f"{name}: {fit.family}", fit.parameters, _note(fit)) for name, fit in fits.items()}
    behind = [
        table_of_all(f"{name}, every parameter", fit.parameters)
        for name, fit in fits.items()
        if len(told[name].rows) < len(fit.parameters)
    ]
    return (*told.values(), *behind)


def _note(fit: Fit) -> str:
    """Tell by what a fit is defined, and how its family was chosen."""
    settings = ", ".join(f"{key} = {value:.5g}" for key, value in fit.settings.items())
    return ". ".join(filter(None, (f"With {settings}" if settings else "", _choice(fit))))


def _choice(fit: Fit) -> str:
    """Tell by what a family was chosen among several; empty where it was named."""
    if len(fit.choice) < 2 or fit.family not in fit.choice:
        return ""
    others = {name: score for name, score in fit.choice.items() if name != fit.family}
    own = fit.choice[fit.family]
    listed = ", ".join(f"{name} {score - own:+.4f}" for name, score in sorted(others.items(), key=lambda one: -one[1]))
    tie = "; a tie goes to the family that assumes least" if max(others.values()) > own else ""
    return f"Chosen by held-out log-likelihood per cell, {own:.4f}; the others beside it: {listed}{tie}"


def _pictures(experiment: str, fit: Fit) -> list[Picture]:
    found = _predicted(experiment, fit)
    if experiment == "programming-curve":
        caption = "Conductance after a RESET pulse, as fitted, with one sigma between devices and between pulses."
        found.append(
            Picture("programming-curve", "programming curve", caption, partial(plot.fitted_programming_curve, fit))
        )
    if is_bake(fit):
        return found  # six curves for every bake say less than what follows from them
    return found + [_picture(experiment, fit, name) for name in fit.forms]


def _predicted(experiment: str, fit: Fit) -> list[Picture]:
    """Make pictures of the conductances that a fit predicts, of levels and of time; none where it predicts none."""
    mixture = is_bake(fit) or is_relaxation(fit)
    if not (mixture or "mean" in fit.forms or "bias" in fit.forms):
        return []
    found = [
        Picture(
            f"{experiment}-by-level",
            f"{experiment}: what is predicted of each level",
            "Quantiles of the change after the last measured age, or after the coldest and the hottest bake.",
            partial(plot.predicted_by_level, fit),
        )
    ]
    if "bias" in fit.forms:
        return found
    caption = "Quantiles of a middle level's conductance; grey: longer than was measured."
    return [
        *found,
        Picture(
            f"{experiment}-by-time",
            f"{experiment}: what is predicted of time",
            caption,
            partial(plot.predicted_by_time, fit),
        ),
    ]


def _picture(experiment: str, fit: Fit, name: str) -> Picture:
    if fit.forms[name].kind not in BY_CONDUCTANCE:
        return Picture(
            f"{experiment}-{name}",
            f"{experiment}: {name}",
            f"{name.capitalize()} over what was measured, as fitted.",
            partial(plot.statistic_by_formula, fit, name),
        )
    return Picture(
        f"{experiment}-{name}",
        f"{experiment}: {name}",
        f"{name.capitalize()} by conductance, as fitted, with 95 % intervals; wide bars are where few cells were.",
        partial(plot.statistic_by_conductance, fit, name),
    )
