"""True times: when every device was pulsed and read, on a clock that goes on through an interruption."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from hwloop.calibration.steps import rest
from hwloop.chip.backend import Backend
from hwloop.chip.info import Capability
from hwloop.chip.pulses import PulseKind
from hwloop.chip.region import Region
from hwloop.errors import ChipError
from hwloop.typing import AnyArray, FloatArray, IndexArray, State

FIRST_BATCH = 1
"""Number of devices in the first batch, which shows how fast the chip is."""
GROWTH = 16
"""A batch has at most this many times the devices of the one before."""


class Clock:
    """Seconds since a measurement began, through interruptions too.

    A simulated chip comes back with its own clock. A real one does not: what passed in between is known from UTC alone,
    to the accuracy of the computer's clock.
    """

    def __init__(self, backend: Backend) -> None:
        """Start the clock now."""
        self._backend = backend
        self._shift = -backend.now()

    def now(self) -> float:
        """Return the seconds since the measurement began."""
        return self._backend.now() + self._shift

    def state(self) -> dict[str, AnyArray]:
        """Return what `restore` needs."""
        return {"clock/now": np.array(self.now()), "clock/utc": np.array(time.time())}

    def restore(self, state: State) -> None:
        """Go on from what `state` gave; a simulated chip must have its own state back already.

        Raises
        ------
        ChipError
            When the computer's UTC has gone backwards.
        """
        passed = 0.0
        if Capability.STATE not in self._backend.info.capabilities:
            passed = time.time() - float(state["clock/utc"])
            if passed < 0:
                raise ChipError(
                    f"the computer's clock is {-passed:.0f} s behind the time of the interruption; set it right, "
                    "the ages of the devices depend on it"
                )
        self._shift = float(state["clock/now"]) + passed - self._backend.now()

    def rest_until(self, moment: float) -> None:
        """Let time pass until `moment`, unless that has passed already."""
        left = moment - self.now()
        if left > 1e-12 * abs(moment):  # less is the rounding of clocks
            rest(self._backend, left)


class TimedRegion:
    """A region whose pulses and reads come with their times."""

    def __init__(self, region: Region, clock: Clock) -> None:
        """Stamp what is done to a region with the `clock` of the measurement."""
        self.region, self._clock = region, clock
        self.pace = np.zeros(2)
        """Seconds per device of the last batch of pulses and of reads; 0: not known yet."""

    def pulse(
        self, kind: PulseKind, devices: IndexArray, amplitude: FloatArray, width: float, within: float
    ) -> FloatArray:
        """Pulse devices and say when.

        Parameters
        ----------
        kind
            SET or RESET.
        devices, amplitude
            Flat device indices (n,) and their amplitudes (n,) in uA.
        width
            Width of the pulses, ns.
        within
            Seconds to which each moment shall be known; a chip that is too slow for it gets one device at a time.

        Returns
        -------
        array
            When each device was pulsed, (n,), seconds on the measurement's clock.
        """

        def send(part: slice) -> None:
            self.region.pulse(kind, devices[part], amplitude[part], width)

        return self._stamped(0, len(devices), within, send)

    def read(self, devices: IndexArray, averages: int, within: float) -> tuple[FloatArray, FloatArray]:
        """Read devices (n,): conductances (n,) in uS, and when (n,), each known to `within` seconds as in `pulse`."""
        values = np.empty(len(devices))

        def take(part: slice) -> None:
            values[part] = self.region.read(devices[part], averages)

        return values, self._stamped(1, len(devices), within, take)

    def _stamped(self, kind: int, count: int, within: float, act: Callable[[slice], None]) -> FloatArray:
        times = np.empty(count)
        start, last = 0, FIRST_BATCH if not self.pace[kind] else count
        while start < count:
            pace = self.pace[kind]
            wanted = min(last, max(1, int(2 * within / pace)) if pace else FIRST_BATCH)
            size = min(wanted, count - start)
            part = slice(start, start + size)
            before = self._clock.now()
            act(part)
            after = self._clock.now()
            times[part] = (before + after) / 2
            if size == wanted or not pace:  # a small remainder says little about a chip that works in parallel
                self.pace[kind] = (after - before) / size
            start, last = start + size, GROWTH * size
        return times
