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
from typing import Any, TypeVar

import h5py
import numpy as np

from hwloop.calibration.routines.converters import ConverterResult, GainResult
from hwloop.calibration.routines.devices import DeviceResult
from hwloop.calibration.routines.floor import FloorResult
from hwloop.calibration.routines.programming_curve import CurveResult
from hwloop.calibration.routines.trims import TrimResult
from hwloop.calibration.routines.wires import WireResult
from hwloop.chip.backend import Backend
from hwloop.chip.cell_calibration import CellCalibration, Converters, Devices
from hwloop.chip.info import Capability, ChipInfo
from hwloop.chip.region import Place
from hwloop.errors import BadInputError
from hwloop.files import hdf5
from hwloop.mapping.ranges import RangeResult
from hwloop.typing import FloatArray

FORMAT = "hwloop-calibration"
HOLDS: dict[str, tuple[float, str]] = {
    "devices": (90.0, "devices fail by wear, not by time (assumed)"),
    "converters": (7.0, "references and amplifiers age and follow the supply (assumed)"),
    "gains": (7.0, "as the converters"),
    "programming_curve": (30.0, "pulse drivers age; devices change with the number of their pulses (assumed)"),
    "trims": (3650.0, "written anew whenever the calibration is used"),
    "wires": (3650.0, "wires do not change"),
    "ranges": (3650.0, "follow from weights and inputs"),
    "floor": (7.0, "as the converters"),
}
"""Days for which each part should hold, and why."""
TEMPERATURE_WINDOW = 10.0
"""K: conductances and converters measured this far from the present temperature are no longer the same."""

MAY_BE_UNKNOWN = ("sigma", "adc_noise")
"""Ends of the names of values that may be NaN or infinite, where they are not known."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class CoreCalibration:
    """What is known of one core; None for what was not measured."""

    devices: DeviceResult | None = None
    converters: ConverterResult | None = None
    gains: GainResult | None = None
    trims: TrimResult | None = None
    wires: WireResult | None = None
    programming_curve: CurveResult | None = None
    ranges: RangeResult | None = None
    floor: FloorResult | None = None

    def parts(self) -> dict[str, Any]:
        """What was measured, by name."""
        return {f.name: part for f in fields(self) if (part := getattr(self, f.name)) is not None}

    @property
    def adc_noise(self) -> float:
        """Noise of the ADCs before rounding, LSB; 0 where it is not known."""
        noise = self.converters.adc_noise if self.converters is not None else 0.0
        return noise if math.isfinite(noise) else 0.0

    def of_cells(self, place: Place, info: ChipInfo) -> CellCalibration:
        """What this tells about a rectangle of the core's cells."""
        return CellCalibration(_converters(self, place, info), _devices(self, place, info))


_KINDS: dict[str, type] = {
    "devices": DeviceResult,
    "converters": ConverterResult,
    "gains": GainResult,
    "trims": TrimResult,
    "wires": WireResult,
    "programming_curve": CurveResult,
    "ranges": RangeResult,
    "floor": FloorResult,
}


