"""Reads run files, and runs of comparison files, into records."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import h5py
import numpy as np

from hwloop.chip.region import Place
from hwloop.errors import BadInputError
from hwloop.files import hdf5
from hwloop.files.reading import whole
from hwloop.files.resume_folder import ResumeFolder
from hwloop.files.run_writer import CODES, VALUES
from hwloop.files.runs import AS_PROGRAMMED, Provenance, RunRecord, StepSeries, TileRecord
from hwloop.mapping.clip import Clipping
from hwloop.mapping.columns import ColumnCorrection
from hwloop.mapping.sharing import MappingSettings
from hwloop.mapping.split_table import SplitTable
from hwloop.mapping.tile import Tile
from hwloop.typing import AnyArray, FloatArray, State


def read_run(path: str | Path) -> RunRecord:
    """Read a run file; one that says 'running' while no process writes it has the status 'killed'.

    Raises
    ------
    BadInputError
        For a file that is missing, truncated, of another format or version, or not whole.
    """
    with hdf5.open_file(path, hdf5.RUN_FORMAT) as file:
        record = read_record(file, str(path))
    if record.status == "running" and not ResumeFolder(path).in_use:
        return dataclasses.replace(record, status="killed")
    return record


def read_record(group: h5py.Group, name: str) -> RunRecord:
    """Read one run from its group; a run file's root, or a group of a comparison. `name` is used in messages.

    Raises
    ------
    BadInputError
        For a group that is not a whole run.
    """
    with whole(name, "run file", "program again"):
        return _record(group, name)


def _record(group: h5py.Group, name: str) -> RunRecord:
    attributes = group.attrs
    state = read_state(group["chip_state"]) if "chip_state" in group else None
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
        mvm_error_interval=_read_interval(group),
    )


def _read_interval(group: h5py.Group) -> tuple[float, float]:
    low, high = (float(group.attrs.get(f"mvm_error_{end}", math.nan)) for end in ("low", "high"))
    return low, high


def _read_provenance(group: h5py.Group) -> Provenance:
    noted = group["provenance"].attrs if "provenance" in group else {}
    parts = group.get("provenance", {})
    # Files from before there was another split shared targets by this one.
    mapping = {"split": "fill"} | (dict(parts["mapping"].attrs) if "mapping" in parts else {})
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
        chip=str(noted.get("chip", "")),
        device_shape=tuple(map(int, json.loads(str(noted.get("device_shape", "[]"))))),
        session=str(noted.get("session", "")),
        g_max=float(noted.get("g_max", math.nan)),
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
        table=_read_table(group["split_table"]) if "split_table" in group else None,
        clipping=_read_clipping(group.attrs),
    )
    _check_shapes(group, place)
    pulses = array("pulses", "1")
    gain, offset = numbers("column_gain", "1"), numbers("column_offset", "1")
    return TileRecord(
        tile=tile,
        steps=_read_steps(group),
        pulses=None if pulses is None else pulses.astype(np.int32),
        unconverged=array("unconverged", "1"),
        stuck=array("stuck", "1"),
        stuck_devices=array("stuck_devices", "1"),
        correction=ColumnCorrection(gain, offset) if gain is not None and offset is not None else None,
        pulse_age=numbers("age", "s"),
        amplitude=numbers("amplitude", "uA"),
        reached=numbers("reached", "uS"),
        mvm_error=float(group.attrs.get("mvm_error", math.nan)),
        mvm_error_inputs=float(group.attrs.get("mvm_error_inputs", math.nan)),
    )


def _check_shapes(group: h5py.Group, place: Place) -> None:
    """Refuse a tile whose arrays are not of its size. Raises BadInputError."""
    cells = dict.fromkeys(("target", "lean", "unconverged", "stuck", "reached"), (place.rows, place.columns))
    columns = dict.fromkeys(("scale", "order", "column_gain", "column_offset"), (place.columns,))
    for name, shape in {**cells, **columns}.items():
        if name in group and group[name].shape != shape:
            raise BadInputError(
                f"{group.file.filename}: {group.name}/{name} has the shape {group[name].shape}, not {shape}; the file "
                "is damaged"
            )


def _read_table(group: h5py.Group) -> SplitTable:
    units = {"target": "uS", "devices": "uS", "variance": "uS^2"}
    return SplitTable(**{name: hdf5.get(group, name, unit) for name, unit in units.items()})


def _read_clipping(attributes: Mapping[str, float]) -> Clipping | None:
    if "clipped_weights" not in attributes:
        return None
    return Clipping(float(attributes["clipped_weights"]), float(attributes["clipping_error"]))


STEP_UNITS = {
    "mvm_error": "1", "pulses": "1", "unconverged_cells": "1", "mvms": "1", "device_reads": "1", "chip_time": "s",
}  # fmt: skip


def _read_steps(group: h5py.Group) -> StepSeries:
    if "steps" not in group:
        return StepSeries(**{name: np.empty(0) for name in STEP_UNITS})
    return StepSeries(**{name: hdf5.get(group["steps"], name, units) for name, units in STEP_UNITS.items()})


def read_state(group: h5py.Group) -> State:
    """Read the state of a simulated chip from its group."""
    state: dict[str, AnyArray] = {}

    def collect(name: str, item: h5py.HLObject) -> None:
        if isinstance(item, h5py.Dataset):
            state[name] = np.asarray(item[()])

    group.visititems(collect)
    for name in [name.removesuffix(CODES) for name in state if name.endswith(CODES)]:
        state[name] = state.pop(name + VALUES)[state.pop(name + CODES)]
    return state
