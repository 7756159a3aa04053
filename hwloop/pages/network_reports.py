"""What the page of a network tells of its place on the chip and of its cost, from what its file keeps of them.

The report comes from a file, which may have been made elsewhere: what is missing, or of another type than it should
be, is left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from hwloop.nn.cost import shown as with_prefix
from hwloop.pages.page import Cell, Column, Fact, Table
from hwloop.pages.texts import counted
from hwloop.typing import Json


def facts_of_report(report: Mapping[str, Json]) -> tuple[Fact, ...]:
    """Sum up how full the cores are, and what an inference costs."""
    facts = []
    used, share = _number(report.get("cores_used")), _number(report.get("utilisation"))
    if used is not None and share is not None:
        facts.append(Fact("cores in use", f"{counted(round(used), 'core')}, {share:.0%} of their cells"))
    cost = _object(report.get("cost"))
    for name, key, unit in (
        ("one inference", "latency_seconds", "s"),
        ("energy of an inference", "energy_joules", "J"),
        ("in a stream, one every", "interval_seconds", "s"),
    ):
        value = _number(cost.get(key))
        if value is not None:
            facts.append(Fact(name, with_prefix(value, unit)))
    return tuple(facts)


COPIES = Column("copies")
MATRIX_COLUMNS = (
    Column("matrix", names=True),
    Column("inputs x outputs"),
    Column("cores"),
    COPIES,
    Column("MVM error", style=".4f"),
    Column("MVMs", "an inference"),
    Column("latency"),
    Column("energy"),
)


def tables_of_report(report: Mapping[str, Json]) -> tuple[Table, ...]:
    """Make the tables of matrices, of what stays digital, and of what the cost takes for granted; none without any."""
    layers, cost = _objects(report.get("layers")), _object(report.get("cost"))
    costs = {str(one.get("name")): one for one in _objects(cost.get("matrices"))}
    rows = tuple(_row(layer, costs.get(str(layer.get("name")), {})) for layer in layers)
    if not rows:
        return ()
    copies = MATRIX_COLUMNS.index(COPIES)
    copied = any(row[copies] != 1 for row in rows)
    shown = [number for number in range(len(MATRIX_COLUMNS)) if copied or number != copies]
    cells = tuple(tuple(row[number] for number in shown) for row in rows)
    note = "MVM errors are those of the network's own activations."
    matrices = Table("Matrices", tuple(MATRIX_COLUMNS[number] for number in shown), cells, note)
    return tuple(table for table in (matrices, _digital(report), *_about_cost(cost)) if table.rows)


def _digital(report: Mapping[str, Json]) -> Table:
    """Make the table of what stays digital, each reason once."""
    alike: dict[tuple[str, str], list[str]] = {}
    for one in _objects(report.get("digital")):
        name = str(one.get("name")) or "the network"
        alike.setdefault((str(one.get("kind")), str(one.get("reason"))), []).append(name)
    rows = tuple((", ".join(names), kind, reason) for (kind, reason), names in alike.items())
    return Table("What stays digital", (Column("of"), Column("kind"), Column("why")), rows)


def _about_cost(cost: Mapping[str, Json]) -> tuple[Table, Table]:
    """Make the tables of what is computed beside the chip, and of what the cost takes for granted."""
    operations = tuple((name, _count(count)) for name, count in _object(cost.get("digital_operations")).items())
    sentences = tuple((str(one),) for key in ("unknown", "assumptions") for one in _list(cost.get(key)))
    columns = (Column("operation"), Column("how often"))
    return (
        Table("Digital operations of an inference", columns, operations, detail=True),
        Table("What the cost takes for granted", (Column("assumption"),), sentences, detail=True),
    )


def _row(layer: Mapping[str, Json], cost: Mapping[str, Json]) -> tuple[Cell, ...]:
    groups, inputs, outputs = (_count(layer.get(key)) for key in ("groups", "inputs", "outputs"))
    shape = f"{inputs} x {outputs}" if groups in (None, 1) else f"{groups} x {inputs} x {outputs}"
    shared = [str(one) for one in _list(layer.get("shared_with"))]
    name = str(layer.get("name"))
    latency, energy = _number(cost.get("latency_seconds")), _number(cost.get("energy_joules"))
    return (
        f"{name} (shared with {', '.join(shared)})" if shared else name,
        shape,
        _ranges([round(one) for one in map(_number, _list(layer.get("cores"))) if one is not None]),
        _count(layer.get("replicas")),
        _number(layer.get("mvm_error")),
        _count(cost.get("mvms")),
        None if latency is None else with_prefix(latency, "s"),
        None if energy is None else with_prefix(energy, "J"),
    )


def _ranges(numbers: list[int]) -> str:
    """Write core numbers briefly: 0, 0-3, or 0, 2, 7."""
    if len(numbers) > 1 and numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"{numbers[0]}-{numbers[-1]}"
    return ", ".join(map(str, numbers))


def _number(value: Json) -> float | None:
    """Take a number that is finite and not negative; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        return None
    return float(value)


def _count(value: Json) -> int | None:
    number = _number(value)
    return None if number is None else round(number)


def _object(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}


def _list(value: Json) -> list[Json]:
    return list(value) if isinstance(value, list) else []


def _objects(value: Json) -> list[Mapping[str, Json]]:
    return [one for one in _list(value) if isinstance(one, dict)]
