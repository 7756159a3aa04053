"""What `program` left behind, as a record that later jobs go on from; `run_reader` and `run_writer` know its file."""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from hwloop.chip.backend import Backend
from hwloop.errors import BadInputError
from hwloop.files.hdf5 import Attribute
from hwloop.mapping.clip import Clipping
from hwloop.mapping.columns import ColumnCorrection
from hwloop.mapping.sharing import MappingSettings
from hwloop.mapping.tile import Tile
from hwloop.typing import BoolArray, FloatArray, Json, State
from hwloop.units import finite, finite_interval

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
    stuck_devices
        (2, K, rows, columns) these devices; None where the method does not tell them apart, and in earlier files.
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
    stuck_devices: BoolArray | None = None

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
        clipping = self.tile.clipping or Clipping(0.0, 0.0)
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
            "split": self.tile.split,
            "clipped_weights": clipping.share,
            "clipping_error": clipping.error,
            "unconverged_cells": int(self.unconverged.sum()) if self.unconverged is not None else 0,
            "stuck_cells": int(self.stuck.sum()) if self.stuck is not None else 0,
            "stuck_devices": int(self.stuck_devices.sum()) if self.stuck_devices is not None else None,
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
    chip, device_shape, session
        What tells the chip from every other, (cores, 2, K, rows, columns) of its devices, and the session of its ledger
        that the run is part of; empty in files that did not record them.
    g_max
        Largest conductance target of a device in uS, by which targets are shared; NaN in files that did not record it.
    run
        What tells the run from every other, and stays when it is gone on with; empty for one that is told apart when it
        is written.
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
    chip: str = ""
    device_shape: tuple[int, ...] = ()
    session: str = ""
    g_max: float = math.nan
    run: str = ""

    @property
    def of_fleet(self) -> bool:
        """Whether the weights lie on several chips, which are no chip that could be opened."""
        return self.backend.startswith(FLEET)


FLEET = "fleet:"
"""What the chip of a run begins with that lies on several; the name of their file follows."""


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
        'complete', 'interrupted', 'failed', 'running', or 'killed': what wrote it died.
    age
        Seconds after the end of programming at which the targets hold and the error was measured.
    tiles
        All tiles, in the order in which random numbers count them.
    mvm_error
        Relative MVM error over all tensors; NaN where it was not measured.
    mvm_error_interval
        Two ends between which another evaluation of the unchanged chip finds it in 95 of 100 cases; NaN in files that
        did not record them.
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
    mvm_error_interval: tuple[float, float] = (math.nan, math.nan)

    @property
    def backend(self) -> str:
        """URI of the chip, as it was given."""
        return self.provenance.backend

    @property
    def method(self) -> str:
        """Name of the programming method."""
        return self.provenance.method

    @property
    def largest_tile(self) -> TileRecord:
        """The tile with the most cells."""
        return max(self.tiles, key=lambda tile: tile.tile.target.size)

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
            "mvm_error_interval": finite_interval(self.mvm_error_interval) if self.status == "complete" else None,
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
                "chip was a real one; go on with hwloop resume, or name the chip with --backend"
            )
        return self.state

    def end(self) -> float:
        """Give the end of programming on the chip's clock, seconds. Raises BadInputError for a run stopped before."""
        if self.programmed_at is None:
            raise BadInputError(
                f"{self.name}: does not say when programming ended (status '{self.status}'); program again"
            )
        return self.programmed_at
