"""The conformance suite: what every backend must do, checked on the backend itself.

It runs unchanged against a simulated chip, a chip on a bench and a third party's. Subclass it in a test file, say how
to open the chip, and run pytest:

    import pytest
    from hwloop import connect
    from hwloop.testing.conformance import BackendConformance

    class TestMyChip(BackendConformance):
        @pytest.fixture
        def backend(self):
            with connect("mychip:/dev/ttyUSB0") as chip:
                yield chip

Every test gets a backend of its own from that fixture. What a chip does not declare as a capability is skipped, with
the reason. A whole run pulses some hundred devices of `core`, the busiest about twenty times. Class attributes set
what the suite cannot know of a chip: which core, and which pulses certainly SET and RESET a device.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwloop.chip.backend import Backend
from hwloop.chip.counts import Counts
from hwloop.chip.info import Capability, TrimLimits
from hwloop.chip.pulses import PulseKind, Pulses
from hwloop.errors import BadInputError, ClosedError, LimitError, MissingCapabilityError
from hwloop.typing import FloatArray, IndexArray

try:
    import pytest
except ImportError:
    raise ImportError(
        "hwloop.testing.conformance is a pytest suite and pytest is not installed: pip install 'hwloop[test]'"
    ) from None

Use = Callable[[Backend, int], object]
"""One use of a backend's core."""

OPTIONAL: dict[Capability, Use] = {
    Capability.MVM: lambda chip, core: chip.mvm(core, np.zeros((1, chip.info.rows), np.int32)),
    Capability.DEVICE_READ: lambda chip, core: chip.read(core, [0]),
    Capability.TEMPERATURE: lambda chip, core: chip.temperature(),
    Capability.ADC_RANGE: lambda chip, core: chip.set_adc_range(core, chip.info.adc_range[1]),
    Capability.TRIMS: lambda chip, core: chip.set_trims(core, np.zeros(chip.info.columns), np.zeros(chip.info.columns)),
    Capability.EXACT_PLACEMENT: lambda chip, core: chip.place(core, [0], [chip.info.g_max / 2], 1.0),
    Capability.STATE: lambda chip, core: chip.export_state(),
}
"""The plainest use of each capability."""

ON_A_CORE: dict[str, Use] = {
    "pulse": lambda chip, core: chip.pulse(core, _one_pulse(chip)),
    "empty pulse": lambda chip, core: chip.pulse(core, Pulses.make(PulseKind.RESET, [], 1.0, 1.0)),
    "adc_range": lambda chip, core: chip.adc_range(core),
    "pulse_counts": lambda chip, core: chip.pulse_counts(core),
}
"""What every backend can do with a core."""

ON_THE_CHIP: dict[str, Use] = {
    "now": lambda chip, core: chip.now(),
    "wait": lambda chip, core: chip.wait(0.0),
    "snapshot": lambda chip, core: chip.snapshot(),
}
"""What every backend can do without naming a core."""

NOT_A_NUMBER_OF_SECONDS = (-1.0, math.nan, math.inf)


def _one_pulse(chip: Backend, device: int = 0) -> Pulses:
    limits = chip.info.limits
    return Pulses.make(PulseKind.RESET, [device], limits.amplitude_max / 2, limits.width_min)


