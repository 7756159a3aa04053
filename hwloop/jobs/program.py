"""Program weight matrices onto a chip with one method and measure what came of it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwloop.calibration.certificate.certificate import Calibration
from hwloop.calibration.certificate.use import region_of, use_calibration
from hwloop.calibration.evaluation import (
    Outputs,
    conductance_map,
    evaluate_tile,
    evaluate_with_inputs,
    finite,
    overall_error,
)
from hwloop.calibration.programming.base import Method, Step, check_age
from hwloop.calibration.programming.registry import make_method
from hwloop.calibration.randomness import Purpose, generator
from hwloop.chip.backend import Backend
from hwloop.chip.counts import Counts
from hwloop.chip.info import Capability, ChipInfo
from hwloop.chip.region import Region
from hwloop.mapping.activations import of_tile
from hwloop.mapping.columns import ColumnCorrection
from hwloop.mapping.faults import avoid_bad_devices, compensate_with_neighbours
from hwloop.mapping.matrix import Matrix
from hwloop.mapping.partition import MappingSettings, map_weights
from hwloop.mapping.ranges import choose_ranges
from hwloop.mapping.tile import Tile
from hwloop.typing import FloatArray


@dataclass(frozen=True)
class Progress:
    """What an observer is told after each step of a tile."""

    tile: int
    tiles: int
    step: Step
    rounds: int
    cost: Counts


@dataclass
class TileRun:
    """One tile on its way: the region it lives on, what its method reported, and the outcome."""

    tile: Tile
    region: Region
    rounds: int
    steps: list[Step] = field(default_factory=list)
    costs: list[Counts] = field(default_factory=list)
    moments: list[float] = field(default_factory=list)
    chip_seconds: float = 0.0
    pulses: NDArray[np.int32] | None = None
    """Pulses that programming sent to each device, (2, K, rows, columns)."""
    correction: ColumnCorrection | None = None
    outputs: Outputs | None = None
    activations: FloatArray | None = None
    """(vectors, rows) sample inputs of the network, if they are known."""
    error_by_activations: float | None = None
    """MVM error for the second half of them."""
    reached: FloatArray | None = None
    """(rows, columns) signed conductances in uS as the chip's own MVMs show them, column gains removed.

    Without MVMs: as single-device reads show them.
    """

    @property
    def mvm_error_before(self) -> float | None:
        """MVM error that the open-loop pass left, by the method's own first measurement."""
        return next((step.mvm_error for step in self.steps if np.isfinite(step.mvm_error)), None)

    def as_json(self) -> dict[str, Any]:
        """One entry of `cores` in docs/commands.md."""
        place, last = self.tile.place, self.steps[-1] if self.steps else None
        programming = self.costs[-1] if self.costs else Counts()
        error = self.outputs.mvm_error if self.outputs else None
        return {
            "core": place.core,
            "tensor": self.tile.tensor,
            "row": place.row,
            "column": place.column,
            "rows": place.rows,
            "columns": place.columns,
            "devices": self.region.size,
            "mvm_error": finite(error),
            "mvm_error_inputs": finite(self.error_by_activations),
            "mvm_error_from": "mvm" if Capability.MVM in self.region.backend.info.capabilities else "device-reads",
            "mvm_error_before": finite(self.mvm_error_before if self.mvm_error_before is not None else error),
            "unconverged_cells": int(last.unconverged.sum()) if last else 0,
            "stuck_cells": int(last.stuck.sum()) if last else 0,
            "pulses_per_device": float(self.pulses.mean()) if self.pulses is not None else 0.0,
            "max_pulses_on_a_device": int(self.pulses.max()) if self.pulses is not None else 0,
            "device_reads": programming.device_reads,
            "mvms": programming.mvms,
            "chip_seconds": self.chip_seconds,
        }


@dataclass
class Run:
    """Outcome of programming: `mvm_error` over all tensors, and every tile."""

    method: Method
    age: float
    """Seconds between the end of programming and the measurement of the error."""
    tiles: list[TileRun]
    wall_seconds: float = 0.0
    interrupted: bool = False
    programmed_at: float | None = None
    """End of programming on the chip's clock, seconds: where the age of what was programmed counts from."""

    @property
    def mvm_error(self) -> float:
        """Relative MVM error after periphery calibration, row-wise tiles of a tensor added up; NaN if not measured."""
        return overall_error([(run.tile, run.outputs) for run in self.tiles if run.outputs is not None])


Observer = Callable[[Progress], None]


def target_age(backend: Backend, age: float | None) -> float:
    """Return the age in seconds at which targets hold: as given, else the chip's reference age."""
    if age is None:
        return backend.info.reference_age
    check_age(age)
    return age


