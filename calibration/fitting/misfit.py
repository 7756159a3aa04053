"""Checks of a fit: what a true model would hardly show, how much it matters, and what to do about it.

Every check has a chance, that a true model shows as much (the places it looked at counted), and a size against what it
tolerates. A fit is warned of where both say so: the chance of any false alarm among all checks of a fit is
`CheckSettings.family_wise`, and what is seen only because very many cells were measured is no reason to warn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from hwloop.calibration.fitting.screening import SPARE
from hwloop.calibration.settings import Settings
from hwloop.files.models import CellCount
from hwloop.typing import FloatArray, IndexArray


@dataclass(frozen=True)
class CheckSettings(Settings):
    """When a fit is warned of."""

    family_wise: float = 0.02
    """Chance that any of the checks of a true model fails."""
    most_cells: int = 20_000
    """Cells that checks look at; of more, a random part."""
    fewest_cells: int = 50
    """Cells below which checks say nothing."""
    fewest_in_bin: int = 20
    """Cells of a bin below which it is not judged by itself."""
    level_bins: int = 6
    """Bins of conductance."""
    mean: float = 0.06
    """Mean of standardised residuals that is tolerated."""
    scatter: float = 0.15
    """Relative excess of a variance that is tolerated."""
    tails: float = 0.3
    """Excess kurtosis, in either direction, that is tolerated."""
    shape: float = 0.01
    """Mean squared relative deviation of a histogram of 20 bins that is tolerated."""
    coverage: float = 0.03
    """Deviation of the share within 90 % intervals that is tolerated."""
    same_age: float = 0.05
    """Steps of ln t: ages that differ by less were meant alike."""
    most_ages: int = 40
    """Ages that are looked at one by one; of more, bins."""
    moved: float = 0.05
    """K: standard deviation of the temperature from which on its influence is looked for."""
    per_kelvin: float = 0.05
    """Change of a standardised residual per kelvin that is tolerated."""
    outliers: float = 0.02
    """Share of the cells that may be outliers."""
    left_out: float = 0.2
    """Share of the cells that may be left out, for whatever reason."""

    def __post_init__(self) -> None:
        """Raise BadInputError for settings out of range."""
        self._require("family_wise", 0.0, 1.0)
        for name in ("most_cells", "fewest_cells", "fewest_in_bin", "level_bins", "most_ages"):
            self._require(name, 1, 10**9)
        for name in ("mean", "scatter", "tails", "shape", "coverage", "per_kelvin", "outliers", "left_out", "moved"):
            self._require(name, 0.0, 100.0)
        self._require("same_age", 1e-6, 10.0)


USUAL = CheckSettings()


@dataclass(frozen=True)
class Check:
    """One look at a fit."""

    name: str
    """What was looked at: ages, levels, ages by level, temperature, cells, tails, ..."""
    chance: float
    """That a true model shows as much, all places that were looked at counted."""
    size: float
    """Of what was found, over what is tolerated."""
    said: str
    """What is off, by how much, and what to do."""

    def fails(self, level: float) -> bool:
        """Whether a true model shows as much more rarely than the level, and it matters."""
        return self.chance < level and self.size > 1.0


def failures(checks: Sequence[Check], settings: CheckSettings = USUAL) -> list[str]:
    """Return what failing checks say, the worst first; each may fail by chance with its part of the family's level."""
    if not checks:
        return []
    level = settings.family_wise / len(checks)
    failed = [one for one in checks if one.fails(level)]
    return [one.said for one in sorted(failed, key=lambda one: -one.size)]


@dataclass(frozen=True)
class Worst:
    """The bin that is furthest off."""

    at: int
    """Its number."""
    sigmas: float
    """Standard errors that its mean is off."""
    chance: float
    """That any of the bins of a true model is so far off."""
    size: float
    """Of its mean, over what is tolerated."""


