"""Settings as texts and as numbers, and those of an evaluation: their defaults and bounds."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pytest

import hwloop
from hwloop.calibration.coresets import CoresetSettings
from hwloop.calibration.evaluation import Evaluation
from hwloop.calibration.settings import Settings
from hwloop.errors import BadInputError
from tests.calibration import bounds

BOUNDS: bounds.Bounds = {
    CoresetSettings: {
        "shares": (1, 64, 10_000),
        "fewest": (2, 64, 1_000_000),
        "fewest_bits": (2, 3, 16),
        "most_bits": (2, 12, 16),
        "weight_bits": (2, 8, 16),
        "uniform": (0.0, 0.2, 1.0),
        "kept": (0.0, 0.5, 1.0),
        "tail": (0.0, 0.002, 1.0),
        "tails": (0.0, 0.3, 1.0),
        "seed": (0, 0, 2**32 - 1),
    },
    Evaluation: {
        "vectors": (1, 1024, 1_000_000_000),
        "calibration_vectors": (3, 512, 1_000_000_000),
        "map_vectors": (1, 512, 1_000_000_000),
        "read_averages": (1, 16, 2**16),
        "soon": (0.0, 1.0, 1000000000.0),
    },
}


@pytest.mark.parametrize(("kind", "name", "low", "default", "high"), bounds.cases(BOUNDS))
def test_a_setting_has_its_default_and_its_bounds(
    kind: type[Settings], name: str, low: float, default: float, high: float
) -> None:
    beside = {"fewest_bits": {"most_bits": 16}, "most_bits": {"fewest_bits": 2}, "uniform": {"tails": 0.0}}
    bounds.check(kind, name, low, default, high, **(beside | {"tails": {"uniform": 0.0}}).get(name, {}))


def kinds(base: type[Settings]) -> Iterator[type[Settings]]:
    """The kinds of settings of the package that no other one is made of."""
    for kind in base.__subclasses__():
        if not kind.__subclasses__() and kind.__module__.startswith("hwloop."):
            yield kind
        yield from kinds(kind)


def test_every_number_among_the_settings_stands_in_a_table() -> None:
    """With its default and its bounds, in the test_settings.py of some folder."""
    for module in pkgutil.walk_packages(hwloop.__path__, "hwloop."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    root, listed = Path(__file__).parents[2], set[tuple[type[Settings], str]]()
    for path in (root / "tests").rglob("test_settings.py"):
        tables = importlib.import_module(".".join(path.relative_to(root).with_suffix("").parts))
        for table in (tables.BOUNDS, getattr(tables, "DEFAULTS", {})):
            listed |= {(kind, name) for kind, settings in table.items() for name in settings}
    numbers = {
        (kind, one.name) for kind in kinds(Settings) for one in fields(kind)
        if one.name in inspect.get_annotations(kind) and isinstance(one.default, int | float)
    }  # fmt: skip
    assert sorted(f"{kind.__name__}.{name}" for kind, name in numbers - listed) == []


@dataclass(frozen=True)
class Oven(Settings):
    """Two settings, one of them whole."""

    trays: int = 3
    heat: float = 0.5

    def __post_init__(self) -> None:
        self._require("trays", 1, 9)
        self._require("heat", 0, 1)


def test_texts_become_numbers_of_their_kind() -> None:
    assert Oven.parse({}) == Oven(3, 0.5)
    made = Oven.parse({"heat": "1", "trays": "4"})
    assert (made.trays, made.heat) == (4, 1.0)
    assert (type(made.trays), type(made.heat)) == (int, float)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ({"tray": "4"}, "unknown setting 'tray'; did you mean 'trays'"),
        ({"trays": "4.0"}, r"setting trays=4\.0: expected a whole number"),
        ({"trays": ""}, "setting trays=: expected a whole number"),
        ({"heat": "hot"}, "setting heat=hot: expected a number"),
        ({"heat": "nan"}, "setting heat=nan is outside 0 to 1"),
        ({"trays": "10"}, "setting trays=10 is outside 1 to 9"),
    ],
)
def test_texts_that_make_no_setting_say_why(pairs: dict[str, str], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        Oven.parse(pairs)


def test_a_class_without_settings_says_so() -> None:
    with pytest.raises(BadInputError, match=r"unknown setting 'heat'; .*it has no settings"):
        Settings.parse({"heat": "1"})
    with pytest.raises(BadInputError) as caught:
        Oven.parse({"x": "1"})
    assert "no settings" not in str(caught.value)


@pytest.mark.parametrize("value", [4.0, "4", None])
def test_whole_settings_take_whole_numbers(value: object) -> None:
    with pytest.raises(BadInputError, match=r"setting trays=.*: expected a whole number"):
        Oven(trays=value)  # type: ignore[arg-type]
    assert Oven(trays=np.int64(4)).trays == 4


@pytest.mark.parametrize("value", ["hot", None, [0.5]])
def test_numbers_may_be_whole_or_numpys_and_nothing_else(value: object) -> None:
    with pytest.raises(BadInputError, match=r"setting heat=.*: expected a number"):
        Oven(heat=value)  # type: ignore[arg-type]
    for number in (1, np.float32(1.0), np.int64(1)):
        assert Oven(heat=number).heat == 1
