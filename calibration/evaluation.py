"""The figure of merit: the relative error of the matrix-vector product.

A chip without MVMs is judged by its device reads: the same figure for the conductances that they show, which knows
nothing of converters, wires and other columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwloop.calibration.column_fit import calibrate_columns, fit_columns
from hwloop.calibration.probes import hadamard_block, hadamard_inputs, uniform_inputs
from hwloop.calibration.randomness import Purpose, generator
from hwloop.chip.info import Capability
from hwloop.chip.region import Region
from hwloop.mapping.columns import ColumnCorrection
from hwloop.mapping.ranges import choose_ranges
from hwloop.mapping.tile import Tile
from hwloop.typing import FloatArray


def evaluate_with_inputs(region: Region, tile: Tile, activations: FloatArray) -> Outputs | None:
    """Outputs for the second half of sample inputs (vectors, rows), in the scales that suit the first half.

    Column gains and offsets are fitted to the first half. None for inputs that are all zero.
    """
    info = region.backend.info
    fitted, fresh = np.array_split(activations, 2)
    if not fitted.any() or not tile.target.any():
        return None
    scales = choose_ranges(tile.target, info, fitted)
    adjustable = Capability.ADC_RANGE in info.capabilities
    scaled = Region(region.backend, tile.place, scales.full_scale if adjustable else None, region.calibration)

    def send(values: FloatArray) -> NDArray[np.generic]:
        whole = np.rint(values / scales.input_scale * info.input_max)
        return scaled.mvm(np.clip(whole, -info.input_max, info.input_max).astype(np.int32))

    columns = fit_columns(send(fitted), fitted @ tile.weights, scaled.span)
    return Outputs(columns.apply(send(fresh)), fresh @ tile.weights)


CALIBRATION_VECTORS = 512
EVALUATION_VECTORS = 1024
READ_AVERAGES = 16
"""Reads of each device that judge a chip without MVMs."""
MAP_VECTORS = 512
"""Hadamard vectors, at least, from which the conductance map that the chip shows is computed."""


def overall_error(parts: Sequence[tuple[Tile, Outputs]]) -> float:
    """MVM error over several tiles.

    The outputs of tiles that share columns of a tensor add up digitally. Each tensor's error is relative to its own
    outputs; tensors count by their number of outputs, so that no tensor drowns in another's scale.
    """
    tensors: dict[str, dict[int, Outputs]] = {}
    for tile, outputs in parts:
        outputs = Outputs(tile.in_output_order(outputs.measured), tile.in_output_order(outputs.reference))
        columns = tensors.setdefault(tile.tensor, {})
        if tile.first_output in columns:
            sofar = columns[tile.first_output]
            outputs = Outputs(sofar.measured + outputs.measured, sofar.reference + outputs.reference)
        columns[tile.first_output] = outputs
    total, weight = 0.0, 0
    for columns in tensors.values():
        whole = Outputs(
            np.concatenate([part.measured for part in columns.values()], axis=1),
            np.concatenate([part.reference for part in columns.values()], axis=1),
        )
        count = whole.reference.shape[1]
        total, weight = total + count * whole.mvm_error**2, weight + count
    return float(np.sqrt(total / weight)) if weight else float("nan")


def evaluate_tile(region: Region, tile: Tile, seed: int, number: int) -> tuple[ColumnCorrection | None, Outputs]:
    """Column correction from fresh probes, and outputs for fresh inputs that neither it nor programming has seen.

    A chip without MVMs has no columns to correct: its outputs are computed from fresh device reads.
    """
    info = region.backend.info
    if Capability.MVM not in info.capabilities:
        cells, rng = read_cells(region, READ_AVERAGES), generator(seed, number, Purpose.EVALUATE)
        return None, computed_outputs(cells, tile.weights, tile.scale, rng, EVALUATION_VECTORS, info.input_max)
    correction = calibrate_columns(
        region, tile.weights, generator(seed, number, Purpose.CALIBRATE), CALIBRATION_VECTORS
    )
    return correction, measure_outputs(
        region, tile.weights, correction, generator(seed, number, Purpose.EVALUATE), EVALUATION_VECTORS
    )


def conductance_map(
    region: Region, tile: Tile, correction: ColumnCorrection | None, rng: np.random.Generator
) -> FloatArray | None:
    """Signed cell conductances (rows, columns) in uS by a Hadamard measurement, seen through the column correction.

    From device reads on a chip without MVMs.
    """
    info = region.backend.info
    if Capability.MVM not in info.capabilities:
        return read_cells(region, READ_AVERAGES)
    if correction is None:
        return None
    blocks = -(-MAP_VECTORS // hadamard_block(tile.place.rows))
    x = hadamard_inputs(rng, blocks, tile.place.rows, round(info.input_max / np.sqrt(3.0)))
    drive = x / info.input_max
    # The correction has removed the offsets. Taking the mean off would bring cross-talk: the inputs' own is not zero.
    outputs = correction.apply(region.mvm(x))
    cells: FloatArray = drive.T @ outputs / float((drive[:, 0] ** 2).sum()) / tile.scale
    return cells


def finite(value: float | None) -> float | None:
    """The value, or None for one that JSON has no number for."""
    return float(value) if value is not None and np.isfinite(value) else None


@dataclass(frozen=True)
class Outputs:
    """Outputs of a tile, measured or computed from device reads, and ideal ones for the same inputs.

    (vectors, columns) each, in weight units.
    """

    measured: FloatArray
    reference: FloatArray

    @property
    def mvm_error(self) -> float:
        """||Y - Y_ref||_F / ||Y_ref||_F; NaN for a tile whose weights are all zero."""
        return relative_error(self.measured, self.reference)


def relative_error(measured: FloatArray, reference: FloatArray) -> float:
    """||Y - Y_ref||_F / ||Y_ref||_F; NaN where the reference is zero."""
    norm = float(np.linalg.norm(reference))
    return float(np.linalg.norm(measured - reference)) / norm if norm else float("nan")


def measure_outputs(
    region: Region, weights: FloatArray, correction: ColumnCorrection, rng: np.random.Generator, vectors: int
) -> Outputs:
    """Outputs of `vectors` fresh uniform random inputs, corrected per column, beside X @ weights in float64."""
    top = region.backend.info.input_max
    x = uniform_inputs(rng, vectors, region.place.rows, top)
    return Outputs(correction.apply(region.mvm(x)), (x / top) @ weights)


def read_cells(region: Region, averages: int) -> FloatArray:
    """Signed conductances (rows, columns) in uS of the region's cells as single-device reads show them."""
    devices = region.read(np.arange(region.size), averages).reshape(region.shape)
    positive, negative = devices.sum(1)
    cells: FloatArray = positive - negative
    return cells


def computed_outputs(
    cells: FloatArray, weights: FloatArray, scale: FloatArray, rng: np.random.Generator, vectors: int, input_max: int
) -> Outputs:
    """Outputs that `cells` (rows, columns), in uS, would give for fresh uniform random inputs, beside X @ weights.

    scale: (columns,) weight per uS.
    """
    x = uniform_inputs(rng, vectors, cells.shape[0], input_max) / input_max
    return Outputs(x @ (cells * scale), x @ weights)
