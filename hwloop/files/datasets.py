"""Runs and measurements as datasets of xarray: named axes, and a unit at every variable."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from hwloop.files.measurements import Mark, Measurement
from hwloop.files.models import Model
from hwloop.files.runs import RunRecord, StepSeries, TileRecord
from hwloop.notebook.tables import About, Variable, dataset
from hwloop.typing import AnyArray, FloatArray

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray

STEPS = {
    "mvm_error": ("1", "MVM error that the method saw before the pulses of a step"),
    "pulses": ("1", "pulses sent in a step"),
    "unconverged_cells": ("1", "cells given up so far"),
    "mvms": ("1", "input vectors so far"),
    "device_reads": ("1", "reads of single devices so far"),
    "chip_time": ("s", "chip time since programming began"),
}
"""Unit and meaning of what a method reports after each step."""
CELLS = {
    "address": ("1", "name of the cell"),
    "core": ("1", "core of the cell"),
    "target": ("uS", "conductance that programming aimed at"),
    "verify": ("uS", "accepted verify read, biased by its own selection"),
    "level": ("1", "index of the programmed level"),
    "name": ("", "what the cell is called where the data comes from"),
}
"""Unit and meaning of what is known of measured cells."""
READS = {
    "cell": ("1", "index into the cells"),
    "time": ("s", "seconds between the last pulse of the cell and this read"),
    "conductance": ("uS", "conductance as it was read"),
    "temperature": ("K", "temperature at the read"),
    "amplitude": ("uA", "peak current of the pulse before this read"),
    "width": ("ns", "duration of that pulse"),
    "voltage": ("V", "peak voltage of that pulse"),
    "nominal": ("s", "age that was aimed at"),
}
"""Unit and meaning of what is known of reads."""


def dataset_of_model(model: Model) -> xarray.Dataset:
    """Make a dataset of a fitted model: its parameters by name, of all experiments, each with its unit beside it.

    A name alone tells a parameter of one experiment only: `sel(parameter="drift.mean.slope")`. Fixed parameters have
    no interval, which is NaN.
    """
    rows = model.rows()
    dims = ("parameter",)

    def texts(name: str) -> AnyArray:
        return np.array([str(row[name]) for row in rows], dtype=object)

    def numbers(name: str) -> FloatArray:
        return np.array([np.nan if row[name] is None else row[name] for row in rows], dtype=np.float64)

    names = np.array([f"{row['experiment']}.{row['parameter']}" for row in rows], dtype=object)
    coordinates = {
        "parameter": Variable(dims, names, "", "experiment and name of a parameter"),
        "experiment": Variable(dims, texts("experiment"), "", "what was measured"),
        "family": Variable(dims, texts("family"), "", "family of distributions that was fitted"),
        "unit": Variable(dims, texts("unit"), "", "unit of a parameter and its interval"),
        "meaning": Variable(dims, texts("meaning"), "", "what a parameter says"),
        "note": Variable(dims, texts("note"), "", "why a parameter was fixed"),
    }
    found = {
        "value": Variable(dims, numbers("value"), "", "fitted number, in the unit beside it"),
        "low": Variable(dims, numbers("low"), "", "lower end of its 95 % interval"),
        "high": Variable(dims, numbers("high"), "", "upper end of its 95 % interval"),
    }
    return dataset(found, coordinates, dict(model.chip))


def dataset_of_run(record: RunRecord) -> xarray.Dataset:
    """Make a dataset of a run: tiles by their cells, and what the method reported by step.

    Tiles that are smaller than the largest, and series that are shorter than the longest, are filled up with NaN.
    """
    tiles = record.tiles
    cells = ("tile", "row", "column")
    pulses = [None if one.pulses is None else one.pulses.sum((0, 1)).astype(np.float64) for one in tiles]
    found = {
        "target": Variable(cells, _filled([one.tile.target for one in tiles]), "uS", "signed conductance aimed at"),
        "reached": Variable(cells, _filled([one.reached for one in tiles]), "uS", "signed conductance by MVMs"),
        "pulses_of_cell": Variable(cells, _filled(pulses), "1", "pulses on all devices of the cell"),
        "mvm_error": Variable(
            ("tile",), np.array([one.mvm_error for one in tiles], np.float64), "1", "relative MVM error of the tile"
        ),
    }
    for field in dataclasses.fields(StepSeries):
        unit, meaning = STEPS[field.name]
        name = field.name if field.name == "chip_time" else f"step_{field.name}"
        series = _filled([np.asarray(getattr(one.steps, field.name), np.float64) for one in tiles])
        found[name] = Variable(("tile", "step"), series, unit, meaning)
    about: About = {"status": record.status, "method": record.method, "backend": record.backend, "age_s": record.age}
    return dataset(found, _places(tiles), about)


def _places(tiles: Sequence[TileRecord]) -> dict[str, Variable]:
    """Tell which part of which matrix a tile is, and where it lies."""
    own = [one.tile for one in tiles]
    numbers = {
        "core": [one.place.core for one in own],
        "first_row": [one.place.row for one in own],
        "first_column": [one.place.column for one in own],
        "first_input": [one.first_input for one in own],
        "first_output": [one.first_output for one in own],
    }
    names = Variable(("tile",), np.array([one.tensor for one in own], np.str_), "", "matrix that the tile is part of")
    told = {
        name: Variable(("tile",), np.array(values, np.int64), "1", name.replace("_", " "))
        for name, values in numbers.items()
    }
    return {"tensor": names, **told}


def _filled(parts: Sequence[FloatArray | None]) -> FloatArray:
    """Stack arrays of several sizes, filled up with NaN."""
    known = [part.shape for part in parts if part is not None]
    shape = tuple(max(sizes) for sizes in zip(*known, strict=True))
    stacked = np.full((len(parts), *shape), np.nan)
    for row, part in zip(stacked, parts, strict=True):
        if part is not None:
            row[tuple(slice(size) for size in part.shape)] = part
    return stacked


def dataset_of_measurement(measurement: Measurement) -> xarray.Dataset:
    """Make a dataset of a measurement: every read along `read`, and what is known of the cells along `cells`."""
    marks: AnyArray = np.array([kind.name.lower() for kind in Mark])
    known = {
        name: Variable(("cells",), values, *CELLS[name])
        for name, values in measurement.cells.columns().items()
        if name in CELLS
    }
    known["mark"] = Variable(("cells",), marks[measurement.cells.mark], "", "why the cell is not to be trusted")
    reads = {
        name: Variable(("read",), values, *READS[name]) for name, values in measurement.reads.columns().items()
    }  # fmt: skip
    about = {"experiment": measurement.experiment.value, **measurement.attributes}
    return dataset({**reads, **known}, {}, about)
