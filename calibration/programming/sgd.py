"""Gradient-descent programming as published: plain stochastic gradient descent with random inputs.

Buechel et al., IEDM 2022 (arXiv 2305.16647): a batch of random inputs X gives Y, and the gradient X^T (Y - X W) / N
says which cells are too high or too low. The devices of the cells whose gradient is large get a RESET pulse, with an
amplitude stepped along the programming curve in proportion; the threshold falls from step to step. No device is read.

It is here to be compared with `hwloop.calibration.programming.gdp`, which measures with orthogonal inputs and
remembers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hwloop.calibration.column_fit import calibrate_columns
from hwloop.calibration.evaluation import relative_error
from hwloop.calibration.probes import uniform_inputs
from hwloop.calibration.programming.base import Method, Step, known_devices, open_loop_amplitudes
from hwloop.calibration.settings import Settings
from hwloop.chip.info import Capability
from hwloop.chip.pulses import PulseKind
from hwloop.chip.region import Region
from hwloop.mapping.tile import Tile


@dataclass(frozen=True)
class SGDSettings(Settings):
    """Settings of plain SGD programming, tuned on 256 x 256 Gaussian matrices."""

    max_vectors: int = 20_000
    """Budget of input vectors, column calibrations included."""
    batch: int = 1024
    """Random input vectors per step."""
    learning_rate: float = 0.2
    """Fraction of the gradient, taken as a conductance error, that one step corrects."""
    threshold: float = 8.0
    """First threshold on the gradient, per cent of g_max; smaller gradients are left alone."""
    final_threshold: float = 4.0
    """Last threshold; those between fall geometrically."""
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


class SGD(Method):
    """Plain SGD programming; see the module's text."""

    name = "sgd"
    settings: SGDSettings

    def __init__(self, settings: SGDSettings | None = None) -> None:
        """Defaults suit a 256 x 256 core."""
        self.settings = settings or SGDSettings()

    def rounds(self, region: Region) -> int:
        """Steps that the budget of vectors allows."""
        batches = self.settings.max_vectors // self.settings.batch
        return max(1, batches - math.ceil(batches / (self.settings.calibrate_every + 1)))

    def check(self, region: Region, tile: Tile, age: float) -> None:
        """Refuse a chip without MVMs, or of whose devices nothing is known."""
        region.backend.require(Capability.MVM, "gradient-descent programming")
        known_devices(region)

    def steps(self, region: Region, tile: Tile, age: float, rng: np.random.Generator) -> Iterator[Step]:
        """Open-loop pass, then one gradient step after the other until the budget is spent."""
        s, info, rounds = self.settings, region.backend.info, self.rounds(region)
        devices = known_devices(region)
        curve, usable = devices.model.curve, devices.usable.reshape(-1, *tile.target.shape)
        target = tile.device_targets(info, devices)
        amplitude = open_loop_amplitudes(devices, target).reshape(usable.shape)
        target = target.reshape(usable.shape)
        believed = target.copy()
        region.pulse(PulseKind.RESET, np.flatnonzero(usable), amplitude[usable], curve.width)
        pulses, error = int(usable.sum()), float("nan")
        nothing = np.zeros(tile.target.shape, bool)
        carrier = np.argmax(target, axis=0)  # the device that carries most of the cell's weight is the one to step
        sign = np.where(carrier < info.devices_per_polarity, 1.0, -1.0)
        cells = (carrier, *np.indices(carrier.shape))
        thresholds = info.g_max / 100 * np.geomspace(max(s.threshold, 1e-6), max(s.final_threshold, 1e-6), rounds)
        for index in range(rounds):
            yield Step(index, error, pulses, s.settle * age, nothing, nothing)
            if index % s.calibrate_every == 0:
                columns = calibrate_columns(region, tile.weights, rng, s.batch)
            x = uniform_inputs(rng, s.batch, tile.place.rows, info.input_max)
            drive = x / info.input_max
            outputs, reference = columns.apply(region.mvm(x)), drive @ tile.weights
            error = relative_error(outputs, reference)
            gradient = drive.T @ (outputs - reference) / (s.batch / 3.0 * tile.scale)
            large = (np.abs(gradient) > thresholds[index]) & usable[cells]
            at = tuple(axis[large] for axis in cells)
            aim = np.clip(believed[at] - s.learning_rate * (sign * gradient)[large], curve.g_min, info.g_max)
            # Along the curve: the amplitude moves by what the nominal curve says for this change of conductance.
            amplitude[at] += curve.amplitude(aim) - curve.amplitude(believed[at])
            amplitude[at] = np.clip(amplitude[at], curve.melt, info.limits.amplitude_max)
            region.pulse(PulseKind.RESET, np.ravel_multi_index(at, target.shape), amplitude[at], curve.width)
            pulses = int(large.sum())
        yield Step(rounds, error, pulses, 0.0, nothing, nothing)
