"""Reads run files: what `program` left behind, as a record that later jobs go on from."""

from __future__ import annotations

import importlib.metadata
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from hwloop.chip.backend import Backend
from hwloop.chip.region import Place
from hwloop.errors import BadInputError
from hwloop.files import hdf5
from hwloop.files.hdf5 import Attribute
from hwloop.mapping.columns import ColumnCorrection
from hwloop.mapping.partition import MappingSettings
from hwloop.mapping.tile import Tile
from hwloop.typing import AnyArray, BoolArray, FloatArray, Json, State
from hwloop.units import finite

AS_PROGRAMMED, AS_STOPPED = "end of programming", "when it was stopped"
"""Moments of a run at which the state of a simulated chip is kept."""


@dataclass(frozen=True)
class StepSeries:
    """What a method reported after each of its steps on a tile, (steps,) each.

    Parameters
    ----------
    mvm_error
        Relative MVM error that the method saw before the step's pulses; NaN where it did not look.
    pulses
        Pulses sent in the step.
    unconverged_cells
        Cells given up so far.
    mvms, device_reads
        Input vectors and single-device reads so far.
    chip_time
        Seconds of chip time since programming began.
    """

    mvm_error: FloatArray
    pulses: FloatArray
    unconverged_cells: FloatArray
    mvms: FloatArray
    device_reads: FloatArray
    chip_time: FloatArray


@dataclass(frozen=True)
class TileRecord:
    """One tile of a run as it was left.

    Parameters
    ----------
    tile
        What was to be programmed, and where.
    steps
        What the method reported.
    pulses
        (2, K, rows, columns) pulses that programming sent to each device; None while it goes on.
    unconverged, stuck
        (rows, columns) cells given up; cells with a device that does not answer; None before the first step.
    correction
        Column calibration made after programming; None where the run was stopped before, and on a chip without MVMs.
    pulse_age
        (2, K, rows, columns) seconds from each device's last pulse to the end of programming, NaN for a device without
        one; None in files that did not record it.
    amplitude
        (2, K, rows, columns) uA of that pulse, NaN unless it was a RESET; None in files that did not record it.
    reached
        (rows, columns) signed conductances in uS as MVMs showed them; None where they were not measured.
    mvm_error
        Relative MVM error of this tile; NaN where it was not measured.
    mvm_error_inputs
        The same for the network's own sample inputs; NaN without them.
    """

    tile: Tile
    steps: StepSeries
    pulses: NDArray[np.int32] | None = None
    unconverged: BoolArray | None = None
    stuck: BoolArray | None = None
    correction: ColumnCorrection | None = None
    pulse_age: FloatArray | None = None
    amplitude: FloatArray | None = None
    reached: FloatArray | None = None
    mvm_error: float = math.nan
    mvm_error_inputs: float = math.nan

    @property
    def pulses_per_device(self) -> float:
        """Mean over all devices of the tile."""
        return float(self.pulses.mean()) if self.pulses is not None else 0.0

    @property
    def mvm_error_before(self) -> float:
        """MVM error that the open-loop pass left, by the method's own first measurement; else the final one."""
        seen = self.steps.mvm_error[np.isfinite(self.steps.mvm_error)]
        return float(seen[0]) if seen.size else self.mvm_error

    def to_json(self) -> dict[str, Json]:
        """Summarise the tile as one entry of `cores` in docs/commands.md."""
        place, last = self.tile.place, len(self.steps.mvms) - 1
        return {
            "core": place.core,
            "tensor": self.tile.tensor,
            "row": place.row,
            "column": place.column,
            "rows": place.rows,
            "columns": place.columns,
            "devices": int(self.pulses.size) if self.pulses is not None else 0,
            "mvm_error": finite(self.mvm_error),
            "mvm_error_inputs": finite(self.mvm_error_inputs),
            "mvm_error_from": "mvm" if self.correction is not None else "device-reads",
            "mvm_error_before": finite(self.mvm_error_before),
            "unconverged_cells": int(self.unconverged.sum()) if self.unconverged is not None else 0,
            "stuck_cells": int(self.stuck.sum()) if self.stuck is not None else 0,
            "pulses_per_device": self.pulses_per_device,
            "max_pulses_on_a_device": int(self.pulses.max()) if self.pulses is not None else 0,
            "device_reads": int(self.steps.device_reads[last]) if last >= 0 else 0,
            "mvms": int(self.steps.mvms[last]) if last >= 0 else 0,
            "chip_seconds": float(self.steps.chip_time[last]) if last >= 0 else 0.0,
        }


