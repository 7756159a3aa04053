"""The course of program-and-verify: which devices are asked for what, in which order, and what it takes at most."""

from __future__ import annotations

import warnings
from dataclasses import replace
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

from hwloop.calibration.programming import program_verify
from hwloop.calibration.programming.base import Outlook, ProgrammingStep
from hwloop.calibration.programming.current_error_of_devices import DeviceCurrentError
from hwloop.calibration.programming.program_verify import ProgramVerify, _TileDevices
from hwloop.chip.cell_calibration import Devices
from hwloop.chip.info import Capability
from hwloop.devices.drift import DriftModel
from hwloop.devices.statistics import Polynomial
from hwloop.errors import BadInputError, MissingCapabilityError, ProgrammingWarning
from tests.calibration.programming.scripted import ScriptedRegion, device_model, tile_of

NOTHING = DeviceCurrentError(0.0, 1.0, 0.0, 0.0)


class Scripted:
    """In place of the devices of a tile: notes what is asked for; one device less is off target at every look."""

    script: ClassVar[dict[str, object]] = {}
    """What a test changes of the fields."""

    def __init__(self, region, known, tile, moment, settings) -> None:
        self.asked: list[tuple] = [("moment", moment)]
        self.first, self.off, self.sent, self.found = np.arange(0), 2, [5, 4, 3, 2, 1], NOTHING
        vars(self).update(self.script)
        MADE.append(self)

    def pilot(self, most: int) -> np.ndarray:
        self.asked.append(("pilot", most))
        return self.first

    def pulse_open_loop(self, devices: np.ndarray) -> int:
        self.asked.append(("pulse", len(devices)))
        return len(devices)

    def program_open_loop(self) -> int:
        self.asked.append(("open loop",))
        return 9

    def aim(self, k: int, reserve: float) -> np.ndarray:
        self.asked.append(("aim", k, reserve))
        return np.arange(self.off + 1)

    def verify(self, active: np.ndarray, averages: int, tolerance: float) -> np.ndarray:
        self.asked.append(("verify", len(active), averages, tolerance))
        return active[1:]

    def current_error(self, devices: np.ndarray, averages: int) -> DeviceCurrentError:
        self.asked.append(("currents", len(devices), averages))
        return self.found

    def correct(self, devices: np.ndarray, gain: float, most: int) -> int:
        self.asked.append(("correct", len(devices), gain, most))
        return self.sent.pop(0)

    def give_up(self, devices: np.ndarray) -> None:
        self.asked.append(("give up", len(devices)))

    def restart(self, error: float) -> None:
        self.asked.append(("restart", error))

    def monitor(self, rng: np.random.Generator, vectors: int) -> float:
        return vectors / 1000

    def outcome(self) -> tuple[np.ndarray, np.ndarray]:
        stuck = np.zeros((2, 1, 1, 2), bool)
        stuck[1, 0, 0, 1] = True
        return np.array([[True, False]]), stuck


MADE: list[Scripted] = []


def course(
    monkeypatch: pytest.MonkeyPatch, method: ProgramVerify, per_polarity: int = 2, calibrated: bool = False, **script
) -> tuple[list[ProgrammingStep], list[tuple]]:
    """Steps of a method for targets at 100 s, and what it asked of the devices."""
    region = ScriptedRegion(columns=2)
    region.clock = 1000.0
    region.backend.info = region.backend.info.__class__(
        **{**vars(region.backend.info), "devices_per_polarity": per_polarity, "device_model": device_model()}
    )
    known = Devices.nominal(device_model(), (2, per_polarity, 1, 2))
    region.calibration = SimpleNamespace(devices=known if calibrated else None)
    MADE.clear()
    monkeypatch.setattr(program_verify, "_TileDevices", Scripted)
    monkeypatch.setattr(Scripted, "script", script)
    steps = list(method.steps(region, tile_of(region, np.full((1, 2), 10.0)), 100.0, np.random.default_rng(0)))
    return steps, MADE[0].asked


METHOD = ProgramVerify(averages=7, tolerance=0.5, max_steps=2, settle=0.1, gain=0.3, max_pulses_per_device=6)


