"""Conformance of chips that program conductance targets by themselves."""

from __future__ import annotations

import math

import numpy as np

from hwloop.chip.backend import Backend
from hwloop.chip.info import Capability
from hwloop.chip.targets import Targets
from hwloop.errors import BadInputError, LimitError
from hwloop.testing.suite import PLACED, Suite, one_pulse, raises


class TargetTests(Suite):
    """Tests of `program_targets`, skipped on a chip that takes pulses."""

    def test_a_chip_that_takes_targets_refuses_pulses(self, backend: Backend) -> None:
        """With a way out, and without counting them."""
        self._needs(backend, Capability.TARGETS)
        with raises(LimitError, "a pulse") as caught:
            backend.pulse(self.core, one_pulse(backend))
        assert backend.counts.pulses == 0
        assert not backend.pulse_counts(self.core).any()
        assert ";" in str(caught.value), f"no way out in: {caught.value}"

    def test_targets_that_cannot_be_are_refused(self, backend: Backend) -> None:
        """Off the core, out of reach, not finite, none at all; and ages that are none. The others wait in vain."""
        self._needs(backend, Capability.TARGETS)
        info = backend.info
        reach = info.devices_per_polarity * info.g_max
        good = Targets(self.core, 0, 0, np.zeros((2, 2)))
        for row, column, cells in (
            (0, 0, np.zeros((info.rows + 1, 1))),
            (info.rows - 1, 0, np.zeros((2, 1))),
            (0, info.columns - 1, np.zeros((1, 2))),
            (-1, 0, np.zeros((1, 1))),
            (0, 0, np.zeros((0, 1))),
            (0, 0, np.full((1, 1), 1.01 * reach)),
            (0, 0, np.full((1, 1), -1.01 * reach)),
            (0, 0, np.full((1, 1), math.nan)),
        ):
            with self._nothing_sent(backend), raises(BadInputError, f"{cells.shape} from ({row}, {column}) on"):
                backend.program_targets([good, Targets(self.core, row, column, cells)], 1.0, PLACED)
        for age in (0.0, -1.0, math.nan, math.inf):
            with self._nothing_sent(backend), raises(BadInputError, f"age {age}"):
                backend.program_targets([good], age, PLACED)

    def test_outputs_follow_the_targets_at_their_age(self, backend: Backend) -> None:
        """Columns of other targets, side by side, differ by them, to a tenth; and the request is not altered."""
        self._needs(backend, Capability.TARGETS)
        self._needs(backend, Capability.MVM)
        info, rows, age = backend.info, self._driven_rows(backend), 10.0
        shares = np.array([1.0, 0.5, -0.5, -1.0])[: info.columns]
        wanted = np.tile(shares * info.g_max, (rows, 1))
        kept = wanted.copy()
        backend.program_targets([Targets(self.core, 0, 0, wanted)], age, PLACED)
        assert np.array_equal(wanted, kept)
        backend.wait(age)
        full_scale = self._suitable_range(backend, rows * info.g_max)
        x = np.zeros((64, info.rows), np.int32)
        x[:, :rows] = info.input_max
        sums = (backend.mvm(self.core, x) - self._offset(backend)).mean(0)[: len(shares)] * full_scale / info.code_max
        error = sums / (rows * info.g_max) - shares
        assert np.abs(error).max() < 0.1, f"column sums are off by {np.round(error, 3)} of the largest target"
