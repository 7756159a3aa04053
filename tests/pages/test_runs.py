"""Pages of runs of matrices in several tiles, and of runs that ended before their time."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import pytest

from hwloop.pages.runs import UNFINISHED, facts_of, onward_of, page_of_run, tables_of_tiles, verdict_of, warnings_of


def tile(tensor: str, core: int, error: float, **more: object) -> SimpleNamespace:
    """A tile of 2 x 3 cells whose 12 devices got 24 pulses."""
    told = {"unconverged_cells": 1, "stuck_cells": 2, "mvms": 1000, "device_reads": 30, "chip_seconds": 10.0 * core}
    place = SimpleNamespace(core=core, rows=2, columns=3)
    made = {
        "tile": SimpleNamespace(tensor=tensor, place=place, target=np.zeros((2, 3)), clipping=None),
        "mvm_error": error,
        "mvm_error_before": 0.5,
        "pulses": np.full((2, 1, 2, 3), 2),
        "pulses_per_device": 2.0,
        "unconverged": np.array([True, False]),
        "stuck_devices": np.array([True, True, False]),
        "mvm_error_inputs": math.nan,
        "to_json": lambda: told,
        "reached": None,
        "stuck": None,
    }
    return SimpleNamespace(**made | more)


def run(*tiles: SimpleNamespace, **more: object) -> SimpleNamespace:
    provenance = SimpleNamespace(
        of_fleet=False,
        weights="a/w.npy", weights_sha256="abc", backend="sim:x", calibration="", settings={"rate": 0.123456789},
        method="gdp", seed=3,
    )  # fmt: skip
    made = {
        "tiles": tiles, "provenance": provenance, "wall_seconds": 61.0, "temperature": None, "mvm_error": 0.1,
        "mvm_error_interval": (0.09, 0.11), "mvm_error_from": "mvm", "age": 60.0, "status": "complete", "name": "r.h5",
        "method": "gdp", "backend": "sim:x", "programmed_utc": datetime(2026, 3, 4, 12, 30, 50, tzinfo=UTC),
        "calibration_parts": ("devices", "wires_now"), "calibration_created": "2026-03-04T12:30:55",
    }  # fmt: skip
    return SimpleNamespace(**made | more)


def test_the_error_of_a_matrix_is_the_root_mean_square_of_its_tiles_by_their_cells() -> None:
    large = tile("w", 1, 0.2, pulses=None)
    large.tile.target = np.zeros((6, 3))
    matrices, tiles = tables_of_tiles([tile("w", 0, 0.1), large, tile("w", 1, math.nan), tile("v", 1, math.nan)])
    first, second = matrices.rows
    assert first[:4] == ("w", 3, 2, 30)
    assert first[4] == pytest.approx(math.sqrt((6 * 0.1**2 + 18 * 0.2**2) / 24))
    assert first[5:] == (0.2, 2.0, 3)
    assert second == ("v", 1, 1, 6, None, None, 2.0, 1)
    assert tiles.detail
    assert tiles.rows[0] == ("w", "0", "2 x 3", 0.5, 0.1, 2.0, 1, 2, 1000)
    (alone,) = tables_of_tiles([tile("w", 0, 0.1), tile("v", 0, 0.1)])
    assert not alone.detail


def test_the_facts_of_a_run_are_sums_over_its_tiles() -> None:
    shown = {one.name: one.text for one in facts_of(run(tile("w", 0, 0.1), tile("w", 4, 0.1), tile("v", 4, 0.1)))}
    assert shown == {
        "weights": "w.npy, 2 matrices", "placed on": "3 tiles of 2 cores", "pulses": "72, 2.00 a device",
        "MVM vectors": "3,000", "device reads": "90", "chip time": "40s", "computer time": "1min 1s",
        "cells given up": "3", "stuck devices": "6",
    }  # fmt: skip


def test_what_else_is_known_of_a_run_is_told() -> None:
    bare = tile("w", 0, 0.1, pulses=None, unconverged=None, stuck_devices=None, mvm_error_inputs=0.25)
    made = run(bare, temperature=301.26)
    made.provenance.calibration = "c.json"
    shown = {one.name: one.text for one in facts_of(made)}
    assert (shown["pulses"], shown["cells given up"], shown["chip temperature"]) == ("none counted", "0", "301.3 K")
    assert "stuck devices" not in shown
    assert shown["MVM error with sample inputs"] == "w 0.2500"
    assert shown["calibration"] == "c.json of 2026-03-04T12:30 UTC: devices, wires now"
    assert {one.name: one.text for one in facts_of(run())}["chip time"] == "0s"


def test_the_verdict_says_how_sure_it_is() -> None:
    assert verdict_of(run()) == "MVM error 0.1000 (95 %: 0.0900 to 0.1100), 1min after programming."
    for interval in ((math.nan, 0.11), (0.09, math.inf)):
        assert verdict_of(run(mvm_error_interval=interval)) == "MVM error 0.1000, 1min after programming."
    assert ", computed from device reads, without" in verdict_of(run(mvm_error_from="device-reads"))
    assert verdict_of(run(mvm_error=math.nan)) == "The error was not measured."
    assert [verdict_of(run(status=status)) for status in UNFINISHED] == list(UNFINISHED.values())


@pytest.mark.parametrize(("error", "warned"), [(0.999, 0), (1.0, 1), (math.nan, 0)])
def test_an_error_of_one_is_as_bad_as_an_output_of_zero(error: float, warned: int) -> None:
    clipped = tile("w", 0, error)
    clipped.tile.clipping = "3 weights were clipped"
    assert warnings_of(run(clipped, mvm_error=error)) == (
        "w: 3 weights were clipped.", *["An MVM error of 1 is no better than an output of zero."] * warned,
    )  # fmt: skip


def test_where_a_run_comes_from_and_how_it_goes_on() -> None:
    page = page_of_run(run())
    assert {one.name: one.text for one in page.provenance} == {
        "file": "r.h5", "chip": "sim:x", "method": "gdp with rate=0.123457", "weights": "a/w.npy, SHA-256 abc",
        "seed": "3", "status": "complete", "end of programming": "2026-03-04 12:30 UTC",
    }  # fmt: skip
    assert [one.name.split()[1] for one in page.onward] == ["evaluate", "show", "report"]
    assert page.pictures == ()
    assert onward_of(run(name="")) == ()
    assert [one.name for one in onward_of(run(status="killed"))] == ["hwloop resume r.h5"]
    bare = run(programmed_utc=None, name="")
    bare.provenance.settings = {}
    told = {one.name: one.text for one in page_of_run(bare).provenance}
    assert (told["file"], told["method"]) == ("none", "gdp")
    assert "end of programming" not in told
