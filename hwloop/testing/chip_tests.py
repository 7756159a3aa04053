"""Conformance of a chip as a whole: what it says of itself, its clock, what it lacks, and its end."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from hwloop.chip.backend import Backend
from hwloop.chip.info import Capability
from hwloop.errors import BadInputError, ClosedError, MissingCapabilityError
from hwloop.testing.suite import (
    ON_A_CORE,
    ON_THE_CHIP,
    OPTIONAL,
    Suite,
    costs,
    raises,
    touch,
)


class ChipTests(Suite):
    """Tests of identity, time, capabilities and closing."""

    def test_info_describes_a_possible_chip(self, backend: Backend) -> None:
        """Geometry, converters, limits and ranges are positive, finite and in order."""
        info = backend.info
        assert info.name, "a name tells models apart"
        assert info.serial, "a serial tells chips of a model apart"
        for field in ("cores", "rows", "columns", "devices_per_polarity"):
            value = getattr(info, field)
            assert isinstance(value, int), f"{field} = {value!r}"
            assert value >= 1, f"{field} = {value}"
        assert min(info.input_bits, info.output_bits) >= 2, "signed converters need two bits"
        limits = info.limits
        for name, number in (
            ("g_max", info.g_max),
            ("read_voltage", info.read_voltage),
            ("amplitude_max", limits.amplitude_max),
            ("width_min", limits.width_min),
            ("pulses_per_device", limits.pulses_per_device),
            ("smallest adc_range", info.adc_range[0]),
        ):
            assert 0 < number < math.inf, f"{name} = {number}"
        assert limits.width_min <= limits.width_max < math.inf
        assert info.adc_range[0] <= info.adc_range[1] < math.inf
        assert isinstance(info.capabilities, frozenset)
        assert all(isinstance(c, Capability) for c in info.capabilities)
        assert 0 <= self.core < info.cores, "the suite's own attribute `core`"

    def test_snapshot_has_plain_names_and_values(self, backend: Backend) -> None:
        """A snapshot can be written to any file: text names; text, finite numbers and truth values."""
        snapshot = backend.snapshot()
        assert snapshot, "a snapshot without settings explains nothing"
        for name, value in snapshot.items():
            assert isinstance(name, str), f"{name!r} is no name"
            assert isinstance(value, str | int | float | bool), f"{name}: {value!r}"
        json.dumps(snapshot, allow_nan=False)

    def test_parameters_have_units_and_sources(self, backend: Backend) -> None:
        """One row for each name; a chip may have nothing to tell."""
        rows = backend.parameters()
        assert len({row.name for row in rows}) == len(rows)
        for row in rows:
            assert isinstance(row.value, str | int | float | bool), f"{row.name}: {row.value!r}"
            assert isinstance(row.unit, str), f"{row.name}: {row.unit!r}"
            assert row.source, f"{row.name} must say where its value comes from"

    def test_taking_a_snapshot_changes_nothing(self, backend: Backend) -> None:
        """Looking is not touching."""
        before = costs(backend)
        assert backend.snapshot().keys() == backend.snapshot().keys()
        assert costs(backend) == before

    def test_a_core_that_does_not_exist_is_refused(self, backend: Backend) -> None:
        """Every method that takes a core checks it: a number that exists, and whole, for 0.0 would be counted apart."""
        uses = ON_A_CORE | {
            capability.value: OPTIONAL[capability]
            for capability in backend.info.capabilities - {Capability.TEMPERATURE, Capability.STATE}
        }
        for name, use in uses.items():
            for core in (-1, backend.info.cores, 0.0, 0.5, True, np.float64(self.core), str(self.core)):
                with self._nothing_sent(backend), raises(BadInputError, f"{name} on core {core}"):
                    use(backend, core)

    def test_the_clock_never_goes_back(self, backend: Backend) -> None:
        """Whatever is done."""
        times = [backend.now()]
        mvm = [OPTIONAL[Capability.MVM]] if Capability.MVM in backend.info.capabilities else []
        for use in (*ON_A_CORE.values(), *ON_THE_CHIP.values(), *mvm):
            use(backend, self.core)
            times.append(backend.now())
        assert all(math.isfinite(t) for t in times)
        assert times == sorted(times)

    def test_waiting_lets_time_pass(self, backend: Backend) -> None:
        """At least what was asked for, on the clock and in the counts."""
        start, before = backend.now(), backend.counts
        backend.wait(self.pause)
        assert backend.now() - start >= self.pause * (1 - 1e-6)
        assert (backend.counts - before).chip_seconds >= self.pause * (1 - 1e-6)
        assert (backend.counts - before).pulses == 0

    def test_waiting_refuses_what_is_no_duration(self, backend: Backend) -> None:
        """Negative, not a number, for ever."""
        for seconds in (-1.0, math.nan, math.inf):
            with self._nothing_sent(backend), raises(BadInputError, f"wait({seconds})"):
                backend.wait(seconds)

    @pytest.mark.parametrize("capability", Capability)
    def test_a_missing_capability_says_what_to_do_instead(self, backend: Backend, capability: Capability) -> None:
        """The error names the capability and the way out."""
        if capability in backend.info.capabilities:
            pytest.skip(f"the chip has '{capability.value}'")
        with self._nothing_sent(backend), raises(MissingCapabilityError, capability.value) as caught:
            OPTIONAL[capability](backend, self.core)
        what, _, way_out = str(caught.value).partition(";")
        assert capability.value in what
        assert way_out, f"no way out in: {what}"

    @pytest.mark.parametrize("capability", Capability)
    def test_a_declared_capability_works(self, backend: Backend, capability: Capability) -> None:
        """What `info` declares is there."""
        self._needs(backend, capability)
        OPTIONAL[capability](backend, self.core)

    def test_the_temperature_is_in_kelvin(self, backend: Backend) -> None:
        """Between liquid helium and melting solder."""
        self._needs(backend, Capability.TEMPERATURE)
        assert 4.0 < backend.temperature() < 500.0

    def test_closing_twice_is_harmless(self, backend: Backend) -> None:
        """`close` may be called by a `with` and by a `finally`."""
        backend.close()
        backend.close()

    def test_a_closed_backend_refuses_everything(self, backend: Backend) -> None:
        """With an error that says so; what was counted stays readable."""
        touch(backend, self.core)
        pulses = 0 if Capability.TARGETS in backend.info.capabilities else 1
        state = backend.export_state() if Capability.STATE in backend.info.capabilities else {}
        backend.close()
        uses = ON_A_CORE | ON_THE_CHIP | {capability.value: use for capability, use in OPTIONAL.items()}
        uses["import_state"] = lambda chip, core: chip.import_state(state)
        for name, use in uses.items():
            with raises(ClosedError, f"{name} on a closed backend"):
                use(backend, self.core)
        assert backend.counts.pulses == pulses
        assert backend.info.name

    def test_with_closes_the_backend(self, backend: Backend) -> None:
        """After success and after an error, which is passed on."""
        with pytest.raises(ZeroDivisionError), backend:
            raise ZeroDivisionError
        with raises(ClosedError, "after the with"):
            backend.now()
