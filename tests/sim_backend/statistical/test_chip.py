"""The statistical chip is in distribution the chip whose pulses are simulated, and the same for the same seed.

Compared after `iterative`, which takes the least time to rehearse, on cores of 64 x 64 cells.
"""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp

import hwloop
from hwloop.calibration.programming.registry import method_from
from hwloop.calibration.programming.targets import programmer
from hwloop.chip.info import Capability
from hwloop.chip.targets import Programmer, Targets
from hwloop.errors import BadInputError, LimitError
from hwloop.mapping.matrix import Matrix
from hwloop.mapping.partition import map_weights
from hwloop.sim_backend.statistical import learning
from hwloop.sim_backend.statistical.many import cells_of_chips

SIZE = "rows=64&columns=64"
AGE, YEAR = 20.0, 3.156e7
WEIGHTS = np.clip(np.random.default_rng(1).standard_normal((64, 64)), -3, 3) / 3


REHEARSED = 2**13
"""Cells of a rehearsal: an eighth of what users get, in an eighth of the time."""


@pytest.fixture(autouse=True, scope="module")
def short_rehearsals():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learning, "SETTINGS", dataclasses.replace(learning.SETTINGS, cells=REHEARSED))
        yield


def opened(options="", level="statistical", preset="pcm-90nm"):
    return hwloop.connect(f"sim:{preset}?{SIZE}&level={level}{options}")


def target_tile(chip, weights=WEIGHTS):
    (tile,) = map_weights([Matrix("w", weights)], chip.info)
    return tile


def method(chip, name="iterative", **settings):
    return programmer(method_from(name, settings), target_tile(chip))


def program_all(chip, by=None, weights=WEIGHTS):
    by = by or method(chip)
    targets = [Targets(core, 0, 0, target_tile(chip, weights).target) for core in range(chip.info.cores)]
    chip.program_targets(targets, AGE, by)
    return targets[0].cells


def errors_of_pulses(chip):
    """Return the cells' errors at the target age after the method's own pulses, column gains apart."""
    tile = target_tile(chip)
    method(chip).program(chip, tile.target, AGE)
    chip.wait(AGE)
    devices = chip.devices_of(0).drifted_subset(torch.arange(chip.info.devices_per_core), chip.now())
    positive, negative = devices.view(chip.info.device_shape).sum(1).double().numpy()
    return tile.target, without_gains(positive - negative, tile.target)


def without_gains(cells, target):
    gains = (cells * target).sum(0) / (target**2).sum(0)
    return cells / gains - target


# ---- the same in distribution ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pulsed_errors():
    pairs = []
    for seed in range(4):
        with opened(f"&seed={seed}", "pulse") as chip:
            pairs.append(errors_of_pulses(chip))
    target, errors = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    return target.ravel(), errors.ravel()


def test_the_errors_of_cells_have_the_same_distribution(pulsed_errors):
    """Two samples of 16 384 cells, drawn from 8 192; whole and by target: small, middle and large ones."""
    with opened("&cores=4&seed=9") as chip:
        target = program_all(chip)
        chip.wait(AGE)
        drawn = np.concatenate([without_gains(chip.conductances(core), target).ravel() for core in range(4)])
    wanted, seen = pulsed_errors
    assert np.array_equal(wanted, np.tile(target.ravel(), 4))
    edges = np.quantile(np.abs(wanted), [0.0, 0.3, 0.7, 1.0])
    for low, high in [(0.0, math.inf), *itertools.pairwise(edges)]:
        part = (np.abs(wanted) >= low) & (np.abs(wanted) <= high)
        assert ks_2samp(seen[part], drawn[part]).pvalue > 1e-3
        assert drawn[part].std() == pytest.approx(seen[part].std(), rel=5 / math.sqrt(part.sum()) + 0.02)


def test_mvm_errors_of_fresh_day_and_year_old_chips_agree():
    """Means of four chips of each level, within three standard errors of their difference and a hundredth."""
    found = {}
    for level in ("pulse", "statistical"):
        errors = []
        for seed in range(4):
            with opened(f"&seed={seed}", level) as chip:
                run = hwloop.program(chip, WEIGHTS, "iterative", seed=seed)
                study = hwloop.drift(run, chip, ["1d", "1y"], ["none", "column"], seed=seed).to_json()["compensations"]
                aged = study["none"]["mvm_error"] + study["column"]["mvm_error"]
                errors.append([run.mvm_error, *aged])
        found[level] = np.array(errors)
    difference = found["pulse"].mean(0) - found["statistical"].mean(0)
    spread = np.sqrt(sum(errors.var(0, ddof=1) / len(errors) for errors in found.values()))
    # What the rehearsal itself is off by is that of one core of as many cells.
    own = found["pulse"].std(0, ddof=1) * math.sqrt(64 * 64 / REHEARSED)
    assert np.all(np.abs(difference) < 3 * np.hypot(spread, own) + 0.01 * found["pulse"].mean(0))


