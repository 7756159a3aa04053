"""Conformance of transposed products, and of pulsed updates."""

from __future__ import annotations

import math

import numpy as np

from hwloop.chip.backend import Backend
from hwloop.chip.info import Capability
from hwloop.chip.updates import PulseTrains
from hwloop.errors import BadInputError, LimitError
from hwloop.testing.suite import Suite, budget, raises
from hwloop.typing import CodeArray, FloatArray


class UpdateTests(Suite):
    """Tests of `update` and of `mvm` with rows and columns exchanged, skipped on a chip without them."""

    def test_a_transposed_product_answers_for_rows(self, backend: Backend) -> None:
        """int32 codes (batch, rows) within the converter's range, all of them or a slice."""
        self._needs(backend, Capability.TRANSPOSED_MVM)
        info = backend.info
        x = np.random.default_rng(0).integers(-info.input_max, info.input_max + 1, (3, info.columns))
        before = backend.counts
        codes = backend.mvm(self.core, x, transposed=True)
        assert codes.shape == (3, info.rows)
        assert codes.dtype == np.int32
        assert np.abs(codes).max() <= info.code_max
        assert (backend.counts - before).mvms == 3
        assert backend.mvm(self.core, x, slice(0, 1), transposed=True).shape == (3, 1)

    def test_a_transposed_product_refuses_inputs_of_rows(self, backend: Backend) -> None:
        """Its inputs are as wide as the core has columns."""
        self._needs(backend, Capability.TRANSPOSED_MVM)
        wide = np.zeros((1, backend.info.columns + 1), np.int32)
        with self._nothing_sent(backend), raises(BadInputError, "a column too many"):
            backend.mvm(self.core, wide, transposed=True)
        with self._nothing_sent(backend), raises(BadInputError, "a row that does not exist"):
            backend.mvm(self.core, wide[:, 1:], slice(0, backend.info.rows + 1), transposed=True)

    def test_both_products_are_of_the_same_cells(self, backend: Backend) -> None:
        """What row i adds to column j is what column j adds to row i, within four standard errors and half a code."""
        self._needs(backend, Capability.TRANSPOSED_MVM)
        self._stepping(backend)
        self._conduct(backend)
        rows = min(4, self._driven_rows(backend))
        columns = range(*self._used_columns(backend).indices(backend.info.columns))
        for row, column in zip(range(rows), columns, strict=False):
            forward, error = self._response(backend, row, column, transposed=False)
            back, other = self._response(backend, column, row, transposed=True)
            assert abs(forward - back) <= 4 * math.hypot(error, other) + 0.5, f"row {row}, column {column}"

    def test_certain_slots_step_each_device_once(self, backend: Backend) -> None:
        """With the largest integers and full probabilities every slot is a coincidence, which is counted."""
        devices = self._stepping(backend)
        x, d = self._outer(backend, devices.levels, devices.levels)
        before = backend.counts
        backend.update(self.core, x, d, PulseTrains(3))
        assert np.array_equal(backend.pulse_counts(self.core)[0, 0], 3 * np.outer(x[0] != 0, d[0] != 0))
        spent = backend.counts - before
        assert (spent.updates, spent.pulses) == (1, 3 * int(np.count_nonzero(np.outer(x, d))))
        assert spent.chip_seconds > 0

    def test_signs_decide_on_the_direction(self, backend: Backend) -> None:
        """As many steps as lead from one end of the range to the other move cells apart, up and down."""
        devices = self._stepping(backend)
        self._suitable_range(backend, 2 * devices.half_range)
        count = min(int(devices.states), devices.longest)
        for sign in (1, -1):
            x, d = self._outer(backend, count, sign * count)
            backend.update(self.core, x, d, PulseTrains(count, stochastic=False))
            found, error = self._response(backend, 0, 0, transposed=False)
            assert sign * found > 3 * error, f"{found:.3g} codes, standard error {error:.2g}"

    def test_coincidences_come_as_often_as_their_probability(self, backend: Backend) -> None:
        """Length |x d| p_x p_d / levels^2 in the mean, within four standard errors over independent updates."""
        devices = self._stepping(backend)
        top = devices.levels
        x, d = self._outer(backend, top // 2, -top)
        share, length, batches = (top // 2) / top, 20, 40
        met = []
        for _ in range(batches):
            before = backend.pulse_counts(self.core)
            backend.update(self.core, x, d, PulseTrains(length, 0.8, 0.5))
            met.append((backend.pulse_counts(self.core) - before).sum() / np.count_nonzero(np.outer(x, d)))
        expected = length * share * 0.8 * 0.5
        assert abs(np.mean(met) - expected) <= 4 * np.std(met, ddof=1) / math.sqrt(batches)

    def test_an_impossible_update_is_refused(self, backend: Backend) -> None:
        """Shapes, kinds, integers and trains are checked before anything is sent."""
        devices = self._stepping(backend)
        x, d = self._outer(backend, 1, 1)
        wrong = (
            (BadInputError, x[:, :-1], d, PulseTrains(3)),
            (BadInputError, x, d[:0], PulseTrains(3)),
            (BadInputError, x * 0.5, d, PulseTrains(3)),
            (LimitError, x * (devices.levels + 1), d, PulseTrains(3)),
            (LimitError, x, d, PulseTrains(devices.longest + 1)),
            (LimitError, x, d, PulseTrains(3, math.nan)),
            (LimitError, 4 * x, d, PulseTrains(3, stochastic=False)),
        )
        for error, rows, columns, trains in wrong:
            with self._nothing_sent(backend), raises(error, f"{trains}"):
                backend.update(self.core, rows, columns, trains)
        with self._nothing_sent(backend):
            backend.update(self.core, x[:0], d[:0])

    def test_trains_that_may_spend_a_budget_are_refused(self, backend: Backend) -> None:
        """Whatever fires: a train of more slots than a device has pulses left is not sent."""
        devices = self._stepping(backend)
        x, d = self._outer(backend, devices.levels, devices.levels)
        with budget(backend, 5):
            backend.update(self.core, x, d, PulseTrains(3))
            with self._nothing_sent(backend), raises(LimitError, "three more on a budget of five"):
                backend.update(self.core, x, d, PulseTrains(3))
            backend.update(self.core, x, d, PulseTrains(2))
        assert backend.pulse_counts(self.core).max() == 5

    def _outer(self, backend: Backend, x: int, d: int) -> tuple[CodeArray, CodeArray]:
        """Return one update of the first rows and columns, the same integers for all of them."""
        rows, columns = np.zeros((2, 1, max(backend.info.rows, backend.info.columns)), np.int32)
        rows[0, : self._driven_rows(backend)] = x
        columns[0, self._used_columns(backend)] = d
        return rows[:, : backend.info.rows], columns[:, : backend.info.columns]

    def _response(self, backend: Backend, line: int, output: int, *, transposed: bool) -> tuple[float, float]:
        """Return half the difference of an output's mean code between both signs of one input, and its error."""
        info, batch = backend.info, 256
        x = np.zeros((batch, info.columns if transposed else info.rows), np.int32)
        means: list[FloatArray] = []
        for sign in (1, -1):
            x[:, line] = sign * info.input_max
            means.append(backend.mvm(self.core, x, transposed=transposed)[:, output].astype(np.float64))
        error = math.hypot(*(values.std(ddof=1) for values in means)) / (2 * math.sqrt(batch))
        return float(means[0].mean() - means[1].mean()) / 2, error
