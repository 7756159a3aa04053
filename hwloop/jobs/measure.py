"""Measurements as jobs: a routine on a chip, a file that grows, and a way back in after an interruption."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwloop.calibration.certificate.certificate import Calibration
from hwloop.calibration.certificate.use import use_calibration
from hwloop.calibration.experiments.base import Bench, Routine, Spending, Step
from hwloop.calibration.experiments.programming_curve import Curve, CurveSettings
from hwloop.calibration.experiments.read_noise import ReadNoise, ReadNoiseSettings
from hwloop.calibration.experiments.scheduled import Drift, Programming, ScheduledSettings
from hwloop.calibration.settings import Settings
from hwloop.chip.backend import Backend
from hwloop.chip.info import Capability, ChipInfo
from hwloop.chip.registry import connect
from hwloop.errors import BadInputError, HwloopError
from hwloop.files.hdf5 import COMMIT_SHARE
from hwloop.files.measurement_writer import ExperimentWriter, MeasurementWriter
from hwloop.files.measurements import Experiment, Mark


@dataclass(frozen=True)
class MeasurementJob:
    """What to measure, and where.

    temperature is what a thermometer shows (K), for a chip that cannot measure its own; calibration is a file of
    `hwloop calibrate` for this chip.
    """

    backend: str
    experiment: Experiment
    settings: Settings
    seed: int = 0
    temperature: float | None = None
    calibration: str | None = None

    def routine(self, backend: Backend) -> Routine:
        """The routine on an open chip; what the chip cannot do is refused here, and nothing is sent."""
        known, settings = Calibration.load(self.calibration) if self.calibration else None, self.settings
        if known is not None:
            use_calibration(known, backend)
        bench = Bench(backend, self.temperature, known)
        if self.experiment is Experiment.DRIFT and isinstance(settings, ScheduledSettings):
            return Drift(bench, settings, self.seed)
        if self.experiment is Experiment.PROGRAMMING and isinstance(settings, ScheduledSettings):
            return Programming(bench, settings, self.seed)
        if self.experiment is Experiment.READ_NOISE and isinstance(settings, ReadNoiseSettings):
            return ReadNoise(bench, settings, self.seed)
        if self.experiment is Experiment.PROGRAMMING_CURVE and isinstance(settings, CurveSettings):
            return Curve(bench, settings, self.seed)
        raise BadInputError(f"{self.experiment.value} does not take {type(settings).__name__}")

    def plan(self) -> str:
        """Everything that decides what is measured, as JSON: the same plan goes on where it stopped."""
        return json.dumps(
            {
                "backend": self.backend,
                "seed": self.seed,
                "temperature": self.temperature,
                "calibration": self.calibration,
                **dataclasses.asdict(self.settings),
            }
        )


Announce = Callable[[ChipInfo, Spending], None]
"""Told what will be spent before anything is."""
Show = Callable[[int, int], None]
"""Shown (done, total) after every step and while the chip rests; may raise KeyboardInterrupt to stop there."""


def measure_to_file(
    job: MeasurementJob,
    out: str | Path,
    *,
    force: bool = False,
    resume: bool = False,
    announce: Announce = lambda info, spending: None,
    show: Show = lambda done, total: None,
) -> dict[str, Any]:
    """Measure and append to `out` as it goes; returns the JSON object of docs/commands.md.

    An existing measurement file is kept and gets one more experiment, unless `force` replaces it. With `resume` the
    last unfinished experiment of this kind goes on. A KeyboardInterrupt at a safe point ends with the status
    'interrupted'.
    """
    began = time.perf_counter()
    if resume and not Path(out).exists():
        raise BadInputError(f"{out}: no such file, so there is nothing to resume")
    with connect(job.backend) as backend:
        routine = job.routine(backend)
        with MeasurementWriter(out, append=not force, force=force) as writer:
            session = _Session(job, routine, writer, resume=resume)
            announce(backend.info, routine.spending())
            status = session.run(show)
            sink = session.sink
            marks = np.bincount(sink.marks(), minlength=len(Mark))
            result = {
                "experiment": job.experiment.value,
                "backend": job.backend,
                "out": str(out),
                "group": sink.name,
                "status": status,
                "cells": sink.cell_count,
                "marks": {mark.name: int(marks[mark]) for mark in Mark},
                "reads": sink.read_count,
                "chip_clock_seconds": routine.bench.clock.now(),
                "hwloop_version": importlib.metadata.version("hwloop"),
            }
            counts = backend.counts
            writer.finish()
    result |= {"pulses": counts.pulses, "device_reads": counts.device_reads, "chip_seconds": counts.chip_seconds}
    return result | {"wall_seconds": time.perf_counter() - began}


class _Session:
    """One routine writing into one experiment of a file."""

    def __init__(self, job: MeasurementJob, routine: Routine, writer: MeasurementWriter, *, resume: bool) -> None:
        self._job, self._routine, self._writer = job, routine, writer
        self._info = routine.bench.info
        self._virtual = Capability.STATE in self._info.capabilities
        self._until = 0.0
        self._due = 0.0
        self.sink = self._unfinished() if resume else self._new()

    def run(self, show: Show) -> str:
        """Measure to the end, or to where `show` stops it; returns 'complete' or 'interrupted'."""
        clock, expected = self._routine.bench.clock, self._routine.spending().chip_seconds
        step = Step(self._routine.done, 1, self._until)

        def safe_point() -> None:
            # On a real chip time tells how far it is; a simulated one spends its time on steps.
            if self._virtual:
                show(step.done, step.total)
            else:
                show(min(round(clock.now()), round(expected)), max(round(expected), 1))

        try:
            clock.rest_until(self._until, safe_point)
            for step in self._routine.steps(self.sink):
                self._until = step.until
                self._checkpoint(ahead=step.until - clock.now())
                try:
                    safe_point()
                    clock.rest_until(step.until, safe_point)
                except KeyboardInterrupt:
                    if step.done == step.total:
                        break  # nothing is left to interrupt
                    return self._end("interrupted")
        except HwloopError as error:
            self._failed(error)
            raise
        return self._end("complete")

    def _checkpoint(self, ahead: float) -> None:
        """Commit, where it is due or a real chip will rest long enough to make it free."""
        if self._virtual and time.monotonic() < self._due:
            return
        idle = not self._virtual and ahead > 1.0
        began = time.monotonic()
        self._keep()
        if idle or began >= self._due:
            self._writer.commit()
            now = time.monotonic()
            self._due = now + (now - began) / COMMIT_SHARE

    def _keep(self) -> None:
        self.sink.keep_state(self._routine.export() | {"until": np.array(self._until)})

    def _end(self, status: str) -> str:
        if status == "complete":
            self.sink.drop_state()
        else:
            self._keep()
        self.sink.end(status)
        return status

    def _failed(self, error: HwloopError) -> None:
        """What a real chip gave until it failed is kept, with the state after the last whole step."""
        if self._writer.committed and not self._virtual:
            self.sink.describe({"error": str(error)})
            self.sink.end("failed")
            self._writer.commit()

    def _new(self) -> ExperimentWriter:
        info, routine = self._info, self._routine
        attributes: dict[str, str | int | float | bool] = {
            "backend": self._job.backend,
            "chip": info.name,
            "serial": info.serial,
            "g_max": info.g_max,
            "read_voltage": info.read_voltage,
            "devices_per_polarity": info.devices_per_polarity,
            "temperature_at_start": routine.bench.temperature(),
            "calibration": self._job.calibration or "",
            "plan": self._job.plan(),
            "chip_at_start": json.dumps(routine.bench.backend.snapshot()),
            "hwloop_version": importlib.metadata.version("hwloop"),
        }
        return self._writer.begin(self._job.experiment, routine.cells(), attributes | routine.describe())

    def _unfinished(self) -> ExperimentWriter:
        """The last unfinished experiment of this kind, with the routine and the chip brought back to where it was."""
        kind, path = self._job.experiment.value, self._writer.path
        found = [one for one in self._writer.experiments() if one.attributes["experiment"] == kind and one.state()]
        if not found:
            raise BadInputError(f"{path} has no unfinished {kind}; leave --resume out to begin one")
        sink = found[-1]
        then, now = json.loads(str(sink.attributes["plan"])), json.loads(self._job.plan())
        if other := [name for name in now if now[name] != then.get(name)]:
            raise BadInputError(
                f"{path}: the unfinished {kind} was begun with {other[0]}={then.get(other[0])}, not {now[other[0]]}; "
                "give the options that it was begun with"
            )
        if (sink.attributes["chip"], sink.attributes["serial"]) != (self._info.name, self._info.serial):
            raise BadInputError(
                f"{path}: the unfinished {kind} is of {sink.attributes['chip']} {sink.attributes['serial']}, "
                f"and this is {self._info.name} {self._info.serial}"
            )
        state = sink.state()
        self._routine.restore(state)
        self._until = float(state["until"])
        sink.describe({"status": "running"})
        return sink
