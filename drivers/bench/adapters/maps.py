"""Maps: which attributes of an instrument class do what a bench needs, one dataclass for each role.

Steps (lists of texts) and readings (single texts) are those of `hwloop.drivers.bench.adapters.steps`. Values are in V,
A, s and ohm. The words that the steps of an operation may use stand with it.
"""

from __future__ import annotations

import dataclasses
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from hwloop.drivers.bench.adapters.steps import understand
from hwloop.drivers.bench.roles import MatrixRating, PulseRating, SourceRating
from hwloop.errors import BadInputError

Steps: TypeAlias = tuple[str, ...]

CHANNEL = "{channel}"
"""What stands for the channel of the bench file wherever it occurs in a map."""


@dataclass(frozen=True)
class SourceMap:
    """How a class plays the source meter.

    Parameters
    ----------
    rating
        What the instrument can do.
    setup
        From any state to a voltage source at 0 V whose output is off, off being high impedance. Words: `compliance`
        (A), `nplc`.
    level
        The attribute that is set to the voltage, V, and read back.
    compliance
        The attribute that is set to the largest current, A, and read back before the output goes on.
    current
        What measures the current once, A.
    on, off
        Switch the output.
    limiting
        What tells whether the compliance holds the current back: a truth, 0 or 1. Without it a reading of the
        compliance is taken for one that is held back.
    errors
        What returns the entries of the error queue and empties it; asked after every operation.
    model
        The model in the answer to ``*IDN?``, whole, as a regular expression; without it the instrument is not asked.
    """

    rating: SourceRating
    setup: Steps
    level: str
    compliance: str
    current: str
    on: Steps
    off: Steps
    limiting: str = ""
    errors: str = ""
    model: str = ""


@dataclass(frozen=True)
class PulserMap:
    """How a class plays the pulse generator.

    Parameters
    ----------
    rating
        What the instrument can do.
    setup
        From any state to one pulse from 0 V for each trigger, volts into an open circuit, output off. Words:
        `volts_max` (V), `width_max`, `period` (twice the longest pulse and 100 ns), `edge` (s).
    shape
        Set the next pulse; every number that is assigned is read back. Words: `volts` (V), `width` (s).
    trigger
        Make one pulse.
    done
        What answers when the pulse is over, such as ``ask('*OPC?')``.
    on, off
        Switch the output.
    errors, model
        As those of a source meter.
    """

    rating: PulseRating
    setup: Steps
    shape: Steps
    trigger: Steps
    done: str
    on: Steps
    off: Steps
    errors: str = ""
    model: str = ""


@dataclass(frozen=True)
class MatrixMap:
    """How a class plays the switch matrix.

    Parameters
    ----------
    rating
        Its rows, a letter or digit each, its columns in each slot, and its slots.
    setup
        What must be set besides; every relay is opened first.
    close
        Close crosspoints, while all others are open. With the word `names` (all names, with commas) it is run once,
        else once for each with the words `name`, `slot`, `row`, `row_number` and `column`.
    open_all
        Open every relay.
    closed
        What returns the names of the crosspoints that are closed: texts, pairs of numbers, or one text.
    name
        What the instrument calls a crosspoint, with ``{slot}``, ``{row}``, ``{row_number}`` and ``{column}``.
    errors, model
        As those of a source meter.
    """

    rating: MatrixRating
    setup: Steps
    close: Steps
    open_all: Steps
    closed: str
    name: str = "{slot}{row}{column:02}"
    errors: str = ""
    model: str = ""


AnyMap: TypeAlias = SourceMap | PulserMap | MatrixMap

CROSSPOINT = ("slot", "row", "row_number", "column")
"""Words that tell one crosspoint."""
WORDS: dict[type, dict[str, Sequence[str]]] = {
    SourceMap: {"setup": ("compliance", "nplc")},
    PulserMap: {"setup": ("volts_max", "width_max", "period", "edge"), "shape": ("volts", "width")},
    MatrixMap: {"close": ("names", "name", *CROSSPOINT)},
}
"""Words of each operation that has any."""
PATHS = ("level", "compliance")
"""Readings that are set as well, and so are attributes and no calls."""
NO_STEPS = ("rating", "name", "model")
"""Fields that hold no steps."""


def check_map(given: AnyMap, channel: str, where: str) -> None:
    """Raise BadInputError, in one line that begins with `where`, for a step of a map that is none."""
    words = WORDS[type(given)]
    for field in dataclasses.fields(given):
        if field.name in NO_STEPS:
            continue
        steps = on_channel(getattr(given, field.name), channel)
        try:
            for text in (steps,) if isinstance(steps, str) else steps:
                if not text and field.default == "":
                    continue
                step = understand(text, words.get(field.name, ()))
                if field.name in PATHS and step.called:
                    raise BadInputError(f"{text!r} is a call; expected an attribute that can be set and read")
                if isinstance(steps, str) and step.assigned is not None:
                    raise BadInputError(f"{text!r} assigns; expected something that can be read")
        except BadInputError as error:
            raise BadInputError(f"{where}, {field.name}: {error}") from None
    if isinstance(given, MatrixMap):
        _check_name(given.name, f"{where}, name")


def _check_name(name: str, where: str) -> None:
    try:
        used = [field for _, field, _, _ in string.Formatter().parse(name) if field is not None]
        if set(used) <= set(CROSSPOINT) and "column" in used:
            name.format(slot=1, row="A", row_number=1, column=1)
            return
    except (ValueError, IndexError, KeyError):
        pass
    raise BadInputError(
        f"{where}: {name!r} names no crosspoint; expected something like '{{slot}}{{row}}{{column:02}}'"
    )


def on_channel(given: str | Steps, channel: str) -> str | Steps:
    """Put the channel into a reading or into steps."""
    if isinstance(given, str):
        return given.replace(CHANNEL, channel)
    return tuple(text.replace(CHANNEL, channel) for text in given)
