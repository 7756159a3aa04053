"""The checks above every driver, on a chip that records what reaches it."""

import dataclasses
import math

import numpy as np
import pytest

from hwloop.chip.backend import Backend
from hwloop.chip.counts import Counts
from hwloop.chip.info import Capability, ChipInfo, PulseLimits, ReadMode, TrimLimits
from hwloop.chip.pulses import PulseKind, Pulses
from hwloop.chip.targets import Programmer, Targets
from hwloop.errors import BadInputError, ChipError, ClosedError, LimitError, MissingCapabilityError

INFO = ChipInfo(
    name="recorder",
    serial="1",
    cores=2,
    rows=4,
    columns=3,
    devices_per_polarity=2,
    input_bits=8,
    output_bits=6,
    g_max=10.0,
    read_voltage=0.2,
    adc_range=(5.0, 50.0),
    limits=PulseLimits(amplitude_max=500.0, width_min=20.0, width_max=2000.0, pulses_per_device=3),
    capabilities=frozenset({Capability.MVM, Capability.DEVICE_READ}),
)


TRIMS = TrimLimits(offset_step=0.25, offset_max=8.0, gain_step=0.004, gain_max=0.12)


class Recorder(Backend):
    """Answers with what it is told to, and remembers every call that got through."""

    def __init__(self, info=INFO):
        super().__init__(info)
        self.sent, self.clock, self.reading, self.codes, self.bytes = [], 0.0, 1.0, None, 0

    def _pulse(self, core, pulses):
        self.sent.append(("pulse", core, pulses.devices.tolist()))
        self.clock += 1e-6
        self.bytes += 10

    def _mvm(self, core, x):
        self.sent.append(("mvm", core, x.tolist()))
        self.clock += 2e-6
        return np.zeros((len(x), 3), np.int32) if self.codes is None else self.codes

    def _read(self, core, devices, averages):
        self.sent.append(("read", core, devices.tolist(), averages))
        return np.full(devices.shape, self.reading)

    def _now(self):
        return self.clock

    def _wait(self, seconds):
        self.clock += seconds

    def _adc_range(self, core):
        return 50.0

    def _link_bytes(self):
        return self.bytes

    def _close(self):
        self.sent.append(("close",))

    def _snapshot(self):
        return {}


class Trimmed(Recorder):
    """A chip with trims."""

    def __init__(self):
        super().__init__(dataclasses.replace(INFO, capabilities=frozenset({Capability.TRIMS}), trims=TRIMS))
        self.registers = None

    def _set_trims(self, core, offset, gain):
        self.registers = offset, gain

    def _trims(self, core):
        return self.registers


@pytest.fixture
def chip():
    return Recorder()


def reset(devices, amplitude=200.0, width=100.0):
    return Pulses.make(PulseKind.RESET, devices, amplitude, width)


# ---- identity ---------------------------------------------------------------------------------------------------


def test_what_follows_from_the_geometry():
    assert INFO.device_shape == (2, 2, 4, 3)
    assert INFO.devices_per_core == 48
    assert INFO.input_max == 127
    assert INFO.code_max == 31


# ---- a batch of pulses ------------------------------------------------------------------------------------------


def test_scalars_are_repeated_for_every_device():
    pulses = reset([3, 1], amplitude=250, width=50)
    assert len(pulses) == 2
    assert pulses.devices.dtype == np.int64
    assert pulses.amplitude.tolist() == [250.0, 250.0]
    assert pulses.width.tolist() == [50.0, 50.0]


@pytest.mark.parametrize("devices", [[0.5], [[0, 1]], [True, False], 3, ["a"], [None]])
def test_devices_must_be_a_list_of_integers(devices):
    with pytest.raises(BadInputError, match="1-D array of integers"):
        reset(devices)


@pytest.mark.parametrize("amplitude", [[1.0, 2.0, 3.0], [[1.0], [2.0]], "strong", ["a", "b"], [1j, 2j]])
def test_amplitudes_must_fit_the_devices(amplitude):
    with pytest.raises(BadInputError, match="amplitude and width must fit 2 devices"):
        reset([0, 1], amplitude=amplitude)


