"""Resistance of the wires, from how far cells are attenuated in a matrix-vector product by where they lie.

A cell far from its row's driver or from its column's converter contributes less to an MVM than its conductance, which
a single-device read shows. How the ratio falls along rows and columns gives the resistance per cell; how far it lies
below one everywhere gives what is in series with the lines. The model is that of `hwloop.devices.wires`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from scipy.optimize import least_squares

from hwloop.calibration.routines.base import Budget, CoreTask, Routine
from hwloop.calibration.routines.core import CoreCalibration
from hwloop.calibration.routines.results import ConverterResult, DeviceResult, WireResult
from hwloop.calibration.steps import Step, Work
from hwloop.chip.info import Capability
from hwloop.chip.region import Region
from hwloop.devices.wires import attenuation
from hwloop.errors import ChipError
from hwloop.typing import FloatArray


@dataclass(frozen=True)
class WireCalibration(Routine):
    """Finds wire and series resistance; costs nothing on the chip beyond the devices' and converters' routines."""

    name: ClassVar[str] = "wires"
    parts: ClassVar[tuple[str, ...]] = ("wires",)
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.MVM, Capability.DEVICE_READ})
    requires: ClassVar[tuple[str, ...]] = ("devices", "adc")

    least_share: float = 0.3
    """Cells that conduct less than this share of a SET device say little, and are left out."""
    least_cells: int = 100
    """Cells, at least, that must conduct."""
    least_scatter: float = 1e-3
    """Relative error of one cell's ratio, at least: neither the converters' curves nor the model of wires is better."""
    outlier_sigmas: float = 4.0
    """Robust standard deviations beyond which a cell's ratio is an outlier."""
    scale_sigma: float = 0.02
    """Relative uncertainty of the scale of reads against that of MVMs: they see the cells at other ages and in other
    ranges."""

    def __post_init__(self) -> None:
        self._require("least_share", 0, 1)
        self._require("least_cells", 3, 1e9)
        self._require("least_scatter", 1e-9, 1)
        self._require("outlier_sigmas", 1, 1000)
        self._require("scale_sigma", 1e-6, 1)

    def budget(self, region: Region) -> Budget:
        """Return nothing: what the routines before have measured is enough."""
        return Budget()

    def steps(self, task: CoreTask) -> Work[Step, CoreCalibration]:
        """Fit the model of wires to what is known of devices and converters."""
        yield Step(0, 1, "fit of the wires")
        found, converters = task.known.devices, task.known.converters
        assert found is not None  # required
        assert converters is not None  # required
        return replace(task.known, wires=self.fit(found, converters, task.region.place.core))

    def fit(self, devices: DeviceResult, converters: ConverterResult, core: int) -> WireResult:
        """Fit wire and series resistance to how MVMs see the cells beside how reads do.

        Parameters
        ----------
        devices
            What reads show: the pattern that `DeviceCalibration` leaves.
        converters
            What MVMs on that pattern, right after, have shown.
        core
            Number of the core, for messages.

        Raises
        ------
        ChipError
            When too few cells conduct.
        """
        loads = np.maximum(devices.pattern, 0.0).sum(1)
        net = loads[0] - loads[1]
        good = (net > self.least_share * devices.typical_high) & devices.usable.all((0, 1)) & ~converters.unresponsive
        if good.sum() < self.least_cells:
            raise ChipError(f"core {core}: only {int(good.sum())} cells conduct after SET; too few to see the wires")
        ratio = np.where(good, converters.cells / np.where(good, net, 1.0), 1.0)
        middle = np.median(ratio[good])
        scatter = max(1.4826 * float(np.median(np.abs(ratio[good] - middle))), self.least_scatter)
        good &= np.abs(ratio - middle) < max(self.outlier_sigmas * scatter, 0.5)

        def misfit(unknown: FloatArray) -> FloatArray:
            resistance, series, scale = unknown
            factor = attenuation(loads, resistance, series)
            expected = scale * (loads[0] * factor[0] - loads[1] * factor[1]) / np.where(good, net, 1.0)
            return np.append((ratio - expected)[good] / scatter, (scale - 1.0) / self.scale_sigma)

        # Where cells lie tells the resistance of the lines; what is in series with them looks much like a scale.
        fit = least_squares(misfit, [0.1, 1.0, 1.0], bounds=([0, 0, 0], [1e4, 1e6, 2]), x_scale=[0.1, 10.0, 0.01])
        sigma = np.sqrt(np.diag(np.linalg.inv(fit.jac.T @ fit.jac)))
        farthest = float(attenuation(loads, fit.x[0], fit.x[1])[0][good].min())
        return WireResult(float(fit.x[0]), float(sigma[0]), float(fit.x[1]), float(sigma[1]), farthest)
