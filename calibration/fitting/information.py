"""Which parameters a curvature determines: its inverse over the directions that the data see, and what is left out.

A direction counts as not determined by a criterion without a scale. The curvature is stated in units in which each
parameter by itself, or each direction that scores see, has a curvature of about one; in these units a direction whose
eigenvalue is below `UNSEEN` says next to nothing, and a parameter with a component along it has no variance that could
be stated. A parameter that is not seen at all, by itself, is found beforehand: moving it by `ENDLESS` times its own
value (or one, if that is more) would not change the log-likelihood by one half.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwloop.typing import BoolArray, FloatArray

UNSEEN = 1e-10
"""Eigenvalue of a curvature scaled to unit diagonal (no unit) up to which a direction is not determined: known
100 000 times worse than its parameters would be by themselves."""
COMPONENT = 1e-6
"""Part (no unit) of a direction that is not determined, in standard deviations of the parameter by itself, from which
on the parameter is not determined either."""
ENDLESS = 1e8
"""Multiple (no unit) of a parameter's own value, or of one, that is further than any parameter goes."""

SLIGHT = 0.3
"""Negative curvature along a direction of scores (no unit; one is expected) that a likelihood may show across its kinks
although it has a maximum: the sandwich then states a wide interval."""
MIRRORED = 0.1
"""Share (no unit) of the sum of squares of a parameter's scores that is not mirrored by those of others, below which
the parameter is hardly told from them."""
AS_MUCH = 0.9
"""Component (no unit) over the largest one from which on parameters make up a direction together."""


@dataclass(frozen=True)
class Inverse:
    """Inverse of a curvature over the directions that are determined."""

    matrix: FloatArray
    """(k, k) in the directions in which the curvature was given."""
    determined: BoolArray
    """(p,) parameters without a component along what is not determined."""


def felt(curvature: FloatArray, theta: FloatArray) -> BoolArray:
    """Return which parameters (p,) at values theta (p,) move the likelihood at all, by their own curvature (p,)."""
    return np.asarray(np.sqrt(np.abs(curvature)) * np.maximum(np.abs(theta), 1.0) * ENDLESS >= 1.0)


def inverted(curvature: FloatArray, directions: FloatArray, least: float, slight: float = 0.0) -> Inverse | None:
    """Invert a curvature (k, k) that is given along directions (p, k), the columns; None where that says nothing.

    It says nothing where it is no finite number, or not positive definite: then the likelihood has no maximum there.

    Parameters
    ----------
    curvature
        Minus the second derivative of the log-likelihood along the directions.
    directions
        Of such a length that the curvature along each is about one where the data see it.
    least
        Eigenvalue up to which a direction is not determined.
    slight
        Negative eigenvalue, without its sign, that is not yet taken for a curvature without a maximum.
    """
    if not (np.isfinite(curvature).all() and np.isfinite(directions).all()):
        return None
    values, vectors = np.linalg.eigh(curvature)
    if values.min(initial=0.0) < -max(least, slight):
        return None
    seen = np.abs(values) > least
    matrix = vectors[:, seen] / values[seen] @ vectors[:, seen].T
    size = np.sqrt((directions**2).sum(1))
    unseen = np.sqrt(((directions @ vectors[:, ~seen]) ** 2).sum(1))
    return Inverse(matrix, np.asarray(unseen <= COMPONENT * size))


def mirrored(own: FloatArray, directions: FloatArray, curvature: FloatArray) -> BoolArray:
    """Return the parameters (p,), hardly told from others, that make up the direction of most negative curvature.

    None where no such parameter has a part in it: then the likelihood has no maximum there.

    Parameters
    ----------
    own
        Scores (n, p) of the units.
    directions
        (p, k), as columns, in which scores scatter by one.
    curvature
        (k, k) along these.
    """
    variance = (directions**2).sum(1)
    hardly = variance * (own**2).sum(0) * MIRRORED > 1.0
    part = np.abs(directions @ np.linalg.eigh(curvature)[1][:, 0]) / np.sqrt(variance) * hardly
    return np.asarray(hardly & (part >= AS_MUCH * part.max(initial=0.0)))