@pytest.mark.parametrize("kind", ["RESET", 1, None])
def test_the_kind_must_be_one_of_the_two(kind):
    """A text that a driver compares with PulseKind.RESET would otherwise become a SET."""
    with pytest.raises(BadInputError, match=r"PulseKind\.SET or PulseKind\.RESET"):
        Pulses.make(kind, [0], 200.0, 100.0)


def test_a_batch_made_by_hand_is_checked_too():
    with pytest.raises(BadInputError, match="one amplitude and width per device"):
        Pulses(PulseKind.SET, np.array([0, 1]), np.array([200.0]), np.array([100.0, 100.0]))


@pytest.mark.parametrize("amplitude", [0.0, -1.0, 500.1, math.nan, math.inf, -math.inf])
def test_amplitudes_out_of_bounds_are_never_sent(chip, amplitude):
    with pytest.raises(LimitError, match=r"device 7: pulse amplitude .* outside 0 to 500 uA; nothing was sent"):
        chip.pulse(0, reset([5, 7], amplitude=[200.0, amplitude]))
    assert chip.sent == []
    assert chip.counts == Counts()
    assert chip.pulse_counts(0).sum() == 0


@pytest.mark.parametrize("width", [0.0, 19.9, 2000.1, math.nan, math.inf])
def test_widths_out_of_bounds_are_never_sent(chip, width):
    with pytest.raises(LimitError, match=r"device 7: pulse width .* outside 20 to 2000 ns; nothing was sent"):
        chip.pulse(0, reset([5, 7], width=[100.0, width]))
    assert chip.sent == []


def test_the_limits_belong_to_what_is_allowed(chip):
    chip.pulse(0, reset([0, 1], amplitude=500.0, width=[20.0, 2000.0]))
    assert len(chip.sent) == 1


@pytest.mark.parametrize(
    ("devices", "reason"), [([-1], "0 to 47"), ([48], "0 to 47"), ([2, 5, 2], "device 2 occurs twice")]
)
def test_devices_that_cannot_be_are_never_sent(chip, devices, reason):
    with pytest.raises(BadInputError, match=reason):
        chip.pulse(0, reset(devices))
    assert chip.sent == []


def test_the_budget_of_a_device_ends(chip):
    for _ in range(3):
        chip.pulse(1, reset([4, 9]))
    with pytest.raises(LimitError, match="core 1, device 9: its budget of 3 pulses is spent"):
        chip.pulse(1, reset([8, 9]))
    chip.pulse(0, reset([9]))
    assert chip.pulse_counts(1).ravel()[[4, 8, 9]].tolist() == [3, 0, 3]
    assert chip.counts.pulses == 7


def test_a_pulse_counts_even_if_the_link_dies_under_it(chip, monkeypatch):
    """A device may have been hit: its budget must not be under-counted."""

    def dies(core, pulses):
        raise ChipError("the link is gone")

    monkeypatch.setattr(chip, "_pulse", dies)
    with pytest.raises(ChipError, match="the link is gone"):
        chip.pulse(0, reset([4]))
    assert chip.pulse_counts(0).ravel()[4] == 1
    assert chip.counts.pulses == 1


# ---- answers that cannot be right -------------------------------------------------------------------------------


@pytest.mark.parametrize("reading", [math.nan, math.inf, -math.inf])
def test_a_reading_that_is_no_number_is_an_error_not_a_value(chip, reading):
    chip.reading = reading
    with pytest.raises(ChipError, match="missing or non-finite"):
        chip.read(0, [0, 1])


def test_a_reading_that_is_missing_is_an_error(chip, monkeypatch):
    monkeypatch.setattr(chip, "_read", lambda core, devices, averages: np.ones(1))
    with pytest.raises(ChipError, match="missing"):
        chip.read(0, [0, 1])


def test_a_slightly_negative_reading_is_passed_on(chip):
    chip.reading = -0.01
    assert chip.read(0, [0]).tolist() == [-0.01]


