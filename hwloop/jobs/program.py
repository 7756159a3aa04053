"""Programs weight matrices onto a chip with one method, and measures what came of it."""

from __future__ import annotations

import dataclasses
import math
import time
import uuid
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path

import numpy as np

from hwloop.calibration.certificate.certificate import Calibration
from hwloop.calibration.certificate.check import refuse_stale
from hwloop.calibration.certificate.use import region_of, use_calibration
from hwloop.calibration.error_interval import WeightNoise, error_interval, weight_noise
from hwloop.calibration.evaluation import (
    Outputs,
    calibrated,
    conductance_map,
    evaluate_tile,
    evaluate_with_inputs,
    overall_error,
)
from hwloop.calibration.programming.base import Method, ProgrammingStep
from hwloop.calibration.programming.registry import method_from
from hwloop.calibration.programming.targets import hand_over
from hwloop.calibration.randomness import Purpose, generator
from hwloop.calibration.steps import run_together
from hwloop.chip.backend import Backend
from hwloop.chip.claims import programmed_over
from hwloop.chip.info import Capability, ChipInfo
from hwloop.chip.region import Place, Region
from hwloop.devices.model import DeviceModel
from hwloop.errors import BadInputError, CalibrationWarning, ProgrammingWarning
from hwloop.files import hdf5
from hwloop.files.activations import activations_from
from hwloop.files.resume_folder import ResumeFolder
from hwloop.files.runs import AS_PROGRAMMED, AS_STOPPED, RunRecord, StepSeries, TileRecord
from hwloop.jobs.exclusive import exclusive
from hwloop.jobs.inputs import UsedCalibration, Weights, WeightsLike, calibration_from, seconds, weights_from
from hwloop.jobs.needs import Needs
from hwloop.jobs.progress import Progress, Report, TileProgress, phase, reporting, silent, tile
from hwloop.jobs.recorders import Recorder
from hwloop.jobs.recording import recorded, replayed
from hwloop.jobs.run import Run
from hwloop.jobs.task import Task as Task
from hwloop.mapping.activations import Sample, of_tile
from hwloop.mapping.columns import ColumnCorrection
from hwloop.mapping.faults import avoid_bad_devices, compensate_with_neighbours
from hwloop.mapping.matrix import Room
from hwloop.mapping.partition import map_weights
from hwloop.mapping.ranges import choose_ranges
from hwloop.mapping.sharing import MEASURE, MappingSettings
from hwloop.mapping.tile import Tile
from hwloop.typing import BoolArray, FloatArray, State


@exclusive
def program(
    chip: Backend,
    weights: WeightsLike,
    method: str | Method = "gdp",
    *,
    calibration: Calibration | UsedCalibration | str | Path | None = None,
    inputs: Mapping[str, FloatArray] | FloatArray | str | Path | None = None,
    mapping: MappingSettings | None = None,
    age: str | float | None = None,
    chip_seconds: float | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    force: bool = False,
    progress: Progress = False,
) -> Run:
    """Program weights onto a chip and measure the error of its matrix-vector product.

    Parameters
    ----------
    chip
        An open chip, from `hwloop.connect`.
    weights
        A file, an array (outputs, inputs), arrays by name, a torch module, or what `hwloop.load_weights` gives.
    method
        Name of a method with default settings, or a method such as ``GDP(max_steps=30)``.
    calibration, inputs
        Of this very chip, an object or its file: its converters are corrected for, its bad devices left alone; sample
        activations (vectors, inputs) by tensor, or their file: what bad devices leave is corrected for them.
    mapping, seed
        How weights become conductances; seed of all random numbers.
    age, chip_seconds
        Seconds, or '1h', after programming at which targets hold and the error is measured (None: the chip's own);
        seconds that devices may rest in all while they are programmed (None: as the method likes).
    out, force, progress
        Run file that grows as the job goes (None leaves saving to `Run.save`), and whether it may replace one; True
        draws a bar, and a function is told (done, total) and may raise KeyboardInterrupt to stop at a step.

    Returns
    -------
    Run
        With `mvm_error`, `tiles`, `matmul`, `save`, `plot`; after Ctrl-C 'interrupted', with no error measured.

    Raises
    ------
    BadInputError, MissingCapabilityError
        For what cannot be used, before anything is sent to the chip.
    ChipError
        When the chip or its link fails; with `out`, all that was done until then is on file.
    """
    chosen, room = method_from(method) if isinstance(method, str) else method, Room.of(chip.info)
    given, until = weights_from(weights, room=room), None if age is None else seconds(age)
    used, samples = calibration_from(calibration), activations_from(inputs, given.matrices)
    task = Task(given, chosen, mapping or MappingSettings(), until, seed, used, samples).within(chip, chip_seconds)
    with reporting(progress, f"{task.method.name:>9}") as report:
        if out is None:
            return carry_out(task, chip, report=report)
        return _into_file(task, chip, out, report, force=force)


