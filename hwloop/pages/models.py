"""Page of a fitted model."""

from __future__ import annotations

from functools import partial

from hwloop import plot
from hwloop.durations import format_duration
from hwloop.files.fitted_devices import is_bake, is_relaxation
from hwloop.files.models import BY_CONDUCTANCE, Fit, Model
from hwloop.pages.page import Column, Fact, Page, Picture, Table
from hwloop.pages.texts import counted


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
        tables=tuple(_table(experiment, fit) for experiment, fit in model.fits.items()),
        pictures=tuple(pictures),
        warnings=tuple(warnings),
        provenance=(
            Fact("file", name or "none"),
            *(Fact("fitted to", f"{file}, SHA-256 {digest}") for file, digest in model.data.items()),
            Fact("created", f"{model.created} UTC" if "+" not in model.created else model.created),
            Fact("hwloop", model.hwloop_version),
        ),
    )


def _fact(experiment: str, fit: Fit) -> Fact:
    low, high = fit.conductance_range
    cells = fit.cells
    first, last = (format_duration(age) for age in fit.time_range)
    return Fact(
        experiment,
        f"{cells.used:,} of {counted(cells.measured, 'cell')} used, {cells.stuck:,} stuck, "
        f"{cells.outliers:,} outliers; holds for {low:.3g} to {high:.3g} uS and {first} to {last}",
    )


def _table(experiment: str, fit: Fit) -> Table:
    columns = (
        Column("parameter"),
        Column("value", style=".5g"),
        Column("95 % interval"),
        Column("unit"),
        Column("meaning"),
    )
    rows = tuple(
        (
            row.name,
            row.value,
            f"{row.low:.5g} to {row.high:.5g}" if row.low is not None and row.high is not None else f"({row.note})",
            row.unit,
            row.meaning,
        )
        for row in fit.parameters
    )
    return Table(f"{experiment}: {fit.family}", columns, rows)


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