@dataclass(frozen=True)
class Provenance:
    """What was asked for: enough to explain a run later, and to do it again.

    Parameters
    ----------
    backend
        URI of the chip, as it was given. From elsewhere it is only shown; see `hwloop.chip.registry.connect_recorded`.
    weights, weights_sha256
        Name of the weights, a file as a rule, and the fingerprint of their content.
    method, settings
        Name of the programming method, and its settings by name.
    mapping
        How weights became conductances.
    seed
        Of all random numbers of the run.
    calibration, calibration_sha256
        File of the calibration through which outputs are read, and its fingerprint; empty for none.
    """

    backend: str
    weights: str
    weights_sha256: str
    method: str
    settings: Mapping[str, Attribute]
    mapping: MappingSettings
    seed: int
    calibration: str = ""
    calibration_sha256: str = ""


@dataclass(frozen=True)
class RunRecord:
    """What a run left behind: enough to measure its chip again, to age it, and to go on.

    Parameters
    ----------
    name
        The file it was read from, or that it is called for messages.
    provenance
        What was asked for.
    status
        'complete', 'interrupted', 'failed' or 'running'.
    age
        Seconds after the end of programming at which the targets hold and the error was measured.
    tiles
        All tiles, in the order in which random numbers count them.
    mvm_error
        Relative MVM error over all tensors; NaN where it was not measured.
    programmed_at
        End of programming on the chip's clock, seconds; None for a run that was stopped before.
    programmed_utc
        The same moment by the calendar; None in files that did not record it.
    temperature
        Kelvin at the end of programming; None where the chip cannot measure it.
    state
        State of a simulated chip; None for a real one, and for a run that failed.
    state_moment
        When the state was taken: AS_PROGRAMMED or AS_STOPPED.
    state_age
        Seconds from the end of programming to that moment.
    wall_seconds
        What it took on the computer's clock.
    calibration_created, calibration_parts
        Date of the calibration that was used, and what it told; empty without one.
    """

    name: str
    provenance: Provenance
    status: str
    age: float
    tiles: tuple[TileRecord, ...]
    mvm_error: float = math.nan
    programmed_at: float | None = None
    programmed_utc: datetime | None = None
    temperature: float | None = None
    state: State | None = None
    state_moment: str = AS_PROGRAMMED
    state_age: float = 0.0
    wall_seconds: float = 0.0
    calibration_created: str = ""
    calibration_parts: tuple[str, ...] = ()

    @property
    def backend(self) -> str:
        """URI of the chip, as it was given."""
        return self.provenance.backend

    @property
    def method(self) -> str:
        """Name of the programming method."""
        return self.provenance.method

    @property
    def mvm_error_from(self) -> str:
        """'mvm', or 'device-reads' on a chip that has no MVM."""
        return "mvm" if any(tile.correction is not None for tile in self.tiles) else "device-reads"

    def to_json(self) -> dict[str, Json]:
        """Summarise the run as the JSON object of `program` in docs/commands.md."""
        asked, used = self.provenance, self.provenance.calibration
        return {
            "method": asked.method,
            "backend": asked.backend,
            "weights": asked.weights,
            "status": self.status,
            "mvm_error": finite(self.mvm_error) if self.status == "complete" else None,
            "cores": [tile.to_json() for tile in self.tiles],
            "seconds_after_programming": self.age,
            "wall_seconds": self.wall_seconds,
            "run": self.name or None,
            "hwloop_version": importlib.metadata.version("hwloop"),
            "calibration": {
                "file": used,
                "created": self.calibration_created,
                "parts": list(self.calibration_parts),
            }
            if used
            else None,
        }

    def restore(self, backend: Backend) -> None:
        """Bring a simulated chip to where the run left it: at the age at which its error was measured.

        Raises
        ------
        BadInputError
            For a run without a state.
        """
        backend.import_state(self.chip_state())
        if self.state_moment == AS_PROGRAMMED:
            backend.wait(self.age)

    def chip_state(self) -> State:
        """Give the state of the simulated chip. Raises BadInputError for a run without one."""
        if self.state is None:
            raise BadInputError(
                f"{self.name}: holds no chip state, because the run did not finish (status '{self.status}') or the "
                "chip was a real one; program again, or name the chip with --backend"
            )
        return self.state

    def end(self) -> float:
        """Give the end of programming on the chip's clock, seconds. Raises BadInputError for a run stopped before."""
        if self.programmed_at is None:
            raise BadInputError(
                f"{self.name}: does not say when programming ended (status '{self.status}'); program again"
            )
        return self.programmed_at


def read_run(path: str | Path) -> RunRecord:
    """Read a run file.

    Raises
    ------
    BadInputError
        For a file that is missing, truncated, of another format or version, or not whole.
    """
    with hdf5.open_file(path, hdf5.RUN_FORMAT) as file:
        return read_record(file, str(path))


def read_record(group: h5py.Group, name: str) -> RunRecord:
    """Read one run from its group; a run file's root, or a group of a comparison. `name` is used in messages.

    Raises
    ------
    BadInputError
        For a group that is not a whole run.
    """
    try:
        return _record(group, name)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, BadInputError):
            raise
        raise BadInputError(f"{name} is not a whole run file ({error.args[0]}); program again") from None