def test_read_noise_of_products_has_the_same_size_at_once_and_after_a_pause():
    """Variance of outputs within a batch, and between two batches a minute apart: from devices placed exactly."""
    quiet = "&adc_bits=16&adc_noise=0&adc_gain_spread=0&drift=0"
    variances = {}
    for level in ("pulse", "statistical"):
        within, between = [], []
        for seed in range(3):
            with opened(f"{quiet}&seed={seed}", level) as chip:
                hwloop.program(chip, WEIGHTS, "exact")
                x = np.full((200, 64), chip.info.input_max, np.int32)
                first = chip.mvm(0, x)
                chip.wait(60.0)
                second = chip.mvm(0, x)
                within.append(first.var(0, ddof=1).mean())
                between.append(np.square(first.mean(0) - second.mean(0)).mean())
        variances[level] = np.mean(within), np.mean(between)
    (fast, slow), (drawn_fast, drawn_slow) = variances["pulse"], variances["statistical"]
    assert drawn_fast == pytest.approx(fast, rel=0.05)
    # 192 independent columns: a relative standard error of 10 %, on both sides.
    assert drawn_slow == pytest.approx(slow, rel=4 * math.sqrt(2 * 2 / 192))


@pytest.mark.parametrize("rate", [0.0, 0.01])
def test_stuck_devices_stay_where_they_are_and_are_as_many_as_asked_for(rate):
    with opened(f"&stuck_rate={rate}&cores=2") as chip:
        by = method(chip)
        stuck = []
        for _ in range(2):
            program_all(chip, by)
            for unit in chip._cores.values():
                (patch,) = unit.patches
                stuck.append((patch.chosen >= patch.rehearsal.healthy).nonzero().squeeze(1).tolist())
        assert stuck[:2] == stuck[2:]
        count, cells = len(stuck[0]) + len(stuck[1]), 2 * 64 * 64
        expected = 1 - (1 - rate) ** 2
        assert abs(count - expected * cells) <= 4 * math.sqrt(cells * expected * (1 - expected))
        rehearsal = chip._rehearsals[0]
        assert (rehearsal.outcome.targets.numel() > rehearsal.healthy) == (rate > 0)


def test_options_of_the_chip_keep_their_meaning():
    """Programming noise changes what is left, and drift what becomes of it."""
    found = {}
    for options in ("", "&programming_noise=4&drift=0"):
        with opened(options) as chip:
            target = program_all(chip)
            chip.wait(AGE)
            fresh = without_gains(chip.conductances(0), target).std()
            chip.wait(YEAR)
            found[options] = fresh, (chip.conductances(0) * target).sum() / (target**2).sum()
    (fresh, old), (noisy, undrifted) = found.values()
    assert noisy > 1.2 * fresh
    assert old < 0.6 < 0.9 < undrifted


# ---- seeds, states, many chips -----------------------------------------------------------------------------------


def placed(chip, targets, age):
    """Place everything exactly: a way of programming that takes no time."""
    shares = np.stack([np.maximum(targets, 0.0), np.maximum(-targets, 0.0)])[:, None] / chip.info.devices_per_polarity
    devices = np.repeat(shares, chip.info.devices_per_polarity, axis=1)
    chip.place(0, np.arange(chip.info.devices_per_core), devices.ravel(), age)


EXACT = Programmer("placed, for these tests", placed)


def codes_of(seed, cores=(0, 1)):
    with opened(f"&seed={seed}&cores=2") as chip:
        for core in cores:
            chip.program_targets([Targets(core, 0, 0, target_tile(chip).target)], AGE, EXACT)
        return np.concatenate([chip.mvm(core, np.full((2, 64), 50, np.int32)) for core in sorted(cores)])


def test_the_same_seed_is_the_same_chip_in_whatever_order_its_cores_are_used():
    assert np.array_equal(codes_of(3), codes_of(3, (1, 0)))
    assert not np.array_equal(codes_of(3), codes_of(4))


def test_cores_that_compute_at_once_answer_as_one_after_the_other_and_take_the_time_of_the_longest():
    threads = torch.get_num_threads()
    x = {1: np.full((3, 64), 20, np.int32), 0: np.full((5, 64), -60, np.int32)}
    answers = []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            with opened("&cores=2&seed=5") as chip:
                program_all(chip, EXACT)
                before = chip.now()
                answers.append(chip.mvms(x))
                assert chip.now() - before == pytest.approx(5e-6)
                assert chip.counts.mvms == 8
                assert chip.counts.chip_seconds == pytest.approx(5e-6)
    finally:
        torch.set_num_threads(threads)
    assert list(answers[0]) == [1, 0]
    assert all(np.array_equal(answers[0][core], answers[1][core]) for core in x)


