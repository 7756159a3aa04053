"""How smooth mean and spread are, by what the data say: empirical Bayes for cubic splines."""

from __future__ import annotations

import math

import numpy as np
from scipy import optimize

from hwloop.calibration.fitting.drift.layout import MEAN, STATISTICS, DriftLayout
from hwloop.calibration.fitting.likelihood import whitening
from hwloop.devices.splines import spline_relations
from hwloop.typing import FloatArray


def smoothness_prior(
    layout: DriftLayout, own: FloatArray, share: float, theta: FloatArray, prior: FloatArray, any_roughness: float
) -> FloatArray:
    """Return the precision (p, p) of the parameters before anything is seen: how rough mean and spread are as a rule.

    Without a prior the maximum would be normal around the truth, whose second derivative is taken as white noise in
    ln g, of the variance under which that maximum is most likely.

    Parameters
    ----------
    layout
        Of the parameters; mean and spread are splines.
    own
        Scores (devices, p) of a part of the devices at theta.
    share
        Of that part in all.
    theta, prior
        The maximum (p,) for that part with a prior (p, p) so far.
    any_roughness
        See `SearchSettings`.
    """
    directions = whitening(own)
    covariance = share * directions @ directions.T
    alone = theta + covariance @ prior @ theta
    found = np.zeros_like(prior)
    places = layout.forms[MEAN].at
    if len(places) > 2:
        slopes, relation, roughness = spline_relations(places)
        rough = relation @ np.linalg.solve(roughness, relation.T)
        for name in STATISTICS:
            at = layout.at(name)
            seen = slopes @ alone[at]
            variance = _roughness(seen, slopes @ covariance[at, at] @ slopes.T, rough, any_roughness)
            found[at, at] = slopes.T @ np.linalg.solve(rough, slopes) / variance
    return found


def _roughness(seen: FloatArray, uncertainty: FloatArray, rough: FloatArray, reach: float) -> float:
    """Return the variance v under which seen (n,) is most likely, normal around zero with uncertainty + v rough.

    It is looked for within `reach` of what could just be seen, in logarithm.
    """
    # In units of what could just be seen, which is beyond all bounds where the data tell nothing.
    unit = float(np.trace(uncertainty) / np.trace(rough))

    def unlikeliness(log_variance: float) -> float:
        total = uncertainty / unit + math.exp(log_variance) * rough
        return float(np.linalg.slogdet(total)[1] + seen @ np.linalg.solve(total, seen) / unit)

    best = optimize.minimize_scalar(unlikeliness, bounds=(-reach, reach))
    return unit * math.exp(float(best.x))


def as_scores(precision: FloatArray) -> FloatArray:
    """Return rows whose products (p, p) sum up to a prior: it counts as devices of which nothing else is known."""
    values, vectors = np.linalg.eigh(precision)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0.0))).T)
