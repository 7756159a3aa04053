"""The life of a chip over runs, sessions and machines."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from torch import nn

import hwloop
from hwloop.errors import BadInputError
from hwloop.files import hdf5
from hwloop.jobs.ledger import known_chips
from tests.conftest import OpenChip, gaussian

CHIP = "sim:hermes-core?rows=16&columns=16&seed=3"
METHOD = hwloop.GDP(max_steps=2)


@pytest.fixture
def run(ledger_file: Path, tmp_path: Path) -> hwloop.Run:
    """A run of its own session, in run.h5."""
    with hwloop.connect(CHIP) as chip:
        return hwloop.program(chip, gaussian(8, 8), METHOD, out=tmp_path / "run.h5")


def test_the_life_is_what_all_runs_sent(run: hwloop.Run, tmp_path: Path) -> None:
    with hwloop.connect(CHIP) as chip:
        again = hwloop.program(chip, gaussian(8, 8, seed=1), METHOD)
        life = hwloop.ledger(chip)
    expected = np.zeros((2, 2, 16, 16), int)
    for one in (run, again):
        expected[:, :, :8, :8] += one.tiles[0].pulses
    np.testing.assert_array_equal(life.cores[0], expected)
    assert life.pulses == expected.sum() > 100
    assert life.most == expected.max()
    assert [session.pulses for session in life.sessions] == [one.tiles[0].pulses.sum() for one in (run, again)]
    assert repr(life).startswith("<Life of sim:hermes-core, serial simulated-3-")
    assert hwloop.ledger(life.chip.identity).pulses == life.pulses
    assert [chip.identity for chip in known_chips()] == [life.chip.identity]
    told = life.to_json()
    assert told["pulses"] == told["cores"][0]["pulses"] == life.pulses
    life.save(tmp_path / "life.npz")
    np.testing.assert_array_equal(np.load(tmp_path / "life.npz")["core_0"], expected)
    with pytest.raises(BadInputError, match=r"written as \.npz"):
        life.save(tmp_path / "life.txt")


def test_a_run_of_another_machine_is_counted_once(run: hwloop.Run, tmp_path: Path) -> None:
    here, file = tmp_path / "other machine.sqlite", tmp_path / "run.h5"
    pulses = int(run.tiles[0].pulses.sum())
    assert hwloop.ledger(CHIP, path=here).pulses == 0
    shutil.copy(file, tmp_path / "copy.h5")
    life = hwloop.ledger(CHIP, path=here, merge=[file, tmp_path / "copy.h5"])
    assert (life.pulses, life.merged_runs, len(life.sessions)) == (pulses, 1, 0)
    assert hwloop.ledger(CHIP, path=here, merge=[file]).pulses == pulses
    assert hwloop.ledger(CHIP, merge=[file]).pulses == pulses, "this machine has seen it itself"


def test_all_runs_of_a_comparison_are_merged(ledger_file: Path, tmp_path: Path, open_chip: OpenChip) -> None:
    made = hwloop.compare(CHIP, gaussian(8, 8), [METHOD, "exact"], repeats=2, out=tmp_path / "c.h5")
    pulses = sum(int(run.tiles[0].pulses.sum()) for run in made.runs["gdp"])
    life = hwloop.ledger(CHIP, path=tmp_path / "other.sqlite", merge=[tmp_path / "c.h5"])
    assert (life.pulses, life.merged_runs) == (pulses, 4)
    assert hwloop.ledger(CHIP).pulses == pulses


def test_the_run_of_a_network_is_merged(tmp_path: Path, open_chip: OpenChip) -> None:
    out, chip = tmp_path / "net.h5", open_chip(CHIP)
    settings = hwloop.Deployment(out=out)
    hwloop.deploy(nn.Linear(12, 8), chip, gaussian(40, 12).astype(np.float32), METHOD, settings=settings)
    life = hwloop.ledger(CHIP, path=tmp_path / "other.sqlite", merge=[out, out])
    assert life.merged_runs == 1
    assert life.pulses == sum(int(chip.pulse_counts(core).sum()) for core in range(chip.info.cores)) > 0


def test_runs_of_other_chips_and_files_without_pulses_are_refused(run: hwloop.Run, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"run\.h5 is of the chip 'sim:hermes-core, .*', not of 'sim:pcm-ideal"):
        hwloop.ledger("sim:pcm-ideal", merge=[tmp_path / "run.h5"])
    for change, complaint in (
        (lambda file: file["tiles/0000"].pop("pulses"), "holds no pulses yet"),
        (lambda file: file["provenance"].attrs.pop("run_id"), "does not say which chip"),
        (lambda file: file["tiles/0000"].attrs.modify("core", 9), "cannot have received"),
        (lambda file: file["tiles/0000"].attrs.modify("row", 9), "cannot have received"),
        (lambda file: file["tiles/0000"].attrs.modify("row", -8), "cannot have received"),
        (lambda file: _pulses(file, np.full((2, 2, 8, 8), 2**63, np.uint64)), "cannot have received"),
        (lambda file: _pulses(file, np.ones(1, np.int32)), "cannot have received"),
    ):
        shutil.copy(tmp_path / "run.h5", tmp_path / "changed.h5")
        with h5py.File(tmp_path / "changed.h5", "r+") as file:
            change(file)
        with pytest.raises(BadInputError, match=complaint):
            hwloop.ledger(CHIP, path=tmp_path / "other.sqlite", merge=[tmp_path / "changed.h5"])
    assert hwloop.ledger(CHIP, path=tmp_path / "other.sqlite").pulses == 0


def _pulses(file: h5py.File, values: NDArray[Any]) -> None:
    """Put other pulses in the place of those of the first tile."""
    del file["tiles/0000/pulses"]
    hdf5.put(file["tiles/0000"], "pulses", values, "1", "")


def test_a_life_never_turns_over_to_less(run: hwloop.Run, tmp_path: Path) -> None:
    most, here = np.iinfo(np.int32).max, tmp_path / "other.sqlite"
    for number in range(3):
        shutil.copy(tmp_path / "run.h5", other := tmp_path / f"{number}.h5")
        with h5py.File(other, "r+") as file:
            file["provenance"].attrs["run_id"] = str(number)
            _pulses(file, np.full((2, 2, 8, 8), most, np.int32))
        assert hwloop.ledger(CHIP, path=here, merge=[other]).most == most


def test_what_is_neither_a_chip_nor_known_is_said(run: hwloop.Run) -> None:
    with pytest.raises(BadInputError, match=r"'bench 7' is neither a backend URI nor a chip of .*ledger\.sqlite"):
        hwloop.ledger("bench 7")