def _record(group: h5py.Group, name: str) -> RunRecord:
    attributes = group.attrs
    state = _read_state(group["chip_state"]) if "chip_state" in group else None
    age, status = float(attributes["age"]), str(attributes["status"])
    programmed_at, utc, state_age = None, None, 0.0
    if "programmed_at" in attributes:
        programmed_at = float(attributes["programmed_at"])
        utc = datetime.fromisoformat(str(attributes["programmed_utc"]))
    elif status == "complete" and state is not None:
        # A file of an earlier version keeps the state after the error was measured, one target age later.
        programmed_at, state_age = float(state["clock"][()]) - age, age
    told = json.loads(str(attributes.get("result_json", "{}")))
    used = told.get("calibration") or {}
    return RunRecord(
        name=name,
        provenance=_read_provenance(group),
        status=status,
        age=age,
        tiles=tuple(_read_tile(group["tiles"][tile]) for tile in sorted(group["tiles"])),
        mvm_error=float(attributes.get("mvm_error", math.nan)),
        programmed_at=programmed_at,
        programmed_utc=utc,
        temperature=float(attributes["temperature"]) if "temperature" in attributes else None,
        state=state,
        state_moment=str(group["chip_state"].attrs.get("moment", "")) if state is not None else AS_PROGRAMMED,
        state_age=state_age,
        wall_seconds=float(told.get("wall_seconds", 0.0)),
        calibration_created=str(used.get("created", "")),
        calibration_parts=tuple(map(str, used.get("parts", ()))),
    )


def _read_provenance(group: h5py.Group) -> Provenance:
    noted = group["provenance"].attrs if "provenance" in group else {}
    parts = group.get("provenance", {})
    mapping = dict(parts["mapping"].attrs) if "mapping" in parts else {}
    return Provenance(
        backend=str(group.attrs["backend"]),
        weights=str(group.attrs["weights"]),
        weights_sha256=str(noted.get("weights_sha256", "")),
        method=str(group.attrs["method"]),
        settings=hdf5.get_attributes(parts["settings"]) if "settings" in parts else {},
        mapping=MappingSettings(**{key: str(value) for key, value in mapping.items()}),
        seed=int(group.attrs["seed"]),
        calibration=str(noted.get("calibration", "")),
        calibration_sha256=str(noted.get("calibration_sha256", "")),
    )


def _read_tile(group: h5py.Group) -> TileRecord:
    def array(name: str, units: str) -> AnyArray | None:
        return hdf5.get(group, name, units) if name in group else None

    def numbers(name: str, units: str) -> FloatArray | None:
        found = array(name, units)
        return None if found is None else found.astype(np.float64)

    place = Place(**{key: int(group.attrs[key]) for key in ("core", "row", "column", "rows", "columns")})
    tile = Tile(
        tensor=str(group.attrs["tensor"]),
        place=place,
        first_input=int(group.attrs["first_input"]),
        first_output=int(group.attrs["first_output"]),
        target=hdf5.get(group, "target", "uS"),
        scale=hdf5.get(group, "scale", "1/uS"),
        full_scale=float(hdf5.get(group, "full_scale", "uS")),
        split=str(group.attrs["split"]),
        order=array("order", "1"),
        lean=numbers("lean", "uS"),
    )
    gain, offset = numbers("column_gain", "1"), numbers("column_offset", "1")
    return TileRecord(
        tile=tile,
        steps=_read_steps(group),
        pulses=array("pulses", "1"),
        unconverged=array("unconverged", "1"),
        stuck=array("stuck", "1"),
        correction=ColumnCorrection(gain, offset) if gain is not None and offset is not None else None,
        pulse_age=numbers("age", "s"),
        amplitude=numbers("amplitude", "uA"),
        reached=numbers("reached", "uS"),
        mvm_error=float(group.attrs.get("mvm_error", math.nan)),
        mvm_error_inputs=float(group.attrs.get("mvm_error_inputs", math.nan)),
    )


STEP_UNITS = {
    "mvm_error": "1", "pulses": "1", "unconverged_cells": "1", "mvms": "1", "device_reads": "1", "chip_time": "s",
}  # fmt: skip


def _read_steps(group: h5py.Group) -> StepSeries:
    if "steps" not in group:
        return StepSeries(**{name: np.empty(0) for name in STEP_UNITS})
    return StepSeries(**{name: hdf5.get(group["steps"], name, units) for name, units in STEP_UNITS.items()})


def _read_state(group: h5py.Group) -> State:
    state: dict[str, AnyArray] = {}

    def collect(name: str, item: h5py.HLObject) -> None:
        if isinstance(item, h5py.Dataset):
            state[name] = np.asarray(item[()])

    group.visititems(collect)
    return state