@pytest.mark.parametrize("shape", [(1, 3), (2, 2), (3,), (2, 3, 1)])
def test_codes_of_another_shape_are_an_error(chip, shape):
    chip.codes = np.zeros(shape, np.int32)
    with pytest.raises(ChipError, match="expected 2 x 3 codes"):
        chip.mvm(0, np.zeros((2, 4), int))


# ---- requests that make no sense --------------------------------------------------------------------------------


@pytest.mark.parametrize("core", [-1, 2])
def test_a_core_that_does_not_exist(chip, core):
    for use in (
        lambda: chip.pulse(core, reset([0])),
        lambda: chip.mvm(core, np.zeros((1, 4), int)),
        lambda: chip.read(core, [0]),
        lambda: chip.adc_range(core),
        lambda: chip.pulse_counts(core),
    ):
        with pytest.raises(BadInputError, match=f"core {core} does not exist; recorder has cores 0 to 1"):
            use()
    assert chip.sent == []


@pytest.mark.parametrize(
    ("x", "reason"),
    [
        (np.zeros(4, int), r"must have the shape \(batch, 4\)"),
        (np.zeros((1, 5), int), "must have the shape"),
        (np.zeros((0, 4), int), "must have the shape"),
        ([[0.0, 0.0, 0.0, 1.0]], "must be integers, not float64; round them yourself"),
        ([[True, False, True, True]], "must be integers, not bool"),
    ],
)
def test_inputs_that_are_no_integers_for_every_row(chip, x, reason):
    with pytest.raises(BadInputError, match=reason):
        chip.mvm(0, x)
    assert chip.sent == []


@pytest.mark.parametrize("value", [128, -128, 2**40])
def test_inputs_beyond_the_converters(chip, value):
    with pytest.raises(LimitError, match=r"inputs must lie in \[-127, 127\] for 8-bit DACs"):
        chip.mvm(0, [[0, 0, value, 0]])
    assert chip.sent == []


@pytest.mark.parametrize("averages", [0, -1, 1.5, math.nan, "4", None])
def test_averages_must_be_a_positive_whole_number(chip, averages):
    with pytest.raises(BadInputError, match="averages must be a whole number"):
        chip.read(0, [0], averages)
    assert chip.sent == []


@pytest.mark.parametrize("seconds", [-1.0, math.nan, math.inf])
def test_durations_that_are_none(chip, seconds):
    with pytest.raises(BadInputError, match="seconds must be finite and not negative"):
        chip.wait(seconds)


# ---- cost -------------------------------------------------------------------------------------------------------


def test_everything_is_counted(chip):
    chip.pulse(0, reset([1, 2, 3]))
    chip.mvm(0, np.zeros((5, 4), int))
    chip.read(1, [0, 0], averages=4)
    chip.wait(1.5)
    assert chip.counts == Counts(pulses=3, device_reads=8, mvms=5, chip_seconds=chip.clock, link_bytes=10)


def test_counts_subtract():
    early, late = Counts(1, 2, 3, 0.5, 5), Counts(10, 20, 30, 2.0, 50)
    assert late - early == Counts(9, 18, 27, 1.5, 45)
    assert late.copy() == late
    assert late.copy() is not late


# ---- what a chip may lack ---------------------------------------------------------------------------------------

NO_WAY = Programmer("none", lambda chip, targets, age: None)

