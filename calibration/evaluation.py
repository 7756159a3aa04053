"""Evaluate a programmed tile: the relative error of its matrix-vector product with inputs that nothing has seen.

A chip without MVMs is evaluated by its device reads: the same figure for the conductances that they show, which knows
nothing of converters, wires and other columns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwloop.calibration.column_fit import calibrate_columns, fit_columns
from hwloop.calibration.probes import HadamardProbe, hadamard_blocks, hadamard_inputs, uniform_inputs
from hwloop.calibration.randomness import Purpose, generator
from hwloop.calibration.settings import Settings
from hwloop.chip.checks import REQUESTS
from hwloop.chip.info import Capability
from hwloop.chip.region import Region
from hwloop.mapping.activations import Sample, sample_of
from hwloop.mapping.columns import ColumnCorrection
from hwloop.mapping.ranges import choose_ranges
from hwloop.mapping.tile import Tile
from hwloop.typing import AnyArray, FloatArray


@dataclass(frozen=True)
class Evaluation(Settings):
    """How much is measured to evaluate a tile."""

    vectors: int = 1024
    """Fresh uniform random inputs from which the MVM error is computed."""
    calibration_vectors: int = 512
    """Uniform random inputs to which column gains and offsets are fitted before."""
    map_vectors: int = 512
    """Hadamard vectors, at least, from which the conductance map that the chip shows is computed."""
    read_averages: int = 16
    """Reads of each device that are averaged to evaluate a chip without MVMs."""
    soon: float = 1.0
    """Seconds until another evaluation that the 95 % interval of the error shall hold; what changes later is drift."""

    def __post_init__(self) -> None:
        self._require("vectors", 1, 1e9)
        self._require("calibration_vectors", 3, 1e9)
        self._require("map_vectors", 1, 1e9)
        self._require("read_averages", 1, REQUESTS.averages)
        self._require("soon", 0, 1e9)


STANDARD = Evaluation()
"""The evaluation that all commands report."""


@dataclass(frozen=True)
class Outputs:
    """Outputs of a tile, measured or computed from device reads, beside the ideal ones for the same inputs.

    Both (vectors, columns), in weight units; in float32 where they were measured.
    """

    measured: FloatArray
    reference: FloatArray

    @property
    def mvm_error(self) -> float:
        """||Y - Y_ref||_F / ||Y_ref||_F; NaN for a tile whose weights are all zero."""
        return relative_error(self.measured, self.reference)


def relative_error(measured: FloatArray, reference: FloatArray) -> float:
    """Compute ||measured - reference||_F / ||reference||_F; NaN where the reference is zero."""
    norm = float(np.linalg.norm(reference))
    return float(np.linalg.norm(measured - reference)) / norm if norm else float("nan")


def evaluate_tile(
    region: Region, tile: Tile, seed: int, number: int, settings: Evaluation = STANDARD
) -> tuple[ColumnCorrection | None, Outputs]:
    """Calibrate the columns with fresh probes, and measure outputs for inputs that neither they nor programming saw.

    Parameters
    ----------
    region, tile
        The cells and what they stand for.
    seed, number
        Seed of the job and number of the tile in it: together they choose the inputs.
    settings
        How much is measured.

    Returns
    -------
    tuple
        The column correction, None on a chip without MVMs, and the outputs; without MVMs these are computed from
        fresh device reads.
    """
    info, rng = region.backend.info, generator(seed, number, Purpose.EVALUATE)
    correction = calibrated(region, tile, seed, number, settings)
    if correction is None:
        cells = read_cells(region, settings.read_averages)
        return None, computed_outputs(cells, tile.weights, tile.scale, rng, settings.vectors, info.input_max)
    return correction, measure_outputs(region, tile.weights, correction, rng, settings.vectors)


def calibrated(
    region: Region, tile: Tile, seed: int, number: int, settings: Evaluation = STANDARD
) -> ColumnCorrection | None:
    """Calibrate the columns as `evaluate_tile` does, and measure nothing; None on a chip without MVMs."""
    if Capability.MVM not in region.backend.info.capabilities:
        return None
    fitted = generator(seed, number, Purpose.CALIBRATE)
    return calibrate_columns(region, tile.weights, fitted, settings.calibration_vectors)


def evaluate_with_inputs(region: Region, tile: Tile, activations: FloatArray | Sample) -> Outputs | None:
    """Measure outputs for the second half of sample inputs, in the scales that suit the first half.

    Column gains and offsets are fitted to the first half.

    Parameters
    ----------
    region, tile
        The cells and what they stand for.
    activations
        (vectors, rows) sample inputs in the network's own units, which may be weighted.

    Returns
    -------
    Outputs or None
        Each vector times the root of its share of the weights, so that squared errors count by it. None where inputs or
        weights are all zero.
    """
    info = region.backend.info
    first, second = sample_of(activations).halves()
    if not first.vectors.any() or not tile.target.any():
        return None
    scales = choose_ranges(tile.target, info, first)
    adjustable = Capability.ADC_RANGE in info.capabilities
    scaled = Region(region.backend, tile.place, scales.full_scale if adjustable else None, region.calibration)

    def send(values: FloatArray) -> AnyArray:
        whole = np.rint(values / scales.input_scale * info.input_max)
        return scaled.mvm(np.clip(whole, -info.input_max, info.input_max).astype(np.int32))

    columns = fit_columns(send(first.vectors), first.vectors @ tile.weights, scaled.span, shares=first.shares)
    root = np.sqrt(second.shares)[:, None]
    return Outputs(root * columns.apply(send(second.vectors)), root * (second.vectors @ tile.weights))


def overall_error(parts: Sequence[tuple[Tile, Outputs]]) -> float:
    """Combine the outputs of several tiles into one MVM error.

    The outputs of tiles that share columns of a tensor add up digitally. Each tensor's error is relative to its own
    outputs; tensors count by their number of outputs, so that no tensor drowns in another's scale. NaN without tiles.
    """
    total, weight = 0.0, 0
    for whole in tensor_outputs(parts).values():
        count = whole.reference.shape[1]
        total, weight = total + count * whole.mvm_error**2, weight + count
    return float(np.sqrt(total / weight)) if weight else float("nan")


def tensor_outputs(parts: Sequence[tuple[Tile, Outputs]]) -> dict[str, Outputs]:
    """Put the outputs of tiles together to those of their tensors, by name; tiles that share columns add up."""
    tensors: dict[str, dict[int, Outputs]] = {}
    for tile, outputs in parts:
        outputs = Outputs(tile.in_output_order(outputs.measured), tile.in_output_order(outputs.reference))
        columns = tensors.setdefault(tile.tensor, {})
        if tile.first_output in columns:
            sofar = columns[tile.first_output]
            outputs = Outputs(sofar.measured + outputs.measured, sofar.reference + outputs.reference)
        columns[tile.first_output] = outputs
    return {
        name: Outputs(
            np.concatenate([part.measured for part in columns.values()], axis=1),
            np.concatenate([part.reference for part in columns.values()], axis=1),
        )
        for name, columns in tensors.items()
    }


def conductance_map(
    region: Region,
    tile: Tile,
    correction: ColumnCorrection | None,
    rng: np.random.Generator,
    settings: Evaluation = STANDARD,
) -> FloatArray | None:
    """Measure signed cell conductances (rows, columns) in uS by a Hadamard probe, seen through the column correction.

    They come from device reads on a chip without MVMs; None on one with MVMs whose columns were not calibrated.
    """
    info, rows = region.backend.info, tile.place.rows
    if Capability.MVM not in info.capabilities:
        return read_cells(region, settings.read_averages)
    if correction is None:
        return None
    # Inputs with the power of the uniform ones to which the correction was fitted.
    amplitude = round(info.input_max / math.sqrt(3.0))
    inputs = hadamard_inputs(rng, hadamard_blocks(rows, settings.map_vectors), rows, amplitude)
    # The correction has removed the offsets. Taking the mean off would bring cross-talk: the inputs' own is not zero.
    return HadamardProbe(inputs, info.input_max).cells(correction.apply(region.mvm(inputs))) / tile.scale


def measure_outputs(
    region: Region, weights: FloatArray, correction: ColumnCorrection, rng: np.random.Generator, vectors: int
) -> Outputs:
    """Measure `vectors` fresh uniform random inputs, corrected per column, beside X @ weights, both in float32."""
    top = region.backend.info.input_max
    x = uniform_inputs(rng, vectors, region.place.rows, top)
    measured, reference = correction.apply(region.mvm(x)), (x / top) @ weights
    # Half as long: those of all tiles of a network are in memory together.
    return Outputs(measured.astype(np.float32), reference.astype(np.float32))


def read_cells(region: Region, averages: int) -> FloatArray:
    """Read the signed conductances (rows, columns) in uS of a region's cells device by device."""
    devices = region.read(np.arange(region.size), averages).reshape(region.shape)
    positive, negative = devices.sum(1)
    cells: FloatArray = positive - negative
    return cells


def computed_outputs(
    cells: FloatArray, weights: FloatArray, scale: FloatArray, rng: np.random.Generator, vectors: int, input_max: int
) -> Outputs:
    """Compute the outputs that cells would give for fresh uniform random inputs, beside X @ weights.

    Parameters
    ----------
    cells
        (rows, columns) signed conductances, uS.
    weights
        (rows, columns) what the cells stand for.
    scale
        (columns,) weight per uS.
    rng, vectors
        Source and number of the inputs.
    input_max
        Largest input of the chip, an integer.
    """
    x = uniform_inputs(rng, vectors, cells.shape[0], input_max) / input_max
    return Outputs(measured=x @ (cells * scale), reference=x @ weights)
