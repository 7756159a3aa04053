"""How often the age at which a limit is passed lies in the interval that was predicted, before and after a refresh.

    python benchmarks/monitor.py [--preset hermes-core] [--seeds 22] [--first 401] [--drift 1.0]

128 x 128 Gaussian matrix clipped at 3 sigma, one gain per column made anew at every look. It is watched until 30 days,
then refreshed and watched on. `--drift` scales the drift of the chip, not that of the model it is predicted by.
It takes about five seconds a seed on an idle core.
"""

from __future__ import annotations

import argparse
import math

import numpy as np
from machine import machine
from programming import clipped_gaussian

import hwloop
from hwloop.calibration.drift.digital import ColumnAffine
from hwloop.calibration.drift.monitor import Crossing, Monitor, Watched
from hwloop.calibration.drift.refresh import Refresh
from hwloop.calibration.drift.strategy import uncompensated
from hwloop.calibration.drift.study import DriftStudy

LIMITS = (0.10, 0.12, 0.15)
HOUR, MONTH = 3600.0, 30 * 86400.0
LOOKS = np.geomspace(100.0, 1e10, 34)
"""Seconds after programming, and after the refresh, at which the error is measured to see when it passes a limit."""


def passing(limit: float, times: np.ndarray, errors: np.ndarray) -> float:
    """Return the time at which squared errors first exceed the limit, between looks by log time; infinite if never."""
    squares = errors**2
    beyond = np.nonzero(squares > limit**2)[0]
    if not beyond.size or beyond[0] == 0:
        return math.inf if not beyond.size else float(times[0])
    k = int(beyond[0])
    part = (limit**2 - squares[k - 1]) / (squares[k] - squares[k - 1])
    return float(times[k - 1] * (times[k] / times[k - 1]) ** part)


def main() -> None:
    """Print for each limit how many intervals hold the truth, and how wide they are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="hermes-core")
    parser.add_argument("--seeds", type=int, default=22)
    parser.add_argument("--first", type=int, default=401)
    parser.add_argument("--drift", type=float, default=1.0)
    arguments = parser.parse_args()
    print(machine(), "\n")
    rows: dict[tuple[str, float], list[tuple[bool, float]]] = {}
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        uri = f"sim:{arguments.preset}?rows=128&columns=128&seed={seed}&drift={arguments.drift}"
        for name, limit, since, predicted, true in watched(uri, arguments.preset, seed):
            low, high = predicted.earliest - since, predicted.latest - since
            rows.setdefault((name, limit), []).append((low <= true <= high, math.log10(high / low)))
    for (name, limit), found in sorted(rows.items()):
        inside, widths = zip(*found, strict=True)
        print(f"{name:<28} {limit:.2f}: {sum(inside)} of {len(inside)}, {np.median(widths):.1f} decades wide")


def watched(uri: str, preset: str, seed: int) -> list[tuple[str, float, float, Crossing, float]]:
    """Return what was predicted, the time it counts from, and the time after that at which each limit was passed."""
    with hwloop.connect(uri) as chip:
        run = hwloop.program(chip, clipped_gaussian(128, 128, seed), "gdp", seed=seed)
    with hwloop.connect(f"sim:{preset}") as nominal, hwloop.connect(uri) as chip:
        model = nominal.info.device_model
        assert model is not None
        study, monitor = DriftStudy(run.record, chip, drift=model.drift), Monitor()
        (tile,), target_age = study.tiles, study.target_age
        assert tile.forecast is not None
        expected = tile.forecast.mvm_error

        def error(age: float) -> float:
            study.wait_until(age)
            return study.evaluate([ColumnAffine()])["column"].mvm_error

        ages = [target_age, HOUR, MONTH]
        errors = [study.mvm_error_in_run, error(HOUR), error(MONTH)]
        state, told = chip.export_state(), []
        later = LOOKS[LOOKS > 1.2 * MONTH]
        course = np.array([*errors, *(error(age) for age in later)])
        for limit in LIMITS:
            predicted = monitor.predict(limit, Watched(ages[:2], errors[:2], target_age), expected)
            true = passing(limit, np.array([*ages, *later]), course)
            told.append(("programmed, seen for an hour", limit, 0.0, predicted, true))
        chip.import_state(state)
        growth = monitor.after_refresh(monitor.learn(Watched(ages, errors, target_age), expected))
        Refresh().make(tile, uncompensated(tile))
        start, since = tile.age, tile.pulsed_at
        after = np.array([error(age) for age in [start, *(start + LOOKS)]])
        for limit in LIMITS:
            watched_after = Watched([start], [after[0]], start, since)
            predicted = monitor.predict(limit, watched_after, tile.forecast.mvm_error, growth)
            true = passing(limit, np.array([start, *(start + LOOKS)]) - since, after)
            told.append(("refreshed after 30 days", limit, since, predicted, true))
    return told


if __name__ == "__main__":
    main()