USES = {
    Capability.DEVICE_READ: lambda chip: chip.read(0, [0]),
    Capability.TEMPERATURE: lambda chip: chip.temperature(),
    Capability.ADC_RANGE: lambda chip: chip.set_adc_range(0, 10.0),
    Capability.TRIMS: lambda chip: chip.set_trims(0, np.zeros(3), np.zeros(3)),
    Capability.READ_MODE: lambda chip: chip.set_read_mode(0, "slow"),
    Capability.EXACT_PLACEMENT: lambda chip: chip.place(0, [0], [1.0], 1.0),
    Capability.STATE: lambda chip: chip.export_state(),
    Capability.MVM: lambda chip: chip.mvm(0, np.zeros((1, chip.info.rows), np.int32)),
    Capability.TRANSPOSED_MVM: lambda chip: chip.mvm(0, np.zeros((1, chip.info.columns), np.int32), transposed=True),
    Capability.UPDATE: lambda chip: chip.update(0, *(np.zeros((1, n), int) for n in chip.info.device_shape[2:])),
    Capability.TARGETS: lambda chip: chip.program_targets([Targets(0, 0, 0, np.zeros((2, 2)))], 1.0, NO_WAY),
}


@pytest.mark.parametrize("capability", Capability)
def test_a_missing_capability_names_itself_and_the_way_out(capability):
    chip = Recorder(dataclasses.replace(INFO, capabilities=frozenset()))
    with pytest.raises(MissingCapabilityError, match=f"recorder: .*'{capability.value}', which this chip lacks; ."):
        USES[capability](chip)


@pytest.mark.parametrize(
    "capability", [c for c in Capability if c not in (Capability.DEVICE_READ, Capability.MVM)], ids=lambda c: c.value
)
def test_a_capability_declared_but_not_written_is_the_drivers_fault(capability):
    modes = (ReadMode("slow", 1e-6), ReadMode("fast", 1e-7))
    chip = Recorder(dataclasses.replace(INFO, capabilities=frozenset(Capability), read_modes=modes))
    with pytest.raises(ChipError, match=f"Recorder declares '{capability.value}' but does not implement it"):
        USES[capability](chip)


class Modes(Recorder):
    """A chip with two read modes."""

    def __init__(self):
        modes = (ReadMode("slow", 4e-6, 8e-9, "measured"), ReadMode("fast", 1e-6))
        super().__init__(dataclasses.replace(INFO, capabilities=frozenset({Capability.READ_MODE}), read_modes=modes))
        self.mode = "slow"

    def _set_read_mode(self, core, mode):
        self.mode = mode

    def _read_mode(self, core):
        return self.mode


def test_a_read_mode_reaches_the_chip_by_its_name():
    chip = Modes()
    assert chip.read_mode(1) == "slow"
    chip.set_read_mode(1, "fast")
    assert chip.read_mode(1) == "fast"


@pytest.mark.parametrize("name", ["quick", "", None, 1, ["fast"]])
def test_an_unknown_read_mode_is_refused_with_the_known_ones(name):
    chip = Modes()
    with pytest.raises(BadInputError, match=r"recorder: unknown read mode .*; it has: slow, fast"):
        chip.set_read_mode(0, name)
    assert chip.mode == "slow"


def test_a_read_mode_that_the_chip_never_told_of_is_its_fault():
    chip = Modes()
    chip.mode = "quick"
    with pytest.raises(ChipError, match="core 0: the chip is in a read mode 'quick' that it does not tell of"):
        chip.read_mode(0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seconds": 0.0}, "'slow': 0 seconds"),
        ({"seconds": math.nan}, "nan seconds"),
        ({"joules": -1e-9}, "-1e-09 joules"),
        ({"joules": math.inf}, "inf joules"),
        ({"name": ""}, "must have a name"),
    ],
)
def test_costs_that_no_read_mode_has(changes, message):
    with pytest.raises(BadInputError, match=message):
        dataclasses.replace(ReadMode("slow", 1e-6), **changes)


@pytest.mark.parametrize("full_scale", [4.9, 50.1, 0.0, -5.0, math.nan, math.inf])
def test_a_converter_range_out_of_bounds(full_scale):
    chip = Recorder(dataclasses.replace(INFO, capabilities=frozenset({Capability.ADC_RANGE})))
    with pytest.raises(LimitError, match="outside 5 to 50 uS"):
        chip.set_adc_range(0, full_scale)


