"""Finds the tiles of a run again on a chip whose time has gone on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hwloop.calibration.certificate.certificate import Calibration
from hwloop.calibration.certificate.use import region_of
from hwloop.calibration.drift.forecast import Forecast
from hwloop.calibration.drift.programmed_tile import Origin, ProgrammedTile, PulseRecord
from hwloop.calibration.randomness import Purpose
from hwloop.chip.backend import Backend
from hwloop.devices.model import DeviceModel
from hwloop.durations import format_duration
from hwloop.errors import BadInputError
from hwloop.files.runs import RunRecord, TileRecord

CLOCKS_DISAGREE = 0.1
"""The chip's clock and the calendar may differ by this fraction of the age before it is worth a note."""


@dataclass(frozen=True)
class AgedRun:
    """A run, and what its tiles are read and predicted by."""

    run: RunRecord
    """What `program` left, complete."""
    end: float
    """End of programming, seconds on the clock of the open chip."""
    model: DeviceModel | None
    """Drift and read noise that forecasts go by; None where nothing is known."""
    calibration: Calibration | None
    """Calibration that outputs are read through."""
    seed: int
    """Seed of probe inputs."""

    def tiles(self, backend: Backend) -> list[ProgrammedTile]:
        """Find the tiles on the open chip.

        Parameters
        ----------
        backend
            The chip that the run was programmed on.

        Returns
        -------
        list

        Raises
        ------
        BadInputError
            For a run without column calibrations.
        """
        return [self._tile(number, record, backend) for number, record in enumerate(self.run.tiles)]

    def _tile(self, number: int, record: TileRecord, backend: Backend) -> ProgrammedTile:
        if record.correction is None:
            raise BadInputError(f"{self.run.name}: tile {number} has no column calibration; program again")
        tile, region = record.tile, region_of(backend, record.tile, self.calibration)
        pulses = _pulse_record(record)
        forecast = None
        if self.model is not None:
            shape = (-1, tile.place.rows, tile.place.columns)
            # Half as long: they stay in memory for as long as the run does, and a target is not known to seven digits.
            devices = tile.device_targets(backend.info, region.calibration.devices).reshape(shape).astype(np.float32)
            # Without a record of the pulses, all devices count as born at the end of programming.
            born = np.zeros(devices.shape) if pulses is None else -np.nan_to_num(pulses.age).reshape(devices.shape)
            forecast = Forecast(devices, born, self.run.age, tile.scale, self.model, record.mvm_error)
        return ProgrammedTile(
            region=region,
            tile=tile,
            origin=Origin(record.correction, self.end, self.run.age, self.run.temperature),
            seed=(self.seed, number, Purpose.PROBE),
            forecast=forecast,
            pulses=pulses,
        )


def _pulse_record(record: TileRecord) -> PulseRecord | None:
    if record.pulse_age is None or record.amplitude is None or not np.any(np.isfinite(record.amplitude)):
        return None
    return PulseRecord(record.pulse_age, record.amplitude, record.reached)


def end_on_this_clock(run: RunRecord, backend: Backend) -> tuple[float, list[str]]:
    """Find the end of programming on the clock of a real chip, which may have begun anew when it was opened.

    Parameters
    ----------
    run
        The run.
    backend
        The open chip.

    Returns
    -------
    tuple
        Seconds on the chip's clock, and notes on what the calendar says.

    Raises
    ------
    BadInputError
        Where neither clock tells it.
    """
    now, end = backend.now(), run.end()
    then = run.programmed_utc
    calendar = (backend.utc() - then).total_seconds() if then is not None else math.nan
    if now >= end:
        elapsed = now - end
        if abs(elapsed - calendar) > CLOCKS_DISAGREE * max(elapsed, calendar):
            return end, [
                f"the chip's clock says that programming ended {format_duration(elapsed)} ago, the calendar "
                f"{format_duration(calendar)}: ages count by the chip's clock"
            ]
        return end, []
    if not calendar >= 0:
        raise BadInputError("the run file does not say when programming ended by the calendar; program again")
    note = f"the chip's clock began anew: by the calendar, programming ended {format_duration(calendar)} ago"
    return now - calendar, [note]