@exclusive
def program_again(folder: ResumeFolder, chip: Backend, progress: Progress = False) -> Run:
    """Go on with a job of `program` that was stopped or killed, from what it has left; see `hwloop.resume`."""
    task = Task.from_file(folder)
    with reporting(progress, f"{task.method.name:>9}") as report:
        return _into_file(task, chip, folder.out, report, force=True, left=folder)


def _into_file(
    task: Task, chip: Backend, out: str | Path, report: Report, *, force: bool, left: ResumeFolder | None = None
) -> Run:
    """Carry out a task, which grows a run file; with what an earlier process has `left` of it, go on with that."""
    spare_inputs(task.weights, out)
    task = task if left is not None else dataclasses.replace(task, run=uuid.uuid4().hex)
    with (
        hdf5.WholeFileWriter(out, hdf5.RUN_FORMAT, force=force, timer=hdf5.with_journal()) as file,
        recorded(out, chip, task.on_file()) if left is None else replayed(left, chip) as recording,
    ):
        recorder = Recorder(file, file.file, lambda: recording.replaying)
        run = carry_out(task, chip, recorder, report, str(out))
        if run.status == "complete":
            recording.complete()
        return run


def carry_out(
    task: Task, chip: Backend, recorder: Recorder | None = None, report: Report = silent, name: str = ""
) -> Run:
    """Program and measure, keeping everything with the recorder on the way; see `program`."""
    work = Programming(task, chip, recorder, name)
    if recorder is not None:
        recorder.make_sure(work.needs)
    try:
        work.run(report)
    except Exception as error:
        if recorder is not None:
            recorder.fail(work.record("failed"), chip.counts - work.before, error)
        raise
    used, record = task.calibration, work.record()
    warn_of_useless(record.mvm_error)
    return Run(record, chip, work.regions, used.calibration if used is not None else None)


def spare_inputs(weights: Weights, out: str | Path) -> None:
    """Refuse to write the result over the weights. Raises BadInputError."""
    if Path(out).exists() and Path(weights.name).exists() and Path(out).samefile(weights.name):
        raise BadInputError(f"{out} holds the weights to program; give another name for the output")


@dataclass
class TileWork:
    """One tile while it is programmed: the region it lies on, what its method reported, and the outcome."""

    tile: Tile
    region: Region
    activations: Sample | None
    steps: list[dict[str, float]] = field(default_factory=list)
    unconverged: BoolArray | None = None
    stuck: BoolArray | None = None
    stuck_devices: BoolArray | None = None
    correction: ColumnCorrection | None = None
    outputs: Outputs | None = None
    error_with_inputs: float = math.nan
    reached: FloatArray | None = None
    noise: WeightNoise | None = None

    def note(self, step: ProgrammingStep, moment: float) -> dict[str, float]:
        """Keep what a step reported; `moment` is the chip time since programming began, seconds."""
        cost = self.region.cost
        self.unconverged, self.stuck = step.unconverged, step.stuck
        self.stuck_devices = step.stuck_devices
        self.steps.append(
            {
                "mvm_error": step.mvm_error,
                "pulses": step.pulses,
                "unconverged_cells": int(step.unconverged.sum()),
                "mvms": cost.mvms,
                "device_reads": cost.device_reads,
                "chip_time": moment,
            }
        )
        return self.steps[-1]

    def progress(self, step: ProgrammingStep) -> TileProgress:
        """Sum up a step for who watches."""
        place, pulses = self.tile.place, sum(one["pulses"] for one in self.steps) / self.region.size
        return TileProgress(place.core, self.tile.tensor, step.done, step.total, step.mvm_error, pulses)

    def record(self, programmed_at: float | None) -> TileRecord:
        """Give the tile as it is now; `programmed_at` is the end of programming on the chip's clock, seconds."""
        region, ended = self.region, programmed_at
        if Capability.TARGETS in region.backend.info.capabilities:
            ended = None  # nothing was pulsed, so there is no age of pulses to know
        series = {name: np.array([step[name] for step in self.steps]) for name in STEP_NAMES}
        return TileRecord(
            tile=self.tile,
            steps=StepSeries(**series),
            pulses=region.pulses_spent(),
            unconverged=self.unconverged,
            stuck=self.stuck,
            stuck_devices=self.stuck_devices,
            correction=self.correction,
            pulse_age=(ended - region.last_pulse).reshape(region.shape) if ended is not None else None,
            amplitude=region.last_amplitude.reshape(region.shape) if ended is not None else None,
            reached=self.reached,
            mvm_error=self.outputs.mvm_error if self.outputs else math.nan,
            mvm_error_inputs=self.error_with_inputs,
        )


