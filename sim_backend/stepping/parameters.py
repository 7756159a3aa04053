"""Everything that describes a simulated chip of stepping devices, one field per number, with its unit."""

from __future__ import annotations

from dataclasses import dataclass

from hwloop.chip.updates import SteppingDevices
from hwloop.sim_backend.periphery import Periphery, number


@dataclass(frozen=True, kw_only=True)
class StepLaw:
    """One kind of stepping device, in units of weight; the base is a step that hardly changes with the weight.

    A device steps up by step (1 + spread of devices) and down likewise; each single step has a spread of its own.
    """

    step: float = number("1", "nominal size of a step, weight")
    step_spread: float = number("1", "device-to-device relative standard deviation of the step")
    cycle_spread: float = number("1", "step-to-step standard deviation of a step, over the nominal step")
    up_down: float = number("1", "up step less down step of the nominal device, over the nominal step")
    up_down_spread: float = number("1", "device-to-device standard deviation of that")
    low: float = number("1", "smallest weight of the nominal device")
    high: float = number("1", "largest weight of the nominal device")
    low_spread: float = number("1", "device-to-device relative standard deviation of the smallest weight")
    high_spread: float = number("1", "device-to-device relative standard deviation of the largest weight")


@dataclass(frozen=True, kw_only=True)
class ConstantStep(StepLaw):
    """Steps that do not depend on the weight, up to its bounds (Gokmen and Vlasov 2016)."""


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
    amplitude: float = number("uA", "peak current of a step pulse")
    width: float = number("ns", "duration of a step pulse")

    @property
    def g_max(self) -> float:
        """Largest conductance to program on one device, uS."""
        return self.middle + self.unit * self.device.high

    @property
    def stepping(self) -> SteppingDevices:
        """What the chip tells of its devices."""
        return SteppingDevices(
            step=self.unit * self.device.step,
            low=self.unit * self.device.low,
            high=self.unit * self.device.high,
            levels=self.levels,
            longest=self.longest,
            amplitude=self.amplitude,
            width=self.width,
            slot_seconds=self.pulse_seconds,
        )
