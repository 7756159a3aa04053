"""Measures devices of a chip into a file that grows, with a way back in after an interruption."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TypeAlias

import numpy as np

from hwloop.calibration import steps
from hwloop.calibration.certificate.certificate import Calibration
from hwloop.calibration.certificate.use import use_calibration
from hwloop.calibration.experiments.base import DeviceExperiment, RunningExperiment, Spending
from hwloop.calibration.experiments.bench import Bench
from hwloop.calibration.experiments.cells import Levels, ListedLevels
from hwloop.calibration.experiments.drift import DriftExperiment
from hwloop.calibration.experiments.programming import ProgrammingExperiment
from hwloop.calibration.experiments.programming_curve import ProgrammingCurveExperiment
from hwloop.calibration.experiments.pulse_response import PulseResponseExperiment
from hwloop.calibration.experiments.read_noise import ReadNoiseExperiment
from hwloop.chip.backend import Backend
from hwloop.chip.counts import Counts
from hwloop.chip.info import Capability, ChipInfo
from hwloop.durations import parse_durations
from hwloop.errors import BadInputError, HwloopError
from hwloop.files.experiment_writer import ExperimentWriter
from hwloop.files.hdf5 import CommitTimer
from hwloop.files.measurement_reader import read_measurements
from hwloop.files.measurement_writer import MeasurementWriter
from hwloop.files.measurements import Attributes, Mark, Measurement
from hwloop.jobs.exclusive import exclusive
from hwloop.jobs.inputs import UsedCalibration, calibration_from, seconds
from hwloop.jobs.progress import Progress, Report, phase, reporting, silent
from hwloop.registry import suggest
from hwloop.typing import Json, State


@dataclass(frozen=True)
class MeasurementTask:
    """What to measure, as objects: nothing below this knows a file name or a command-line word.

    Parameters
    ----------
    experiment
        What is done, with its settings.
    seed
        Of what is chosen at random.
    temperature
        Kelvin, what a thermometer shows, for a chip that cannot measure its own.
    calibration
        Of this chip, with its file.
    """

    experiment: DeviceExperiment
    seed: int = 0
    temperature: float | None = None
    calibration: UsedCalibration | None = None

    def begin(self, chip: Backend) -> RunningExperiment:
        """Begin the experiment on an open chip; what the chip cannot do is refused here, and nothing is sent."""
        known = self.calibration.calibration if self.calibration is not None else None
        if known is not None:
            use_calibration(known, chip)
        return self.experiment.begin(Bench(chip, self.temperature, known), self.seed)

    def plan(self, uri: str) -> dict[str, Json]:
        """Return everything that decides what is measured: the same plan goes on where it stopped."""
        own: dict[str, Json] = {
            "backend": uri,
            "seed": self.seed,
            "temperature": self.temperature,
            "calibration": self.calibration.name if self.calibration is not None else None,
        }
        plan: dict[str, Json] = json.loads(json.dumps(own | self.experiment.stored()))  # as a file gives it back
        return plan


class Into(Enum):
    """What becomes of a measurement file that exists."""

    ADD = "add"
    """It gets one more experiment."""
    REPLACE = "replace"
    """A new file takes its place."""
    RESUME = "resume"
    """Its last unfinished experiment of this kind goes on."""


Announce = Callable[[ChipInfo, Spending], None]
"""Told what will be spent before anything is."""


@dataclass(frozen=True)
class MeasurementReport:
    """What a measurement gave and what it cost.

    Parameters
    ----------
    experiment, backend, out, group
        Kind of the experiment, URI of the chip, measurement file and the experiment's name in it.
    status
        'complete' or 'interrupted'.
    cells, marks, reads
        Number of cells, how many have each mark, number of reads.
    chip_clock, wall_seconds
        Clock of the measurement at its end; what it took on the computer's clock, seconds.
    counts
        What was sent to the chip.
    """

    experiment: str
    backend: str
    out: str
    group: str
    status: str
    cells: int
    marks: Mapping[str, int]
    reads: int
    chip_clock: float
    wall_seconds: float
    counts: Counts

    def to_json(self) -> dict[str, Json]:
        """Give the JSON object of `hwloop measure`."""
        return {
            "experiment": self.experiment,
            "backend": self.backend,
            "out": self.out,
            "group": self.group,
            "status": self.status,
            "cells": self.cells,
            "marks": dict(self.marks),
            "reads": self.reads,
            "chip_clock_seconds": self.chip_clock,
            "hwloop_version": importlib.metadata.version("hwloop"),
            "pulses": self.counts.pulses,
            "device_reads": self.counts.device_reads,
            "chip_seconds": self.counts.chip_seconds,
            "wall_seconds": self.wall_seconds,
        }


EXPERIMENTS: dict[str, type[DeviceExperiment]] = {
    "drift": DriftExperiment,
    "programming": ProgrammingExperiment,
    "read-noise": ReadNoiseExperiment,
    "programming-curve": ProgrammingCurveExperiment,
    "pulse-response": PulseResponseExperiment,
}
"""Experiments by the names that measurement files have for them."""


@exclusive
def measure(
    chip: Backend,
    experiment: str | DeviceExperiment,
    *,
    calibration: Calibration | UsedCalibration | str | Path | None = None,
    temperature: float | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    progress: Progress = False,
    **settings: Setting,
) -> Measurement:
    """Measure the devices of a chip.

    Parameters
    ----------
    chip
        An open chip that can read single devices.
    experiment
        'drift', 'programming', 'read-noise', 'programming-curve' or 'pulse-response' with the `settings`, or an
        experiment.
    calibration
        Of this chip: reads are corrected for the gain of their column, bad devices are left alone.
    temperature
        Kelvin, for a chip that cannot measure it.
    seed
        Of what is chosen at random.
    out
        Measurement file to keep it in as it grows, with what is there already; None keeps it in memory.
    progress
        True draws a bar; a function is told (done, total) and may raise KeyboardInterrupt to stop at a step.
    settings
        Of the experiment that is named, such as ``cells=20_000, until="1d"``; durations are seconds or texts.

    Returns
    -------
    Measurement
        Cells and reads: what `hwloop.fit` takes.

    Raises
    ------
    BadInputError
        For an unknown experiment or setting, and for cells, levels or pulses that the chip does not have.
    MissingCapabilityError
        For a chip that cannot read single devices.
    """
    if isinstance(experiment, str):
        experiment = experiment_from(experiment, settings)
    elif settings:
        raise BadInputError(f"settings {', '.join(settings)} go into the experiment itself, not beside it")
    task = MeasurementTask(experiment, seed, temperature, calibration_from(calibration))
    with tempfile.TemporaryDirectory(prefix="hwloop-") as folder, reporting(progress, experiment.kind.value) as report:
        kept = Path(out) if out is not None else Path(folder) / "measurement.h5"
        measure_to_file(task, chip, kept, show=report)
        return read_measurements(kept)[-1]


Setting: TypeAlias = "int | float | str | Levels | ListedLevels | Sequence[float | str] | tuple[int, ...]"
"""Values that settings of experiments have; durations, and the list of `ages`, may be texts."""
DURATIONS = frozenset({"first", "until", "settle", "target_age", "interval", "start", "early"})
"""Settings that are durations, seconds."""


def experiment_from(name: str, settings: Mapping[str, Setting]) -> DeviceExperiment:
    """Make an experiment from its name and settings.

    Raises
    ------
    BadInputError
        For an unknown name or setting, with those that are known, and for values that it refuses.
    """
    if name not in EXPERIMENTS:
        raise BadInputError(f"unknown experiment '{name}'; {suggest(name, list(EXPERIMENTS))}")
    kind = EXPERIMENTS[name]
    known = [field.name for field in dataclasses.fields(kind)]
    unknown = [one for one in settings if one not in known]
    if unknown:
        raise BadInputError(f"experiment {name}: unknown setting '{unknown[0]}'; {suggest(unknown[0], known)}")
    return kind(**{key: _read(name, key, value) for key, value in settings.items()})  # type: ignore[arg-type]


def _read(name: str, key: str, value: Setting) -> Setting:
    """Return the value of one setting, of which texts of durations have become seconds."""
    if key in DURATIONS and isinstance(value, str):
        return seconds(value)
    if key == "ages" and isinstance(value, str):
        return parse_durations(value)
    if key == "ages" and isinstance(value, Sequence):
        return tuple(seconds(age) for age in value)
    if key == "levels" and isinstance(value, int):
        return Levels(value)
    if isinstance(value, str):
        raise BadInputError(f"experiment {name}: setting {key}='{value}': expected a number")
    return value


def measure_to_file(
    task: MeasurementTask,
    chip: Backend,
    out: str | Path,
    *,
    into: Into = Into.ADD,
    announce: Announce = lambda info, spending: None,
    show: Report = silent,
) -> MeasurementReport:
    """Measure and append to a file as it goes.

    Parameters
    ----------
    task, chip
        What to measure on which open chip.
    out, into
        Measurement file, and what becomes of one that exists.
    announce
        Told what will be spent before anything is.
    show
        Told (done, total) after every step and while the chip rests; KeyboardInterrupt ends it with the status
        'interrupted', to be gone on with.
    """
    began = time.perf_counter()
    if into is Into.RESUME and not Path(out).exists():
        raise BadInputError(f"{out}: no such file, so there is nothing to resume")
    before, running = chip.counts, task.begin(chip)
    with MeasurementWriter(out, "w" if into is Into.REPLACE else "a") as writer:
        session = _Session(task, running, writer, resume=into is Into.RESUME)
        announce(chip.info, running.spending())
        status = session.run(show)
        sink = session.sink
        marks = np.bincount(sink.marks(), minlength=len(Mark))
        report = MeasurementReport(
            experiment=task.experiment.kind.value,
            backend=chip.uri,
            out=str(out),
            group=sink.name,
            status=status,
            cells=sink.cell_count,
            marks={mark.stored: int(marks[mark]) for mark in Mark},
            reads=sink.read_count,
            chip_clock=running.bench.clock.now(),
            wall_seconds=0.0,
            counts=chip.counts - before,
        )
        writer.finish()
    return dataclasses.replace(report, wall_seconds=time.perf_counter() - began)


class _Stopped(Exception):
    """Raised to stop the measurement at a safe point."""


class _Session:
    """Runs one experiment and writes it into one experiment of a file."""

    def __init__(
        self, task: MeasurementTask, running: RunningExperiment, writer: MeasurementWriter, *, resume: bool
    ) -> None:
        self._task, self._running, self._writer = task, running, writer
        self._info = running.bench.info
        self._virtual = Capability.STATE in self._info.capabilities
        self._timer = CommitTimer()
        self._kept: State | None = None
        self.sink = self._unfinished() if resume else self._new()

    def run(self, show: Report) -> str:
        """Measure to the end, or to where `show` stops it; return 'complete' or 'interrupted'."""
        clock, expected = self._running.bench.clock, self._running.spending().chip_seconds
        last = steps.Step(0, 1)

        def check() -> None:
            # On a real chip time tells how far it is; a simulated one spends its time on steps.
            phase(show, last.stage)
            try:
                if self._virtual:
                    show(last.done, last.total)
                else:
                    show(min(round(clock.now()), round(expected)), max(round(expected), 1))
            except KeyboardInterrupt:
                raise _Stopped from None

        def watch(number: int, step: steps.Step) -> None:
            nonlocal last
            last = step
            self._checkpoint(step)
            check()

        try:
            steps.run(self._running.work(self.sink, self._kept), self._running.bench.backend, watch, check)
        except _Stopped:
            if last.done < last.total:  # else nothing is left to interrupt
                return self._end("interrupted")
        except HwloopError as error:
            self._failed(error)
            raise
        return self._end("complete")

    def _checkpoint(self, step: steps.Step) -> None:
        """Commit, where it is due or a real chip will rest long enough to make it free."""
        due = self._timer.due()
        if self._virtual and not due:
            return
        self._keep()
        if due or step.rest > 1.0:
            with self._timer.committing():
                self._writer.commit()

    def _keep(self) -> None:
        self.sink.keep_state(self._running.state())

    def _end(self, status: str) -> str:
        if status == "complete":
            self.sink.drop_state()
        else:
            self._keep()
        self.sink.end(status)
        return status

    def _failed(self, error: HwloopError) -> None:
        """Keep what a real chip gave until it failed, with the state after the last whole step."""
        if self._writer.committed and not self._virtual:
            self.sink.describe({"error": str(error)})
            self.sink.end("failed")
            self._writer.commit()

    def _new(self) -> ExperimentWriter:
        info, running = self._info, self._running
        attributes: Attributes = {
            "backend": running.bench.backend.uri,
            "chip": info.name,
            "serial": info.serial,
            "g_max": info.g_max,
            "read_voltage": info.read_voltage,
            "devices_per_polarity": info.devices_per_polarity,
            "temperature_at_start": running.bench.temperature(),
            "calibration": self._task.calibration.name if self._task.calibration is not None else "",
            "plan": json.dumps(self._task.plan(running.bench.backend.uri)),
            "settings": json.dumps(dataclasses.asdict(self._task.experiment)),
            "chip_at_start": json.dumps(running.bench.backend.snapshot()),
            "hwloop_version": importlib.metadata.version("hwloop"),
        }
        return self._writer.begin(self._task.experiment.kind, running.cells(), {**attributes, **running.attributes()})

    def _unfinished(self) -> ExperimentWriter:
        """Find the last unfinished experiment of this kind, and the state from which it goes on."""
        kind, path = self._task.experiment.kind.value, self._writer.path
        found = [one for one in self._writer.experiments() if one.attributes["experiment"] == kind and one.state()]
        if not found:
            raise BadInputError(f"{path} has no unfinished {kind}; leave --resume out to begin one")
        sink = found[-1]
        uri = self._running.bench.backend.uri
        now, usual = self._task.plan(uri), MeasurementTask(type(self._task.experiment)()).plan("")
        then = usual | json.loads(str(sink.attributes["plan"]))  # what an older file does not name
        if other := [name for name in now if now[name] != then[name]]:
            raise BadInputError(
                f"{path}: the unfinished {kind} was begun with {other[0]}={then[other[0]]}, not {now[other[0]]}; "
                "give the options that it was begun with"
            )
        if (sink.attributes["chip"], sink.attributes["serial"]) != (self._info.name, self._info.serial):
            raise BadInputError(
                f"{path}: the unfinished {kind} is of {sink.attributes['chip']} {sink.attributes['serial']}, "
                f"and this is {self._info.name} {self._info.serial}"
            )
        self._kept = sink.state()
        sink.describe({"status": "running"})
        return sink
