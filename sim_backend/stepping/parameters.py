"""Everything that describes a simulated chip of stepping devices, one field per number, with its unit."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hwloop.chip.updates import SteppingDevices
from hwloop.sim_backend.periphery import Periphery, number
from hwloop.sim_backend.stepping.law import Devices, StepLaw


@dataclass(frozen=True, kw_only=True)
class SteppingParameters(Periphery):
    """A simulated chip of stepping devices. A cell is a stepping device less its reference device."""

    device: StepLaw = number("", "how a device steps")
    unit: float = number("uS", "conductance of one unit of weight")
    middle: float = number("uS", "conductance of a device at weight zero")
    pulse_seconds: float = number("s", "one slot of a pulse train, or one pulse of single devices")
    pulses_at_once: int = number("1", "single devices pulsed in one slot")
    read_seconds: float = number("s", "one read of a row of single devices")
    levels: int = number("1", "largest integer of an update")
    longest: int = number("1", "slots of the longest pulse train")
    leak: float = number("s", "time constant with which a device loses its weight; 0 for none")
    leak_spread: float = number("1", "device-to-device relative standard deviation of that")
    pair: bool = number("", "whether a cell is two devices that step up alone, one for each polarity")
    reset_level: float = number("1", "weight that a RESET pulse leaves on a device of a pair")
    reset_spread: float = number("1", "standard deviation of that")
    amplitude: float = number("uA", "peak current of a step pulse")
    width: float = number("ns", "duration of a step pulse")
    symmetry_point_mean: float | None = field(
        default=None,
        metadata={
            "unit": "1",
            "meaning": "mean of the cells' symmetry points, over half the range; 0 = at the reference",
        },
    )
    symmetry_point_spread: float | None = field(
        default=None,
        metadata={"unit": "1", "meaning": "their standard deviation; references stand at zero without both"},
    )

    @property
    def references_moved(self) -> bool:
        """Whether references stand by the symmetry points of their devices, and not at weight zero."""
        return self.symmetry_point_mean is not None or self.symmetry_point_spread is not None

    @property
    def g_max(self) -> float:
        """Largest conductance to program on one device, uS."""
        return self.middle + self.unit * self.device.high

    @property
    def stepping(self) -> SteppingDevices:
        """What the chip tells of its devices."""
        nominal = Devices.nominal(self.device)
        # Where devices of a pair alone step up, the middle of their range is as good as any other weight.
        typical = np.array([self.device.high / 2]) if self.pair else nominal.symmetry_points()
        return SteppingDevices(
            step=self.unit * float(nominal.mean_step(typical, True)[0]),
            low=self.unit * (-self.device.high if self.pair else self.device.low),
            high=self.unit * self.device.high,
            levels=self.levels,
            longest=self.longest,
            amplitude=self.amplitude,
            width=self.width,
            slot_seconds=self.pulse_seconds,
            pair=self.pair,
        )
