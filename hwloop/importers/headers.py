"""Headers as people and instruments write them, and the column map that they most likely mean.

A proposal is only that: `--columns auto` takes it, and what the header does not say is told. A name that is not
known is left out, a name that may mean two things is asked about, and nothing is taken from the order of columns.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hwloop.errors import BadInputError
from hwloop.importers.columns import KNOWN, Spread
from hwloop.importers.spelling import canonical, fits

_SYNONYMS = {
    "cell": "cell cells device dev deviceid devid dut zelle cellid celladdress address addr devicename devicenumber "
    "deviceno cellname cellnumber cellule celda",
    "word": "word wl wordline row zeile",
    "bit": "bit bl bitline col column spalte",
    "core": "core",
    "level": "level",
    "repeat": "repeat repetition",
    "time": "time t zeit elapsed elapsedtime elapsedseconds age temps tiempo timestamp relativetime readtime reltime "
    "datetime zeitstempel",
    "date": "date datum",
    "conductance": "conductance g cond leitwert readconductance gread",
    "resistance": "resistance r res widerstand readresistance rread",
    "current": "current i strom courant corriente readcurrent iread measuredcurrent imeas smucurrent",
    "voltage": "voltage v u spannung tension readvoltage vread measuredvoltage vmeas smuvoltage bias biasvoltage",
    "shunt_voltage": "shuntvoltage vshunt shunt",
    "source_voltage": "sourcevoltage vsource supplyvoltage",
    "temperature": "temperature temp temperatur chucktemperature stagetemperature",
    "target": "target targetconductance gtarget",
    "target_low": "targetlow targetmin lowertarget windowlow windowmin",
    "target_high": "targethigh targetmax uppertarget windowhigh windowmax",
    "pulse_voltage": "pulsevoltage vpulse",
    "width": "pulsewidth width",
    "amplitude": "pulsecurrent ipulse",
}
_MEANING = {synonym: name for name, words in _SYNONYMS.items() for synonym in words.split()}
_ASSUMED = {"time": "s", "conductance": "S", "resistance": "ohm", "current": "A", "voltage": "V"}
"""Units of headers that say none, as instruments write them; told to the user."""
_UNIT = re.compile(r"(?P<name>.*?)\s*(?:\[(?P<a>[^\]]*)\]|\((?P<b>[^)]*)\)|[/,]\s*(?P<c>[^\s/,]+)|_(?P<d>[^\W_]+))\s*")
_ANY_BASE = tuple(dict.fromkeys(base for base in KNOWN.values() if base))


@dataclass(frozen=True)
class Proposal:
    """A column map that a header most likely means."""

    columns: str
    assumed: tuple[str, ...] = ()
    """Columns whose unit the header does not say, with the one that was taken."""
    doubts: tuple[str, ...] = ()
    """What keeps it from being taken."""


@dataclass(frozen=True)
class _Heading:
    """One header: its words, and its unit where it has one."""

    words: str
    unit: str | None
    name: str | None
    """The quantity that it means, None where it is not known."""


def propose(header: list[str], units: list[str] | None = None, sample: list[str] | None = None) -> Proposal:
    """Find the column map that a header most likely means.

    Parameters
    ----------
    header
        Names of the columns.
    units
        The line of units below it, where there is one.
    sample
        Fields of a row of data, which show names and moments; None where there is none.
    """
    given = units or [""] * len(header)
    headings = [_heading(text, unit) for text, unit in zip(header, given, strict=True)]
    fields = sample if sample is not None and len(sample) == len(header) else [""] * len(header)
    spread = _spread(headings)
    used = headings if spread is None else headings[: spread[0] + 1]
    parts, assumed, doubts = [], [], []
    for k, (heading, field) in enumerate(zip(used, fields, strict=False)):
        part, guess, doubt = _column(heading, field, k)
        if spread and k == spread[0]:
            part += spread[1].value
        parts.append(part)
        assumed += [guess] if guess else []
        doubts += [doubt] if doubt else []
    names = [part.partition("[")[0] for part in parts]
    if ("word" in names) != ("bit" in names):  # a row without a column is a row of the table
        parts = ["" if name in ("word", "bit") else part for name, part in zip(names, parts, strict=True)]
    names = [part.partition("[")[0] for part in parts if part]
    for name in sorted({name for name in names if names.count(name) > 1}):
        at = " and ".join(str(k + 1) for k, part in enumerate(parts) if part.partition("[")[0] == name)
        doubts.append(f"columns {at} are both a {name}")
    return Proposal(",".join(parts), tuple(assumed), tuple(doubts))


def _heading(text: str, unit: str) -> _Heading:
    """Take a header apart into words and unit: 'Time (s)', 'Time, s', 'time_s', 'R / kohm', 'Current, I (A)'."""
    text = text.strip().strip("#").strip()
    words, found = text, unit.strip().strip("[]()") or None
    match = _UNIT.fullmatch(text)
    if match and found is None:
        inside = next(group for group in (match["a"], match["b"], match["c"], match["d"]) if group is not None)
        if (match["d"] is None and match["c"] is None) or any(fits(inside, base) for base in _ANY_BASE):
            words, found = match["name"], inside.strip() or None
    if found is None:  # 'Conductance (uS) at 0.2 V'
        inner = [mark for pair in re.findall(r"\[([^\]]*)\]|\(([^)]*)\)", text) for mark in pair if mark]
        found = next(
            (mark for mark in inner if any(fits(mark, base) for base in _ANY_BASE)), inner[0] if inner else None
        )
    return _Heading(words, found, _meaning(words, found))


def _meaning(words: str, unit: str | None) -> str | None:
    """Find the quantity that words mean; a unit that contradicts them makes them unknown."""
    candidates = [words, *words.split(","), *re.split(r"[(\[/]", words)]
    for candidate in candidates:
        key = re.sub(r"[\W_]+", "", candidate).lower()
        key = re.sub(r"(?<=^[vitrgu])\d+$", "", key)  # V1, I1: the only channel, or more than one, which is asked about
        name = _MEANING.get(key)
        if key in ("t", "temp") and unit is not None and fits(unit, "K"):
            name = "temperature"
        if name == "voltage" and key == "u" and unit is None:
            continue
        if name is not None:
            return name
    return None


def _column(heading: _Heading, field: str, index: int) -> tuple[str, str, str]:
    """Return a part of a map, the unit that was assumed, and the doubt about it; each may be empty."""
    name, unit = heading.name, heading.unit
    if name is None:
        return "", "", ""
    base = KNOWN[name]
    if not base:
        return (f"{name}[name]" if name == "cell" and field and not _whole(field) else name), "", ""
    clock = _clock(field)
    if name in ("time", "date") and clock is not None:
        doubt = f"column {index + 1} has dates that may be day.month or month/day: time[dmy] or time[mdy]"
        return (f"{name}[{clock}]", "", "") if clock else (f"{name}[dmy]", "", doubt)
    if name == "date":
        return "", "", ""
    if unit is None:
        if name not in _ASSUMED:
            return f"{name}[{base}]", "", f"column {index + 1} ({heading.words}) does not say its unit"
        return f"{name}[{_ASSUMED[name]}]", f"{name}[{_ASSUMED[name]}]", ""
    if not fits(unit, base):
        return f"{name}[{base}]", "", f"column {index + 1} ({heading.words}) has the unit '{unit}', which is no {base}"
    return f"{name}[{canonical(unit)}]", "", ""


def _spread(headings: list[_Heading]) -> tuple[int, Spread] | None:
    """Find where the last columns are one quantity over and over: of other cells, or of one cell read again.

    They must be of one unit that is a conductance's, resistance's or current's, and be called alike but for a number or
    a letter.
    """
    last = headings[-1]
    kinds = {"uS": "conductance", "ohm": "resistance", "uA": "current"}
    name = next((name for base, name in kinds.items() if last.unit and fits(last.unit, base)), None)
    first = len(headings)
    while first and headings[first - 1].unit == last.unit and name is not None:
        first -= 1
    tail = headings[first:]
    letters = all(heading.name is None for heading in tail[1:])  # A, B, C; Dev A, Dev B
    counted = r"\d+\W*$|(^|(?<=[\W_]))[A-Za-z]$" if letters else r"\d+\W*$"
    alike = {re.sub(counted, "", heading.words) for heading in tail}
    if len(tail) < 2 or len(alike) > 1 or len({heading.words for heading in tail}) < len(tail):
        return None
    headings[first] = _Heading(last.words, last.unit, name)
    named = any(heading.name in ("cell", "word") for heading in headings[:first])
    again = re.search(r"rep|read|sample|scan|trial|meas|#", last.words, re.IGNORECASE)
    return first, Spread.REPEATS if named or again else Spread.CELLS


def _clock(field: str) -> str | None:
    """Return how a moment is written, '' where day and month may be either; None for what is none."""
    if re.match(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}", field):
        return "iso"
    match = re.match(r"(\d{1,2})[-/.](\d{1,2})[-/.](\d{4}|\d{2})\b", field)
    if match:
        day, month = int(match[1]), int(match[2])
        return "dmy" if day > 12 else "mdy" if month > 12 else ""
    return "hms" if re.match(r"\d{1,4}:\d{2}(:\d{2})?", field) else None


def _whole(text: str) -> bool:
    return re.fullmatch(r"[+-]?\d+(\.0*)?([eE]\+?\d+)?", text.strip()) is not None


def words(header: str) -> str:
    """Return a header without its unit."""
    return _heading(header, "").words or header


def known(header: list[str]) -> int:
    """Count the headers of a line that mean a quantity."""
    return sum(_heading(text, "").name is not None for text in header)


def unit_line(fields: list[str]) -> bool:
    """Tell whether a line is one of units: at least two, and nothing but units and blanks."""
    marks = [field.strip().strip("[]()") for field in fields]
    return sum(bool(mark) for mark in marks) >= 2 and all(
        mark in ("", "-", "1", "#", "a.u.") or any(fits(mark, base) for base in _ANY_BASE) for mark in marks
    )


def require(proposal: Proposal, where: str) -> str:
    """Return the map of a proposal that leaves nothing open.

    Raises BadInputError with what is open, and with the map to mend.
    """
    if proposal.doubts:
        raise BadInputError(
            f'{where}: {"; ".join(proposal.doubts)}; give --columns, such as "{proposal.columns}" put right'
        )
    return proposal.columns
