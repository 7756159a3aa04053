"""From what columns hold to conductances: resistances, currents at their voltage, the voltage of a shunt."""

from __future__ import annotations

import numpy as np

from hwloop.errors import BadInputError
from hwloop.importers.checks import Rows
from hwloop.importers.columns import ColumnMap, Source
from hwloop.importers.layout import TextOptions


def used(columns: ColumnMap, kept: str | None = None) -> list[Source]:
    """Choose the columns to read: of conductance, resistance and current one is enough; `kept` is read besides."""
    if columns.has("conductance"):
        spare = {"resistance", "current", "voltage", "source_voltage", "shunt_voltage"}
    elif columns.has("resistance"):
        spare = {"current", "voltage", "source_voltage", "shunt_voltage"}
    elif columns.has("voltage"):
        spare = {"source_voltage"} | ({"shunt_voltage"} if columns.has("current") else set())
    else:
        spare = set()
    return [source for source in columns.sources if source.name not in spare - {kept}]


def check(columns: ColumnMap, options: TextOptions) -> None:
    """Raise BadInputError for options that the columns have no use for, and columns that lack an option."""
    direct = columns.has("conductance") or columns.has("resistance")
    if columns.has("shunt_voltage") and options.shunt is None and not (direct or columns.has("current")):
        raise BadInputError(
            "a shunt_voltage becomes a current by the shunt's resistance: state it, such as --shunt 1000"
        )
    if options.shunt is not None and not columns.has("shunt_voltage"):
        raise BadInputError("--shunt is for a shunt_voltage[V] among the columns; leave it out")
    if options.read_voltage is not None and (direct or columns.has("voltage")):
        have = "voltage" if columns.has("voltage") else "conductance or resistance"
        raise BadInputError(f"--read-voltage is for currents without a voltage, and there is a {have}; leave it out")
    if options.reverse_current and direct:
        raise BadInputError("--reverse-current is for currents, and conductances or resistances are read; leave it out")


def conducted(rows: Rows, options: TextOptions) -> Rows:
    """Turn what was read, in hwloop's units, into rows with a conductance (uS)."""
    rows = dict(rows)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if "conductance" in rows:
            return rows
        if "resistance" in rows:
            rows["conductance"] = 1e6 / rows["resistance"]
            return rows
        shunt_voltage = rows.get("shunt_voltage")
        if "current" in rows:
            current = rows["current"]
        else:
            assert shunt_voltage is not None
            assert options.shunt is not None  # `check` has seen to both
            current = 1e6 * shunt_voltage / options.shunt
        if "voltage" in rows:
            voltage = rows["voltage"]
        elif shunt_voltage is not None and "source_voltage" in rows:
            voltage = rows["source_voltage"] - shunt_voltage
        else:
            voltage = np.full(1, np.nan if options.read_voltage is None else options.read_voltage)
        rows["conductance"] = (-current if options.reverse_current else current) / voltage
    return rows