@pytest.mark.parametrize(
    ("offset", "gain", "message"),
    [
        ([0.0, 8.1, 0.0], [0.0] * 3, r"core 1, column 1: offset trim 8.1 LSB is outside -8 to 8 LSB; nothing was"),
        ([0.0] * 3, [0.0, 0.0, -0.2], r"core 1, column 2: gain trim -0.2 is outside -0.12 to 0.12; nothing was"),
        ([math.nan, 0.0, 0.0], [0.0] * 3, "column 0: offset trim nan"),
        ([0.0] * 3, [0.0, math.inf, math.nan], "column 1: gain trim inf"),
    ],
)
def test_trims_out_of_reach_name_their_column(offset, gain, message):
    with pytest.raises(LimitError, match=message):
        Trimmed().set_trims(1, offset, gain)


def test_trims_reach_the_chip_rounded_to_their_registers_steps():
    """A quarter of an LSB and 0.4 %; the ends of the registers are in reach."""
    chip = Trimmed()
    chip.set_trims(0, [0.13, -8.0, -0.1], [0.0019, -0.0021, 0.12])
    offset, gain = chip.trims(0)
    assert offset.tolist() == [0.25, -8.0, 0.0]
    assert gain == pytest.approx([0.0, -0.004, 0.12], abs=1e-15)
    assert not np.signbit(offset[2])


@pytest.mark.parametrize("answer", [np.zeros(2), np.full(3, math.nan)], ids=["too few", "not finite"])
def test_trims_that_a_chip_cannot_have_are_its_fault(answer):
    chip = Trimmed()
    chip.registers = answer, np.zeros(3)
    with pytest.raises(ChipError, match="core 0: the chip answered with missing or non-finite trims"):
        chip.trims(0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"offset_step": 0.0}, "offset trims: steps of 0 up to 8 are no register"),
        ({"offset_step": 0.3}, "whole number of steps"),
        ({"gain_step": math.nan}, "gain trims"),
        ({"gain_max": 1.2}, "below 1"),
        ({"offset_max": math.inf}, "offset trims"),
    ],
)
def test_trim_limits_that_no_register_has(changes, message):
    with pytest.raises(BadInputError, match=message):
        dataclasses.replace(TRIMS, **changes)


@pytest.mark.parametrize(
    ("devices", "conductance", "age", "reason"),
    [
        ([0], [-1.0], 1.0, "not negative"),
        ([0], [math.nan], 1.0, "finite"),
        ([0, 1], [1.0], 1.0, "one per device"),
        ([0, 0], [1.0, 1.0], 1.0, "occurs twice"),
        ([0.5], [1.0], 1.0, "integers"),
        ([48], [1.0], 1.0, "0 to 47"),
        ([0], [1.0], 0.0, "age must be positive"),
        ([0], [1.0], math.inf, "age must be positive"),
    ],
)
def test_placements_that_cannot_be(devices, conductance, age, reason):
    chip = Recorder(dataclasses.replace(INFO, capabilities=frozenset({Capability.EXACT_PLACEMENT})))
    with pytest.raises(BadInputError, match=reason):
        chip.place(0, devices, conductance, age)


# ---- the end ----------------------------------------------------------------------------------------------------


def test_close_reaches_the_chip_once(chip):
    chip.close()
    chip.close()
    assert chip.sent == [("close",)]


def test_with_closes_after_an_error_too():
    chip = Recorder()
    with pytest.raises(KeyError, match="of the user's own"), chip:
        raise KeyError("of the user's own")
    assert chip.sent == [("close",)]


def test_a_closed_chip_refuses_everything(chip):
    chip.close()
    for use in (
        lambda: chip.pulse(0, reset([0])),
        lambda: chip.pulse(0, reset([])),
        lambda: chip.mvm(0, np.zeros((1, 4), int)),
        lambda: chip.now(),
        lambda: chip.wait(0.0),
        lambda: chip.adc_range(0),
        lambda: chip.pulse_counts(0),
        *(lambda use=use: use(chip) for use in USES.values()),
    ):
        with pytest.raises(ClosedError, match="recorder was closed; connect again"):
            use()
    assert chip.sent == [("close",)]
