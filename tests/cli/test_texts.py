"""What `evaluate` says of results that a simulated chip seldom gives, and how `compare` reads its settings."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from hwloop.cli.common import NO_MVM
from hwloop.cli.compare import _settings_by_method
from hwloop.cli.evaluate import _show
from hwloop.errors import BadInputError


def shown(capsys: pytest.CaptureFixture[str], **changes: object) -> list[str]:
    tiles = [("w", 3, 0.1), ("v", 4, math.nan)]
    values = {
        "tiles": [SimpleNamespace(tensor=tensor, core=core, mvm_error=error) for tensor, core, error in tiles],
        "calibration": "", "mvm_error_from": "mvm", "mvm_error": 0.1, "mvm_error_interval": (math.nan, math.nan),
        "mvm_error_in_run": 0.09, "mvm_error_interval_in_run": (0.085, 0.095), "moved": None,
    }  # fmt: skip
    _show(SimpleNamespace(**(values | changes)))
    return capsys.readouterr().out.splitlines()


def test_an_error_from_device_reads_is_said_to_be_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert NO_MVM not in shown(capsys)
    assert NO_MVM in shown(capsys, mvm_error_from="device-reads")


def test_what_is_known_is_said_and_no_more(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys)
    assert lines[0] == "core   3  w                        MVM error 0.1000"
    assert lines[1] == "core   4  v                        MVM error -"
    assert lines[2:] == ["", "MVM error 0.1000 now;", "0.0900 (95 %: 0.0850 to 0.0950) when it was programmed."]
    assert shown(capsys, mvm_error_in_run=math.nan)[-1] == "the run was stopped before it was measured."
    assert shown(capsys, moved=True)[-1].endswith("programmed: it has moved.")
    assert shown(capsys, moved=False)[-1].endswith("programmed: no change beyond noise.")
    assert "Outputs are read through the calibration c.h5." in shown(capsys, calibration="c.h5")


def test_settings_are_sorted_by_method() -> None:
    found = _settings_by_method({"gdp.max_steps": "3", "sgd.batch": "64", "gdp.settle": "0.1"}, ["gdp", "sgd"])
    assert found == {"gdp": {"max_steps": "3", "settle": "0.1"}, "sgd": {"batch": "64"}}


@pytest.mark.parametrize("name", ["max_steps", "exact.age", "gdp", ".settle"])
def test_a_setting_without_one_of_the_methods_is_refused(name: str) -> None:
    with pytest.raises(BadInputError, match=f"--set {name}: expected METHOD.KEY=VALUE with a method out of gdp, sgd"):
        _settings_by_method({name: "1"}, ["gdp", "sgd"])
