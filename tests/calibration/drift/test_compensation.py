"""Compensations as objects: what they remember, when they warn, and how they are kept."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from hwloop.calibration.drift.compensation import Compensation, CompensationWarning, far_apart
from hwloop.calibration.drift.digital import ColumnAffine, GlobalFactor
from hwloop.calibration.drift.strategy import uncompensated
from hwloop.errors import BadInputError
from hwloop.files import hdf5
from tests.calibration.drift.specimen import (
    NOISY,
    programmed,
    programmed_tile,
)
from tests.conftest import OpenChip


def test_a_compensation_knows_its_circumstances(open_chip: OpenChip) -> None:
    chip = open_chip(NOISY + "&temperature=310")
    run = programmed(chip, "exact")
    chip.wait(3600.0)
    tile = programmed_tile(run, seed=5)
    made = GlobalFactor(probes=64).make(tile, uncompensated(tile))
    assert made.made.temperature == 310.0
    assert made.made.chip_clock == chip.now()
    assert made.made.age == pytest.approx(chip.now() - tile.origin.end)
    assert (made.made.inputs, made.made.vectors, made.made.seed) == ("uniform integers", 64, (5, 0, 4))
    assert (made.mvms, made.pulses) == (64, 0)
    assert made.made.age < made.valid_until
    assert "10%" in made.because


def test_another_temperature_warns_and_other_columns_are_refused(open_chip: OpenChip) -> None:
    tile = programmed_tile(programmed(open_chip(NOISY), "exact"))
    made = GlobalFactor().make(tile, uncompensated(tile))
    outputs = np.ones((2, 64))
    assert made.apply(outputs, temperature=303.0) == pytest.approx(made.gain * outputs)
    with pytest.warns(CompensationWarning, match="made at 300 K and the chip is at 330 K"):
        made.apply(outputs, temperature=330.0)
    with pytest.raises(BadInputError, match="64 columns"):
        made.apply(np.ones((2, 63)))


def test_a_compensation_is_read_back_as_it_was(open_chip: OpenChip, tmp_path: Path) -> None:
    tile = programmed_tile(programmed(open_chip(NOISY), "exact"))
    made = ColumnAffine().make(tile, uncompensated(tile))
    with hdf5.WholeFileWriter(tmp_path / "c.h5", hdf5.DRIFT_FORMAT) as writer:
        made.save(writer.file.create_group("one"))
        writer.file.create_group("none")
        writer.commit()
    with hdf5.open_file(tmp_path / "c.h5", hdf5.DRIFT_FORMAT) as file:
        read = Compensation.load(file["one"])
        with pytest.raises(BadInputError, match="/none is no compensation"):
            Compensation.load(file["none"])
    assert np.array_equal(read.gain, made.gain)
    assert np.array_equal(read.offset, made.offset)
    assert dataclasses.replace(read, gain=0, offset=0) == dataclasses.replace(made, gain=0, offset=0)


@pytest.mark.parametrize(
    ("then", "now", "far"),
    [(300.0, 304.9, False), (300.0, 305.1, True), (305.1, 300.0, True), (None, 400.0, False), (300.0, None, False)],
)
def test_temperatures_that_differ_by_five_kelvin_are_far_apart(then: float, now: float, far: bool) -> None:
    assert far_apart(then, now) == far
