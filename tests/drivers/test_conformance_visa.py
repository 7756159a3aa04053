"""The conformance suite against the VISA driver, over a real socket to the emulated instrument."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import hwloop
from hwloop.chip.backend import Backend
from hwloop.sim_backend.server.server import serving
from hwloop.testing.conformance import BackendConformance
from tests.drivers.conftest import SMALL, resource


class TestVisaChip(BackendConformance):
    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        with (
            hwloop.connect(SMALL) as chip,
            serving(chip) as port,
            hwloop.connect(f"visa:{resource(port)}") as client,
        ):
            yield client


class TestSteppingVisaChip(BackendConformance):
    """Transposed products and pulsed updates go over the wire as well."""

    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        with (
            hwloop.connect("sim:rpu-baseline?rows=32&columns=24&cores=2&seed=1") as chip,
            serving(chip) as port,
            hwloop.connect(f"visa:{resource(port)}") as client,
        ):
            yield client
