"""No pulse beyond a chip's limits reaches its devices, whichever way it is asked for: sim, visa and bench.

What must hold for the commands of a plain SCPI client is in tests/sim_backend/server/test_instrument_limits.py, what
the bench instruments are told in tests/drivers/bench/test_instruments.py.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hwloop
from hwloop.chip.backend import Backend
from hwloop.chip.pulses import PulseKind, Pulses
from hwloop.errors import BadInputError, LimitError
from hwloop.sim_backend.server.server import serving
from tests.drivers.bench.emulated import rig
from tests.drivers.conftest import resource

CHIP = "sim:pcm-90nm?rows=4&columns=4&seed=2"
BUDGET = 5
EDGES = [
    0.0,
    -0.0,
    0.39,
    0.4,
    500.0,
    np.nextafter(500.0, 501.0),
    20.0,
    np.nextafter(20.0, 0.0),
    2e4,
    2.1e4,
    np.inf,
    np.nan,
]
ANY = st.floats() | st.sampled_from(EDGES)
BATCH = st.lists(st.tuples(st.integers(-1, 33), ANY, ANY), min_size=1, max_size=4)


class Reached:
    """Every pulse that reaches the devices behind a backend: device, amplitude (uA), width (ns)."""

    def __init__(self, chip: Backend) -> None:
        self.pulses: list[tuple[int, float, float]] = []
        carry_out = chip._pulse

        def note(core: int, pulses: Pulses) -> None:
            self.pulses += zip(pulses.devices.tolist(), pulses.amplitude.tolist(), pulses.width.tolist(), strict=True)
            carry_out(core, pulses)

        chip._pulse = note  # type: ignore[method-assign]


def frugal(uri: str) -> Backend:
    """A chip whose devices may receive few pulses."""
    chip = hwloop.connect(uri)
    chip._info = dataclasses.replace(chip.info, limits=dataclasses.replace(chip.info.limits, pulses_per_device=BUDGET))
    return chip


@contextlib.contextmanager
def entry(kind: str, folder: Path) -> Iterator[tuple[Backend, Reached]]:
    """A backend, and what reaches the devices behind it."""
    if kind == "bench":
        with rig(folder) as emulated:
            text = emulated.file.read_text()
            emulated.file.write_text(text.replace("pulses_per_device = 10000", f"pulses_per_device = {BUDGET}"))
            with hwloop.connect(f"bench:{emulated.file}") as chip:
                yield chip, Reached(emulated.crossbar.chip)
        return
    with frugal(CHIP) as simulated:
        reached = Reached(simulated)
        if kind == "sim":
            yield simulated, reached
            return
        with serving(simulated) as port, hwloop.connect(f"visa:{resource(port)}") as chip:
            yield chip, reached


@pytest.mark.parametrize("kind", ["sim", "visa", "bench"])
@given(batches=st.lists(BATCH, min_size=1, max_size=6), shared=st.booleans())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_no_request_gets_past_amplitude_width_or_budget(tmp_path: Path, kind: str, batches, shared: bool):
    """Batches of anything at all; `shared`: all of them on the same few devices, so that budgets are spent."""
    with entry(kind, tmp_path) as (chip, reached):
        limits = chip.info.limits
        for batch in batches:
            devices, amplitude, width = (np.array(column) for column in zip(*batch, strict=True))
            devices = devices % 3 if shared else devices
            before = len(reached.pulses)
            try:
                chip.pulse(0, Pulses.make(PulseKind.RESET, devices, amplitude, width))
                assert len(reached.pulses) == before + len(batch)
            except (LimitError, BadInputError):
                assert len(reached.pulses) == before, "a batch was refused and a part of it carried out"
        assert all(0 < amplitude <= limits.amplitude_max for _, amplitude, _ in reached.pulses)
        assert all(limits.width_min <= width <= limits.width_max for _, _, width in reached.pulses)
        received = np.bincount([device for device, _, _ in reached.pulses], minlength=32)
        assert received.max(initial=0) <= BUDGET
        assert np.array_equal(chip.pulse_counts(0).reshape(-1), received)


@pytest.mark.parametrize("kind", ["sim", "visa", "bench"])
def test_the_budget_ends_a_device(tmp_path: Path, kind: str):
    with entry(kind, tmp_path) as (chip, reached):
        for _ in range(BUDGET):
            chip.pulse(0, Pulses.make(PulseKind.RESET, [7], 250.0, 100.0))
        with pytest.raises(LimitError, match="budget of 5 pulses is spent"):
            chip.pulse(0, Pulses.make(PulseKind.RESET, [6, 7], 250.0, 100.0))
        assert [device for device, _, _ in reached.pulses] == [7] * BUDGET
