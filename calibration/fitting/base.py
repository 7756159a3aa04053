"""The interface of families: a model of one experiment that can be fitted, judged on cells it has not seen, and drawn.

A family is a small class. `prepare` turns a measurement into the table it works on and says which cells it leaves out
and why; `fit` finds the parameters; `log_likelihood` judges other cells of such a table. New families register in
`hwloop.calibration.fitting.selection`.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from hwloop.calibration.fitting.likelihood import Optimum
from hwloop.errors import BadInputError
from hwloop.files.measurements import Experiment, Mark, Measurement
from hwloop.files.models import CellCount, Estimate, Fit
from hwloop.typing import FloatArray

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


MOST_ADDRESSES = 10_000
"""Addresses of stuck and of wild cells that a model file lists; their numbers are always whole."""
CELLS_PER_PARAMETER = 5
"""Fewer cells than this per parameter support no fit."""

WIDEST = 20.0
"""Width of the interval of a logarithm from which on it says nothing."""

STUCK, WILD = "stuck", "wild"

SHARED = {"shared": True}
"""Metadata of an array of a table that all cells have in common."""


@dataclass
class Screening:
    """Why each measured cell is left out; an empty reason means that it is used."""

    reason: NDArray[np.str_]
    """(cells,)"""

    @classmethod
    def of(cls, measurement: Measurement) -> Screening:
        """Start with the marks of the measurement itself.

        A cell that missed its target is one whose conductance is known from its reads: only statistics about targets
        leave it out.
        """
        reason = np.full(len(measurement.cells), "", dtype="U48")
        names = {Mark.STUCK_SET: STUCK, Mark.STUCK_RESET: STUCK, Mark.WILD: WILD}
        harmless = {Mark.GOOD} if measurement.experiment is Experiment.PROGRAMMING else {Mark.GOOD, Mark.UNCONVERGED}
        for mark in Mark:
            if mark not in harmless:
                reason[measurement.cells.mark == mark] = names.get(mark, f"marked {mark.name.lower()}")
        return cls(reason)

    @property
    def kept(self) -> NDArray[np.bool_]:
        """(cells,) cells still in use."""
        kept: NDArray[np.bool_] = self.reason == ""
        return kept

    def drop(self, cells: NDArray[np.bool_], reason: str) -> None:
        """Leave cells (cells,) out, unless they already are for another reason."""
        self.reason[cells & self.kept] = reason

    def count(self, measurement: Measurement) -> CellCount:
        """What became of all cells."""
        names, numbers = np.unique(self.reason, return_counts=True)
        by_reason = {str(name): int(number) for name, number in zip(names, numbers, strict=True)}
        used, stuck, wild = (by_reason.pop(name, 0) for name in ("", STUCK, WILD))
        address = measurement.cells.address

        def named(reason: str) -> tuple[int, ...]:
            return tuple(int(a) for a in address[self.reason == reason][:MOST_ADDRESSES])

        return CellCount(len(measurement.cells), used, stuck, wild, by_reason, named(STUCK), named(WILD))


@dataclass(frozen=True)
class Series:
    """Points or a line of a figure; `low` and `high` are error bars or a band."""

    label: str
    x: FloatArray
    y: FloatArray
    low: FloatArray | None = None
    high: FloatArray | None = None
    line: bool = False


@dataclass(frozen=True)
class Panel:
    """One diagram of a fit: what was seen against what the model says."""

    title: str
    x: str
    y: str
    series: tuple[Series, ...]
    log_x: bool = False
    log_y: bool = False


@dataclass(frozen=True)
class Coefficient:
    """What the elements of a parameter vector are. With `log` the vector has the logarithm of the value."""

    name: str
    unit: str
    meaning: str
    log: bool = False
    note: str = ""
    """Why it is held, where that is nothing to warn of."""


Table = TypeVar("Table", bound="DataclassInstance")


@dataclass(frozen=True)
class Fitted(Generic[Table]):
    """A family with its parameters, and the record of how they were found."""

    family: Family[Table]
    optimum: Optimum
    record: Fit
    held: dict[str, str] = field(default_factory=dict)
    """Parameter -> why it was not fitted."""


class Family(abc.ABC, Generic[Table]):
    """A statistical model of one experiment."""

    name: ClassVar[str]
    experiment: ClassVar[Experiment]
    summary: ClassVar[str]
    """One line for people."""
    extrapolates: ClassVar[bool] = False
    """Whether held-out data are later times (its purpose is to predict them) rather than other cells."""

    @abc.abstractmethod
    def prepare(self, measurement: Measurement) -> tuple[Table, Screening]:
        """The cells to fit, as the table the family works on. Raises BadInputError when there is nothing to fit."""

    @abc.abstractmethod
    def estimate(self, table: Table, *, intervals: bool) -> tuple[Optimum, dict[str, str]]:
        """Parameters of maximum likelihood, and those that the data cannot tell, with the reason.

        Without `intervals` the covariance is not computed.
        """

    @abc.abstractmethod
    def coefficients(self, table: Table) -> list[Coefficient]:
        """What the elements of the parameter vector are."""

    @abc.abstractmethod
    def log_likelihood(self, table: Table, theta: FloatArray) -> FloatArray:
        """Log-likelihood (cells,) of every cell of a table."""

    def predict(self, table: Table, theta: FloatArray, earlier: Measurement, later: Measurement) -> FloatArray:
        """Log density (cells of `later`) of one later read of each cell, NaN where the table lacks the cell.

        Only families with `extrapolates` have it. `earlier` is what the table was made of; `later` has the same cells.
        """
        raise NotImplementedError(f"{self.name} does not extrapolate")

    @abc.abstractmethod
    def quantiles(self, table: Table, theta: FloatArray) -> FloatArray:
        """Predicted quantile of every observation that the model describes: uniform where the model is true."""

    @abc.abstractmethod
    def panels(self, table: Table, theta: FloatArray) -> list[Panel]:
        """Diagrams of the fit."""

    @abc.abstractmethod
    def describe(self, table: Table) -> dict[str, Any]:
        """Fields of `Fit` that depend on the family: forms, settings, conductance_range, time_range."""

    @abc.abstractmethod
    def size(self, table: Table) -> int:
        """Number of cells of a table."""

    def subset(self, table: Table, cells: NDArray[np.bool_]) -> Table:
        """The table of some of its cells, (cells,) true; a table is a dataclass whose arrays have an entry per cell.

        Those that have not are marked so: `field(metadata=SHARED)`.
        """
        columns = {item.name: getattr(table, item.name) for item in fields(table) if item.metadata != SHARED}
        own = {name: column[cells] for name, column in columns.items() if isinstance(column, np.ndarray)}
        return replace(table, **own)

    def caveats(self, table: Table) -> list[str]:
        """What the intervals of a fit do not contain."""
        return []

    def fit(self, measurement: Measurement) -> tuple[Fitted[Table], Table]:
        """Fit a measurement; the table comes back for diagrams. Raises BadInputError when it cannot be supported."""
        table, screening = self.prepare(measurement)
        self.require_support(table)
        optimum, held = self.estimate(table, intervals=True)
        each = self.log_likelihood(table, optimum.theta)
        warnings = [f"{name}: {reason}" for name, reason in held.items()] + self.caveats(table)
        if not optimum.converged:
            warnings.append("the search for the maximum stopped before it had converged")
        parameters = self._estimates(table, optimum, held)
        if all(item.low is None for item in parameters):
            raise BadInputError(
                f"{self.experiment.value}: these reads tell no parameter of '{self.name}': they scatter so much, or so "
                "little, that the model cannot be seen in them; look for wrong columns, units or cell numbers"
            )
        record = Fit(
            experiment=self.experiment.value,
            family=self.name,
            parameters=parameters,
            cells=screening.count(measurement),
            log_likelihood_per_cell=float(each.mean()),
            calibration_distance=kolmogorov(self.quantiles(table, optimum.theta)),
            warnings=tuple(warnings),
            **self.describe(table),
        )
        return Fitted(self, optimum, record, held), table

    def require_support(self, table: Table) -> None:
        """Raise BadInputError when the table has too few cells for the parameters."""
        needed = CELLS_PER_PARAMETER * len(self.coefficients(table))
        if self.size(table) < needed:
            raise BadInputError(
                f"{self.experiment.value}: {self.size(table)} usable cells cannot support the "
                f"{len(self.coefficients(table))} parameters of '{self.name}', which needs {needed}; measure more cells"
            )

    def _estimates(self, table: Table, optimum: Optimum, held: Mapping[str, str]) -> tuple[Estimate, ...]:
        rows = []
        for index, item in enumerate(self.coefficients(table)):
            value, (low, high) = float(optimum.theta[index]), optimum.interval(index)
            note = held.get(item.name, item.note)
            # No width at all is no knowledge either: nothing that was read moves the likelihood.
            if not note and not (0.0 < high - low < (WIDEST if item.log else np.inf)):
                note = "the data do not tell how sure it is"
            if item.log:
                value = float(np.exp(value))
                low, high = (0.0, 0.0) if note else (float(np.exp(low)), float(np.exp(high)))
            ends: tuple[float | None, float | None] = (None, None) if note else (low, high)
            rows.append(Estimate(item.name, value, ends[0], ends[1], item.unit, item.meaning, note))
        return tuple(rows)


def with_choice(fitted: Fitted[Table], choice: Mapping[str, float]) -> Fitted[Table]:
    """The same fit, with the held-out log-likelihoods by which it was chosen."""
    return replace(fitted, record=replace(fitted.record, choice=dict(choice)))


def kolmogorov(quantiles: FloatArray) -> float:
    """Largest distance between the distribution of quantiles and the uniform one."""
    return float(stats.kstest(quantiles, "uniform").statistic)


def quantile_panel(quantiles: FloatArray) -> Panel:
    """Distribution of the predicted quantiles, flat where the model is true."""
    counts, edges = np.histogram(quantiles, bins=20, range=(0, 1))
    share = counts * 20 / max(counts.sum(), 1)
    error = np.sqrt(np.maximum(counts, 1)) * 20 / max(counts.sum(), 1)
    centre = (edges[1:] + edges[:-1]) / 2
    flat = Series("calibrated", np.array([0.0, 1.0]), np.ones(2), line=True)
    seen = Series("measured", centre, share, share - 2 * error, share + 2 * error)
    title = f"Calibration (Kolmogorov distance {kolmogorov(quantiles):.3f})"
    return Panel(title, "predicted quantile of what was measured", "relative frequency", (seen, flat))


def binned(x: FloatArray, bins: int = 25) -> tuple[NDArray[np.int64], FloatArray]:
    """Bin number (n,) by quantiles of x, and the mean x of each bin: equally many cells in each."""
    edges = np.unique(np.quantile(x, np.linspace(0, 1, bins + 1)))
    number = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, max(edges.size - 2, 0))
    used, number = np.unique(number, return_inverse=True)
    centre = np.bincount(number, x, used.size) / np.bincount(number, minlength=used.size)
    return number.astype(np.int64), centre
