"""Conformance of reads of single devices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from hwloop.chip.backend import Backend
from hwloop.chip.info import Capability
from hwloop.chip.pulses import PulseKind, Pulses
from hwloop.errors import BadInputError
from hwloop.testing.suite import Suite, raises


class ReadTests(Suite):
    """Tests of `read`, skipped on a chip without it."""

    def test_read_answers_finite_conductances(self, backend: Backend) -> None:
        """float64 (n,) in the order asked for, and a device may be asked for twice."""
        self._needs(backend, Capability.DEVICE_READ)
        last = backend.info.devices_per_core - 1
        before = backend.counts
        values = backend.read(self.core, [last, 0, 0], 2)
        assert values.shape == (3,)
        assert values.dtype == np.float64
        assert np.all(np.isfinite(values))
        spent = backend.counts - before
        assert (spent.device_reads, spent.pulses, spent.mvms) == (6, 0, 0)
        assert spent.chip_seconds > 0

    def test_reading_no_device_gives_no_value(self, backend: Backend) -> None:
        """An empty request has an empty answer."""
        self._needs(backend, Capability.DEVICE_READ)
        assert backend.read(self.core, []).shape == (0,)
        assert backend.counts.device_reads == 0

    def test_read_refuses_what_it_cannot_mean(self, backend: Backend) -> None:
        """Devices that do not exist, indices that are not integers, averages below one, not whole or absurdly many."""
        self._needs(backend, Capability.DEVICE_READ)
        size = backend.info.devices_per_core
        requests: Sequence[tuple[ArrayLike, Any]] = (
            ([-1], 1),
            ([size], 1),
            ([[0]], 1),
            ([0.5], 1),
            ([True], 1),
            ([0], 0),
            ([0], -3),
            ([0], 1.5),
            ([0], 10**9),
        )
        for devices, averages in requests:
            with self._nothing_sent(backend), raises(BadInputError, f"read of {devices!r} with {averages} averages"):
                backend.read(self.core, devices, averages)

    def test_averaging_reads_does_not_add_noise(self, backend: Backend) -> None:
        """Means of sixteen reads scatter less than single reads in between, or neither scatters."""
        self._needs(backend, Capability.DEVICE_READ)
        devices = self._some_devices(backend, 16)
        backend.pulse(self.core, Pulses.make(PulseKind.SET, devices, *self._set_pulse(backend)))
        backend.wait(self.pause)
        # In turns, so that what is slow in the noise is the same in both.
        turns = [[backend.read(self.core, devices, averages) for averages in (1, 16)] for _ in range(12)]
        single, averaged = np.var(turns, axis=0).mean(axis=-1)
        assert averaged < single or single == averaged == 0, f"variance {single:.3g} of one, {averaged:.3g} of sixteen"
