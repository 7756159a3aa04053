"""Diagrams of bakes."""

from __future__ import annotations

import numpy as np

from hwloop.calibration.fitting.bake.table import BakeTable
from hwloop.calibration.fitting.checks import SAME_TEMPERATURE
from hwloop.calibration.fitting.panels import Panel, Series, binned, quantile_panel
from hwloop.devices.bake import BakeLaw
from hwloop.typing import FloatArray


def bake_panels(law: BakeLaw, table: BakeTable, quantiles: FloatArray) -> list[Panel]:
    """Draw the change against G0 after the mildest and the hardest bake, against temperature, and the quantiles."""
    order = np.argsort(law.place(law.equivalent(table.conditions[:, 1], table.conditions[:, 0])))
    ends = [table.conditions[order[0]], table.conditions[order[-1]]]
    return [*(_change(law, table, *end) for end in ends), _by_temperature(law, table), quantile_panel(quantiles)]


def _reads_at(table: BakeTable, kelvin: float, seconds: float) -> tuple[FloatArray, FloatArray]:
    """Return first conductances and changes (uS) of the cells that had a bake."""
    near = np.abs(table.temperature - kelvin) < SAME_TEMPERATURE
    rows, columns = np.nonzero(table.there & near & (np.abs(np.log(table.time / seconds)) < 0.2))
    return table.first[rows], table.conductance[rows, columns] - table.first[rows]


def _change(law: BakeLaw, table: BakeTable, kelvin: float, seconds: float) -> Panel:
    first, change = _reads_at(table, kelvin, seconds)
    bins, x = binned(first, max(1, min(24, first.size // 60)))
    grid = np.quantile(first, np.linspace(0.005, 0.995, 60))
    predicted, points, lines = law.at(seconds, grid, kelvin), [], []
    for p in (0.05, 0.5, 0.95):
        seen = np.array([np.quantile(change[bins == b], p) for b in range(x.size)])
        points.append(Series(f"measured, {p:.0%}", x, seen))
        lines.append(Series(f"fit, {p:.0%}", grid, predicted.quantile(p) - grid, line=True))
    title = f"Change after {seconds / 3600:.3g} h at {kelvin:.0f} K"
    return Panel(title, "first conductance, uS", "quantiles of G - G0, uS", (*points, *lines))


def _by_temperature(law: BakeLaw, table: BakeTable) -> Panel:
    """Draw quantiles of the change of all cells against the temperature of their bakes."""
    rng, rows = np.random.default_rng(0), []
    for kelvin, seconds in table.conditions:  # a handful
        first, change = _reads_at(table, kelvin, seconds)
        if change.size:
            some = rng.choice(first, min(400, first.size), replace=False)
            drawn = law.at(seconds, some, kelvin).sample(rng, 10) - some
            rows.append([kelvin, *np.quantile(change, (0.05, 0.5, 0.95)), *np.quantile(drawn, (0.05, 0.5, 0.95))])
    if not rows:
        return Panel("All cells by temperature", "temperature, K", "quantiles of G - G0, uS", ())
    kelvin, *seen = np.array(sorted(rows)).T
    series = [Series(f"measured, {p}", kelvin, y) for p, y in zip(("5 %", "50 %", "95 %"), seen[:3], strict=True)]
    series += [
        Series(f"fit, {p}", kelvin, y, line=True) for p, y in zip(("5 %", "50 %", "95 %"), seen[3:], strict=True)
    ]
    return Panel("All cells by temperature", "temperature, K", "quantiles of G - G0, uS", tuple(series))
