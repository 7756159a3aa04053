"""The figure of merit: the relative error of the matrix-vector product.

A chip without MVMs is judged by its device reads: the same figure for the conductances that they show, which knows
nothing of converters, wires and other columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwloop.calibration.periphery import ColumnCorrection
from hwloop.calibration.probes import uniform_inputs
from hwloop.contract import FloatArray
from hwloop.region import Region


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
