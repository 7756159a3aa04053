"""Statistics of the conductance whose coefficients are elements of a parameter vector."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from hwloop.calibration.fitting.likelihood import tensor
from hwloop.devices.splines import LogSpline
from hwloop.devices.statistics import Statistic
from hwloop.files.models import Form, build_statistic, coefficient_names
from hwloop.typing import FloatArray


def build(form: Form, theta: torch.Tensor | FloatArray | Sequence[float] | Sequence[torch.Tensor]) -> Statistic:
    """Return the statistic that has elements of a vector as its coefficients, so that torch can differentiate it.

    Of a 'log-spline' the elements are the logarithms of its values.
    """
    if form.kind == "log-spline":
        return LogSpline(build(Form("spline", form.at), theta))
    names = coefficient_names(form, len(theta) - 1)
    return build_statistic(form, {name: theta[k] for k, name in enumerate(names)})


def interpolation(places: FloatArray, knots: Sequence[float]) -> FloatArray:
    """Return the weights (..., knots) by which linear interpolation takes values at knots to places (...)."""
    place = np.interp(places, knots, np.arange(len(knots)))
    weights: FloatArray = np.maximum(0.0, 1.0 - np.abs(place[..., None] - np.arange(len(knots))))
    return weights


def blurred(form: Form, log_g: FloatArray, half: FloatArray) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a function of a form's coefficients: the statistic at ln g (n,), averaged over all within half (n,) of it.

    That is what a device shows whose ln g is known to within that. It also takes the kinks of clipped forms out of the
    likelihood, at which a search would stop. Of a 'log-spline' its logarithm is averaged.
    """
    if form.kind == "log-spline":
        logs = blurred(Form("spline", form.at), log_g, half)
        return lambda theta: torch.exp(logs(theta))
    if form.kind != "log-clip":  # linear in the coefficients; by Simpson's rule
        units = [build(form, row) for row in np.eye(len(form.at))]
        parts = [(weight, np.exp(log_g + side * half)) for side, weight in ((-1.0, 1 / 6), (0.0, 2 / 3), (1.0, 1 / 6))]
        weights = tensor(np.stack([sum(weight * unit(g) for weight, g in parts) for unit in units], -1))
        return lambda theta: weights @ theta
    place, width = tensor(log_g), tensor(half)

    def average(theta: torch.Tensor) -> torch.Tensor:
        slope, offset, low, high = theta
        high = torch.maximum(low, high)  # bounds that cross make a constant, and no step between them
        straight, reach = slope * place + offset, slope.abs() * width + 1e-9

        def above(bound: torch.Tensor) -> torch.Tensor:
            over = straight - bound
            within = torch.minimum(torch.maximum(over, -reach), reach)
            area: torch.Tensor = (within + reach) ** 2 / (4 * reach) + (over - reach).clamp(min=0.0)
            return area

        value: torch.Tensor = low + above(low) - above(high)
        return value

    return average


def sampled(table: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    """Return a table (n,) or (n, ...) at places (...) between 0 and n - 1, by straight lines."""
    below = place.detach().long()
    return torch.lerp(table[below], table[below + 1], place - below)
