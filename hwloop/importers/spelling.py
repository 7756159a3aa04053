"""Units as people and instruments spell them, and the spelling that `hwloop.units` knows."""

from __future__ import annotations

import re

from hwloop.errors import BadInputError
from hwloop.units import conversion

_SIGNS = {
    "\N{MICRO SIGN}": "u",
    "\N{GREEK SMALL LETTER MU}": "u",
    "\N{OHM SIGN}": "ohm",
    "\N{GREEK CAPITAL LETTER OMEGA}": "ohm",
    "\N{INVERTED OHM SIGN}": "S",
    "\N{DEGREE CELSIUS}": "degC",
    "\N{DEGREE SIGN}": "deg",
    "\N{MASCULINE ORDINAL INDICATOR}": "deg",
    "\N{KELVIN SIGN}": "K",
}
_WORDS = {
    "s": "s sec secs second seconds sek sekunde sekunden",
    "ms": "ms msec msecs millisecond milliseconds",
    "us": "us usec usecs microsecond microseconds",
    "ns": "ns nsec nanosecond nanoseconds",
    "min": "min mins minute minutes minuten",
    "h": "h hr hrs hour hours std stunden",
    "d": "d day days tage",
    "A": "a amp amps ampere amperes",
    "mA": "milliamp milliamps",
    "uA": "microamp microamps",
    "nA": "nanoamp nanoamps",
    "V": "v volt volts",
    "mV": "millivolt millivolts",
    "S": "siemens",
    "uS": "microsiemens",
    "nS": "nanosiemens",
    "K": "kelvin kelvins",
    "degC": "degc deg_c deg.c celsius",
    "degF": "degf fahrenheit",
    "ohm": "ohm ohms",
    "kohm": "kohm kohms kiloohm kiloohms kilohm kilohms",
    "Mohm": "megaohm megaohms megohm megohms",
    "Gohm": "gohm gohms gigaohm gigaohms",
}
_SPELLED = {spelling: unit for unit, words in _WORDS.items() for spelling in words.split()}
_MEGA = re.compile(r"M ?ohms?", re.IGNORECASE)


def canonical(unit: str) -> str:
    """Return a unit in hwloop's spelling where it is known, else as it is; letters that tell units apart keep theirs.

    'S' is siemens and 's' seconds, 'mS' and 'ms', 'M' mega and 'm' milli; 'mohm' is left alone, as it may mean either.
    """
    spelled = unit.strip()
    for sign, letters in _SIGNS.items():
        spelled = spelled.replace(sign, letters)
    spelled = spelled.replace(" ", "")
    if _MEGA.fullmatch(spelled):
        return "Mohm" if spelled.startswith("M") else spelled
    if re.fullmatch(r"[munp]?S", spelled):  # siemens, whose small letter is the second
        return spelled
    return _SPELLED.get(spelled if spelled in ("S", "s") else spelled.lower(), spelled)


def scale(unit: str, base: str) -> tuple[float, float]:
    """Return the factor and offset that turn values in a unit, however spelled, into hwloop's unit `base`.

    Raises BadInputError as `hwloop.units.conversion` does.
    """
    return conversion(canonical(unit), base)


def fits(unit: str, base: str) -> bool:
    """Tell whether a unit, however spelled, is one of the quantity whose unit in hwloop is `base`."""
    try:
        scale(unit, base)
    except BadInputError:
        return False
    return True
