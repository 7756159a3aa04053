"""A budget holds over all sessions of a real chip, and every pulse is in the ledger before it goes out."""

from __future__ import annotations

import dataclasses
import sqlite3
from pathlib import Path

import numpy as np
import pytest

import hwloop
from hwloop.chip.info import PulseLimits
from hwloop.chip.lifetime import KeptLifetime
from hwloop.chip.pulses import PulseKind, Pulses
from hwloop.custody import ledger as module
from hwloop.custody.ledger import Ledger, LedgerSettings
from hwloop.errors import ChipError, LedgerError, LimitError, OutputWarning
from tests.chip.test_backend import INFO, Recorder
from tests.conftest import OpenChip

FIVE = dataclasses.replace(INFO, limits=PulseLimits(500.0, 20.0, 2000.0, pulses_per_device=5))
NAME = "recorder, serial 1"


def session(info=FIVE) -> Recorder:
    """A real chip, as it is connected to anew."""
    chip = Recorder(info)
    chip.lifetime = KeptLifetime(NAME, "lab:bench", info)
    return chip


def batch(*devices: int) -> Pulses:
    return Pulses.make(PulseKind.SET, list(devices), 100.0, 100.0)


def life_of(path: Path, core: int = 0) -> np.ndarray:
    with Ledger(path) as ledger:
        return ledger.life(ledger.number(NAME), core)


def test_a_budget_is_spent_over_sessions(ledger_file: Path) -> None:
    for _ in range(2):
        with session() as chip:
            chip.pulse(0, batch(0, 1))
            chip.pulse(0, batch(1))
    with session() as chip:
        chip.pulse(0, batch(0, 1))
        before = list(chip.sent)
        with pytest.raises(LimitError) as caught:
            chip.pulse(0, batch(0, 1, 2))
        assert chip.sent == before, "nothing goes out, not to the devices with a budget left either"
        assert str(caught.value) == (
            "core 0, device 1: its budget of 5 pulses is spent (4 of them in earlier sessions, by hwloop ledger); "
            "leave this device out, or raise the limit if its endurance is known to be higher"
        )
        chip.pulse(1, batch(1))  # another core's
    np.testing.assert_array_equal(life_of(ledger_file)[:3], [3, 5, 0])
    assert life_of(ledger_file, 1).sum() == 1


def test_a_batch_is_in_the_ledger_before_it_goes_out(ledger_file: Path) -> None:
    seen = []

    class Dying(Recorder):
        def _pulse(self, core, pulses):
            seen.append(life_of(ledger_file)[:2].tolist())
            raise ChipError("the link died")

    chip = Dying(FIVE)
    chip.lifetime = KeptLifetime(NAME, "lab:bench", FIVE)
    for _ in range(2):
        with pytest.raises(ChipError, match="the link died"):
            chip.pulse(0, batch(0))
    assert seen == [[1, 0], [2, 0]]
    np.testing.assert_array_equal(chip.pulse_counts(0).reshape(-1)[:2], [2, 0])


def test_what_is_refused_is_not_written_down(ledger_file: Path) -> None:
    with session() as chip, pytest.raises(LimitError):
        chip.pulse(0, Pulses.make(PulseKind.SET, [0], 900.0, 100.0))
    assert not ledger_file.exists()


def test_pulses_of_a_real_chip_do_not_go_out_without_the_ledger(
    ledger_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger_file.parent.mkdir()
    ledger_file.write_bytes(b"garbage " * 1000)
    with session() as chip:
        with pytest.raises(LedgerError, match="is damaged"):
            chip.pulse(0, batch(0))
        assert not chip.sent
        assert not chip.pulse_counts(0).any()
    ledger_file.unlink()
    monkeypatch.setattr(module, "SETTINGS", LedgerSettings(patience=0.05))
    with session() as chip:
        chip.pulse(0, batch(0))
        other = sqlite3.connect(ledger_file, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match="in use by another program"):
            chip.pulse(0, batch(0))
        other.execute("ROLLBACK")
        other.close()
        chip.pulse(0, batch(0))
    assert life_of(ledger_file)[0] == 2


def test_a_simulated_chip_goes_on_without_the_ledger_and_says_so_once(ledger_file: Path, open_chip: OpenChip) -> None:
    ledger_file.parent.mkdir()
    ledger_file.write_bytes(b"garbage " * 1000)
    chip = open_chip("sim:pcm-ideal?rows=4&columns=4")
    with pytest.warns(OutputWarning, match=r"is damaged .* the pulses of this session are not all in it"):
        chip.pulse(0, batch(0))
    chip.pulse(0, batch(0))  # a second warning would be an error
    chip.close()


def test_a_new_session_of_a_simulated_chip_is_a_new_life_and_its_state_goes_on_with_one(
    ledger_file: Path, open_chip: OpenChip
) -> None:
    uri = "sim:pcm-ideal?rows=4&columns=4&seed=5"
    budget = open_chip(uri).info.limits.pulses_per_device
    with hwloop.connect(uri) as chip:
        for _ in range(4):
            chip.pulse(0, batch(3))
        state = chip.export_state()
    state["ledger/0"][3] = budget - 1
    with hwloop.connect(uri) as chip:
        chip.pulse(0, batch(3))
        chip.import_state(state)
        chip.pulse(0, batch(3))
        with pytest.raises(LimitError, match=f"device 3: its budget of {budget} pulses is spent; leave"):
            chip.pulse(0, batch(3))
    life = hwloop.ledger(uri)
    assert life.chip.simulated
    assert life.chip.identity == "sim:pcm-ideal, serial simulated-5-" + life.chip.identity.rpartition("-")[2]
    assert life.pulses == 6
    assert life.cores[0].reshape(-1)[3] == 6


def test_many_batches_are_added_up_on_the_way(ledger_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SETTINGS", LedgerSettings(rows=3))
    info = dataclasses.replace(INFO, limits=PulseLimits(500.0, 20.0, 2000.0, pulses_per_device=100))
    chip = session(info)
    for _ in range(10):
        chip.pulse(0, batch(2))
    with sqlite3.connect(ledger_file) as database:
        assert database.execute("SELECT count(*) FROM ahead").fetchone() == (1,)
    database.close()
    assert life_of(ledger_file)[2] == 10
    chip.close()
