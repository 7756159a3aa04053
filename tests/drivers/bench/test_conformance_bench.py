"""The conformance suite against a bench of emulated instruments, over real sockets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import hwloop
from hwloop.chip.backend import Backend
from hwloop.testing.conformance import BackendConformance
from tests.drivers.bench.emulated import Rig


class TestBench(BackendConformance):
    @pytest.fixture
    def backend(self, emulated: Rig) -> Iterator[Backend]:
        with hwloop.connect(f"bench:{emulated.file}") as chip:
            yield chip
        assert emulated.idle
        assert not emulated.crossbar.violations
