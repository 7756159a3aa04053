"""The daily renewal, part by part: what is put in whose place, and what is carried over."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator

import numpy as np
import pytest

import hwloop
from hwloop.calibration.certificate import renewal
from hwloop.calibration.certificate.renewal import Renewal, merge, renew
from hwloop.calibration.routines.results import ConverterResult
from hwloop.calibration.steps import Step
from hwloop.errors import BadInputError
from tests.calibration import made_up
from tests.conftest import OpenChip

CHIP = "sim:hermes-64?cores=2&rows=16&columns=12&seed=1"
SHOWN = np.arange(12) % 3 == 0
TAKEN = (
    "offset", "offset_sigma", "second_order", "second_order_sigma", "third_order", "third_order_sigma", "noise",
)  # fmt: skip


def test_what_is_shown_is_taken_from_the_fresh_measurement_and_the_rest_from_the_known() -> None:
    known = made_up.converters(16, 12, 1, unresponsive=np.arange(12) < 6)
    fresh = made_up.converters(16, 12, 2, adc_noise=0.7)
    merged = merge(known, fresh, SHOWN)
    for name in TAKEN:
        expected = np.where(SHOWN, getattr(fresh, name), getattr(known, name))
        np.testing.assert_array_equal(getattr(merged, name), expected, err_msg=name)
    np.testing.assert_array_equal(merged.unresponsive, (np.arange(12) < 6) & ~SHOWN)
    assert merged.adc_noise == 0.7
    others = {field.name for field in dataclasses.fields(known)} - {*TAKEN, "unresponsive", "adc_noise"}
    assert all(getattr(merged, name) is getattr(known, name) for name in others)


def test_columns_are_shown_where_they_respond_and_are_known_well_enough() -> None:
    sigma = np.full(12, 0.1)
    sigma[:3] = 0.2, 0.2001, 0.1999
    fresh = made_up.converters(16, 12, offset_sigma=sigma, unresponsive=np.arange(12) == 11)
    shown = Renewal().shown(fresh, 0, 12)
    assert np.flatnonzero(~shown).tolist() == [0, 1, 11]
    assert not Renewal(most_offset_sigma=0.15).shown(fresh, 0, 12)[2]


@pytest.mark.parametrize(("columns", "share"), [(2, 0.2), (0, 0.0)])
def test_too_few_columns_are_refused(columns: int, share: float) -> None:
    fresh = made_up.converters(16, 12, unresponsive=np.arange(12) >= columns, offset_sigma=np.full(12, 0.1))
    with pytest.raises(BadInputError, match=rf"core 3: holds too little .*\({columns} of 12 columns show theirs\)"):
        Renewal(least_share=share).shown(fresh, 3, 12)
    if columns:
        assert Renewal(least_share=columns / 12).shown(fresh, 3, 12).sum() == columns


def test_a_core_that_drives_no_converter_is_refused() -> None:
    with pytest.raises(BadInputError, match=r"core 1: holds too little .*\(0 of 12 columns"):
        Renewal().shown(None, 1, 12)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, tuple[np.ndarray, np.ndarray]]]:
    """Renewal with made-up measurements; what was asked for is the cores, with the trims then in place."""
    seen: list[tuple[int, tuple[np.ndarray, np.ndarray]]] = []

    def now(
        backend: hwloop.Backend, core: int, vectors: int, rng: np.random.Generator
    ) -> Generator[Step, None, ConverterResult]:
        yield Step(0, 1, "made up")
        seen.append((core, backend.trims(core)))
        sigma = np.where(SHOWN, 0.1, 0.3) if core else np.full(12, 0.1)
        return made_up.converters(16, 12, 100 + core, offset_sigma=sigma)

    monkeypatch.setattr(renewal, "converters_now", now)
    return seen


def test_the_steps_of_all_cores_are_counted_as_one_work(open_chip: OpenChip, monkeypatch: pytest.MonkeyPatch) -> None:
    def now(
        backend: hwloop.Backend, core: int, vectors: int, rng: np.random.Generator
    ) -> Generator[Step, None, ConverterResult]:
        for done in range(3):
            yield Step(done, 3, "made up", rest=0.25)
        return made_up.converters(16, 12, offset_sigma=np.full(12, 0.1))

    monkeypatch.setattr(renewal, "converters_now", now)
    chip, told = open_chip(CHIP), []
    began = chip.now()
    renew(made_up.calibration(chip), chip, observer=told.append)
    assert [(step.done, step.total, step.core) for step in told] == [(k, 6, k // 3) for k in range(6)]
    assert {step.stage for step in told} == {"made up"}
    assert chip.now() - began == pytest.approx(6 * 0.25)


def test_trims_are_written_before_the_converters_are_measured(open_chip: OpenChip, measured) -> None:
    chip = open_chip(CHIP)
    base = made_up.calibration(chip)
    chip.set_trims(1, np.full(12, 5.0), np.full(12, -0.1))
    renew(base, chip)
    assert [core for core, _ in measured] == [0, 1]
    for core, (offset, gain) in measured:
        np.testing.assert_array_equal(offset, base.cores[core].trims.offset)
        np.testing.assert_allclose(gain, base.cores[core].trims.gain, atol=0.002 + 1e-9)  # half a step


def test_what_is_renewed_is_dated_and_the_rest_is_carried_over(open_chip: OpenChip, measured) -> None:
    chip = open_chip(CHIP)
    base = dataclasses.replace(
        made_up.calibration(chip), skipped={"core 0: daily": "of yesterday", "wires": "none"}, seed=1, clock=-1.0
    )
    renewed = renew(base, chip, seed=9)
    assert renewed.dates["converters"] == renewed.created > base.created
    others = {name: date for name, date in renewed.dates.items() if name != "converters"}
    assert others == {name: made_up.DATE for name in base.dates if name != "converters"}
    assert (renewed.seed, renewed.settings, renewed.temperature) == (9, {"renewed": ["adc"]}, 300.0)
    assert renewed.clock == chip.now()
    # The first core was renewed in full this time, a third of the second.
    assert renewed.skipped.keys() == {"wires", "core 1: daily"}
    assert renewed.skipped["core 1: daily"].startswith("8 of 12 columns hold too little")
    assert "is of 2026-01-02 03:04 UTC or before" in renewed.skipped["core 1: daily"]
    for index, core in renewed.cores.items():
        fresh, known = made_up.converters(16, 12, 100 + index), base.cores[index]
        shown = SHOWN if index else np.ones(12, bool)
        expected = np.where(shown, fresh.third_order, known.converters.third_order)
        np.testing.assert_array_equal(core.converters.third_order, expected)
        assert core.devices is known.devices
        assert core.gains is known.gains


def test_a_core_without_converters_is_carried_over(open_chip: OpenChip, measured) -> None:
    chip = open_chip(CHIP)
    base = made_up.calibration(chip)
    bare = dataclasses.replace(base.cores[0], converters=None)
    renewed = renew(dataclasses.replace(base, cores={0: bare, 1: base.cores[1]}), chip)
    assert [core for core, _ in measured] == [1]
    assert renewed.cores[0] is bare


def test_progress_goes_from_core_to_core(open_chip: OpenChip, measured) -> None:
    chip, seen = open_chip(CHIP), []
    renew(made_up.calibration(chip), chip, observer=seen.append)
    assert [(step.core, step.done, step.total, step.stage) for step in seen] == [
        (0, 0, 2, "made up"),
        (1, 1, 2, "made up"),
    ]


def test_at_another_temperature_nothing_is_renewed(open_chip: OpenChip, measured) -> None:
    chip = open_chip(f"{CHIP}&temperature=330")
    base = dataclasses.replace(made_up.calibration(chip), temperature=300.0)
    with pytest.raises(BadInputError, match=r"at 330\.0 K, the calibration was made at 300\.0 K; .* again, in full"):
        renew(base, chip)
    assert not measured
