"""Claims to cells, counts, trains and URIs: small parts of the contract, by their definition."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest

import hwloop
from hwloop.chip.claims import Claim, programmed_over
from hwloop.chip.counts import Counts
from hwloop.chip.region import Place
from hwloop.chip.registry import connect_recorded, is_harmless, same_chip
from hwloop.chip.updates import SteppingDevices, Updates
from hwloop.errors import BadInputError


@pytest.fixture(scope="module")
def chip() -> Iterator[hwloop.Backend]:
    with hwloop.connect("sim:pcm-ideal?rows=8&columns=8&cores=2") as found:
        yield found


HERE = Place(core=1, row=2, column=3, rows=4, columns=5)


@pytest.mark.parametrize(
    ("place", "lost"),
    [
        (HERE, True),
        (Place(0, 2, 3, 4, 5), False),  # another core
        (Place(1, 0, 3, 2, 5), False),  # the rows before
        (Place(1, 0, 3, 3, 5), True),
        (Place(1, 6, 3, 4, 5), False),  # the rows behind
        (Place(1, 5, 3, 4, 5), True),
        (Place(1, 2, 0, 4, 3), False),  # the columns before
        (Place(1, 2, 0, 4, 4), True),
        (Place(1, 2, 8, 4, 5), False),  # the columns behind
        (Place(1, 2, 7, 4, 5), True),
        (Place(1, 3, 4, 1, 1), True),  # within
        (Place(1, 0, 0, 9, 9), True),  # around
    ],
)
def test_a_claim_is_lost_with_any_of_its_cells(chip: hwloop.Backend, place: Place, lost: bool) -> None:
    claim = Claim(chip, [Place(0, 7, 7, 1, 1), HERE])
    claim.check()
    programmed_over(chip, [place], "the first")
    programmed_over(chip, [place], "the second")
    if lost:
        with pytest.raises(BadInputError, match="were programmed over, by the first; deploy it again"):
            claim.check()
    else:
        claim.check()


def test_claims_are_those_of_one_chip_and_end_with_their_owner() -> None:
    uri = "sim:pcm-ideal?rows=8&columns=8&cores=2"
    with hwloop.connect(uri) as one, hwloop.connect(uri) as other:
        claim = Claim(one, [HERE])
        programmed_over(other, [HERE], "a run of the other")
        claim.check()
        del claim
        gc.collect()
        programmed_over(one, [HERE], "a run")


def test_counts_add_up() -> None:
    one, other = Counts(pulses=1, chip_seconds=0.5), Counts(pulses=2, mvms=3, chip_seconds=0.25)
    assert one + other == Counts(pulses=3, mvms=3, chip_seconds=0.75)


def trains(x: list[list[int]], d: list[list[int]], length: list[int], *, stochastic: bool) -> Updates:
    each = np.ones(len(x))
    return Updates(np.array(x), np.array(d), np.array(length), each, each, stochastic=stochastic)


def test_a_device_makes_as_many_steps_at_most_as_its_row_and_column_fire_together() -> None:
    x, d = [[2, 0, -3], [1, 0, 0]], [[0, 4, -1], [0, 0, 5]]
    assert trains(x, d, [9, 9], stochastic=False).most_pulses().tolist() == [[0, 2, 1 + 1], [0, 0, 0], [0, 3, 1]]
    assert trains(x, d, [7, 5], stochastic=True).most_pulses().tolist() == [[0, 7, 7 + 5], [0, 0, 0], [0, 7, 7]]
    assert trains(x, d, [7, 5], stochastic=True).slots == 12
    assert len(trains(x, d, [7, 5], stochastic=True)) == 2


def test_a_unit_of_weight_is_half_the_range() -> None:
    made = dict.fromkeys(SteppingDevices.__dataclass_fields__, 1.0) | {"low": -5.0, "high": 15.0, "step": 0.25}
    stepping = SteppingDevices(**made)
    assert (stepping.half_range, stepping.states) == (10.0, 80.0)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("sim:a?x=1&y=2", "sim:a?y=2&x=1", True),
        ("sim:a?x=1", "sim:a?x=2", False),
        ("sim:a", "sim:b", False),
        ("sim:a", "visa:a", False),
        ("no uri", "no uri", False),
    ],
)
def test_the_order_of_options_makes_no_other_chip(one: str, other: str, same: bool) -> None:
    assert same_chip(one, other) is same


@pytest.mark.parametrize(
    ("uri", "harmless"),
    [("sim:hermes-core?seed=1", True), ("sim:model.json", False), ("visa:hermes-core", False), ("nonsense", False)],
)
def test_only_presets_are_opened_because_a_file_names_them(uri: str, harmless: bool) -> None:
    assert is_harmless(uri) is harmless
    if harmless:
        connect_recorded(uri, "r.h5").close()
    else:
        with pytest.raises(BadInputError, match=r"^r\.h5 names the chip .*from a file alone only simulated presets"):
            connect_recorded(uri, "r.h5")


def test_calls_are_logged_without_the_parentheses_of_their_arguments(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "hwloop.chip.callers")
    with hwloop.connect("sim:pcm-ideal?rows=8&columns=8") as chip:
        chip.wait(2.5)
    assert "wait(2.5,)" in [record.getMessage() for record in caplog.records]


def test_a_witness_is_asked_once_for_what_is_done_as_one() -> None:
    with hwloop.connect("sim:pcm-ideal?rows=8&columns=8") as chip:
        asked: list[str] = []

        def ask(name: str, hook: object, *words: object) -> object:
            asked.append(name)
            return hook(*words)  # type: ignore[operator]

        chip.witness = SimpleNamespace(ask=ask)  # type: ignore[assignment]
        before = chip.counts.chip_seconds
        chip.as_one("rest", lambda: chip.wait(3.0))
        assert asked == ["rest"]
        assert chip.counts.chip_seconds - before == pytest.approx(3.0)
        assert chip.witness is not None
        chip.witness = None
