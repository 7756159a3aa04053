"""Drift: G(t) = G(t0) (t / t0)^-nu with a coefficient per device, normal around a mean that depends on conductance.

After Joshi et al. 2020, as a random-effects model. A read is y = G(t) (1 + e), with e normal of the variance
V(g) (1 + b ln(t / t0)): read noise that is a part of the measurement, growing with age as 1/f noise does. Of that,
reads at neighbouring ages have something in common (`covariance`). What is fitted by maximum likelihood are the mean
and the spread of nu and V, all functions of g = G(t0) / g_scale.

Every device is first reduced to its own G(t0) and nu (`lines`), or, where its reads are too noisy for that, to what
they say on a grid of both (`grid`). For these the distribution of conductances is fitted along: without it the reads of
a device of 0.1 uS may as well be those of one of 0.2 uS.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from scipy import stats

from hwloop.calibration.fitting.base import Description, Family
from hwloop.calibration.fitting.drift.figures import drift_panels
from hwloop.calibration.fitting.drift.law import CURVED, ONSET, PLAIN
from hwloop.calibration.fitting.drift.layout import (
    FLOOR,
    LAW,
    MEAN,
    NOISE,
    OTHER,
    SMALLEST_SPREAD,
    SPREAD,
    STATISTICS,
    DriftLayout,
)
from hwloop.calibration.fitting.drift.likelihood import DriftLikelihood
from hwloop.calibration.fitting.drift.lines import CHUNK
from hwloop.calibration.fitting.drift.prediction import later_quantiles, log_density
from hwloop.calibration.fitting.drift.residuals import drift_checks
from hwloop.calibration.fitting.drift.seen import STEP, log_noise, noise_slope, statistic
from hwloop.calibration.fitting.drift.settings import USUAL, DriftSettings
from hwloop.calibration.fitting.drift.smoothness import as_scores, smoothness_prior
from hwloop.calibration.fitting.drift.start import start_of
from hwloop.calibration.fitting.drift.table import DriftTable, drift_table
from hwloop.calibration.fitting.known import NOTHING_KNOWN, KnownDevice
from hwloop.calibration.fitting.likelihood import LogLikelihood, Optimum, covariance, maximise, tensor, whitening
from hwloop.calibration.fitting.misfit import Check
from hwloop.calibration.fitting.panels import Panel, quantile_panel
from hwloop.calibration.fitting.screening import Screening
from hwloop.files.measurements import Experiment, Measurement
from hwloop.files.models import Form
from hwloop.typing import BoolArray, FloatArray

NONE_REACHES = "no measured conductance reaches this bound: held at the edge of the data"
FEW_REACH = "too few measured conductances reach this bound: held where they show it"
SAME_ALL_OVER = "the same at all measured conductances: held, and '{low}' is what it is"
CONSTANT_WITHOUT = ("slope", "offset", "high")
"""Coefficients that a statistic does not have which is the same at all conductances."""
APART = 1.0
"""Distance in nu (no unit) by which an upper bound that means nothing is kept below the lower one while that is
fitted: more than any uncertainty of it."""


@dataclass(frozen=True)
class DriftFamily(Family[DriftTable]):
    """Power-law drift; subclasses say what mean and spread look like as functions of conductance."""

    experiment = Experiment.DRIFT
    extrapolates = True
    essential = (MEAN,)
    kind: ClassVar[str]
    """Form of mean and spread."""
    law: ClassVar[str] = PLAIN
    """How drift goes on with age: see `law`."""
    settings: DriftSettings = USUAL

    def prepare(self, measurement: Measurement, known: KnownDevice = NOTHING_KNOWN) -> tuple[DriftTable, Screening]:
        """Reduce the devices: see `drift_table`."""
        return drift_table(measurement, self.settings, self.law)

    def layout(self, table: DriftTable) -> DriftLayout:
        """Lay out mean, spread, noise and density: see `DriftLayout`."""
        return DriftLayout.of(self.kind, table)

    def _model(self, table: DriftTable) -> DriftLikelihood:
        return DriftLikelihood(self.layout(table), table)

    def likelihood(self, table: DriftTable) -> LogLikelihood:
        """Return the log-likelihood of groups of precise devices, and of all noisy ones together."""
        model = self._model(table)
        return model.total(np.zeros((len(model.layout), len(model.layout))))

    def start(self, table: DriftTable) -> FloatArray:
        """Begin at what bins of neighbours show: see `start_of`."""
        return start_of(self.layout(table), table)

    def subset(self, table: DriftTable, cells: BoolArray) -> DriftTable:
        """Return the table of some devices."""
        return table.take(cells)

    def caveats(self, table: DriftTable) -> list[str]:
        """Say so where there are too few quiet devices, from which it is taken how noise grows."""
        if table.precise.sum() >= self.settings.search.support:
            return []
        return [
            "no devices are quiet enough to show how read noise grows with age, or only few: as that of single reads "
            "with 1/f noise, where there are none; values may be off by more than their intervals say; measure some at "
            "higher conductances, or average more"
        ]

    def estimate(self, table: DriftTable, *, intervals: bool) -> tuple[Optimum, dict[str, str]]:
        """Maximise; very many precise devices count by the sums over neighbours, which hold all they tell.

        A part of the noisy devices shows the way to where all of them lead.
        """
        layout = self.layout(table)
        theta = self.start(table)
        free = np.ones(theta.size, bool)
        for name in self._beforehand(layout):
            free[layout.at(name)] = False
        first = self._part(table, self.settings.search.first_look)
        prior = np.zeros((theta.size, theta.size))
        smooth = self.kind == "spline"
        # How smooth mean and spread are, all devices together show once they have been fitted.
        for look, part in enumerate([first, first, table] + [table] * smooth):
            if smooth and look > 0:
                own, share = self._model(first).scores(theta), first.nu.size / table.nu.size
                prior = smoothness_prior(layout, own, share, theta, prior, self.settings.search.any_roughness)
            found = self._climb(part, theta, free, part.nu.size / table.nu.size * prior)
            theta = found.theta
        held, theta = self._unsupported(table, found.theta)
        if held:
            free[[layout.index(name) for name in held]] = False
            found = self._climb(table, theta, free, prior)
        if intervals:
            found = replace(found, covariance=self._covariance(table, found.theta, free, prior))
        return replace(found, theta=self._stated(found.theta, table)), held

    def _covariance(self, table: DriftTable, theta: FloatArray, free: BoolArray, prior: FloatArray) -> FloatArray:
        """Return the covariance (p, p) of the parameters, on a part of very many noisy devices."""
        part = self._focused(self._part(table, self.settings.search.second_look), theta)
        model, share = self._model(part), part.nu.size / table.nu.size
        # Knots of the density at which no device is seen are told by what is held there, and so is noise that a
        # constant one hides; what no device tells otherwise is not to look known.
        held = model.loose() if table.floor else model.thin()
        own = np.concatenate([model.scores(theta), as_scores(share * prior), as_scores(held)])[:, free]
        found = share * covariance(model.total(share * prior), theta, free=free, kinks=True, own=own)
        floor = model.layout.at(FLOOR)
        found[floor, floor] = table.floor_error**2
        if not table.law.plain:
            at, some = model.layout.at(LAW), slice(0, 1) if table.law.onset else slice(1, 3)
            found[at, at] = table.law_error[some, some]
        if table.other is not None:
            at = model.layout.at(OTHER)
            found[at, at] = np.diag([error**2 for *_, error in table.other.coefficients().values()])
        return found

    @staticmethod
    def _beforehand(layout: DriftLayout) -> list[str]:
        """Name the blocks that are known before the fit."""
        return [block.name for block in layout.blocks if block.name in (FLOOR, LAW, OTHER)]

    def _climb(self, table: DriftTable, theta: FloatArray, free: BoolArray, prior: FloatArray) -> Optimum:
        """Find the maximum from theta, in directions in which the scores of a part of the devices scatter by one."""
        table = self._focused(table, theta)
        part = self._part(table, self.settings.search.first_look)
        model = self._model(part)
        own = model.scores(theta) * math.sqrt(table.nu.size / part.nu.size)
        directions = whitening(np.concatenate([own, as_scores(prior), as_scores(model.loose())])[:, free])
        return maximise(self._model(table).total(prior), theta, free=free, directions=directions)

    def _part(self, table: DriftTable, noisy: int) -> DriftTable:
        """Return the table, or a random part of it that has about so many noisy devices."""
        share = min(1.0, noisy / max(table.noisy.size, 1), 2 * CHUNK / table.nu.size)
        if share == 1.0:
            return table
        return table.take(np.random.default_rng(2).random(table.nu.size) < share)

    def _focused(self, table: DriftTable, theta: FloatArray) -> DriftTable:
        """Return the same; nodes that do not matter for these parameters cost nothing."""
        if table.marginal is None:
            return table
        with torch.no_grad():
            return replace(table, marginal=table.marginal.focused(*self._model(table).tables(tensor(theta))))

    def _unsupported(self, table: DriftTable, theta: FloatArray) -> tuple[dict[str, str], FloatArray]:
        """Name the coefficients that no device tells, with the reason, and hold them at the edge of the data."""
        return {}, theta

    def _stated(self, theta: FloatArray, table: DriftTable) -> FloatArray:
        """Return the parameters as they are stated; the likelihood is the same."""
        return theta

    def log_likelihood(self, table: DriftTable, theta: FloatArray) -> FloatArray:
        """Return that of every device that is precise or integrated over, up to a constant of the data."""
        return self._model(table).each(theta)

    def predict(self, table: DriftTable, theta: FloatArray, earlier: Measurement, later: Measurement) -> FloatArray:
        """Predict one later read of each device: see `prediction`."""
        return log_density(self._model(table), theta, earlier, later)

    def foretold(self, table: DriftTable, theta: FloatArray, earlier: Measurement, later: Measurement) -> FloatArray:
        """Return the predicted quantile (cells of `later`) of one later read of each cell: see `prediction`."""
        return later_quantiles(self._model(table), theta, earlier, later)

    def quantiles(self, table: DriftTable, theta: FloatArray) -> FloatArray:
        """Return the quantiles of the precise devices' coefficients."""
        known = table.precise if table.precise.any() else np.ones(table.nu.size, bool)
        mean, sigma = self.expected(table, theta)
        return np.asarray(stats.norm.cdf((table.nu[known] - mean[known]) / sigma[known]))

    def expected(self, table: DriftTable, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return mean and standard deviation of each device's coefficient as its reads show it: as the likelihood."""
        layout = self.layout(table)
        noise = np.exp(log_noise(layout, table, theta, table.log_g))
        tilt = table.tilt + noise_slope(table, table.log_g)
        place = table.log_g + noise * table.var_g * tilt
        mean = statistic(layout, theta, MEAN, place)
        spread = np.maximum(statistic(layout, theta, SPREAD, place), SMALLEST_SPREAD)
        slope = (statistic(layout, theta, MEAN, place + STEP) - mean) / STEP
        error = table.var_nu - 2 * slope * table.covariance + slope**2 * table.var_g
        return mean - noise * tilt * table.covariance, np.sqrt(spread**2 + noise * error)

    def checks(self, table: DriftTable, theta: FloatArray, measurement: Measurement) -> list[Check]:
        """Look at what the lines leave: see `residuals`."""
        return drift_checks(self._model(table), theta, measurement, self.expected)

    def describe(self, table: DriftTable) -> Description:
        """Return forms, reference age, scale and ranges."""
        return Description(
            forms={**self.layout(table).forms, NOISE: Form("knots", table.noise_knots)},
            settings={"t0": table.t0, "g_scale": table.g_scale, "noise_growth": table.growth.rate},
            conductance_range=table.conductance_range,
            time_range=table.time_range,
        )

    def panels(self, table: DriftTable, theta: FloatArray) -> list[Panel]:
        """Draw mean, spread and noise against conductance, and the predicted quantiles."""
        known = table.noise < self.settings.noise.too_noisy**2
        shown = table.lines_of(known) if known.any() else table
        return [*drift_panels(self.layout(table), table, theta), quantile_panel(self.quantiles(shown, theta))]


class LogClipDrift(DriftFamily):
    """Mean and spread linear in ln g between two bounds, the form of Joshi et al. 2020."""

    name = kind = "log-clip"
    preference = 1
    summary = "power-law drift, mean and spread linear in ln g between two bounds (Joshi et al. 2020)"

    def _unsupported(self, table: DriftTable, theta: FloatArray) -> tuple[dict[str, str], FloatArray]:
        """Hold bounds that no device reaches where the data end, and those that hardly any reaches where they are.

        What mean and spread are at the devices does not change thereby.
        """
        support, held = self.settings.search.support, dict[str, str]()
        place, devices = self._devices_at(table, theta)
        theta = theta.copy()
        for name in STATISTICS:
            at = self.layout(table).at(name)
            slope, level, low, high = theta[at]
            if high <= low:
                held |= {f"{name}.{part}": SAME_ALL_OVER.format(low=f"{name}.low") for part in CONSTANT_WITHOUT}
                theta[at.start + 3] = low - APART
                continue
            straight = slope * place + level
            below, above = straight < low, straight > high
            if devices[~below & ~above].sum() < support:
                for part in ("slope", "offset"):
                    held[f"{name}.{part}"] = "every measured conductance is at a bound: the slope between is not seen"
            if devices[below].sum() < support:
                held[f"{name}.low"] = FEW_REACH if below.any() else NONE_REACHES
                low = max(low, straight.min(), SMALLEST_SPREAD)
            if devices[above].sum() < support:
                held[f"{name}.high"] = FEW_REACH if above.any() else NONE_REACHES
                high = max(min(high, straight.max()), low)
            theta[at] = slope, level, low, high
        return held, theta

    def _stated(self, theta: FloatArray, table: DriftTable) -> FloatArray:
        """State a constant, of which bounds that cross or a step between them are one, without a slope."""
        theta, layout = theta.copy(), self.layout(table)
        for name in STATISTICS:
            at = layout.at(name)
            low, high = theta[at][2:]
            if high <= low:
                theta[at] = 0.0, low, low, low
        return theta

    def _devices_at(self, table: DriftTable, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return places in ln g and how many devices are at each, the noisy ones by what is expected."""
        place, devices = table.log_g[table.precise], np.ones(int(table.precise.sum()))
        if table.marginal is None:
            return place, devices
        expected = table.marginal.places(*self._model(table).tables(tensor(theta)))
        some = expected > 0.5
        return np.concatenate([place, table.marginal.grid.log_g[some]]), np.concatenate([devices, expected[some]])


class SplineDrift(DriftFamily):
    """Mean and spread as smooth curves in ln g, cubic splines; how smooth, the data say."""

    name = kind = "spline"
    preference = 0
    summary = "power-law drift, mean and spread smooth in ln g (cubic splines): no form assumed"


class OnsetDrift(SplineDrift):
    """Drift that begins at an age of its own: an alternative where the checks of a power law fail."""

    name, law, preference = "onset", ONSET, 2
    summary = "drift (1 + t/onset)^-nu, mean and spread smooth in ln g: refused where reads show a power law"


class CurvedDrift(SplineDrift):
    """Drift that speeds up or slows down with ln t: an alternative where the checks of a power law fail."""

    name, law, preference = "curved", CURVED, 3
    summary = "drift with curvature in ln t, mean and spread smooth in ln g: refused where reads show a power law"
