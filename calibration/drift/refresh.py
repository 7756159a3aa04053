"""Refresh: re-program the cells that drift and noise have spoilt most, and only those, from MVMs alone.

A chip that has aged holds its weights at some fraction of their scale, with a spread that no gain takes away. Which
cells to pulse is decided as GDP decides it, by the expected gain in squared error against the noise of a pulse, with
what programming left on file as a start:

* the amplitude of each device's last pulse and the conductance that it led to say where the device's own programming
  curve lies: sending the same amplitude again brings the device back to where it was, to within the pulse noise;
* its age says how far it is expected to have drifted, and how much louder its read noise has become, which a pulse
  sets back too;
* Hadamard measurements of the chip as it is say what each cell really holds.

The scale at which the weights are held afterwards is free, because column gains are digital. Kept low, few cells need
a pulse; raised, all weights stand further above the noise. The one with the smallest expected error is taken.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from hwloop.calibration.drift.aged_filter import AgedConductanceFilter, PulseLimits
from hwloop.calibration.drift.compensation import Compensation
from hwloop.calibration.drift.digital import ColumnAffine
from hwloop.calibration.drift.programmed_tile import ProgrammedTile
from hwloop.calibration.drift.strategy import Strategy, uncompensated, validity
from hwloop.calibration.probes import hadamard_blocks
from hwloop.calibration.programming.base import known_devices
from hwloop.calibration.steps import Step, Work
from hwloop.chip.info import Capability
from hwloop.chip.region import Region
from hwloop.errors import BadInputError


@dataclass(frozen=True)
class Refresh(Strategy):
    """Re-program the cells that need it, rest until the targets hold, and calibrate the columns anew.

    The tile is measured at its target age after the last pulse, as after programming. Where pulses would lower the
    expected error by too little, nothing is pulsed, and the columns alone are calibrated.
    """

    name = "refresh"
    changes_chip: ClassVar[bool] = True

    min_gain: float = 2.0
    """A pulse must lower a cell's expected squared error by (this many per cent of g_max) squared."""
    worthwhile: float = 0.05
    """Pulses must lower the expected error of the tile by this fraction: they wear, and restart the drift of what they
    touch."""
    pulses_per_device: float = 0.675
    """Pulses that may be spent, over the number of devices."""
    max_pulses: int = 8
    """Pulses one device may receive."""
    max_steps: int = 8
    """Rounds of correction."""
    measurements: int = 6
    """Hadamard measurements after each round, spread over its rest."""
    vectors: int = 256
    """Vectors of one measurement at least; short columns repeat their Hadamard design."""
    settle: float = 0.5
    """Rest after each round, in units of the target age."""
    lowest_scale: float = 0.5
    """Smallest scale of the weights that is tried, over the one at which programming left them."""
    highest_scale: float = 1.15
    """Largest scale that is tried."""
    scales: int = 14
    """Scales that are tried."""
    probes: int = 256
    """Probe vectors from which the columns are calibrated."""
    growth: float = 0.10
    """It is valid until drift is expected to make its error larger by this fraction."""

    def __post_init__(self) -> None:
        self._require("min_gain", 0, 100)
        self._require("worthwhile", 0, 100)
        self._require("pulses_per_device", 0, 1000)
        self._require("max_pulses", 1, 1_000_000)
        self._require("max_steps", 1, 10_000)
        self._require("measurements", 1, 1000)
        self._require("vectors", 1, 1_000_000)
        self._require("settle", 0, 100)
        self._require("lowest_scale", 0.01, 100)
        self._require("highest_scale", self.lowest_scale, 100)
        self._require("scales", 1, 10_000)
        self._require("probes", 3, 1_000_000)
        self._require("growth", 1e-6, 1e6)

    def check(self, tile: ProgrammedTile) -> None:
        """Refuse a chip without MVMs, of whose devices nothing is known, or a run without a record of its pulses."""
        tile.region.backend.require(Capability.MVM, "the compensation 'refresh'")
        known_devices(tile.region)
        if tile.pulses is None or tile.pulses.reached is None:
            raise BadInputError(
                "the compensation 'refresh' starts from the pulses of programming, and there is no record of them (the "
                "run file is of an earlier version, its method sends none, or the cells were refreshed since): program "
                "again"
            )

    def steps(self, tile: ProgrammedTile, so_far: Compensation) -> Work[Step, Compensation]:
        """Pulse, rest, and fit the columns; a refresh of pulsed cells forgets the record of their earlier pulses."""
        self.check(tile)
        region = tile.region
        pulses, vectors = _pulses(region), region.cost.mvms
        cells = AgedConductanceFilter(tile, known_devices(region), self._limits(region), self.max_steps)
        rng = np.random.default_rng([*tile.seed, 1])
        cells.measure(rng, self._blocks(region))
        columns = ColumnAffine(probes=self.probes)
        columns_alone = columns.make(tile, uncompensated(tile))
        rest = self.settle * tile.origin.target_age
        scale = self._worthwhile_scale(cells, rest, tile.probe_error(columns_alone, self.probes))
        if scale is not None:
            yield from self._correct(cells, region, scale, rest, rng)
        spent = _pulses(region) - pulses
        if spent:
            tile.pulsed_at = tile.age
            yield self._step(self.max_steps, "resting until the targets hold", tile.origin.target_age)
        yield replace(self._step(self.max_steps, "calibrating the columns"), wait_for_others=True)
        made = columns.make(tile, uncompensated(tile))
        tile.forecast, tile.base = cells.forecast(tile, made), made.gain
        if spent:
            tile.pulses = None  # the record is of the pulses before
        until, because = validity(tile, made.gain, self.growth)
        return replace(
            made,
            name=self.name,
            valid_until=until,
            because=because,
            pulses=so_far.pulses + spent,
            mvms=so_far.mvms + region.cost.mvms - vectors,
        )

    def _worthwhile_scale(self, cells: AgedConductanceFilter, rest: float, measured: float) -> float | None:
        """Choose the scale with the smallest expected error after one round of pulses.

        None where the cells as they are would do nearly as well at a scale of their own, by what is known of them or by
        the MVM error that was measured with the columns calibrated.
        """
        scales = np.linspace(self.lowest_scale, self.highest_scale, self.scales)
        plans = cells.plans(scales, (self.max_steps - 1) * rest)
        best = min(plans, key=lambda plan: plan.expected_error)
        as_it_is = min(measured, *(plan.expected_without for plan in plans))
        return best.scale if as_it_is > (1.0 + self.worthwhile) * best.expected_error else None

    def _correct(
        self, cells: AgedConductanceFilter, region: Region, scale: float, rest: float, rng: np.random.Generator
    ) -> Generator[Step, None, None]:
        """Pulse in rounds, with rests of `rest` seconds and measurements while the chip rests."""
        for index in range(self.max_steps):
            left = self.max_steps - 1 - index
            if not cells.refresh(scale, left * rest):
                break
            for _ in range(self.measurements if left else 0):
                yield self._step(index, "pulsing cells", rest / self.measurements)
                cells.measure(rng, self._blocks(region))

    def _step(self, done: int, stage: str, rest: float = 0.0) -> Step:
        return Step(done, self.max_steps + 1, stage, rest)

    def _limits(self, region: Region) -> PulseLimits:
        return PulseLimits(int(self.pulses_per_device * region.size), self.max_pulses, self.min_gain)

    def _blocks(self, region: Region) -> int:
        """Count the Hadamard designs of one measurement."""
        return hadamard_blocks(region.place.rows, self.vectors)


def _pulses(region: Region) -> int:
    return int(region.pulses_spent().sum())
