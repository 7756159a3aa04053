"""Conformance of matrix-vector products."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hwloop.chip.backend import Backend
from hwloop.chip.info import Capability
from hwloop.errors import BadInputError, LimitError
from hwloop.testing.suite import Suite, raises


class MvmTests(Suite):
    """Tests of `mvm`, skipped on a chip without it."""

    def test_mvm_answers_with_codes_of_the_stated_kind(self, backend: Backend) -> None:
        """int32 codes (batch, columns) within the converter's range, for every integer type and for lists."""
        self._needs(backend, Capability.MVM)
        info = backend.info
        rng = np.random.default_rng(0)
        for batch in (1, 2, 7):
            codes = backend.mvm(self.core, rng.integers(-info.input_max, info.input_max + 1, (batch, info.rows)))
            assert codes.shape == (batch, info.columns)
            assert codes.dtype == np.int32
            assert np.abs(codes).max() <= info.code_max
        small = rng.integers(0, 2, (3, info.rows))
        for x in (small.astype(np.int8), small.astype(np.uint16), small.tolist(), np.asfortranarray(small)):
            assert backend.mvm(self.core, x).shape == (3, info.columns)

    def test_mvm_gives_the_columns_that_are_wanted(self, backend: Backend) -> None:
        """A slice of neighbours, with the codes that they have among all columns; time and counts are the same."""
        self._needs(backend, Capability.MVM)
        columns = backend.info.columns
        x = np.tile(self._probe(backend)[:1], (64, 1))
        whole, spent = backend.mvm(self.core, x).astype(np.float64), backend.counts
        first, end = columns // 3, max(columns // 3 + 1, columns // 2)
        part = backend.mvm(self.core, x, slice(first, end))
        later = backend.counts - spent
        assert part.shape == (64, end - first)
        assert part.dtype == np.int32
        assert later.mvms == 64
        assert later.chip_seconds > 0
        error = np.sqrt((whole[:, first:end].var(0) + part.var(0) + 1.0) / 64)
        assert np.all(np.abs(part.mean(0) - whole[:, first:end].mean(0)) < 6.0 * error + 2.0)
        assert backend.mvm(self.core, x[:1], slice(None)).shape == (1, columns)

    def test_mvm_refuses_columns_that_are_none(self, backend: Backend) -> None:
        """Outside of the core, empty, every second one, and what is no slice."""
        self._needs(backend, Capability.MVM)
        columns, x = backend.info.columns, np.zeros((1, backend.info.rows), np.int32)
        for wanted in (
            slice(0, columns + 1), slice(-1, columns), slice(1, 1), slice(0, 1, 2), slice(0.5, 1), 3, [0, 1], "all",
        ):  # fmt: skip
            with self._nothing_sent(backend), raises(BadInputError, f"mvm of columns {wanted!r}"):
                backend.mvm(self.core, x, wanted)  # type: ignore[arg-type]

    def test_mvm_counts_vectors(self, backend: Backend) -> None:
        """One per input vector, and nothing else."""
        self._needs(backend, Capability.MVM)
        before = backend.counts
        backend.mvm(self.core, np.zeros((5, backend.info.rows), np.int32))
        spent = backend.counts - before
        assert (spent.mvms, spent.pulses, spent.device_reads) == (5, 0, 0)
        assert spent.chip_seconds > 0

    def test_mvm_refuses_inputs_of_another_shape_or_type(self, backend: Backend) -> None:
        """Two dimensions, one entry per row, integers alone: nothing is rounded or padded."""
        self._needs(backend, Capability.MVM)
        rows = backend.info.rows
        for x in (
            np.zeros(rows, np.int32),
            np.zeros((1, rows + 1), np.int32),
            np.zeros((0, rows), np.int32),
            np.zeros((1, 1, rows), np.int32),
            np.zeros((1, rows)),
            np.full((1, rows), math.nan),
            np.zeros((1, rows), bool),
            np.zeros((1, rows), complex),
        ):
            with self._nothing_sent(backend), raises(BadInputError, f"mvm of {x.dtype} {x.shape}"):
                backend.mvm(self.core, x)

    def test_mvm_refuses_inputs_beyond_the_converters(self, backend: Backend) -> None:
        """The largest inputs work, one more does not."""
        self._needs(backend, Capability.MVM)
        top = backend.info.input_max
        x = np.zeros((2, backend.info.rows), np.int64)
        x[1, 0] = top
        backend.mvm(self.core, x)
        backend.mvm(self.core, -x)
        for beyond in (top + 1, -top - 1, 2**40):
            x[1, 0] = beyond
            with self._nothing_sent(backend), raises(LimitError, f"an input of {beyond}"):
                backend.mvm(self.core, x)

    def test_zero_input_gives_codes_near_the_offset(self, backend: Backend) -> None:
        """No drive, no current: what is left are the converters' offsets."""
        self._needs(backend, Capability.MVM)
        limit = self.zero_code_max or max(8.0, 0.1 * backend.info.code_max)
        codes = backend.mvm(self.core, np.zeros((16, backend.info.rows), np.int32))
        worst = np.abs(np.median(codes, axis=0)).max()
        assert worst <= limit, f"a column answers {worst} to zero input"

    def test_opposite_inputs_give_opposite_codes(self, backend: Backend) -> None:
        """On SET devices: the responses to x and -x, less the offset, correlate by less than -0.9."""
        self._needs(backend, Capability.MVM)
        self._conduct(backend)
        x = self._probe(backend)
        offset = self._offset(backend)
        there, back = backend.mvm(self.core, x) - offset, backend.mvm(self.core, -x) - offset
        used = self._used_columns(backend)
        correlation = np.corrcoef(there[:, used].ravel(), back[:, used].ravel())[0, 1]
        assert correlation < -0.9, f"correlation {correlation:.3f}"

    def test_half_the_input_gives_half_the_code(self, backend: Backend) -> None:
        """On SET devices, the slope of the responses to x and 2 x is 2 within a tenth."""
        self._needs(backend, Capability.MVM)
        self._conduct(backend)
        x = np.trunc(self._probe(backend) / 2).astype(np.int32)
        offset, used = self._offset(backend), self._used_columns(backend)
        half, full = ((backend.mvm(self.core, k * x) - offset)[:, used].ravel() for k in (1, 2))
        slope = float(full @ half) / float(half @ half)
        assert slope == pytest.approx(2.0, rel=0.1)
