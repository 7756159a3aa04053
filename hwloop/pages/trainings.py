"""Pages of trainings in memory."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

from hwloop import plot
from hwloop.durations import format_elapsed
from hwloop.pages.page import Column, Fact, Page, Picture, Table
from hwloop.pages.texts import quoted

if TYPE_CHECKING:
    from hwloop.calibration.settings import Settings
    from hwloop.jobs.trained import Trained


def page_of_training(found: Trained) -> Page:
    """Make the page of a training in memory."""
    task, curves = found.task, found.curves
    reached = curves.test_accuracy or curves.held_out_accuracy
    of = "test images" if curves.test_accuracy else "held-out images"
    verdict = f"{reached[-1]:.1%} of {of} right after {len(reached)} epochs" if reached else "No epoch was finished"
    digital = task.float_accuracy
    if math.isfinite(digital):
        verdict += f"; trained in float {digital:.1%}"
    names = ("loss", "test_accuracy", "held_out_accuracy", "pulses", "chip_seconds")
    units, styles = ("nat", "", "", "", "s"), (".4f", ".1%", ".1%", ".4g", ".4g")
    kept = [k for k, name in enumerate(names) if getattr(curves, name)]
    columns = (Column("epoch"), *(Column(names[k].replace("_", " "), units[k], styles[k]) for k in kept))
    rows = tuple((n + 1, *(getattr(curves, names[k])[n] for k in kept)) for n in range(len(curves.loss)))
    pictures = [
        Picture(
            "training-curves",
            "Training",
            "Wrong answers and loss against epochs.",
            lambda ax: plot.training_curves(curves, digital, ax),
        )
    ]
    if found.weights:
        told = "Weights of each matrix as read from the chip: what stands at the ends of its range is saturated."
        pictures.append(Picture("weights", "Weights", told, lambda ax: plot.weight_histogram(found.weights, ax)))
    return Page(
        kind="training",
        title=f"{task.network or 'A network'} trained by {task.rule.name} on {task.backend or task.chip}",
        verdict=f"{verdict}.",
        facts=(
            Fact("status", found.status),
            Fact("pulses", f"{found.pulses_per_device:,.0f} per device in the mean, start weights included"),
            Fact("chip time", format_elapsed(curves.chip_seconds[-1]) if curves.chip_seconds else "not known"),
            Fact("computer time", format_elapsed(found.wall_seconds)),
        ),
        tables=(*((Table("Epochs", columns, rows),) if rows else ()), _settings(found)),
        pictures=tuple(pictures),
        warnings=_warnings(found),
        onward=_onward(found),
        provenance=(
            Fact("file", found.file or "none"),
            Fact("chip", task.chip),
            Fact("network", task.network or "given as a module"),
            Fact("dataset", task.dataset or "given as arrays"),
            Fact("start weights", task.weights or "as the network came"),
            Fact("calibration", task.calibration or "none"),
            Fact("settings", _changed(found)),
        ),
    )


def _parts(found: Trained) -> dict[str, Settings]:
    """Name the settings of a training by what they belong to."""
    task = found.task
    return {task.rule.name: task.rule, "training": task.training, "converters and pulses": task.periphery}


def _value(found: Trained, name: str, value: str | float) -> str:
    """Write a setting; what stands for 'as the chip or the algorithm has it' as that."""
    if name == "lr" and value == 0.0:
        return f"{found.task.rule.lr:g}, the algorithm's own"
    if name == "reference_epochs" and value == -1:
        return f"{found.task.training.epochs}, as many as on the chip"
    if name == "input_bits" and value == 0:
        return "the chip's"
    return value if isinstance(value, str) else f"{value:g}"


def _settings(found: Trained) -> Table:
    """Make the table of all settings."""
    rows = tuple(
        (part, name, _value(found, name, value))
        for part, settings in _parts(found).items()
        for name, value in dataclasses.asdict(settings).items()
    )
    return Table("Settings", (Column("of"), Column("setting"), Column("value")), rows, detail=True)


def _changed(found: Trained) -> str:
    """Tell the settings that are not the defaults."""
    told = [
        f"{field.name} {_value(found, field.name, getattr(settings, field.name))}"
        for settings in _parts(found).values()
        for field in dataclasses.fields(settings)
        if getattr(settings, field.name) != field.default
    ]
    return f"{', '.join(told)}; else the defaults" if told else "the defaults"


def _onward(found: Trained) -> tuple[Fact, ...]:
    """Say how to go on with the file of a training."""
    if not found.file:
        return ()
    file = quoted(found.file)
    if found.status in ("interrupted", "running", "failed"):
        return (Fact(f"hwloop resume {file}", "goes on where it stopped"),)
    return (
        Fact(f"hwloop evaluate {file} --times 1s,1h,1d", "measures it as the chip ages"),
        Fact(f"hwloop plot {file} training-curves --out fig.pdf", "draws its curves"),
        Fact(f"hwloop report {file} --out report.html", "makes a page with pictures"),
    )


def _warnings(found: Trained) -> tuple[str, ...]:
    told = []
    if found.status == "diverged":
        told.append("The loss became NaN; lower the learning rate.")
    elif found.status != "complete":
        told.append(f"The training did not reach its end ({found.status}).")
    if found.saturated > 0.05:
        told.append(
            f"{found.saturated:.0%} of the weights lie at the ends of the devices' range; a larger weight_scale lets "
            "them lie further inside."
        )
    return tuple(told)