def test_devices_of_a_polarity_come_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    steps, asked = course(monkeypatch, METHOD)
    assert asked == [
        # Four rounds of 10 s each are expected, and targets hold 100 s after the last.
        ("moment", 1000.0 + 4 * 10.0 + 100.0), ("pilot", 1024), ("open loop",),
        ("aim", 0, 0.5), ("verify", 3, 7, 0.5), ("currents", 3, 7), ("correct", 2, 0.3, 6),
        ("verify", 2, 7, 0.5), ("correct", 1, 0.3, 6), ("give up", 1),
        # The last device of a polarity has none behind it to fill up what it leaves.
        ("aim", 1, 0.0), ("verify", 3, 7, 0.5), ("correct", 2, 0.3, 6),
        ("verify", 2, 7, 0.5), ("correct", 1, 0.3, 6), ("give up", 1),
    ]  # fmt: skip
    assert [step.done for step in steps] == [0, 1, 2, 3, 4]
    assert [step.pulses for step in steps] == [9, 5, 4, 3, 2]
    assert [step.rest for step in steps] == [10.0, 10.0, 10.0, 10.0, 0.0]
    assert {step.total for step in steps} == {4}
    assert {step.mvm_error for step in steps} == {0.128}
    assert steps[0].unconverged.tolist() == [[True, False]]
    assert steps[0].stuck.tolist() == [[False, True]]


def test_a_device_that_needs_no_more_pulses_ends_its_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    steps, asked = course(monkeypatch, METHOD, per_polarity=1, sent=[0])
    assert [what for what, *_ in asked] == [
        "moment", "pilot", "open loop", "aim", "verify", "currents", "correct", "give up",
    ]  # fmt: skip
    assert [(step.done, step.pulses, step.rest) for step in steps] == [(0, 9, 10.0), (1, 0, 0.0)]


def test_a_calibration_is_tried_out_first(monkeypatch: pytest.MonkeyPatch) -> None:
    steps, asked = course(monkeypatch, METHOD, per_polarity=1, calibrated=True, first=np.arange(4), sent=[0])
    assert asked[:8] == [
        ("moment", 1000.0 + 3 * 10.0 + 100.0), ("pilot", 1024), ("pulse", 4), ("verify", 4, 7, 0.5),
        ("currents", 4, 7), ("open loop",), ("aim", 0, 0.0), ("verify", 3, 7, 0.5),
    ]  # fmt: skip
    assert [(step.done, step.pulses, step.rest, step.total) for step in steps] == [
        (0, 4, 10.0, 3), (1, 9, 10.0, 3), (2, 0, 0.0, 3),
    ]  # fmt: skip


# ---- currents that are off -------------------------------------------------------------------------------------------


def error(value: float, sigma: float = 1e-3, evidence: float = 1e3) -> DeviceCurrentError:
    return DeviceCurrentError(value, sigma, evidence, 0.0)


@pytest.mark.parametrize("found", [error(0.01), error(0.3, sigma=0.1), error(0.3, evidence=1.0)])
@pytest.mark.parametrize("calibrated", [True, False])
def test_what_is_not_certain_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, found: DeviceCurrentError, calibrated: bool
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, asked = course(monkeypatch, METHOD, calibrated=calibrated, first=np.arange(3), found=found)
    assert "restart" not in [what for what, *_ in asked]


@pytest.mark.parametrize(("value", "told"), [(0.2, r"20\.0% higher"), (-0.2, r"20\.0% lower")])
def test_other_currents_than_the_model_says_are_gone_on_with(
    monkeypatch: pytest.MonkeyPatch, value: float, told: str
) -> None:
    with pytest.warns(ProgrammingWarning, match=rf"currents {told} than the chip model says \(\+- 0\.1%\)"):
        _, asked = course(monkeypatch, METHOD, found=error(value))
    assert [what for what in asked if what[0] == "restart"] == [("restart", value)]


@pytest.mark.parametrize("value", [0.049, -0.049])
def test_a_calibration_may_be_a_little_off(monkeypatch: pytest.MonkeyPatch, value: float) -> None:
    with pytest.warns(ProgrammingWarning, match=r"4\.9% \w+ than the calibration says"):
        _, asked = course(monkeypatch, METHOD, calibrated=True, first=np.arange(3), found=error(value))
    assert [what for what in asked if what[0] == "restart"] == [("restart", value)]


@pytest.mark.parametrize("value", [0.05, -0.05, 0.2])
@pytest.mark.parametrize("pilot", [0, 3])
def test_a_calibration_that_is_further_off_is_refused(
    monkeypatch: pytest.MonkeyPatch, value: float, pilot: int
) -> None:
    told = f"currents {abs(value):.1%} {'higher' if value > 0 else 'lower'} than the calibration says"
    with pytest.raises(BadInputError, match=told):
        course(monkeypatch, METHOD, calibrated=True, first=np.arange(pilot), found=error(value))
    done = [what for what, *_ in MADE[0].asked]
    assert ("open loop" in done) == (pilot == 0)  # a pilot spares the other devices their pulses
    assert "correct" not in done


