"""Where a prediction goes beyond what was measured: at each bound, and a little beyond it."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from hwloop.devices.bake import BAKE_CURVES
from hwloop.errors import BadInputError
from hwloop.files.models import Estimate, Fit, Form, Model
from hwloop.files.predictions import _outermost, _span, distribution, level_meaning, predict
from tests.files.test_models import fitted_drift


def drift(**chip: object) -> Model:
    return Model({"drift": fitted_drift()}, dict(chip), {}, "")  # type: ignore[arg-type]


def bakes(kelvin: tuple[float, ...] = (350.0, 400.0), told: float = 0.0) -> Fit:
    """A fit of bakes of an hour at these temperatures."""
    count = len(kelvin)
    values = {"stay_tail": 5.0, "move_tail": 3.0, "warp": 2.0, "energy": 1.0}
    rows = [Estimate(name, value, None, None, "1", "") for name, value in values.items()]
    names = [f"{name}_{at}" for name in BAKE_CURVES for at in range(count)]
    start = {"hazard": -1.0, "stay_width": 0.0, "move_width": 1.0}
    rows += [Estimate(f"{name}.v0", start.get(name.rpartition("_")[0], 0.0), None, None, "1", "") for name in names]
    numbered = {f"place_{at}": float(at) for at in range(count)} | {
        f"kelvin_{at}": one for at, one in enumerate(kelvin)
    }
    numbered |= {f"seconds_{at}": 3600.0 for at in range(count)}
    return replace(
        fitted_drift(), experiment="drift", family="bake", parameters=tuple(rows),
        forms={name: Form("knots", (0.0,)) for name in names},
        settings={"g_scale": 120.0, "reference": 400.0, "energy_told": told, **numbered},
        conductance_range=(5.0, 120.0), time_range=(3600.0, 3600.0),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("time", "level", "beyond"),
    [
        (1.0 / 1.09, 10.0, ()),
        (1.0 / 1.11, 10.0, ("time 901ms: measured from 1s to 1.16d",)),
        (1.09e5, 10.0, ()),
        (1.11e5, 10.0, ("time 1.28d: measured from 1s to 1.16d",)),
        (100.0, 0.5, ()),
        (100.0, 25.0, ()),
        (100.0, 0.49, ("level 0.49 uS: measured from 0.5 to 25 uS",)),
        (100.0, 25.1, ("level 25.1 uS: measured from 0.5 to 25 uS",)),
    ],
)
def test_ages_and_levels(time: float, level: float, beyond: tuple[str, ...]) -> None:
    found = predict(drift(), time, level)
    assert found.beyond == beyond
    assert ("extrapolates" in repr(found)) == bool(beyond)


@pytest.mark.parametrize(
    ("own", "asked", "beyond"),
    [
        (300.0, 305.0, []),
        (300.0, 305.1, ["temperature 305.1 K: measured at 300 K, the prediction is for that"]),
        (300.0, 294.9, ["temperature 294.9 K: measured at 300 K, the prediction is for that"]),
        (None, 300.0, ["temperature 300 K: that of the measurement is not known"]),
        (math.nan, 300.0, ["temperature 300 K: that of the measurement is not known"]),
        ("warm", 300.0, []),
    ],
)
def test_temperatures(own: object, asked: float, beyond: list[str]) -> None:
    chip = {} if own is None else {"temperature_at_start": own}
    assert list(predict(drift(**chip), 100.0, 10.0, temperature=asked).beyond) == beyond


@pytest.mark.parametrize(
    ("kelvin", "time", "beyond"),
    [
        (349.0, 3600.0, []),
        (401.0, 3600.0, []),
        (345.0, 3600.0, ["1h at 345 K: milder or harder than any bake that was measured"]),
        (405.0, 3600.0, ["1h at 405 K: milder or harder than any bake that was measured"]),
        (344.9, 3600.0, ["temperature 344.9 K: measured from 350 to 400 K"]),
        (405.1, 3600.0, ["temperature 405.1 K: measured from 350 to 400 K"]),
        (400.0, 3900.0, []),
        (350.0, 3300.0, []),
        (400.0, 4000.0, ["time 66.7min: baked for 1h; how times and temperatures replace each other is assumed"]),
        (380.0, 3200.0, ["time 53.3min: baked for 1h; how times and temperatures replace each other is assumed"]),
    ],
)
def test_bakes(kelvin: float, time: float, beyond: list[str]) -> None:
    model = Model({"drift": bakes()}, {}, {}, "")
    assert list(predict(model, time, 60.0, temperature=kelvin).beyond) == beyond
    told = Model({"drift": bakes(told=1.0)}, {}, {}, "")
    assert list(predict(told, time, 60.0, temperature=kelvin).beyond) == [one.partition("; how")[0] for one in beyond]
    assert predict(model, time, 121.0, temperature=kelvin).beyond[-1] == "level 121 uS: measured from 5 to 120 uS"


def test_a_bake_needs_a_temperature_unless_there_was_one_alone() -> None:
    with pytest.raises(BadInputError, match="name one above zero"):
        distribution(bakes(), 3600.0, 60.0)
    with pytest.raises(BadInputError, match="name one above zero"):
        distribution(bakes(), 3600.0, 60.0, np.array([300.0, 0.0]))
    alone = bakes((350.0,))
    assert distribution(alone, 3600.0, 60.0).quantile(0.5) == distribution(alone, 3600.0, 60.0, 350.0).quantile(0.5)


def test_what_levels_are() -> None:
    assert level_meaning(fitted_drift()) == "at t0 = 20 s"
    assert level_meaning(bakes()) == "before the bake"
    for given, said in ((0.0, "right after the write"), (1.0, "target")):
        assert level_meaning(replace(fitted_drift(), settings={"t0": 1.0, "given_target": given})) == said
    assert level_meaning(replace(fitted_drift(), experiment="programming")) == "target"


def test_of_several_families_the_outermost_count() -> None:
    assert [_outermost(p, [1.0, 4.0]) for p in (0.05, 0.49, 0.5, 0.51, 0.95)] == [1.0, 1.0, 2.5, 4.0, 4.0]
    assert (_span(3600.0, 3600.0), _span(60.0, 3600.0)) == ("at 1h", "from 1min to 1h")


@pytest.mark.parametrize(
    ("time", "level", "window", "complaint"),
    [
        (0.0, 1.0, None, "time 0 s: predictions are of ages above zero"),
        (math.inf, 1.0, None, "time inf s"),
        (1.0, 0.0, None, "level 0 uS: predictions are of conductances above zero"),
        (1.0, math.nan, None, "level nan uS"),
        (1.0, 1.0, (2.0, 2.0), "window 2 to 2 uS: the lower end comes first"),
    ],
)
def test_what_cannot_be_asked(time: float, level: float, window: tuple[float, float] | None, complaint: str) -> None:
    with pytest.raises(BadInputError, match=complaint):
        predict(drift(), time, level, window)


def test_a_prediction_as_json_and_in_a_notebook() -> None:
    found = predict(drift(), 3600.0, 30.0, (10.0, 40.0), temperature=300.0)
    told = found.to_json()
    assert (told["window"], told["extrapolates"], told["temperature"]) == ([10.0, 40.0], True, 300.0)
    assert told["probability_outside"] == pytest.approx(float(found.distribution.outside(10.0, 40.0)))
    assert list(told["families"]) == ["log-clip"]
    html = found._repr_html_()
    assert all(word in html for word in ("30 uS at t0 = 20 s, after 1h", "extrapolates: level 30 uS", "outside"))
    bare = predict(drift(), 3600.0, 20.0)
    assert (bare.probability_outside, bare.to_json()["window"]) == (None, None)
    assert "outside" not in bare._repr_html_()


def test_programming_has_a_bias_a_spread_and_tails() -> None:
    rows = (
        Estimate("bias.c0", 0.5, None, None, "uS", ""), Estimate("sigma.c0", 0.25, None, None, "uS", ""),
        Estimate("tail", 3.0, None, None, "1", ""),
    )  # fmt: skip
    fit = SimpleNamespace(
        experiment="programming", family="polynomial", forms={"bias": None, "sigma": None}, parameters=rows,
        settings={"g_scale": 20.0}, statistic=lambda name: (lambda g: 0.1 * g if name == "bias" else 0.25 + 0.0 * g),
    )  # fmt: skip
    found = distribution(fit, 1.0, 10.0)  # type: ignore[arg-type]
    assert float(found.quantile(0.5)) == pytest.approx(10.05)
    assert (found.freedom, float(found.sigma)) == (5.0, 0.25)  # type: ignore[attr-defined]
