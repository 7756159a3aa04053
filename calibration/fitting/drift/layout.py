"""Where the coefficients of the drift families lie in their parameter vector."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hwloop.calibration.fitting.drift.table import DriftTable
from hwloop.calibration.fitting.layout import Block, Coefficient, Layout
from hwloop.files.models import Form

MEAN, SPREAD, NOISE, FLOOR, LAW, OTHER, DENSITY = "mean", "spread", "noise", "floor", "law", "other", "density"
STATISTICS = {MEAN: "mean drift coefficient", SPREAD: "spread of drift coefficients"}
"""Statistics of nu that have a form, and what they are."""
SMALLEST_SPREAD = 1e-5
"""Standard deviation of drift coefficients, at least."""


@dataclass(frozen=True)
class DriftLayout(Layout):
    """Mean and spread of nu, ln V at its knots, the constant noise, the law, and the density of noisy devices.

    The density stands at the end: it is fitted along, and reports do not show it.
    """

    forms: dict[str, Form]
    """Of mean and spread."""

    @classmethod
    def of(cls, kind: str, table: DriftTable) -> DriftLayout:
        """Lay out the coefficients of a form of mean and spread for a table."""
        mean = Form(kind, () if kind == "log-clip" else table.knots)
        # No standard deviation is below zero, and where a curve crosses it the likelihood would have a spike.
        forms = {MEAN: mean, SPREAD: replace(mean, kind="log-spline") if kind == "spline" else mean}
        widest = table.settings.search.widest
        blocks = [
            Block.of_statistic(
                name, forms[name], what, table.g_scale, log=forms[name].kind == "log-spline", widest=widest
            )
            for name, what in STATISTICS.items()
        ]
        places = np.exp(table.noise_knots) * table.g_scale
        noise = [
            Coefficient(
                f"noise.v{k}", "1", f"relative variance of a read at t0, at {place:.3g} uS, less the floor", log=True
            )
            for k, place in enumerate(places)
        ]
        note = "" if table.floor else "all noise that is seen falls with the conductance: held at zero"
        floor = Coefficient("noise.floor", "uS", "noise of a read that is constant in uS", start=table.floor, note=note)
        blocks += [Block(NOISE, tuple(noise)), Block(FLOOR, (floor,))]
        if not table.law.plain:
            blocks.append(Block(LAW, _law_coefficients(table)))
        if table.other is not None:
            rows = table.other.coefficients().items()
            other = (Coefficient(name, unit, text, log=True, start=at) for name, (unit, text, at, _) in rows)
            blocks.append(Block(OTHER, tuple(other)))
        if table.marginal is not None:
            knots = table.marginal.grid.knots[:-1]  # of densities that sum up to one the last is known
            density = (Coefficient(f"density.v{k}", "1", "density of devices", log=True) for k in range(len(knots)))
            blocks.append(Block(DENSITY, tuple(density), shown=False))
        return cls(tuple(blocks), forms)


def _law_coefficients(table: DriftTable) -> tuple[Coefficient, ...]:
    """Return what the law has besides ln t: known beforehand, as the constant noise."""
    law, meaning = table.law, "per unit of ln(t / t0)"
    if law.onset:
        start = float(np.log(law.onset * table.t0))
        return (Coefficient("law.onset", "s", "age before which devices hardly drift", log=True, start=start),)
    slope = f"by how much each device's own drift speeds up, {meaning}"
    bend = f"coefficient of the square of ln(t / t0), the same for all devices, {meaning}"
    return (
        Coefficient("law.curvature", "1", slope, start=law.curvature),
        Coefficient("law.bend", "1", bend, start=law.bend),
    )
