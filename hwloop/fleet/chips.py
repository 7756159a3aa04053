"""The chips of a fleet, as a file lists them, and what they are like taken together."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hwloop.chip.backend import Backend
from hwloop.chip.driver import Settings
from hwloop.chip.info import Capability, ChipInfo
from hwloop.chip.pulses import Pulses
from hwloop.chip.registry import split_uri
from hwloop.chip.toml_files import read_toml
from hwloop.errors import BadInputError, ChipError
from hwloop.registry import suggest


@dataclass(frozen=True)
class FleetMember:
    """One chip of a fleet.

    Parameters
    ----------
    backend
        Its URI, as it is opened on the computer that has the link.
    worker
        Name of the Dask worker on that computer; empty where any worker can reach it.
    """

    backend: str
    worker: str = ""


@dataclass(frozen=True)
class Fleet:
    """Chips that weights are spread over, in the order in which their cores are counted."""

    name: str
    members: tuple[FleetMember, ...]

    @classmethod
    def read(cls, path: str | Path) -> Fleet:
        """Read a fleet file.

        Raises
        ------
        BadInputError
            For a file that cannot be read or has no chips, unknown keys, and a chip that is listed twice.
        """
        told = read_toml(Path(path))
        entries = told.pop("chip", [])
        if told or not isinstance(entries, list) or not entries:
            extra = f"unknown key '{min(told)}'; " if told else ""
            raise BadInputError(f'{path}: {extra}a fleet file has one [[chip]] with backend = "URI" for each chip')
        members = tuple(_member(entry, f"{path}, chip {number}") for number, entry in enumerate(entries, 1))
        uris = [member.backend for member in members]
        twice = next((uri for uri in uris if uris.count(uri) > 1), None)
        if twice is not None:
            raise BadInputError(f"{path} lists {twice} twice; a link is never shared")
        return cls(str(path), members)


def _member(entry: dict[str, str], where: str) -> FleetMember:
    if not isinstance(entry, dict) or not all(isinstance(value, str) for value in entry.values()):
        raise BadInputError(f'{where}: expected backend = "URI" and perhaps worker = "NAME"')
    known = [field.name for field in dataclasses.fields(FleetMember)]
    if unknown := sorted(set(entry) - set(known)):
        raise BadInputError(f"{where}: unknown key '{unknown[0]}'; {suggest(unknown[0], known)}")
    if "backend" not in entry:
        raise BadInputError(f'{where}: backend = "URI" is missing')
    split_uri(entry["backend"])
    return FleetMember(**entry)


def together(fleet: Fleet, infos: Sequence[ChipInfo]) -> ChipInfo:
    """Describe the chips of a fleet as one chip with the cores of all.

    Raises
    ------
    BadInputError
        For chips of different kinds, between which a matrix cannot be cut.
    """
    first = infos[0]
    for member, info in zip(fleet.members, infos, strict=True):
        for name in ("rows", "columns", "devices_per_polarity", "input_bits", "output_bits", "g_max", "adc_range"):
            if getattr(info, name) != getattr(first, name):
                raise BadInputError(
                    f"{fleet.name}: {member.backend} and {fleet.members[0].backend} differ in {name} "
                    f"({getattr(info, name)} and {getattr(first, name)}); a fleet is of chips of one kind"
                )
    shared = frozenset.intersection(*(info.capabilities for info in infos)) - {Capability.STATE}
    serials = hashlib.sha256(repr([(info.name, info.serial) for info in infos]).encode()).hexdigest()[:8]
    return dataclasses.replace(
        first,
        name=f"fleet of {len(infos)} {first.name}",
        serial=serials,
        cores=sum(info.cores for info in infos),
        capabilities=shared,
    )


class Blueprint(Backend):
    """A chip that exists on paper: what weights are mapped onto before anybody opens the chips themselves."""

    def _pulse(self, core: int, pulses: Pulses) -> None:
        raise self._unreal()

    def _now(self) -> float:
        return 0.0

    def _wait(self, seconds: float) -> None:
        raise self._unreal()

    def _adc_range(self, core: int) -> float:
        return self.info.adc_range[1]

    def _snapshot(self) -> Settings:
        return {}

    def _close(self) -> None:
        """Nothing is open."""

    def _unreal(self) -> ChipError:
        return ChipError(f"{self.info.name} is only a plan; connect to its chips")