class BackendConformance:
    """Tests of the whole contract; the module's text shows how to use them."""

    core: int = 0
    """The core to test on."""
    set_pulse: tuple[float, float] | None = None
    """Amplitude (uA) and width (ns) of a pulse that SETs a device whatever its state; None takes half the melting
    current of the device model (or a third of the largest amplitude) and the longest width."""
    reset_pulses: tuple[float, float, float] | None = None
    """Two RESET amplitudes (uA), the second of which leaves less conductance, and their width (ns); None takes them
    from the device model's programming curve (or half and all of the largest amplitude, at the shortest width)."""
    zero_code_max: float | None = None
    """Largest output code for zero input; None allows 8, or a tenth of the largest code where that is more."""
    pause: float = 0.01
    """Seconds of chip time that the tests of the clock let pass."""

    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        """A fresh open backend. Override this."""
        pytest.fail(f"{type(self).__name__} must override the fixture 'backend' and yield an open hwloop Backend")

    # ---- identity --------------------------------------------------------------------------------------------

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
        before = _costs(backend)
        assert backend.snapshot().keys() == backend.snapshot().keys()
        assert _costs(backend) == before

    def test_a_core_that_does_not_exist_is_refused(self, backend: Backend) -> None:
        """Every method that takes a core checks it."""
        uses = ON_A_CORE | {
            capability.value: OPTIONAL[capability]
            for capability in backend.info.capabilities - {Capability.TEMPERATURE, Capability.STATE}
        }
        for name, use in uses.items():
            for core in (-1, backend.info.cores):
                with self._nothing_sent(backend), _raises(BadInputError, f"{name} on core {core}"):
                    use(backend, core)

    # ---- pulses: refused whole, before anything is sent --------------------------------------------------------

    @pytest.mark.parametrize("kind", PulseKind)
    @pytest.mark.parametrize("amplitude", [0.0, -1.0, math.nan, math.inf, -math.inf, "above"])
    def test_an_impossible_amplitude_is_refused(
        self, backend: Backend, kind: PulseKind, amplitude: float | str
    ) -> None:
        """Among good amplitudes too: one bad pulse stops the whole batch."""
        limits = backend.info.limits
        bad = np.nextafter(limits.amplitude_max, math.inf) if amplitude == "above" else float(amplitude)
        good = limits.amplitude_max / 2
        with self._nothing_sent(backend), _raises(LimitError, f"amplitude {bad}"):
            backend.pulse(self.core, Pulses.make(kind, [0, 1, 2], [good, bad, good], limits.width_min))

    @pytest.mark.parametrize("kind", PulseKind)
    @pytest.mark.parametrize("width", [0.0, -1.0, math.nan, math.inf, "below", "above"])
    def test_an_impossible_width_is_refused(self, backend: Backend, kind: PulseKind, width: float | str) -> None:
        """Among good widths too."""
        limits = backend.info.limits
        edges = {"below": np.nextafter(limits.width_min, 0), "above": np.nextafter(limits.width_max, math.inf)}
        bad = edges[width] if isinstance(width, str) else width
        with self._nothing_sent(backend), _raises(LimitError, f"width {bad}"):
            backend.pulse(
                self.core,
                Pulses.make(kind, [0, 1], limits.amplitude_max / 2, [limits.width_min, bad]),
            )

    def test_the_limits_themselves_are_allowed(self, backend: Backend) -> None:
        """A limit is what may be sent: largest amplitude, shortest width."""
        limits = backend.info.limits
        backend.pulse(self.core, Pulses.make(PulseKind.RESET, [0], limits.amplitude_max, limits.width_min))
        assert backend.counts.pulses == 1

    def test_devices_that_do_not_exist_or_occur_twice_are_refused(self, backend: Backend) -> None:
        """Indices run from 0 to devices_per_core - 1, each at most once in a batch."""
        limits, size = backend.info.limits, backend.info.devices_per_core
        for devices in ([-1], [size], [0, size], [3, 1, 3]):
            with self._nothing_sent(backend), _raises(BadInputError, f"devices {devices}"):
                backend.pulse(
                    self.core, Pulses.make(PulseKind.RESET, devices, limits.amplitude_max / 2, limits.width_min)
                )

    def test_a_spent_budget_is_final(self, backend: Backend) -> None:
        """A device gets as many pulses as its budget allows, and then none, alone or among others."""
        with _budget(backend, 2):
            for _ in range(2):
                backend.pulse(self.core, _one_pulse(backend))
            limits = backend.info.limits
            for devices in ([0], [1, 0, 2]):
                with self._nothing_sent(backend), _raises(LimitError, "a third pulse on a budget of two"):
                    backend.pulse(
                        self.core, Pulses.make(PulseKind.RESET, devices, limits.amplitude_max / 2, limits.width_min)
                    )
            backend.pulse(self.core, _one_pulse(backend, device=1))
        assert backend.counts.pulses == 3

    def test_an_empty_batch_does_nothing(self, backend: Backend) -> None:
        """No devices, no pulse, no error."""
        with self._nothing_sent(backend):
            backend.pulse(self.core, Pulses.make(PulseKind.SET, [], 1.0, 1.0))

    def test_every_pulse_is_counted_once(self, backend: Backend) -> None:
        """In the total and for each device, at its place in (2, K, rows, columns)."""
        shape, limits = backend.info.device_shape, backend.info.limits
        last = backend.info.devices_per_core - 1
        before = backend.counts
        for devices in ([0, last], [last]):
            backend.pulse(self.core, Pulses.make(PulseKind.RESET, devices, limits.amplitude_max / 2, limits.width_min))
        counts = backend.pulse_counts(self.core)
        assert counts.shape == shape
        assert (counts[0, 0, 0, 0], counts[1, -1, -1, -1], counts.sum()) == (1, 2, 3)
        spent = backend.counts - before
        assert (spent.pulses, spent.device_reads, spent.mvms) == (3, 0, 0)
        assert spent.chip_seconds > 0
        assert spent.link_bytes >= 0

    def test_counts_handed_out_do_not_change(self, backend: Backend) -> None:
        """`counts` and `pulse_counts` are copies: later pulses do not alter them, nor do changes to them the chip's."""
        total, per_device = backend.counts, backend.pulse_counts(self.core)
        backend.pulse(self.core, _one_pulse(backend))
        assert total.pulses == 0
        assert per_device.sum() == 0
        per_device += 7
        assert backend.pulse_counts(self.core).sum() == 1

    def test_a_request_is_not_altered(self, backend: Backend) -> None:
        """Arrays given to a backend stay the caller's."""
        limits = backend.info.limits
        devices, amplitude = np.array([2, 0, 1]), np.array([0.5, 0.4, 0.3]) * limits.amplitude_max
        x = np.full((2, backend.info.rows), backend.info.input_max, np.int32)
        backend.pulse(self.core, Pulses.make(PulseKind.RESET, devices, amplitude, limits.width_min))
        if Capability.MVM in backend.info.capabilities:
            backend.mvm(self.core, x)
        assert devices.tolist() == [2, 0, 1]
        assert np.array_equal(amplitude, np.array([0.5, 0.4, 0.3]) * limits.amplitude_max)
        assert np.all(x == backend.info.input_max)

    def test_a_higher_reset_amplitude_leaves_less_conductance(self, backend: Backend) -> None:
        """And the lower one more again, whatever came before: the right flank of the programming curve.

        In the mean over a row of devices: 3 standard errors and a fifth, so that drift alone does not pass.
        """
        self._needs(backend, Capability.DEVICE_READ)
        gentle, strong, width = self._reset_pulses(backend)
        devices = self._some_devices(backend, 64)
        after = []
        for amplitude in (gentle, strong, gentle):
            backend.pulse(self.core, Pulses.make(PulseKind.RESET, devices, amplitude, width))
            backend.wait(self.pause)
            after.append(backend.read(self.core, devices, 16))
        low = after[1]
        for high in (after[0], after[2]):
            fall = high - low
            error = fall.std(ddof=1) / math.sqrt(fall.size)
            assert fall.mean() > max(3 * error, 0.2 * high.mean()), (
                f"{high.mean():.3g} uS after {gentle:g} uA, {low.mean():.3g} uS after {strong:g} uA"
            )

    def test_a_long_set_pulse_raises_the_conductance(self, backend: Backend) -> None:
        """After a strong RESET, a long SET pulse brings devices back up (3 standard errors)."""
        self._needs(backend, Capability.DEVICE_READ)
        _, strong, width = self._reset_pulses(backend)
        devices = self._some_devices(backend, 64)
        backend.pulse(self.core, Pulses.make(PulseKind.RESET, devices, strong, width))
        before = backend.read(self.core, devices, 16)
        backend.pulse(self.core, Pulses.make(PulseKind.SET, devices, *self._set_pulse(backend)))
        rise = backend.read(self.core, devices, 16) - before
        error = rise.std(ddof=1) / math.sqrt(rise.size)
        assert rise.mean() > 3 * error, f"mean rise {rise.mean():.3g} uS, standard error {error:.2g} uS"

    # ---- matrix-vector products --------------------------------------------------------------------------------

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
            with self._nothing_sent(backend), _raises(BadInputError, f"mvm of {x.dtype} {x.shape}"):
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
            with self._nothing_sent(backend), _raises(LimitError, f"an input of {beyond}"):
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

    # ---- single devices ----------------------------------------------------------------------------------------

    def test_read_answers_finite_conductances(self, backend: Backend) -> None:
        """float64 (n,) in the order asked for, and a device may be asked for twice."""
        self._needs(backend, Capability.DEVICE_READ)
        last = backend.info.devices_per_core - 1
        before = backend.counts
        values = backend.read(self.core, [last, 0, 0], 2)
        assert values.shape == (3,)
        assert values.dtype == np.float64
        assert np.all(np.isfinite(values))
        spent = backend.counts - before
        assert (spent.device_reads, spent.pulses, spent.mvms) == (6, 0, 0)
        assert spent.chip_seconds > 0

    def test_reading_no_device_gives_no_value(self, backend: Backend) -> None:
        """An empty request has an empty answer."""
        self._needs(backend, Capability.DEVICE_READ)
        assert backend.read(self.core, []).shape == (0,)
        assert backend.counts.device_reads == 0

    def test_read_refuses_what_it_cannot_mean(self, backend: Backend) -> None:
        """Devices that do not exist, indices that are not integers, averages below one, not whole or absurdly many."""
        self._needs(backend, Capability.DEVICE_READ)
        size = backend.info.devices_per_core
        requests: Sequence[tuple[Any, Any]] = (
            ([-1], 1),
            ([size], 1),
            ([[0]], 1),
            ([0.5], 1),
            ([True], 1),
            ([0], 0),
            ([0], -3),
            ([0], 1.5),
            ([0], 10**9),
        )
        for devices, averages in requests:
            with self._nothing_sent(backend), _raises(BadInputError, f"read of {devices} with {averages} averages"):
                backend.read(self.core, devices, averages)

    def test_averaging_reads_does_not_add_noise(self, backend: Backend) -> None:
        """Means of sixteen reads scatter less than single reads in between, or neither scatters."""
        self._needs(backend, Capability.DEVICE_READ)
        devices = self._some_devices(backend, 16)
        backend.pulse(self.core, Pulses.make(PulseKind.SET, devices, *self._set_pulse(backend)))
        backend.wait(self.pause)
        # In turns, so that what is slow in the noise is the same in both.
        turns = [[backend.read(self.core, devices, averages) for averages in (1, 16)] for _ in range(32)]
        single, averaged = np.var(turns, axis=0).mean(axis=-1)
        assert averaged < single or single == averaged == 0, f"variance {single:.3g} of one, {averaged:.3g} of sixteen"

    # ---- time --------------------------------------------------------------------------------------------------

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
        for seconds in NOT_A_NUMBER_OF_SECONDS:
            with self._nothing_sent(backend), _raises(BadInputError, f"wait({seconds})"):
                backend.wait(seconds)

    # ---- converter range ---------------------------------------------------------------------------------------

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
            with self._nothing_sent(backend), _raises(LimitError, f"a range of {full_scale} uS"):
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

    # ---- converter trims ---------------------------------------------------------------------------------------

    def test_trims_outside_their_registers_are_refused(self, backend: Backend) -> None:
        """One bad column among good ones stops the whole, the error names it, and the trims in use stay."""
        limits, last = self._trim_limits(backend), backend.info.columns - 1
        backend.set_trims(self.core, *self._some_trims(backend))
        in_use = backend.trims(self.core)
        for which, reach in enumerate((limits.offset_max, limits.gain_max)):
            for bad in (1.01 * reach, -1.01 * reach, math.nan, math.inf, -math.inf):
                trims = np.zeros((2, backend.info.columns))
                trims[which, last] = bad
                with self._nothing_sent(backend), _raises(LimitError, f"a trim of {bad}") as caught:
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
                with self._nothing_sent(backend), _raises(BadInputError, f"trims of the shape {np.shape(bad)}"):
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

        Within 5 standard errors and a tenth of the trim, for converters bend even near zero.
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

    # ---- what a chip may lack ----------------------------------------------------------------------------------

    @pytest.mark.parametrize("capability", Capability)
    def test_a_missing_capability_says_what_to_do_instead(self, backend: Backend, capability: Capability) -> None:
        """The error names the capability and the way out."""
        if capability in backend.info.capabilities:
            pytest.skip(f"the chip has '{capability.value}'")
        with self._nothing_sent(backend), _raises(MissingCapabilityError, capability.value) as caught:
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

    # ---- simulated chips ---------------------------------------------------------------------------------------

    def test_a_placed_conductance_is_reached_at_its_age(self, backend: Backend) -> None:
        """Mean of a row of devices, read at that age, within 3 standard errors and a quarter of a converter step."""
        self._needs(backend, Capability.EXACT_PLACEMENT)
        self._needs(backend, Capability.DEVICE_READ)
        devices, target = self._some_devices(backend, 64), 0.6 * backend.info.g_max
        backend.place(self.core, devices, np.full(devices.size, target), age=100.0)
        backend.wait(100.0)
        error = backend.read(self.core, devices, 16) - target
        standard = error.std(ddof=1) / math.sqrt(error.size)
        step = 2 * backend.info.g_max / backend.info.code_max
        assert abs(error.mean()) < 3 * standard + step / 4, f"mean error {error.mean():.3g} +- {standard:.2g} uS"

    def test_placement_refuses_what_cannot_be(self, backend: Backend) -> None:
        """Negative, NaN or too few conductances, devices twice or out of the core, ages that are none."""
        self._needs(backend, Capability.EXACT_PLACEMENT)
        size = backend.info.devices_per_core
        requests: Sequence[tuple[Any, Any, float]] = (
            ([0], [-1.0], 1.0),
            ([0], [math.nan], 1.0),
            ([0], [math.inf], 1.0),
            ([0, 1], [1.0], 1.0),
            ([1, 1], [1.0, 1.0], 1.0),
            ([size], [1.0], 1.0),
            ([-1], [1.0], 1.0),
            ([0.5], [1.0], 1.0),
            ([0], [1.0], 0.0),
            ([0], [1.0], -1.0),
            ([0], [1.0], math.nan),
        )
        for devices, conductance, age in requests:
            with self._nothing_sent(backend), _raises(BadInputError, f"place({devices}, {conductance}, {age})"):
                backend.place(self.core, devices, conductance, age)

    def test_a_restored_chip_goes_on_as_the_saved_one_did(self, backend: Backend) -> None:
        """The same codes, reads, clock and pulse counts, after anything that was done in between."""
        self._needs(backend, Capability.MVM)
        self._needs(backend, Capability.STATE)
        self._conduct(backend)
        if Capability.TRIMS in backend.info.capabilities:
            backend.set_trims(self.core, *self._some_trims(backend))
        backend.mvm(self.core, self._probe(backend))
        saved = backend.export_state()
        assert all(isinstance(array, np.ndarray) and array.dtype != object for array in saved.values())
        kept = {name: array.copy() for name, array in saved.items()}
        first = self._history(backend)
        assert all(np.array_equal(saved[name], array) for name, array in kept.items()), "a saved state must not change"
        backend.import_state(saved)
        second = self._history(backend)
        for name, value in first.items():
            assert np.array_equal(value, second[name]), f"{name} differ after the state was restored"

    # ---- the end -----------------------------------------------------------------------------------------------

    def test_closing_twice_is_harmless(self, backend: Backend) -> None:
        """`close` may be called by a `with` and by a `finally`."""
        backend.close()
        backend.close()

    def test_a_closed_backend_refuses_everything(self, backend: Backend) -> None:
        """With an error that says so; what was counted stays readable."""
        backend.pulse(self.core, _one_pulse(backend))
        state = backend.export_state() if Capability.STATE in backend.info.capabilities else {}
        backend.close()
        uses = ON_A_CORE | ON_THE_CHIP | {capability.value: use for capability, use in OPTIONAL.items()}
        uses["import_state"] = lambda chip, core: chip.import_state(state)
        for name, use in uses.items():
            with _raises(ClosedError, f"{name} on a closed backend"):
                use(backend, self.core)
        assert backend.counts.pulses == 1
        assert backend.info.name

    def test_with_closes_the_backend(self, backend: Backend) -> None:
        """After success and after an error, which is passed on."""
        with pytest.raises(ZeroDivisionError), backend:
            raise ZeroDivisionError
        with _raises(ClosedError, "after the with"):
            backend.now()

    # ---- help for the tests ------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _nothing_sent(self, backend: Backend) -> Iterator[None]:
        """Fails when, by the end of the `with`, a hook of the driver was called or anything was counted or changed."""
        backend.adc_range(self.core), backend.pulse_counts(self.core)  # whatever is made on first use is made now
        stateful = Capability.STATE in backend.info.capabilities
        state = backend.export_state() if stateful else {}  # moves bytes over a link, so it comes before the costs
        costs = backend.counts
        called: list[str] = []
        hooks = ("_pulse", "_mvm", "_read", "_wait", "_place", "_set_adc_range", "_set_trims")
        for name in hooks:
            setattr(backend, name, _recording(getattr(backend, name), name, called))
        try:
            yield
        finally:
            for name in hooks:
                delattr(backend, name)
        assert not called, f"reached the driver: {', '.join(called)}"
        assert backend.counts == costs, "a refused request was counted, or bytes went over the link"
        after = backend.export_state() if stateful else {}
        assert after.keys() == state.keys()
        changed = [name for name, array in state.items() if not np.array_equal(array, after[name])]
        assert not changed, f"the chip's state has changed: {', '.join(changed)}"

    def _needs(self, backend: Backend, capability: Capability) -> None:
        if capability not in backend.info.capabilities:
            pytest.skip(f"the chip lacks '{capability.value}'")

    def _trim_limits(self, backend: Backend) -> TrimLimits:
        self._needs(backend, Capability.TRIMS)
        assert backend.info.trims is not None, "a chip that declares trims must say how far they reach"
        return backend.info.trims

    def _some_trims(self, backend: Backend) -> FloatArray:
        """(2, columns) offsets and gains all over the registers."""
        limits = self._trim_limits(backend)
        trims = np.random.default_rng(2).uniform(-1, 1, (2, backend.info.columns))
        return trims * [[limits.offset_max], [limits.gain_max]]

    def _idle(self, backend: Backend) -> tuple[FloatArray, FloatArray]:
        """Mean idle outputs (columns,) and their standard errors."""
        codes = backend.mvm(self.core, np.zeros((256, backend.info.rows), np.int32)).astype(np.float64)
        return codes.mean(0), np.maximum(codes.std(0), 0.1) / 16

    def _set_pulse(self, backend: Backend) -> tuple[float, float]:
        limits, model = backend.info.limits, backend.info.device_model
        amplitude = model.curve.melt / 2 if model else limits.amplitude_max / 3
        return self.set_pulse or (amplitude, limits.width_max)

    def _reset_pulses(self, backend: Backend) -> tuple[float, float, float]:
        limits, model = backend.info.limits, backend.info.device_model
        if self.reset_pulses:
            return self.reset_pulses
        if model is None:
            return limits.amplitude_max / 2, limits.amplitude_max, limits.width_min
        curve = model.curve
        gentle, strong = curve.midpoint - 2 * curve.steepness, curve.midpoint + 4 * curve.steepness
        return gentle, min(strong, limits.amplitude_max), curve.width

    def _some_devices(self, backend: Backend, count: int) -> IndexArray:
        """Positive first devices of the first cells, not more than the core has."""
        info = backend.info
        return np.arange(min(count, info.rows * info.columns))

    def _conduct(self, backend: Backend) -> float:
        """SET the first positive device of the first rows in a few columns; the converter range that suits them."""
        info = backend.info
        cells = np.arange(info.rows * info.columns).reshape(info.rows, info.columns)
        devices = cells[: self._driven_rows(backend), self._used_columns(backend)].ravel()
        backend.pulse(self.core, Pulses.make(PulseKind.SET, devices, *self._set_pulse(backend)))
        low, high = info.adc_range
        backend.wait(self.pause)  # so that drift does not matter between the MVMs of a test
        full_scale = min(max(4 * info.g_max * math.sqrt(self._driven_rows(backend)), 2 * low), high)
        if Capability.ADC_RANGE in info.capabilities:
            backend.set_adc_range(self.core, full_scale)
        return full_scale

    def _driven_rows(self, backend: Backend) -> int:
        return min(16, backend.info.rows)

    def _used_columns(self, backend: Backend) -> slice:
        return slice(0, min(4, backend.info.columns))

    def _probe(self, backend: Backend) -> NDArray[np.int32]:
        """Sixty-four random inputs that leave the converters room, on the rows with SET devices."""
        info, rows = backend.info, self._driven_rows(backend)
        x = np.zeros((64, info.rows), np.int32)
        x[:, :rows] = np.random.default_rng(1).integers(-info.input_max, info.input_max + 1, (64, rows))
        return x

    def _offset(self, backend: Backend) -> FloatArray:
        codes = backend.mvm(self.core, np.zeros((32, backend.info.rows), np.int32))
        return np.asarray(codes.mean(axis=0, dtype=np.float64))

    def _history(self, backend: Backend) -> dict[str, NDArray[Any]]:
        """A bit of everything, and what came of it."""
        _, strong, width = self._reset_pulses(backend)
        codes = backend.mvm(self.core, self._probe(backend))
        backend.pulse(self.core, Pulses.make(PulseKind.RESET, self._some_devices(backend, 4), strong, width))
        backend.wait(self.pause)
        later = backend.mvm(self.core, self._probe(backend))
        reads = backend.read(self.core, [0, 1]) if Capability.DEVICE_READ in backend.info.capabilities else np.empty(0)
        return {
            "codes": codes,
            "later codes": later,
            "reads": reads,
            "clock": np.array(backend.now()),
            "converter range": np.array(backend.adc_range(self.core)),
            "trims": np.stack(backend.trims(self.core))
            if Capability.TRIMS in backend.info.capabilities
            else np.empty(0),
            "pulse counts": backend.pulse_counts(self.core),
        }


# ---- watching a backend ----------------------------------------------------------------------------------------


def _costs(backend: Backend) -> Counts:
    """What was spent, without the bytes that asking for the clock may cost."""
    return dataclasses.replace(backend.counts, link_bytes=0)


@contextlib.contextmanager
def _raises(error: type[Exception], what: str) -> Iterator[pytest.ExceptionInfo[Exception]]:
    """As pytest.raises, with `what` was asked for in the failure."""
    try:
        with pytest.raises(error) as caught:
            yield caught
    except pytest.fail.Exception:
        pytest.fail(f"{what}: expected {error.__name__}")


def _recording(hook: Callable[..., Any], name: str, called: list[str]) -> Callable[..., Any]:
    def record(*arguments: Any) -> Any:
        called.append(name)
        return hook(*arguments)

    return record


@contextlib.contextmanager
def _budget(backend: Backend, pulses: int) -> Iterator[None]:
    """The backend with an endurance budget of `pulses`, so that spending it does not wear the chip out."""
    info = backend.info
    limits = dataclasses.replace(info.limits, pulses_per_device=pulses)
    backend._info = dataclasses.replace(info, limits=limits)
    try:
        yield
    finally:
        backend._info = info
