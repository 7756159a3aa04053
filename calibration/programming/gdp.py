"""Gradient-descent programming (GDP): weights placed by the error of the matrix-vector product, with no device read.

After Buechel et al., IEDM 2022 (arXiv 2305.16647) and IEEE JETCAS 13 (2023): inputs X through the core give Y, and
the gradient X^T (Y - X W) / N says which cells are too high or too low. This is the form of it that wastes least; the
work is done in `hwloop.calibration.programming.conductance_filter`:

* X is a Hadamard design, so the gradient measures every cell with no cross-talk from the others.
* The gradient is not used raw: a scalar Kalman filter per cell keeps the estimated conductances and their variance.
* Each device's place on the programming curve is learnt from how it answered to its pulses.
* A pulse redraws a device with the pulse noise, so a cell is pulsed only when that lowers its expected squared error;
  the candidate devices of a cell include the spare ones, whose noise at low conductance is smallest (trimmers).
* The reference of a column is its own best-fitting multiple of the target, because column gains are digital anyway.

The published form, plain SGD with random inputs, is `hwloop.calibration.programming.sgd`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from hwloop.calibration.probes import hadamard_block, hadamard_blocks
from hwloop.calibration.programming.base import Method, Outlook, ProgrammingStep, check_chip_seconds, known_devices
from hwloop.calibration.programming.conductance_filter import ConductanceFilter
from hwloop.calibration.programming.currents import Currents, pilot_rows
from hwloop.calibration.programming.filter_settings import FilterSettings
from hwloop.calibration.steps import Work
from hwloop.chip.info import Capability, ChipInfo
from hwloop.chip.region import Region
from hwloop.errors import BadInputError
from hwloop.mapping.tile import Tile


@dataclass(frozen=True)
class GDP(Method):
    """Gradient-descent programming with a conductance filter; the defaults are meant for every matrix."""

    name: ClassVar[str] = "gdp"

    max_vectors: int = 20_000
    """Budget of input vectors."""
    max_steps: int = 45
    """Rounds of measurement and correction after the open-loop pass."""
    max_pulses_per_device: int = FilterSettings.max_pulses_per_device
    """Pulses one device may receive, the first included; a device that needs more is left alone."""
    settle: float = 0.02
    """Rest before each measurement, in units of the target age."""
    chip_seconds: float = 0.0
    """Chip time to spend on all rests together; 0 rests as `settle` says. More of it averages more read noise."""
    min_gain: float = FilterSettings.min_gain
    """A pulse must lower a cell's expected squared error by (this many per cent of g_max) squared in the last round,
    by more before, and by less where targets are small: see `PulsePrice`."""
    patience: float = FilterSettings.patience
    """By how much more in the first round, as a multiple of `min_gain`."""
    min_vectors: int = 64
    """Vectors of one measurement at least; short columns repeat their Hadamard design."""
    drive: float = FilterSettings.drive
    """Amplitude of the Hadamard inputs over the largest input."""
    mean_gain: float = FilterSettings.mean_gain
    """Mean of the column gains that corrections aim at, over the one that the first measurement shows."""
    outlier: float = FilterSettings.outlier
    """A deviation beyond this many expected standard deviations resets a cell's variance."""
    open_loop_passes: int = 1
    """Times that the open-loop pass is repeated with other currents, where it shows that the nominal ones are wrong."""
    pilot_cells: int = 1024
    """Cells that are pulsed first where a calibration is used, to see whether it is true of the chip as it is; tiles
    of fewer than four times as many do without. 0: none."""
    unresponsive_pulses: int = FilterSettings.unresponsive_pulses
    """Pulses in a row without an answer after which a device counts as stuck and is left alone."""

    def __post_init__(self) -> None:
        self._require("max_vectors", 64, 1e9)
        self._require("max_steps", 1, 10_000)
        self._require("settle", 0, 100)
        self._require("chip_seconds", 0, 1e9)
        self._require("min_vectors", 1, 1e6)
        self._require("open_loop_passes", 0, 10)
        self._require("pilot_cells", 0, 1e9)
        self._filter_settings()

    def check(self, region: Region, tile: Tile, age: float) -> None:
        """Refuse a chip without MVMs, or of whose devices nothing is known."""
        region.backend.require(Capability.MVM, "gradient-descent programming")
        known_devices(region)
        vectors = self._vectors(region)
        if self.chip_seconds:
            check_chip_seconds(self.chip_seconds, self.settle * age)
        if self.max_vectors < vectors:
            raise BadInputError(
                f"setting max_vectors={self.max_vectors} allows no measurement of a column of {region.place.rows} "
                f"cells, which takes {vectors} vectors"
            )

    def steps(self, region: Region, tile: Tile, age: float, rng: np.random.Generator) -> Work[ProgrammingStep, None]:
        """Send the open-loop pass, then measure and correct as often as the budgets allow."""
        cells = ConductanceFilter(region, tile, known_devices(region), age, self._filter_settings())
        blocks = hadamard_blocks(region.place.rows, self.min_vectors)
        rounds = min(self.max_steps, self.max_vectors // self._vectors(region))
        rest = self.chip_seconds / rounds if self.chip_seconds else self.settle * age

        def report(index: int, pulses: int, rest: float) -> ProgrammingStep:
            return ProgrammingStep(
                index,
                rounds,
                rest=rest,
                mvm_error=cells.mvm_error,
                pulses=pulses,
                unconverged=cells.unconverged,
                stuck=np.asarray(cells.stuck.any(0)),
                stuck_devices=cells.stuck.reshape(region.shape),
            )

        currents, first = Currents(region, self.open_loop_passes), 0
        rows = pilot_rows(region, self.pilot_cells) if rounds > 1 else None
        if rows is not None:
            yield report(0, cells.program_open_loop(rows), rest)
            currents.refuse_calibration(cells, cells.observe(rng, blocks))
            first = 1
        pulses = cells.program_open_loop()
        for index in range(first, rounds):
            yield report(index, pulses, rest)
            left, shown = rounds - 1 - index, cells.observe(rng, blocks)
            if currents.wrong(cells, shown) and left > 0:
                pulses = cells.repeat_open_loop()
                continue
            cells.update(shown)
            pulses = cells.correct(remaining=left * rest, rounds=left)
        yield report(rounds, pulses, 0.0)

    def outlook(self, rows: int, age: float, info: ChipInfo) -> Outlook:
        """Tell what a tile takes at most."""
        vectors = hadamard_blocks(rows, self.min_vectors) * hadamard_block(rows)
        rounds = min(self.max_steps, max(1, self.max_vectors // vectors))
        seconds = self.chip_seconds or rounds * self.settle * age
        return Outlook(seconds, self.max_pulses_per_device, 0, rounds * vectors)

    def within(self, chip_seconds: float, age: float, info: ChipInfo) -> Self:
        """Return the method with a budget of chip seconds: all of it is rested, however many rounds there are."""
        check_chip_seconds(chip_seconds, self.settle * age)
        return replace(self, chip_seconds=chip_seconds)

    def _vectors(self, region: Region) -> int:
        """Return the vectors of one measurement."""
        rows = region.place.rows
        return hadamard_blocks(rows, self.min_vectors) * hadamard_block(rows)

    def _filter_settings(self) -> FilterSettings:
        return FilterSettings(
            max_pulses_per_device=self.max_pulses_per_device,
            min_gain=self.min_gain,
            patience=self.patience,
            drive=self.drive,
            mean_gain=self.mean_gain,
            outlier=self.outlier,
            unresponsive_pulses=self.unresponsive_pulses,
        )
