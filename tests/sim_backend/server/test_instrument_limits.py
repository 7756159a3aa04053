"""No message, right or wrong, gets a pulse past the chip's limits: property tests on what reaches the devices."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import hwloop
from hwloop.chip.pulses import Pulses
from hwloop.scpi import dialect
from hwloop.scpi.arrays import INDEX, REAL
from hwloop.sim_backend.server.instrument import Instrument

CHIP = "sim:pcm-ideal?rows=4&columns=4"
ANY = st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from([500.0, 500.00001, 20.0, 19.99, 2e4, 20000.01])


class Reached:
    """Notes the pulses that reach a chip's devices."""

    def __init__(self, chip: hwloop.Backend) -> None:
        self.pulses: list[Pulses] = []
        chip._pulse = lambda core, pulses: self.pulses.append(pulses)  # type: ignore[method-assign]


def assert_within_limits(chip: hwloop.Backend, reached: Reached) -> None:
    limits = chip.info.limits
    for pulses in reached.pulses:
        assert np.all((pulses.amplitude > 0) & (pulses.amplitude <= limits.amplitude_max))
        assert np.all((pulses.width >= limits.width_min) & (pulses.width <= limits.width_max))
        assert np.all((pulses.devices >= 0) & (pulses.devices < chip.info.devices_per_core))
        assert len(set(pulses.devices.tolist())) == len(pulses)


@given(
    rows=st.lists(st.tuples(st.integers(-2, 40), ANY, ANY), min_size=1, max_size=5),
    kind=st.sampled_from(["SET", "RES"]),
    lie=st.integers(-1, 1),
)
@settings(max_examples=300)
def test_batches_from_the_transfer_memory(rows, kind, lie):
    devices, amplitude, width = (np.array(column) for column in zip(*rows, strict=True))
    memory = devices.astype(INDEX).tobytes() + amplitude.astype(REAL).tobytes() + width.astype(REAL).tobytes()
    with hwloop.connect(CHIP) as chip:
        reached = Reached(chip)
        instrument = Instrument(chip)
        fire = dialect.PULSE_FIRE.write(0, kind, max(1, len(rows) + lie))
        instrument.process(dialect.APPEND.write(memory) + b";" + fire)
        assert_within_limits(chip, reached)
        assert bool(reached.pulses) is (len(instrument.status.errors) == 0)


@given(device=st.integers(-2, 40), amplitude=ANY, width=ANY, unit=st.sampled_from([b"", b"UA", b"MA", b"A", b"NA"]))
@settings(max_examples=300)
def test_single_pulses(device, amplitude, width, unit):
    with hwloop.connect(CHIP) as chip:
        reached = Reached(chip)
        instrument = Instrument(chip)
        values = b"0,RES,%d,%s%s,%s" % (device, repr(amplitude).encode(), unit, repr(width).encode())
        instrument.process(b"PULS " + values)
        assert_within_limits(chip, reached)
        assert bool(reached.pulses) is (len(instrument.status.errors) == 0)


def test_the_budget_of_a_device_ends_it_over_any_number_of_clients():
    with hwloop.connect(CHIP) as chip:
        object.__setattr__(chip.info.limits, "pulses_per_device", 3)
        reached = Reached(chip)
        instrument = Instrument(chip)
        for _ in range(7):
            instrument.connected()
            instrument.process(b"PULS 0,RES,5,200,100")
        assert len(reached.pulses) == 3
        assert len(instrument.status.errors) == 4
