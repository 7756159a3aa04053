"""Drift of devices whose reads have other noise than a normal one: heavy tails, or cells that switch.

Alternatives of `spline`, for where its checks of tails and cells fail. They clean the reads (`cleaning`), fit what is
left as all drift is fitted, and foretell reads with the noise that they have.
"""

from __future__ import annotations

import abc
from dataclasses import replace
from typing import Generic, TypeVar

import numpy as np
from scipy import special, stats

from hwloop.calibration.fitting.checks import some_cells, split_last
from hwloop.calibration.fitting.drift.cleaning import HeavyTails, TwoStates, switching, tamed
from hwloop.calibration.fitting.drift.family import SplineDrift
from hwloop.calibration.fitting.drift.prediction import Later, later_reads
from hwloop.calibration.fitting.drift.residuals import foretold
from hwloop.calibration.fitting.drift.table import DriftTable, checked
from hwloop.calibration.fitting.known import NOTHING_KNOWN, KnownDevice
from hwloop.calibration.fitting.misfit import USUAL, Check, shape_check
from hwloop.calibration.fitting.screening import Screening
from hwloop.errors import BadInputError
from hwloop.files.measurements import Measurement
from hwloop.typing import FloatArray, IndexArray

Noise = TypeVar("Noise", HeavyTails, TwoStates)
"""What was found of the noise of reads."""
QUADRATURE = special.roots_hermitenorm(15)
"""Nodes and weights of the quadrature over where a device is."""
UNTOUCHED = ("ages", "ages by level", "temperature", "levels, mean", "levels, spread", "coefficients", "later reads")
"""Checks of the lines of devices, which hold whatever noise their reads have."""