STEP_NAMES = tuple(item.name for item in dataclasses.fields(StepSeries))


class Programming:
    """One run while it goes on, on one chip."""

    def __init__(self, task: Task, chip: Backend, recorder: Recorder | None = None, name: str = "") -> None:
        """Place matrices on the chip's cores, and refuse what the method cannot do there, before a device is touched.

        With a calibration, its converter trims are written, columns go where bad devices hurt them least, and converter
        ranges follow from the converters' own noise; with sample activations besides, cells near one out of reach make
        up for it.

        Raises
        ------
        BadInputError
            For the calibration of another chip, and for weights that do not fit.
        """
        self._chip, self._recorder, self._name = chip, recorder, name
        self._by_targets = Capability.TARGETS in chip.info.capabilities
        self.before = chip.counts
        self._age = task.target_age(chip)
        calibration = task.calibration.calibration if task.calibration else None
        models = partial(_model_of, calibration, chip.info)
        tiles = map_weights(task.weights.matrices, chip.info, task.mapping, self._age, models)
        # What is recorded is the split that is used.
        self._task = dataclasses.replace(task, mapping=dataclasses.replace(task.mapping, split=tiles[0].split))
        if calibration is not None:
            use_calibration(calibration, chip)
            tiles = [_fitted(tile, calibration, chip.info, of_tile(task.activations, tile)) for tile in tiles]
        self.tiles = [
            TileWork(tile, region_of(chip, tile, calibration), of_tile(task.activations, tile)) for tile in tiles
        ]
        for item in self.tiles:
            if not self._by_targets:
                task.method.check(item.region, item.tile, self._age)
        if task.mapping.split is None and chip.info.devices_per_polarity > 1 and "fill" in {t.split for t in tiles}:
            text = f"{chip.info.name}: without a model of the devices, targets are shared by --split fill; {MEASURE}"
            warnings.warn(text, CalibrationWarning, stacklevel=2)
        self._status = "running"
        self._programmed_at: float | None = None
        self._utc: datetime | None = None
        self._temperature: float | None = None
        self._state: State | None = None
        self._moment, self._wall = AS_PROGRAMMED, 0.0

    @property
    def chip(self) -> Backend:
        """The chip that is programmed."""
        return self._chip

    @property
    def needs(self) -> Needs:
        """What the run takes at most."""
        return Needs.of([item.tile for item in self.tiles], self._task.method, self._age, self._chip.info)

    @property
    def regions(self) -> list[Region]:
        """Cells of each tile, as regions of the chip."""
        return [item.region for item in self.tiles]

    def run(self, report: Report) -> None:
        """Program all tiles in lockstep, let the chip reach the target age, and measure."""
        began = time.perf_counter()
        programmed_over(self._chip, [item.tile.place for item in self.tiles], self._task.weights.name)
        if self._recorder is not None:
            self._recorder.begin(self.record(), self._chip.snapshot())
        try:
            self._program(report)
            self._note_end()
            phase(report, "leaving the devices until the target age, and measuring the error")
            self._measure()
            self._status = "complete"
        except KeyboardInterrupt:
            if self._chip.witness is not None:
                self._chip.witness.leave()
            self._status = "interrupted"
            if self._state is None:
                self._state, self._moment = self._exported_state(), AS_STOPPED
        self._wall = time.perf_counter() - began
        if self._recorder is not None:
            self._recorder.finish(self.record(), self._chip.counts - self.before, self._chip.snapshot())

    def record(self, status: str | None = None) -> RunRecord:
        """Give the run as it is now."""
        used, status = self._task.calibration, status or self._status
        outputs = [(item.tile, item.outputs) for item in self.tiles if item.outputs is not None]
        measured = len(outputs) == len(self.tiles) and status != "interrupted"
        noise = [item.noise for item in self.tiles if item.noise is not None]
        return RunRecord(
            name=self._recorder.name(self._name) if self._recorder is not None else self._name,
            provenance=self._task.provenance(self._chip),
            status=status,
            age=self._age,
            tiles=tuple(item.record(self._programmed_at) for item in self.tiles),
            mvm_error=overall_error(outputs) if measured else math.nan,
            programmed_at=self._programmed_at,
            programmed_utc=self._utc,
            temperature=self._temperature,
            state=self._state,
            state_moment=self._moment,
            wall_seconds=self._wall,
            calibration_created=used.calibration.created.isoformat() if used else "",
            calibration_parts=tuple(used.calibration.measured()) if used else (),
            mvm_error_interval=error_interval(outputs, noise) if measured else (math.nan, math.nan),
        )

    def _program(self, report: Report) -> None:
        if self._task.calibration is not None:
            refuse_stale(
                self._task.calibration.calibration, self._chip, sorted({t.tile.place.core for t in self.tiles})
            )
        if self._by_targets:
            self._hand_over(report)
            return
        chip, task, began = self._chip, self._task, self._chip.now()
        works = [
            task.method.steps(item.region, item.tile, self._age, generator(task.seed, number, Purpose.PROGRAM))
            for number, item in enumerate(self.tiles)
        ]
        shown, tiles = (0, 1), len(self.tiles)

        def watch(number: int, step: ProgrammingStep) -> None:
            nonlocal shown
            values = self.tiles[number].note(step, chip.now() - began)
            if self._recorder is not None:
                self._recorder.step(number, values, lambda: (self.record(), chip.counts - self.before))
            shown = step.done * tiles + number + 1, tiles * (step.total + 1)
            phase(report, step.stage or f"programming, step {step.done} of {step.total}")
            tile(report, number, self.tiles[number].progress(step))
            report(*shown)

        run_together(works, chip, watch, lambda: report(*shown))

    def _hand_over(self, report: Report) -> None:
        """Leave programming to a chip that does it by itself; what it must rehearse for that is reported as it goes."""
        places = [(item.region, item.tile) for item in self.tiles]
        hand_over(self._chip, self._task.method, places, self._age, lambda step: report(step.done, step.total + 1))
        for number, item in enumerate(self.tiles):
            nothing = np.zeros(item.tile.target.shape, bool)
            values = item.note(
                ProgrammingStep(0, 0, mvm_error=math.nan, pulses=0, unconverged=nothing, stuck=nothing), 0.0
            )
            if self._recorder is not None:
                self._recorder.step(number, values)
        report(1, 1)

    def _note_end(self) -> None:
        self._programmed_at, self._utc = self._chip.now(), self._chip.utc()
        if Capability.TEMPERATURE in self._chip.info.capabilities:
            self._temperature = self._chip.temperature()
        self._state = self._exported_state()
        if self._recorder is not None:
            self._recorder.programmed(self.record())

    def _exported_state(self) -> State | None:
        wanted = self._recorder is None or self._recorder.keeps_state
        can = Capability.STATE in self._chip.info.capabilities
        return self._chip.export_state() if wanted and can else None

    def _measure(self) -> None:
        """Let the chip reach the target age, then calibrate the columns and measure the error of every tile."""
        self._chip.wait(self._age)
        if self._task.errors:
            measure_tiles(list(enumerate(self.tiles)), self._task.seed, self._age)
            return
        for number, item in enumerate(self.tiles):
            item.correction = calibrated(item.region, item.tile, self._task.seed, number)