def test_cells_of_many_chips_are_those_of_chips_with_these_seeds():
    with opened("&seed=7") as chip:
        tile = target_tile(chip)
        part = Targets(0, 3, 5, tile.target[:20, :30])
        cells = cells_of_chips(chip, part, AGE, EXACT, seeds=range(6), times=[AGE, YEAR])
        assert chip.now() == 0.0
    assert cells.shape == (6, 2, 20, 30)
    with opened("&seed=4") as other:
        other.program_targets([part], AGE, EXACT)
        for k, wait in enumerate((AGE, YEAR - AGE)):
            other.wait(wait)
            assert np.array_equal(other.conductances(0)[3:23, 5:35], cells[4, k])
    assert cells[:, 0].std(0).max() < 1e-4  # placed exactly, at that age
    assert cells[:, 1].std(0).mean() > 0.1
    with pytest.raises(BadInputError, match="ascending"):
        cells_of_chips(chip, part, AGE, EXACT, seeds=[1], times=[2.0, 1.0])


def test_small_rectangles_share_a_core_and_later_ones_lie_above():
    with opened() as chip:
        cells = np.full((10, 10), 20.0)
        for row, column, sign in ((0, 0, 1), (20, 30, 1), (5, 5, -1)):
            chip.program_targets([Targets(0, row, column, sign * cells)], AGE, EXACT)
        chip.wait(AGE)
        seen = np.rint(chip.conductances(0))
        expected = np.zeros((64, 64))
        expected[:10, :10] = expected[20:30, 30:40] = 20
        expected[5:15, 5:15] = -20
        assert np.array_equal(seen, expected)
        chip.program_targets([Targets(0, 0, 0, np.zeros((64, 64)))], AGE, EXACT)
        assert len(chip._cores[0].patches) == 1


def test_another_chip_opened_later_goes_on_from_a_saved_state():
    with opened("&seed=2") as chip, opened("&seed=2") as other:
        program_all(chip)
        chip.wait(100.0)
        x = np.full((4, 64), 90, np.int32)
        chip.mvm(0, x)
        state = chip.export_state()
        other.import_state(state)
        for wait in (0.0, 1.0, 1e5):
            chip.wait(wait)
            other.wait(wait)
            assert np.array_equal(chip.mvm(0, x), other.mvm(0, x))
        assert chip.export_state().keys() == other.export_state().keys()
        # Bounded: a rehearsal, and some numbers a cell.
        assert sum(array.nbytes for array in state.values()) < REHEARSED * 2 * 80 + 64 * 64 * 40
        for name in ("rehearsal0/targets", "core0/patch0/chosen", "core0/patch0/about", "rehearsal0/times"):
            with pytest.raises(BadInputError, match="saved state"):
                other.import_state({key: array for key, array in state.items() if key != name})
        with pytest.raises(BadInputError, match="copies cells that there are not"):
            other.import_state(state | {"core0/patch0/chosen": state["core0/patch0/chosen"] + REHEARSED})
        for name, value in (
            ("core0/patch0/rehearsal", np.array(-1)),
            ("core0/patch0/rehearsal", np.array(9)),
            ("core0/patch0/about", state["core0/patch0/about"] - [60.0, 0.0, 0.0]),
            ("core0/born", np.zeros(3)),
            ("rehearsal0/targets", np.array(1.0)),
            ("rehearsal0/targets", np.zeros((0, 3), np.float32)),
        ):
            with pytest.raises(BadInputError, match="saved state"):
                other.import_state(state | {name: value})
        chip.wait(1.0)
        other.wait(1.0)
        assert np.array_equal(chip.mvm(0, x), other.mvm(0, x))


# ---- what it refuses, and what it learns once --------------------------------------------------------------------


def test_pulses_wires_and_single_devices_are_refused_in_words():
    with opened() as chip:
        assert Capability.DEVICE_READ not in chip.info.capabilities
        limits = chip.info.limits
        pulse = hwloop.Pulses.make(hwloop.PulseKind.RESET, [0], limits.amplitude_max / 2, limits.width_min)
        with pytest.raises(LimitError, match=r"takes no pulses; hwloop\.program hands it targets, and level=pulse"):
            chip.pulse(0, pulse)
    with pytest.raises(BadInputError, match="option wire_resistance: the statistical level has no wires; use level="):
        opened("&wire_resistance=1")


def test_a_way_of_programming_is_rehearsed_once_for_all_chips_of_a_kind():
    asked = []

    def program(chip, targets, age):
        asked.append((chip.info.name, targets.shape, age))
        placed(chip, targets, age)

    by = Programmer("counted, for this test", program)
    for seed in range(3):
        with opened(f"&seed={seed}&cores={seed + 1}") as chip:
            program_all(chip, by)
    assert asked == [("sim:pcm-90nm", (64, 128), AGE)]
    with opened("&adc_bits=6") as chip:
        program_all(chip, by)
    assert len(asked) == 2


def test_stopping_a_rehearsal_leaves_nothing_learnt_and_the_chip_as_it_was():
    def stop(chip, targets, age):
        raise KeyboardInterrupt

    with opened() as chip:
        with pytest.raises(KeyboardInterrupt):
            program_all(chip, Programmer("stopped, for this test", stop))
        assert not chip.conductances(0).any()
        program_all(chip, Programmer("stopped, for this test", placed))
        assert chip.conductances(0).any()
