"""Moments of a clock, written as dates and times of day, as seconds."""

from __future__ import annotations

import datetime
import re

import numpy as np

from hwloop.typing import AnyArray, BoolArray, FloatArray

_TIME = r"(?P<h>\d{1,4}):(?P<m>\d{2})(?::(?P<s>\d{2})(?:[.,](?P<f>\d+))?)?\s*(?P<half>[AaPp]\.?[Mm]\.?)?"
_ZONE = r"\s*(?P<zone>Z|UTC|[+-]\d{2}:?\d{2})?"
_DATE = {
    "iso": r"(?P<year>\d{4})[-/.](?P<month>\d{1,2})[-/.](?P<day>\d{1,2})",
    "dmy": r"(?P<day>\d{1,2})[-/. ](?P<month>\d{1,2}|[A-Za-z]{3})[-/. ](?P<year>\d{4}|\d{2})",
    "mdy": r"(?P<month>\d{1,2}|[A-Za-z]{3})[-/. ](?P<day>\d{1,2})[-/., ]+(?P<year>\d{4}|\d{2})",
}
_PATTERNS = {form: re.compile(rf"{date}(?:[T, ]\s*{_TIME}{_ZONE})?") for form, date in _DATE.items()}
_PATTERNS["hms"] = re.compile(_TIME)
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]


def seconds(texts: AnyArray, form: str) -> tuple[FloatArray, BoolArray]:
    """Return moments as seconds since 1970, or since midnight for times of day, and which texts are moments.

    Parameters
    ----------
    texts
        (n,) byte strings.
    form
        How they are written, one of `hwloop.importers.columns.CLOCKS`.
    """
    known: dict[bytes, float] = {}
    values = np.empty(texts.size)
    for k, text in enumerate(texts.tolist()):
        if text not in known:
            if len(known) >= texts.size:
                known.clear()
            known[text] = _moment(text.decode("utf-8", "replace").strip(), form)
        values[k] = known[text]
    return values, np.isfinite(values)


def _moment(text: str, form: str) -> float:
    """Return one moment in seconds, NaN for what is none."""
    match = _PATTERNS[form].fullmatch(text)
    if match is None:
        return np.nan
    parts = match.groupdict()
    clock = _clock(parts) if parts["h"] else 0.0
    if form == "hms":
        return clock if parts["s"] else np.nan  # '3:20' may be hours and minutes, or minutes and seconds
    try:
        day = datetime.date(_year(parts["year"]), _month(parts["month"]), int(parts["day"]))
    except ValueError:
        return np.nan
    if parts["h"] and int(parts["h"]) > 23:
        return np.nan
    return (day - datetime.date(1970, 1, 1)).days * 86400.0 + clock - _zone(parts["zone"])


def _clock(parts: dict[str, str]) -> float:
    hour, minute, second = int(parts["h"]), int(parts["m"]), int(parts["s"] or 0)
    if minute > 59 or second > 60 or (parts["half"] and not 1 <= hour <= 12):
        return np.nan
    if parts["half"]:
        hour = hour % 12 + 12 * (parts["half"][0] in "pP")
    return 3600.0 * hour + 60.0 * minute + second + float(f"0.{parts['f'] or 0}")


def _year(text: str) -> int:
    return int(text) + (2000 if len(text) == 2 else 0)


def _month(text: str) -> int:
    """Return the number of a month. Raises ValueError for a name that is none."""
    return int(text) if text.isdigit() else _MONTHS.index(text.lower()) + 1


def _zone(text: str | None) -> float:
    """Return the seconds that a time zone is ahead of UTC."""
    if text in (None, "Z", "UTC"):
        return 0.0
    digits = text.replace(":", "")
    return (1 if digits[0] == "+" else -1) * (3600.0 * int(digits[1:3]) + 60.0 * int(digits[3:5]))
