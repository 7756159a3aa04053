"""What a pulsed update may be, what it counts, and what a stepping chip makes of it."""

import dataclasses

import numpy as np
import pytest

from hwloop.chip.backend import Backend
from hwloop.chip.info import Capability
from hwloop.chip.lifetime import KeptLifetime
from hwloop.chip.registry import connect
from hwloop.chip.update_checks import at_devices
from hwloop.chip.updates import PulseTrains
from hwloop.custody.ledger import Ledger
from hwloop.custody.places import ledger_path
from hwloop.errors import BadInputError, ChipError, LimitError, LinkError, MissingCapabilityError

ROWS, COLUMNS = 8, 6


@pytest.fixture
def chip():
    with connect(f"sim:rpu-baseline?seed=3&rows={ROWS}&columns={COLUMNS}") as opened:
        yield opened


def outer(x, d, count=1):
    return np.full((count, ROWS), x), np.full((count, COLUMNS), d)


def test_certain_slots_step_every_device_once_a_slot(chip):
    x, d = outer(chip.info.stepping.levels, -chip.info.stepping.levels)
    chip.update(0, x, d, PulseTrains(length=5))
    counts = chip.pulse_counts(0)
    assert np.all(counts[0] == 5)
    assert np.all(counts[1] == 0)
    assert (chip.counts.pulses, chip.counts.updates) == (5 * ROWS * COLUMNS, 1)
    assert chip.counts.chip_seconds == pytest.approx(5 * chip.info.stepping.slot_seconds)


def test_signs_decide_whether_a_device_steps_up_or_down(chip):
    top, info = chip.info.stepping.levels, chip.info
    x, d = np.zeros((40, ROWS), int), np.zeros((40, COLUMNS), int)
    x[:, 2], x[:, 5] = top, -top
    d[:, 1], d[:, 3] = top, -top
    chip.update(0, x, d, PulseTrains(length=10))
    cells = np.array([r * COLUMNS + c for r in (2, 5) for c in (1, 3)])
    up_down = chip.read(0, cells, 100) - chip.read(0, cells + ROWS * COLUMNS, 100)
    assert np.all(np.sign(up_down) == [1, -1, -1, 1])
    assert np.all(np.abs(up_down) > 20 * info.stepping.step)
    untouched = chip.pulse_counts(0)[0, 0]
    assert untouched.sum() == untouched[np.ix_([2, 5], [1, 3])].sum() == 4 * 400


def test_counted_trains_step_by_the_smaller_count(chip):
    x, d = np.zeros((1, ROWS), int), np.zeros((1, COLUMNS), int)
    x[0], d[0] = np.arange(ROWS), [0, -1, 2, -3, 4, 7]
    chip.update(0, x, d, PulseTrains(length=7, stochastic=False))
    assert np.array_equal(chip.pulse_counts(0)[0, 0], np.minimum.outer(np.abs(x[0]), np.abs(d[0])))


def test_the_transposed_product_is_of_the_same_cells(chip):
    x, d = outer(0, 0, 60)
    x[:, 2], d[:, 1] = chip.info.stepping.levels, chip.info.stepping.levels
    chip.update(0, x, d, PulseTrains(length=20))
    chip.set_adc_range(0, 20.0)
    one_row, one_column = np.zeros((100, ROWS), int), np.zeros((100, COLUMNS), int)
    one_row[:, 2], one_column[:, 1] = chip.info.input_max, chip.info.input_max
    forward = chip.mvm(0, one_row)[:, 1].mean()
    backward = chip.mvm(0, one_column, transposed=True)[:, 2].mean()
    assert forward == pytest.approx(backward, abs=3 * 1.4 * 1.5 / 10)
    assert forward > 30


def test_a_slice_of_a_transposed_product_is_of_those_rows(chip):
    codes = chip.mvm(0, np.zeros((3, COLUMNS), int), slice(2, 5), transposed=True)
    assert codes.shape == (3, 3)


