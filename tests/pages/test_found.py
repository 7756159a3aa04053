"""Pages of coresets, searches, few-shot learning, predictions and the ledger, whole, as a reader sees them."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from hwloop.pages.coresets import page_of_coreset
from hwloop.pages.lives import page_of_chips, page_of_life
from hwloop.pages.memories import page_of_few_shot
from hwloop.pages.page import Page
from hwloop.pages.predictions import page_of_prediction
from hwloop.pages.searches import page_of_search


def told(page: Page) -> dict[str, str]:
    return {one.name: one.text for one in page.facts}


def origin(page: Page) -> dict[str, str]:
    return {one.name: one.text for one in page.provenance}


def written(page: Page, table: int = 0) -> list[list[str]]:
    """A table as it is shown."""
    shown = page.tables[table]
    return [[one.write(cell) for one, cell in zip(shown.columns, row, strict=True)] for row in shown.rows]


# ---- coresets ------------------------------------------------------------------------------------------------


def coreset(**more: object) -> SimpleNamespace:
    def row(tensor: str, host: str, points: int, bits: int) -> SimpleNamespace:
        choice = SimpleNamespace(points=points, bits=bits, bound=0.0625)
        return SimpleNamespace(tensor=tensor, host=host, vectors=1000.0, inputs=16, choice=choice, bits=16 * bits)

    rows = [row("a", "h1", 20, 4), row("b", "h1", 30, 8), row("a", "h2", 40, 8)]
    settings = SimpleNamespace(weight_bits=6, seed=9)
    made = {"rows": rows, "bits": 1320, "budget": 2000, "bound": 0.25, "settings": settings, "file": "c x.h5"}
    return SimpleNamespace(**made | more)


def test_a_coreset() -> None:
    page = page_of_coreset(coreset())
    assert (page.title, page.verdict) == (
        "90 weighted vectors for 3000", "1,320 of 2,000 bits; the bound is 0.250.",
    )  # fmt: skip
    assert told(page) == {"hosts": "2", "tensors": "2", "bits of a weight": "6"}
    assert written(page)[0] == ["a", "h1", "1000", "16", "20", "4", "64", "0.062"]
    assert origin(page) == {"file": "c x.h5", "seed": "9"}
    assert [one.name for one in page.onward] == ["hwloop program WEIGHTS --inputs 'c x.h5' ..."]
    unsaved = page_of_coreset(coreset(file=""))
    assert (unsaved.onward, origin(unsaved)["file"]) == ((), "none")


# ---- searches ------------------------------------------------------------------------------------------------


def search(**more: object) -> SimpleNamespace:
    def network(name: str, latency: float) -> SimpleNamespace:
        footprint = SimpleNamespace(weights=12345, cores=2, latency=latency)
        reached = {"in_float": 0.95, "accuracy": 0.9, "drop_day": 0.01, "drop_month": 0.03, "lasting": 0.87}
        return SimpleNamespace(network=name, footprint=footprint, **reached, proven=0.87, again=())

    first, second = network("m:a=1", 2.5e-6), network("plain", math.nan)
    made = {
        "winner": first,
        "front": [first, second],
        "trials": [first] * 20,
        "settings": SimpleNamespace(strategy="evolution", first=8, compensation="column", seed=3, twins=4),
        "limits": SimpleNamespace(weights=20000, cores=3, latency=1e-5),
        "chip": "sim:x",
        "space": "space of m",
        "hypervolume": 0.123456,
        "status": "complete",
        "file": "s.h5",
    }
    return SimpleNamespace(**made | more)


def test_a_search() -> None:
    page = page_of_search(search())
    assert (page.title, page.verdict) == (
        "2 networks of 20 for sim:x",
        "87.0% after a month with 12,345 weights: m:a=1.",
    )
    assert told(page) == {
        "space": "space of m", "limits": "20,000 weights, 3 cores, 10us",
        "evaluated": "20 by evolution, 8 of them at random", "drift": "column compensation before each later age",
        "hypervolume": "0.1235",
    }  # fmt: skip
    assert written(page) == [
        ["a=1", "12,345", "2", "2.5", "95.0%", "90.0%", "1.0%", "3.0%", "87.0%"],
        ["plain", "12,345", "2", "-", "95.0%", "90.0%", "1.0%", "3.0%", "87.0%"],
    ]
    assert "means over 4 twins" in page.tables[0].note
    assert [one.name for one in page.pictures] == ["front", "course"]
    assert [one.name for one in page.onward] == [
        "hwloop report s.h5 --out report.html", "hwloop deploy --network m:a=1 ..."
    ]  # fmt: skip
    assert origin(page) == {"file": "s.h5", "seed": "3", "status": "complete"}
    assert page.warnings == ()


def test_a_search_whose_best_networks_were_trained_again() -> None:
    first, second = search().front
    first.again, first.proven = (0.85, 0.89), 0.88
    second.again, second.proven = (0.93, 0.87), 0.89
    page = page_of_search(search(winner=second, trials=[first, second, search().winner]))
    assert page.verdict == "89.0% after a month, over 3 trainings, with 12,345 weights: plain."
    assert page.tables[1].title == "Trained again"
    assert written(page, 1) == [
        ["plain", "12,345", "87.0%", "87.0%", "93.0%", "89.0%"],
        ["a=1", "12,345", "87.0%", "85.0%", "89.0%", "88.0%"],
    ]


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ((0, 0, 0.0), "none but the chip"),
        ((1, 0, 0.0), "1 weights"),
        ((0, 1, 0.0), "1 cores"),
        ((0, 0, 1.0), "1s"),
    ],
)
def test_limits_of_a_search_are_those_that_were_set(limits: tuple[int, int, float], said: str) -> None:
    weights, cores, latency = limits
    page = page_of_search(
        search(
            limits=SimpleNamespace(weights=weights, cores=cores, latency=latency), status="interrupted", file=""
        )
    )  # fmt: skip
    assert told(page)["limits"] == said
    assert page.warnings == ("It was stopped before its budget was used.",)
    assert (page.onward, origin(page)["file"]) == ((), "none")


# ---- few-shot learning ---------------------------------------------------------------------------------------


def few_shot(**more: object) -> SimpleNamespace:
    def session(moment: str, classes: int, pulses: float) -> SimpleNamespace:
        on_chip, in_float = SimpleNamespace(value=0.8, interval=(0.75, 0.85)), SimpleNamespace(value=0.9)
        return SimpleNamespace(
            moment=moment, classes=classes, on_chip=on_chip, in_float=in_float, pulses_per_device=pulses
        )

    asked = [session("base", 3, 0.0), session("session 1", 5, 1.25)]
    made = {
        "asked": asked,
        "last_session": asked[1],
        "settings": SimpleNamespace(epochs=4, shots=5, dimension=64, age=3600.0),
        "network": "m:net",
        "chip": "sim:x",
        "classes": [(0, 1, 2), (3, 4)],
        "status": "complete",
        "file": "f.h5",
    }
    return SimpleNamespace(**made | more)


def test_few_shot_learning() -> None:
    page = page_of_few_shot(few_shot())
    assert page.title == "m:net learns in sessions on sim:x"
    assert page.verdict == "5 classes from 5 examples each: 80.0% right (95 %: 75.0% to 85.0%); in float 90.0%."
    assert told(page) == {
        "network": "m:net, trained for 4 epochs on the base classes alone", "base classes": "0, 1, 2",
        "learnt later": "3, 4", "vectors of": "64 elements", "asked again after": "1h",
    }  # fmt: skip
    assert written(page) == [
        ["base", "3", "80.0%", "75.0% to 85.0%", "90.0%", "-"],
        ["session 1", "5", "80.0%", "75.0% to 85.0%", "90.0%", "1.25"],
    ]
    assert origin(page) == {"file": "f.h5", "network": "m:net", "chip": "sim:x", "status": "complete"}
    assert [one.name for one in page.onward] == ["hwloop report f.h5 --out report.html"]
    assert page.warnings == ()


def test_few_shot_learning_with_a_given_network_that_was_stopped() -> None:
    settings = SimpleNamespace(epochs=0, shots=5, dimension=0, age=0.0)
    page = page_of_few_shot(few_shot(settings=settings, classes=[(0, 1)], status="interrupted", file=""))
    assert told(page) == {
        "network": "m:net, as it was given: whether it has seen the new classes before is not known",
        "base classes": "0, 1", "learnt later": "none", "vectors of": "the network's own width",
        "asked again after": "not",
    }  # fmt: skip
    assert page.warnings == ("It was stopped before its last session.",)
    assert (page.onward, origin(page)["file"]) == ((), "none")


# ---- predictions ---------------------------------------------------------------------------------------------


def prediction(**more: object) -> SimpleNamespace:
    made = {
        "quantiles": {0.05: 8.0, 0.25: 9.0, 0.5: 10.0, 0.95: 12.34567},
        "temperature": None,
        "level": 11.0,
        "level_is": "programmed",
        "families": ("power-law", "normal"),
        "window": None,
        "probability_outside": 0.01234,
        "time": 3600.0,
        "beyond": (),
    }
    return SimpleNamespace(**made | more)


def test_a_prediction() -> None:
    page = page_of_prediction(prediction())
    assert page.title == "11 uS programmed, after 1h"
    assert page.verdict == "10 uS in the middle; nine of ten devices hold 8 to 12.35 uS."
    assert told(page) == {"families": "power-law, normal"}
    assert written(page) == [["5%", "8"], ["25%", "9"], ["50%", "10"], ["95%", "12.35"]]
    assert page.warnings == ()


def test_a_prediction_of_a_bake_and_a_window() -> None:
    page = page_of_prediction(
        prediction(temperature=398.0, level_is="before the bake", window=(9.0, 11.5), beyond=("longer than measured",))
    )
    assert page.title == "11 uS before the bake, after 1h at 398 K"
    assert told(page)["outside of the window"] == "0.0123 of 9 to 11.5 uS"
    assert page.warnings == ("extrapolates: longer than measured",)
    assert page_of_prediction(prediction(temperature=398.0)).title.endswith("after 1h")
    assert page_of_prediction(prediction(level_is="before the bake")).title.endswith("after 1h")


# ---- the ledger ----------------------------------------------------------------------------------------------


def life(**more: object) -> SimpleNamespace:
    made = {
        "chip": SimpleNamespace(identity="hermes 7", budget=1_000_000, simulated=True),
        "cores": {1: np.array([[0, 4], [2, 4]]), 0: np.array([[1234, 0]])},
        "merged_runs": 0,
        "pulses": 1244,
        "sessions": [1, 2],
        "most": 1234,
        "spent_devices": 1,
        "ledger": "/l.sqlite",
    }
    return SimpleNamespace(**made | more)


def test_the_life_of_a_chip() -> None:
    page = page_of_life(life())
    assert page.title == "hermes 7"
    assert page.verdict == "1,244 pulses in 2 sessions, 1,234 on the device that received most."
    assert told(page) == {
        "budget": "1,000,000 pulses a device, recorded, not enforced: the chip is simulated",
        "spent": "1 device at the end of the budget", "ledger": "/l.sqlite",
    }  # fmt: skip
    assert written(page) == [["0", "1,234", "617.00", "1,234"], ["1", "10", "2.50", "4"]]
    real = life(chip=SimpleNamespace(identity="x", budget=5, simulated=False), merged_runs=1, sessions=[1])
    assert page_of_life(real).verdict.startswith("1,244 pulses in 1 session and 1 run of other machines, ")
    assert told(page_of_life(real))["budget"] == "5 pulses a device, enforced over all sessions"


def test_a_chip_without_pulses_and_the_chips_of_a_ledger() -> None:
    page = page_of_life(life(cores={}))
    assert (page.verdict, page.tables) == ("No device has received a pulse yet.", ())
    chips = [
        SimpleNamespace(identity="a", uri="sim:a", simulated=True),
        SimpleNamespace(identity="b", uri="visa:b", simulated=False),
    ]
    page = page_of_chips(chips)
    assert page.verdict == "2 chips."
    assert page.tables[0].rows == (("a", "sim:a", "simulated"), ("b", "visa:b", "real"))
    page = page_of_chips([])
    assert (page.verdict, page.tables) == ("No chip has received a pulse yet.", ())
