"""Resistance of the wires, from how far cells are attenuated in a matrix-vector product by where they lie.

A cell far from its row's driver or from its column's converter contributes less to an MVM than its conductance, which
a single-device read shows. How the ratio falls along rows and columns gives the resistance per cell; how far it lies
below one everywhere gives what is in series with the lines. The model is that of `hwloop.devices.wires`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from hwloop.calibration.routines.base import Budget, Routine, Tick, quiet
from hwloop.calibration.routines.converters import ConverterResult
from hwloop.calibration.routines.devices import DeviceResult
from hwloop.calibration.settings import Settings
from hwloop.chip.info import Capability
from hwloop.chip.region import Region
from hwloop.devices.wires import attenuation
from hwloop.errors import ChipError
from hwloop.typing import FloatArray
from hwloop.units import value

LEAST_SHARE = 0.3
"""Cells that conduct less than this share of a SET device say little, and are left out."""
LEAST_SCATTER = 1e-3
"""Relative error of one cell's ratio, at least: neither the converters' curves nor the model of wires is better."""
FAR = 4.0
"""Robust standard deviations beyond which a cell's ratio is an outlier."""
SCALE_DOUBT = 0.02
"""Relative doubt of the scale of reads against that of MVMs: they see the cells at other ages and in other ranges."""


@dataclass(frozen=True)
class WireSettings(Settings):
    """The wires are found from what the other routines measured: there is nothing to set."""


@dataclass(frozen=True)
class WireResult:
    """Resistances of the lines, with standard uncertainties, which are wide where they cannot be told."""

    resistance: float = value("ohm", "wire resistance per cell, along rows and along columns")
    resistance_sigma: float = value("ohm", "standard uncertainty of resistance")
    series: float = value("ohm", "resistance of each row's driver and of each column's sensing input")
    series_sigma: float = value("ohm", "standard uncertainty of series")
    attenuation_min: float = value("1", "attenuation of the farthest cell of the pattern that was measured")


class WireCalibration(Routine):
    """Finds wire and series resistance; costs nothing on the chip beyond the devices' and converters' routines."""

    name = "wires"
    needs = frozenset({Capability.MVM, Capability.DEVICE_READ})

    def __init__(self, settings: WireSettings | None = None) -> None:
        """Settings are empty; the argument is there so that all routines are made alike."""
        self.settings = settings or WireSettings()

    def budget(self, region: Region) -> Budget:
        """Nothing."""
        return Budget()

    def run(self, region: Region, devices: DeviceResult, converters: ConverterResult, tick: Tick = quiet) -> WireResult:
        """Fit. The pattern that `DeviceCalibration` leaves must be what `ConverterCalibration` measured, right after.

        Raises ChipError when too few cells conduct.
        """
        tick("fit of the wires")
        loads = np.maximum(devices.pattern, 0.0).sum(1)
        net = loads[0] - loads[1]
        good = (net > LEAST_SHARE * devices.typical_high) & devices.usable.all((0, 1)) & ~converters.silent
        if good.sum() < 100:
            raise ChipError(
                f"core {region.place.core}: only {int(good.sum())} cells conduct after SET; too few to see the wires"
            )
        ratio = np.where(good, converters.cells / np.where(good, net, 1.0), 1.0)
        middle = np.median(ratio[good])
        scatter = max(1.4826 * float(np.median(np.abs(ratio[good] - middle))), LEAST_SCATTER)
        good &= np.abs(ratio - middle) < max(FAR * scatter, 0.5)

        def misfit(unknown: FloatArray) -> FloatArray:
            resistance, series, scale = unknown
            factor = attenuation(loads, resistance, series)
            expected = scale * (loads[0] * factor[0] - loads[1] * factor[1]) / np.where(good, net, 1.0)
            return np.append((ratio - expected)[good] / scatter, (scale - 1.0) / SCALE_DOUBT)

        # Where cells lie tells the resistance of the lines; what is in series with them looks much like a scale.
        fit = least_squares(misfit, [0.1, 1.0, 1.0], bounds=([0, 0, 0], [1e4, 1e6, 2]), x_scale=[0.1, 10.0, 0.01])
        sigma = np.sqrt(np.diag(np.linalg.inv(fit.jac.T @ fit.jac)))
        return WireResult(
            float(fit.x[0]),
            float(sigma[0]),
            float(fit.x[1]),
            float(sigma[1]),
            float(attenuation(loads, fit.x[0], fit.x[1])[0][good].min()),
        )
