"""The column map of a text file: `cell,time[s],resistance[ohm],conductance[S],,level,nominal_time[s]`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hwloop.errors import BadInputError
from hwloop.units import conversion

KNOWN = {
    "cell": "",
    "core": "",
    "level": "",
    "repeat": "",
    "time": "s",
    "nominal_time": "s",
    "conductance": "uS",
    "resistance": "ohm",
    "current": "uA",
    "voltage": "V",
    "target": "uS",
    "verify": "uS",
    "temperature": "K",
    "amplitude": "uA",
    "width": "ns",
    "pulse_voltage": "V",
}
"""Names of a column map and hwloop's unit of each; those without a unit are numbers or names."""

CODE = "code"
"""Unit of conductances that are converter codes; they become uS by a step that the user states."""
REST = "..."
"""Behind the last name: this column and all further ones are samples of one row."""

_NAME = re.compile(r"\s*(?P<name>[A-Za-z_]*)\s*(?:\[(?P<unit>[^\]]*)\])?\s*(?P<rest>\.\.\.)?\s*")


@dataclass(frozen=True)
class Source:
    """One column of the text: value * factor + offset is in hwloop's unit."""

    name: str
    """Quantity, one of `KNOWN`."""
    index: int
    """Number of the column, counted from 0."""
    factor: float = 1.0
    """Units of hwloop per unit of the file."""
    offset: float = 0.0
    """In hwloop's unit."""


@dataclass(frozen=True)
class ColumnMap:
    """Where the known quantities stand."""

    sources: tuple[Source, ...]
    """The columns that are used."""
    width: int
    """Number of columns of a row; with `samples`, the number of the first sample's column + 1."""
    samples: bool = False
    """Whether all columns from the last one on are samples of a time series, one row each."""

    def has(self, name: str) -> bool:
        """Tell whether a quantity is there."""
        return any(source.name == name for source in self.sources)


def parse_columns(text: str, code_step: float | None = None) -> ColumnMap:
    """Read the map that a text describes; an empty name is a column to ignore.

    Parameters
    ----------
    text
        Names with their units, with commas between.
    code_step
        uS per converter code, for the unit 'code'.

    Raises
    ------
    BadInputError
        For an unknown name or unit, a missing unit, a name given twice, or no conductance.
    """
    parts = text.split(",")
    sources: list[Source] = []
    for index, part in enumerate(parts):
        match = _NAME.fullmatch(part)
        name = match["name"] if match else part
        if match is None or (name not in KNOWN and (name or match["unit"] or match["rest"])):
            raise BadInputError(f"column {index + 1}: unknown name '{part.strip()}'; known: {', '.join(_spelled())}")
        if not name:
            continue
        if any(source.name == name for source in sources):
            raise BadInputError(f"column {index + 1}: '{name}' is given twice")
        if match["rest"] and (index < len(parts) - 1 or name not in ("conductance", "resistance")):
            raise BadInputError(
                f"column {index + 1}: '{REST}' stands for samples: put it behind the last name, "
                "a conductance or resistance"
            )
        sources.append(Source(name, index, *_scale(name, match["unit"], code_step, index)))
    columns = ColumnMap(tuple(sources), len(parts), parts[-1].strip().endswith(REST))
    _check(columns, text)
    return columns


def _scale(name: str, unit: str | None, code_step: float | None, index: int) -> tuple[float, float]:
    base = KNOWN[name]
    if not base:
        if unit:
            raise BadInputError(f"column {index + 1}: '{name}' is a number and has no unit, not [{unit}]")
        return 1.0, 0.0
    if unit is None:
        raise BadInputError(f"column {index + 1}: '{name}' needs its unit, such as {name}[{base}]")
    if unit == CODE and base == "uS":
        if code_step is None:
            raise BadInputError(
                f"column {index + 1}: '{name}' is in converter codes, which are not conductances: "
                "state what one code stands for, such as --code-step 2 (uS)"
            )
        return code_step, 0.0
    try:
        return conversion(unit, base)
    except BadInputError as error:
        raise BadInputError(f"column {index + 1}, {name}: {error}") from None


def _check(columns: ColumnMap, text: str) -> None:
    direct = columns.has("conductance") or columns.has("resistance")
    if not (direct or columns.has("current")):
        raise BadInputError(f"columns '{text}': no conductance[S], resistance[ohm] or current[A] among them")
    if columns.has("current") and not (direct or columns.has("voltage")):
        raise BadInputError(f"columns '{text}': a current[A] needs the voltage[V] that it flowed at")


def _spelled() -> list[str]:
    return [f"{name}[{unit}]" if unit else name for name, unit in KNOWN.items()]
