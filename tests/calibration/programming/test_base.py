"""What programming methods share: settings from text, ages."""

from __future__ import annotations

import numpy as np
import pytest

from hwloop.calibration.programming.gdp import GDP
from hwloop.devices.drift import Aging, DriftModel
from hwloop.devices.statistics import Polynomial
from hwloop.errors import BadInputError

DRIFT = DriftModel(t0=20.0, g_scale=25.0, mean=Polynomial((0.06,)), spread=Polynomial((0.01,)))


def test_settings_from_text_take_the_kind_of_their_default() -> None:
    assert GDP.parse({"max_steps": "7", "settle": "0.5"}) == GDP(max_steps=7, settle=0.5)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ({"steps": "7"}, "unknown setting 'steps'; did you mean 'max_steps'\\? known: max_vectors"),
        ({"max_steps": "many"}, "max_steps=many: expected a whole number"),
        ({"settle": "long"}, "settle=long: expected a number"),
        ({"settle": "-1"}, "settle=-1 is outside 0 to 100"),
    ],
)
def test_bad_settings_are_named(pairs: dict[str, str], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        GDP.parse(pairs)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"settle": "1"}, "setting settle='1': expected a number"),
        ({"max_steps": 2.5}, "setting max_steps=2.5: expected a whole number"),
        ({"settle": float("nan")}, "setting settle=nan is outside"),
    ],
)
def test_settings_made_in_python_are_checked_too(values: dict[str, object], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        GDP(**values)


def test_expected_ageing_is_the_power_law() -> None:
    g = np.array([5.0, 20.0])
    assert Aging(DRIFT).factor(g, 2000.0) == pytest.approx(100**-0.06)
    assert Aging(DRIFT).log_spread(g, 20.0, 2000.0) == pytest.approx(0.01 * np.log(100))


def test_without_a_drift_model_nothing_is_corrected() -> None:
    g = np.array([5.0, 20.0])
    assert np.array_equal(Aging(None).factor(g, 1e6), [1.0, 1.0])
    assert np.array_equal(Aging(None).log_spread(g, 1.0, 1e6), [0.0, 0.0])
