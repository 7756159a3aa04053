"""Whatever a caller hands to a backend by mistake, an HwloopError says so and nothing reaches the driver."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import fractions
import inspect

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from hwloop.chip.backend import Backend
from hwloop.chip.driver import Driver
from hwloop.chip.info import Capability, ReadMode
from hwloop.chip.pulses import PulseKind, Pulses
from hwloop.chip.targets import Targets
from hwloop.chip.updates import SteppingDevices
from hwloop.errors import BadInputError, ClosedError, HwloopError
from tests.chip.test_backend import INFO, NO_WAY, TRIMS

MODES = (ReadMode("slow", 1e-6), ReadMode("fast", 1e-7))
STEPPING = SteppingDevices(
    step=0.01, low=-10.0, high=10.0, levels=127, longest=3, amplitude=100.0, width=50.0, slot_seconds=1e-8
)
ALL = dataclasses.replace(INFO, capabilities=frozenset(Capability), trims=TRIMS, read_modes=MODES, stepping=STEPPING)
HOOKS = sorted(name for name in vars(Driver) if name.startswith("_") and callable(getattr(Driver, name)))
QUIET = {"_link_bytes", "_undeclared", "_abc_impl", "__init__"}
COLUMNS = [0.0] * INFO.columns
CELLS = np.zeros((2, 2))
X, D = np.ones((1, INFO.rows), int), np.ones((1, INFO.columns), int)


class Reached(Exception):
    """A hook was called."""


class Tripwire(Backend):
    """A chip with every capability, of which no hook may be called."""


for _name in HOOKS:
    if _name not in QUIET and not _name.startswith("__"):

        def _trip(self, *arguments, name=_name):
            raise Reached(name)

        setattr(Tripwire, _name, _trip)
Tripwire.__abstractmethods__ = frozenset()


anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.complex_numbers(),
    st.text(max_size=4),
    st.binary(max_size=4),
    st.fractions(),
    st.decimals(),
    st.dates(),
    st.lists(st.one_of(st.integers(), st.floats(), st.text(max_size=2), st.none()), max_size=4),
    st.lists(st.lists(st.integers(), max_size=3), max_size=3),
    st.dictionaries(st.one_of(st.text(max_size=3), st.integers()), st.integers(), max_size=3),
    st.sampled_from([object(), 10**400, np.bool_(True), np.datetime64("2020-01-01"), np.timedelta64(3, "s")]),
    st.sampled_from([datetime.date, {1, 2}, fractions.Fraction(1, 2), decimal.Decimal(1)]),
    st_numpy.arrays(
        dtype=st.sampled_from(["f8", "f4", "i4", "u8", "?", "c16", "U3", "O", "M8[s]", "m8[s]"]),
        shape=st_numpy.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    ),
)


def is_a_core(value: object) -> bool:
    return (
        isinstance(value, int | np.integer)
        and not isinstance(value, bool | np.timedelta64)
        and 0 <= int(value) < INFO.cores
    )


def one_pulse() -> Pulses:
    return Pulses.make(PulseKind.RESET, [0], 200.0, 100.0)


WITH_A_CORE = {
    "pulse": lambda chip, core: chip.pulse(core, one_pulse()),
    "read": lambda chip, core: chip.read(core, [0]),
    "mvm": lambda chip, core: chip.mvm(core, np.zeros((1, INFO.rows), int)),
    "update": lambda chip, core: chip.update(core, X, D),
    "set_adc_range": lambda chip, core: chip.set_adc_range(core, 10.0),
    "adc_range": lambda chip, core: chip.adc_range(core),
    "set_trims": lambda chip, core: chip.set_trims(core, COLUMNS, COLUMNS),
    "trims": lambda chip, core: chip.trims(core),
    "set_read_mode": lambda chip, core: chip.set_read_mode(core, "slow"),
    "read_mode": lambda chip, core: chip.read_mode(core),
    "place": lambda chip, core: chip.place(core, [0], [1.0], 1.0),
    "pulse_counts": lambda chip, core: chip.pulse_counts(core),
    "program_targets": lambda chip, core: chip.program_targets([Targets(core, 0, 0, CELLS)], 1.0, NO_WAY),
}
"""Every public method that takes a core, right but for the core."""

WRONG = {
    "pulse, pulses": lambda chip, wrong: chip.pulse(0, wrong),
    "pulse, devices": lambda chip, wrong: chip.pulse(0, Pulses.make(PulseKind.SET, wrong, 200.0, 100.0)),
    "pulse, amplitude": lambda chip, wrong: chip.pulse(0, Pulses.make(PulseKind.SET, [0, 1], wrong, 100.0)),
    "pulse, width": lambda chip, wrong: chip.pulse(0, Pulses.make(PulseKind.SET, [0, 1], 200.0, wrong)),
    "pulse, made by hand": lambda chip, wrong: chip.pulse(0, Pulses(PulseKind.SET, wrong, wrong, wrong)),
    "read, devices": lambda chip, wrong: chip.read(0, wrong),
    "read, averages": lambda chip, wrong: chip.read(0, [0], wrong),
    "mvm, x": lambda chip, wrong: chip.mvm(0, wrong),
    "mvm, columns": lambda chip, wrong: chip.mvm(0, np.zeros((1, INFO.rows), int), wrong),
    "mvm, end of columns": lambda chip, wrong: chip.mvm(0, np.zeros((1, INFO.rows), int), slice(0, wrong)),
    "mvm, step of columns": lambda chip, wrong: chip.mvm(0, np.zeros((1, INFO.rows), int), slice(0, 1, wrong)),
    "mvm, transposed": lambda chip, wrong: chip.mvm(0, np.zeros((1, INFO.rows), int), transposed=wrong),
    "update, x": lambda chip, wrong: chip.update(0, wrong, D),
    "update, d": lambda chip, wrong: chip.update(0, X, wrong),
    "update, trains": lambda chip, wrong: chip.update(0, X, D, wrong),
    "wait, seconds": lambda chip, wrong: chip.wait(wrong),
    "set_adc_range, full_scale": lambda chip, wrong: chip.set_adc_range(0, wrong),
    "set_trims, offset": lambda chip, wrong: chip.set_trims(0, wrong, COLUMNS),
    "set_trims, gain": lambda chip, wrong: chip.set_trims(0, COLUMNS, wrong),
    "set_read_mode, mode": lambda chip, wrong: chip.set_read_mode(0, wrong),
    "place, devices": lambda chip, wrong: chip.place(0, wrong, [1.0], 1.0),
    "place, conductance": lambda chip, wrong: chip.place(0, [0], wrong, 1.0),
    "place, age": lambda chip, wrong: chip.place(0, [0], [1.0], wrong),
    "program_targets, targets": lambda chip, wrong: chip.program_targets(wrong, 1.0, NO_WAY),
    "program_targets, age": lambda chip, wrong: chip.program_targets([Targets(0, 0, 0, CELLS)], wrong, NO_WAY),
    "program_targets, by": lambda chip, wrong: chip.program_targets([Targets(0, 0, 0, CELLS)], 1.0, wrong),
    "program_targets, row": lambda chip, wrong: chip.program_targets([Targets(0, wrong, 0, CELLS)], 1.0, NO_WAY),
    "program_targets, column": lambda chip, wrong: chip.program_targets([Targets(0, 0, wrong, CELLS)], 1.0, NO_WAY),
    "program_targets, cells": lambda chip, wrong: chip.program_targets([Targets(0, 0, 0, wrong)], 1.0, NO_WAY),
    "import_state, state": lambda chip, wrong: chip.import_state(wrong),
    "import_state, counts": lambda chip, wrong: chip.import_state({"ledger/0": wrong}),
    "require, capability": lambda chip, wrong: chip.require(wrong, "a test"),
}
"""Every argument of every public method, the others right."""


def test_no_public_argument_is_left_out():
    """A new method or argument of Backend must be added to the tables above."""
    spelt = {name.replace(", made by hand", ", pulses") for name in WRONG}
    spelt |= {"pulse, pulses", "import_state, state"}
    for name, method in inspect.getmembers(Backend, inspect.isfunction):
        if name.startswith("_") or name == "as_one":  # which takes no request, but work that makes some
            continue
        for argument in list(inspect.signature(method).parameters)[1:]:
            known = name in WITH_A_CORE if argument == "core" else f"{name}, {argument}" in spelt
            assert known or argument == "purpose", f"Backend.{name}, {argument}"


@pytest.mark.parametrize("method", WITH_A_CORE)
@given(core=anything)
def test_a_core_is_a_whole_number_that_exists(method, core):
    assume(not is_a_core(core))
    chip = Tripwire(ALL)
    with pytest.raises(BadInputError, match="core"):
        WITH_A_CORE[method](chip, core)
    assert chip._ledger.cores == {}


@pytest.mark.parametrize("method", WITH_A_CORE)
@pytest.mark.parametrize("core", [0.0, 0.5, 1.0, True, False, np.float64(0), np.float32(1), np.bool_(0), "0", None])
def test_what_only_equals_a_core_is_none(method, core):
    """0.5 would be a ledger of its own, and who sends 0.0 or True has confused something."""
    chip = Tripwire(ALL)
    with pytest.raises(BadInputError, match="core must be a whole number from 0 to 1, not "):
        WITH_A_CORE[method](chip, core)
    assert chip._ledger.cores == {}


@pytest.mark.parametrize("core", [1, np.int64(1), np.uint8(1), np.int32(1)])
def test_integers_of_numpy_are_cores_and_count_in_one_ledger(core):
    chip = Tripwire(ALL)
    assert chip.pulse_counts(core).sum() == 0
    assert [type(key) for key in chip._ledger.cores] == [int]


@pytest.mark.parametrize("request_", WRONG)
@given(wrong=anything)
def test_only_errors_of_hwloop_come_out(request_, wrong):
    """Some of what is drawn is right by chance: then, and only then, a hook is reached."""
    chip = Tripwire(ALL)
    before = chip._ledger.cores.copy()
    try:
        WRONG[request_](chip, wrong)
    except HwloopError:
        assert chip._ledger.cores == before
    except Reached:
        assert is_plausible(request_, wrong)
    else:
        assert request_ in ("pulse, devices", "program_targets, targets")
        assert np.size(wrong) == 0


def is_plausible(request_: str, value: object) -> bool:
    """Whether a drawn value is what the argument may be: the arrays of numbers that are let through."""
    if request_ == "import_state, state":
        return isinstance(value, dict) and all(np.asarray(v).dtype.kind in "biuf" for v in value.values())
    if request_ in ("mvm, columns", "mvm, end of columns", "mvm, step of columns") and value is None:
        return True  # all of them
    if request_ == "mvm, transposed":
        return value is False  # the inputs are those of the rows
    if request_ in ("mvm, columns", "mvm, step of columns"):
        return False
    kinds = {"mvm, x": "iu"}
    array = np.asarray(value if not isinstance(value, fractions.Fraction | int) else float(value))
    return array.dtype.kind in kinds.get(request_, "iuf")


@pytest.mark.parametrize(
    "wrong",
    [np.array([200.0, 210.0], object), ["200", "210"], np.array(["200", "210"]), [True, True], [None, 200.0]],
    ids=["objects", "texts", "array of texts", "truth values", "nothing"],
)
def test_arrays_of_anything_but_numbers_are_refused_in_a_clear_line(wrong):
    chip = Tripwire(ALL)
    with pytest.raises(BadInputError, match="amplitude and width must fit 2 devices: amplitudes must be real numbers"):
        Pulses.make(PulseKind.SET, [0, 1], wrong, 100.0)
    with pytest.raises(BadInputError, match="place: conductances must be real numbers, not "):
        chip.place(0, [0, 1], wrong, 1.0)
    for trims in ((wrong, COLUMNS), (COLUMNS, wrong)):
        with pytest.raises(BadInputError, match=r"core 0: (offset|gain) trims must be real numbers, not "):
            chip.set_trims(0, *trims)
    with pytest.raises(BadInputError, match="mvm: inputs must be integers, not "):
        chip.mvm(0, np.array([[*wrong, *wrong]]))


def test_a_batch_with_arrays_of_another_type_is_refused():
    good = one_pulse()
    for changes in ({"devices": [0]}, {"devices": np.array([0.0])}, {"amplitude": np.array(["1"])}, {"width": 100.0}):
        with pytest.raises(BadInputError, match=f"pulse: {next(iter(changes))} is no array of the right type"):
            dataclasses.replace(good, **changes)


@pytest.mark.parametrize("method", ["snapshot", "parameters", "now", "temperature", "export_state"])
def test_a_closed_chip_tells_nothing(method):
    chip = Tripwire(ALL)
    chip._closed = True
    with pytest.raises(ClosedError, match="recorder was closed; connect again"):
        getattr(chip, method)()


def test_a_repr_is_one_line_and_asks_the_chip_nothing():
    chip = Tripwire(ALL)
    line = "recorder, serial 1, 2 cores of 4 x 3 cells, 4 devices each"
    assert repr(chip) == f"<Tripwire {line}>"
    assert repr(chip.info) == f"ChipInfo({line})"
    chip._closed = True
    assert repr(chip) == f"<Tripwire {line}, closed>"
    assert "\n" not in repr(dataclasses.replace(ALL, cores=1)) + repr(chip)
    assert "1 core of" in repr(dataclasses.replace(ALL, cores=1))
