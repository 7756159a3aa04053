"""Calibrations as files: what is written is read back, and what is not a whole calibration of this chip is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from hwloop.calibration.certificate.certificate import Calibration
from hwloop.calibration.certificate.validity import VALIDITY
from hwloop.chip.info import Capability
from hwloop.chip.region import Place
from hwloop.errors import BadInputError
from tests.calibration.specimen import calibrated, lacking, specimen
from tests.conftest import OpenChip

CHIP = "sim:hermes-core?rows=32&columns=32&stuck_rate=0.02&adc_gain_spread=0.05&seed=1"


@pytest.fixture
def known() -> Calibration:
    return calibrated(CHIP).calibration


@pytest.fixture
def path(known: Calibration, tmp_path: Path) -> Path:
    """A saved calibration."""
    known.save(tmp_path / "chip.cal.h5")
    return tmp_path / "chip.cal.h5"


# ---- files ---------------------------------------------------------------------------------------------------


def test_what_was_saved_is_read_back(known: Calibration, path: Path) -> None:
    read = Calibration.load(path)
    for field in dataclasses.fields(Calibration):
        if field.name not in ("cores", "created", "settings"):
            assert getattr(read, field.name) == getattr(known, field.name), field.name
    assert abs(read.created - known.created) < timedelta(seconds=1)
    for name, part in known.cores[0].parts().items():
        back = getattr(read.cores[0], name)
        for field in dataclasses.fields(part):
            before, after = getattr(part, field.name), getattr(back, field.name)
            # Arrays of devices are kept to seven digits.
            np.testing.assert_allclose(after, before, rtol=1e-6, atol=1e-6, err_msg=f"{name}/{field.name}")


def test_a_chip_that_cannot_tell_its_temperature(tmp_path: Path) -> None:
    calibration = specimen(lacking(CHIP, Capability.TEMPERATURE), "devices").calibration
    calibration.save(tmp_path / "x.h5")
    assert np.isnan(Calibration.load(tmp_path / "x.h5").temperature)


def test_every_dataset_has_units_and_a_sentence(path: Path) -> None:
    seen = []

    def look(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            seen.append(name)
            assert item.attrs["units"] in {"1", "uS", "uA", "ns", "s", "K", "LSB", "ohm"}, name
            assert len(item.attrs["description"]) > 10, name

    with h5py.File(path) as file:
        file.visititems(look)
        assert file["cores/0000/converters"].attrs["holds_for_days"] == VALIDITY["converters"].days
    assert len(seen) > 50


def test_an_existing_file_is_kept(known: Calibration, path: Path) -> None:
    with pytest.raises(BadInputError, match="exists; use --force"):
        known.save(path)
    known.save(path, force=True)


def damaged(change: Callable[[h5py.File], None]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            change(file)

    return damage


def remove(name: str) -> Callable[[Path], None]:
    return damaged(lambda file: file.__delitem__(name))


def replace(name: str, values: np.ndarray) -> Callable[[Path], None]:
    def change(file: h5py.File) -> None:
        attributes = dict(file[name].attrs)
        del file[name]
        file[name] = values
        file[name].attrs.update(attributes)

    return damaged(change)


BAD_FILES = {
    "truncated": (lambda p: p.write_bytes(p.read_bytes()[:20_000]), "is not a readable HDF5 file"),
    "empty": (lambda p: p.write_bytes(b""), "is not a readable HDF5 file"),
    "text": (lambda p: p.write_text("of yesterday"), "is not a readable HDF5 file"),
    "missing": (lambda p: p.unlink(), "no such file"),
    "folder": (lambda p: (p.unlink(), p.mkdir()), "is a folder"),
    "foreign": (damaged(lambda f: f.attrs.__delitem__("format")), "is no hwloop-calibration file"),
    "a run": (
        damaged(lambda f: f.attrs.__setitem__("format", "hwloop-run")),
        "is no hwloop-calibration file .*hwloop-run",
    ),
    "newer": (damaged(lambda f: f.attrs.__setitem__("format_version", 99)), "format version 99; .* upgrade it"),
    "no dataset": (remove("cores/0000/converters/offset"), "converters has no dataset 'offset'"),
    "no chip": (remove("chip"), "not a whole calibration file"),
    "no clock": (remove("clock"), "has no dataset 'clock'"),
    "no date": (damaged(lambda f: f.attrs.__delitem__("created")), "not a whole calibration file"),
    "no JSON": (damaged(lambda f: f.attrs.__setitem__("skipped_json", "{")), "not a whole calibration file"),
    "no dates": (damaged(lambda f: f.attrs.__setitem__("dates_json", "{}")), "not a whole calibration file .*devices"),
    "local date": (
        damaged(lambda f: f.attrs.__setitem__("created", "2026-01-01T00:00:00")),
        "not a whole calibration file .*time zone",
    ),
    "wrong units": (
        damaged(lambda f: f["cores/0000/programming_curve/midpoint"].attrs.__setitem__("units", "mA")),
        "programming_curve/midpoint has units 'mA', expected 'uA'",
    ),
    "no units": (
        damaged(lambda f: f["cores/0000/devices/high"].attrs.__delitem__("units")),
        "devices/high has units 'None', expected 'uS'",
    ),
    "wrong shape": (replace("cores/0000/converters/offset", np.zeros(31)), r"converters/offset has the shape \(31,\)"),
    "wrong core": (damaged(lambda f: f.move("cores/0000", "cores/0007")), "core 7 .* has 1 core"),
    "another number": (replace("cores/0000/converters/offset", np.ones(32)), "changed since it was written"),
    "another date": (
        damaged(lambda f: f.attrs.__setitem__("created", "2026-01-01T00:00:00+00:00")),
        "changed since it was written",
    ),
    "no checksum": (damaged(lambda f: f.attrs.__delitem__("sha256")), "not a whole calibration file"),
    "NaN": (replace("cores/0000/gains/gain", np.full(32, np.nan)), "gains/gain .* not finite"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_files_that_are_no_calibration(path: Path, kind: str) -> None:
    damage, complaint = BAD_FILES[kind]
    damage(path)
    with pytest.raises(BadInputError, match=complaint) as caught:
        Calibration.load(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


# ---- whose it is, and until when -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (CHIP.replace("seed=1", "seed=2"), "serial"),
        (CHIP.replace("stuck_rate=0.02", "stuck_rate=0.01"), "serial"),
        (CHIP.replace("hermes-core", "pcm-90nm"), "name"),
        (CHIP + "&adc_bits=6", "serial"),
    ],
)
def test_another_chip_is_refused(known: Calibration, open_chip: OpenChip, other: str, what: str) -> None:
    with pytest.raises(BadInputError, match=rf"is for sim:hermes-core .*\({what}: .*calibrate this chip with hwloop"):
        known.for_chip(open_chip(other))


def test_the_same_chip_at_another_temperature_warns(known: Calibration, open_chip: OpenChip) -> None:
    assert known.for_chip(open_chip(CHIP + "&temperature=309")) == []
    (warning,) = known.for_chip(open_chip(CHIP + "&temperature=320"))
    assert warning.startswith("the chip is at 320.0 K, the calibration was made at 300.0 K")


@pytest.mark.parametrize(
    ("days", "stale"),
    [
        (6, set()),
        (8, {"converters", "gains", "floor"}),
        (4000, set(VALIDITY) - {"drift", "symmetry_point"}),
    ],  # measured by MVMs alone
)
def test_what_is_out_of_date_warns(known: Calibration, open_chip: OpenChip, days: float, stale: set[str]) -> None:
    warnings = known.for_chip(open_chip(CHIP), known.created + timedelta(days=days))
    assert {warning.split("'")[1] for warning in warnings} == stale


@pytest.mark.parametrize("part", ["created", "devices"])
@pytest.mark.parametrize(
    ("moment", "complaint"),
    [(datetime(9500, 1, 1, tzinfo=UTC), "beyond the calendar"), (datetime(2026, 1, 1), "without a time zone")],
)
def test_one_date_that_cannot_be_is_enough(known: Calibration, part: str, moment: datetime, complaint: str) -> None:
    wrong = {"created": moment} if part == "created" else {"dates": {**known.dates, part: moment}}
    with pytest.raises(ValueError, match=complaint):
        dataclasses.replace(known, **wrong)._check()
    known._check()


def test_a_date_in_the_future_warns(known: Calibration, open_chip: OpenChip) -> None:
    (warning,) = known.for_chip(open_chip(CHIP), known.created - timedelta(hours=1))
    assert "in the future: check the clocks" in warning


def test_now_is_the_default(known: Calibration, open_chip: OpenChip) -> None:
    old = dataclasses.replace(known, dates=dict.fromkeys(known.dates, datetime.now(UTC) - timedelta(days=10)))
    assert len(old.for_chip(open_chip(CHIP))) == 3


# ---- what it tells -------------------------------------------------------------------------------------------


def test_a_rectangle_of_cells_gets_its_own_rows_and_columns(known: Calibration, open_chip: OpenChip) -> None:
    info = open_chip(CHIP).info
    whole = known.of_cells(Place(0, 0, 0, 32, 32), info)
    part = known.of_cells(Place(0, 5, 8, 10, 4), info)
    assert np.array_equal(part.converters.offset, whole.converters.offset[8:12])
    assert np.array_equal(part.converters.row_nonlinearity, whole.converters.row_nonlinearity[:, 5:15])
    assert np.array_equal(part.devices.shift, whole.devices.shift[:, :, 5:15, 8:12])
    assert np.array_equal(part.devices.usable, whole.devices.usable[:, :, 5:15, 8:12])


def test_held_conductances_have_no_gain_of_a_column(known: Calibration, open_chip: OpenChip) -> None:
    info = open_chip(CHIP).info
    devices, core = known.of_cells(Place(0, 0, 0, 32, 32), info).devices, known.cores[0]
    bad = ~core.devices.usable & (core.devices.low > 5)
    expected = (core.devices.low / core.gains.gain)[bad]
    assert len(expected) > 10
    np.testing.assert_allclose(devices.stuck_at[bad], expected)


def test_a_core_that_was_not_calibrated_is_unknown(known: Calibration, open_chip: OpenChip) -> None:
    knowledge = known.of_cells(Place(3, 0, 0, 8, 8), open_chip(CHIP).info)
    assert knowledge.converters is None
    assert knowledge.devices is None


def test_faults_alone_come_with_the_nominal_model(open_chip: OpenChip) -> None:
    found = calibrated(CHIP, "devices")
    devices = found.calibration.of_cells(Place(0, 0, 0, 32, 32), found.chip.info).devices
    assert devices.model == found.chip.info.device_model
    assert np.array_equal(devices.usable, found.core.devices.usable)


@pytest.mark.parametrize(("minutes", "warned"), [(4.9, False), (5.1, True)])
def test_clocks_may_be_five_minutes_apart(known: Calibration, minutes: float, warned: bool) -> None:
    told = known.out_of_date(known.created - timedelta(minutes=minutes))
    assert any("in the future" in one for one in told) == warned


@pytest.mark.parametrize(
    ("there", "here", "warned"),
    [(300.0, 309.9, False), (300.0, 310.1, True), (310.1, 300.0, True), (np.nan, 400.0, False), (300.0, None, False)],
)
def test_ten_kelvin_are_too_far_where_both_temperatures_are_known(
    known: Calibration, there: float, here: float | None, warned: bool
) -> None:
    can = frozenset() if here is None else frozenset({Capability.TEMPERATURE})

    def temperature() -> float:
        assert here is not None, "a chip without a thermometer was asked"
        return here

    chip = SimpleNamespace(info=SimpleNamespace(capabilities=can), temperature=temperature)
    told = dataclasses.replace(known, temperature=there).away_from(chip)  # type: ignore[arg-type]
    assert bool(told) == warned
    assert all(f"the chip is at {here:.1f} K, the calibration was made at {there:.1f} K" in one for one in told)
