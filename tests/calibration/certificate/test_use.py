"""Which calibration the outputs of a run are read through, and what a region gets of it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hwloop.calibration.certificate.certificate import Calibration
from hwloop.calibration.certificate.use import calibration_of_run, region_of, use_calibration
from hwloop.chip.info import Capability
from hwloop.chip.region import Place
from hwloop.errors import BadInputError, CalibrationWarning
from hwloop.files.hashing import fingerprint
from hwloop.mapping.tile import Tile
from tests.calibration import made_up
from tests.calibration.specimen import lacking
from tests.conftest import OpenChip

CHIP = "sim:hermes-core?rows=16&columns=12&seed=1"


@pytest.fixture
def file(open_chip: OpenChip, tmp_path: Path) -> Path:
    """A calibration file beside the run `runs/a.h5`."""
    (tmp_path / "runs").mkdir()
    path = tmp_path / "runs" / "chip.cal.h5"
    made_up.calibration(open_chip(CHIP)).save(path)
    return path


def run_with(file: Path, name: str | None, sha256: str = "") -> SimpleNamespace:
    """What a run record says of its calibration."""
    provenance = SimpleNamespace(calibration=name, calibration_sha256=sha256)
    return SimpleNamespace(name=str(file.parent / "a.h5"), provenance=provenance)


def test_a_run_without_a_calibration_needs_none(file: Path) -> None:
    assert calibration_of_run(run_with(file, None), None) is None


def test_the_file_of_its_name_beside_the_run_is_taken_wherever_it_lay_then(file: Path) -> None:
    found = calibration_of_run(run_with(file, "/elsewhere/then/chip.cal.h5", fingerprint(file)), None)
    assert found is not None
    assert found[0] == str(file)
    assert isinstance(found[1], Calibration)


def test_another_file_of_that_name_is_refused(file: Path) -> None:
    with pytest.raises(BadInputError, match=r"the file of that name beside .* is another one: pass it with"):
        calibration_of_run(run_with(file, "chip.cal.h5", "0" * 64), None)


def test_a_calibration_that_is_not_there_is_refused(file: Path) -> None:
    with pytest.raises(BadInputError, match=r"'other\.cal\.h5', .* it does not lie beside"):
        calibration_of_run(run_with(file, "other.cal.h5", fingerprint(file)), None)


def test_a_file_that_is_given_is_taken_whatever_the_run_says(file: Path) -> None:
    for run in (run_with(file, None), run_with(file, "other.cal.h5", "0" * 64)):
        found = calibration_of_run(run, str(file))
        assert found is not None
        assert found[0] == str(file)


def test_a_region_knows_its_cells_and_has_the_tiles_range_where_the_chip_can_set_one(open_chip: OpenChip) -> None:
    tile = Tile("w", Place(0, 4, 2, 8, 5), 0, 0, np.ones((8, 5)), np.ones(5), 30.0)
    able, unable = open_chip(CHIP), lacking(CHIP, Capability.ADC_RANGE)
    calibration = made_up.calibration(able)
    region = region_of(able, tile, calibration)
    assert region.step == pytest.approx(30.0 / able.info.code_max)
    assert region.calibration.converters is not None
    np.testing.assert_array_equal(region.calibration.converters.offset, calibration.cores[0].converters.offset[2:7])
    own = region_of(unable, tile)
    assert own.step == pytest.approx(unable.adc_range(0) / unable.info.code_max)
    assert own.step != region.step
    assert own.calibration.converters is None


def test_a_calibration_in_use_warns_of_what_is_out_of_date_and_has_its_trims(open_chip: OpenChip) -> None:
    chip = open_chip(CHIP)
    calibration = made_up.calibration(chip)  # of a date long past
    with pytest.warns(CalibrationWarning) as told:
        use_calibration(calibration, chip)
    assert any("the part 'converters' is of 2026-01-02 and should hold for 7 days" in str(one.message) for one in told)
    offset, gain = chip.trims(0)
    np.testing.assert_array_equal(offset, calibration.cores[0].trims.offset)
    np.testing.assert_allclose(gain, calibration.cores[0].trims.gain, atol=0.002 + 1e-9)  # half a step
