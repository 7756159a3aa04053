"""A calibration as an object and a file: what was found out about a chip, when, how, how well, and for how long.

One HDF5 file per calibration (docs/calibration.md describes the layout). It belongs to one chip: whoever uses it asks
`for_chip`, which refuses any other and tells what is out of date.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import h5py

from hwloop.calibration.certificate.identity import Identity
from hwloop.calibration.certificate.layout import KINDS, check_datasets, read_cores, write_core
from hwloop.calibration.certificate.validity import VALIDITY
from hwloop.calibration.routines.core import CoreCalibration
from hwloop.units import finite

if TYPE_CHECKING:
    from hwloop.calibration.certificate.check import Finding
from hwloop.chip.backend import Backend
from hwloop.chip.cell_calibration import CellCalibration
from hwloop.chip.info import Capability, ChipInfo
from hwloop.chip.opened import takes_open_chips
from hwloop.chip.region import Place
from hwloop.errors import BadInputError
from hwloop.files import hdf5
from hwloop.files.output import OutputFile
from hwloop.files.reading import whole
from hwloop.notebook.card import card
from hwloop.typing import Json

FORMAT = "hwloop-calibration"
V = TypeVar("V")
TEMPERATURE_WINDOW = 10.0
"""K: conductances and converters measured this far from the present temperature are no longer the same."""


@dataclass(frozen=True)
class Calibration:
    """What is known of a chip."""

    chip: Identity
    created: datetime
    """UTC."""
    temperature: float
    """K, of the full calibration: a daily one does not change it. NaN where the chip cannot measure it."""
    cores: Mapping[int, CoreCalibration]
    dates: Mapping[str, datetime]
    """When each part was measured, UTC: a daily calibration renews some and carries the others over."""
    seed: int = 0
    """Seed of all probe inputs."""
    clock: float = 0.0
    """The chip's clock when the calibration began, seconds."""
    cost: Mapping[str, float] = field(default_factory=dict)
    """Pulses, reads, MVMs and seconds that it took on the chip."""
    skipped: Mapping[str, str] = field(default_factory=dict)
    """Parts that were asked for and not measured, and why."""
    settings: Mapping[str, Json] = field(default_factory=dict)
    """Parts and settings that were asked for, by name."""
    hwloop_version: str = field(default_factory=lambda: importlib.metadata.version("hwloop"))

    def __repr__(self) -> str:
        parts = ", ".join(name.replace("_", " ") for name in self.measured()) or "nothing"
        cores = f"{len(self.cores)} core" + "s" * (len(self.cores) != 1)
        return f"<Calibration of {self.chip.name} {self.chip.serial}, {self.created:%Y-%m-%d}: {parts} of {cores}>"

    def _repr_html_(self) -> str:
        rows = [
            (name.replace("_", " "), f"{self.dates[name]:%Y-%m-%d %H:%M}", f"{self.valid_until(name):%Y-%m-%d}")
            for name in self.measured()
        ]
        told = f"{len(self.cores)} of {self.chip.cores} core" + "s" * (self.chip.cores != 1)
        head = ("part", "measured (UTC)", "valid until")
        return card(f"Calibration of {self.chip.name} {self.chip.serial}", told, head=head, rows=rows)

    # ---- use -------------------------------------------------------------------------------------------------

    def valid_until(self, name: str) -> datetime:
        """Return when a part that was measured ceases to be valid, UTC."""
        return self.dates[name] + VALIDITY[name].span

    def out_of_date(self, moment: datetime | None = None) -> list[str]:
        """Tell what is no longer valid, one sentence for each part; `moment` is now, unless given."""
        now = moment or datetime.now(UTC)
        stale = [
            f"the part '{name}' is of {self.dates[name]:%Y-%m-%d} and should hold for {VALIDITY[name].days:g} days: "
            f"{VALIDITY[name].reason}; calibrate again"
            for name in self.measured()
            if now > self.valid_until(name)
        ]
        if now < self.created - timedelta(minutes=5):
            stale.append(f"the calibration is of {self.created:%Y-%m-%d %H:%M} UTC, in the future: check the clocks")
        return stale

    def for_chip(self, backend: Backend, moment: datetime | None = None) -> list[str]:
        """Check that this calibration is the chip's, and return what is out of date, one warning each.

        Raises BadInputError for a calibration of another chip. `moment` is now, unless given.
        """
        asked = Identity.of(backend.info)
        for name, mine, its in ((f.name, getattr(self.chip, f.name), getattr(asked, f.name)) for f in fields(Identity)):
            if mine != its:
                raise BadInputError(
                    f"the calibration of {self.created:%Y-%m-%d %H:%M} UTC is for {self.chip.name} {self.chip.serial}, "
                    f"not for {asked.name} {asked.serial} ({name.replace('_', ' ')}: {mine}, here {its}); calibrate "
                    "this chip with hwloop calibrate all"
                )
        return self.out_of_date(moment) + self.away_from(backend)

    def away_from(self, backend: Backend) -> list[str]:
        """Return a sentence where the chip's temperature is known to be too far from that of this calibration."""
        if Capability.TEMPERATURE not in backend.info.capabilities or not math.isfinite(self.temperature):
            return []
        here = backend.temperature()
        if abs(here - self.temperature) <= TEMPERATURE_WINDOW:
            return []
        return [
            f"the chip is at {here:.1f} K, the calibration was made at {self.temperature:.1f} K; beyond "
            f"{TEMPERATURE_WINDOW:g} K conductances and converters are no longer the same: calibrate again"
        ]

    def write_trims(self, backend: Backend) -> None:
        """Put back the trims with which the converters were measured: under others, the calibration is not true.

        Raises BadInputError for a chip that cannot have them.
        """
        for index, core in sorted(self.cores.items()):
            if core.trims is None:
                continue
            if Capability.TRIMS not in backend.info.capabilities:
                raise BadInputError(
                    f"the calibration of {self.created:%Y-%m-%d %H:%M} UTC was made with converter trims, which "
                    f"{backend.info.name} does not have here; calibrate again"
                )
            backend.set_trims(index, core.trims.offset, core.trims.gain)

    def of_cells(self, place: Place, info: ChipInfo) -> CellCalibration:
        """Return what this calibration tells about a rectangle of cells; nothing of a core that was not calibrated."""
        core = self.cores.get(place.core)
        return CellCalibration() if core is None else core.of_cells(place, info)

    def measured(self) -> list[str]:
        """List the parts that at least one core has."""
        return [name for name in KINDS if any(name in core.parts() for core in self.cores.values())]

    @takes_open_chips
    def check(self, chip: Backend, *, seed: int = 1) -> list[Finding]:
        """Compare the calibration with a small probe of its chip; see `hwloop.calibration.certificate.check`."""
        from hwloop.calibration.certificate.check import check

        return check(self, chip, seed=seed)

    @takes_open_chips
    def renew(self, chip: Backend, *, seed: int = 0) -> Calibration:
        """Measure the converters anew on what the chip holds; see `hwloop.calibration.certificate.renewal`."""
        from hwloop.calibration.certificate.renewal import renew

        return renew(self, chip, seed=seed)

    def to_json(self) -> dict[str, Json]:
        """Say what the calibration says, without the arrays."""
        return {
            "chip": vars(self.chip),
            "created": self.created.isoformat(),
            "temperature_kelvin": finite(self.temperature),
            "parts": {
                name: {
                    "measured": self.dates[name].isoformat(),
                    "holds_days": VALIDITY[name].days,
                    "holds_until": self.valid_until(name).isoformat(),
                    "because": VALIDITY[name].reason,
                }
                for name in self.measured()
            },
            "skipped": dict(self.skipped),
            "out_of_date": self.out_of_date(),
            "cost": dict(self.cost),
            "cores": [{"core": index} | core.to_json() for index, core in sorted(self.cores.items())],
            "seed": self.seed,
            "hwloop_version": self.hwloop_version,
        }

    # ---- files -----------------------------------------------------------------------------------------------

    def save(self, path: str | Path | OutputFile, *, force: bool = False) -> None:
        """Write the file in one step. Raises BadInputError when it exists (without force) or cannot be written."""
        with hdf5.WholeFileWriter(path, FORMAT, force=force) as writer:
            file = writer.file
            hdf5.put_attributes(
                file,
                {
                    "created": self.created.isoformat(timespec="seconds"),
                    "seed": self.seed,
                    "hwloop_version": self.hwloop_version,
                    "settings_json": json.dumps(dict(self.settings)),
                    "skipped_json": json.dumps(dict(self.skipped)),
                    "cost_json": json.dumps(dict(self.cost)),
                    "dates_json": json.dumps({name: date.isoformat() for name, date in self.dates.items()}),
                },
            )
            hdf5.put_attributes(file.create_group("chip"), dataclasses.asdict(self.chip))
            hdf5.put(file, "temperature", self.temperature, "K", "chip temperature; NaN where it cannot be measured")
            hdf5.put(file, "clock", self.clock, "s", "the chip's clock when the calibration began")
            for index, core in sorted(self.cores.items()):
                write_core(file, index, core)
            file.attrs[hdf5.FINGERPRINT] = hdf5.fingerprint(file)
            writer.commit()

    @classmethod
    def load(cls, path: str | Path) -> Calibration:
        """Read a file.

        Raises BadInputError when it is missing, truncated, foreign, of a newer format, incomplete, too large for the
        chip that it names, holds values that cannot be right, or was changed since it was written.
        """
        with hdf5.open_file(path, FORMAT) as file:
            with whole(path, "calibration file", "calibrate again"):
                calibration = cls._of_file(file)
                calibration._check()
                if hdf5.fingerprint(file) != file.attrs[hdf5.FINGERPRINT]:
                    raise BadInputError(
                        f"{path} was changed since it was written (its checksum does not fit): what it says was not "
                        "measured; take the file as it was, or calibrate again"
                    )
            return calibration

    @classmethod
    def _of_file(cls, file: h5py.File) -> Calibration:
        attributes = file["chip"].attrs
        sizes = ("cores", "rows", "columns", "devices_per_polarity", "input_bits", "output_bits")
        chip = Identity(
            str(attributes["name"]), str(attributes["serial"]), **{name: int(attributes[name]) for name in sizes}
        )
        check_datasets(file, chip)
        return cls(
            chip=chip,
            created=datetime.fromisoformat(str(file.attrs["created"])),
            temperature=float(hdf5.get(file, "temperature", "K")),
            cores=read_cores(file),
            dates={name: datetime.fromisoformat(text) for name, text in _named(file, "dates_json", str).items()},
            seed=int(file.attrs["seed"]),
            clock=float(hdf5.get(file, "clock", "s")),
            cost=_named(file, "cost_json", float),
            skipped=_named(file, "skipped_json", str),
            settings=dict(json.loads(file.attrs["settings_json"])),
            hwloop_version=str(file.attrs["hwloop_version"]),
        )

    def _check(self) -> None:
        """Raise ValueError when the parts do not make a whole."""
        absent = [name for name in self.measured() if name not in self.dates]
        if absent:
            raise ValueError(f"no date of {', '.join(absent)}")
        moments = (self.created, *self.dates.values())
        if any(moment.tzinfo is None for moment in moments):
            raise ValueError("a date without a time zone")
        if any(moment.year > 9000 for moment in moments):
            raise ValueError("a date beyond the calendar")
        beyond = [index for index in self.cores if not 0 <= index < self.chip.cores]
        if beyond:
            raise ValueError(f"core {beyond[0]} of a chip that has {self.chip.cores} core(s)")


def _named(file: h5py.File, attribute: str, kind: type[V]) -> dict[str, V]:
    """Read an attribute that holds a JSON object of values of one kind. Raises ValueError for other JSON."""
    found = json.loads(file.attrs[attribute])
    if not isinstance(found, dict) or not all(isinstance(one, kind) for one in found.values()):
        raise ValueError(f"{attribute} is no JSON object of {kind.__name__}")
    return found
