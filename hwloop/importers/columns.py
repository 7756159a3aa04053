"""The column map of a file: `cell,time[s],resistance[ohm],conductance[S],,level,nominal_time[s]`.

Behind the last name of a text may stand what its further columns are: `...` samples of a time series, `:cells` the same
quantity of other cells, `:repeats` further reads at the same time. Datasets of an HDF5 file are named instead of
counted: `time[s]=/t,conductance[S]=/G`.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from dataclasses import dataclass

from hwloop.errors import BadInputError
from hwloop.importers.spelling import scale

KNOWN = {
    "cell": "",
    "word": "",
    "bit": "",
    "core": "",
    "level": "",
    "repeat": "",
    "time": "s",
    "date": "s",
    "nominal_time": "s",
    "conductance": "uS",
    "resistance": "ohm",
    "current": "uA",
    "voltage": "V",
    "source_voltage": "V",
    "shunt_voltage": "V",
    "target": "uS",
    "target_low": "uS",
    "target_high": "uS",
    "verify": "uS",
    "temperature": "K",
    "amplitude": "uA",
    "width": "ns",
    "pulse_voltage": "V",
}
"""Names of a column map and hwloop's unit of each; those without a unit are numbers or names."""

CODE = "code"
"""Unit of conductances that are converter codes; they become uS by a step that the user states."""
NAME = "name"
"""Unit of cells that are called by names, not by numbers."""
CLOCKS = {
    "iso": "2023-11-14 22:13:20.5",
    "dmy": "14.11.2023 22:13:20.5",
    "mdy": "11/14/2023 10:13:20.5 PM",
    "hms": "22:13:20.5",
}
"""Units of times that are moments, each with an example; ages count from the first read of each cell."""


class Spread(enum.Enum):
    """What the last column of a map and all further ones are; the value is how a map says it."""

    NONE = ""
    SAMPLES = "..."
    """Samples of a time series, one series a row."""
    CELLS = ":cells"
    """The same quantity of other cells, each column named by its header."""
    REPEATS = ":repeats"
    """Further reads of the same cell at the same time."""


_NAME = re.compile(
    r"\s*(?P<name>[A-Za-z_]*)\s*(?:\[(?P<unit>[^\]]*)\])?\s*"
    r"(?P<spread>\.\.\.|:cells|:repeats)?\s*(?:=\s*(?P<path>\S.*?))?\s*"
)
_SPREADABLE = ("conductance", "resistance", "current")


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
    form: str = ""
    """How it is written where it is no number: 'name', or one of `CLOCKS`."""
    path: str = ""
    """Name of the dataset, in a file that has names for them."""
    unit: str | None = None
    """Its unit as the map states it."""


@dataclass(frozen=True)
class ColumnMap:
    """Where the known quantities stand."""

    sources: tuple[Source, ...]
    """The columns that are used."""
    width: int
    """Number of columns of a row; where the last one spreads, the number of the first of them + 1."""
    spread: Spread = Spread.NONE
    """What all columns from the last one on are."""
    text: str = ""
    """The map as it was written."""

    @property
    def samples(self) -> bool:
        """Whether all columns from the last one on are samples of a time series, one row each."""
        return self.spread is Spread.SAMPLES

    def has(self, name: str) -> bool:
        """Tell whether a quantity is there."""
        return any(source.name == name for source in self.sources)

    def source(self, name: str) -> Source | None:
        """Return the column of a quantity, None where there is none."""
        return next((source for source in self.sources if source.name == name), None)

    def clocked(self) -> bool:
        """Tell whether times are moments of a clock as it is written, not ages."""
        return self.has("date") or any(source.form in CLOCKS for source in self.sources)


