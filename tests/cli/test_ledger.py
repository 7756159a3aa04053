"""`hwloop ledger`: chips, their pulses, and runs of other machines."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np

from tests.cli.conftest import BRIEF, CHIP, Command

NAME = "sim:hermes-core, serial simulated-1-"


def test_a_chip_is_listed_and_shown_after_its_first_run(command: Command, ledger_file: Path) -> None:
    assert "No chip has received a pulse yet." in command("ledger").stdout
    assert "No device has received a pulse yet." in command("ledger", CHIP).stdout
    assert command("program", "w.npy", *BRIEF, "--out", "run.h5").exit_code == 0
    listed = command("ledger").stdout
    assert NAME in listed
    assert re.search(rf"{re.escape(CHIP)} +simulated", listed)
    shown = command("ledger", CHIP)
    assert shown.exit_code == 0
    assert "10,000 pulses a device, recorded, not enforced: the chip is simulated" in shown.stdout
    assert str(ledger_file) in shown.stdout.replace("\n", "")
    told = json.loads(command("ledger", CHIP, "--json", "--out", "life.npz").stdout)
    assert told["pulses"] == np.load("life.npz")["core_0"].sum() > 100
    assert told["sessions"][0]["pulses"] == told["pulses"]
    assert json.loads(command("ledger", "--json").stdout)["chips"][0]["backend"] == CHIP


def test_a_run_is_merged_into_another_ledger(command: Command, ledger_file: Path) -> None:
    assert command("program", "w.npy", *BRIEF, "--out", "run.h5").exit_code == 0
    pulses = json.loads(command("ledger", CHIP, "--json").stdout)["pulses"]
    for _ in range(2):
        merged = command("ledger", CHIP, "--ledger", "b.sqlite", "--merge", "run.h5", "--json")
        assert json.loads(merged.stdout)["pulses"] == pulses


def test_wrong_use_is_one_line(command: Command, ledger_file: Path) -> None:
    result = command("ledger", "--merge", "run.h5")
    assert result.exit_code == 2
    assert result.stderr == "error: name the chip whose pulses are meant: hwloop ledger CHIP\n"
    ledger_file.parent.mkdir()
    ledger_file.write_bytes(b"garbage " * 500)
    result = command("ledger")
    assert result.exit_code == 3
    assert result.stderr.startswith(f"error: the ledger {ledger_file} is damaged")
    assert result.stderr.count("\n") == 1
