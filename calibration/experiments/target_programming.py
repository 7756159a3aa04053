"""Bringing chosen devices to their targets, on all cores at the same time, and saying which ones would not go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwloop.calibration.experiments.base import Bench
from hwloop.calibration.experiments.cells import Chosen
from hwloop.calibration.experiments.clock import AGE_RESOLUTION, TimedRegion
from hwloop.calibration.programming.base import known_devices
from hwloop.calibration.programming.verified_devices import DEFAULT_TOLERANCE, VerifiedDevices, verify_noise
from hwloop.chip.pulses import PulseKind
from hwloop.files.measurements import Mark
from hwloop.typing import FloatArray, IndexArray

STUCK_SURPRISE = 2 / 3
"""A device that will not converge counts as stuck when it conducts this much of g_max more, or less, than its last
pulse should have left on a nominal device: the amplitude was stepped and stepped, and nothing followed."""


@dataclass(frozen=True)
class PlacingSettings:
    """How devices are brought to their targets; the meaning is that of iterative program-and-verify."""

    averages: int
    """Reads that are averaged for each verification."""
    tolerance: float
    """Half width of the acceptance window, uS; 0 chooses 2.5 % of g_max, or the read noise where that is larger."""
    gain: float
    """Fraction of the error, expressed on the programming curve, that one step corrects."""
    max_pulses_per_device: int
    """Pulses one device may receive, the first included."""
    settle: float
    """Rest between pulse and verification, seconds."""
    age: float
    """Age of a device, seconds, at which its target holds."""
    unseen: bool = False
    """Whether the pulse that a device was accepted for is repeated at the end, and nobody looks: what was accepted by a
    read that noise or fast drift had brought into the window is no fair sample of what pulses leave."""


class _TimedDevices(VerifiedDevices):
    """Devices whose pulses and reads are stamped."""

    def __init__(self, timed: TimedRegion, age: float, within: float) -> None:
        super().__init__(timed.region, known_devices(timed.region))
        self._timed, self._age, self._within = timed, age, within

    def _age_at_target(self, devices: IndexArray) -> float:
        return self._age

    def _fire(self, devices: IndexArray, amplitude: FloatArray, width: float) -> FloatArray:
        return self._timed.pulse(PulseKind.RESET, devices, amplitude, width, self._within)

    def _look(self, devices: IndexArray, averages: int) -> tuple[FloatArray, FloatArray]:
        return self._timed.read(devices, averages, self._within)

    # What must come back after an interruption, for some devices.
    _KEPT = ("value", "born", "spent", "silent", "gave_up", "seen", "_amplitude", "_loaded", "_aimed_from")

    def export(self, devices: IndexArray) -> dict[str, NDArray[Any]]:
        return {name: getattr(self, name)[devices] for name in self._KEPT}

    def restore(self, devices: IndexArray, state: Mapping[str, NDArray[Any]]) -> None:
        for name in self._KEPT:
            getattr(self, name)[devices] = state[name]


class Placement:
    """The chosen devices on their way to their targets."""

    def __init__(self, bench: Bench, chosen: Chosen, target: FloatArray, settings: PlacingSettings) -> None:
        """target: (n,) uS.

        Devices that are known to be bad, or have not enough pulses left in their budget, are left alone from the start.
        """
        self._bench, self._chosen, self._target, self._settings = bench, chosen, target, settings
        info = bench.info
        model = known_devices(bench.region(int(chosen.core[0])).region).model
        noise = float(np.median(verify_noise(model, target, settings.averages, max(settings.settle, 1e-6))))
        self.tolerance = settings.tolerance or max(DEFAULT_TOLERANCE * info.g_max, noise)
        self._faults = bench.known_faults(chosen)
        enough = bench.spare_pulses(chosen) >= settings.max_pulses_per_device
        self.usable = enough & (self._faults == Mark.GOOD)
        self._make()

    def _make(self) -> None:
        within = AGE_RESOLUTION * self._settings.settle
        self._cores: dict[int, _TimedDevices] = {}
        self._active: dict[int, IndexArray] = {}
        for core, here in self._chosen.cores():
            devices = _TimedDevices(self._bench.region(core), self._settings.age, within)
            mine = self._chosen.device[here]
            devices.target[mine] = self._target[here]
            self._cores[core] = devices
            self._active[core] = mine[self.usable[here]]

    @property
    def born(self) -> FloatArray:
        """When each device was pulsed last, (n,), on the measurement's clock."""
        return self._of("born")

    def first_pulses(self) -> int:
        """One pulse per device, by the nominal programming curve; returns the number of pulses."""
        return sum(self._cores[core].pulse_open_loop(active) for core, active in self._active.items())

    def correct(self) -> int:
        """Verify what is not accepted yet, and pulse it again; returns the number of pulses, 0 when all is done."""
        s, pulses = self._settings, 0
        for core, devices in self._cores.items():
            active = devices.verify(self._active[core], s.averages, self.tolerance)
            pulses += devices.correct(active, s.gain, max(s.max_pulses_per_device - s.unseen, 1))
            self._active[core] = active
        return pulses

    def finish(self) -> tuple[FloatArray, NDArray[np.uint8]]:
        """Leave alone what is still off target, or repeat the last pulses of all that answer if they are to be unseen.

        Returns accepted verify reads (n,) in uS, NaN where there is none, and marks (n,).
        """
        for core, devices in self._cores.items():
            devices.give_up(self._active[core])
        value, gave_up = self._of("value"), self._of("gave_up")
        surprise = np.concatenate(
            [self._cores[core].surprise()[self._chosen.device[here]] for core, here in self._chosen.cores()]
        )
        far = STUCK_SURPRISE * self._bench.info.g_max
        mark = np.full(len(self._chosen), Mark.GOOD, np.uint8)
        mark[gave_up] = Mark.UNCONVERGED
        mark[gave_up & (surprise > far)] = Mark.STUCK_SET
        mark[gave_up & (surprise < -far)] = Mark.STUCK_RESET
        mark[~self.usable] = Mark.SPENT
        mark[self._faults != Mark.GOOD] = self._faults[self._faults != Mark.GOOD]
        verify = np.where(mark == Mark.GOOD, value, np.nan)
        if self._settings.unseen:
            mark[mark == Mark.UNCONVERGED] = Mark.GOOD  # no target was to be met; where it is, its reads will tell
            self._pulse_again(mark == Mark.GOOD)
        return verify, mark

    def _pulse_again(self, chosen: NDArray[np.bool_]) -> None:
        for core, here in self._chosen.cores():
            devices, mine = self._cores[core], self._chosen.device[here][chosen[here]]
            devices.pulse_again(mine[devices.spent[mine] < self._settings.max_pulses_per_device])

    def _of(self, name: str) -> NDArray[Any]:
        parts = [getattr(self._cores[core], name)[self._chosen.device[here]] for core, here in self._chosen.cores()]
        return np.concatenate(parts)

    def export(self) -> dict[str, NDArray[Any]]:
        """Where it stands."""
        state: dict[str, NDArray[Any]] = {"placing/usable": self.usable}
        for core, here in self._chosen.cores():
            kept = self._cores[core].export(self._chosen.device[here]) | {"active": self._active[core]}
            state |= {f"placing/{core}/{name}": array for name, array in kept.items()}
        return state

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `export` gave."""
        self.usable = state["placing/usable"].astype(bool)
        self._make()
        for core, here in self._chosen.cores():
            prefix = f"placing/{core}/"
            kept = {name.removeprefix(prefix): a for name, a in state.items() if name.startswith(prefix)}
            self._cores[core].restore(self._chosen.device[here], kept)
            self._active[core] = kept["active"]
