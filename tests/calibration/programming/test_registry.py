"""Methods by name, with settings as texts."""

from __future__ import annotations

import dataclasses

import pytest

from hwloop.calibration.programming.base import Method
from hwloop.calibration.programming.gdp import GDP
from hwloop.calibration.programming.program_verify import ProgramVerify
from hwloop.calibration.programming.registry import METHODS, method_from
from hwloop.errors import BadInputError


def test_every_entry_point_has_the_name_of_its_class() -> None:
    assert METHODS.names() == ["exact", "gdp", "iterative", "sgd"]
    assert [METHODS.find(name).name for name in METHODS.names()] == METHODS.names()
    assert all(issubclass(METHODS.find(name), Method) for name in METHODS.names())


def test_settings_are_the_fields_of_the_method() -> None:
    assert method_from("gdp") == GDP()
    assert method_from("gdp", {"max_steps": "7", "settle": "0.5"}) == GDP(max_steps=7, settle=0.5)
    chosen = method_from("iterative", {"gain": "0.8"})
    assert chosen == ProgramVerify(gain=0.8)
    assert "name" not in dataclasses.asdict(chosen)
    assert dataclasses.asdict(chosen)["gain"] == 0.8
    assert dataclasses.asdict(method_from("exact")) == {}


@pytest.mark.parametrize(
    ("name", "texts", "message"),
    [
        ("iterativ", {}, "unknown method 'iterativ'; did you mean 'iterative'\\? known: exact, gdp, iterative, sgd"),
        ("gdp", {"tolerance": "1"}, "method gdp: unknown setting 'tolerance'; known: max_vectors, max_steps"),
        ("exact", {"gain": "1"}, "method exact: unknown setting 'gain'; known: none, it has no settings"),
        ("iterative", {"gain": "3"}, "method iterative: setting gain=3 is outside 0.01 to 2"),
        ("sgd", {"batch": "1.5"}, "method sgd: setting batch=1.5: expected a whole number"),
        ("gdp", {"outlier": "0"}, "method gdp: setting outlier=0 is outside 0.1 to 1000"),
    ],
)
def test_what_a_method_refuses_is_said_with_its_name(name: str, texts: dict[str, str], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        method_from(name, texts)


RANGES = {
    ("gdp", "max_vectors"): (64, 1e9),
    ("gdp", "max_steps"): (1, 10_000),
    ("gdp", "max_pulses_per_device"): (1, 1_000_000),
    ("gdp", "settle"): (0, 100),
    ("gdp", "chip_seconds"): (0, 1e9),
    ("gdp", "min_gain"): (0, 100),
    ("gdp", "patience"): (0, 100),
    ("gdp", "min_vectors"): (1, 1e6),
    ("gdp", "open_loop_passes"): (0, 10),
    ("iterative", "contradiction"): (0, 1),
    ("iterative", "pilot_cells"): (0, 10**9),
    ("gdp", "drive"): (0.01, 1),
    ("gdp", "mean_gain"): (0.1, 10),
    ("gdp", "outlier"): (0.1, 1000),
    ("gdp", "pilot_cells"): (0, 10**9),
    ("gdp", "unresponsive_pulses"): (1, 100),
    ("iterative", "averages"): (1, 2**16),
    ("iterative", "tolerance"): (0, 1000),
    ("iterative", "gain"): (0.01, 2),
    ("iterative", "max_pulses_per_device"): (1, 1_000_000),
    ("iterative", "max_steps"): (1, 10_000),
    ("iterative", "settle"): (0, 100),
    ("iterative", "unresponsive_pulses"): (1, 100),
    ("iterative", "monitor_vectors"): (3, 1e6),
    ("sgd", "max_vectors"): (64, 1e9),
    ("sgd", "batch"): (16, 1e6),
    ("sgd", "learning_rate"): (1e-6, 2),
    ("sgd", "threshold"): (0, 100),
    ("sgd", "final_threshold"): (0, 100),
    ("sgd", "calibrate_every"): (1, 10_000),
    ("sgd", "settle"): (0, 100),
}


def test_every_setting_has_its_range() -> None:
    fields = {(name, field.name) for name in METHODS.names() for field in dataclasses.fields(METHODS.find(name))}
    assert fields == set(RANGES)


@pytest.mark.parametrize(("setting", "limits"), RANGES.items(), ids=lambda value: ".".join(map(str, value)))
def test_a_setting_is_taken_up_to_the_ends_of_its_range(setting: tuple[str, str], limits: tuple[float, float]) -> None:
    method, name = METHODS.find(setting[0]), setting[1]
    kind = type(getattr(method, name))
    for end, beyond in zip(limits, (-1, 1), strict=True):
        assert getattr(method(**{name: kind(end)}), name) == end
        step = 1 if kind is int else 1e-9 + 1e-3 * end
        with pytest.raises(BadInputError, match=f"setting {name}=.* is outside"):
            method(**{name: kind(end + beyond * step)})
