"""Gradient-descent programming (GDP): weights placed by the error of the matrix-vector product, with no device read.

After Buechel et al., IEDM 2022 (arXiv 2305.16647) and IEEE JETCAS 13 (2023): inputs X through the core give Y, and
the gradient X^T (Y - X W) / N says which cells are too high or too low. This is the form of it that wastes least:

The work is in `hwloop.calibration.programming.conductance_filter`:

* X is a Hadamard design, so the gradient measures every cell with no cross-talk from the others.
* The gradient is not used raw: a scalar Kalman filter per cell keeps the estimated conductances and their variance.
* Each device's place on the programming curve is learnt from how it answered to its pulses.
* A pulse redraws a device with the pulse noise, so a cell is pulsed only when that lowers its expected squared error;
  the candidate devices of a cell include the spare ones, whose noise at low conductance is smallest (trimmers).
* The reference of a column is its own best-fitting multiple of the target, because column gains are digital anyway.

The published form, plain SGD with random inputs, is `hwloop.calibration.programming.sgd`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hwloop.calibration.probes import hadamard_block
from hwloop.calibration.programming.base import Method, Step, known_devices
from hwloop.calibration.programming.conductance_filter import ConductanceFilter
from hwloop.calibration.settings import Settings
from hwloop.chip.info import Capability
from hwloop.chip.region import Region
from hwloop.mapping.tile import Tile

MIN_VECTORS = 64
"""Vectors of one measurement at least; short columns repeat their Hadamard design."""


@dataclass(frozen=True)
class GDPSettings(Settings):
    """Settings of GDP; the defaults are meant for every matrix."""

    max_vectors: int = 20_000
    """Budget of input vectors."""
    max_steps: int = 45
    """Rounds of measurement and correction after the open-loop pass."""
    max_pulses_per_device: int = 8
    """Pulses one device may receive, the first included; a device that needs more is left alone."""
    settle: float = 0.02
    """Rest before each measurement, in units of the target age."""
    min_gain: float = 1.5
    """A pulse must lower a cell's expected squared error by (this many per cent of g_max) squared."""

    def __post_init__(self) -> None:
        self._require("max_vectors", 64, 1e9)
        self._require("max_steps", 1, 10_000)
        self._require("max_pulses_per_device", 1, 1_000_000)
        self._require("settle", 0, 100)
        self._require("min_gain", 0, 100)


class GDP(Method):
    """Gradient-descent programming; see the module's text."""

    name = "gdp"
    settings: GDPSettings

    def __init__(self, settings: GDPSettings | None = None) -> None:
        """Defaults suit every matrix."""
        self.settings = settings or GDPSettings()

    def rounds(self, region: Region) -> int:
        """Steps that the budget of vectors allows."""
        per_step = self._blocks(region) * hadamard_block(region.place.rows)
        return min(self.settings.max_steps, self.settings.max_vectors // per_step)

    def _blocks(self, region: Region) -> int:
        return -(-MIN_VECTORS // hadamard_block(region.place.rows))

    def check(self, region: Region, tile: Tile, age: float) -> None:
        """Refuse a chip without MVMs, or of whose devices nothing is known."""
        region.backend.require(Capability.MVM, "gradient-descent programming")
        known_devices(region)

    def steps(self, region: Region, tile: Tile, age: float, rng: np.random.Generator) -> Iterator[Step]:
        """Open-loop pass, then as many rounds of measurement and correction as the budgets allow."""
        s = self.settings
        info = region.backend.info
        gain = s.min_gain / 100 * info.g_max
        belief = ConductanceFilter(region, tile, known_devices(region), age, s.max_pulses_per_device, gain)
        rounds = self.rounds(region)
        pulses = belief.program_open_loop()
        for index in range(rounds):
            yield Step(index, belief.mvm_error, pulses, s.settle * age, belief.unconverged, belief.stuck)
            belief.measure(rng, self._blocks(region))
            pulses = belief.correct(remaining=(rounds - 1 - index) * s.settle * age)
        yield Step(rounds, belief.mvm_error, pulses, 0.0, belief.unconverged, belief.stuck)
