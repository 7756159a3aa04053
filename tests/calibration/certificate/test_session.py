"""A whole calibration: what it finds, what it costs, what it leaves out, and how it ends when something goes wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

import hwloop
from hwloop.calibration.certificate.certificate import Calibration
from hwloop.calibration.certificate.check import check
from hwloop.calibration.certificate.plan import PARTS, Plan
from hwloop.calibration.certificate.renewal import renew
from hwloop.calibration.certificate.session import CalibrationStep, Session, calibrate
from hwloop.calibration.routines.converters import ConverterCalibration
from hwloop.calibration.routines.devices import DeviceCalibration
from hwloop.calibration.routines.floor import FloorCalibration
from hwloop.calibration.routines.programming_curve import CurveCalibration
from hwloop.calibration.routines.trims import TrimCalibration
from hwloop.chip.info import Capability
from hwloop.chip.region import Place, Region
from hwloop.errors import BadInputError, ChipError, LinkError, MissingCapabilityError
from hwloop.mapping.matrix import Matrix
from hwloop.sim_backend.chip import SimulatedChip
from tests.calibration.specimen import SMALL, calibrated, lacking
from tests.conftest import OpenChip, gaussian

TINY = "sim:hermes-core?rows=32&columns=32&seed=1"
TWO_CORES = "sim:hermes-64?cores=2&rows=32&columns=32&seed=1"
RESULTS = ("devices", "converters", "gains", "trims", "wires", "programming_curve", "ranges", "floor")


def whole(chip: hwloop.Backend) -> Region:
    return Region(chip, Place(0, 0, 0, chip.info.rows, chip.info.columns))


# ---- what is done --------------------------------------------------------------------------------------------


def test_everything_is_measured() -> None:
    calibration = calibrated(SMALL).calibration
    assert calibration.measured() == list(RESULTS)
    assert not calibration.skipped
    assert set(calibration.dates) == set(RESULTS)
    assert calibration.temperature == 300.0


@pytest.mark.parametrize(
    ("part", "results"),
    [
        ("devices", {"devices"}),
        ("adc", {"devices", "converters", "gains", "trims"}),
        ("dac", {"devices", "converters", "gains", "trims"}),
        ("wires", {"devices", "converters", "gains", "trims", "wires"}),
        ("programming-curve", {"devices", "programming_curve"}),
        ("ranges", {"ranges"}),
        ("floor", {"devices", "programming_curve", "ranges", "floor"}),
    ],
)
def test_a_part_brings_what_it_requires_and_no_more(part: str, results: set[str]) -> None:
    assert set(calibrated(TINY, part).calibration.measured()) == results


def test_dacs_are_looked_at_only_when_asked_for() -> None:
    assert np.isinf(calibrated(TINY, "adc").core.converters.row_third_order_sigma).all()
    assert np.isfinite(calibrated(TINY, "dac").core.converters.row_third_order_sigma).all()


@pytest.mark.parametrize("without", [(), (Capability.DEVICE_READ,), (Capability.ADC_RANGE,), (Capability.MVM,)])
@pytest.mark.parametrize("parts", [PARTS, ("devices",), ("dac",), ("programming-curve",), ("ranges",)])
def test_nothing_costs_more_than_the_budget_says(without: tuple[Capability, ...], parts: tuple[str, ...]) -> None:
    if parts == ("dac",) and Capability.MVM in without:
        pytest.skip("no DAC can be measured without MVMs")
    chip = lacking(f"{TINY}&stuck_rate=0.02", *without)
    plan = Plan(parts)
    budget = plan.budget(whole(chip))
    calibrate(chip, plan)
    assert chip.pulse_counts(0).max(initial=0) <= budget.pulses_per_device
    assert chip.counts.device_reads <= budget.reads_per_device * chip.info.devices_per_core
    assert chip.counts.mvms <= budget.mvms


def test_the_cost_is_what_the_chip_counted(open_chip: OpenChip) -> None:
    chip = open_chip(TINY)
    cost = calibrate(chip).cost
    assert cost == {name: float(number) for name, number in vars(chip.counts).items()}


def test_the_same_seed_gives_the_same_calibration(open_chip: OpenChip) -> None:
    first, second, other = (calibrate(open_chip(TINY), seed=seed).cores[0] for seed in (3, 3, 4))
    assert np.array_equal(first.converters.offset, second.converters.offset)
    assert np.array_equal(first.programming_curve.shift, second.programming_curve.shift)
    assert not np.array_equal(first.converters.offset, other.converters.offset)


def test_cores_of_a_chip(open_chip: OpenChip) -> None:
    calibration = calibrate(open_chip(TWO_CORES))
    assert list(calibration.cores) == [0, 1]
    assert not np.array_equal(calibration.cores[0].converters.offset, calibration.cores[1].converters.offset)
    assert list(calibrate(open_chip(TWO_CORES), cores=[1, 1]).cores) == [1]


def test_progress_is_told_and_ends_below_its_total(open_chip: OpenChip) -> None:
    seen: list[CalibrationStep] = []
    calibrate(open_chip(TWO_CORES), observer=seen.append)
    done = [progress.done for progress in seen]
    assert done == sorted(done)
    assert done[-1] < seen[-1].total
    assert {progress.core for progress in seen} == {0, 1}


# ---- what cannot be done -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("capability", "skipped"),
    [
        (Capability.MVM, {"adc", "dac", "wires", "floor"}),
        (Capability.DEVICE_READ, {"wires"}),
        (Capability.TEMPERATURE, set()),
        (Capability.ADC_RANGE, set()),
    ],
)
def test_what_a_chip_cannot_do_is_skipped_and_named(capability: Capability, skipped: set[str]) -> None:
    calibration = calibrate(lacking(TINY, capability))
    assert set(calibration.skipped) == skipped
    assert all(f"needs {capability.value}" in reason for reason in calibration.skipped.values())
    assert np.isnan(calibration.temperature) == (capability is Capability.TEMPERATURE)


def test_asked_for_by_name_it_is_refused() -> None:
    chip = lacking(TINY, Capability.MVM)
    with pytest.raises(MissingCapabilityError, match="calibrating adc needs mvm, which this chip lacks; hwloop calibr"):
        calibrate(chip, Plan(("dac",)))
    assert chip.counts.pulses == 0


REFUSED = [
    (lambda: Plan(("adcs",)), "unknown part 'adcs'; known: devices, adc, dac, wires"),
    (lambda: Plan(()), "unknown part"),
    (lambda: Plan(age=-1.0), "age -1 s is outside 0.001 to 1e"),
    (lambda: Plan(age=float("nan")), "age nan s is outside"),
    (lambda: Plan(devices=DeviceCalibration(settle=float("nan"))), "setting settle=nan is outside 0 to 10000"),
    (lambda: Plan(floor=FloorCalibration(vectors=40)), "setting vectors=40: 32 rows need at least 66"),
    (lambda: Plan(inputs=np.ones((4, 31))), r"must have the shape \(vectors, 32\), not \(4, 31\)"),
    (lambda: Plan(inputs=np.full((4, 32), np.nan)), "contain NaN or infinity"),
    (lambda: Plan(weights=Matrix("w", gaussian(40, 40))), "do not fit on sim:hermes-core"),
    (lambda: Plan(weights=Matrix("w", gaussian(20, 20)), inputs=np.ones((4, 32))), r"\(vectors, 20\), not \(4, 32\)"),
]


@pytest.mark.parametrize(("plan", "complaint"), REFUSED)
def test_bad_input_is_refused_before_the_first_pulse(open_chip: OpenChip, plan, complaint: str) -> None:
    chip = open_chip(TINY)
    with pytest.raises(BadInputError, match=complaint):
        calibrate(chip, plan())
    assert chip.counts == type(chip.counts)()


@pytest.mark.parametrize("cores", [[1], [0, 7], [-1]])
def test_cores_that_do_not_exist(open_chip: OpenChip, cores: list[int]) -> None:
    chip = open_chip(TINY)
    with pytest.raises(BadInputError, match=r"core -?\d does not exist; sim:hermes-core has 1 core\(s\)"):
        calibrate(chip, cores=cores)
    assert chip.counts.pulses == 0


def test_a_dead_core_among_others_is_named_and_the_others_are_done(
    open_chip: OpenChip, monkeypatch: pytest.MonkeyPatch
) -> None:
    pulse = SimulatedChip._pulse
    monkeypatch.setattr(SimulatedChip, "_pulse", lambda chip, core, pulses: core == 0 or pulse(chip, core, pulses))
    calibration = calibrate(open_chip(TWO_CORES))
    assert list(calibration.cores) == [1]
    assert calibration.skipped["core 0"].startswith("core 0: no device, or hardly one")


def test_a_link_that_fails_is_no_part_left_out(open_chip: OpenChip, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise LinkError("the link is down; check the cable")

    monkeypatch.setattr(SimulatedChip, "_mvm", fail)
    with pytest.raises(LinkError, match="the link is down"):
        calibrate(open_chip(TINY))


def test_a_link_that_fails_on_the_second_core_ends_it_with_the_first_kept(
    open_chip: OpenChip, monkeypatch: pytest.MonkeyPatch
) -> None:
    chip, kept = open_chip(TWO_CORES), list[Calibration]()
    pulse = chip._pulse

    def fails(core: int, pulses: object) -> None:
        if core == 1:
            raise LinkError("the link failed")
        pulse(core, pulses)

    monkeypatch.setattr(chip, "_pulse", fails)
    with pytest.raises(LinkError, match="the link failed"):
        calibrate(chip, keep=kept.append)
    assert set(kept[-1].cores[0].parts()) == set(RESULTS)


@pytest.mark.parametrize("use", [renew, check])
def test_a_link_that_fails_is_no_sign_of_an_empty_core(
    open_chip: OpenChip, monkeypatch: pytest.MonkeyPatch, use: Callable[..., object]
) -> None:
    chip = open_chip(SMALL)
    base, mvm = calibrate(chip, Plan(("adc",))), chip._mvm

    def fails(core: int, x: np.ndarray) -> np.ndarray:
        if x.any():  # idle inputs still go through
            raise LinkError("the link failed")
        return mvm(core, x)

    monkeypatch.setattr(chip, "_mvm", fails)
    with pytest.raises(LinkError, match="the link failed"):
        use(base, chip)


def test_a_part_that_fails_is_named_and_the_rest_is_done() -> None:
    calibration = calibrate(lacking("sim:hermes-core?rows=8&columns=8"))
    assert calibration.skipped["core 0: programming-curve"].startswith("only 128 devices answer to pulses; too few")
    assert "converters" in calibration.measured()
    assert "floor" not in calibration.measured()  # it needs the curve
    with pytest.raises(ChipError, match="too few for a programming curve"):
        calibrate(lacking("sim:hermes-core?rows=8&columns=8"), Plan(("floor",)))


class CtrlC:
    """An observer that presses Ctrl-C before a stage."""

    def __init__(self, stage: str, core: int = 0) -> None:
        self._stage, self._core = stage, core

    def __call__(self, progress: CalibrationStep) -> None:
        if (progress.stage, progress.core) == (self._stage, self._core):
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("stage", "kept"),
    [
        ("RESET all devices", set()),
        ("SET all devices", set()),
        ("ADC curves", {"devices", "trims"}),
        ("where the flank lies", {"devices", "converters", "gains", "trims", "wires"}),
        ("repeated shots", {"devices", "converters", "gains", "trims", "wires", "programming_curve", "ranges"}),
    ],
)
def test_ctrl_c_keeps_what_was_done(open_chip: OpenChip, stage: str, kept: set[str]) -> None:
    calibration = calibrate(open_chip(TINY), observer=CtrlC(stage))
    assert set(calibration.measured()) == kept
    assert "stopped on core 0" in calibration.skipped["interrupted"]


def test_ctrl_c_on_the_second_core_keeps_the_first(open_chip: OpenChip) -> None:
    calibration = calibrate(open_chip(TWO_CORES), observer=CtrlC("ADC curves", core=1))
    assert set(calibration.cores[0].parts()) == set(RESULTS)
    assert set(calibration.cores[1].parts()) == {"devices", "trims"}


# ---- afterwards ----------------------------------------------------------------------------------------------


def test_the_daily_calibration_renews_the_adcs_without_a_pulse(open_chip: OpenChip) -> None:
    chip = open_chip(SMALL + "&adc_nonlinearity=2&adc_offset_spread=2")
    base = calibrate(chip)
    before = chip.counts
    converters = chip._cores[0].converters
    converters.offset += 3.0  # overnight
    renewed = renew(base, chip)
    spent = chip.counts - before
    assert (spent.pulses, spent.device_reads) == (0, 0)
    fresh = renewed.cores[0].converters
    loud = ~fresh.unresponsive
    assert np.abs(fresh.offset - converters.offset.numpy())[loud].max() < 0.2
    assert np.abs(base.cores[0].converters.offset - converters.offset.numpy()).min() > 2.5
    assert renewed.dates["converters"] == renewed.created > base.created
    assert renewed.dates["devices"] == base.dates["devices"]
    assert renewed.cores[0].devices is base.cores[0].devices


def test_the_daily_calibration_leaves_alone_what_a_column_hardly_shows(open_chip: OpenChip) -> None:
    """Forty columns are programmed; in the others a few stuck devices drive outputs that tell next to nothing."""
    uri = SMALL + "&seed=1&stuck_rate=0.02&adc_offset_spread=2"
    base, chip = calibrated(uri).calibration, open_chip(uri)
    hwloop.program(chip, [Matrix("w", gaussian(64, 40))], calibration=base)
    renewed = renew(base, chip)
    before, after = base.cores[0].converters, renewed.cores[0].converters
    kept = after.offset == before.offset
    assert 10 < kept.sum() <= 24
    assert renewed.skipped["core 0: daily"].startswith(f"{kept.sum()} of 64 columns hold too little")
    assert after.offset_sigma.max() < 0.2
    assert after.adc_noise == pytest.approx(before.adc_noise, rel=0.1)


def test_an_empty_core_drives_no_converter(open_chip: OpenChip) -> None:
    chip = open_chip(TINY)
    base = calibrate(chip, Plan(("adc",)))
    chip.place(0, np.arange(chip.info.devices_per_core), np.zeros(chip.info.devices_per_core), 20.0)
    with pytest.raises(BadInputError, match=r"core 0: holds too little to drive its converters .* program it first"):
        renew(base, chip)


def test_the_daily_calibration_of_a_warm_chip_is_refused(open_chip: OpenChip) -> None:
    """Devices and programming curve would stay those of 300 K."""
    base = calibrated(SMALL).calibration
    with pytest.raises(BadInputError, match=r"at 330.0 K, the calibration was made at 300.0 K; .* calibrate again"):
        renew(base, open_chip(SMALL + "&temperature=330"))


def test_the_calibration_so_far_can_be_kept_after_every_part(open_chip: OpenChip) -> None:
    kept: list[Calibration] = []
    calibration = calibrate(open_chip(TINY), keep=kept.append)
    assert [len(one.measured()) for one in kept] == [1, 2, 4, 5, 6, 7, 8]
    assert all(one.skipped.keys() == {"unfinished"} for one in kept)
    assert not calibration.skipped


def test_a_check_finds_nothing_where_nothing_has_moved(open_chip: OpenChip) -> None:
    moved = []
    for seed in range(8):
        chip = open_chip(f"{SMALL}&adc_nonlinearity=2&adc_offset_spread=2&seed={seed}")
        findings = check(calibrate(chip), chip)
        assert {finding.what for finding in findings} >= {
            "offsets, by idle outputs",
            "offsets",
            "third-order nonlinearities",
        }
        moved.append(sum(finding.moved for finding in findings))
    # 4 x 64 comparisons a chip: one beyond four sigma is seen on one chip of 60.
    assert sum(moved) <= 1


@pytest.mark.parametrize(
    ("name", "change", "what"),
    [("offset", 1.0, "offsets, by idle outputs"), ("nonlinearity", 2.0, "third-order nonlinearities")],
)
def test_a_check_finds_what_has_moved(open_chip: OpenChip, name: str, change: float, what: str) -> None:
    chip = open_chip(SMALL + "&adc_nonlinearity=2")
    base = calibrate(chip)
    getattr(chip._cores[0].converters, name).add_(change)
    moved = {finding.what: finding.moved for finding in check(base, chip)}
    assert moved[what] >= (60 if name == "offset" else 20)


def test_a_check_tells_of_another_temperature(open_chip: OpenChip) -> None:
    base = calibrate(open_chip(TINY), Plan(("adc",)))
    warm, hot = (check(base, open_chip(f"{TINY}&temperature={kelvin}")) for kelvin in (305, 320))
    assert [finding.moved for finding in warm if finding.what.startswith("temperature")] == [0]
    assert [finding.moved for finding in hot if finding.what.startswith("temperature")] == [1]


def test_a_check_sends_no_pulse(open_chip: OpenChip) -> None:
    chip = open_chip(TINY)
    base, before = calibrate(chip, Plan(("adc",))), chip.counts
    check(base, chip)
    spent = chip.counts - before
    assert (spent.pulses, spent.device_reads) == (0, 0)
    assert spent.mvms < 2000


def test_another_chip_is_refused(open_chip: OpenChip) -> None:
    base = calibrate(open_chip(TINY), Plan(("adc",)))
    other = open_chip(TINY.replace("seed=1", "seed=2"))
    for use in (check, renew):
        with pytest.raises(BadInputError, match=r"is for sim:hermes-core .* not for sim:hermes-core"):
            use(base, other)
    assert other.counts.mvms == 0


def test_fewer_vectors_take_less(open_chip: OpenChip) -> None:
    chip = open_chip(TINY)
    calibrate(chip, Plan(("dac",), converters=ConverterCalibration(adc_vectors=512, dac_vectors=512)))
    assert chip.counts.mvms == 512 + 32 + 512 + 512 + 256  # trims, range, ADCs, DACs, idle


def test_results_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError, match="seed"):
        calibrated(SMALL).calibration.seed = 5


# ---- the protocol --------------------------------------------------------------------------------------------


def test_a_session_can_be_stepped_by_anyone(open_chip: OpenChip) -> None:
    """Whoever steps it lets the devices rest, and may take what is known after any part."""
    chip = open_chip(TINY)
    work, steps = Session(chip, Plan(("programming-curve",)), None, 0).steps(), list[CalibrationStep]()
    while True:
        try:
            step = next(work)
        except StopIteration as end:
            result: Calibration = end.value
            break
        steps.append(step)
        chip.wait(step.rest)
    told = [step.stage for step in steps if step.so_far is None and not step.rest]
    assert told == [
        "RESET all devices", "SET all devices", "pattern for the converters", "where the flank lies",
        "pulse 1 of 2 for every device", "pulse 2 of 2 for every device", "fit",
    ]  # fmt: skip
    assert [step.rest for step in steps if step.rest] == [10.0] * 6  # one after every batch of pulses
    assert [step.so_far.measured() for step in steps if step.so_far] == [["devices"], ["devices", "programming_curve"]]
    assert (steps[-1].done, steps[0].done) == (steps[-1].total, 0)
    same = calibrate(open_chip(TINY), Plan(("programming-curve",))).cores[0].programming_curve
    assert np.array_equal(result.cores[0].programming_curve.shift, same.shift)


def test_all_that_comes_after_a_failed_part_is_left_out_but_what_does_not_need_it(
    open_chip: OpenChip, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise ChipError("core 0: the registers are stuck")

    monkeypatch.setattr(TrimCalibration, "write", fails)
    calibration = calibrate(open_chip(TINY))
    assert calibration.skipped == {"core 0: trims": "the registers are stuck"}
    assert calibration.measured() == ["devices", "programming_curve", "ranges", "floor"]


def test_the_plan_runs_what_is_wanted_in_order_and_with_its_own_settings(open_chip: OpenChip) -> None:
    info = open_chip(TINY).info
    plan = Plan(converters=ConverterCalibration(dac_vectors=777), curve=CurveCalibration(settle=3.0))
    names = [routine.name for routine in plan.routines(info)]
    assert names == ["devices", "trims", "converters", "wires", "programming-curve", "ranges", "floor"]
    assert [one.dac_vectors for one in plan.routines(info) if one.name == "converters"] == [777]
    adc = dataclasses.replace(plan, parts=("adc",))
    assert [one.dac_vectors for one in adc.routines(info) if one.name == "converters"] == [0]
    without = dataclasses.replace(info, capabilities=info.capabilities - {Capability.TRIMS, Capability.DEVICE_READ})
    assert [one.name for one in plan.routines(without)] == [n for n in names if n not in ("trims", "wires")]
    assert plan.settings()["curve"]["settle"] == 3.0
    assert plan.settings()["converters"]["dac_vectors"] == 777


def test_the_floor_is_for_the_plans_age_and_else_for_the_chips(open_chip: OpenChip) -> None:
    chip = open_chip(TINY)
    assert calibrated(TINY, "floor").core.floor.age == chip.info.reference_age
    assert calibrate(chip, Plan(("floor",), age=77.0)).cores[0].floor.age == 77.0