def parse_columns(text: str, code_step: float | None = None, *, voltage_known: bool = False) -> ColumnMap:
    """Read the map that a text describes; an empty name is a column to ignore.

    Parameters
    ----------
    text
        Names with their units, with commas between.
    code_step
        uS per converter code, for the unit 'code'.
    voltage_known
        Whether the voltage that currents flow at is known without a column.

    Raises
    ------
    BadInputError
        For an unknown name or unit, a missing unit, a name given twice, or no conductance.
    """
    parts = text.split(",")
    sources: list[Source] = []
    spread = Spread.NONE
    for index, part in enumerate(parts):
        match = _NAME.fullmatch(part)
        name = match["name"] if match else part
        if match is None or (name not in KNOWN and (name or match["unit"] or match["spread"] or match["path"])):
            raise BadInputError(f"column {index + 1}: unknown name '{part.strip()}'; known: {', '.join(_spelled())}")
        if not name:
            continue
        if any(source.name == name for source in sources):
            raise BadInputError(f"column {index + 1}: '{name}' is given twice")
        if match["spread"]:
            spread = Spread(match["spread"])
            if index < len(parts) - 1 or name not in _SPREADABLE:
                raise BadInputError(
                    f"column {index + 1}: '{spread.value}' stands for all further columns: put it behind the last "
                    "name, a conductance, resistance or current"
                )
        sources.append(_source(name, index, match["unit"], match["path"], code_step))
    columns = ColumnMap(tuple(sources), len(parts), spread, text)
    _check(columns, voltage_known)
    return columns


def _source(name: str, index: int, unit: str | None, path: str | None, code_step: float | None) -> Source:
    path = path or ""
    base = KNOWN[name]
    unit = unit.strip() if unit is not None else None
    if (unit == NAME and name == "cell") or (unit in CLOCKS and name in ("time", "date")):
        return Source(name, index, form=unit or "", unit=unit, path=path)
    if not base:
        if unit and not (path and unit == "1"):
            ways = ", but for cell[name]" if name == "cell" else ""
            raise BadInputError(f"column {index + 1}: '{name}' is a number and has no unit, not [{unit}]{ways}")
        return Source(name, index, path=path)
    if unit is None and path:
        return Source(name, index, path=path)  # the dataset says its unit
    if unit is None:
        raise BadInputError(f"column {index + 1}: '{name}' needs its unit, such as {name}[{base}]")
    if name == "date":
        raise BadInputError(f"column {index + 1}: a date is written as one of {_clocks()}; not [{unit}]")
    if unit == CODE and base == "uS":
        if code_step is None:
            raise BadInputError(
                f"column {index + 1}: '{name}' is in converter codes, which are not conductances: "
                "state what one code stands for, such as --code-step 2 (uS)"
            )
        return Source(name, index, code_step, unit=unit, path=path)
    try:
        factor, offset = scale(unit, base)
        return Source(name, index, factor, offset, unit=unit, path=path)
    except BadInputError as error:
        more = f", or a moment as one of {_clocks()}" if name == "time" else ""
        raise BadInputError(f"column {index + 1}, {name}: {error}{more}") from None


def _check(columns: ColumnMap, voltage_known: bool) -> None:
    text = columns.text
    direct = columns.has("conductance") or columns.has("resistance")
    if not (direct or columns.has("current") or columns.has("shunt_voltage")):
        raise BadInputError(f"columns '{text}': no conductance[S], resistance[ohm] or current[A] among them")
    voltage = voltage_known or columns.has("voltage")
    voltage = voltage or (columns.has("source_voltage") and columns.has("shunt_voltage"))
    if not direct and not voltage:
        raise BadInputError(
            f"columns '{text}': a current[A] needs the voltage[V] that it flowed at, in a column or as --read-voltage"
        )
    for one, other in (("word", "bit"), ("bit", "word")):
        if columns.has(one) and not columns.has(other):
            raise BadInputError(f"columns '{text}': a {one} line needs its {other} line beside it to name a cell")
    if columns.has("target_low") != columns.has("target_high") or (columns.has("target_low") and columns.has("target")):
        raise BadInputError(f"columns '{text}': cells have a target, or a window from target_low to target_high")
    if columns.has("word") and columns.has("cell"):
        raise BadInputError(f"columns '{text}': a cell is called by its number or by its lines; leave one out")
    date, time = columns.source("date"), columns.source("time")
    if date and (date.form == "hms" or (time and time.form != "hms")):
        raise BadInputError(f"columns '{text}': a date[iso] goes with a time of day, time[hms]")
    forms = {bool(source.path) for source in columns.sources}
    if len(forms) > 1:
        raise BadInputError(f"columns '{text}': name the dataset of every quantity, or of none")


def _clocks() -> str:
    return ", ".join(f"[{form}] ({example})" for form, example in CLOCKS.items())


def _spelled() -> Iterable[str]:
    return [f"{name}[{unit}]" if unit else name for name, unit in KNOWN.items()]
