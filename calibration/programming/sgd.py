"""Gradient-descent programming as published: plain stochastic gradient descent with random inputs.

Buechel et al., IEDM 2022 (arXiv 2305.16647): a batch of random inputs X gives Y, and the gradient X^T (Y - X W) / N
says which cells are too high or too low. The devices of the cells whose gradient is large get a RESET pulse, with an
amplitude stepped along the programming curve in proportion; the threshold falls from step to step. No device is read.

It is here to be compared with `hwloop.calibration.programming.gdp`, which measures with orthogonal inputs and keeps
what it learnt in a filter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from hwloop.calibration.column_fit import calibrate_columns
from hwloop.calibration.evaluation import relative_error
from hwloop.calibration.probes import uniform_inputs
from hwloop.calibration.programming.base import (
    Method,
    Outlook,
    ProgrammingStep,
    check_chip_seconds,
    known_devices,
    open_loop_amplitudes,
)
from hwloop.calibration.steps import Work
from hwloop.chip.info import Capability, ChipInfo
from hwloop.chip.pulses import PulseKind
from hwloop.chip.region import Region
from hwloop.errors import BadInputError
from hwloop.mapping.tile import Tile


@dataclass(frozen=True)
class SGD(Method):
    """Plain stochastic gradient descent; the defaults were tuned on 256 x 256 Gaussian matrices."""

    name: ClassVar[str] = "sgd"

    max_vectors: int = 20_000
    """Budget of input vectors, column calibrations included."""
    batch: int = 1024
    """Random input vectors per step."""
    learning_rate: float = 0.2
    """Fraction of the gradient, taken as a conductance error, that one step corrects."""
    threshold: float = 8.0
    """First threshold on the gradient, per cent of g_max; smaller gradients are left alone."""
    final_threshold: float = 4.0
    """Last threshold, per cent of g_max; those between fall geometrically."""
    calibrate_every: int = 4
    """Steps between column calibrations."""
    settle: float = 0.1
    """Rest before each measurement, in units of the target age."""

    def __post_init__(self) -> None:
        self._require("max_vectors", 64, 1e9)
        self._require("batch", 16, 1e6)
        self._require("learning_rate", 1e-6, 2)
        self._require("threshold", 0, 100)
        self._require("final_threshold", 0, 100)
        self._require("calibrate_every", 1, 10_000)
        self._require("settle", 0, 100)

    def check(self, region: Region, tile: Tile, age: float) -> None:
        """Refuse a chip without MVMs, or of whose devices nothing is known, and a budget that allows no step."""
        region.backend.require(Capability.MVM, "gradient-descent programming")
        known_devices(region)
        if self.max_vectors < 2 * self.batch:
            raise BadInputError(
                f"setting max_vectors={self.max_vectors} allows no step, which takes {2 * self.batch} vectors: batch="
                f"{self.batch} for the columns and as many for the gradient"
            )

    def steps(self, region: Region, tile: Tile, age: float, rng: np.random.Generator) -> Work[ProgrammingStep, None]:
        """Send the open-loop pass, then one gradient step after the other until the budget is spent."""
        info, rounds = region.backend.info, self._rounds()
        devices = known_devices(region)
        curve, usable = devices.model.curve, devices.usable.reshape(-1, *tile.target.shape)
        target = tile.device_targets(info, devices)
        amplitude = open_loop_amplitudes(devices, target).reshape(usable.shape)
        target = target.reshape(usable.shape)
        region.pulse(PulseKind.RESET, np.flatnonzero(usable), amplitude[usable], curve.width)
        pulses, error = int(usable.sum()), float("nan")
        nothing = np.zeros(tile.target.shape, bool)
        carrier = np.argmax(target, axis=0)  # the device that carries most of the cell's weight is the one to step
        sign = np.where(carrier < info.devices_per_polarity, 1.0, -1.0)
        cells = (carrier, *np.indices(carrier.shape))
        thresholds = info.g_max / 100 * np.geomspace(max(self.threshold, 1e-6), max(self.final_threshold, 1e-6), rounds)
        for index in range(rounds):
            rest = self.settle * age
            yield ProgrammingStep(
                index, rounds, rest=rest, mvm_error=error, pulses=pulses, unconverged=nothing, stuck=nothing
            )
            if index % self.calibrate_every == 0:
                columns = calibrate_columns(region, tile.weights, rng, self.batch)
            x = uniform_inputs(rng, self.batch, tile.place.rows, info.input_max)
            drive = x / info.input_max
            outputs, reference = columns.apply(region.mvm(x)), drive @ tile.weights
            error = relative_error(outputs, reference)
            # Uniform inputs have the mean square 1/3.
            gradient = drive.T @ (outputs - reference) / (self.batch / 3.0 * tile.scale)
            large = (np.abs(gradient) > thresholds[index]) & usable[cells]
            at = tuple(axis[large] for axis in cells)
            # The error is taken off the target of the device, and the amplitude moves along the nominal curve.
            aim = np.clip(target[at] - self.learning_rate * (sign * gradient)[large], curve.g_min, info.g_max)
            amplitude[at] += curve.amplitude(aim) - curve.amplitude(target[at])
            amplitude[at] = np.clip(amplitude[at], curve.melt, info.limits.amplitude_max)
            region.pulse(PulseKind.RESET, np.ravel_multi_index(at, target.shape), amplitude[at], curve.width)
            pulses = int(large.sum())
        yield ProgrammingStep(rounds, rounds, mvm_error=error, pulses=pulses, unconverged=nothing, stuck=nothing)

    def outlook(self, rows: int, age: float, info: ChipInfo) -> Outlook:
        """Tell what a tile takes at most."""
        rounds = self._rounds()
        return Outlook(rounds * self.settle * age, rounds + 1, 0, self.max_vectors)

    def within(self, chip_seconds: float, age: float, info: ChipInfo) -> Self:
        """Return the method with rests as short as the budget of chip seconds asks for."""
        check_chip_seconds(chip_seconds, self.settle * age)
        return replace(self, settle=min(self.settle, chip_seconds / (age * self._rounds())))

    def _rounds(self) -> int:
        """Count the steps that the budget of vectors allows."""
        batches = self.max_vectors // self.batch
        return max(1, batches - math.ceil(batches / (self.calibrate_every + 1)))
