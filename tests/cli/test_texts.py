"""How `compare` reads its settings."""

from __future__ import annotations

import pytest

from hwloop.cli.compare import _settings_by_method
from hwloop.errors import BadInputError


def test_settings_are_sorted_by_method() -> None:
    found = _settings_by_method({"gdp.max_steps": "3", "sgd.batch": "64", "gdp.settle": "0.1"}, ["gdp", "sgd"])
    assert found == {"gdp": {"max_steps": "3", "settle": "0.1"}, "sgd": {"batch": "64"}}


@pytest.mark.parametrize("name", ["max_steps", "exact.age", "gdp", ".settle"])
def test_a_setting_without_one_of_the_methods_is_refused(name: str) -> None:
    with pytest.raises(BadInputError, match=f"--set {name}: expected METHOD.KEY=VALUE with a method out of gdp, sgd"):
        _settings_by_method({name: "1"}, ["gdp", "sgd"])