WRONG = {
    "x of another width": (lambda x, d: (x[:, 1:], d, PulseTrains()), BadInputError, "x must have the shape"),
    "d of another width": (lambda x, d: (x, d[:, 1:], PulseTrains()), BadInputError, "d must have the shape"),
    "more x than d": (lambda x, d: (np.vstack([x, x]), d, PulseTrains()), BadInputError, "as many"),
    "fractions": (lambda x, d: (x * 0.5, d, PulseTrains()), BadInputError, "must be integers"),
    "beyond the levels": (lambda x, d: (x * 40_000, d, PulseTrains()), LimitError, "update 0: x is outside"),
    "beyond 32 bits": (lambda x, d: (x * 2**40, d, PulseTrains()), LimitError, "beyond 32 bits"),
    "no trains": (lambda x, d: (x, d, 31), BadInputError, "must be PulseTrains"),
    "half a slot": (lambda x, d: (x, d, PulseTrains(0.5)), BadInputError, "length must be a whole number"),
    "too long": (lambda x, d: (x, d, PulseTrains(10**6)), LimitError, "length is outside"),
    "negative length": (lambda x, d: (x, d, PulseTrains(-1)), LimitError, "length is outside"),
    "lengths for others": (lambda x, d: (x, d, PulseTrains([1, 2])), BadInputError, "one for each of 1 updates"),
    "no probability": (lambda x, d: (x, d, PulseTrains(3, 1.5)), LimitError, "row_probability is outside"),
    "NaN": (lambda x, d: (x, d, PulseTrains(3, 1.0, np.nan)), LimitError, "column_probability is outside"),
    "a text": (lambda x, d: (x, d, PulseTrains(3, "half")), BadInputError, "row_probability must be a number"),
    "counted beyond the train": (
        lambda x, d: (4 * x, d, PulseTrains(3, stochastic=False)),
        LimitError,
        "x counts 4 slots of a train of 3",
    ),
    "counted with probabilities": (
        lambda x, d: (x, d, PulseTrains(3, 0.5, stochastic=False)),
        BadInputError,
        "have no probabilities",
    ),
    "neither": (lambda x, d: (x, d, PulseTrains(3, stochastic="no")), BadInputError, "true or false"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_update_is_refused_and_nothing_is_counted(chip, case):
    make, error, message = WRONG[case]
    with pytest.raises(error, match=message):
        chip.update(0, *make(*outer(1, 1)))
    assert chip.counts.pulses == chip.counts.updates == chip.pulse_counts(0).sum() == 0


def test_no_updates_and_trains_without_slots_do_nothing(chip):
    chip.update(0, np.zeros((0, ROWS), int), np.zeros((0, COLUMNS), int))
    chip.update(0, *outer(1, 1), PulseTrains(0))
    assert chip.pulse_counts(0).sum() == 0


def test_an_update_that_may_spend_a_budget_is_refused(chip):
    limits = dataclasses.replace(chip.info.limits, pulses_per_device=12)
    chip._info = dataclasses.replace(chip.info, limits=limits)
    top = chip.info.stepping.levels
    chip.update(0, *outer(top, top), PulseTrains(10))
    with pytest.raises(LimitError, match="budget of 12 pulses"):
        chip.update(0, *outer(1, 1), PulseTrains(3))
    assert chip.pulse_counts(0).max() == 10
    chip.update(0, *outer(1, 1), PulseTrains(2))
    assert np.all(chip.pulse_counts(0)[0] <= 12)


@pytest.mark.parametrize("capability", [Capability.UPDATE, Capability.TRANSPOSED_MVM])
def test_a_chip_of_phase_change_devices_says_what_to_use_instead(capability):
    with connect("sim:hermes-core") as chip:
        assert capability not in chip.info.capabilities
        with pytest.raises(MissingCapabilityError, match="sim:rpu-baseline"):
            chip.require(capability, "training in memory")


def test_a_saved_state_goes_on_with_the_same_updates(chip):
    top = chip.info.stepping.levels
    chip.update(0, *outer(top, top, 5), PulseTrains(9, 0.5, 0.5))
    state = chip.export_state()
    after = []
    for _ in range(2):
        chip.import_state(state)
        chip.update(0, *outer(top, -top, 5), PulseTrains(9, 0.5, 0.5))
        after.append(chip.export_state())
    assert after[0].keys() == after[1].keys()
    for name, array in after[0].items():
        assert np.array_equal(array, after[1][name]), name
    assert not np.array_equal(state["core0/weights"], after[0]["core0/weights"])


class Coarse(Backend):
    """A chip on a bench that counts every slot as a coincidence, or answers nonsense."""

    def __init__(self, info, answer=None):
        super().__init__(info)
        self.answer = answer

    def _update(self, core, updates):
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer is not None:
            return self.answer
        return at_devices(self.info, self.info.stepping, updates.most_pulses())

    def _pulse(self, core, pulses): ...

    def _now(self):
        return 0.0

    def _wait(self, seconds): ...

    def _adc_range(self, core):
        return 1.0

    def _snapshot(self):
        return {}

    def _close(self): ...


@pytest.fixture
def bench(chip):
    """Information of a real chip of the same geometry, one device a cell that steps and one reference."""
    return dataclasses.replace(chip.info, name="bench", capabilities=frozenset({Capability.UPDATE}))


def kept(coarse):
    """Let the ledger keep the life of a chip."""
    coarse.lifetime = KeptLifetime("bench serial 1", "bench:", coarse.info)
    return coarse


def life(info):
    with Ledger(ledger_path()) as ledger:
        number = ledger.number("bench serial 1")
        return ledger.life(number, 0), sum(session.pulses for session in ledger.sessions(number))


def test_what_a_chip_answers_takes_the_place_of_what_was_feared(bench):
    received = np.zeros(bench.device_shape, np.int32)
    received[0, 0, 1, 2] = 4
    with kept(Coarse(bench, received.reshape(-1))) as chip:
        chip.update(0, *outer(1, 1), PulseTrains(9))
        assert (chip.pulse_counts(0) == received).all()
        assert chip.counts.pulses == 4
    counts, of_session = life(bench)
    assert (counts == received.reshape(-1)).all()
    assert of_session == 4


def test_a_link_that_dies_leaves_the_most_that_devices_can_have_received(bench):
    chip = kept(Coarse(bench, LinkError("the link died")))
    with pytest.raises(LinkError):
        chip.update(0, *outer(1, 1), PulseTrains(9))
    assert (chip.pulse_counts(0)[0] == 9).all()
    chip.close()
    counts, of_session = life(bench)
    assert counts.sum() == of_session == 9 * ROWS * COLUMNS


@pytest.mark.parametrize("answer", [np.zeros(3, np.int32), np.full(2 * ROWS * COLUMNS, 10), np.full(96, -1)])
def test_counts_that_cannot_be_are_the_drivers_fault(bench, answer):
    chip = Coarse(bench, answer)
    with pytest.raises(ChipError, match="counts of pulses that cannot be"):
        chip.update(0, *outer(1, 1), PulseTrains(9))
    assert (chip.pulse_counts(0)[0] == 9).all()


def test_pulses_of_earlier_sessions_count_against_the_budget_of_a_real_chip(bench):
    bench = dataclasses.replace(bench, limits=dataclasses.replace(bench.limits, pulses_per_device=12))
    with kept(Coarse(bench)) as chip:
        chip.update(0, *outer(1, 1), PulseTrains(9))
    with kept(Coarse(bench)) as chip:
        with pytest.raises(LimitError, match="9 of them in earlier sessions"):
            chip.update(0, *outer(1, 1), PulseTrains(4))
        chip.update(0, *outer(1, 1), PulseTrains(3))


def test_the_ledger_records_what_trains_brought_to_a_simulated_chip(chip):
    top = chip.info.stepping.levels
    for _ in range(3):
        chip.update(0, *outer(top, top), PulseTrains(5))
    chip.close()
    with Ledger(ledger_path()) as ledger:
        (entry,) = ledger.chips()
        number = ledger.number(entry.identity)
        assert ledger.life(number, 0).reshape(2, -1).tolist() == [[15] * ROWS * COLUMNS, [0] * ROWS * COLUMNS]
        assert [session.pulses for session in ledger.sessions(number)] == [15 * ROWS * COLUMNS]


@pytest.mark.parametrize("wrong", [6, -1])
def test_counts_that_cannot_be_are_an_error_of_the_chip(chip, monkeypatch, wrong):
    """One device alone that says it made more steps than the train has slots, or fewer than none."""
    right = type(chip)._update

    def answer(self, core, batch):
        received = right(self, core, batch).copy()
        received.flat[3] = wrong
        return received

    monkeypatch.setattr(type(chip), "_update", answer)
    x, d = outer(chip.info.stepping.levels, chip.info.stepping.levels)
    with pytest.raises(ChipError, match="core 0: the chip answered an update with counts of pulses that cannot be"):
        chip.update(0, x, d, PulseTrains(length=5))
