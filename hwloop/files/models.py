"""Fitted models: one `Fit` per experiment, with parameters, intervals, the cells it rests on and its range.

`model_file` writes and reads them, `fitted_devices` makes the device models of them that the simulated chip runs on.
"""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwloop.devices.splines import LogSpline, Spline
from hwloop.devices.statistics import Knots, LogClip, Polynomial, PowerLaw, Statistic
from hwloop.errors import BadInputError
from hwloop.notebook.card import card
from hwloop.registry import suggest
from hwloop.typing import Json

if TYPE_CHECKING:
    import pandas
    import xarray

    from hwloop.files.predictions import Prediction


@dataclass(frozen=True)
class Estimate:
    """A fitted number with its 95 % interval."""

    name: str
    """Name of the parameter."""
    value: float
    """Its value, in `unit`."""
    low: float | None
    """Lower end of the interval; None where the parameter was fixed, and `note` says why."""
    high: float | None
    """Upper end of the interval, or None."""
    unit: str
    """Unit of all three; '1' for a bare number."""
    meaning: str
    """What it says, for people."""
    note: str = ""
    """Why it was fixed."""

    def to_json(self) -> dict[str, Json]:
        """Return it as JSON, by the names that model files have for its parts."""
        return asdict(self)


@dataclass(frozen=True)
class CellCount:
    """What became of the measured cells."""

    measured: int
    """Cells that were measured."""
    used: int
    """Cells that the fit rests on."""
    stuck: int = 0
    """Cells that do not change as devices do."""
    outliers: int = 0
    """Cells whose reads contradict the model."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Number of cells by the reason for which they were left out."""
    stuck_addresses: tuple[int, ...] = ()
    """Addresses of the stuck cells."""
    outlier_addresses: tuple[int, ...] = ()
    """Addresses of the outliers."""

    def to_json(self) -> dict[str, Json]:
        """Return it as JSON, by the names that model files have for its parts."""
        return {
            "measured": self.measured,
            "used": self.used,
            "stuck": self.stuck,
            "wild": self.outliers,
            "left_out": self.left_out,
            "stuck_addresses": self.stuck_addresses,
            "wild_addresses": self.outlier_addresses,
        }


@dataclass(frozen=True)
class Form:
    """Shape of a statistic of the conductance."""

    kind: str
    """One of `KINDS`."""
    at: tuple[float, ...] = ()
    """For those of `BY_CONDUCTANCE`, where the knots are (ln g)."""


@dataclass(frozen=True, repr=False)
class Fit:
    """One fitted experiment."""

    experiment: str
    """What was measured."""
    family: str
    """Family of distributions that was fitted."""
    parameters: tuple[Estimate, ...]
    """Fitted numbers."""
    forms: dict[str, Form]
    """Shape of each statistic by its name; its coefficients are the parameters called STATISTIC.COEFFICIENT."""
    settings: dict[str, float]
    """Numbers that define the parameters and were not fitted: reference age, scale of the conductance."""
    cells: CellCount
    """What became of the measured cells."""
    conductance_range: tuple[float, float]
    """uS; outside of it the fit says nothing."""
    time_range: tuple[float, float]
    """Smallest and largest age, s."""
    log_likelihood_per_cell: float
    """Natural logarithm."""
    ks_distance: float
    """Kolmogorov-Smirnov distance of the cells' predicted quantiles from uniform."""
    choice: dict[str, float] = field(default_factory=dict)
    """Held-out log-likelihood per cell of every family tried, when the family was chosen by it."""
    warnings: tuple[str, ...] = ()
    """What the user should know about it."""
    alternatives: tuple[Fit, ...] = ()
    """Fits of other families that predict held-out times alike: where they part, nobody knows which is true."""

    def value(self, name: str) -> float:
        """Return a parameter by name; raise BadInputError when the fit has none of that name."""
        for row in self.parameters:
            if row.name == name:
                return row.value
        raise BadInputError(f"the {self.experiment} fit ({self.family}) has no parameter '{name}'")

    def statistic(self, name: str) -> Statistic:
        """Build a fitted statistic of the normalised conductance, such as the drift's 'mean'."""
        if name not in self.forms:
            raise BadInputError(f"the {self.experiment} fit ({self.family}) has no statistic '{name}'")
        prefix = f"{name}."
        own = {p.name.removeprefix(prefix): p.value for p in self.parameters if p.name.startswith(prefix)}
        return build_statistic(self.forms[name], own)

    def to_json(self) -> dict[str, Json]:
        """Return it as JSON, by the names that model files have for its parts."""
        return {
            "experiment": self.experiment,
            "family": self.family,
            "parameters": [row.to_json() for row in self.parameters],
            "forms": {name: asdict(form) for name, form in self.forms.items()},
            "settings": self.settings,
            "cells": self.cells.to_json(),
            "conductance_range": self.conductance_range,
            "time_range": self.time_range,
            "log_likelihood_per_cell": self.log_likelihood_per_cell,
            "calibration_distance": self.ks_distance,
            "choice": self.choice,
            "warnings": self.warnings,
            "alternatives": [one.to_json() for one in self.alternatives],
        }

    def __repr__(self) -> str:
        return f"<Fit of {self.experiment}: {self.family}, {self.cells.used} cells, KS distance {self.ks_distance:.3f}>"


