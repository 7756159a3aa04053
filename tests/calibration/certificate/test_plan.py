"""A plan of a calibration: what it takes along, what a chip cannot do of it, and how its steps are counted."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from types import SimpleNamespace

import numpy as np
import pytest

from hwloop.calibration.certificate import check as checks
from hwloop.calibration.certificate import renewal, session
from hwloop.calibration.certificate.certificate import Calibration
from hwloop.calibration.certificate.check import Check, check
from hwloop.calibration.certificate.plan import KNOWN, PARTS, Plan
from hwloop.calibration.certificate.session import CalibrationStep, Session, calibrate
from hwloop.calibration.certificate.use import use_calibration
from hwloop.calibration.routines.core import CoreCalibration
from hwloop.calibration.steps import Step, run
from hwloop.chip.info import Capability
from hwloop.errors import BadInputError, CalibrationWarning, ChipError, MissingCapabilityError
from tests.calibration import made_up
from tests.calibration.specimen import lacking
from tests.conftest import OpenChip

CHIP = "sim:hermes-64?cores=2&rows=16&columns=12&seed=1"


# ---- what is asked for -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "wanted"),
    [
        ("devices", ["devices"]),
        ("adc", ["devices", "adc"]),
        ("dac", ["devices", "adc", "dac"]),
        ("wires", ["devices", "adc", "wires"]),
        ("ranges", ["ranges"]),
        ("symmetry-point", ["symmetry-point"]),
    ],
)
def test_a_part_takes_along_what_it_requires_in_order(part: str, wanted: list[str]) -> None:
    assert Plan((part,)).wanted() == wanted
    assert not Plan((part,)).everything


def test_everything_is_all_that_devices_have_which_are_programmed() -> None:
    assert set(KNOWN) - set(PARTS) == {"symmetry-point"}
    assert Plan().everything
    assert Plan(tuple(reversed(PARTS))).everything
    assert Plan().wanted() == list(PARTS)
    assert not Plan(PARTS[:-1]).everything
    assert Plan().age is None


@pytest.mark.parametrize("parts", [(), ("nothing",), ("devices", "nothing")])
def test_parts_that_there_are_not_are_refused(parts: tuple[str, ...]) -> None:
    with pytest.raises(BadInputError, match=r"calibrate: unknown part '.*'; known: devices"):
        Plan(parts)


def test_what_a_chip_lacks_is_named_or_refused_when_it_was_asked_for_by_name() -> None:
    info = lacking(CHIP, Capability.DEVICE_READ).info
    unable = Plan().unable(info)
    assert unable
    for name, why in unable.items():
        assert name in PARTS
        assert why == f"needs device-read, which {info.name} lacks"
        with pytest.raises(MissingCapabilityError, match=f"calibrating {name} needs device-read, which this chip lack"):
            Plan((name,)).unable(info)
    assert Plan(("adc",)).unable(info) == {}
    with pytest.raises(MissingCapabilityError, match=r"symmetry-point needs .* which this chip lacks"):
        Plan(("symmetry-point",)).unable(info)


def test_the_weights_lie_on_the_first_core_and_inputs_must_fit_them(open_chip: OpenChip) -> None:
    info = open_chip(CHIP).info
    tile = Plan().tile(info)
    assert (tile.place.core, tile.target.shape) == (0, (16, 12))
    with pytest.raises(BadInputError, match="15"):
        Plan(inputs=np.zeros((3, 15))).tile(info)
    assert Plan(inputs=np.zeros((3, 16))).tile(info).place.rows == 16


# ---- a session ---------------------------------------------------------------------------------------------------


class Routine:
    """A routine of four stages, of which two are told; it may fail."""

    def __init__(self, part: str, *requires: str, fails: int | None = None) -> None:
        self.parts, self.requires, self.fails = (part,), requires, fails

    def steps(self, task: SimpleNamespace):
        yield Step(0, 4, f"{self.parts[0]} begins", rest=0.5)
        yield Step(2, 4, f"{self.parts[0]} goes on")
        if self.fails == task.region.place.core:
            raise ChipError(f"core {self.fails}: smoke")
        core = made_up.core(task.region.backend)
        parts = {"devices": core.devices, "converters": core.converters}
        return dataclasses.replace(task.known, **{name: parts[name] for name in self.parts})


def session_of(monkeypatch: pytest.MonkeyPatch, chip, *routines: Routine, plan: Plan | None = None) -> Session:
    monkeypatch.setattr(Plan, "routines", lambda *_: list(routines))
    monkeypatch.setattr(Plan, "budget", lambda *_: None)
    return Session(chip, plan or Plan(), None, 3)


def test_steps_count_twelve_for_each_routine_of_each_core(open_chip: OpenChip, monkeypatch: pytest.MonkeyPatch) -> None:
    chip, told = open_chip(CHIP), list[CalibrationStep]()
    work = session_of(monkeypatch, chip, Routine("devices"), Routine("converters", "devices")).steps()
    found = run(work, chip, lambda _, step: told.append(step))
    assert [step.done for step in told] == [0, 6, 12, 12, 18, 24, 24, 30, 36, 36, 42, 48]
    assert [step.core for step in told] == [0] * 6 + [1] * 6
    assert {step.total for step in told} == {48}
    assert [step.stage for step in told[:3]] == ["devices begins", "devices goes on", ""]
    assert [step.rest for step in told[:3]] == [0.5, 0.0, 0.0]
    done = [step.so_far.measured() for step in told if step.so_far is not None]
    assert done == [["devices"], *[["devices", "converters"]] * 3]  # of all cores together
    for step in told:
        assert step.so_far is None or step.so_far.skipped.keys() == {"unfinished"}
    assert (found.measured(), found.skipped, found.seed) == (["devices", "converters"], {}, 3)
    assert found.cost["pulses"] == 0.0


def test_a_core_that_fails_is_named_and_the_others_are_done(
    open_chip: OpenChip, monkeypatch: pytest.MonkeyPatch
) -> None:
    chip = open_chip(CHIP)
    found = run(session_of(monkeypatch, chip, Routine("devices", fails=0)).steps(), chip)
    assert found.skipped == {"core 0": "core 0: smoke"}
    assert list(found.cores) == [1]
    # Where something is known of the core already, the part alone is left out.
    found = run(session_of(monkeypatch, chip, Routine("devices"), Routine("converters", fails=1)).steps(), chip)
    assert found.skipped == {"core 1: converters": "smoke"}
    assert [list(core.parts()) for core in found.cores.values()] == [["devices", "converters"], ["devices"]]
    by_name = session_of(
        monkeypatch, chip, Routine("devices"), Routine("converters", fails=0), plan=Plan(("adc",))
    ).steps()
    assert list(run(by_name, chip).cores) == [1]


def test_a_session_that_is_stopped_says_where(open_chip: OpenChip, monkeypatch: pytest.MonkeyPatch) -> None:
    chip = open_chip(CHIP)
    stopped = session_of(monkeypatch, chip, Routine("devices"))
    work = stopped.steps()
    told = [next(work) for _ in range(4)]  # the three of the first core, and one of the second
    assert told[-1].core == 1
    found = stopped.interrupted()
    assert found.skipped == {"interrupted": "stopped on core 1; cores after it were not begun"}
    assert found.measured() == ["devices"]


@pytest.mark.parametrize(("observing", "keeping"), [(True, True), (True, False), (False, True), (False, False)])
def test_stages_are_told_and_parts_are_kept(
    open_chip: OpenChip, monkeypatch: pytest.MonkeyPatch, observing: bool, keeping: bool
) -> None:
    chip, told, kept = open_chip(CHIP), list[CalibrationStep](), list[Calibration]()
    session_of(monkeypatch, chip, Routine("devices"))
    calibrate(chip, observer=told.append if observing else None, keep=kept.append if keeping else None)
    stages = ["devices begins", "devices goes on"] * 2
    assert [step.stage for step in told] == (stages if observing else [])
    assert [list(one.cores) for one in kept] == ([[0], [0, 1]] if keeping else [])


def test_a_step_is_of_the_first_core_and_a_calibration_of_nothing_unless_told() -> None:
    assert (CalibrationStep(0, 1).core, CalibrationStep(0, 1).so_far) == (0, None)
    found = Calibration(None, made_up.DATE, 300.0, {}, {})  # type: ignore[arg-type]
    assert (found.seed, found.clock, found.cost, found.skipped, found.settings) == (0, 0.0, {}, {}, {})
    assert found.measured() == []
    assert CoreCalibration().parts() == {}


# ---- use, check and renewal --------------------------------------------------------------------------------------


def test_warnings_of_a_calibration_name_the_line_that_begins_to_use_it(open_chip: OpenChip) -> None:
    chip = open_chip(CHIP)
    known = made_up.calibration(chip)

    def begin() -> None:
        use_calibration(known, chip)

    with pytest.warns(CalibrationWarning) as told:
        begin()
    assert {one.filename for one in told} == {__file__}


def test_a_check_is_made_under_the_trims_of_the_calibration(
    open_chip: OpenChip, monkeypatch: pytest.MonkeyPatch
) -> None:
    chip, seen = open_chip(CHIP), []
    base = made_up.calibration(chip)

    def now(backend, core, vectors, rng):
        yield from ()
        seen.append((core, vectors, rng.integers(1 << 30)))

    monkeypatch.setattr(checks, "converters_now", now)
    chip.set_trims(0, np.full(12, 5.0), np.zeros(12))
    found = Check(adc_vectors=777).run(base, chip, seed=4)
    np.testing.assert_array_equal(chip.trims(0)[0], base.cores[0].trims.offset)
    # Of a core that drives no column, offsets alone are compared.
    assert [(one.core, one.what) for one in found] == [
        (None, "temperature (0.0 K away)"), (0, "offsets, by idle outputs"), (1, "offsets, by idle outputs"),
    ]  # fmt: skip
    assert seen == [(core, 777, np.random.default_rng([4, core]).integers(1 << 30)) for core in (0, 1)]
    later = dataclasses.replace(base, cores={1: base.cores[1]}, created=base.created + timedelta(days=1))
    assert [one.core for one in check(later, chip)] == [None, 1]


@pytest.mark.parametrize(("asked", "sent"), [(2048, 2048), (41, 41), (39, 40), (1, 40)])
def test_twice_the_rows_are_sent_at_least(
    open_chip: OpenChip, monkeypatch: pytest.MonkeyPatch, asked: int, sent: int
) -> None:
    told: list[dict[str, int]] = []

    class Converters:
        def __init__(self, **settings: int) -> None:
            told.append(settings)

        def measure(self, region, rng):
            yield Step(0, 1, "made up")
            return made_up.converters(16, 12, unresponsive=np.arange(12) >= told[-1]["adc_vectors"] - 40)

    monkeypatch.setattr(renewal, "ConverterCalibration", Converters)
    chip = open_chip(CHIP)
    found = run(renewal.converters_now(chip, 1, asked, np.random.default_rng(0)), chip)
    assert told == [{"adc_vectors": sent, "dac_vectors": 0}]
    assert (found is None) == (sent == 40)  # where no column responds, nothing is known


def test_sessions_and_renewals_share_how_cost_is_told(open_chip: OpenChip) -> None:
    chip = open_chip(CHIP)
    before = chip.counts
    chip.mvm(0, np.zeros((5, 16), np.int32))
    spent = session.plain_counts(chip.counts - before)
    assert spent["mvms"] == 5.0
    assert all(isinstance(number, float) for number in spent.values())
