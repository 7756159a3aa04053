"""The mean drift of the typical device, its onset and its exponents, from what it conducts at several ages."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

from hwloop.calibration.routines.level_maps import LevelMeans
from hwloop.calibration.routines.results import DriftResult
from hwloop.calibration.settings import Settings
from hwloop.typing import FloatArray


@dataclass(frozen=True)
class _Changes:
    """What the typical device at each level conducts at the last age, and how that differs at earlier ones."""

    ages: FloatArray
    """(n,) seconds, the last one in the end."""
    last: FloatArray
    """(levels,) uS."""
    change: FloatArray
    """(n - 1, levels) from each earlier age to the last one, uS."""
    sigma: FloatArray
    """(n - 1, levels) uS."""
    share: FloatArray
    """(4, levels) of each knot in the exponent of each level."""


@dataclass(frozen=True)
class DriftFit(Settings):
    """How the mean drift is fitted, on chips without device reads."""

    drift_low: float = 0.1
    """Smallest share of the reference conductance at which an exponent is stated."""
    drift_middle: float = 0.3
    """Second share; between those stated, exponents are interpolated in the logarithm of the conductance."""
    drift_upper: float = 0.6
    """Third share; the fourth and last one is 1."""
    drift_evidence: float = 5.0
    """Standard deviations by which a level must conduct, and an onset improve the fit, to be believed."""
    nu_prior: float = 0.05
    """Exponent that is assumed, as uncertain as it is large, where nothing was seen of it."""
    earliest_onset: float = 0.1
    """Smallest onset that is looked for, over the age of the first look."""

    def __post_init__(self) -> None:
        self._require("drift_low", 1e-4, 0.5)
        self._require("drift_middle", 1e-3, 0.7)
        self._require("drift_upper", 0.01, 0.99)
        self._require("drift_evidence", 0, 1000)
        self._require("nu_prior", 1e-6, 1)
        self._require("earliest_onset", 1e-3, 1)

    def fit_drift(self, means: LevelMeans, t0: float, g_scale: float) -> DriftResult:
        """Fit onset and exponents.

        Parameters
        ----------
        means
            What the typical device conducts.
        t0
            Reference age of the result, seconds.
        g_scale
            Conductance that counts as g = 1, uS.
        """
        at = np.log([self.drift_low, self.drift_middle, self.drift_upper, 1.0])
        known = means.mean[-1] > self.drift_evidence * np.maximum(means.sigma, 1e-9)
        known[0] = False  # what emptied devices conduct is assumed, not seen
        last = means.mean[-1, known]
        ln_g = np.clip(np.log(last / g_scale), at[0], at[-1])
        changes = _Changes(
            ages=means.ages,
            last=last,
            change=means.mean[:-1, known] - last,
            sigma=np.maximum(means.change_sigma[:-1, known], 1e-9),
            share=np.stack([np.interp(ln_g, at, hat) for hat in np.eye(4)]),
        )
        onset, onset_sigma, nu, sigma = self._law(changes)
        return DriftResult(
            t0=t0,
            g_scale=g_scale,
            onset=onset,
            onset_sigma=onset_sigma,
            at_low=self.drift_low,
            at_middle=self.drift_middle,
            at_upper=self.drift_upper,
            nu_low=float(nu[0]),
            nu_low_sigma=float(sigma[0]),
            nu_middle=float(nu[1]),
            nu_middle_sigma=float(sigma[1]),
            nu_upper=float(nu[2]),
            nu_upper_sigma=float(sigma[2]),
            nu_high=float(nu[3]),
            nu_high_sigma=float(sigma[3]),
            first_look=float(means.ages[0]),
            last_look=float(means.ages[-1]),
        )

    def _law(self, seen: _Changes) -> tuple[float, float, FloatArray, FloatArray]:
        """Fit the onset and the exponents (4,); return each with its standard uncertainty."""
        first = self.earliest_onset * float(seen.ages[0])
        onset, onset_sigma, (nu, sigma, misfit) = 0.0, first, self._exponents(seen, 0.0)
        best = minimize_scalar(
            lambda log_onset: self._exponents(seen, math.exp(log_onset))[2],
            bounds=(math.log(first), math.log(seen.ages[-1])),
            method="bounded",
        )
        later = self._exponents(seen, math.exp(best.x))
        count = max(seen.change.size - len(nu) - 1, 1)
        if misfit - later[2] > self.drift_evidence**2 * max(later[2] / count, 1.0):
            onset, (nu, sigma, misfit) = math.exp(best.x), later
            # Chi squared rises by 1 within a standard deviation, and the exponents go along with the onset.
            step = 0.05
            less, more = (self._exponents(seen, math.exp(best.x + side)) for side in (-step, step))
            log_sigma = step / math.sqrt(max((less[2] + more[2]) / 2 - misfit, 1e-9))
            sigma = np.hypot(sigma, (more[0] - less[0]) / (2 * step) * log_sigma)
            onset_sigma = onset * log_sigma
        scale = math.sqrt(max(misfit / count, 1.0))
        sigma, onset_sigma = sigma * scale, onset_sigma * scale
        return onset, onset_sigma, nu, sigma

    def _exponents(self, seen: _Changes, onset: float) -> tuple[FloatArray, FloatArray, float]:
        """Fit the exponents (4,) under an onset, by Gauss-Newton steps; return them, their sigma, and chi squared."""
        since = np.log((seen.ages[:-1] + onset) / (seen.ages[-1] + onset))[:, None]
        nu = np.full(len(seen.share), self.nu_prior)
        prior = np.full(len(nu), self.nu_prior**-2.0)
        for _ in range(6):
            grown = np.exp(-(nu @ seen.share) * since)
            off = (seen.change - seen.last * (grown - 1.0)) / seen.sigma
            slope = (-since * seen.last * grown / seen.sigma)[..., None] * seen.share.T
            inner = np.einsum("nlk,nlm->km", slope, slope) + np.diag(prior)
            nu = nu + np.linalg.solve(inner, np.einsum("nlk,nl->k", slope, off) + prior * (self.nu_prior - nu))
        grown = np.exp(-(nu @ seen.share) * since)
        off = (seen.change - seen.last * (grown - 1.0)) / seen.sigma
        return nu, np.sqrt(np.diag(np.linalg.inv(inner))), float((off**2).sum())
