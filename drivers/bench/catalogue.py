"""The instruments a bench file may name: the own drivers, and classes of other packages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from hwloop.drivers.bench.adapters import ready
from hwloop.drivers.bench.adapters.maps import MatrixMap, PulserMap, SourceMap
from hwloop.drivers.bench.adapters.packages import PACKAGES
from hwloop.drivers.bench.keithley_707b import Keithley707B
from hwloop.drivers.bench.keithley_2450 import Keithley2450
from hwloop.drivers.bench.keithley_2600 import Keithley2600
from hwloop.drivers.bench.keysight_33600a import Keysight33600A
from hwloop.drivers.bench.keysight_81160a import Keysight81160A
from hwloop.drivers.bench.keysight_b2900 import KeysightB2900
from hwloop.drivers.bench.pulse_generator import CommandPulseGenerator
from hwloop.drivers.bench.roles import MatrixRating, PulseRating, SourceRating
from hwloop.drivers.bench.source_meter import CommandSourceMeter
from hwloop.errors import BadInputError
from hwloop.registry import suggest

SOURCE_METERS: dict[str, type[CommandSourceMeter]] = {
    "keithley-2450": Keithley2450,
    "keithley-2600": Keithley2600,
    "keysight-b2900": KeysightB2900,
}
PULSE_GENERATORS: dict[str, type[CommandPulseGenerator]] = {
    "keysight-33600a": Keysight33600A,
    "keysight-81160a": Keysight81160A,
}
SWITCH_MATRICES: dict[str, type[Keithley707B]] = {"keithley-707b": Keithley707B}

CHANNEL = r"[A-Za-z0-9]{1,8}"
"""What a channel of another package's class may be called."""

R = TypeVar("R", SourceRating, PulseRating, MatrixRating)
M = TypeVar("M", SourceMap, PulserMap, MatrixMap)


@dataclass(frozen=True)
class Found(Generic[R, M]):
    """What is known of an instrument before it is opened.

    Parameters
    ----------
    name
        For messages.
    rating
        What it can do.
    channels
        Channels that a bench file may name; none where every name may be one.
    place, map
        Of a class of another package: package, module and name, and how it plays its role.
    """

    name: str
    rating: R
    channels: tuple[str, ...]
    place: tuple[str, str, str] = ("", "", "")
    map: M | None = None

    def check_channel(self, channel: str) -> None:
        """Raise BadInputError for a channel that the instrument does not have."""
        if self.channels and channel not in self.channels:
            raise BadInputError(f"{self.name} has no channel '{channel}'; it has: {', '.join(self.channels)}")
        if not re.fullmatch(CHANNEL, channel):
            raise BadInputError(f"{self.name}: {channel!a} is no channel; expected letters and digits, such as 1")


def source_meter(driver: str, given: SourceMap | None) -> Found[SourceRating, SourceMap]:
    """Find a source meter by its name in a bench file and the map there; nothing is imported. Raises BadInputError."""
    if own := SOURCE_METERS.get(driver):
        _refuse_map("source", given)
        return Found(own.NAME, own.RATING, own.CHANNELS)
    place, channels, chosen = _adapter("source", driver, given, ready.SOURCE_METERS, list(SOURCE_METERS))
    return Found(_told(place), chosen.rating, channels, place, chosen)


def pulse_generator(driver: str, given: PulserMap | None) -> Found[PulseRating, PulserMap]:
    """Find a pulse generator, as `source_meter` does."""
    if own := PULSE_GENERATORS.get(driver):
        _refuse_map("pulser", given)
        return Found(own.NAME, own.RATING, own.CHANNELS)
    place, channels, chosen = _adapter("pulser", driver, given, ready.PULSE_GENERATORS, list(PULSE_GENERATORS))
    return Found(_told(place), chosen.rating, channels, place, chosen)


def switch_matrix(driver: str, given: MatrixMap | None) -> Found[MatrixRating, MatrixMap]:
    """Find a switch matrix, as `source_meter` does."""
    if own := SWITCH_MATRICES.get(driver):
        _refuse_map("matrix", given)
        return Found(own.NAME, own.RATING, own.CHANNELS)
    place, channels, chosen = _adapter("matrix", driver, given, ready.SWITCH_MATRICES, list(SWITCH_MATRICES))
    return Found(_told(place), chosen.rating, channels, place, chosen)


def _refuse_map(role: str, given: object) -> None:
    if given is not None:
        raise BadInputError(f"{role}, map: hwloop's own drivers take none; maps are for classes of {_packages()}")


def _adapter(
    role: str, driver: str, given: M | None, known: Mapping[str, ready.Ready[M]], own: list[str]
) -> tuple[tuple[str, str, str], tuple[str, ...], M]:
    """Read `PACKAGE:CLASS` of a class that has a map, or `PACKAGE:MODULE:CLASS`, with a map or of such a class."""
    package, _, rest = driver.partition(":")
    if package not in PACKAGES:
        choice = suggest(driver, [*own, *known])
        raise BadInputError(f"{role}, driver: no '{driver}'; {choice}; or PACKAGE:MODULE:CLASS of {_packages()}")
    where: str = rest.rpartition(":")[0]
    name = rest.rpartition(":")[2]
    found = known.get(f"{package}:{name}")
    if found is not None and where in ("", found.module):
        return (package, found.module, name), found.channels, given or found.map
    if not where or not all(part.isidentifier() for part in (*where.split("."), name)):
        choice = suggest(driver, [one for one in known if one.startswith(f"{package}:")])
        raise BadInputError(f"{role}, driver: no map for '{driver}'; {choice}; or {package}:MODULE:CLASS with a map")
    if given is None:
        raise BadInputError(
            f"{role}: hwloop has no map for '{driver}'; write a table [{role}.map] that says which of its attributes "
            "do what, as docs/bench.md describes"
        )
    return (package, where, name), (), given


def _told(place: tuple[str, str, str]) -> str:
    return f"{place[2]} of {place[0]}"


def _packages() -> str:
    return " or ".join(PACKAGES)
