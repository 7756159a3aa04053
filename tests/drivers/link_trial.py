"""A small programming run through a faulty link, compared with the same run on the chip itself.

The instrument's chip records what reaches it. Whatever the link does, that must be the beginning of what the run
without faults does: the same pulses, reads and MVMs in the same order, none twice, none changed. What the driver
returned must be the same, too. A run that does not finish must end with one of hwloop's errors, in bounded time.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hwloop.chip.backend import Backend
from hwloop.chip.pulses import PulseKind, Pulses
from hwloop.chip.registry import connect
from hwloop.errors import ChipError
from hwloop.sim_backend.chip import SimulatedChip
from hwloop.sim_backend.server.instrument import Instrument
from hwloop.sim_backend.server.server import serving
from hwloop.testing.faults import Fault, FaultProxy, random_faults
from hwloop.typing import CodeArray, FloatArray, IndexArray

ROUNDS = 4
VECTORS = 16
ATTEMPTS = 3
"""Connections over which the driver may try one call."""


class Recorded(SimulatedChip):
    """A simulated chip that notes everything that is done to it."""

    done: list[str]
    watch: Callable[[int], None]
    """Called with the number of things done, before each is carried out."""

    def _note(self, *parts: object) -> None:
        self.done.append(_digest(*parts))
        self.watch(len(self.done))

    def _pulse(self, core: int, pulses: Pulses) -> None:
        self._note(pulses.kind.value, core, pulses.devices, pulses.amplitude, pulses.width)
        super()._pulse(core, pulses)

    def _read(self, core: int, devices: IndexArray, averages: int) -> FloatArray:
        self._note("read", core, devices, averages)
        return super()._read(core, devices, averages)

    def _mvm(self, core: int, x: CodeArray) -> CodeArray:
        self._note("mvm", core, x)
        return super()._mvm(core, x)

    def _wait(self, seconds: float) -> None:
        self._note("wait", seconds)
        super()._wait(seconds)


def recorded(uri: str) -> Recorded:
    """A simulated chip that notes everything."""
    made = connect(uri)
    assert isinstance(made, SimulatedChip), f"{uri} is not a simulated chip"
    made.__class__ = Recorded
    assert isinstance(made, Recorded)
    made.done, made.watch = [], lambda count: None
    return made


@dataclass(frozen=True)
class Outcome:
    """How a run ended: finished with the right result, or with an error of hwloop's."""

    finished: bool
    error: str
    struck: int
    """Faults that struck."""
    seconds: float


class LinkTrial:
    """Runs the same small programming run over and over through whatever faults one asks for."""

    def __init__(self, uri: str, timeout: float) -> None:
        """A `sim:` URI of a small chip, and the driver's timeout in seconds. Does the run once without faults."""
        self._uri, self._timeout = uri, timeout
        direct = recorded(self._uri)
        with direct:
            self._expected, self._done = _program(direct), list(direct.done)
        with recorded(self._uri) as chip, serving(chip) as port, FaultProxy(port) as proxy:
            with self._open(proxy.port) as client:
                self.opening_bytes = dict(proxy.passed)
                _program(client)
            self.bytes_moved = dict(proxy.passed)

    @property
    def longest_seconds(self) -> float:
        """What a run may take at most: every call on its last attempt, and connecting anew before each."""
        return ATTEMPTS * 2 * (self._timeout + 1.0) + 5.0

    def random(self, seed: int, faults: int) -> Outcome:
        """A run with so many random faults."""
        rng = np.random.default_rng(seed)
        count = int(rng.integers(1, 2 * faults))
        moved = self.bytes_moved
        return self.run(random_faults(rng, count, moved[True], moved[False], 1.5 * self._timeout))

    def run(self, faults: Sequence[Fault]) -> Outcome:
        """One run. Raises AssertionError when anything wrong reached the chip or the caller."""
        begin = time.monotonic()
        error = ""
        with recorded(self._uri) as chip:
            with serving(chip, instrument=Instrument(chip)) as port, FaultProxy(port, faults) as proxy:
                try:
                    with self._open(proxy.port) as client:
                        result = _program(client)
                except ChipError as failure:
                    error = f"{type(failure).__name__}: {failure}"
                seconds = time.monotonic() - begin
            assert chip.done == self._done[: len(chip.done)], f"something else was done to the chip: {faults}"
            if not error:
                assert len(chip.done) == len(self._done), f"not everything was done: {faults}"
                assert result == self._expected, f"wrong data was accepted: {faults}"
        return Outcome(not error, error, len(proxy.struck), seconds)

    def _open(self, port: int) -> Backend:
        return connect(f"visa:TCPIP::127.0.0.1::{port}::SOCKET?timeout={self._timeout}")


def _program(chip: Backend) -> str:
    """RESET all devices, then verify and correct some rounds; a digest of all that the chip answered."""
    info, rng = chip.info, np.random.default_rng(0)
    every = np.arange(info.devices_per_core)
    target = rng.uniform(0, info.g_max, every.size)
    amplitude = rng.uniform(180.0, 300.0, every.size)
    chip.pulse(0, Pulses.make(PulseKind.RESET, every, amplitude, 100.0))
    seen: list[object] = []
    for _ in range(ROUNDS):
        chip.wait(0.4)
        value = chip.read(0, every, 2)
        off = every[np.abs(value - target) > 0.1 * info.g_max]
        amplitude[off] = np.clip(amplitude[off] + 4.0 * (value - target)[off], 170.0, info.limits.amplitude_max)
        chip.pulse(0, Pulses.make(PulseKind.RESET, off, amplitude[off], 100.0))
        codes = chip.mvm(0, rng.integers(-info.input_max, info.input_max + 1, (VECTORS, info.rows)))
        seen += [value, codes, chip.now(), chip.temperature(), chip.pulse_counts(0)]
    return _digest(*seen)


def _digest(*parts: object) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part.tobytes() if isinstance(part, np.ndarray) else repr(part).encode())
    return whole.hexdigest()