@dataclass(frozen=True, repr=False)
class Model:
    """All fits of a measurement file."""

    fits: dict[str, Fit]
    """Fits by the names of their experiments."""
    chip: dict[str, str | int | float | bool]
    """Identity of what was measured: the measurement's own attributes."""
    data: dict[str, str]
    """File name and SHA-256 of each measurement that was fitted."""
    created: str
    """UTC, ISO 8601."""
    hwloop_version: str = field(default_factory=lambda: importlib.metadata.version("hwloop"))
    """Version that made it."""

    @property
    def params_(self) -> dict[str, dict[str, float]]:
        """Fitted parameters by experiment and name."""
        return {name: {row.name: row.value for row in fit.parameters} for name, fit in self.fits.items()}

    @property
    def intervals_(self) -> dict[str, dict[str, tuple[float, float]]]:
        """95 % intervals of the parameters, by experiment and name; those that were fixed have none."""
        return {
            name: {
                row.name: (row.low, row.high) for row in fit.parameters if row.low is not None and row.high is not None
            }
            for name, fit in self.fits.items()
        }

    def predict(
        self,
        time: float,
        level: float,
        window: tuple[float, float] | None = None,
        *,
        temperature: float | None = None,
    ) -> Prediction:
        """Predict the conductance at an age (s) of devices of a level (uS): see `hwloop.predict`."""
        from hwloop.files.predictions import predict

        return predict(self, time, level, window, temperature=temperature)

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write a model file. Raises BadInputError when it exists (without force) or cannot be written."""
        from hwloop.files.model_file import save_model

        save_model(self, path, force=force)

    def to_json(self) -> dict[str, Json]:
        """Return it as JSON, by the names that model files have for its parts."""
        return {
            "fits": {name: fit.to_json() for name, fit in self.fits.items()},
            "chip": self.chip,
            "data": self.data,
            "created": self.created,
            "hwloop_version": self.hwloop_version,
        }

    def to_dataframe(self) -> pandas.DataFrame:
        """Return a pandas table with a row for each parameter; needs the extra `hwloop[pandas]`."""
        from hwloop.notebook.tables import dataframe

        return dataframe(self.rows())

    def to_xarray(self) -> xarray.Dataset:
        """Return an xarray dataset of the parameters and their intervals; needs the extra `hwloop[xarray]`."""
        from hwloop.files.datasets import dataset_of_model

        return dataset_of_model(self)

    def rows(self) -> list[dict[str, Json]]:
        """List the parameters of all fits."""
        return [
            {"experiment": name, "family": fit.family, "parameter": row.name, **_numbers(row)}
            for name, fit in self.fits.items()
            for row in fit.parameters
        ]

    def _repr_html_(self) -> str:
        rows = [
            (name, fit.family, row.name, row.value, row.low, row.high, row.unit)
            for name, fit in self.fits.items()
            for row in fit.parameters
        ]
        head = ("experiment", "family", "parameter", "value", "low", "high", "unit")
        told = "; ".join(f"{name}: {fit.cells.used:,} cells" for name, fit in self.fits.items())
        return card(f"Model of {self.chip.get('chip', 'devices')}", told, head=head, rows=rows)

    def __repr__(self) -> str:
        fits = ", ".join(f"{name} ({fit.family})" for name, fit in self.fits.items())
        return f"<Model of {self.chip.get('chip', 'devices')}: {fits or 'nothing fitted'}>"


def _numbers(row: Estimate) -> dict[str, Json]:
    return {name: value for name, value in row.to_json().items() if name != "name"}


# ---- statistics by their coefficients ----------------------------------------------------------------------------

_COEFFICIENTS = {
    "log-clip": ("slope", "offset", "low", "high"),
    "power-law": ("scale", "exponent", "cap"),
}
"""Names of the coefficients of the kinds that always have the same."""
BY_CONDUCTANCE = ("knots", "spline", "log-spline")
"""Kinds whose coefficients are the values at knots."""

KINDS: dict[str, Callable[[Form, tuple[float, ...]], Statistic]] = {
    "log-clip": lambda form, values: LogClip(*values),
    "power-law": lambda form, values: PowerLaw(*values),
    "polynomial": lambda form, values: Polynomial(values),
    "knots": lambda form, values: Knots(form.at, values),
    "spline": lambda form, values: Spline(form.at, values),
    "log-spline": lambda form, values: LogSpline(Spline(form.at, tuple(_log(value) for value in values))),
}
"""What makes a statistic of each kind out of its form and its coefficients, which come in the order of their names."""


def _log(value: float) -> float:
    """Return the logarithm of a value at a knot. Raises BadInputError where it has none."""
    if not value > 0:
        raise BadInputError(f"a 'log-spline' statistic is {value:g} at a knot, and must be above zero")
    return math.log(value)


def build_statistic(form: Form, coefficients: Mapping[str, Any]) -> Statistic:
    """Build the statistic of a form; coefficients are numbers, or tensors that torch differentiates by.

    Raises
    ------
    BadInputError
        For an unknown kind, and for a coefficient that is missing.
    """
    if form.kind not in KINDS:
        raise BadInputError(f"unknown form '{form.kind}' of a statistic; {suggest(form.kind, list(KINDS))}")
    try:
        values = tuple(coefficients[name] for name in coefficient_names(form, len(coefficients) - 1))
    except KeyError as error:
        raise BadInputError(f"a '{form.kind}' statistic needs the coefficient {error}") from None
    return KINDS[form.kind](form, values)


def coefficient_names(form: Form, degree: int = 0) -> tuple[str, ...]:
    """Return the names of a form's coefficients; `degree` is that of a polynomial."""
    if form.kind == "polynomial":
        return tuple(f"c{k}" for k in range(degree + 1))
    if form.kind in BY_CONDUCTANCE:
        return tuple(f"v{k}" for k in range(len(form.at)))
    return _COEFFICIENTS[form.kind]


def coefficient_meanings(form: Form, quantity: str, g_scale: float) -> dict[str, str]:
    """Say what each coefficient of a form tells about a quantity; knots by the conductance (uS) at which they lie."""
    if form.kind in BY_CONDUCTANCE:
        return {f"v{k}": f"{quantity} at {math.exp(at) * g_scale:.3g} uS" for k, at in enumerate(form.at)}
    return {name: f"{name} of the {quantity}" for name in coefficient_names(form)}