# ---- what it takes ---------------------------------------------------------------------------------------------------


def test_what_it_takes_at_most() -> None:
    info = SimpleNamespace(devices_per_polarity=2)
    assert ProgramVerify().outlook(256, 100.0, info) == Outlook(32 * 5.0, 15, 16 * 16, 32 * 128)
    least = METHOD.outlook(256, 100.0, info)
    assert (least.chip_seconds, least.pulses, least.reads, least.vectors) == pytest.approx((60.0, 6, 3 * 7, 6 * 128))


def test_rests_are_shortened_to_a_budget() -> None:
    info = SimpleNamespace(devices_per_polarity=2)
    assert METHOD.within(20.0, 100.0, info).settle == pytest.approx(20.0 / (100.0 * 4))
    assert METHOD.within(1000.0, 100.0, info).settle == 0.1
    with pytest.raises(BadInputError, match="9 chip seconds allow no round, which rests 10 s"):
        METHOD.within(9.0, 100.0, info)


def test_a_chip_without_device_reads_is_refused() -> None:
    region = ScriptedRegion()
    region.backend.require = lambda *what: (_ for _ in ()).throw(MissingCapabilityError(str(what)))
    with pytest.raises(MissingCapabilityError, match=r"DEVICE_READ.*program-and-verify"):
        METHOD.check(region, tile_of(region, np.ones((1, 1))), 100.0)


# ---- the devices of a tile -------------------------------------------------------------------------------------------


def devices_of(target: np.ndarray, calibrated: bool = True) -> tuple[_TileDevices, ScriptedRegion]:
    region = ScriptedRegion(*target.shape)
    region.shape, region.size = (2, 2, *target.shape), 4 * target.size
    known = Devices.nominal(device_model(), region.shape)
    region.calibration = SimpleNamespace(devices=known if calibrated else None)
    return _TileDevices(region, known, tile_of(region, target), 1000.0, METHOD), region


TARGET = np.array([[10.0, -5.0], [0.0, 6.0], [7.0, 8.0], [9.0, -3.0]])


@pytest.mark.parametrize(
    ("most", "chosen"), [(2, [0, 23]), (1, [0]), (3, []), (0, [])]
)  # of 0, 3, 4, 5, 6, 17 and 23, the first devices of cells with a target; not more than a quarter of the cells
def test_a_pilot_is_of_loaded_first_devices_evenly(most: int, chosen: list[int]) -> None:
    devices, _ = devices_of(TARGET)
    assert devices.pilot(most).tolist() == chosen
    assert devices.target.reshape(2, 2, 4, 2)[0, 0] == pytest.approx(np.maximum(TARGET, 0.0))
    assert devices_of(TARGET, calibrated=False)[0].pilot(most).tolist() == []


def test_a_pilot_leaves_out_devices_that_do_not_answer() -> None:
    devices, _ = devices_of(TARGET)
    devices.usable[0] = False
    assert devices.pilot(2).tolist() == [3, 23]


def test_devices_of_which_most_are_asked_for_are_all_chosen_once() -> None:
    devices, _ = devices_of(np.tile([[5.0, 0.0]], (8, 1)))  # 16 cells of which half are loaded
    assert devices.pilot(4).tolist() == [0, 4, 8, 14]
    sparse, _ = devices_of(np.where(np.arange(16).reshape(8, 2) == 5, 4.0, 0.0))
    assert sparse.pilot(4).tolist() == [5]


def test_a_chip_without_mvms_is_judged_by_its_reads_once_all_devices_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    devices, region = devices_of(TARGET)
    told: list[tuple] = []

    def computed(*what: object) -> SimpleNamespace:
        told.append(what)
        return SimpleNamespace(mvm_error=0.07)

    monkeypatch.setattr(program_verify, "computed_outputs", computed)
    rng = np.random.default_rng(0)
    assert Capability.MVM not in region.backend.info.capabilities
    devices.value = np.arange(32.0)
    devices.seen[:] = True
    devices.seen[5] = False
    assert np.isnan(devices.monitor(rng, 64))
    devices.seen[5] = True
    assert devices.monitor(rng, 64) == 0.07
    ((found, weights, scale, source, vectors, top),) = told
    of_cells = np.arange(32.0).reshape(2, 2, 4, 2).sum(1)
    assert np.array_equal(found, of_cells[0] - of_cells[1])
    assert weights is devices._tile.weights or np.array_equal(weights, devices._tile.weights)
    assert np.array_equal(scale, [1.0, 1.0])
    assert (source, vectors, top) == (rng, 64, region.backend.info.input_max)


