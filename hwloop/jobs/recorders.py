"""A run as a group of an HDF5 file, and back: what `program`, `compare` and `evaluate` share."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import platform
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from hwloop.chip.backend import Backend
from hwloop.chip.info import Capability
from hwloop.files import hdf5
from hwloop.files.hashing import fingerprint
from hwloop.files.runs import AS_PROGRAMMED, AS_STOPPED
from hwloop.jobs.program import Progress, Run, TileRun
from hwloop.mapping.partition import MappingSettings
from hwloop.mapping.tile import Tile

LIBRARIES = ("numpy", "scipy", "torch", "h5py")


@dataclass(frozen=True)
class Job:
    """What was asked for: enough to explain a run later, and to do it again."""

    backend: str
    weights: str
    weights_sha256: str
    method: str
    settings: dict[str, Any]
    mapping: MappingSettings
    seed: int
    calibration: str = ""
    """File of the calibration that outputs are read through; empty for none."""


class RunRecorder:
    """Writes one run into a group as it proceeds."""

    def __init__(self, group: h5py.Group, job: Job, run: Run, backend: Backend) -> None:
        """Write targets and provenance; `status` is 'running' until `finish`."""
        self._group, self._run, self._backend = group, run, backend
        self._before = backend.counts
        self._state: dict[str, NDArray[Any]] | None = None
        hdf5.put_attributes(
            group,
            {
                "status": "running",
                "method": job.method,
                "backend": job.backend,
                "weights": job.weights,
                "seed": job.seed,
                "age": run.age,
                "age_units": "s",
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                "hwloop_version": importlib.metadata.version("hwloop"),
            },
        )
        provenance = group.create_group("provenance")
        provenance.attrs["weights_sha256"] = job.weights_sha256
        provenance.attrs["calibration"] = str(Path(job.calibration).resolve()) if job.calibration else ""
        provenance.attrs["calibration_sha256"] = fingerprint(job.calibration) if job.calibration else ""
        provenance.attrs["command_line"] = shlex.join(sys.argv)
        hdf5.put_attributes(provenance.create_group("settings"), job.settings)
        hdf5.put_attributes(provenance.create_group("mapping"), dataclasses.asdict(job.mapping))
        hdf5.put_attributes(provenance.create_group("chip_at_start"), backend.snapshot())
        versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
        hdf5.put_attributes(provenance.create_group("versions"), versions | {"python": platform.python_version()})
        for number, item in enumerate(run.tiles):
            _write_tile(group.create_group(f"tiles/{number:04d}"), item.tile)

    def step(self, progress: Progress) -> None:
        """Append a step of a tile."""
        item = self._run.tiles[progress.tile]
        steps = self._group.require_group(f"tiles/{progress.tile:04d}/steps")
        for name, value, units, meaning in (
            ("mvm_error", progress.step.mvm_error, "1", "relative MVM error seen by the method, before this step"),
            ("pulses", progress.step.pulses, "1", "pulses sent in this step"),
            ("unconverged_cells", progress.step.unconverged.sum(), "1", "cells given up so far"),
            ("mvms", progress.cost.mvms, "1", "input vectors sent so far"),
            ("device_reads", progress.cost.device_reads, "1", "single-device reads so far"),
            ("chip_time", item.moments[-1], "s", "chip time since programming began"),
        ):
            hdf5.append(steps, name, float(value), units, meaning)

    def programmed(self, run: Run) -> None:
        """Note the end of programming, from which ages count, and the state of a simulated chip at that moment.

        The state later on follows from this one by waiting: one state serves every age.
        """
        hdf5.put_attributes(
            self._group,
            {
                "programmed_at": run.programmed_at,
                "programmed_at_units": "s",
                "programmed_utc": datetime.now(UTC).isoformat(timespec="milliseconds"),
            },
        )
        if Capability.TEMPERATURE in self._backend.info.capabilities:
            hdf5.put_attributes(self._group, {"temperature": self._backend.temperature(), "temperature_units": "K"})
        self._state = self._exported_state()

    def finish(self, result: Mapping[str, Any]) -> None:
        """Write the outcome, in a run file the state of a simulated chip, and the final status."""
        run, group = self._run, self._group
        for number, item in enumerate(run.tiles):
            _write_outcome(group[f"tiles/{number:04d}"], item, run.programmed_at)
        group.attrs["result_json"] = json.dumps(result)
        if not run.interrupted:
            group.attrs["mvm_error"] = run.mvm_error
        self._write_cost()
        # From here on the chip is asked again: when that fails, the outcome is there.
        hdf5.put_attributes(group["provenance"].create_group("chip_at_end"), self._backend.snapshot())
        state = self._state if self._state is not None else self._exported_state()
        if state is not None:
            part = group.create_group("chip_state")
            part.attrs["moment"] = AS_STOPPED if self._state is None else AS_PROGRAMMED
            _write_state(part, state)
        group.attrs["status"] = "interrupted" if run.interrupted else "complete"

    @property
    def pulsed(self) -> bool:
        """Whether a pulse may have reached the chip since the run began."""
        return self._backend.counts.pulses > self._before.pulses

    def fail(self) -> None:
        """Write all that was done until a failure, without asking the chip, which may be out of reach.

        Pulses are counted before they are sent: a device may have received fewer than the file says, never more.
        """
        for number, item in enumerate(self._run.tiles):
            item.pulses = item.region.pulses_spent()
            _write_outcome(self._group[f"tiles/{number:04d}"], item, self._run.programmed_at)
        self._write_cost()

    def _write_cost(self) -> None:
        spent = self._backend.counts - self._before
        hdf5.put_attributes(self._group.require_group("cost"), dataclasses.asdict(spent))

    def _exported_state(self) -> dict[str, NDArray[Any]] | None:
        # A comparison is not gone on with, and the states of a chip for each of its runs would be most of the file.
        resumable = self._group.file.attrs["format"] == hdf5.RUN_FORMAT
        has_state = Capability.STATE in self._backend.info.capabilities
        return self._backend.export_state() if resumable and has_state else None


def _write_tile(group: h5py.Group, tile: Tile) -> None:
    hdf5.put_attributes(
        group,
        {
            "tensor": tile.tensor,
            "first_input": tile.first_input,
            "first_output": tile.first_output,
            "split": tile.split,
        }
        | dataclasses.asdict(tile.place),
    )
    hdf5.put(group, "target", tile.target, "uS", "signed conductance target of each cell (row, column)")
    hdf5.put(group, "scale", tile.scale, "1/uS", "weight per uS of each column")
    hdf5.put(group, "full_scale", tile.full_scale, "uS", "converter range chosen for this tile")
    if tile.lean is not None:
        hdf5.put(group, "lean", tile.lean, "uS", "part of the targets that makes up for cells out of reach")
    if tile.order is not None:
        hdf5.put(group, "order", tile.order, "1", "output of the tile that each of its columns computes")


def _write_outcome(group: h5py.Group, item: TileRun, programmed_at: float | None) -> None:
    if item.pulses is not None:
        hdf5.put(group, "pulses", item.pulses, "1", "pulses per device (polarity, device, row, column)")
    if programmed_at is not None:
        region = item.region
        age = (programmed_at - region.last_pulse).reshape(region.shape).astype(np.float32)
        hdf5.put(group, "age", age, "s", "time from a device's last pulse to the end of programming", packed=True)
        amplitude = region.last_amplitude.reshape(region.shape).astype(np.float32)
        hdf5.put(group, "amplitude", amplitude, "uA", "peak current of that pulse, NaN unless RESET", packed=True)
    if item.steps:
        last = item.steps[-1]
        hdf5.put(group, "unconverged", last.unconverged, "1", "cells given up (row, column)")
        hdf5.put(group, "stuck", last.stuck, "1", "cells with a device that does not answer (row, column)")
    if item.correction is not None:
        hdf5.put(group, "column_gain", item.correction.gain, "1", "weight units per output code, of each column")
        hdf5.put(group, "column_offset", item.correction.offset, "1", "weight units, of each column")
    if item.reached is not None:
        hdf5.put(
            group,
            "reached",
            item.reached,
            "uS",
            "signed conductance of each cell as MVMs (or device reads) show it (row, column)",
        )
    if item.outputs is not None:
        group.attrs["mvm_error"] = item.outputs.mvm_error


def _write_state(group: h5py.Group, state: Mapping[str, NDArray[Any]]) -> None:
    group.attrs["description"] = "internal state of the simulated chip; its own units, read back by `hwloop evaluate`"
    for name, array in state.items():
        dataset = group.create_dataset(name, data=array)
        dataset.attrs["units"] = "internal"
