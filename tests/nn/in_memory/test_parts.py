"""Parts of training in memory without a chip: where cells lie, how several devices share, when a rate is too high."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hwloop.errors import BadInputError, ProgrammingWarning
from hwloop.nn.in_memory import cells as cells_module
from hwloop.nn.in_memory.cells import Cells
from hwloop.nn.in_memory.product import InMemory
from hwloop.nn.in_memory.settings import Periphery
from hwloop.nn.in_memory.several import SeveralDevices
from hwloop.nn.in_memory.trains import TrainWarning, trains_of

# ---- cells -------------------------------------------------------------------------------------------------------


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Cells:
    """The cells of two cores of 10 x 8."""
    monkeypatch.setattr(cells_module, "programmed_over", lambda *_: None)
    monkeypatch.setattr(cells_module, "Claim", lambda chip, places: SimpleNamespace(check=lambda: None))
    return Cells(SimpleNamespace(info=SimpleNamespace(name="chip", cores=2, rows=10, columns=8)))


def test_rectangles_fill_shelves_then_rows_then_cores(free: Cells) -> None:
    places = [free.take(rows, columns, "w") for rows, columns in ((4, 5), (3, 3), (4, 1), (6, 8))]
    assert [(one.core, one.row, one.column, one.rows, one.columns) for one in places] == [
        (0, 0, 0, 4, 5), (0, 0, 5, 3, 3), (0, 4, 0, 4, 1), (1, 0, 0, 6, 8),
    ]  # fmt: skip
    # The first shelf is full; the second has seven columns left, and is high enough.
    second = free.take(2, 2, "w")
    assert (second.core, second.row, second.column) == (0, 4, 1)
    last = free.take(4, 8, "w")
    assert (last.core, last.row, last.column) == (1, 6, 0)
    assert free.taken == 20 + 9 + 4 + 48 + 4 + 32


def test_a_shelf_takes_what_just_fits(free: Cells) -> None:
    free.take(10, 4, "w")
    place = free.take(10, 4, "w")
    assert (place.core, place.row, place.column) == (0, 0, 4)
    assert free.take(10, 8, "w").core == 1
    with pytest.raises(BadInputError, match=r"fast array \(1 x 1 cells\) does not fit .* 160 cells .*cores=3\)"):
        free.take(1, 1, "fast array")


def test_copies_keep_off_each_others_cores_while_others_have_room(free: Cells) -> None:
    assert free.take(4, 4, "w").core == 0
    assert free.take(4, 4, "w", avoid={0}).core == 1
    assert free.take(4, 4, "w", avoid={0}).core == 1
    third = free.take(4, 4, "w", avoid={0, 1})
    assert (third.core, third.row, third.column) == (0, 0, 4)
    free.take(6, 1, "w", avoid={1})
    assert free.take(6, 1, "w", avoid={0}).core == 1


def test_what_is_wider_than_a_core_is_refused(free: Cells) -> None:
    with pytest.raises(BadInputError, match=r"w \(2 x 9 cells\) does not fit"):
        free.take(2, 9, "w")
    assert free.taken == 0


# ---- several devices ---------------------------------------------------------------------------------------------


class Part:
    """One of several arrays of 2 rows and 3 columns."""

    def __init__(self, value: float, gain: float = 1.0) -> None:
        self.shape, self.step, self.value, self.gain = (2, 3), 0.01, value, gain
        self.held = np.full(self.shape, value)
        self.told: list[tuple] = []

    def forward(self, x: np.ndarray) -> np.ndarray:
        return x @ self.held

    product = forward

    def backward(self, d: np.ndarray) -> np.ndarray:
        return d @ self.held.T

    def weights(self, averages: int = 16) -> np.ndarray:
        self.told.append(("read", averages))
        return self.held

    def write(self, wanted: np.ndarray) -> float:
        self.held = self.gain * wanted
        return 0.0

    def update(self, x: np.ndarray, d: np.ndarray, rate: float, length: int | None) -> None:
        self.told.append((x.tolist(), d.tolist(), rate, length))

    def step_rows(self, rows: np.ndarray, steps: np.ndarray) -> None:
        self.told.append((rows.tolist(), steps.tolist()))

    def pulses(self) -> np.ndarray:
        return np.full(self.shape, self.value)


def several(*parts: Part, significance: float = 0.5, turns: list[int] | None = None) -> SeveralDevices:
    random = SimpleNamespace(integers=lambda count, size: np.array(turns))
    return SeveralDevices(parts, significance, random)  # type: ignore[arg-type]


def test_arrays_add_up_by_their_significance() -> None:
    one = several(Part(4.0), Part(2.0), Part(8.0))
    assert one.counts_as.tolist() == [1.0, 0.5, 0.25]
    assert (one.shape, one.step) == ((2, 3), 0.01)
    assert one.weights().tolist() == np.full((2, 3), 4.0 + 1.0 + 2.0).tolist()
    assert one.weights(5) is not None
    assert one.arrays[1].told == [("read", 16), ("read", 5)]
    x = np.array([[1.0, 2.0]])
    assert one.forward(x).tolist() == one.product(x).tolist() == [[21.0] * 3]
    assert one.backward(np.array([[1.0, 0.0, 1.0]])).tolist() == [[14.0, 14.0]]
    assert one.pulses().tolist() == np.full((2, 3), 14.0).tolist()


def test_each_update_goes_to_one_array_at_a_rate_that_changes_the_sum_alike() -> None:
    parts = Part(0.0), Part(0.0), Part(0.0)
    one = several(*parts, turns=[2, 0, 2])
    x, d = np.arange(6.0).reshape(3, 2), np.arange(9.0).reshape(3, 3)
    one.update(x, d, 0.3, 31)
    assert parts[0].told == [(x[[1]].tolist(), d[[1]].tolist(), 0.3, 31)]
    assert parts[1].told == []
    assert parts[2].told == [(x[[0, 2]].tolist(), d[[0, 2]].tolist(), pytest.approx(1.2), 31)]
    one.step_rows(np.array([1, 0, 1]), np.arange(9).reshape(3, 3))
    assert parts[0].told[1:] == [([0], [[3, 4, 5]])]
    assert parts[2].told[1:] == [([1, 1], [[0, 1, 2], [6, 7, 8]])]


def test_what_an_array_leaves_is_written_into_those_behind_it() -> None:
    """Seven parts of 1 + 0.5 + 0.25 each; the first array takes nine tenths of what it should."""
    one = several(Part(0.0, gain=0.9), Part(0.0), Part(0.0, gain=0.5))
    left = one.write(np.full((2, 3), 7.0))
    first = 0.9 * 4.0
    second = (7.0 - first) / 0.75
    third = 0.5 * (7.0 - first - 0.5 * second) / 0.25
    assert [part.held[0, 0] for part in one.arrays] == pytest.approx([first, second, third])  # type: ignore[attr-defined]
    assert left == pytest.approx(7.0 - first - 0.5 * second - 0.25 * third)


# ---- trains ------------------------------------------------------------------------------------------------------


def test_trains_without_management_have_their_whole_length() -> None:
    settings = Periphery(length_management=0, update_management=0)
    trains = trains_of(np.array([[0.5, -1.0], [0.0, 0.0]]), np.array([[0.2], [0.3]]), 8.0, 100, 32, settings)
    assert trains.length.tolist() == [32, 0]
    assert trains.x.tolist() == [[50, -100], [0, 0]]
    assert trains.d.tolist() == [[100], [100]]
    gain = np.sqrt(8.0 / 32)
    assert trains.rows[0] == pytest.approx(gain)
    assert trains.columns[0] == pytest.approx(0.2 * gain)
    assert trains.wanted == pytest.approx((8.0 * 0.2 + 0.0) / 2)
    chosen = trains.pulses_of(np.array([True, False]))
    assert (chosen.length.tolist(), chosen.row_probability.tolist()) == ([32], [trains.rows[0]])


def test_no_update_asks_for_nothing() -> None:
    trains = trains_of(np.zeros((0, 2)), np.zeros((0, 1)), 8.0, 100, 32, Periphery())
    assert (trains.wanted, len(trains.length)) == (0.0, 0)


def test_a_rate_is_judged_by_the_running_mean_of_what_it_asks_for() -> None:
    warning = TrainWarning("fc", memory=0.75)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warning.note(20.0, 31)
        warning.note(60.0, 31)  # 0.75 * 20 + 0.25 * 60 = 30
        warning.note(34.0, 31)  # 31, which is no more than a train has
    with pytest.warns(ProgrammingWarning, match="fc: its learning rate asks for 33 pulses where a train has 31"):
        warning.note(39.0, 31)
    assert TrainWarning("fc")._memory == 0.99


# ---- products ----------------------------------------------------------------------------------------------------


class Replica(Part):
    """An array whose weights are all the same."""


def trained(replicas: int, turns: list[int]) -> SimpleNamespace:
    parts = [Replica(float(number + 1)) for number in range(replicas)]
    waiting = [SimpleNamespace(kept=[]) for _ in parts]
    for one in waiting:
        one.add = lambda x, d, one=one: one.kept.append((x.tolist(), d.tolist()))
    return SimpleNamespace(
        replicas=parts, waiting=waiting, shape=(2, 3), scale=0.5, share_out=lambda count: np.array(turns)
    )


@pytest.mark.parametrize("needed", [True, False])
def test_each_replica_sees_its_vectors_and_keeps_their_errors(needed: bool) -> None:
    matrix, checks = trained(3, [2, 0, 2]), []
    multiply = InMemory(matrix, lambda: checks.append(1))  # type: ignore[arg-type]
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], requires_grad=needed)
    values = torch.zeros(2, 3, requires_grad=True)
    y = multiply(x, values)
    assert checks == [1]
    assert y[:, 0].tolist() == [0.5 * 3 * 3, 0.5 * 7, 0.5 * 3 * 11]
    d = torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]])
    y.backward(d)
    assert matrix.waiting[0].kept == [([[3.0, 4.0]], [[0.0, 2.0, 0.0]])]
    assert matrix.waiting[1].kept == []
    assert matrix.waiting[2].kept == [([[1.0, 2.0], [5.0, 6.0]], [[1.0, 0.0, 0.0], [0.0, 0.0, 3.0]])]
    assert (x.grad is not None) == needed
    if x.grad is not None:
        assert x.grad.tolist() == [[1.5, 1.5], [1.0, 1.0], [4.5, 4.5]]
    assert values.grad is None  # the gradient of the digital weight is never made


def test_a_layer_that_is_not_trained_keeps_nothing() -> None:
    matrix = trained(1, [])
    x = torch.ones(2, 2, requires_grad=True)
    InMemory(matrix, lambda: None)(x, torch.zeros(2, 3)).sum().backward()  # type: ignore[arg-type]
    assert matrix.waiting[0].kept == []
    assert x.grad is not None
    assert x.grad.tolist() == [[1.5, 1.5], [1.5, 1.5]]


def test_what_is_not_finite_is_refused() -> None:
    multiply = InMemory(trained(1, []), lambda: None)  # type: ignore[arg-type]
    with pytest.raises(BadInputError, match="inputs that are NaN or infinite"):
        multiply(torch.tensor([[1.0, float("nan")]]), torch.zeros(2, 3))
    y = multiply(torch.ones(1, 2), torch.zeros(2, 3, requires_grad=True))
    with pytest.raises(BadInputError, match="errors that are NaN or infinite"):
        y.backward(torch.tensor([[float("inf"), 0.0, 0.0]]))