def test_the_monitor_expects_of_each_device_what_it_will_still_lose_in_weight_units(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Targets hold at 1000 s; now is 400 s, devices were pulsed at different times, and a uS is worth 3 or 0.5."""
    drift = DriftModel(1.0, 20.0, Polynomial((0.1,)), Polynomial((0.0,)))
    region = ScriptedRegion(1, 2)
    region.backend.info = replace(region.backend.info, capabilities=frozenset({Capability.MVM}))
    known = Devices.nominal(replace(device_model(), drift=drift), region.shape)
    tile = replace(tile_of(region, np.array([[10.0, -4.0]])), scale=np.array([3.0, 0.5]))
    devices = _TileDevices(region, known, tile, 1000.0, METHOD)
    devices.target[:], devices.born[:] = [10.0, 2.0, 1.0, 4.0], [0.0, 100.0, 390.0, 300.0]
    region.clock, told = 400.0, []
    monkeypatch.setattr(program_verify, "calibrate_columns", lambda region, weights, *rest: told.append(weights))
    monkeypatch.setattr(program_verify, "measure_outputs", lambda *_: SimpleNamespace(mvm_error=0.03))
    assert devices.monitor(np.random.default_rng(0), 64) == 0.03
    ages, later = 400.0 - devices.born, 1000.0 - devices.born
    more = devices.target * (ages**-0.1 / later**-0.1 - 1.0)
    assert told[0] == pytest.approx(np.add(tile.weights, [[3.0 * (more[0] - more[2]), 0.5 * (more[1] - more[3])]]))


def test_open_loop_pulses_go_to_devices_that_had_none() -> None:
    devices, region = devices_of(TARGET)
    devices.pulse_open_loop(np.array([3, 20]))
    assert devices.program_open_loop() == 30
    assert sorted(np.concatenate([sent for sent, _ in region.pulses]).tolist()) == list(range(32))


def test_small_targets_are_targets_and_ages_count_from_each_devices_pulse() -> None:
    devices, _ = devices_of(np.array([[0.5, 0.0], [0.0, -0.4], [0.0, 0.0], [0.0, 0.0]]))
    assert devices.pilot(2).tolist() == [0, 19]
    devices.born[:] = np.arange(32.0)
    assert devices._age_at_target(np.array([2, 30])).tolist() == [998.0, 970.0]


@pytest.mark.parametrize(
    ("split", "reserve", "asked"),
    [
        ("fill", 0.0, [3.0, 0.0]),  # 10 - 7, and 2 - 3
        ("fill", 1.0, [2.0, 0.0]),  # one less than is wanted
        ("fill", 2.0, [3.0, 0.0]),  # but not of a target that is no more than twice as much
        ("even", 0.0, [3.0, 0.0]),  # the last of two takes all that is left
    ],
)
def test_a_later_device_takes_what_earlier_ones_lack(split: str, reserve: float, asked: list[float]) -> None:
    devices, _ = devices_of(np.array([[10.0, 2.0]]))
    devices._tile = replace(devices._tile, split=split)
    devices.value.reshape(2, 2, 1, 2)[0, 0] = [7.0, 3.0]
    assert devices.aim(1, reserve).tolist() == [2, 3, 6, 7]
    assert devices.target.reshape(2, 2, 1, 2)[0, 1].ravel() == pytest.approx(asked)
    assert devices.target.reshape(2, 2, 1, 2)[1, 1].ravel() == pytest.approx([0.0, 0.0])


def test_the_first_of_two_even_devices_takes_half_and_none_takes_more_than_it_can() -> None:
    devices, region = devices_of(np.array([[10.0, -90.0]]))
    devices._tile = replace(devices._tile, split="even")
    assert devices.aim(0, 0.0).tolist() == [0, 1, 4, 5]
    most = devices._known.capacity(region.backend.info)[1, 0, 0, 1]
    assert devices.target.reshape(2, 2, 1, 2)[:, 0].reshape(2, 2) == pytest.approx(np.array([[5.0, 0.0], [0.0, most]]))
