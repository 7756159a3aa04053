"""Devices on their way to their targets: who is left alone, what each ends as, and that it can be interrupted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hwloop.calibration.experiments.bench import Bench
from hwloop.calibration.experiments.cells import Chosen
from hwloop.calibration.experiments.drift import DriftExperiment
from hwloop.calibration.experiments.programming import ProgrammingExperiment
from hwloop.calibration.experiments.target_programming import TargetExperiment, TargetProgramming
from hwloop.files.measurements import Mark
from hwloop.typing import FloatArray, IndexArray
from tests.calibration.experiments.conftest import MODEL, SlowChip

CHOSEN = Chosen(np.array([0, 0, 0, 0, 1, 1]), np.array([3, 10, 20, 90, 3, 50]))
TARGET = np.array([10.0, 5.0, 15.0, 2.0, 8.0, 12.0])


class PartlyStuck(SlowChip):
    """Some devices of core 0 read what they are stuck at, whatever their pulses."""

    def __init__(self, stuck: dict[int, float], budget: int = 1000) -> None:
        super().__init__(pace=1e-6, budget=budget)
        self.stuck = stuck

    def _read(self, core: int, devices: IndexArray, averages: int) -> FloatArray:
        values = super()._read(core, devices, averages)
        return np.array(
            [
                self.stuck.get(int(one), value) if core == 0 else value
                for one, value in zip(devices, values, strict=True)
            ]
        )


def programming(
    chip: SlowChip, plan: TargetExperiment | None = None, age: float = 20.0, bench: Bench | None = None
) -> TargetProgramming:
    return TargetProgramming(bench or Bench(chip), CHOSEN, TARGET, plan or ProgrammingExperiment(), age)


def to_the_end(placing: TargetProgramming, chip: SlowChip, rounds: int = 60) -> list[int]:
    pulses = [placing.first_pulses()]
    while pulses[-1] and len(pulses) < rounds:
        chip.wait(1.0)
        pulses.append(placing.correct())
    return pulses


@pytest.mark.parametrize(("given", "tolerance"), [(0.0, 0.5), (0.1, 0.1), (3.0, 3.0)])
def test_the_window_is_the_plans_or_a_fortieth_of_g_max(given: float, tolerance: float) -> None:
    assert programming(SlowChip(), ProgrammingExperiment(tolerance=given)).tolerance == pytest.approx(tolerance)


def test_devices_that_follow_their_curve_are_accepted_after_one_pulse() -> None:
    chip = SlowChip(pace=1e-6)
    placing = programming(chip)
    assert to_the_end(placing, chip) == [6, 0]
    verify, mark = placing.finish()
    assert verify == pytest.approx(TARGET, rel=1e-3)
    assert mark.tolist() == [Mark.GOOD] * 6
    assert placing.born == pytest.approx(np.zeros(6), abs=1e-4)


def test_a_target_counts_at_its_age() -> None:
    """At 2000 s, a hundred times the reference age, devices will have lost 37 %: they are sent that much higher."""
    chip = SlowChip(pace=1e-6)
    placing = programming(chip, ProgrammingExperiment(tolerance=0.05, max_pulses_per_device=60), age=2000.0)
    to_the_end(placing, chip)
    verify, mark = placing.finish()
    good = (TARGET < 10.0) & (mark == Mark.GOOD)  # 10 uS would have to be 16 of 20 now
    assert good.sum() == 3
    assert verify[good] == pytest.approx(TARGET[good], abs=0.05)
    reached = np.concatenate([chip.g[0, [3, 10, 20, 90]], chip.g[1, [3, 50]]])
    assert reached[good] * 100**-0.1 == pytest.approx(TARGET[good], abs=0.06)


def test_a_device_that_does_not_follow_ends_as_what_it_reads() -> None:
    # 10 uS is far below 20 and far above 0: two thirds of g_max, 13.3 uS, are what tells stuck from unconverged.
    chip = PartlyStuck({3: 6.0, 10: 20.0, 20: 0.0})
    placing = programming(chip, ProgrammingExperiment(max_pulses_per_device=5))
    to_the_end(placing, chip)
    verify, mark = placing.finish()
    assert mark.tolist() == [Mark.UNCONVERGED, Mark.STUCK_SET, Mark.STUCK_RESET, Mark.GOOD, Mark.GOOD, Mark.GOOD]
    assert np.isnan(verify[:3]).all()
    assert verify[3:] == pytest.approx(TARGET[3:], rel=1e-3)
    spent = chip.pulse_counts(0).ravel()[[3, 10, 20, 90]]
    assert spent.max() <= 5


@pytest.mark.parametrize(("budget", "usable"), [(15, True), (14, False)])
def test_devices_whose_budget_might_run_out_are_left_alone(budget: int, usable: bool) -> None:
    chip = SlowChip(pace=1e-6, budget=budget)
    placing = programming(chip)
    assert placing.usable.tolist() == [usable] * 6
    assert placing.first_pulses() == 6 * usable
    if not usable:
        assert placing.correct() == 0
        verify, mark = placing.finish()
        assert mark.tolist() == [Mark.SPENT] * 6
        assert np.isnan(verify).all()


def test_the_last_pulse_is_sent_once_more_to_whatever_answers_where_the_plan_says_so() -> None:
    """Then no target is to be met: the reads of unconverged devices will tell where they are."""
    plan = next(
        one for one in (DriftExperiment(max_pulses_per_device=4), ProgrammingExperiment()) if one.repeats_last_pulse
    )
    chip = PartlyStuck({3: 6.0, 10: 20.0})
    placing = programming(chip, replace(plan, max_pulses_per_device=4))
    to_the_end(placing, chip)
    before = chip.pulse_counts(0).ravel()[[3, 10, 20, 90]].copy()
    assert before.max() <= 3  # one is kept
    verify, mark = placing.finish()
    assert mark.tolist() == [Mark.GOOD, Mark.STUCK_SET, Mark.GOOD, Mark.GOOD, Mark.GOOD, Mark.GOOD]
    assert np.isnan(verify[:2]).all()
    assert (chip.pulse_counts(0).ravel()[[3, 10, 20, 90]] - before).tolist() == [1, 0, 1, 1]
    assert chip.g[0, 20] == pytest.approx(float(MODEL.curve.conductance(chip_amplitude(15.0))), rel=1e-6)


def chip_amplitude(target: float) -> np.ndarray:
    """Amplitude of the curve at a target, uA."""
    return np.asarray(MODEL.curve.amplitude(np.array(target)))


class Alternating(PartlyStuck):
    """One device reads low and high in turn, so that no pulses in a row go without an answer, and yet it has none."""

    def _read(self, core: int, devices: IndexArray, averages: int) -> FloatArray:
        self.stuck[3] = 20.0 - self.stuck[3]
        return super()._read(core, devices, averages)


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_what_is_interrupted_goes_on_as_if_it_had_not_been(rounds: int) -> None:
    whole, stopped = Alternating({3: 3.0, 10: 20.0}), Alternating({3: 3.0, 10: 20.0})
    plan = ProgrammingExperiment(max_pulses_per_device=20)
    first = programming(whole, plan)
    expected = to_the_end(first, whole)
    bench = Bench(stopped)
    second = programming(stopped, plan, bench=bench)
    pulses = [second.first_pulses()]
    for _ in range(rounds):
        stopped.wait(1.0)
        pulses.append(second.correct())
    kept = {name: array.copy() for name, array in second.state().items()}
    third = programming(stopped, plan, bench=bench)
    third.restore(kept)
    while pulses[-1] and len(pulses) < 60:
        stopped.wait(1.0)
        pulses.append(third.correct())
    assert pulses == expected
    for one, other in zip(first.finish(), third.finish(), strict=True):
        np.testing.assert_array_equal(one, other)