@dataclass(frozen=True)
class Means:
    """Means of the values of cells in bins (bins,), with their standard errors, and how many cells each rests on."""

    mean: FloatArray
    error: FloatArray
    size: IndexArray

    @classmethod
    def of(cls, values: FloatArray, bins: IndexArray, count: int) -> Means:
        """Take the means of values (n,) of independent cells in bins (n,)."""
        size = np.bincount(bins, minlength=count)
        safe = np.maximum(size, 1)
        mean = np.bincount(bins, values, count) / safe
        square = np.bincount(bins, (values - mean[bins]) ** 2, count) / np.maximum(size - 1, 1)
        return cls(mean, np.sqrt(square / safe), size)

    def worst(self, tolerated: float, fewest: int) -> Worst | None:
        """Return the bin that is furthest off; None where no bin has the fewest cells that are needed.

        Bins that are off by less than is tolerated are never the worst, whatever their chance.
        """
        judged = (self.size >= fewest) & (self.error > 0)
        if not judged.any():
            return None
        score = np.where(judged, np.abs(self.mean) / np.where(judged, self.error, 1.0), 0.0)
        matters = score * (np.abs(self.mean) > tolerated)
        at = int(np.argmax(matters if matters.any() else score))
        chance = 2 * stats.t.sf(score[at], self.size[at] - 1) * judged.sum()
        return Worst(at, float(score[at]), min(float(chance), 1.0), float(abs(self.mean[at]) / tolerated))


def kurtosis(values: FloatArray, cell: IndexArray) -> tuple[float, float]:
    """Return the excess kurtosis of standardised values (n,) and its standard error, with cells (n,) as units."""
    count = int(cell.max()) + 1
    reads = np.maximum(np.bincount(cell, minlength=count), 1)
    square, fourth = (np.bincount(cell, values**power, count) / reads for power in (2, 4))
    unit = square.mean()
    found = fourth.mean() / unit**2
    influence = fourth / unit**2 - 2 * found * square / unit
    return float(found - 3.0), float(influence.std() / np.sqrt(count))


def tail_check(name: str, values: FloatArray, cell: IndexArray, said: str, settings: CheckSettings = USUAL) -> Check:
    """Check that values (n,) of cells (n,) have the tails of normal ones; `said` has a place for the kurtosis."""
    excess, error = kurtosis(values, cell)
    # A kurtosis is skewed where tails are heavy, so its error is never taken for less than that of normal values.
    error = max(error, float(np.sqrt(24.0 / values.size)))
    chance = 2 * float(stats.norm.sf(abs(excess) / error))
    return Check(name, chance, abs(excess) / settings.tails, said.format(excess=excess))


def shape_check(name: str, quantiles: FloatArray, said: str, settings: CheckSettings = USUAL) -> Check:
    """Check that the predicted quantiles (n,) of independent cells are uniform; `said` has a place for the share."""
    counts = np.histogram(quantiles, 20, (0.0, 1.0))[0]
    expected = quantiles.size / counts.size
    total = float(((counts - expected) ** 2 / expected).sum())
    size = max(total - (counts.size - 1), 0.0) / quantiles.size
    worst = int(np.argmax(np.abs(counts - expected)))
    where = (
        f"between the {5 * worst} % and the {5 * worst + 5} % quantile lie {100 * counts[worst] / quantiles.size:.1f} %"
    )
    chance = float(stats.chi2.sf(total, counts.size - 1))
    return Check(name, chance, size / settings.shape, said.format(where=where))


def left_out_checks(cells: CellCount, settings: CheckSettings = USUAL) -> list[str]:
    """Say so where a fit rests on too few of the cells: what was left out may be what the model does not describe."""
    said = []
    share = cells.outliers / max(cells.measured, 1)
    # Not one or two of a few cells.
    if share > settings.outliers and cells.outliers > 5:
        said.append(
            f"{cells.outliers} of {cells.measured} cells ({100 * share:.0f} %) were left out as outliers, more than "
            f"{100 * settings.outliers:.0f} %: so many are no exceptions but what the model does not describe, such as "
            "telegraph noise, jumps or heavy tails; look at their reads"
        )
    wanted = cells.measured - cells.left_out.get(SPARE, 0)
    gone = 1 - cells.used / max(wanted, 1)
    if gone > settings.left_out and wanted - cells.used > 5:
        why = {"stuck": cells.stuck, "outliers": cells.outliers, **cells.left_out}
        reasons = ", ".join(f"{name}: {number}" for name, number in why.items() if number)
        said.append(
            f"the fit rests on {cells.used} of {cells.measured} cells ({100 * gone:.0f} % left out; {reasons}): it "
            "holds for those alone; mend what spoils the others, or measure them again"
        )
    return said
