"""Parts of the fit of pulse responses one at a time, on devices that step exactly as said."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from hwloop.calibration.fitting import pulse_response
from hwloop.calibration.fitting.pulse_response import PulseResponse, PulseResponseSettings, StepTable
from hwloop.errors import BadInputError
from hwloop.files.measurements import Cells, Experiment, Measurement, Reads
from hwloop.typing import FloatArray

NODES = np.array([2.0, 4.0, 6.0, 8.0])
UP, DOWN = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.1, 0.15, 0.2, 0.25])
"""Mean steps at the nodes, uS for a pulse, positive in the direction of the pulses."""


def table(**changes: Any) -> StepTable:
    """Three devices with five moves, of which the last two are down; five pulses a move."""
    position = np.array([[2.0, 3.0, 4.5, 7.0, 5.0], [2.5, 5.0, 8.0, 6.0, 4.0], [3.5, 6.0, 7.5, 3.0, 2.0]])
    own: dict[str, Any] = {
        "pulses": 5,
        "ages": (0.1, 2.0),
        "nodes": NODES,
        "up": np.array([True, True, True, False, False]),
        "position": position,
        "move": np.zeros((3, 5)),
        "used": np.ones((3, 5)),
        "lowest": np.zeros(3),
        "highest": np.full(3, 10.0),
    }
    return StepTable(**(own | changes))


def mean_moves(cells: StepTable) -> FloatArray:
    return np.where(
        cells.up, np.interp(cells.position, NODES, UP), np.interp(cells.position, NODES, DOWN)
    )  # fmt: skip


THETA = np.array([*UP, *DOWN, math.log(0.05), math.log(0.2), math.log(0.3)])


def test_positions_lie_between_two_nodes_and_end_at_the_outermost() -> None:
    cells = table(position=np.array([[1.0, 2.0, 3.0, 4.0, 7.5], [8.0, 9.0, 5.0, 6.0, 2.2]]))
    index, share = pulse_response._between(cells)
    assert index.tolist() == [[0, 0, 0, 1, 2], [2, 2, 1, 2, 0]]
    assert share == pytest.approx(np.array([[0.0, 0.0, 0.5, 0.0, 0.75], [1.0, 1.0, 0.5, 0.0, 0.1]]))
    assert pulse_response._interpolated(cells, UP) == pytest.approx(np.interp(cells.position, NODES, UP))


def test_moves_beyond_the_nodes_and_at_the_end_of_a_ramp_do_not_count() -> None:
    position = np.array([[1.9, 2.0, 8.0, 8.0, 8.1], [2.0, 6.9, 7.0, 3.0, 3.1]])
    cells = table(position=position, lowest=np.array([0.0, 3.0]), highest=np.array([10.0, 7.0]))
    assert pulse_response._within(cells).used.tolist() == [[0, 1, 1, 1, 0], [1, 1, 0, 0, 1]]


def test_the_likelihood_is_normal_about_the_mean_step() -> None:
    """Steps of five pulses average their noise; two reads, over five pulses, do not."""
    cells = table(move=np.full((3, 5), 0.1), used=np.ones((3, 5)) - np.eye(3, 5))
    variance = 0.05**2 / 5 + 2 * 0.2**2 / 25
    mean = mean_moves(cells)
    density = stats.norm.logpdf(cells.move, mean, math.sqrt(variance))
    got = PulseResponse().likelihood(cells)(torch.tensor(THETA)).numpy()
    assert got == pytest.approx((cells.used * density).sum(1))
    sigma = np.sqrt(variance + (0.3 * mean) ** 2)
    assert PulseResponse().quantiles(cells, THETA) == pytest.approx(
        stats.norm.cdf(cells.move, mean, sigma)[cells.used > 0]
    )


def many(spread: float = 0.0, devices: int = 400) -> StepTable:
    """Devices at random places with the mean steps times 1 +- the spread; every second move is down."""
    rng = np.random.default_rng(7)
    cells = table(
        up=np.arange(40) % 2 == 0, position=rng.uniform(2.0, 8.0, (devices, 40)), used=np.ones((devices, 40)),
        lowest=np.zeros(devices), highest=np.full(devices, 10.0),
    )  # fmt: skip
    gain = 1 + spread * np.where(np.arange(devices) % 2, 1.0, -1.0)
    return replace(cells, move=gain[:, None] * mean_moves(cells))


def test_steps_are_found_exactly_where_devices_make_them_exactly() -> None:
    cells = many()
    steps, covariance, gains = pulse_response._steps(cells)
    assert steps == pytest.approx(np.stack([UP, DOWN]), abs=1e-6)
    assert gains == pytest.approx(np.ones(400), abs=1e-6)
    assert np.abs(covariance).max() < 1e-9
    _, _, gains = pulse_response._steps(many(spread=0.2))
    assert sorted(gains) == pytest.approx([0.8] * 200 + [1.2] * 200, abs=0.01)


def test_the_covariance_of_steps_is_that_between_devices() -> None:
    """Against least squares with all moves of a device taken as one observation (a sandwich), n / (n - 1)."""
    cells = many(spread=0.2, devices=30)
    steps, covariance, _ = pulse_response._steps(cells)
    tents = np.stack([np.interp(cells.position, NODES, one) for one in np.eye(4)], -1)
    design = np.concatenate([tents * cells.up[:, None], tents * ~cells.up[:, None]], -1)
    normal = np.einsum("cmi,cmj->ij", design, design)
    found = np.linalg.solve(normal, np.einsum("cmi,cm->i", design, cells.move))
    scores = np.einsum("cmi,cm->ci", design, cells.move - design @ found) @ np.linalg.inv(normal)
    assert steps.ravel() == pytest.approx(found, rel=1e-6)
    assert covariance == pytest.approx(scores.T @ scores * 30 / 29, rel=1e-5, abs=1e-12)


def test_a_node_where_no_device_comes_continues_the_others_in_a_line() -> None:
    cells = many()
    low = replace(cells, used=(cells.position < 6.0).astype(float))
    steps, covariance, _ = pulse_response._steps(low)
    assert steps == pytest.approx(np.stack([UP, DOWN]), abs=1e-4)
    assert np.flatnonzero(np.isinf(np.diagonal(covariance))).tolist() == [3, 7]


def noisy(step: float, seen: float, spread: float, devices: int = 200, moves: int = 1000) -> StepTable:
    """Devices far from their bounds whose steps, reads and sizes of steps scatter: five moves up, five down."""
    rng = np.random.default_rng(11)
    up = np.arange(moves) // 5 % 2 == 0
    sign, gain = np.where(up, 1.0, -1.0), 1 + spread * rng.standard_normal((devices, 1))
    taken = sign * (gain * 0.3 * 5 + step * math.sqrt(5) * rng.standard_normal((devices, moves)))
    reads = np.cumsum(np.c_[np.full(devices, 4.0), taken], 1) + seen * rng.standard_normal((devices, moves + 1))
    return table(
        up=up, move=sign * np.diff(reads, axis=1) / 5, used=np.ones((devices, moves)),
        position=np.tile(np.linspace(2, 8, moves), (devices, 1)),
    )  # fmt: skip


ALIKE = np.full((2, 4), 0.3)
"""Its mean steps at the nodes, up and down."""


@pytest.mark.parametrize(("step", "seen", "spread"), [(0.2, 0.1, 0.3), (0.05, 0.4, 0.2), (0.1, 0.2, 0.1)])
def test_noise_of_steps_and_of_reads_and_the_spread_of_devices_are_told_apart(
    step: float, seen: float, spread: float
) -> None:
    """Within four of the standard errors that are stated, which are a tenth of each value at most."""
    cells = noisy(step, seen, spread)
    found, errors = pulse_response._noise(cells, ALIKE, cells.move.mean(1) / 0.3)
    truth = np.array([step, seen, spread])
    assert (np.abs(found - truth) < 4 * errors).all()
    assert (errors < 0.1 * truth).all()


def test_standard_errors_of_noise_are_what_repetitions_scatter_by() -> None:
    """Thirty groups of a hundred devices: scatter and mean stated error agree within four times 1 / sqrt(60)."""
    every, found = noisy(0.2, 0.1, 0.3, 3000, 40), []
    for k in range(30):
        some = slice(100 * k, 100 * k + 100)
        own = replace(every, position=every.position[some], move=every.move[some], used=every.used[some])
        found.append(pulse_response._noise(own, ALIKE, own.move.mean(1) / 0.3))
    values, errors = (np.array(one) for one in zip(*found, strict=True))
    assert values.std(0, ddof=1) / errors.mean(0) == pytest.approx(np.ones(3), abs=4 / math.sqrt(60))


def test_moves_that_do_not_count_tell_nothing_of_noise() -> None:
    cells = noisy(0.2, 0.1, 0.3, 50, 40)
    some, gains = replace(cells, used=np.tile(np.arange(40) // 5 % 4 < 2, (50, 1)).astype(float)), np.ones(50)
    spoilt = replace(some, move=np.where(some.used > 0, some.move, 9.0))
    told, again = (np.concatenate(pulse_response._noise(one, ALIKE, gains)) for one in (some, spoilt))
    assert told == pytest.approx(again)
    assert not np.allclose(told, np.concatenate(pulse_response._noise(cells, ALIKE, gains)))


def test_an_estimate_is_made_of_steps_and_noise_and_says_where_devices_step_alike() -> None:
    for spread, told in ((0.3, []), (0.0, ["step_spread"])):
        cells = noisy(0.2, 0.1, spread)
        optimum, held = PulseResponse().estimate(cells, intervals=True)
        assert [*held] == told
        steps, covariance, gains = pulse_response._steps(cells)
        noise, errors = pulse_response._noise(cells, steps, gains)
        assert optimum.theta == pytest.approx([*steps.ravel(), *np.log(noise)])
        assert optimum.covariance[:8, :8] == pytest.approx(covariance)
        assert optimum.covariance[8:, 8:] == pytest.approx(np.diag((errors / noise) ** 2))
        assert not optimum.covariance[8:, :8].any()
        each = PulseResponse().likelihood(cells)(torch.tensor(optimum.theta))
        assert optimum.log_likelihood == pytest.approx(float(each.sum()))
        assert optimum.converged


# ---- from a measurement to moves -----------------------------------------------------------------------------


def staircase(
    attributes: dict[str, Any] | None = None, devices: int = 4, cycles: int = 2, step: float = 0.2, noise: float = 0.0
) -> Measurement:
    """Devices that step by `step` uS for each of two pulses between reads: ramps of twelve pulses up, then down."""
    way = np.tile(np.r_[np.full(6, 2 * step), np.full(6, -2 * step)], cycles)
    read = 3.0 + np.cumsum(np.r_[0.0, way]) + noise * np.random.default_rng(2).standard_normal((devices, 1 + way.size))
    told = {"read_every": 2, "pulses": 12, "cycles": cycles} if attributes is None else attributes
    times = np.arange(1.0, 2.0 + way.size)
    cells = Measurement.of("drift", times, read.T)
    columns = (cells.reads.cell, cells.reads.time, cells.reads.conductance)
    reads = Reads(columns[0], columns[1], columns[2], np.full(len(cells.reads), np.nan))
    return Measurement(Experiment.PULSE_RESPONSE, Cells(**{
        name: getattr(cells.cells, name) for name in cells.cells.__dataclass_fields__
    }), reads, told)  # fmt: skip


def test_ramps_are_told_by_the_measurement() -> None:
    assert pulse_response._ramps(staircase(), 25) == (2, 6)
    told = {"read_every": 2, "pulses": 12, "cycles": 2}
    for wrong in ({"cycles": 3}, {"read_every": 0}, {"pulses": 1}, {"cycles": "two"}):
        with pytest.raises(BadInputError, match="does not tell which pulses lie between its reads"):
            pulse_response._ramps(staircase(told | wrong), 25)
    assert pulse_response._ramps(staircase(told | {"read_every": 1, "pulses": 1, "cycles": 1}), 3) == (1, 1)


def test_ends_of_ramps_are_means_of_their_last_reads() -> None:
    reads = np.array([[0.0, 1.0, 2.0, 3.0, 2.0, 1.0, 0.5, 1.5, 2.5, 3.5, 2.0, 1.5, 1.0]])
    low, high = pulse_response._ends(reads, ramp=3, last=2)
    assert high == pytest.approx([(2.0 + 3.0 + 2.5 + 3.5) / 4])
    assert low == pytest.approx([(1.0 + 0.5 + 1.5 + 1.0) / 4])
    assert pulse_response._ends(reads, ramp=3, last=1)[1] == pytest.approx([3.25])


def test_a_device_is_at_its_end_within_a_move_and_a_half_and_the_noise_of_reads() -> None:
    """Second differences of reads have six times the variance of one; a share of the range is the most."""
    rng = np.random.default_rng(3)
    reads = 0.5 * np.arange(50) + 0.1 * rng.standard_normal((200, 50))
    moves = np.array([[0.5, -0.5, 0.4, 0.6, -0.7]])
    family = PulseResponse(PulseResponseSettings(arrived=0.2))
    noise = 0.1
    assert family._arrived(reads, moves, 100.0) == pytest.approx(0.75 + 2 * noise, rel=0.01)
    assert family._arrived(reads, moves, 2.0) == pytest.approx(0.4)


def test_moves_are_told_for_a_pulse_in_their_direction_at_the_place_that_steps_act_on() -> None:
    """A move begins at the mean of the reads before it, brought forward by as far as these lie behind its middle."""
    settings = PulseResponseSettings(before=2, nodes=5)
    found, screening = PulseResponse(settings).prepare(staircase())
    assert screening.kept.all()
    assert (found.pulses, found.ages) == (2, (1.0, 25.0))
    assert found.move == pytest.approx(np.full((4, 16), 0.2))
    assert found.up.tolist() == ([True] * 4 + [False] * 4) * 2
    # Reads at 3, 3.4, 3.8, ... 5.4 and back; ends are means of two: 5.2 and 3.2.
    assert found.nodes == pytest.approx(np.linspace(3.2, 5.2, 5))
    assert found.position[0, :8] == pytest.approx([4.0, 4.4, 4.8, 5.2, 4.4, 4.0, 3.6, 3.2], abs=1e-3)
    assert found.highest == pytest.approx(np.full(4, 5.2 - min(1.5 * 0.4 + 2 * 0.0, settings.arrived * 2.0)), abs=0.5)


@pytest.mark.parametrize(
    ("measurement", "message"),
    [
        (staircase(step=0.0), r"no device answers to its pulses \(none was measured\)"),
        (staircase(step=-0.2), "do not rise with pulses up; are the ramps the other way"),
        (staircase({}), "does not tell which pulses"),
    ],
)
def test_what_is_no_pulse_response_is_refused(measurement: Measurement, message: str) -> None:
    with pytest.raises(BadInputError, match=f"^pulse-response: .*{message}"):
        PulseResponse().prepare(measurement)


def test_ramps_shorter_than_the_reads_before_a_move_are_refused() -> None:
    with pytest.raises(BadInputError, match="ramps of 6 reads are too short for the 6 before each move"):
        PulseResponse(PulseResponseSettings(before=6)).prepare(staircase())


def test_devices_that_hardly_move_are_stuck_and_those_with_reads_missing_are_named() -> None:
    measurement = staircase(devices=5)
    conductance = measurement.reads.conductance.copy()
    still, gone = measurement.reads.cell == 1, (measurement.reads.cell == 3) & (measurement.reads.time == 7.0)
    conductance += 0.1 * measurement.reads.cell
    conductance[still] = 3.0 + 0.01 * conductance[still]
    whole = replace(measurement.reads, conductance=conductance)
    missing = Reads(whole.cell[~gone], whole.time[~gone], conductance[~gone], whole.temperature[~gone])
    _, screening = PulseResponse(PulseResponseSettings(nodes=2)).prepare(replace(measurement, reads=missing))
    assert screening.reason.tolist() == ["", "stuck", "", "reads are missing", ""]


def test_steps_and_noises_have_names_and_a_range() -> None:
    cells = table()
    rows = [item for block in PulseResponse().layout(cells).blocks for item in block.coefficients]
    assert [row.name for row in rows] == [
        "up.0", "up.1", "up.2", "up.3", "down.0", "down.1", "down.2", "down.3",
        "step_noise", "seen_noise", "step_spread",
    ]  # fmt: skip
    assert [row.log for row in rows] == [False] * 8 + [True] * 3
    assert rows[5].meaning == "mean step down at 4 uS"
    found = PulseResponse().describe(cells)
    assert found.conductance_range == (2.0, 8.0)
    assert found.time_range == (0.1, 2.0)
    assert found.settings == {"nodes": 4.0, "low": 2.0, "high": 8.0}
