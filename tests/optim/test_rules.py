"""What each algorithm of training in memory sends to its arrays, on matrices that only note it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from hwloop.optim.buffered import AGADRule, ChoppedTTv2Rule, TTv2Rule
from hwloop.optim.hamiltonian import HamiltonianRule
from hwloop.optim.mixed_precision import MixedPrecisionRule
from hwloop.optim.rule import DigitalWork, Rule, Updater, in_turn
from hwloop.optim.sgd import SGDRule
from hwloop.optim.tiki_taka import TikiTakaRule


class Array:
    """An array of 3 rows and 2 columns that notes what is sent to it, and reads as the test says."""

    def __init__(self, step: float = 0.01) -> None:
        self.shape, self.step = (3, 2), step
        self.updates: list[tuple[np.ndarray, np.ndarray, float]] = []
        self.steps: list[tuple[list[int], list[list[int]]]] = []
        self.reads: list[list[int]] = []
        self.holds = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])

    def update(self, x: np.ndarray, d: np.ndarray, lr: float) -> None:
        self.updates.append((x.copy(), np.array(d), lr))

    def step_rows(self, rows: np.ndarray, steps: np.ndarray) -> None:
        self.steps.append((rows.tolist(), steps.tolist()))

    def read_rows(self, rows: np.ndarray) -> np.ndarray:
        self.reads.append(rows.tolist())
        return self.holds[rows]

    def probe(self, u: np.ndarray) -> np.ndarray:
        return u @ self.holds


def started(rule: Rule, step: float = 0.01, random: object = None) -> tuple[Updater, Array, Array]:
    """An updater with the weights and the further array that it took."""
    weights, further = Array(step), Array(0.02)
    matrix = SimpleNamespace(more=lambda what: further, train_length=31, random=random)
    return rule.start(matrix, weights), weights, further  # type: ignore[arg-type]


X = np.array([[1.0, -0.5, 0.25], [0.5, 0.5, -1.0]])
D = np.array([[0.2, -0.4], [-0.1, 0.3]])


def again(rule: Rule, updater: Updater, **started_with: object) -> Updater:
    """Another updater that goes on from the state of the first."""
    other = started(rule, **started_with)[0]  # type: ignore[arg-type]
    other.restore(updater.state())
    return other


def test_rows_come_round_and_round_without_a_repetition_in_one_part() -> None:
    assert [part.tolist() for part in in_turn(2, 7, 3)] == [[2, 0, 1], [2, 0, 1], [2]]
    assert [part.tolist() for part in in_turn(1, 2, 3)] == [[1, 2]]
    assert in_turn(1, 0, 3) == []


def test_descent_goes_against_the_gradient() -> None:
    updater, weights, _ = started(SGDRule())
    updater.update(X, D, 0.5)
    ((x, d, lr),) = weights.updates
    assert (x.tolist(), d.tolist(), lr) == (X.tolist(), D.tolist(), -0.5)
    assert updater.state() == {}
    assert list(updater.arrays()) == ["weights"]


def test_tiki_taka_transfers_a_row_after_so_many_vectors() -> None:
    rule = TikiTakaRule(fast_lr=2.0, transfer_lr=3.0, transfer_every=1.6)
    updater, weights, fast = started(rule)
    for batch, rows in enumerate(([0], [1], [2, 0])):  # 1.25, 2.5 and 3.75 transfers are due; one more is left over
        if batch == 2:
            updater = again(rule, updater)
            updater.weights, updater._fast = weights, fast  # type: ignore[attr-defined]
            updater.update(np.vstack([X, X[:1]]), np.vstack([D, D[:1]]), 0.5)
        else:
            updater.update(X, D, 0.5)
        x, _, lr = fast.updates[-1]
        assert (x[:2].tolist(), lr) == (X.tolist(), -1.0)
        hot, read, rate = weights.updates[-1]
        assert hot.tolist() == np.eye(3)[rows].tolist()
        assert read.tolist() == fast.holds[rows].tolist()
        assert rate == 1.5
    assert fast.reads == [[0], [1], [2, 0]]
    assert updater.state()["turn"].tolist() == pytest.approx([1, 7 / 1.6 - 4])
    assert list(updater.arrays()) == ["weights", "fast array"]


class Signs:
    """A generator whose signs alternate, and whose permutations go backwards."""

    def choice(self, values: list[float], count: int) -> np.ndarray:
        assert values == [-1.0, 1.0]
        return np.where(np.arange(count) % 2, -1.0, 1.0)

    def random(self, shape: object) -> np.ndarray:
        return np.linspace(0.9, 0.1, int(np.prod(shape))).reshape(shape)

    def permutation(self, count: int) -> np.ndarray:
        return np.arange(count)[::-1]


def test_hamiltonian_descent_moves_the_weights_by_the_momentum_in_random_directions() -> None:
    rule = HamiltonianRule(momentum_lr=2.0, transfer_lr=3.0, transfer_every=1.5, active_rows=2)
    updater, weights, momentum = started(rule, random=Signs())
    updater.update(X, D, 0.5)
    assert momentum.updates[0][2] == -1.0
    ((u, taken, lr),) = weights.updates
    assert u.tolist() == [[0.0, -1.0, 1.0]]  # the two rows that come first
    assert taken == pytest.approx(u @ momentum.holds)
    assert lr == 1.5
    assert updater.state()["due"] == pytest.approx([2 / 1.5 - 1])
    updater = again(rule, updater, random=Signs())
    updater.update(X[:1], D[:1], 0.5)  # that makes one, to the last digit
    assert updater.state()["due"] == pytest.approx([0.0], abs=1e-9) or updater.state()["due"] == pytest.approx([1.0])
    assert list(updater.arrays()) == ["weights", "momentum"]


def test_every_row_takes_part_before_one_does_again() -> None:
    rule = HamiltonianRule(transfer_every=1.0)
    updater, weights, _ = started(rule, random=Signs())
    updater.update(X, D, 0.5)
    updater = again(rule, updater, random=Signs())
    updater.weights = weights  # type: ignore[assignment]
    updater.update(X, D, 0.5)
    active = [np.flatnonzero(u).tolist() for us, _, _ in weights.updates for u in us]
    assert active == [[2], [1], [0], [2]]
    every, weights, _ = started(HamiltonianRule(active_rows=3, transfer_every=1.0), random=Signs())
    every.update(X, D, 0.5)
    assert weights.updates[0][0].tolist() == [[1.0, -1.0, 1.0], [-1.0, 1.0, -1.0]]


def test_a_training_that_was_filed_without_an_order_of_rows_goes_on() -> None:
    updater, weights, _ = started(HamiltonianRule(transfer_every=1.0), random=Signs())
    updater.restore({"due": np.array([0.5])})
    updater.update(X, D, 0.5)
    assert weights.updates[0][0].tolist() == [[0.0, 0.0, 1.0], [0.0, -1.0, 0.0]]
    assert updater.state()["due"] == pytest.approx([0.5])


def test_nothing_moves_before_a_transfer_is_due() -> None:
    updater, weights, _ = started(HamiltonianRule(transfer_every=3.0), random=Signs())
    updater.update(X, D, 0.5)
    assert weights.updates == []
    assert updater.state()["due"] == pytest.approx([2 / 3])


def test_mixed_precision_writes_whole_steps_and_keeps_the_rest() -> None:
    rule = MixedPrecisionRule(granularity=5.0, transfer_every=2, most_writes=2)
    updater, weights, _ = started(rule, step=0.01)  # a write is 0.05
    updater.update(X, D, 0.3)
    assert weights.steps == []
    updater = again(rule, updater)
    updater.weights = weights
    updater.update(X, D, 0.3)
    change = -0.6 * X.T @ D
    assert change == pytest.approx(np.array([[-0.09, 0.15], [0.09, -0.21], [-0.09, 0.24]]))
    # In whole writes, of which two at most: -1, 2 (3); 1, -2 (-4); -1, 2 (4).
    assert weights.steps == [([0, 1, 2], [[-5, 10], [5, -10], [-5, 10]])]
    written = 0.05 * np.array([[-1, 2], [1, -2], [-1, 2]])
    assert updater.state()["chi"] == pytest.approx(change - written)
    assert updater.state()["batches"].tolist() == [2]


def test_rows_without_a_write_are_left_alone() -> None:
    updater, weights, _ = started(MixedPrecisionRule(granularity=1.0), step=0.1)
    updater.update(np.array([[0.0, 1.0, 0.3]]), np.array([[0.25, 0.15]]), 1.0)
    assert weights.steps == [([1], [[-2, -1]])]


# ---- with a buffer -----------------------------------------------------------------------------------------------


def test_the_fast_array_gets_a_share_of_a_full_train_from_a_typical_update() -> None:
    rule = TTv2Rule(fast_lr=0.5, mean_memory=0.9, transfer_every=1e3)
    updater, _, fast = started(rule)
    updater.update(X, D, 0.1)
    full, typical = 0.5 * 31 * 0.02, np.array([(1.0 + 1.0) / 2, (0.4 + 0.3) / 2])
    assert fast.updates[0][2] == pytest.approx(-full / typical.prod())
    assert fast.updates[0][0].tolist() == X.tolist()
    updater.update(2 * X, 3 * D, 0.1)
    left = 0.9**2
    later = left * typical + (1 - left) * np.array([2.0, 1.05])
    assert fast.updates[1][2] == pytest.approx(-full / later.prod())
    assert updater.state()["counters"] == pytest.approx(np.array([0, 4e-3, *later]))


def test_a_batch_of_zeros_says_nothing_of_the_learning_rate() -> None:
    updater, _, fast = started(TTv2Rule(transfer_every=1e3))
    updater.update(np.zeros((2, 3)), D, 0.1)
    assert fast.updates == []


def test_a_buffer_steps_once_it_is_whole() -> None:
    """Readings of one step, 0.02, times rows, granularity and vectors for a read: 0.02 * 10 / (3 * 0.5)."""
    rule = TTv2Rule(granularity=10.0, transfer_every=0.5, stride=4, momentum=0.25)
    updater, weights, fast = started(rule)
    unit = 0.02 * 10.0 / (3 * 0.5)
    fast.holds = np.array([[0.6, -1.2], [0.0, 3.0], [-0.4, 0.1]]) * unit / 0.1
    updater.update(X[:1], D[:1], 0.1)  # two rows
    assert fast.reads == [[0, 1]]
    assert weights.steps == [([0, 1], [[0, -4], [0, 4]])]
    expected = np.array([[0.6, -1.2 * 0.25], [0.0, 3.0 * 0.25], [0.0, 0.0]])
    assert updater.state()["buffer"] == pytest.approx(expected)
    assert updater.state()["counters"][:2].tolist() == [2, 0]
    updater = again(rule, updater)
    updater.weights, updater._fast = weights, fast  # type: ignore[attr-defined]
    updater.update(X[:1], D[:1], 0.1)
    assert fast.reads[1:] == [[2, 0]]
    assert weights.steps[1] == ([2, 0], [[0, 0], [4, -4]])
    assert updater.state()["buffer"][0] == pytest.approx([1.2 * 0.25, -1.5 * 0.25])
    assert list(updater.arrays()) == ["weights", "fast array"]


def test_a_chopper_turns_inputs_and_reads_of_its_row() -> None:
    rule = ChoppedTTv2Rule(granularity=10.0, transfer_every=1 / 3, stride=1, chop_probability=0.3)
    updater, weights, fast = started(rule, random=Signs())  # 0.9, 0.5 and 0.1: the last row changes
    unit = 0.02 * 10.0 / (3 / 3)
    fast.holds = np.array([[1.5, 0.0], [0.0, 0.0], [1.5, -1.5]]) * unit / 0.1
    updater.update(X[:1], D[:1], 0.1)
    assert weights.steps[-1] == ([0, 1, 2], [[1, 0], [0, 0], [1, -1]])
    assert updater.state()["signs"].tolist() == [1.0, 1.0, -1.0]
    updater.update(X[:1], D[:1], 0.1)
    assert fast.updates[-1][0].tolist() == [[1.0, -0.5, -0.25]]
    assert weights.steps[-1] == ([0, 1, 2], [[1, 0], [0, 0], [-1, 1]])


def test_agad_takes_the_mean_of_the_last_period_for_its_reference() -> None:
    rule = AGADRule(granularity=10.0, transfer_every=1 / 3, stride=1, chop_period=2, tail=1.0)
    updater, weights, fast = started(rule)
    unit = 0.02 * 10.0 / (3 / 3) / 0.1
    held = np.array([[2.0, 0.0], [0.0, -2.0], [0.0, 0.0]])
    for turn, factor in enumerate((1.0, 2.0, 4.0)):
        fast.holds = factor * held * unit
        if turn == 1:
            updater = again(rule, updater)
            updater.weights, updater._fast = weights, fast  # type: ignore[attr-defined]
        updater.update(X[:1], D[:1], 0.1)
        if turn < 2:  # before the first change there is no reference, and nothing moves
            assert weights.steps[-1][1] == [[0, 0], [0, 0], [0, 0]]
    # The running mean is half of 1, and half of that and of 2: 0.5 and 1.25; the signs have turned.
    state = updater.state()
    assert state["reference"] == pytest.approx(1.25 * held * unit)
    assert state["signs"].tolist() == [-1.0] * 3
    assert state["reads"].tolist() == [3] * 3
    assert weights.steps[-1][1] == [[-1, 0], [0, 1], [0, 0]]  # 4 less 1.25, turned, and one step at most
    assert state["mean"] == pytest.approx((1.25 + 0.5 * (4.0 - 1.25)) * held * unit)


# ---- what is computed beside the chip ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "operations", "numbers"),
    [
        (SGDRule(), 0.0, 0),
        (TikiTakaRule(), 0.0, 1),
        (HamiltonianRule(), 0.0, 0),
        (MixedPrecisionRule(), 2.0 * 30 * 20, 30 * 20),
        (TTv2Rule(transfer_every=2.0), 3 * 20 / 2, 30 * 20),
        (ChoppedTTv2Rule(transfer_every=2.0), 3 * 20 / 2 + 1, 30 * 20 + 30),
        (AGADRule(transfer_every=2.0), 7 * 20 / 2 + 1, 3 * 30 * 20 + 2 * 30),
    ],
)
def test_digital_work_is_counted(rule: Rule, operations: float, numbers: int) -> None:
    assert rule.digital_work(30, 20) == DigitalWork(operations, numbers)
