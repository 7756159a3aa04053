"""Steps are understood, never executed: what they may say, and one line for all they may not."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from hwloop.drivers.bench.adapters.maps import MatrixMap, check_map
from hwloop.drivers.bench.adapters.packages import Pymeasure
from hwloop.drivers.bench.adapters.ready import PULSE_GENERATORS, SOURCE_METERS, SWITCH_MATRICES
from hwloop.drivers.bench.adapters.steps import understand
from hwloop.drivers.bench.roles import MatrixRating
from hwloop.errors import BadInputError

READY = {**SOURCE_METERS, **PULSE_GENERATORS, **SWITCH_MATRICES}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a.b = 2 * volts + 0.5", 3.5),
        ("a.b = -volts / 3", -0.5),
        ("a.b = 'HIMP'", "HIMP"),
        ("a.b = ':LIM {volts}'", ":LIM 1.5"),
        ("channels[1].output = True", True),
        ("x = None", None),
    ],
)
def test_a_value_is_worked_out_from_the_words(text: str, value: object) -> None:
    assert understand(text, ("volts",)).value({"volts": 1.5}) == value


def test_a_call_gets_its_arguments_on_the_object_that_its_path_leads_to() -> None:
    heard: list[object] = []
    channel = SimpleNamespace(apply=lambda *given, **named: heard.append((given, named)))
    instrument = SimpleNamespace(channels={"a": channel})
    step = understand("channels['a'].apply(volts, 'DC', fast=False)", ("volts",))
    Pymeasure().read(instrument, step, {"volts": 0.2})
    assert heard == [((0.2, "DC"), {"fast": False})]
    assert step.words == {"volts"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("__class__.__base__", "'__class__' is not public"),
        ("a._write('x')", "'_write' is not public"),
        ("write(open('x'))", "a value is a number"),
        ("write(volts.real)", "a value is a number"),
        ("__import__('os').system('x')", "expected attributes of the instrument"),
        ("a = b", "'b' is no word of this operation; known: volts; texts stand in quotes"),
        ("write('{name}')", "'name' is no word"),
        ("write('{volts.real}')", "'volts.real' is no word"),
        ("a = 1; b = 2", "expected one assignment"),
        ("a = b = 1", "expected one assignment"),
        ("import os", "expected one assignment"),
        ("a += 1", "expected one assignment"),
        ("a = volts ** 9", "a value is a number"),
        ("write(**{})", "'**' is not understood"),
        ("a[volts] = 1", "expected attributes"),
        ("a[0] = 1", "name an attribute"),
        ("a = [1]", "a value is a number"),
        ("a = (", "was never closed"),
        ("a = '{'", "Single '{' encountered"),
        ("", "expected one assignment"),
    ],
)
def test_nothing_else_is_a_step(text: str, message: str) -> None:
    with pytest.raises(BadInputError) as caught:
        understand(text, ("volts",))
    assert message in str(caught.value)
    assert "is no step: " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("driver", READY)
def test_the_maps_that_come_with_hwloop_are_understood(driver: str) -> None:
    one = READY[driver]
    for channel in one.channels:
        check_map(one.map, channel, driver)


@pytest.mark.parametrize(
    ("name", "fine"), [("{row_number},{column}", True), ("{slot}", False), ("{pin}{column}", False), ("{", False)]
)
def test_a_crosspoint_needs_a_name_that_tells_its_column(name: str, fine: bool) -> None:
    given = MatrixMap(MatrixRating("AB", 4, 1), (), ("close(name)",), ("open_all()",), "closed", name)
    if fine:
        check_map(given, "1", "matrix, map")
    else:
        with pytest.raises(BadInputError, match=r"matrix, map, name: .* names no crosspoint"):
            check_map(given, "1", "matrix, map")
