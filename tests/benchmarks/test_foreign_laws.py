"""Data of foreign laws, a small part of the benchmark: noticed, and foretold by the alternative."""

from __future__ import annotations

import foreign_laws
import numpy as np
import pytest

from hwloop.calibration.fitting.drift import CurvedDrift, OnsetDrift
from hwloop.errors import BadInputError

pytestmark = pytest.mark.numerical

DEVICES = 600


@pytest.mark.parametrize("law", ["onset at 300 s", "step of 8 %", "bimodal nu", "telegraph in 41 %"])
def test_a_foreign_law_is_noticed(law: str) -> None:
    measured, _ = foreign_laws.parted(foreign_laws.LAWS[law](foreign_laws.drawn(1, DEVICES)))
    assert foreign_laws.warnings_of(measured)


def test_a_power_law_is_not() -> None:
    measured, _ = foreign_laws.parted(foreign_laws.power_law(foreign_laws.drawn(1, DEVICES)))
    assert foreign_laws.warnings_of(measured) == ""
    with pytest.raises(BadInputError, match="show no law but the power law"):
        OnsetDrift().prepare(measured)


def test_the_alternative_says_the_onset_and_foretells_a_hundred_times_later() -> None:
    whole = foreign_laws.onset(foreign_laws.drawn(2, DEVICES))
    measured, later = foreign_laws.parted(whole)
    fitted, _ = OnsetDrift().fit(measured)
    onset = next(row for row in fitted.record.parameters if row.name == "law.onset")
    assert onset.low is not None
    assert onset.high is not None
    sigma = np.log(onset.high / onset.low) / 3.92
    assert abs(np.log(onset.value / 300.0)) < 3.3 * sigma
    # 600 reads: a share of 90 % has a standard deviation of 1.2 %.
    assert 0.85 < foreign_laws.foretold(OnsetDrift(), measured, later) < 0.95


def test_curvature_is_found_whether_devices_share_it_or_not() -> None:
    for law, curvature, bend in (("curvature", 0.04, 0.0), ("curvature alike", 0.0, 0.002)):
        measured, _ = foreign_laws.parted(foreign_laws.LAWS[law](foreign_laws.drawn(3, DEVICES)))
        table, _ = CurvedDrift().prepare(measured)
        sigma = np.sqrt(np.diag(table.law_error))
        assert abs(table.law.curvature - curvature) < 3.5 * sigma[1]
        assert abs(table.law.bend - bend) < 3.5 * sigma[2]
        assert sigma[1] < 0.01