def measure_tiles(tiles: Sequence[tuple[int, TileWork]], seed: int, age: float) -> None:
    """Calibrate the columns of tiles that have reached their age, and measure the error of each; by their numbers."""
    for number, item in tiles:
        item.correction, item.outputs = evaluate_tile(item.region, item.tile, seed, number)
        item.noise = weight_noise(item.region, item.tile, age)
        if item.activations is not None and item.correction is not None:
            outputs = evaluate_with_inputs(item.region, item.tile, item.activations)
            item.error_with_inputs = outputs.mvm_error if outputs else math.nan
    for number, item in tiles:
        rng = generator(seed, number, Purpose.MAP)
        reached = conductance_map(item.region, item.tile, item.correction, rng)
        if reached is not None:  # as it is kept on file: it is known less well
            item.reached = reached.astype(np.float32).astype(np.float64)


def _model_of(calibration: Calibration | None, info: ChipInfo, place: Place) -> DeviceModel | None:
    """Return the model of a place's devices: as calibrated, else the chip's nominal one, else None."""
    known = calibration.of_cells(place, info).devices if calibration is not None else None
    return info.device_model if known is None else known.model


def warn_of_useless(error: float) -> None:
    """Warn of an MVM error above 1: outputs that are all zero would be closer to what they should be."""
    if error > 1.0:
        warnings.warn(
            f"the MVM error is {error:.2f}, worse than that of outputs of zero: the chip does not compute "
            "these weights; look at converter bits and ranges, stuck devices and the calibration",
            ProgrammingWarning,
            stacklevel=2,
        )


def _fitted(tile: Tile, calibration: Calibration, info: ChipInfo, activations: Sample | None) -> Tile:
    """Assign outputs to columns where bad devices cost least, and choose the converter range that suits them."""
    known, core = calibration.of_cells(tile.place, info), calibration.cores.get(tile.place.core)
    if known.devices is not None:
        tile = avoid_bad_devices(tile, known.devices, info)
        if activations is not None:
            tile = compensate_with_neighbours(tile, known.devices, info, activations)
    if core is not None and core.converters is not None and tile.target.any():
        full_scale = choose_ranges(tile.target, info, adc_noise=core.adc_noise).full_scale
        tile = dataclasses.replace(tile, full_scale=full_scale)
    return tile
