"""How long each part of a calibration is valid."""

from __future__ import annotations

from datetime import timedelta

from hwloop.calibration.certificate.layout import KINDS
from hwloop.calibration.certificate.validity import VALIDITY


def test_every_part_is_valid_for_so_many_days() -> None:
    days = {
        "devices": 90, "converters": 7, "gains": 7, "programming_curve": 30, "trims": 3650, "wires": 3650,
        "ranges": 3650, "floor": 7, "drift": 365, "symmetry_point": 30,
    }  # fmt: skip
    assert {name: part.span for name, part in VALIDITY.items()} == {name: timedelta(n) for name, n in days.items()}
    assert VALIDITY.keys() == set(KINDS)