@dataclass(frozen=True)
class Identity:
    """What a chip must have in common with the calibrated one."""

    name: str
    serial: str
    cores: int
    rows: int
    columns: int
    devices_per_polarity: int
    input_bits: int
    output_bits: int

    @classmethod
    def of(cls, info: ChipInfo) -> Identity:
        """The identity of a chip."""
        return cls(**{f.name: getattr(info, f.name) for f in fields(cls)})


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
    settings: Mapping[str, Any] = field(default_factory=dict)
    hwloop_version: str = field(default_factory=lambda: importlib.metadata.version("hwloop"))

    # ---- use -------------------------------------------------------------------------------------------------

    def out_of_date(self, moment: datetime | None = None) -> list[str]:
        """What should no longer hold, one sentence for each part; `moment` is now, unless given."""
        now = moment or datetime.now(UTC)
        stale = [
            f"the part '{name}' is of {self.dates[name]:%Y-%m-%d} and should hold for {HOLDS[name][0]:g} days: "
            f"{HOLDS[name][1]}; calibrate again"
            for name in self.measured()
            if now - self.dates[name] > timedelta(days=HOLDS[name][0])
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
        """A sentence where the chip's temperature is known to be too far from that of this calibration."""
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
        """What this calibration tells about a rectangle of cells; nothing of a core that was not calibrated."""
        core = self.cores.get(place.core)
        return CellCalibration() if core is None else core.of_cells(place, info)

    def measured(self) -> list[str]:
        """Names of the parts that at least one core has."""
        return [name for name in _KINDS if any(name in core.parts() for core in self.cores.values())]

    # ---- files -----------------------------------------------------------------------------------------------

    def save(self, path: str | Path, *, force: bool = False) -> None:
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
                for name, part in core.parts().items():
                    group = file.create_group(f"cores/{index:04d}/{name}")
                    days, reason = HOLDS[name]
                    hdf5.put_attributes(group, {"holds_for_days": days, "holds_because": reason})
                    _write(group, part)
            file.attrs[hdf5.FINGERPRINT] = hdf5.fingerprint(file)
            writer.commit()

    @classmethod
    def load(cls, path: str | Path) -> Calibration:
        """Read a file.

        Raises BadInputError when it is missing, truncated, foreign, of a newer format, incomplete, holds values that
        cannot be right, or was changed since it was written.
        """
        with hdf5.open_file(path, FORMAT) as file:
            try:
                attributes = {f.name: file["chip"].attrs[f.name] for f in fields(Identity)}
                chip = Identity(
                    **{name: str(v) if isinstance(v, str) else int(v) for name, v in attributes.items()}  # type: ignore[arg-type]
                )
                cores = {
                    int(index): CoreCalibration(
                        **{name: _read(group[name], _KINDS[name], chip) for name in group if name in _KINDS}
                    )
                    for index, group in file.get("cores", {}).items()
                }
                calibration = cls(
                    chip=chip,
                    created=datetime.fromisoformat(str(file.attrs["created"])),
                    temperature=float(hdf5.get(file, "temperature", "K")),
                    cores=cores,
                    dates={
                        name: datetime.fromisoformat(text)
                        for name, text in json.loads(file.attrs["dates_json"]).items()
                    },
                    seed=int(file.attrs["seed"]),
                    clock=float(hdf5.get(file, "clock", "s")),
                    cost=json.loads(file.attrs["cost_json"]),
                    skipped=json.loads(file.attrs["skipped_json"]),
                    settings=json.loads(file.attrs["settings_json"]),
                    hwloop_version=str(file.attrs["hwloop_version"]),
                )
                calibration._check()
                if hdf5.fingerprint(file) != file.attrs[hdf5.FINGERPRINT]:
                    raise BadInputError(
                        f"{path} was changed since it was written (its checksum does not fit): what it says was not "
                        "measured; take the file as it was, or calibrate again"
                    )
            except BadInputError:
                raise
            except (KeyError, ValueError, OSError) as error:
                raise BadInputError(f"{path} is not a whole calibration file ({error}); calibrate again") from None
            return calibration

    def _check(self) -> None:
        """Raise ValueError when the parts do not make a whole."""
        absent = [name for name in self.measured() if name not in self.dates]
        if absent:
            raise ValueError(f"no date of {', '.join(absent)}")
        if any(moment.tzinfo is None for moment in (self.created, *self.dates.values())):
            raise ValueError("a date without a time zone")
        beyond = [index for index in self.cores if not 0 <= index < self.chip.cores]
        if beyond:
            raise ValueError(f"core {beyond[0]} of a chip that has {self.chip.cores} core(s)")


def _write(group: h5py.Group, result: Any) -> None:
    for item in fields(result):
        values = np.asarray(getattr(result, item.name))
        if values.dtype == np.float64 and values.ndim >= 2:
            values = values.astype(np.float32)  # per device: seven digits are more than any measurement has
        packing = {"compression": "gzip", "compression_opts": 1, "shuffle": True} if values.ndim >= 2 else {}
        dataset = group.create_dataset(item.name, data=values, **packing)
        dataset.attrs["units"] = item.metadata["unit"]
        dataset.attrs["description"] = item.metadata["meaning"]


def _read(group: h5py.Group, kind: type[Result], chip: Identity) -> Result:
    cells = (chip.rows, chip.columns)
    shapes = {(), (chip.rows,), (chip.columns,), cells, (2, chip.devices_per_polarity, *cells)}
    values: dict[str, Any] = {}
    for item in fields(kind):  # type: ignore[arg-type]
        array = hdf5.get(group, item.name, item.metadata["unit"])
        if array.shape not in shapes:
            raise BadInputError(
                f"{group.file.filename}: {group.name}/{item.name} has the shape {array.shape}, which is none of a core "
                f"of {chip.rows} x {chip.columns} cells"
            )
        if array.dtype == np.float32:
            array = array.astype(np.float64)
        if not (item.name.endswith(MAY_BE_UNKNOWN) or np.all(np.isfinite(array))):
            raise BadInputError(f"{group.file.filename}: {group.name}/{item.name} has values that are not finite")
        values[item.name] = array if array.ndim else array.item()
    return kind(**values)


def _converters(core: CoreCalibration, place: Place, info: ChipInfo) -> Converters | None:
    if core.converters is None:
        return None
    columns = slice(place.column, place.column + place.columns)
    whole = core.converters.converters(info, _gain(core, info))
    return dataclasses.replace(
        whole,
        offset=whole.offset[columns],
        gain=whole.gain[columns],
        column_bend=whole.column_bend[:, columns],
        row_bend=whole.row_bend[:, place.row : place.row + place.rows],
    )


def _gain(core: CoreCalibration, info: ChipInfo) -> FloatArray:
    return core.gains.gain if core.gains else np.ones(info.columns)


def _devices(core: CoreCalibration, place: Place, info: ChipInfo) -> Devices | None:
    """Of a core whose curve was not measured, the faults with the nominal model."""
    found, curve, nominal = core.devices, core.programming_curve, info.device_model
    if found is None or (curve is None and nominal is None):
        return None
    gain = _gain(core, info)
    if curve is not None:
        whole = curve.devices(info, found, gain)
    else:
        assert nominal is not None
        whole = dataclasses.replace(
            Devices.nominal(nominal, found.fault.shape), usable=found.usable, held=found.held(gain)
        )
    cells = (
        slice(None),
        slice(None),
        slice(place.row, place.row + place.rows),
        slice(place.column, place.column + place.columns),
    )
    names = ("height", "height_sigma", "shift", "shift_sigma", "usable", "held")
    return dataclasses.replace(whole, **{name: getattr(whole, name)[cells] for name in names})
