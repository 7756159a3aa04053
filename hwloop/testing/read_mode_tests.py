"""Conformance of the ways in which a core does an MVM."""

from __future__ import annotations

import pytest

from hwloop.chip.backend import Backend
from hwloop.errors import BadInputError
from hwloop.testing.suite import Suite, raises


class ReadModeTests(Suite):
    """Tests of `read_mode` and `set_read_mode`, skipped on a chip that lacks them."""

    def test_each_read_mode_has_a_name_of_its_own(self, backend: Backend) -> None:
        """There are two at least, and the chip is in one of them as it comes."""
        names = [mode.name for mode in self._read_modes(backend)]
        assert len(names) >= 2
        assert len(set(names)) == len(names)
        assert backend.read_mode(self.core) in names

    def test_a_read_mode_stays_until_another_is_set(self, backend: Backend) -> None:
        """Through MVMs and rests, and on this core alone."""
        others = [core for core in range(backend.info.cores) if core != self.core][:1]
        before = [backend.read_mode(core) for core in others] if self._read_modes(backend) else []
        for mode in backend.info.read_modes:
            backend.set_read_mode(self.core, mode.name)
            backend.mvm(self.core, self._probe(backend))
            backend.wait(self.pause)
            assert backend.read_mode(self.core) == mode.name
            assert [backend.read_mode(core) for core in others] == before

    def test_a_read_mode_that_the_chip_lacks_is_refused(self, backend: Backend) -> None:
        """The error lists those that it has, and the mode in use stays."""
        modes = self._read_modes(backend)
        in_use = backend.read_mode(self.core)
        for name in ("", "seven-phase", modes[0].name.upper() + " ", 0, None):
            with self._nothing_sent(backend), raises(BadInputError, f"a read mode {name!r}") as caught:
                backend.set_read_mode(self.core, name)  # type: ignore[arg-type]  # that is the test
            assert all(mode.name in str(caught.value) for mode in modes)
        assert backend.read_mode(self.core) == in_use

    def test_an_mvm_takes_the_time_of_its_mode_at_least(self, backend: Backend) -> None:
        """By the chip's clock, within a hundredth; a link may add to it."""
        x = self._probe(backend)
        for mode in self._read_modes(backend):
            backend.set_read_mode(self.core, mode.name)
            before = backend.now()
            backend.mvm(self.core, x)
            assert backend.now() - before >= 0.99 * len(x) * mode.seconds

    def test_the_read_mode_leaves_the_scale_of_the_codes(self, backend: Backend) -> None:
        """On SET devices, the slope between the responses in any two modes is 1 within a tenth."""
        modes = self._read_modes(backend)
        self._conduct(backend)
        x, used, answers = self._probe(backend), self._used_columns(backend), []
        for mode in modes:
            backend.set_read_mode(self.core, mode.name)
            answers.append((backend.mvm(self.core, x) - self._offset(backend))[:, used].ravel())
        for answer in answers[1:]:
            slope = float(answer @ answers[0]) / float(answers[0] @ answers[0])
            assert slope == pytest.approx(1.0, rel=0.1)
