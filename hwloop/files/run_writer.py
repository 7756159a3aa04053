"""Writes a run into a group of an HDF5 file, as it proceeds or in one go; docs/file-format.md describes the layout."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import platform
import shlex
import sys
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from zlib_ng import zlib_ng

from hwloop.chip.counts import Counts
from hwloop.files import hdf5
from hwloop.files.hdf5 import Attribute
from hwloop.files.packing import PACKING
from hwloop.files.runs import Provenance, RunRecord, StepSeries, TileRecord
from hwloop.mapping.tile import Tile
from hwloop.typing import AnyArray, State

LIBRARIES = ("numpy", "scipy", "torch", "h5py")
_STEPS = {
    "mvm_error": ("1", "relative MVM error seen by the method, before this step"),
    "pulses": ("1", "pulses sent in this step"),
    "unconverged_cells": ("1", "cells given up so far"),
    "mvms": ("1", "input vectors sent so far"),
    "device_reads": ("1", "single-device reads so far"),
    "chip_time": ("s", "chip time since programming began"),
}
CODES, VALUES = " codes", " values"
"""Endings of the names of the two datasets in which a state has an array of few different values."""
Snapshot = Mapping[str, Attribute]
"""Settings of a chip by name, as `Backend.snapshot` gives them."""


class RunWriter:
    """Writes one run: what was asked for at once, steps as they come, the outcome at its end."""

    def __init__(self, group: h5py.Group, record: RunRecord, chip: Snapshot) -> None:
        """Write targets and provenance; the status is 'running' until `finish`.

        Parameters
        ----------
        group
            Empty group, such as the root of a new file.
        record
            The run before its first step.
        chip
            Snapshot of the chip.
        """
        self._group = group
        self._pending: dict[int, list[Mapping[str, float]]] = {}
        self._series: dict[int, list[hdf5.Series]] = {}
        _write_provenance(group, record.provenance, record.age, chip)
        self._tiles = [group.create_group(f"tiles/{number:04d}") for number in range(len(record.tiles))]
        self._outcomes = [_Rewritten(tile) for tile in self._tiles]
        for tile, into in zip(record.tiles, self._tiles, strict=True):
            _write_tile(into, tile.tile)

    def step(self, number: int, values: Mapping[str, float]) -> None:
        """Note one step of the tile with this number; `values` has the fields of `StepSeries`."""
        self._pending.setdefault(number, []).append(values)

    def write_steps(self) -> None:
        """Append the steps that were noted to the file; many at once, because each write takes its time."""
        for number, values in self._pending.items():
            if number not in self._series:
                steps = self._tiles[number].create_group("steps")
                self._series[number] = [hdf5.Series(steps, name, *about) for name, about in _STEPS.items()]
            for name, series in zip(_STEPS, self._series[number], strict=True):
                series.append([float(one[name]) for one in values])
        self._pending.clear()

    def steps(self, number: int, series: StepSeries) -> None:
        """Write all steps of the tile with this number."""
        for values in zip(*(getattr(series, name) for name in _STEPS), strict=True):
            self.step(number, dict(zip(_STEPS, values, strict=True)))

    def programmed(self, record: RunRecord) -> None:
        """Note the end of programming, from which ages count, and the temperature."""
        if record.programmed_at is not None and record.programmed_utc is not None:
            moment = record.programmed_utc.isoformat(timespec="milliseconds")
            hdf5.put_attributes(
                self._group,
                {"programmed_at": record.programmed_at, "programmed_at_units": "s", "programmed_utc": moment},
            )
        if record.temperature is not None:
            hdf5.put_attributes(self._group, {"temperature": record.temperature, "temperature_units": "K"})

    def outcome(self, record: RunRecord, cost: Counts) -> None:
        """Write what came of it so far: pulses, masks and errors of all tiles, and the cost."""
        self.write_steps()
        for tile, outcome in zip(record.tiles, self._outcomes, strict=True):
            _write_outcome(outcome, tile)
        if np.isfinite(record.mvm_error):
            self._group.attrs["mvm_error"] = record.mvm_error
            for end, value in zip(("low", "high"), record.mvm_error_interval, strict=True):
                if np.isfinite(value):
                    self._group.attrs[f"mvm_error_{end}"] = value
        hdf5.put_attributes(self._group.require_group("cost"), dataclasses.asdict(cost))

    def finish(self, record: RunRecord, chip: Snapshot) -> None:
        """Write the result, the state of a simulated chip, and the final status."""
        group = self._group
        group.attrs["result_json"] = json.dumps(record.to_json())
        hdf5.put_attributes(group["provenance"].create_group("chip_at_end"), chip)
        if record.state is not None:
            part = group.create_group("chip_state")
            part.attrs["moment"] = record.state_moment
            write_state(part, record.state)
        group.attrs["status"] = record.status

    def fail(self, error: BaseException) -> None:
        """Say that the run failed, and why."""
        self.write_steps()
        self._group.attrs["status"], self._group.attrs["error"] = "failed", str(error)


def write_run(group: h5py.Group, record: RunRecord, chip: Snapshot) -> None:
    """Write a run that has ended into an empty group; `chip` is a snapshot of its chip."""
    writer = RunWriter(group, record, chip)
    for number, tile in enumerate(record.tiles):
        writer.steps(number, tile.steps)
    writer.programmed(record)
    writer.outcome(record, _cost(record))
    writer.finish(record, chip)


def _cost(record: RunRecord) -> Counts:
    """Add up what the tiles of a run cost; they were programmed side by side."""
    tiles = [tile.to_json() for tile in record.tiles]
    pulses = sum(int(tile.pulses.sum()) for tile in record.tiles if tile.pulses is not None)
    reads, mvms = (sum(int(str(tile[name])) for tile in tiles) for name in ("device_reads", "mvms"))
    return Counts(pulses, reads, mvms, max((float(str(tile["chip_seconds"])) for tile in tiles), default=0.0))


def _write_provenance(group: h5py.Group, asked: Provenance, age: float, chip: Snapshot) -> None:
    hdf5.put_attributes(
        group,
        {
            "status": "running",
            "method": asked.method,
            "backend": asked.backend,
            "weights": asked.weights,
            "seed": asked.seed,
            "age": age,
            "age_units": "s",
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "hwloop_version": importlib.metadata.version("hwloop"),
        },
    )
    provenance = group.create_group("provenance")
    used = {"calibration": _absolute(asked.calibration), "calibration_sha256": asked.calibration_sha256}
    texts = {"weights_sha256": asked.weights_sha256, "command_line": shlex.join(sys.argv)}
    # With these the pulses of a run can be added to the ledger of another machine, once.
    books = {
        "run_id": asked.run or uuid.uuid4().hex,
        "chip": asked.chip,
        "device_shape": json.dumps(asked.device_shape),
    }
    hdf5.put_attributes(provenance, texts | used | books | {"session": asked.session})
    if np.isfinite(asked.g_max):
        hdf5.put_attributes(provenance, {"g_max": asked.g_max, "g_max_units": "uS"})
    hdf5.put_attributes(provenance.create_group("settings"), asked.settings)
    hdf5.put_attributes(provenance.create_group("mapping"), dataclasses.asdict(asked.mapping))
    hdf5.put_attributes(provenance.create_group("chip_at_start"), chip)
    versions = {name: _version(name) for name in LIBRARIES}
    hdf5.put_attributes(provenance.create_group("versions"), versions | {"python": platform.python_version()})


def _version(name: str) -> str:
    """Return the version of a library; one that is loaded knows it, which takes no time."""
    known = getattr(sys.modules.get(name), "__version__", None)
    return str(known) if known is not None else importlib.metadata.version(name)


def _absolute(name: str) -> str:
    return str(Path(name).resolve()) if name else ""


def _write_tile(group: h5py.Group, tile: Tile) -> None:
    where: dict[str, Attribute] = {"first_input": tile.first_input, "first_output": tile.first_output}
    hdf5.put_attributes(group, {"tensor": tile.tensor, "split": tile.split} | where | dataclasses.asdict(tile.place))
    hdf5.put(group, "target", tile.target, "uS", "signed conductance target of each cell (row, column)", packed=True)
    hdf5.put(group, "scale", tile.scale, "1/uS", "weight per uS of each column")
    hdf5.put(group, "full_scale", tile.full_scale, "uS", "converter range chosen for this tile")
    if tile.lean is not None:
        hdf5.put(group, "lean", tile.lean, "uS", "part of the targets that weights do not ask for", packed=True)
    if tile.table is not None:
        table = group.create_group("split_table")
        hdf5.put(table, "target", tile.table.target, "uS", "conductance of a cell in one polarity")
        hdf5.put(table, "devices", tile.table.devices, "uS", "conductance of each device at these (device, target)")
        hdf5.put(table, "variance", tile.table.variance, "uS^2", "squared error to expect of a cell at these")
    if tile.clipping is not None:
        group.attrs["clipped_weights"], group.attrs["clipping_error"] = tile.clipping.share, tile.clipping.error
    if tile.order is not None:
        hdf5.put(group, "order", tile.order, "1", "output of the tile that each of its columns computes")


class _Rewritten:
    """Arrays of a group that are written again at every commit; what has not changed is left alone."""

    def __init__(self, group: h5py.Group) -> None:
        self.group = group
        self._known: dict[str, tuple[int, str, bool]] = {}

    def put(self, name: str, values: AnyArray | None, units: str, meaning: str, *, packed: bool = True) -> None:
        if values is None:
            return
        whole = np.ascontiguousarray(values)
        known = zlib_ng.crc32(whole.reshape(-1).view(np.uint8).data), whole.dtype.str, packed
        if self._known.get(name) != known:
            hdf5.put(self.group, name, whole, units, meaning, packed=packed)
            self._known[name] = known


def _write_outcome(into: _Rewritten, tile: TileRecord) -> None:
    put, group = into.put, into.group
    age, amplitude, correction = _single(tile.pulse_age), _single(tile.amplitude), tile.correction
    pulses = None if tile.pulses is None else tile.pulses.astype(np.min_scalar_type(tile.pulses.max(initial=0)))
    # While the run goes on they are written again and again: quickly, then, rather than small.
    put("pulses", pulses, "1", "pulses per device (polarity, device, row, column)", packed=age is not None)
    put("age", age, "s", "time from a device's last pulse to the end of programming")
    put("amplitude", amplitude, "uA", "peak current of that pulse, NaN unless RESET")
    put("unconverged", tile.unconverged, "1", "cells given up (row, column)")
    put("stuck", tile.stuck, "1", "cells with a device that does not answer (row, column)")
    put("stuck_devices", tile.stuck_devices, "1", "these devices (polarity, device, row, column)")
    if correction is not None:
        put("column_gain", correction.gain, "1", "weight units per output code, of each column", packed=False)
        put("column_offset", correction.offset, "1", "weight units, of each column", packed=False)
    reached = "signed conductance of each cell as MVMs (or device reads) show it (row, column)"
    put("reached", _shorter(tile.reached), "uS", reached)
    for name in ("mvm_error", "mvm_error_inputs"):
        if np.isfinite(getattr(tile, name)):
            group.attrs[name] = getattr(tile, name)


def _single(values: AnyArray | None) -> AnyArray | None:
    return None if values is None else values.astype(np.float32)


def _shorter(values: AnyArray | None) -> AnyArray | None:
    """Return numbers in single precision where nothing is lost by that."""
    single = _single(values)
    return single if values is not None and np.array_equal(single, values, equal_nan=True) else values  # type: ignore[arg-type]


def write_state(group: h5py.Group, state: State) -> None:
    """Write the state of a simulated chip into an empty group, compressed without loss."""
    group.attrs["description"] = "internal state of the simulated chip; its own units, read back by `hwloop evaluate`"
    for name, array in state.items():
        values, codes = _coded(array)
        if codes is None:
            _write_part(group, name, array)
        else:
            _write_part(group, name + CODES, codes)
            _write_part(group, name + VALUES, values)


def _write_part(group: h5py.Group, name: str, array: AnyArray) -> None:
    hdf5.put_attributes(PACKING.write(group, name, array), {"units": "internal"})


def _coded(array: AnyArray) -> tuple[AnyArray, AnyArray | None]:
    """Return the different values of a large array of float64 and the place of each among them, where they are few."""
    if array.dtype != np.float64 or array.nbytes <= PACKING.small:
        return array, None
    bits = np.ascontiguousarray(array).view(np.int64)  # by their bits, so that nothing is lost
    values, codes = _ranked(bits.reshape(-1))
    if len(values) > np.iinfo(np.uint16).max:
        return array, None
    return values.view(np.float64), codes.astype(np.min_scalar_type(len(values))).reshape(bits.shape)


def _ranked(bits: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """Return the different values in ascending order and the place of each among them.

    Where a part of them shows few, the others are looked for among those, which takes less time than sorting all.
    """
    some = bits[:: max(1, len(bits) // PACKING.sample)]
    values = np.unique(some)
    if len(values) > len(some) // 4:
        values = np.unique(bits)
        return values, np.searchsorted(values, bits)
    codes = np.searchsorted(values[:-1], bits)  # one above all stands with the last
    missed = values[codes] != bits
    if missed.any():
        known, values = values, np.union1d(values, bits[missed])
        codes = np.searchsorted(values, known)[codes]
        codes[missed] = np.searchsorted(values, bits[missed])
    return values, codes
