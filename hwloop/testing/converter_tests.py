"""Conformance of the column converters: their range and their trims."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hwloop.chip.backend import Backend
from hwloop.chip.info import Capability
from hwloop.chip.pulses import PulseKind, Pulses
from hwloop.errors import BadInputError, LimitError
from hwloop.testing.suite import Suite, raises


class ConverterTests(Suite):
    """Tests of `adc_range`, `set_adc_range`, `trims` and `set_trims`, skipped where a chip lacks them."""

    def test_the_converter_range_lies_within_its_limits(self, backend: Backend) -> None:
        """As the chip comes, and at both ends of what it allows."""
        low, high = backend.info.adc_range
        assert low <= backend.adc_range(self.core) <= high
        if Capability.ADC_RANGE in backend.info.capabilities:
            for full_scale in (low, high):
                backend.set_adc_range(self.core, full_scale)
                assert backend.adc_range(self.core) == pytest.approx(full_scale, rel=1e-3)

    def test_a_converter_range_outside_is_refused(self, backend: Backend) -> None:
        """And the range in use stays."""
        self._needs(backend, Capability.ADC_RANGE)
        low, high = backend.info.adc_range
        for full_scale in (low / 2, high * 2, 0.0, -low, math.nan, math.inf):
            in_use = backend.adc_range(self.core)
            with self._nothing_sent(backend), raises(LimitError, f"a range of {full_scale} uS"):
                backend.set_adc_range(self.core, full_scale)
            assert backend.adc_range(self.core) == in_use

    def test_half_the_converter_range_doubles_the_codes(self, backend: Backend) -> None:
        """On SET devices, within a tenth."""
        self._needs(backend, Capability.MVM)
        self._needs(backend, Capability.ADC_RANGE)
        wide = self._conduct(backend)
        x, used = self._probe(backend), self._used_columns(backend)
        narrow = wide / 2
        if narrow < backend.info.adc_range[0]:
            pytest.skip(f"the smallest range, {backend.info.adc_range[0]:g} uS, leaves no room for this comparison")
        answers = []
        for full_scale in (wide, narrow):
            backend.set_adc_range(self.core, full_scale)
            answers.append((backend.mvm(self.core, x) - self._offset(backend))[:, used].ravel())
        slope = float(answers[1] @ answers[0]) / float(answers[0] @ answers[0])
        assert slope == pytest.approx(2.0, rel=0.1)

    def test_trims_outside_their_registers_are_refused(self, backend: Backend) -> None:
        """One bad column among good ones stops the whole, the error names it, and the trims in use stay."""
        limits, last = self._trim_limits(backend), backend.info.columns - 1
        backend.set_trims(self.core, *self._some_trims(backend))
        in_use = backend.trims(self.core)
        for which, reach in enumerate((limits.offset_max, limits.gain_max)):
            for bad in (1.01 * reach, -1.01 * reach, math.nan, math.inf, -math.inf):
                trims = np.zeros((2, backend.info.columns))
                trims[which, last] = bad
                with self._nothing_sent(backend), raises(LimitError, f"a trim of {bad}") as caught:
                    backend.set_trims(self.core, *trims)
                assert f"column {last}" in str(caught.value)
        for now, before in zip(backend.trims(self.core), in_use, strict=True):
            assert np.array_equal(now, before)

    def test_trims_of_another_shape_are_refused(self, backend: Backend) -> None:
        """One offset and one gain for each column: nothing is repeated or padded."""
        self._trim_limits(backend)
        good = np.zeros(backend.info.columns)
        for bad in (0.0, np.zeros(backend.info.columns + 1), np.zeros((1, backend.info.columns)), "none"):
            for trims in ((bad, good), (good, bad)):
                with self._nothing_sent(backend), raises(BadInputError, f"trims of the shape {np.shape(bad)}"):
                    backend.set_trims(self.core, *trims)

    def test_trims_are_read_back_in_steps_of_their_registers(self, backend: Backend) -> None:
        """Of each column its own, within half a step of what was asked for, up to both ends of the registers."""
        limits, columns = self._trim_limits(backend), backend.info.columns
        reach, step = (limits.offset_max, limits.gain_max), (limits.offset_step, limits.gain_step)
        ends = [np.where(np.arange(columns) % 2, r, -r) for r in reach]
        for asked in (self._some_trims(backend), ends, np.zeros((2, columns))):
            backend.set_trims(self.core, *asked)
            for read, wanted, most, fine in zip(backend.trims(self.core), asked, reach, step, strict=True):
                assert read.shape == (columns,)
                assert read.dtype == np.float64
                assert np.abs(read - wanted).max() <= 0.5001 * fine
                assert np.abs(read).max() <= most * (1 + 1e-9)
                assert read / fine == pytest.approx(np.rint(read / fine), abs=1e-6)

    def test_an_offset_trim_moves_idle_outputs_and_zero_restores_them(self, backend: Backend) -> None:
        """By as many LSB as were written, up in some columns and down in others.

        Within 5 standard errors and a tenth of the trim, for converters are not linear even near zero.
        """
        self._needs(backend, Capability.MVM)
        limits, columns = self._trim_limits(backend), backend.info.columns
        whole = math.floor(min(limits.offset_max, 4.0))  # by whole LSB, what rounding makes of the noise stays the same
        if not whole:
            pytest.skip(f"the registers reach {limits.offset_max:g} LSB, less than an output code")
        none, moved = np.zeros(columns), np.where(np.arange(columns) % 2, whole, -whole)
        before, sigma = self._idle(backend)
        for trim in (moved, none):
            backend.set_trims(self.core, trim, none)
            in_use, _ = backend.trims(self.core)
            after, _ = self._idle(backend)
            room = 5 * math.sqrt(2) * sigma + np.abs(in_use - trim) + 0.1 * np.abs(trim)
            assert np.all(np.abs(after - before - trim) <= room), f"idle outputs after trims of {trim[:2]} LSB"

    def test_a_gain_trim_scales_outputs(self, backend: Backend) -> None:
        """On SET devices, from one end of the registers to the other, within a quarter of the change."""
        self._needs(backend, Capability.MVM)
        limits, none = self._trim_limits(backend), np.zeros(backend.info.columns)
        self._conduct(backend)
        x, used = self._probe(backend), self._used_columns(backend)
        answers = []
        for gain in (-limits.gain_max, limits.gain_max):
            backend.set_trims(self.core, none, none + gain)
            answers.append((backend.mvm(self.core, x) - self._offset(backend))[:, used].ravel())
        expected = (1 + limits.gain_max) / (1 - limits.gain_max)
        slope = float(answers[1] @ answers[0]) / float(answers[0] @ answers[0])
        assert slope == pytest.approx(expected, abs=0.25 * (expected - 1))

    def test_a_gain_trim_scales_device_reads_too(self, backend: Backend) -> None:
        """They go through the same converters; on devices half RESET, which leave the converters room."""
        self._needs(backend, Capability.DEVICE_READ)
        limits, none = self._trim_limits(backend), np.zeros(backend.info.columns)
        gentle, strong, width = self._reset_pulses(backend)
        devices = self._some_devices(backend, 64)
        backend.pulse(self.core, Pulses.make(PulseKind.RESET, devices, (gentle + strong) / 2, width))
        backend.wait(self.pause)
        reads = []
        for gain in (-limits.gain_max, limits.gain_max):
            backend.set_trims(self.core, none, none + gain)
            reads.append(backend.read(self.core, devices, 64))
        expected = (1 + limits.gain_max) / (1 - limits.gain_max)
        slope = float(reads[1] @ reads[0]) / float(reads[0] @ reads[0])
        assert slope == pytest.approx(expected, abs=0.25 * (expected - 1))