def start(
    backend: Backend,
    matrices: Sequence[Matrix],
    method: Method,
    *,
    mapping: MappingSettings | None = None,
    age: float | None = None,
    calibration: Calibration | None = None,
    activations: Mapping[str, FloatArray] | None = None,
) -> Run:
    """Place matrices on the chip's cores, and refuse what the method cannot do there, without touching a device yet.

    With a calibration, its converter trims are written, columns go where bad devices hurt them least, and converter
    ranges follow from the converters' own noise; with sample activations by tensor besides, cells near one out of reach
    make up for it. Raises BadInputError for the calibration of another chip.
    """
    until = target_age(backend, age)
    tiles = map_weights(matrices, backend.info, mapping)
    if calibration is not None:
        use_calibration(calibration, backend)
        tiles = [_fitted(tile, calibration, backend.info, of_tile(activations, tile)) for tile in tiles]
    runs = [TileRun(tile, region := region_of(backend, tile, calibration), method.rounds(region)) for tile in tiles]
    for item in runs:
        item.activations = of_tile(activations, item.tile)
        method.check(item.region, item.tile, until)
    return Run(method, until, runs)


def _fitted(tile: Tile, calibration: Calibration, info: ChipInfo, activations: FloatArray | None) -> Tile:
    """The tile with its columns where bad devices hurt least, and the range that suits them."""
    known, core = calibration.of_cells(tile.place, info), calibration.cores.get(tile.place.core)
    if known.devices is not None:
        tile = avoid_bad_devices(tile, known.devices, info)
        if activations is not None:
            tile = compensate_with_neighbours(tile, known.devices, info, activations)
    if core is not None and core.converters is not None and tile.target.any():
        full_scale = choose_ranges(tile.target, info, adc_noise=core.adc_noise).full_scale
        tile = dataclasses.replace(tile, full_scale=full_scale)
    return tile


def advance(run: Run, seed: int) -> Iterator[Progress]:
    """Program all tiles of a run, step by step, in lockstep, so that cores rest at the same time.

    Stop at any yield and the chip is in a defined state. `run.tiles` has all that was reported so far.
    """
    backend = run.tiles[0].region.backend
    begin = backend.now()
    methods = [
        run.method.steps(item.region, item.tile, run.age, generator(seed, number, Purpose.PROGRAM))
        for number, item in enumerate(run.tiles)
    ]
    active = list(range(len(methods)))
    while active:
        rest = 0.0
        for number in list(active):
            item = run.tiles[number]
            step = next(methods[number], None)
            if step is None:
                active.remove(number)
                continue
            item.steps.append(step)
            item.costs.append(item.region.cost.copy())
            item.moments.append(backend.now() - begin)
            item.chip_seconds = backend.now() - begin
            rest = max(rest, step.settle)
            yield Progress(number, len(run.tiles), step, item.rounds, item.region.cost.copy())
        backend.wait(rest)


def measure(run: Run, seed: int) -> None:
    """Let the chip reach the target age, then calibrate the columns and measure the MVM error of every tile."""
    run.tiles[0].region.backend.wait(run.age)
    for number, item in enumerate(run.tiles):
        item.correction, item.outputs = evaluate_tile(item.region, item.tile, seed, number)
        if item.activations is not None and item.correction is not None:
            outputs = evaluate_with_inputs(item.region, item.tile, item.activations)
            item.error_by_activations = outputs.mvm_error if outputs else None
    for number, item in enumerate(run.tiles):
        item.reached = conductance_map(item.region, item.tile, item.correction, generator(seed, number, Purpose.MAP))


def program(
    backend: Backend,
    matrices: Sequence[Matrix],
    method: Method | str = "gdp",
    *,
    mapping: MappingSettings | None = None,
    age: float | None = None,
    seed: int = 0,
    observer: Observer | None = None,
    on_start: Callable[[Run], None] | None = None,
    calibration: Calibration | None = None,
    activations: Mapping[str, FloatArray] | None = None,
    on_programmed: Callable[[Run], None] | None = None,
) -> Run:
    """Program weight matrices and measure the result.

    backend        an open chip
    matrices       from `load_weights` or `matrices`
    method         a method, or the name of one with default settings
    age            seconds after programming at which the targets hold and the error is measured
    observer       called after every step of every tile
    on_start       called with the mapped run before anything is sent to the chip
    calibration    of this very chip: its converters are corrected for, its bad devices left alone
    activations    (vectors, inputs) samples by tensor: what is left of bad devices is corrected for them, and the error
                   is measured with them too
    on_programmed  called when the last pulse was sent, before the chip rests until the targets hold

    A KeyboardInterrupt (Ctrl-C, or one that the observer raises) stops programming: the run comes back with
    `interrupted` set and no error measured.
    """
    chosen = make_method(method) if isinstance(method, str) else method
    began = time.perf_counter()
    run = start(backend, matrices, chosen, mapping=mapping, age=age, calibration=calibration, activations=activations)
    if on_start is not None:
        on_start(run)
    try:
        for progress in advance(run, seed):
            if observer is not None:
                observer(progress)
        run.programmed_at = backend.now()
        if on_programmed is not None:
            on_programmed(run)
        measure(run, seed)
    except KeyboardInterrupt:
        run.interrupted = True
    for item in run.tiles:
        item.pulses = item.region.pulses_spent()
    run.wall_seconds = time.perf_counter() - began
    return run
