"""Conformance of what only simulated chips can do: exact placement and saved states."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from hwloop.chip.backend import Backend
from hwloop.chip.info import Capability
from hwloop.errors import BadInputError
from hwloop.testing.suite import Suite, raises


class SimulationTests(Suite):
    """Tests of `place`, `export_state` and `import_state`, skipped on a chip without them."""

    def test_a_placed_conductance_is_reached_at_its_age(self, backend: Backend) -> None:
        """Mean of a row of devices, read at that age, within 3 standard errors and a quarter of a converter step."""
        self._needs(backend, Capability.EXACT_PLACEMENT)
        self._needs(backend, Capability.DEVICE_READ)
        devices, target = self._some_devices(backend, 64), 0.6 * backend.info.g_max
        backend.place(self.core, devices, np.full(devices.size, target), age=100.0)
        backend.wait(100.0)
        error = backend.read(self.core, devices, 16) - target
        standard = error.std(ddof=1) / math.sqrt(error.size)
        step = 2 * backend.info.g_max / backend.info.code_max
        assert abs(error.mean()) < 3 * standard + step / 4, f"mean error {error.mean():.3g} +- {standard:.2g} uS"

    def test_placement_refuses_what_cannot_be(self, backend: Backend) -> None:
        """Negative, NaN or too few conductances, devices twice or out of the core, ages that are none."""
        self._needs(backend, Capability.EXACT_PLACEMENT)
        size = backend.info.devices_per_core
        requests: Sequence[tuple[ArrayLike, ArrayLike, float]] = (
            ([0], [-1.0], 1.0),
            ([0], [math.nan], 1.0),
            ([0], [math.inf], 1.0),
            ([0, 1], [1.0], 1.0),
            ([1, 1], [1.0, 1.0], 1.0),
            ([size], [1.0], 1.0),
            ([-1], [1.0], 1.0),
            ([0.5], [1.0], 1.0),
            ([0], [1.0], 0.0),
            ([0], [1.0], -1.0),
            ([0], [1.0], math.nan),
        )
        for devices, conductance, age in requests:
            with self._nothing_sent(backend), raises(BadInputError, f"place({devices!r}, {conductance!r}, {age})"):
                backend.place(self.core, devices, conductance, age)

    def test_a_restored_chip_goes_on_as_the_saved_one_did(self, backend: Backend) -> None:
        """The same codes, reads, clock and pulse counts, after anything that was done in between."""
        self._needs(backend, Capability.MVM)
        self._needs(backend, Capability.STATE)
        self._conduct(backend)
        if Capability.TRIMS in backend.info.capabilities:
            backend.set_trims(self.core, *self._some_trims(backend))
        backend.mvm(self.core, self._probe(backend))
        saved = backend.export_state()
        assert all(isinstance(array, np.ndarray) and array.dtype.kind in "biuf" for array in saved.values())
        kept = {name: array.copy() for name, array in saved.items()}
        first = self._history(backend)
        assert all(np.array_equal(saved[name], array) for name, array in kept.items()), "a saved state must not change"
        backend.import_state(saved)
        second = self._history(backend)
        for name, value in first.items():
            assert np.array_equal(value, second[name]), f"{name} differ after the state was restored"