class OtherNoiseDrift(SplineDrift, Generic[Noise]):
    """Drift as `spline` has it, of reads that are cleaned first; subclasses say of what."""

    @abc.abstractmethod
    def cleaned(self, measurement: Measurement) -> tuple[Measurement, Noise]:
        """Return reads with normal noise, and what noise there was."""

    @abc.abstractmethod
    def log_density(self, noise: Noise, later: Later, cells: IndexArray) -> FloatArray:
        """Return the log density (devices,) of one later read of each device, which are these of the cells."""

    @abc.abstractmethod
    def distribution(self, noise: Noise, later: Later, cells: IndexArray) -> FloatArray:
        """Return the predicted quantile (devices,) of one later read of each device, which are these of the cells."""

    def prepare(self, measurement: Measurement, known: KnownDevice = NOTHING_KNOWN) -> tuple[DriftTable, Screening]:
        """Clean the reads, and reduce the devices: see `drift_table`."""
        checked(measurement, self.settings)
        cleaned, noise = self.cleaned(measurement)
        table, screening = super().prepare(cleaned, known)
        return replace(table, other=noise), screening

    def predict(self, table: DriftTable, theta: FloatArray, earlier: Measurement, later: Measurement) -> FloatArray:
        """Predict one later read of each device; of those integrated over, as if their noise were normal."""
        cleaned, noise = self.cleaned(earlier)
        density = super().predict(table, theta, cleaned, later)
        found = later_reads(self._model(table), theta, cleaned, later)
        own = np.where(found.there, self.log_density(noise, found, table.cells), np.nan)
        density[table.cells[table.precise]] = own[table.precise]
        return density

    def foretold(self, table: DriftTable, theta: FloatArray, earlier: Measurement, later: Measurement) -> FloatArray:
        """Return the predicted quantile (cells,) of one later read of each cell."""
        cleaned, noise = self.cleaned(earlier)
        quantile = super().foretold(table, theta, cleaned, later)
        found = later_reads(self._model(table), theta, cleaned, later)
        own = np.where(found.there, self.distribution(noise, found, table.cells), np.nan)
        quantile[table.cells[table.precise]] = own[table.precise]
        return quantile

    def checks(self, table: DriftTable, theta: FloatArray, measurement: Measurement) -> list[Check]:
        """Look at what the lines leave, and at later reads with the noise that reads have."""
        cleaned, _ = self.cleaned(measurement)
        kept: list[Check] = [one for one in super().checks(table, theta, cleaned) if one.name in UNTOUCHED]
        lines = table.lines_of(table.precise)
        step = max(1, lines.cells.size // table.settings.search.first_look)
        earlier, later = split_last(some_cells(measurement, lines.cells[::step]))
        before, noise = self.cleaned(earlier)
        pair = foretold(replace(self._model(table), table=lines), theta, before, later, USUAL)
        if pair is None:
            return kept
        reads, own = pair
        said = (
            "the last read of each device is not foretold by the noise that was fitted ({where}, and 5 % should): "
            "intervals of later reads are as wrong; look at the reads of single devices"
        )
        quantiles = self.distribution(noise, reads, own.cells)[reads.there]
        return [*kept, shape_check("later reads, noise", quantiles, said)]


class HeavyTailedDrift(OtherNoiseDrift[HeavyTails]):
    """Reads with the noise of Student's t."""

    name, preference = "heavy-tailed", 5
    summary = "power-law drift as 'spline', noise of reads by Student's t: refused where it is normal"

    def cleaned(self, measurement: Measurement) -> tuple[Measurement, HeavyTails]:
        """Return pseudo-values. Raises BadInputError where tails are those of normal noise."""
        found, tails = tamed(measurement)
        if tails.freedom > self.settings.law.lightest:
            raise BadInputError(
                f"drift: the noise of reads has no heavy tails ({tails.freedom:.0f} degrees of freedom of "
                "Student's t): use --family spline"
            )
        return found, tails

    def log_density(self, noise: HeavyTails, later: Later, cells: IndexArray) -> FloatArray:
        """Return Student's t around all the places where a device may be."""
        unit, scale = _around(later, noise.scale)
        density = stats.t.pdf(unit, noise.freedom) / scale[:, None] @ (QUADRATURE[1] / QUADRATURE[1].sum())
        return np.asarray(np.log(np.maximum(density, 1e-300)))

    def distribution(self, noise: HeavyTails, later: Later, cells: IndexArray) -> FloatArray:
        """Return the same of the distribution."""
        unit, _ = _around(later, noise.scale)
        return np.asarray(stats.t.cdf(unit, noise.freedom) @ (QUADRATURE[1] / QUADRATURE[1].sum()))


class TelegraphDrift(OtherNoiseDrift[TwoStates]):
    """Some cells switch between two conductances, each by a step of its own."""

    name, preference = "telegraph", 4
    summary = "power-law drift as 'spline', some cells with telegraph noise: refused where none switches"

    def cleaned(self, measurement: Measurement) -> tuple[Measurement, TwoStates]:
        """Return reads as in the upper state. Raises BadInputError where hardly any cell switches."""
        found, states = switching(measurement)
        share = float(np.mean(states.step > 0))
        if share < self.settings.law.fewest_switching:
            raise BadInputError(
                f"drift: only {100 * share:.1f} % of the cells show telegraph noise in these reads: use --family spline"
            )
        return found, states

    def log_density(self, noise: TwoStates, later: Later, cells: IndexArray) -> FloatArray:
        """Return the mixture of both states."""
        low, drop = noise.low[cells], np.exp(-noise.step[cells])
        upper = stats.norm.pdf(later.read, later.expected, later.sigma)
        lower = stats.norm.pdf(later.read, drop * later.expected, drop * later.sigma)
        return np.asarray(np.log(np.maximum((1 - low) * upper + low * lower, 1e-300)))

    def distribution(self, noise: TwoStates, later: Later, cells: IndexArray) -> FloatArray:
        """Return the same of the distribution."""
        low, drop = noise.low[cells], np.exp(-noise.step[cells])
        upper = stats.norm.cdf(later.read, later.expected, later.sigma)
        lower = stats.norm.cdf(later.read, drop * later.expected, drop * later.sigma)
        return np.asarray((1 - low) * upper + low * lower)


def _around(later: Later, scale: float) -> tuple[FloatArray, FloatArray]:
    """Return reads over the scale of their noise, from all places (devices, nodes) a device may be; and the scale."""
    place = np.sqrt(np.maximum(later.sigma**2 - later.noise**2, 0.0))
    own = scale * later.noise
    return (later.read[:, None] - later.expected[:, None] - place[:, None] * QUADRATURE[0]) / own[:, None], own
