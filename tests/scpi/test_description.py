"""The description of a chip, between instruments and drivers of different versions."""

from __future__ import annotations

import json

import pytest

import hwloop
from hwloop.chip.info import Capability
from hwloop.scpi.description import Description, decode, encode


@pytest.fixture(scope="module")
def told() -> Description:
    with hwloop.connect("sim:hermes-core?rows=4&columns=4") as chip:
        return Description(chip.info, True, 4096, 2**20)


def test_it_comes_back_as_it_was(told):
    assert decode(encode(told)) == told


def test_an_instrument_of_version_1_0_has_no_trims(told):
    """It neither names the capability nor sends `trims`; the chip works without."""
    whole = json.loads(encode(told))
    del whole["trims"]
    whole["chip"]["capabilities"].remove("converter-trims")
    info = decode(json.dumps(whole).encode()).info
    assert info.trims is None
    assert info.capabilities == told.info.capabilities - {Capability.TRIMS}


def test_a_driver_of_version_1_0_finds_nothing_new_within_the_chip(told):
    """It makes the chip of all that stands in `chip`, and would stumble over a field that it does not know."""
    known = "name serial cores rows columns devices_per_polarity input_bits output_bits g_max read_voltage adc_range"
    assert set(json.loads(encode(told))["chip"]) == {*known.split(), "limits", "capabilities", "device_model"}


def test_what_is_new_in_device_models_is_told_only_where_it_is_used(told):
    """A driver of an earlier version knows neither, and reads the description of a chip without them."""
    drift = json.loads(encode(told))["chip"]["device_model"]["drift"]
    assert set(drift) == {"kind", "t0", "g_scale", "mean", "spread"}
    with hwloop.connect("sim:hermes-core?rows=4&columns=4&drift_onset=2&pulse_noise=0.03") as chip:
        late = Description(chip.info, True, 4096, 2**20)
    assert decode(encode(late)) == late
    assert json.loads(encode(late))["chip"]["device_model"]["drift"]["law"]["onset"] == 2.0 / 200.0


def test_an_instrument_of_version_1_1_has_no_read_modes(told):
    whole = json.loads(encode(told))
    del whole["read_modes"]
    whole["chip"]["capabilities"].remove("read-mode")
    info = decode(json.dumps(whole).encode()).info
    assert info.read_modes == ()
    assert info.capabilities == told.info.capabilities - {Capability.READ_MODE}


@pytest.mark.parametrize(
    ("modes", "message"),
    [
        ([], "has read modes, and not which"),
        ([{"name": "fast"}], "seconds"),
        ([{"name": "fast", "seconds": -1.0}], "cannot be"),
        ([{"name": "fast", "seconds": 1.0, "colour": "red"}], "colour"),
        (3, "not iterable"),
    ],
)
def test_read_modes_that_cannot_be_are_refused(told, modes, message):
    whole = json.loads(encode(told)) | {"read_modes": modes}
    with pytest.raises(ValueError, match=message):
        decode(json.dumps(whole).encode())


@pytest.mark.parametrize(
    ("trims", "message"),
    [
        (None, "not how far they reach"),
        ({"offset_step": 1.0}, "missing"),
        ({"offset_step": 3.0, "offset_max": 8.0, "gain_step": 0.1, "gain_max": 0.1}, "no register"),
    ],
)
def test_trims_that_cannot_be_are_refused(told, trims, message):
    whole = json.loads(encode(told)) | {"trims": trims}
    with pytest.raises(ValueError, match=message):
        decode(json.dumps(whole).encode())
