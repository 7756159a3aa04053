"""What an export contains: the fits that simulators can use, and the numbers that follow from them."""

from __future__ import annotations

from dataclasses import dataclass

from hwloop.files.fitted_devices import is_bake, is_relaxation
from hwloop.files.models import Fit, Model

USABLE = ("programming", "drift", "read-noise")
"""Experiments whose fits simulators can use."""


@dataclass(frozen=True)
class Content:
    """A model, and what is said of it in the code."""

    model: Model
    """What was fitted."""
    file: str
    """Name of its file."""
    module: str
    """Name of the Python module to write."""
    t_read: float = 250e-9
    """Duration of a read in seconds that exports assume: the published models' own, as no spectrum shows it."""

    @property
    def programming(self) -> Fit | None:
        """The fit of programming errors, if there is one."""
        found = self.model.fits.get("programming")
        return None if found is None or is_bake(found) else found

    @property
    def drift(self) -> Fit | None:
        """The fit of drift, relaxation, bakes or one age, if there is one."""
        after_write = self.model.fits.get("programming")
        known = after_write is not None and is_bake(after_write)
        return self.model.fits.get("drift", after_write if known else None)

    @property
    def noise(self) -> Fit | None:
        """The fit of read noise, if there is one."""
        return self.model.fits.get("read-noise")

    @property
    def fits(self) -> list[Fit]:
        """All fits that simulators can use."""
        return [self.model.fits[kind] for kind in USABLE if kind in self.model.fits]

    @property
    def relaxes(self) -> bool:
        """Whether the drift is that of resistive memory: a mixture, without a coefficient per device."""
        return self.drift is not None and (is_relaxation(self.drift) or is_bake(self.drift))

    @property
    def verified(self) -> bool:
        """Whether it is known how programming errors and drift coefficients go together."""
        together = self.programming is not None and {"head_start", "spread_left"} <= self.programming.forms.keys()
        return together and self.drift is not None and not self.relaxes

    @property
    def heavy_tails(self) -> bool:
        """Whether programming errors are Student's t."""
        return self.programming is not None and any(p.name == "tail" for p in self.programming.parameters)

    @property
    def g_max(self) -> float:
        """Conductance that the largest weight becomes, uS."""
        return self.fits[0].settings["g_scale"]

    @property
    def largest(self) -> float:
        """Conductance beyond which nothing is known, uS."""
        return max(self.g_max, *(fit.conductance_range[1] for fit in self.fits))

    @property
    def start(self) -> tuple[float, str]:
        """Age of the devices, in seconds after their last pulse, when the simulator's time is 0, and why."""
        if self.programming and self.programming.settings["age"] > 0:
            return self.programming.settings["age"], "at which programmed devices were read"
        if self.drift and not self.relaxes:
            return self.drift.settings["t0"], "at which the drift fit states conductances"
        if self.noise:
            return self.noise.time_range[1], "assumed: the length of the measured series"
        return 0.0, "that of the first reads"
