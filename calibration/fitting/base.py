"""The interface of families: a model of one experiment that can be fitted, evaluated on other cells, and drawn.

A family says how a measurement becomes a table (`prepare`), which coefficients it has (`layout`), how likely they are
(`likelihood`) and what it predicts (`quantiles`). All else has a default that a family may replace. docs/families.md
shows a complete one in a package of its own.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeAlias, TypeVar

import numpy as np
import torch

from hwloop.calibration.fitting.known import NOTHING_KNOWN, KnownDevice
from hwloop.calibration.fitting.layout import Layout
from hwloop.calibration.fitting.likelihood import LogLikelihood, Optimum, covariance, maximise, tensor
from hwloop.calibration.fitting.misfit import Check, failures, left_out_checks
from hwloop.calibration.fitting.panels import Panel, ks_distance, quantile_panel
from hwloop.calibration.fitting.screening import Screening
from hwloop.errors import BadInputError
from hwloop.files.measurements import Experiment, Measurement
from hwloop.files.models import Estimate, Fit, Form
from hwloop.typing import BoolArray, FloatArray

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

WIDEST = 20.0
"""Width of the interval of a logarithm from which on it says nothing."""
UNDETERMINED = "the data do not determine it: no interval"
"""Note of a parameter that only appears in combinations, or not at all, in what was read."""
NO_MAXIMUM = "the likelihood does not curve downwards at the values that were found"
"""Note of parameters at a place that is no maximum, or whose curvature is no finite number."""
SHARED = {"shared": True}
"""Metadata of an array of a table that all cells have in common."""

Table = TypeVar("Table", bound="DataclassInstance")


@dataclass(frozen=True)
class Description:
    """What a fit records besides its parameters."""

    conductance_range: tuple[float, float]
    """uS; outside of it the fit says nothing."""
    time_range: tuple[float, float]
    """Seconds."""
    settings: dict[str, float] = field(default_factory=dict)
    """Numbers that define the parameters and were not fitted, such as the reference age."""
    forms: dict[str, Form] = field(default_factory=dict)
    """Statistic -> its shape; its coefficients are those called STATISTIC.COEFFICIENT."""


@dataclass(frozen=True)
class Fitted(Generic[Table]):
    """A family with its parameters, and the record of how they were found."""

    family: Family[Table]
    optimum: Optimum
    record: Fit
    held: dict[str, str] = field(default_factory=dict)
    """Parameter -> why it was not fitted."""

    def __repr__(self) -> str:
        cells = self.record.cells
        return f"Fitted({self.family.name}, {len(self.record.parameters)} parameters, {cells.used} cells)"


class Family(abc.ABC, Generic[Table]):
    """A statistical model of one experiment."""

    name: ClassVar[str]
    """By which users choose it; that of its entry point in the group hwloop.families."""
    experiment: ClassVar[Experiment]
    summary: ClassVar[str]
    """One line for people."""
    extrapolates: ClassVar[bool] = False
    """Whether held-out data are later times (its purpose is to predict them) rather than other cells."""
    several_temperatures: ClassVar[bool] = False
    """Whether it describes reads at several temperatures, and no others."""
    one_age: ClassVar[bool] = False
    """Whether it describes cells with later reads at one age alone, of which others say nothing."""
    on_request: ClassVar[bool] = False
    """Whether it is fitted only when it is asked for by name."""
    preference: ClassVar[int] = 100
    """Place among the families of an experiment: the less a family assumes, the smaller. Of those that predict alike
    the first is taken."""
    rivals: ClassVar[tuple[str, ...]] = ()
    """Families of other growth with which this one is compared by held-out times even when it is asked for by name."""
    kinks: ClassVar[bool] = False
    """Whether the likelihood has kinks, across which its curvature is taken."""
    essential: ClassVar[tuple[str, ...]] = ()
    """Statistics of each of which the data must determine a coefficient: a fit without says nothing, and is refused."""
    cells_per_parameter: ClassVar[int] = 5
    """Fewer cells than this per parameter support no fit."""

    @abc.abstractmethod
    def prepare(self, measurement: Measurement, known: KnownDevice = NOTHING_KNOWN) -> tuple[Table, Screening]:
        """Return the cells to fit, as the table the family works on, and why others are left out.

        A table is a dataclass whose arrays have an entry per cell, except those marked `field(metadata=SHARED)`.
        Raises BadInputError when there is nothing to fit.
        """

    @abc.abstractmethod
    def layout(self, table: Table) -> Layout:
        """Return what the elements of the parameter vector are, and where a search begins."""

    @abc.abstractmethod
    def likelihood(self, table: Table) -> LogLikelihood:
        """Return a function of the parameters (p,) that torch can differentiate: log-likelihood of every cell."""

    @abc.abstractmethod
    def quantiles(self, table: Table, theta: FloatArray) -> FloatArray:
        """Return the predicted quantile of every observation that the model describes: uniform where it is true."""

    @abc.abstractmethod
    def describe(self, table: Table) -> Description:
        """Return what the fit records besides its parameters."""

    def estimate(self, table: Table, *, intervals: bool) -> tuple[Optimum, dict[str, str]]:
        """Return the parameters of maximum likelihood, and those that the data cannot tell, with the reason.

        Without `intervals` the covariance is not computed.
        """
        likelihood = self.likelihood(table)
        found = maximise(likelihood, self.start(table))
        if intervals:
            found = replace(found, covariance=covariance(likelihood, found.theta, kinks=self.kinks))
        return found, {}

    def start(self, table: Table) -> FloatArray:
        """Return the parameters (p,) from which the search begins."""
        return self.layout(table).start

    def log_likelihood(self, table: Table, theta: FloatArray) -> FloatArray:
        """Return the log-likelihood (cells,) of every cell of a table."""
        with torch.no_grad():
            return self.likelihood(table)(tensor(theta)).numpy()

    def predict(self, table: Table, theta: FloatArray, earlier: Measurement, later: Measurement) -> FloatArray:
        """Return the log density (cells of `later`) of one later read of each cell, NaN where the table lacks the cell.

        Only families with `extrapolates` have it. `earlier` is what the table was made of; `later` has the same cells.
        """
        raise NotImplementedError(f"{self.name} does not extrapolate")

    def panels(self, table: Table, theta: FloatArray) -> list[Panel]:
        """Return diagrams of the fit."""
        return [quantile_panel(self.quantiles(table, theta))]

    def caveats(self, table: Table) -> list[str]:
        """Say what the intervals of a fit do not contain."""
        return []

    def checks(self, table: Table, theta: FloatArray, measurement: Measurement) -> list[Check]:
        """Look at what the fit leaves of the measurement that the table was made of: see `misfit`."""
        return []

    def size(self, table: Table) -> int:
        """Return the number of cells of a table."""
        return len(next(iter(_own_columns(table).values())))

    def subset(self, table: Table, cells: BoolArray) -> Table:
        """Return the table of some of its cells, (cells,) true."""
        return replace(table, **{name: column[cells] for name, column in _own_columns(table).items()})

    def require_support(self, table: Table) -> None:
        """Raise BadInputError when the table has too few cells for the parameters."""
        parameters = len(self.layout(table).shown)
        needed = self.cells_per_parameter * parameters
        if self.size(table) < needed:
            raise BadInputError(
                f"{self.experiment.value}: {self.size(table)} usable cells cannot support the "
                f"{parameters} parameters of '{self.name}', which needs {needed}; measure more cells"
            )

    def fit(self, measurement: Measurement, known: KnownDevice = NOTHING_KNOWN) -> tuple[Fitted[Table], Table]:
        """Fit a measurement.

        Parameters
        ----------
        measurement
            Reads of one experiment.
        known
            What another experiment has told of the devices.

        Returns
        -------
        tuple
            The fit, and the table it was made on, for diagrams.

        Raises
        ------
        BadInputError
            When the measurement cannot support the fit.
        """
        table, screening = self.prepare(measurement, known)
        self.require_support(table)
        optimum, held = self.estimate(table, intervals=True)
        each = self.log_likelihood(table, optimum.theta)
        cells = screening.count(measurement)
        warnings = [f"{name}: {reason}" for name, reason in held.items()] + self.caveats(table)
        warnings += left_out_checks(cells) + failures(self.checks(table, optimum.theta, measurement))
        if not optimum.converged:
            warnings.append("the search for the maximum stopped before it had converged: values are near the best ones")
        parameters = self._estimates(table, optimum, held)
        # A search that stopped early, as at a spike of the likelihood, has values worth having, with a warning.
        if optimum.certain or optimum.converged:
            self._require_identified(parameters, optimum)
        said = self.describe(table)
        record = Fit(
            experiment=self.experiment.value,
            family=self.name,
            parameters=parameters,
            forms=said.forms,
            settings=said.settings,
            cells=cells,
            conductance_range=said.conductance_range,
            time_range=said.time_range,
            log_likelihood_per_cell=float(each.mean()),
            ks_distance=ks_distance(self.quantiles(table, optimum.theta)),
            warnings=tuple(warnings),
        )
        return Fitted(self, optimum, record, held), table

    def _require_identified(self, parameters: tuple[Estimate, ...], optimum: Optimum) -> None:
        """Raise BadInputError where the data tell no parameter, or none of an essential statistic."""
        told = [item.name for item in parameters if item.low is not None]
        # Where the search has not ended at a maximum nothing is known to be unknown: the fit says so instead.
        essential = self.essential if optimum.certain else ()
        missing = [name for name in essential if not any(one.startswith(f"{name}.") for one in told)]
        if not told or missing:
            why = "" if optimum.certain else f" ({NO_MAXIMUM})"
            what = f"nothing of the {' and the '.join(missing)}" if told else f"no parameter of '{self.name}'{why}"
            raise BadInputError(
                f"{self.experiment.value}: these reads tell {what}: they scatter so much, or so little, or lie at so "
                "few ages and conductances, that the model cannot be seen in them; look for stuck cells and wrong "
                "columns, units or cell numbers, or measure more"
            )

    def _estimates(self, table: Table, optimum: Optimum, held: Mapping[str, str]) -> tuple[Estimate, ...]:
        rows = []
        for index, item in enumerate(self.layout(table).shown):
            value, (low, high) = float(optimum.theta[index]), optimum.interval(index)
            note = held.get(item.name, item.note)
            if not note and not np.isfinite(high - low):
                note = UNDETERMINED if optimum.certain else "not at a maximum: no interval"
            if not note and high - low > item.widest:
                note = f"known to within {high - low:.2g} only, which says nothing: no interval"
            # No width at all is no knowledge either: nothing that was read moves the likelihood.
            if not note and not (0.0 < high - low < (WIDEST if item.log else np.inf)):
                note = "the data do not tell how sure it is"
            if item.log:
                value = float(np.exp(value))
                low, high = (0.0, 0.0) if note else (float(np.exp(low)), float(np.exp(high)))
            ends: tuple[float | None, float | None] = (None, None) if note else (low, high)
            rows.append(Estimate(item.name, value, ends[0], ends[1], item.unit, item.meaning, note))
        return tuple(rows)


AnyFamily: TypeAlias = Family[Any]
"""A family, whatever table it works on."""
AnyFitted: TypeAlias = Fitted[Any]
"""A fit of any family."""


def _own_columns(table: DataclassInstance) -> dict[str, FloatArray]:
    """Return the arrays of a table that have an entry per cell."""
    columns = {item.name: getattr(table, item.name) for item in fields(table) if item.metadata != SHARED}
    return {name: column for name, column in columns.items() if isinstance(column, np.ndarray)}
