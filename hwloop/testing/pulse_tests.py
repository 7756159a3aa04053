"""Conformance of pulses: limits, budgets, counts, and what SET and RESET pulses do."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hwloop.chip.backend import Backend
from hwloop.chip.info import Capability
from hwloop.chip.pulses import PulseKind, Pulses
from hwloop.errors import BadInputError, LimitError
from hwloop.testing.suite import Suite, budget, one_pulse, raises


class PulseTests(Suite):
    """Tests of `pulse` and `pulse_counts`."""

    @pytest.mark.parametrize("kind", PulseKind)
    @pytest.mark.parametrize("amplitude", [0.0, -1.0, math.nan, math.inf, -math.inf, "above"])
    def test_an_impossible_amplitude_is_refused(
        self, backend: Backend, kind: PulseKind, amplitude: float | str
    ) -> None:
        """Among good amplitudes too: one bad pulse stops the whole batch."""
        limits = backend.info.limits
        bad = np.nextafter(limits.amplitude_max, math.inf) if amplitude == "above" else float(amplitude)
        good = limits.amplitude_max / 2
        with self._nothing_sent(backend), raises(LimitError, f"amplitude {bad}"):
            backend.pulse(self.core, Pulses.make(kind, [0, 1, 2], [good, bad, good], limits.width_min))

    @pytest.mark.parametrize("kind", PulseKind)
    @pytest.mark.parametrize("width", [0.0, -1.0, math.nan, math.inf, "below", "above"])
    def test_an_impossible_width_is_refused(self, backend: Backend, kind: PulseKind, width: float | str) -> None:
        """Among good widths too."""
        limits = backend.info.limits
        edges = {"below": np.nextafter(limits.width_min, 0), "above": np.nextafter(limits.width_max, math.inf)}
        bad = edges[width] if isinstance(width, str) else width
        with self._nothing_sent(backend), raises(LimitError, f"width {bad}"):
            backend.pulse(
                self.core,
                Pulses.make(kind, [0, 1], limits.amplitude_max / 2, [limits.width_min, bad]),
            )

    def test_the_limits_themselves_are_allowed(self, backend: Backend) -> None:
        """A limit is what may be sent: largest amplitude, shortest width."""
        self._takes_pulses(backend)
        limits = backend.info.limits
        backend.pulse(self.core, Pulses.make(PulseKind.RESET, [0], limits.amplitude_max, limits.width_min))
        assert backend.counts.pulses == 1

    def test_devices_that_do_not_exist_or_occur_twice_are_refused(self, backend: Backend) -> None:
        """Indices run from 0 to devices_per_core - 1, each at most once in a batch."""
        limits, size = backend.info.limits, backend.info.devices_per_core
        for devices in ([-1], [size], [0, size], [3, 1, 3]):
            with self._nothing_sent(backend), raises(BadInputError, f"devices {devices}"):
                backend.pulse(
                    self.core, Pulses.make(PulseKind.RESET, devices, limits.amplitude_max / 2, limits.width_min)
                )

    def test_a_spent_budget_is_final(self, backend: Backend) -> None:
        """A device gets as many pulses as its budget allows, and then none, alone or among others."""
        self._takes_pulses(backend)
        with budget(backend, 2):
            for _ in range(2):
                backend.pulse(self.core, one_pulse(backend))
            limits = backend.info.limits
            for devices in ([0], [1, 0, 2]):
                with self._nothing_sent(backend), raises(LimitError, "a third pulse on a budget of two"):
                    backend.pulse(
                        self.core, Pulses.make(PulseKind.RESET, devices, limits.amplitude_max / 2, limits.width_min)
                    )
            backend.pulse(self.core, one_pulse(backend, device=1))
        assert backend.counts.pulses == 3

    def test_an_empty_batch_does_nothing(self, backend: Backend) -> None:
        """No devices, no pulse, no error."""
        with self._nothing_sent(backend):
            backend.pulse(self.core, Pulses.make(PulseKind.SET, [], 1.0, 1.0))

    def test_every_pulse_is_counted_once(self, backend: Backend) -> None:
        """In the total and for each device, at its place in (2, K, rows, columns)."""
        self._takes_pulses(backend)
        shape, limits = backend.info.device_shape, backend.info.limits
        last = backend.info.devices_per_core - 1
        before = backend.counts
        for devices in ([0, last], [last]):
            backend.pulse(self.core, Pulses.make(PulseKind.RESET, devices, limits.amplitude_max / 2, limits.width_min))
        counts = backend.pulse_counts(self.core)
        assert counts.shape == shape
        assert (counts[0, 0, 0, 0], counts[1, -1, -1, -1], counts.sum()) == (1, 2, 3)
        spent = backend.counts - before
        assert (spent.pulses, spent.device_reads, spent.mvms) == (3, 0, 0)
        assert spent.chip_seconds > 0
        assert spent.link_bytes >= 0

    def test_counts_handed_out_do_not_change(self, backend: Backend) -> None:
        """`counts` and `pulse_counts` are copies: later pulses do not alter them, nor do changes to them the chip's."""
        self._takes_pulses(backend)
        total, per_device = backend.counts, backend.pulse_counts(self.core)
        backend.pulse(self.core, one_pulse(backend))
        assert total.pulses == 0
        assert per_device.sum() == 0
        per_device += 7
        assert backend.pulse_counts(self.core).sum() == 1

    def test_a_request_is_not_altered(self, backend: Backend) -> None:
        """Arrays given to a backend stay the caller's."""
        self._takes_pulses(backend)
        limits = backend.info.limits
        devices, amplitude = np.array([2, 0, 1]), np.array([0.5, 0.4, 0.3]) * limits.amplitude_max
        x = np.full((2, backend.info.rows), backend.info.input_max, np.int32)
        backend.pulse(self.core, Pulses.make(PulseKind.RESET, devices, amplitude, limits.width_min))
        if Capability.MVM in backend.info.capabilities:
            backend.mvm(self.core, x)
        assert devices.tolist() == [2, 0, 1]
        assert np.array_equal(amplitude, np.array([0.5, 0.4, 0.3]) * limits.amplitude_max)
        assert np.all(x == backend.info.input_max)

    def test_a_higher_reset_amplitude_leaves_less_conductance(self, backend: Backend) -> None:
        """And the lower one more again, whatever came before: the right flank of the programming curve.

        In the mean over a row of devices: 3 standard errors and a fifth, so that drift alone does not pass.
        """
        self._needs(backend, Capability.DEVICE_READ)
        self._melts(backend)
        gentle, strong, width = self._reset_pulses(backend)
        devices = self._some_devices(backend, 64)
        after = []
        for amplitude in (gentle, strong, gentle):
            backend.pulse(self.core, Pulses.make(PulseKind.RESET, devices, amplitude, width))
            backend.wait(self.pause)
            after.append(backend.read(self.core, devices, 16))
        low = after[1]
        for high in (after[0], after[2]):
            fall = high - low
            error = fall.std(ddof=1) / math.sqrt(fall.size)
            assert fall.mean() > max(3 * error, 0.2 * high.mean()), (
                f"{high.mean():.3g} uS after {gentle:g} uA, {low.mean():.3g} uS after {strong:g} uA"
            )

    def test_a_long_set_pulse_raises_the_conductance(self, backend: Backend) -> None:
        """After a strong RESET, a long SET pulse brings devices back up (3 standard errors)."""
        self._needs(backend, Capability.DEVICE_READ)
        self._melts(backend)
        _, strong, width = self._reset_pulses(backend)
        devices = self._some_devices(backend, 64)
        backend.pulse(self.core, Pulses.make(PulseKind.RESET, devices, strong, width))
        before = backend.read(self.core, devices, 16)
        backend.pulse(self.core, Pulses.make(PulseKind.SET, devices, *self._set_pulse(backend)))
        rise = backend.read(self.core, devices, 16) - before
        error = rise.std(ddof=1) / math.sqrt(rise.size)
        assert rise.mean() > 3 * error, f"mean rise {rise.mean():.3g} uS, standard error {error:.2g} uS"
