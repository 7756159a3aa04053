"""Diagrams of relaxation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hwloop.calibration.fitting.panels import Panel, Series, binned, quantile_panel
from hwloop.calibration.fitting.relaxation.table import RelaxationTable
from hwloop.devices.relaxation import RelaxationLaw
from hwloop.typing import BoolArray, FloatArray


def relaxation_panels(law: RelaxationLaw, table: RelaxationTable, quantiles: FloatArray) -> list[Panel]:
    """Draw the change against G0 at the last age, its growth with time, and the predicted quantiles."""
    ages = list(_ages(table))
    return [_change(law, table, *ages[-1]), _growth(law, table, ages), quantile_panel(quantiles)]


def _ages(table: RelaxationTable) -> Iterator[tuple[float, BoolArray]]:
    """Give the ages (s) at which cells were read, a tenth of a decade wide, and which reads were taken then."""
    decade = np.round(np.log10(np.where(table.there, table.time, 1.0)), 1)
    for nominal in np.unique(decade[table.there]):
        yield float(10.0**nominal), table.there & (decade == nominal)


def _change(law: RelaxationLaw, table: RelaxationTable, age: float, at: BoolArray) -> Panel:
    rows, columns = np.nonzero(at)
    first = table.first[rows]
    change = table.conductance[rows, columns] - first
    bins, x = binned(first, max(1, min(24, first.size // 60)))
    grid = np.quantile(first, np.linspace(0.005, 0.995, 60))
    predicted, points, lines = law.at(age, grid), [], []
    for p in (0.05, 0.5, 0.95):
        seen = np.array([np.quantile(change[bins == b], p) for b in range(x.size)])
        points.append(Series(f"measured, {p:.0%}", x, seen))
        lines.append(Series(f"fit, {p:.0%}", grid, predicted.quantile(p) - grid, line=True))
    title = f"Change {age:.3g} s after programming"
    return Panel(title, "first conductance, uS", "quantiles of G - G0, uS", (*points, *lines))


def _growth(law: RelaxationLaw, table: RelaxationTable, ages: list[tuple[float, BoolArray]]) -> Panel:
    """Draw the 5 % to 95 % range of changes of all cells at every age that has reads enough."""
    rng = np.random.default_rng(0)
    some = rng.choice(table.first, min(400, table.first.size), replace=False)
    shown, seen, fitted = [], [], []
    for age, at in ages:  # a handful
        change = (table.conductance - table.first[:, None])[at]
        if change.size > 40:
            drawn = law.at(age, some).sample(rng, 10) - some
            shown.append(age)
            seen.append(np.ptp(np.quantile(change, [0.05, 0.95])))
            fitted.append(np.ptp(np.quantile(drawn, [0.05, 0.95])))
    series = [Series("measured", np.array(shown), np.array(seen))]
    series.append(Series("fit", np.array(shown), np.array(fitted), line=True))
    return Panel("Growth with time, all cells", "age, s", "5 % to 95 % range of G - G0, uS", tuple(series), log_x=True)
